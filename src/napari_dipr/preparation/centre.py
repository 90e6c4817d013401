"""Where zero frequency is on a detector: the brightest pixel, the centroid, or the centre of Friedel's symmetry."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dipr.errors import MeasurementError
from napari_dipr.measurement import Measurement

Found = Literal["peak", "centroid", "friedel"]
# Pixels per axis that the search for the centre of symmetry looks at, first coarsely and then again near it.
COARSE, FINE = {2: 256, 3: 64}, {2: 512, 3: 96}
# Below it a pattern is not symmetric about any point that is worth naming.
SYMMETRIC = 0.3


def find_centre(measurement: Measurement, how: Found) -> tuple[int, ...]:
    """Find the pixel of zero frequency.

    Parameters
    ----------
    measurement
        Its unmeasured pixels do not count.
    how
        ``peak``: the brightest pixel; right for a Bragg peak, and where the direct beam is measured. ``centroid``: the
        mean position, weighted with the intensity; a background pulls it to the array's middle. ``friedel``: the
        point about which the pattern looks most like its own mirror image, for scattering of weakly phased objects,
        and where the centre is missing.

    Returns
    -------
    tuple of int
        Index along each axis.

    Raises
    ------
    MeasurementError
        If ``how`` is none of these, or the pattern has no centre of symmetry.
    """
    y = measurement.intensities
    if how == "peak":
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(y)), y.shape))
    if how == "centroid":
        total = y.sum(dtype=np.float64)
        sums = (y.sum(tuple(a for a in range(y.ndim) if a != axis), dtype=np.float64) for axis in range(y.ndim))
        return tuple(round(float(s @ np.arange(len(s)) / total)) for s in sums)
    if how == "friedel":
        return _friedel(measurement)
    raise MeasurementError(f"A centre is found by {', '.join(get_args(Found))}, not by {how!r}.")


def _friedel(measurement: Measurement) -> tuple[int, ...]:
    # Counts range over many decades; the logarithm lets the faint rings have their say.
    y, measured = measurement.intensities, measurement.measured
    values = np.log1p(y / np.median(y[(y > 0) & measured]))
    step = tuple(math.ceil(n / COARSE[y.ndim]) for n in y.shape)
    middle = [n / 2 for n in y.shape]
    if max(step) > 1:
        coarse, there = _binned(values, measured, step)
        middle = [(c + 0.5) * s - 0.5 for c, s in zip(_symmetry(coarse, there), step, strict=True)]
    size = [min(n, FINE[y.ndim]) for n in y.shape]
    starts = [round(min(max(m - n / 2, 0), total - n)) for m, n, total in zip(middle, size, y.shape, strict=True)]
    window = tuple(slice(s, s + n) for s, n in zip(starts, size, strict=True))
    if not values[window][measured[window]].any():
        window = (slice(None),) * y.ndim
        starts = [0] * y.ndim
    near = _symmetry(values[window], measured[window])
    around = itertools.product(
        *(range(math.floor(c + s) - 1, math.floor(c + s) + 3) for c, s in zip(near, starts, strict=True))
    )
    centre = max(around, key=lambda c: _likeness(values, measured, c, size))
    likeness = _likeness(values, measured, centre, size)
    if likeness < SYMMETRIC:
        raise MeasurementError(
            f"The pattern is not symmetric about any point (likeness {likeness:.2f} at best, of 1). Take the peak or "
            "the centroid, or give the centre."
        )
    return centre


def _symmetry(values: NDArray, measured: NDArray[np.bool_]) -> tuple[float, ...]:
    """Return the point about which values are most symmetric, in pixels and halves.

    The masked normalised cross-correlation of the pattern with itself turned about (D. Padfield, IEEE Trans. Image
    Process. 21, 2706 (2012)): a shift by s of the mirror image means the centre (n − 1 + s)/2.
    """
    from skimage.registration import phase_cross_correlation  # late: the window opens without it

    turned, there = np.flip(values), np.flip(measured)
    shift, *_ = phase_cross_correlation(values, turned, reference_mask=measured, moving_mask=there, overlap_ratio=0.3)
    return tuple((n - 1 + s) / 2 for n, s in zip(values.shape, shift, strict=True))


def _likeness(values: NDArray, measured: NDArray[np.bool_], centre: tuple[int, ...], size: Sequence[int]) -> float:
    """Return how much values are like their mirror image about a pixel (−1…1), within ``size`` pixels around it."""
    reach = [min(c, n - 1 - c, s // 2) for c, n, s in zip(centre, values.shape, size, strict=True)]
    if min(reach) < 1:
        return -1.0
    window = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True))
    here, both = values[window], measured[window] & np.flip(measured[window])
    if both.sum() < 3 or here[both].std() == 0:
        return -1.0
    return float(np.corrcoef(here[both], np.flip(here)[both])[0, 1])


def _binned(values: NDArray, measured: NDArray[np.bool_], step: tuple[int, ...]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return the mean of the measured values in blocks of ``step`` pixels, and where there are any."""
    sizes = [s * math.ceil(n / s) for n, s in zip(values.shape, step, strict=True)]
    pad = [(0, total - n) for total, n in zip(sizes, values.shape, strict=True)]
    weight = ndimage.uniform_filter(np.pad(measured, pad).astype(np.float32), step, mode="constant")
    mean = ndimage.uniform_filter(np.pad(np.where(measured, values, 0), pad), step, mode="constant")
    middle = tuple(slice(s // 2, None, s) for s in step)
    weight, mean = weight[middle], mean[middle]
    there = weight > 0.5
    return np.where(there, mean / np.maximum(weight, 1e-9), 0), there
