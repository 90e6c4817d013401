"""How large the object is, and whether the pattern is sampled finely enough for it, from the autocorrelation."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft, ndimage

from napari_dipr.measurement import Measurement
from napari_dipr.physics.fill import fill_unmeasured

# As for a first support: streaks and what else is in a real pattern leave a pedestal of some hundredths.
LEVEL = 0.04
SIGMAS = 5


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
    pointed ends are below it: the size is a lower bound. The smallest intensity above 0 is taken as one count.
    Unmeasured pixels are filled as :func:`~napari_dipr.physics.fill.fill_unmeasured` does.
    """
    y, measured = measurement.intensities, measurement.measured
    if not measured.all():
        cornered = (torch.from_numpy(np.fft.ifftshift(a))[None] for a in (y, measured))
        y = np.fft.fftshift(fill_unmeasured(*cornered)[0].numpy())
    rho = np.fft.fftshift(np.abs(fft.ifftn(fft.ifftshift(y), workers=-1)))
    middle = tuple(n // 2 for n in y.shape)
    beside = rho[tuple(slice(m - 1, m + 2) for m in middle)].ravel()
    largest = np.sort(beside)[-2]
    noise = np.sqrt(float(y[y > 0].min()) * y.sum(dtype=np.float64)) / y.size
    rho[middle] = np.inf
    pieces, _ = ndimage.label(rho > max(LEVEL * largest, SIGMAS * noise), np.ones((3,) * y.ndim))
    (box,) = ndimage.find_objects((pieces == pieces[middle]).astype(np.uint8))
    pixels = tuple(max(1, (s.stop - s.start + 1) // 2) for s in box)
    return Extent(pixels, y.shape, tuple(s.start == 0 or s.stop == n for s, n in zip(box, y.shape, strict=True)))
