"""Pixels that should not count, by reason."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

# Counts of which none are seen once in a million times: exp(-14).
SURE = 14
BRIGHT = 1e4
# What detectors write into gaps and overflows, also where a file was made of another type since.
LIMITS = (2**31 - 1, 2**32 - 1)

Reason = Literal["NaN", "negative", "saturated", "gap", "dead", "hot", "silent"]
REASONS: tuple[Reason, ...] = get_args(Reason)
# Found in the values alone; the others by what is around, which takes longer.
PLAIN: tuple[Reason, ...] = ("NaN", "negative", "saturated")


def bad_pixels(data: ArrayLike, saturation: float | None = None) -> dict[str, NDArray[np.bool_]]:
    """Find pixels that should not count, by reason: ``NaN`` (or infinite), ``negative``, ``saturated``.

    Parameters
    ----------
    data
        Raw values of any real type.
    saturation
        Value from which on a pixel is saturated. None guesses: pixels at an integer type's largest value, which
        detectors write into gaps too, and where values pile up at the top, while counts thin out towards it: three and
        more share the largest of the other values and fewer have the next one, or its last hundredth holds twenty and
        more, and eight times as many as the hundredth below (a CCD from which an offset was taken).
        Values that are no counts, being no whole numbers, have to share the largest in 49 pixels and more.

    Returns
    -------
    dict
        Boolean masks of the data's shape; reasons without a pixel are left out.
    """
    array = np.asarray(data)
    finite = np.isfinite(array)
    found = {"NaN": ~finite, "negative": np.where(finite, array, 0) < 0}
    if saturation is not None:
        found["saturated"] = finite & (array >= saturation)
    else:
        limits = (*LIMITS, np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else np.array(LIMITS, np.float32)
        at_top = finite & np.isin(array, limits)
        values = array[finite & ~at_top & (np.where(finite, array, 0) > 0)]
        if values.size:
            at_top |= finite & (array >= _piled_up_from(values)) & ~np.isin(array, limits)
        found["saturated"] = at_top
    return {reason: mask for reason, mask in found.items() if mask.any()}


def suspicious_pixels(y: NDArray[Any], measured: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Find measured pixels that are likely to be the detector's, by reason.

    Speckles are two pixels wide and more, so that one pixel does not differ from its neighbours by an order: *hot* is
    ten times as bright as the brightest of them, with :data:`SURE` counts or more; *dead* is 0 where their median is
    :data:`BRIGHT` counts or more: zeros of the field itself are points, and are seldom met so exactly. The smallest
    intensity above 0 is taken as one count. *Gaps* are rows or columns of zeros beside such in which most pixels count.
    *Silent* is a detector's pixel that never counts in a whole scan, where its neighbours' median total is
    :data:`SURE` counts or more. *Saturated* is as in :func:`bad_pixels`.

    Parameters
    ----------
    y
        Intensities ``[*grid]``, 0 where nothing was measured; of a scan ``[frame, row, column]``.
    measured
        Boolean ``[*grid]``: where they were.

    Returns
    -------
    dict
        Boolean masks ``[*grid]``; reasons without a pixel are left out.
    """
    y = np.asarray(y, np.float32)  # ten times an integer may be beyond its type
    if not (y > 0).any():
        return {}
    count = float(y[y > 0].min())
    median, brightest = _neighbours(y)
    found = {name: mask for name, mask in bad_pixels(y).items() if name == "saturated"}
    gap = np.zeros(y.shape, bool)
    for axis in range(y.ndim):
        share = (y > 0).mean(tuple(a for a in range(y.ndim) if a != axis))
        pieces, number = ndimage.label(share == 0)
        for piece in range(1, number + 1):
            where = np.nonzero(pieces == piece)[0]
            beside = [share[i] for i in (where[0] - 1, where[-1] + 1) if 0 <= i < len(share)]
            if len(beside) == 2 and min(beside) > 0.5:
                np.moveaxis(gap, axis, 0)[where] = True
    found["gap"] = gap
    found["dead"] = (y == 0) & (median >= BRIGHT * count) & ~gap
    found["hot"] = (y > 10 * brightest) & (y >= SURE * count)
    if y.ndim == 3:
        total = y.sum(0, dtype=np.float64)
        around, _ = _neighbours(total)
        found["silent"] = np.broadcast_to((total == 0) & (around >= SURE * count), y.shape) & ~gap
    return {reason: mask & measured for reason, mask in found.items() if (mask & measured).any()}


def _piled_up_from(values: NDArray) -> float:
    """Return the value from which on positive values are saturated; infinity where none is."""
    top = float(values.max())
    below = values[values < top]
    pile = values.size - below.size
    # Of a pattern that was computed, as many as that may be each other's mirror images.
    fewest = 3 if (values[:1000] == np.round(values[:1000])).all() else 49
    if pile >= fewest and below.size and (below == below.max()).sum() < pile:
        return top
    if top < 100 * values.min():  # counts, of which a hundredth is none
        return np.inf
    level = 0.99 * top
    last, before = int((values > level).sum()), int(((values > 0.98 * top) & (values <= level)).sum())
    return float(values[values > level].min()) if last >= 20 and last > 8 * max(before, 1) else np.inf


def _neighbours(y: NDArray) -> tuple[NDArray, NDArray]:
    """Return the median and the largest value among each pixel's neighbours."""
    around = np.ones((3,) * y.ndim, bool)
    around[(1,) * y.ndim] = False
    median = ndimage.median_filter(y, footprint=around, mode="nearest")
    return median, ndimage.maximum_filter(y, footprint=around, mode="nearest")
