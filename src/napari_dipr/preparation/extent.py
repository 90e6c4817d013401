"""How large the object is, and whether the pattern is sampled finely enough for it, from the autocorrelation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dipr.measurement import Measurement
from napari_dipr.physics.axes import from_middle

# As for a first support: streaks and what else is in a real pattern leave a pedestal of some hundredths.
LEVEL = 0.04
SIGMAS = 5
AROUND, PLATEAU = 6, 0.25


@dataclass(frozen=True)
class Extent:
    """An object's size.

    Attributes
    ----------
    pixels
        Along each axis of the array, of the object's pixels.
    grid
        The array's.
    is_cut
        Whether the autocorrelation reaches the array's edge along an axis: the object may then be larger, and the
        oversampling less than 2, which cannot be told apart.
    """

    pixels: tuple[int, ...]
    grid: tuple[int, ...]
    is_cut: tuple[bool, ...]

    @property
    def oversampling(self) -> tuple[float, ...]:
        """The array's side over the object's, along each axis; 2 or less where it is cut."""
        return tuple(n / p for n, p in zip(self.grid, self.pixels, strict=True))

    def __str__(self) -> str:
        """Say it in words, with a warning where the object may be larger."""
        size = " × ".join(("≥ " if cut else "") + str(p) for p, cut in zip(self.pixels, self.is_cut, strict=True))
        grid = " × ".join(map(str, self.grid))
        words = f"the object spans about {size} of {grid} pixels, by the autocorrelation"
        if any(self.is_cut):
            axes = ", ".join(str(axis) for axis, cut in enumerate(self.is_cut) if cut)
            return (
                f"{words}, which reaches the array's edge along axis {axes}: the oversampling may be 2 or less there, "
                "and is then too little. Bin less, sample finer, or take away background"
            )
        return f"{words} (oversampling {' × '.join(f'{o:.1f}' for o in self.oversampling)})"


def find_extent(measurement: Measurement) -> Extent:
    """Return the object's size along each axis: half of the autocorrelation's.

    The autocorrelation counts where its modulus is :data:`LEVEL` of its largest (but for the spike of uncorrelated
    noise at zero), and :data:`SIGMAS` standard deviations of the photons' noise, in one piece with the middle. Faint or
    pointed ends are below it: the size is a lower bound. The smallest intensity above 0 is taken as one count; other
    unmeasured pixels are filled as :func:`~napari_dipr.physics.fill.fill_unmeasured` does.

    Where zero frequency was not measured, whatever is put there would be most of the autocorrelation. Then each
    intensity is taken relative to those within :data:`AROUND` pixels, which leaves the speckles and their size, and
    counts where the modulus is :data:`PLATEAU` of what it is near the middle: right within a fifth or so.
    """
    y, measured = measurement.intensities, measurement.measured
    middle = tuple(n // 2 for n in y.shape)
    near = tuple(slice(m - 1, m + 2) for m in middle)
    one_count = float(y[y > 0].min())
    if not measured[near].all():
        rho = _autocorrelation(_relative(y, measured, one_count))
        rho = ndimage.gaussian_filter(rho, 1)
        lag = from_middle(y.shape)
        level = PLATEAU * float(np.median(rho[(lag >= 2) & (lag <= 4)]))
        rho[lag < 2] = np.inf
    else:
        rho = _autocorrelation(_filled(y, measured))
        largest = np.sort(rho[near].ravel())[-2]
        level = max(LEVEL * largest, SIGMAS * np.sqrt(one_count * y.sum(dtype=np.float64)) / y.size)
        rho[middle] = np.inf
    pieces, _ = ndimage.label(rho > level, np.ones((3,) * y.ndim))
    (box,) = ndimage.find_objects((pieces == pieces[middle]).astype(np.uint8))
    pixels = tuple(max(1, (s.stop - s.start + 1) // 2) for s in box)
    return Extent(pixels, y.shape, tuple(s.start == 0 or s.stop == n for s, n in zip(box, y.shape, strict=True)))


def _autocorrelation(values: NDArray[np.floating]) -> NDArray[np.floating]:
    from scipy import fft  # late: the window opens without it

    return np.fft.fftshift(np.abs(fft.ifftn(fft.ifftshift(values), workers=-1)))


def _filled(y: NDArray[np.float32], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    if measured.all():
        return y
    import torch  # late: the window opens without it

    from napari_dipr.physics.fill import fill_unmeasured

    cornered = (torch.from_numpy(np.fft.ifftshift(a))[None] for a in (y, measured))
    return np.fft.fftshift(fill_unmeasured(*cornered)[0].numpy())


def _relative(y: NDArray[np.float32], measured: NDArray[np.bool_], one_count: float) -> NDArray[np.float32]:
    """Return how far intensities are above or below what is around them, 0 where they were not measured."""
    weight = ndimage.gaussian_filter(measured.astype(np.float32), AROUND)
    around = ndimage.gaussian_filter(y, AROUND) / np.maximum(weight, 1e-3)
    return np.where(measured, (y - around) / (around + one_count), 0)
