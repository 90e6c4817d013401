"""The phase retrieval transfer function: how far out the phases of independent reconstructions are the same.

Where they are not, the spectra of the reconstructions cancel each other in the mean, and the mean falls below what was
measured. The starts must be independent of each other: starts from one object or one network's answer, or iterates of
one run, agree because they began alike, and the function is then near 1 whatever the data say. A support that all of
them share is a part of what they agree in.

References
----------
.. [1] H. N. Chapman et al., "High-resolution ab initio three-dimensional x-ray diffraction microscopy", J. Opt. Soc.
   Am. A 23, 1179 (2006).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.physics.fourier import backward, forward
from napari_dipr.physics.placement import phase_ramp, with_ramp
from napari_dipr.physics.symmetry import twin

# The resolution is said where the function has fallen to it, as in [1].
LEVEL = math.exp(-1)


@dataclass(frozen=True, eq=False)
class TransferFunction:
    """The mean of ``|F(mean object)|/A`` in shells of the frequency.

    Attributes
    ----------
    frequency
        Mean in each shell, rising ``[shells]``: cycles per voxel, or per nm where the voxel was given.
    value
        ``[shells]``.
    pixels
        How many pixels each shell has that count ``[shells]``.
    mean
        Over all pixels that count.
    """

    frequency: NDArray[np.float64]
    value: NDArray[np.float64]
    pixels: NDArray[np.int64]
    mean: float

    @property
    def cutoff(self) -> float | None:
        """The frequency at which it first falls below 1/e, between shells on a straight line.

        None where it never does, 0 where it is below from the first shell on.
        """
        below = np.flatnonzero(self.value < LEVEL)
        if not below.size:
            return None
        if (i := int(below[0])) == 0:
            return 0.0
        (f0, f1), (v0, v1) = self.frequency[i - 1 : i + 1], self.value[i - 1 : i + 1]
        return float(f0 + (f1 - f0) * (v0 - LEVEL) / (v0 - v1))

    @property
    def resolution(self) -> float | None:
        """Half a period of :attr:`cutoff`, in voxels or nm; None where it never falls below, infinite at 0."""
        cutoff = self.cutoff
        return None if cutoff is None else 1 / (2 * cutoff) if cutoff else math.inf


def aligned(objects: Tensor, reference: int = 0) -> Tensor:
    """Lay reconstructions of one measurement over one of them.

    Parameters
    ----------
    objects
        ``[n, *grid]``.
    reference
        Which of them stays as it is.

    Returns
    -------
    Tensor
        complex128 ``[n, *grid]`` on the CPU, without what no intensity tells: shift (by fractions of a voxel too, which
        is a ramp of the spectrum's phase), twin and phase.
    """
    objects = objects.cpu().to(torch.complex128)
    laid = []
    for number, x in enumerate(objects):
        if number != reference:
            # Half a voxel off, an object that is nearly its own twin may be more like it: both are laid first.
            ways = [_laid_over(objects[reference], y) for y in (x, twin(x[None])[0])]
            x = max(ways, key=lambda y: float(_overlap(objects[reference], y).abs()))
            x = x * torch.exp(-1j * torch.angle(_overlap(objects[reference], x)))
        laid.append(x)
    return torch.stack(laid)


def transfer_function(
    objects: Tensor, amplitudes: Tensor, measured: Tensor | None = None, basis: NDArray[np.float64] | None = None
) -> TransferFunction:
    """Work out the phase retrieval transfer function of independent reconstructions.

    A pixel counts where it was measured and its amplitude is above 0: elsewhere there is no ratio. Of a shell in which
    most pixels have no photon those count that happened to get one, and they are brighter than what any object gives
    there: where photons are few the function is too low rather than too high. Objects that were made in partially
    coherent light do not have the measured amplitudes, so that it does not reach 1.

    Parameters
    ----------
    objects
        ``[n, *grid]``, :func:`aligned`, from independent starts.
    amplitudes
        Measured ``[*grid]``, zero frequency at the corner.
    measured
        Boolean ``[*grid]``; None where all were.
    basis
        The voxel's edges along the array's axes as columns ``[d, d]``, nm: of a Bragg pattern
        :meth:`~napari_dipr.geometry.Geometry.basis`, else a diagonal. None counts in voxels.

    Raises
    ------
    ValueError
        If shapes differ, or no pixel counts.
    """
    grid = tuple(objects.shape[1:])
    if tuple(amplitudes.shape) != grid:
        raise ValueError(f"The objects are of the shape {grid}, the amplitudes {tuple(amplitudes.shape)}.")
    a = amplitudes.cpu().double().numpy()
    counts = (a > 0) if measured is None else (a > 0) & measured.cpu().numpy()
    if not counts.any():
        raise ValueError("No pixel counts: all are unmeasured or 0.")
    mean = forward(objects.cpu().to(torch.complex128).mean(0)[None])[0].abs().numpy()
    ratio = mean[counts] / a[counts]
    per_length = np.eye(len(grid)) if basis is None else np.linalg.inv(basis)
    frequencies = np.stack([f[counts] for f in np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")], -1)
    size = np.linalg.norm(frequencies @ per_length, axis=-1)
    # As wide as the widest of the steps, for there to be a pixel along each axis; out to the end of the longest axis.
    lengths = np.linalg.norm(per_length, axis=1)
    shell = np.round(size / (lengths / np.asarray(grid)).max()).astype(int)
    within = size <= lengths.max() / 2 * (1 + 1e-9)
    pixels = np.bincount(shell[within])
    there = np.flatnonzero(pixels)
    sums = (np.bincount(shell[within], values[within])[there] for values in (size, ratio))
    frequency, value = (total / pixels[there] for total in sums)
    return TransferFunction(frequency, value, pixels[there], float(ratio.mean()))


def _laid_over(fixed: Tensor, x: Tensor) -> Tensor:
    """Shift an object over another: by whole voxels to where they overlap most, and by the rest."""
    spectrum = forward(fixed[None])
    peak = np.unravel_index(int(backward(spectrum.conj() * forward(x[None])).abs().argmax()), x.shape)
    x = torch.roll(x, [-int(p) for p in peak], tuple(range(x.ndim)))
    f = forward(x[None])
    slopes = phase_ramp(np.fft.fftshift((spectrum.conj() * f)[0].numpy()))
    ramp = with_ramp(np.ones(x.shape, np.complex64), tuple(-slope for slope in slopes))
    return backward(f * torch.from_numpy(np.fft.ifftshift(ramp)))[0]


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    return torch.vdot(a.flatten(), b.flatten())
