"""Free pixels: some are held back from the reconstruction, to judge it by what it has not seen.

The error on the pixels that a solver fits falls with every freedom it is given, be it a support that is too large.
That on free pixels rises again where freedom is used to fit noise.

References
----------
.. [1] V. Favre-Nicolin, S. Leake, Y. Chushkin, "Free log-likelihood as an unbiased metric for coherent diffraction
   imaging", Sci. Rep. 10, 2664 (2020).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.fourier import mirrored
from napari_dipr.solvers.passes import misfits

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Errors

# Round zero frequency nothing is held back, within this share of the pattern's side: those pixels decide the object's
# size, and none beside them is like them.
CENTRE = 0.05


@dataclass(frozen=True, eq=False)
class FreePixels:
    """Pixels that are held back.

    Attributes
    ----------
    index
        ``[pixels]``, into the flattened spectrum, the same for all samples.
    amplitudes
        What was measured there, ``[batch, pixels]``.
    measured
        Whether it was measured, ``[batch, pixels]``; None where all of it was.
    """

    index: Tensor
    amplitudes: Tensor
    measured: Tensor | None = None

    @classmethod
    def choose(
        cls,
        amplitudes: Tensor,
        measured: Tensor | None,
        whole: tuple[int, ...] | None,
        fraction: float,
        radius: int,
        seed: int,
    ) -> "FreePixels":
        """Choose islands of pixels at random, so that free pixels are not all neighbours of fitted ones.

        Parameters
        ----------
        amplitudes, measured, whole
            Of the problem.
        fraction
            Share of the pixels to hold back.
        radius
            Of an island, pixels.
        seed
            Of the draw.

        Raises
        ------
        MeasurementError
            If the fraction is not a small share, or leaves no pixel free.
        """
        if not 0 < fraction <= 0.5:
            raise MeasurementError(f"A share of {fraction:g} of the pixels cannot be held back; take 0 to 0.5.")
        grid = whole or tuple(amplitudes.shape[1:])
        free = torch.from_numpy(_islands(grid, fraction / (2 if whole else 1), radius, seed)).to(amplitudes.device)
        if whole:  # a real object has the same intensity at −q
            free = (free | mirrored(free[None])[0])[..., : whole[-1] // 2 + 1]
        index = free.flatten().nonzero()[:, 0]
        known = None if measured is None else measured.expand(amplitudes.shape).flatten(1).index_select(1, index)
        if len(index) == 0 or (known is not None and not bool(known.any(1).all())):
            raise MeasurementError(f"No measured pixel is left free at a share of {fraction:g}: take a larger one.")
        return cls(index, amplitudes.flatten(1).index_select(1, index), known)

    def errors(self, f: Tensor, intensities: Tensor | None, photons: float | None) -> "Errors":
        """Return the errors on these pixels alone, for a spectrum and a model's intensities of it."""
        from napari_dipr.solvers.problem import Errors

        f = f.flatten(1).index_select(1, self.index)
        model = None if intensities is None else intensities.flatten(1).index_select(1, self.index)
        sums = misfits(f, self.amplitudes, self.measured, model, photons=photons)
        a = self.amplitudes.to(sums.dtype)
        known = torch.ones_like(a) if self.measured is None else self.measured.to(a)
        power, size, pixels = (a.square() * known).sum(1), (a * known).sum(1), known.sum(1)
        square, absolute, deviance = sums.unbind(1)
        likelihood = None if photons is None else deviance / pixels
        return Errors(square / power.clamp_min(1e-30), absolute / size.clamp_min(1e-30), likelihood)


def _islands(grid: tuple[int, ...], fraction: float, radius: int, seed: int) -> np.ndarray:
    """Return a mask of balls that cover a share of a cornered grid."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.fft.fftfreq(n) for n in grid], indexing="ij")
    allowed = np.flatnonzero(sum(axis**2 for axis in axes) > CENTRE**2)
    steps = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * len(grid), indexing="ij"), -1).reshape(
        -1, len(grid)
    )
    ball = steps[(steps**2).sum(1) <= radius**2]
    free, may = np.zeros(grid, bool), np.zeros(grid, bool)
    may.flat[allowed] = True
    wanted = round(fraction * free.size)
    while (missing := wanted - int(free.sum())) > 0:
        centres = generator.choice(allowed, max(1, missing // (2 * len(ball))))
        pixels = np.stack(np.unravel_index(centres, grid), -1)[:, None] + ball
        free[tuple(np.moveaxis(pixels % grid, -1, 0))] = True
        free &= may
    return free
