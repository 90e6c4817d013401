"""A measured far-field pattern, made ready for phase retrieval.

Inside, zero frequency is at the array's centre (index n//2 of each axis), as people look at it. Solvers ask for the
cornered arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, SupportsInt, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry

SMALLEST = 16
# Beyond it a pixel's count would not fit into 64 bits, and noise would be far below float32's rounding.
MOST_PHOTONS = 1e18
# Counts of which none are seen once in a million times: exp(-14).
SURE = 14
BRIGHT = 1e4
Kind = Literal["intensity", "amplitude"]
ZeroFrequency = Literal["centre", "corner"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """Intensities, which of them count, and what was done to them.

    Build one with :meth:`of`, which checks the data.

    Attributes
    ----------
    intensities
        ``[*grid]`` float32, ≥ 0, zero frequency at the centre; 0 where nothing was measured.
    measured
        ``[*grid]`` boolean: True where a value counts.
    name
        What people call it.
    photons_per_unit
        Photons that one unit of intensity stands for; None where it is not known.
    geometry
        None where it is not known.
    history
        What was done to the data, one line a step, for the provenance.
    source
        Where it came from: path, key, frame, SHA-256 of the file.
    """

    intensities: NDArray[np.float32]
    measured: NDArray[np.bool_]
    name: str = "measurement"
    photons_per_unit: float | None = None
    geometry: Geometry | None = None
    history: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: ArrayLike,
        *,
        kind: Kind = "intensity",
        zero_frequency: ZeroFrequency | None = None,
        measured: ArrayLike | None = None,
        **known: Any,
    ) -> "Measurement":
        """Check data and make a measurement of them.

        Parameters
        ----------
        data
            2-D or 3-D real numbers. Pixels that are NaN, infinite or negative must be masked (see :func:`bad_pixels`).
        kind
            Whether they are intensities or amplitudes (their square roots).
        zero_frequency
            Where it is. None guesses, see :func:`guess_zero_frequency`.
        measured
            Of the same shape, non-zero where a pixel was measured. None: all were.
        **known
            The other attributes.

        Raises
        ------
        MeasurementError
            If the data cannot be a measurement.
        """
        if kind not in get_args(Kind) or zero_frequency not in (None, *get_args(ZeroFrequency)):
            raise MeasurementError(
                f"Values are {kind!r} with zero frequency at {zero_frequency!r}; say 'intensity' or 'amplitude', and "
                "'centre' or 'corner'."
            )
        array = np.asarray(data)
        if array.dtype.kind not in "buif":
            raise MeasurementError(
                f"A measurement is made of real numbers, these are {array.dtype}. Give |F|² (intensity) or |F| "
                "(amplitude)."
            )
        array = np.squeeze(array)
        if array.ndim not in (2, 3):
            raise MeasurementError(
                f"A measurement has 2 or 3 dimensions, this has the shape {array.shape}. Choose one frame or volume."
            )
        if min(array.shape) < SMALLEST:
            raise MeasurementError(
                f"The measurement's shape is {array.shape}; each side must be at least {SMALLEST} pixels. "
                "Of a short stack choose one frame; a colour picture must be made grey first."
            )
        mask = np.ones(array.shape, bool) if measured is None else np.squeeze(np.asarray(measured)) != 0
        if mask.shape != array.shape:
            raise MeasurementError(f"The mask has the shape {mask.shape}, the data {array.shape}. They must be equal.")
        bad = ~np.isfinite(array) | (array < 0)
        if (bad & mask).any():
            raise MeasurementError(
                f"{int((bad & mask).sum())} pixels are NaN, infinite or negative, which no {kind} can be. Mask them as "
                "unmeasured (in Python with measured=), or set them to 0."
            )
        if not mask.any():
            raise MeasurementError("The mask leaves no measured pixel. Is its polarity right? True means measured.")
        clean = np.where(mask, array, 0).astype(np.float64)
        with np.errstate(over="ignore"):
            intensities = (np.square(clean) if kind == "amplitude" else clean).astype(np.float32)
        if not np.isfinite(intensities).all():
            raise MeasurementError(f"The largest {kind}, {clean.max():.3g}, is beyond float32. Rescale the data.")
        if not intensities.any():
            raise MeasurementError(
                f"All measured intensities are zero in float32 (the largest {kind} is {clean.max():.3g}). Is it the "
                "right dataset or frame?"
            )
        where = zero_frequency or guess_zero_frequency(intensities)
        if where == "corner":
            intensities, mask = np.fft.fftshift(intensities), np.fft.fftshift(mask)
        return cls(intensities, mask, **known)

    @property
    def grid(self) -> tuple[int, ...]:
        """The pattern's shape."""
        return self.intensities.shape

    def cornered_amplitudes(self) -> NDArray[np.float32]:
        """Return ``√Y`` with zero frequency at the corner, as solvers take it."""
        return np.ascontiguousarray(np.fft.ifftshift(np.sqrt(self.intensities)))

    def cornered_measured(self) -> NDArray[np.bool_]:
        """Return the mask with zero frequency at the corner."""
        return np.ascontiguousarray(np.fft.ifftshift(self.measured))

    def with_mask(self, measured: ArrayLike) -> "Measurement":
        """Return the measurement with these pixels, and those masked before, unmeasured."""
        mask = np.asarray(measured) != 0
        if mask.shape != self.grid:
            raise MeasurementError(f"The mask has the shape {mask.shape}, the data {self.grid}. They must be equal.")
        mask &= self.measured
        if not self.intensities[mask].any():
            raise MeasurementError(
                "The mask leaves no measured pixel that is not zero. Is its polarity right? True means measured."
            )
        step = f"masked {int((~mask).sum())} pixels as unmeasured"
        return self._changed(step, intensities=np.where(mask, self.intensities, 0), measured=mask)

    def thresholded(self, counts: float) -> "Measurement":
        """Return the measurement with intensities below ``counts`` set to 0 (they stay measured)."""
        kept = np.where(self.intensities < counts, np.float32(0), self.intensities)
        if not kept.any():
            raise MeasurementError(
                f"No intensity reaches the threshold {counts:g}: the largest is {self.intensities.max():g}."
            )
        return self._changed(f"intensities below {counts:g} set to 0", intensities=kept)

    def cropped(self, size: int | Sequence[int], around: Literal["peak", "centre"] = "peak") -> "Measurement":
        """Return a square or cube of ``size``, whose middle pixel is the brightest one, or the array's centre.

        A crop reaching over the edge, or larger than the pattern, is filled up with unmeasured pixels. Cropping a
        pattern coarsens the object's pixels; it does not cut the object.
        """
        shape = (int(size),) * len(self.grid) if isinstance(size, SupportsInt) else tuple(size)
        if len(shape) != len(self.grid) or min(shape) < SMALLEST:
            raise MeasurementError(
                f"Cannot crop {self.grid} to {shape}: give {len(self.grid)} sides of at least {SMALLEST} pixels."
            )
        if any(n > 2 * m for n, m in zip(shape, self.grid, strict=True)):
            raise MeasurementError(
                f"Cannot crop {self.grid} to {shape}, more than twice as large: most of it would be unmeasured."
            )
        if around == "peak":
            middle = tuple(int(i) for i in np.unravel_index(int(np.argmax(self.intensities)), self.grid))
        else:
            middle = tuple(n // 2 for n in self.grid)
        starts = [m - n // 2 for m, n in zip(middle, shape, strict=True)]
        inside = tuple(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(starts, shape, self.grid, strict=True))
        there = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, starts, strict=True))
        intensities, measured = np.zeros(shape, np.float32), np.zeros(shape, bool)
        intensities[there], measured[there] = self.intensities[inside], self.measured[inside]
        if not intensities.any():
            raise MeasurementError(f"All intensities are zero in the {shape} pixels around the {around} at {middle}.")
        step = f"cropped from {self.grid} to {shape} around the {around} at {middle}"
        return self._changed(step, intensities=intensities, measured=measured)

    def _changed(self, step: str, **changes: Any) -> "Measurement":
        return replace(self, history=(*self.history, step), **changes)


