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
from napari_dipr.physics.axes import along

SMALLEST = 16
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
            2-D or 3-D real numbers. Pixels that are NaN, infinite or negative must be masked (see
            :func:`~napari_dipr.preparation.bad.bad_pixels`).
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

    @property
    def voxel_size(self) -> tuple[float, ...] | None:
        """The object's, nanometres along each axis; None where the geometry does not tell."""
        return None if self.geometry is None else self.geometry.voxel_size(self.grid)

    @property
    def voxel_basis(self) -> NDArray[np.float64] | None:
        """The edges of the object's voxel along the array's axes as columns ``[d, d]``, nm; None as of the size.

        They are at right angles but for a rocking scan, see :meth:`~napari_dipr.geometry.Geometry.basis`.
        """
        if self.is_rocking_scan:
            assert self.geometry is not None
            return self.geometry.basis(self.grid)
        return None if (voxel := self.voxel_size) is None else np.diag(voxel)

    @property
    def is_rocking_scan(self) -> bool:
        """Whether it is a volume of which the geometry tells how it was rocked through."""
        return len(self.grid) == 3 and self.geometry is not None and self.geometry.scan is not None

    def cornered_amplitudes(self) -> NDArray[np.float32]:
        """Return ``√Y`` with zero frequency at the corner, as solvers take it."""
        return np.ascontiguousarray(np.fft.ifftshift(np.sqrt(self.intensities)))

    def cornered_measured(self) -> NDArray[np.bool_]:
        """Return the mask with zero frequency at the corner."""
        return np.ascontiguousarray(np.fft.ifftshift(self.measured))

    def with_mask(self, measured: ArrayLike, steps: Sequence[str] = ()) -> "Measurement":
        """Return the measurement with these pixels, and those masked before, unmeasured; ``steps`` say why."""
        mask = np.asarray(measured) != 0
        if mask.shape != self.grid:
            raise MeasurementError(f"The mask has the shape {mask.shape}, the data {self.grid}. They must be equal.")
        mask &= self.measured
        if not self.intensities[mask].any():
            raise MeasurementError(
                "The mask leaves no measured pixel that is not zero. Is its polarity right? True means measured."
            )
        steps = steps or (f"masked {int((~mask).sum())} pixels as unmeasured",)
        return self._changed(*steps, intensities=np.where(mask, self.intensities, 0), measured=mask)

    def without_background(self, level: float) -> "Measurement":
        """Return the measurement with ``level`` taken off all intensities, and 0 where that is negative."""
        rest = np.where(self.measured, np.maximum(self.intensities - np.float32(level), 0), np.float32(0))
        if not rest.any():
            raise MeasurementError(
                f"No intensity is above the background of {level:g}: the largest is {self.intensities.max():g}."
            )
        return self._changed(f"background of {level:.4g} subtracted", intensities=rest)

    def thresholded(self, counts: float) -> "Measurement":
        """Return the measurement with intensities below ``counts`` set to 0 (they stay measured)."""
        kept = np.where(self.intensities < counts, np.float32(0), self.intensities)
        if not kept.any():
            raise MeasurementError(
                f"No intensity reaches the threshold {counts:g}: the largest is {self.intensities.max():g}."
            )
        return self._changed(f"intensities below {counts:g} set to 0", intensities=kept)

    def cropped(
        self, size: int | Sequence[int], around: Literal["peak", "centre"] | tuple[int, ...] = "peak", why: str = ""
    ) -> "Measurement":
        """Return a square or cube of ``size``, whose middle pixel is the brightest one, the array's centre, or given.

        A crop reaching over the edge, or larger than the pattern, is filled up with unmeasured pixels. Cropping a
        pattern coarsens the object's pixels; it does not cut the object. ``why`` says what a given pixel is.
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
        if not isinstance(around, str):
            middle = around
        elif around == "peak":
            middle = tuple(int(i) for i in np.unravel_index(int(np.argmax(self.intensities)), self.grid))
        else:
            middle = tuple(n // 2 for n in self.grid)
        name = around if isinstance(around, str) else why or "pixel"
        if shape == self.grid and middle == tuple(n // 2 for n in self.grid):
            return self
        starts = [m - n // 2 for m, n in zip(middle, shape, strict=True)]
        inside = tuple(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(starts, shape, self.grid, strict=True))
        there = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, starts, strict=True))
        intensities, measured = np.zeros(shape, np.float32), np.zeros(shape, bool)
        intensities[there], measured[there] = self.intensities[inside], self.measured[inside]
        if not intensities.any():
            raise MeasurementError(f"All intensities are zero in the {shape} pixels around the {name} at {middle}.")
        step = f"cropped from {self.grid} to {shape} around the {name} at {middle}"
        return self._changed(step, intensities=intensities, measured=measured)

    def binned(self, factors: Sequence[int]) -> "Measurement":
        """Return the measurement with blocks of ``factors`` pixels summed.

        Zero frequency comes to lie in the middle of a block, for an even factor half a pixel off it. A block counts as
        measured where all of its pixels were; at the array's edge some are not in it. Binning cuts the field of view:
        the object has to span less than half of the binned array.
        """
        if len(factors) != len(self.grid) or min(factors) < 1:
            raise MeasurementError(f"Cannot bin {self.grid} by {tuple(factors)}: give {len(self.grid)} factors from 1.")
        shape = tuple(n // b for n, b in zip(self.grid, factors, strict=True))
        if min(shape) < SMALLEST:
            raise MeasurementError(
                f"Binned by {tuple(factors)}, {self.grid} pixels are {shape}; each side must have {SMALLEST}. Bin less."
            )
        intensities: Any = self.intensities.astype(np.float64)
        measured: Any = self.measured
        for axis, (n, b, m) in enumerate(zip(self.grid, factors, shape, strict=True)):
            start = n // 2 - (b - 1) // 2 - b * (m // 2)
            index = start + np.arange(m * b)
            inside = (index >= 0) & (index < n)
            apart = (*intensities.shape[:axis], m, b, *intensities.shape[axis + 1 :])
            index, inside = index.clip(0, n - 1), along(inside, axis, len(shape))
            intensities = (intensities.take(index, axis) * inside).reshape(apart).sum(axis + 1)
            measured = (measured.take(index, axis) & inside).reshape(apart).all(axis + 1)
        if not intensities[measured].any():
            raise MeasurementError(f"Binned by {tuple(factors)}, no block is left of which all pixels were measured.")
        step = f"binned by {tuple(factors)} from {self.grid} to {shape}"
        geometry = None if self.geometry is None else self.geometry.binned(tuple(factors))
        kept = np.where(measured, intensities, 0).astype(np.float32)
        return self._changed(step, intensities=kept, measured=measured, geometry=geometry)

    def _changed(self, *steps: str, **changes: Any) -> "Measurement":
        return replace(self, history=(*self.history, *steps), **changes)


def guess_zero_frequency(intensities: NDArray[Any]) -> ZeroFrequency:
    """Guess where zero frequency is: where the mean intensity is larger, in the middle or round the corners.

    Scattering is brightest near zero frequency. A missing centre fools the guess only where nothing round it was
    measured either.
    """
    array = np.asarray(intensities)
    reach = [np.arange(-max(n // 8, 1), max(n // 8, 1) + 1) for n in array.shape]

    def brightness(middle: Sequence[int]) -> float:
        part = array[np.ix_(*((m + steps) % n for m, steps, n in zip(middle, reach, array.shape, strict=True)))]
        return float(np.nan_to_num(np.asarray(part, np.float64), nan=0, posinf=0, neginf=0).clip(0).sum())

    return "corner" if brightness([0] * array.ndim) > brightness([n // 2 for n in array.shape]) else "centre"