def guess_zero_frequency(intensities: NDArray[Any]) -> ZeroFrequency:
    """Guess where zero frequency is: where the mean intensity is larger, in the middle or round the corners.

    Scattering is brightest near zero frequency. A missing centre fools the guess only where nothing round it was
    measured either.
    """
    values = np.nan_to_num(np.asarray(intensities, np.float64), nan=0, posinf=0, neginf=0).clip(0)
    middle = values[tuple(slice(n // 2 - max(n // 8, 1), n // 2 + max(n // 8, 1) + 1) for n in values.shape)]
    cornered = np.fft.fftshift(values)
    corner = cornered[tuple(slice(n // 2 - max(n // 8, 1), n // 2 + max(n // 8, 1) + 1) for n in values.shape)]
    return "corner" if corner.sum() > middle.sum() else "centre"


def bad_pixels(data: ArrayLike) -> dict[str, NDArray[np.bool_]]:
    """Find pixels that should not count, by reason: ``NaN or infinite``, ``negative``, ``saturated``.

    Saturated are pixels at an integer type's largest value, or three and more that share the largest value where fewer
    have the next one: saturation piles up at the top, while counts thin out towards it.
    """
    array = np.asarray(data)
    finite = np.isfinite(array)
    found = {"NaN or infinite": ~finite, "negative": np.where(finite, array, 0) < 0}
    top = array[finite].max() if finite.any() else 0
    at_top = finite & (array == top)
    is_limit = array.dtype.kind in "ui" and top == np.iinfo(array.dtype).max
    if top > 0 and (is_limit or at_top.sum() >= 3):
        below = array[finite & (array > 0) & (array < top)]
        is_pile = below.size > 0 and (below == below.max()).sum() < at_top.sum()
        if is_limit or is_pile:
            found["saturated"] = at_top
    return {reason: mask for reason, mask in found.items() if mask.any()}


def suspicious_pixels(measurement: Measurement) -> dict[str, NDArray[np.bool_]]:
    """Find measured pixels that are likely to be the detector's, by reason: ``saturated``, ``gap``, ``dead``, ``hot``.

    Speckles are two pixels wide and more, so that one pixel does not differ from its neighbours by an order: *hot* is
    ten times as bright as the brightest of them, with :data:`SURE` counts or more; *dead* is 0 where their median is
    :data:`BRIGHT` counts or more: zeros of the field itself are points, and are seldom met so exactly. The smallest
    intensity above 0 is taken as one count. *Gaps* are rows or columns of zeros beside such in which most pixels count.
    """
    from scipy import ndimage

    y, measured = measurement.intensities, measurement.measured
    count = float(y[y > 0].min())
    around = np.ones((3,) * y.ndim, bool)
    around[(1,) * y.ndim] = False
    median = ndimage.median_filter(y, footprint=around, mode="nearest")
    brightest = ndimage.maximum_filter(y, footprint=around, mode="nearest")
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
    return {reason: mask & measured for reason, mask in found.items() if (mask & measured).any()}


def simulate(
    picture: ArrayLike,
    *,
    oversampling: float = 2.0,
    photons: float | None = None,
    seed: int = 0,
    name: str = "simulated",
) -> tuple[Measurement, NDArray[np.complex64]]:
    """Make a measurement from an object: pad, transform, and add photon noise where asked.

    Parameters
    ----------
    picture
        The object, 2-D or 3-D, real or complex.
    oversampling
        The pattern's side over the object's, at least 2 for the object to be determined.
    photons
        Photons in the whole pattern, Poisson distributed; None for a pattern without noise.
    seed
        Of the noise.
    name
        Of the measurement.

    Returns
    -------
    measurement, truth : tuple
        The truth is the object in the middle of the measurement's grid, complex64.

    Raises
    ------
    MeasurementError
        If the picture is not one, or the numbers are out of range.
    """
    array = np.asarray(picture)
    if array.dtype.kind not in "buifc" or array.ndim not in (2, 3) or not np.isfinite(array).all() or not array.any():
        raise MeasurementError(
            f"An object is a 2-D or 3-D array of finite numbers that are not all zero, this is {array.dtype} of shape "
            f"{array.shape}."
        )
    if not 2 <= oversampling <= 16:
        raise MeasurementError(f"The oversampling is {oversampling:g}; it must be between 2 and 16.")
    grid = tuple(2 * round(n * oversampling / 2) for n in array.shape)
    truth = np.zeros(grid, np.complex64)
    truth[tuple(slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m, n in zip(grid, array.shape, strict=True))] = array
    history = f"simulated from an object of {array.shape} pixels, oversampling {oversampling:g}"
    return diffracted(truth, history, photons=photons, seed=seed, name=name)


def diffracted(
    x: NDArray[np.complexfloating], step: str, *, photons: float | None = None, seed: int = 0, **known: Any
) -> tuple[Measurement, NDArray[np.complex64]]:
    """Make a measurement from an object on its whole grid: transform it, and add photon noise where asked.

    Parameters
    ----------
    x
        ``[*grid]``, in the middle.
    step
        Where it comes from, for the history.
    photons, seed
        As in :func:`simulate`.
    **known
        The measurement's other attributes.

    Returns
    -------
    measurement, truth : tuple
        The truth is the object, scaled to the photons.

    Raises
    ------
    MeasurementError
        If the number of photons is out of range, or the pattern cannot be a measurement.
    """
    if photons is not None and not 0 < photons <= MOST_PHOTONS:
        raise MeasurementError(
            f"The number of photons is {photons:g}; it must be above 0 and at most {MOST_PHOTONS:g}."
        )
    intensities = np.abs(np.fft.fftshift(np.fft.fftn(x.astype(np.complex128)))) ** 2
    history = [step]
    scale = 1.0
    if photons is not None:
        # Intensities become counts, and the truth keeps its scale to them.
        scale = photons / intensities.sum()
        intensities = np.random.default_rng(seed).poisson(intensities * scale).astype(np.float64)
        known["photons_per_unit"] = 1.0
        history.append(f"Poisson noise of {photons:g} photons in all, seed {seed}")
    measurement = Measurement.of(intensities, zero_frequency="centre", history=tuple(history), **known)
    return measurement, (x * np.sqrt(scale)).astype(np.complex64)
