"""Fourier shell correlation: how far out two reconstructions have the same spectrum.

Two halves of an ensemble of one measurement share its noise, its gaps and often their support, and agree in these. The
correlation says how well the *solver* comes to the same answer, and its resolution is a bound: two measurements of the
object say what the data tell.

References
----------
.. [1] M. van Heel, M. Schatz, "Fourier shell correlation threshold criteria", J. Struct. Biol. 151, 250 (2005).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.physics.fourier import forward
from napari_dipr.physics.shells import first_below, half_period, shells, sums_in

HALF = 0.5
# Of one independent pixel the half-bit criterion asks for 1, which nothing reaches: it is as for so many at least.
FEWEST = 4


@dataclass(frozen=True, eq=False)
class ShellCorrelation:
    """The correlation of two spectra in shells of the frequency.

    Attributes
    ----------
    frequency
        Mean in each shell, rising ``[shells]``: cycles per voxel, or per nm where the voxel was given.
    value
        ``[shells]``: the modulus of ``Σ F₁F₂*/√(Σ|F₁|²·Σ|F₂|²)``, for no intensity tells the objects' phase.
    pixels
        How many pixels each shell has ``[shells]``.
    half_bit
        The half-bit criterion ``[shells]``: where the value is above it, a pixel brings at least half a bit.
    """

    frequency: NDArray[np.float64]
    value: NDArray[np.float64]
    pixels: NDArray[np.int64]
    half_bit: NDArray[np.float64]

    @property
    def cutoff(self) -> float | None:
        """The frequency at which it first falls below .5; None where it never does, 0 from the first shell on."""
        return first_below(self.frequency, self.value, HALF)

    @property
    def half_bit_cutoff(self) -> float | None:
        """The frequency at which it first falls below the half-bit criterion, as :attr:`cutoff`."""
        return first_below(self.frequency, self.value, self.half_bit)

    @property
    def resolution(self) -> float | None:
        """Half a period of :attr:`cutoff`, in voxels or nm; None where it never falls below, infinite at 0."""
        return half_period(self.cutoff)

    @property
    def half_bit_resolution(self) -> float | None:
        """Half a period of :attr:`half_bit_cutoff`, as :attr:`resolution`."""
        return half_period(self.half_bit_cutoff)


def shell_correlation(
    a: Tensor, b: Tensor, basis: NDArray[np.float64] | None = None, filled: float = 1.0
) -> ShellCorrelation:
    """Work out the Fourier shell correlation of two objects that lie over each other.

    Parameters
    ----------
    a, b
        ``[*grid]``.
    basis
        As in :func:`~napari_dipr.physics.shells.shells`.
    filled
        Share of the grid that the object fills: of so many of a shell's pixels the half-bit criterion takes the noise
        to be independent, for a small object's spectrum is smooth.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Half a bit a pixel is a signal-to-noise ratio of √2 − 1 in the mean of both and half of it in each, hence
    ``(0.2071 + 1.9102/√n)/(1.2071 + 0.9102/√n)`` for n independent pixels (eq. 17 of [1]).
    """
    if a.shape != b.shape:
        raise ValueError(f"Objects of different shapes have no correlation: {tuple(a.shape)} and {tuple(b.shape)}.")
    f1, f2 = (forward(x[None].cpu().to(torch.complex128))[0].numpy() for x in (a, b))
    size, shell = shells(tuple(a.shape), basis)
    pixels, sums = sums_in(shell)
    cross = f1 * f2.conj()
    power = np.sqrt(sums(np.abs(f1) ** 2) * sums(np.abs(f2) ** 2))
    value = np.hypot(sums(cross.real), sums(cross.imag)) / np.maximum(power, np.finfo(float).tiny)
    root = np.sqrt(np.maximum(pixels * filled, FEWEST))
    snr = (math.sqrt(2) - 1) / 2
    half_bit = (snr + 2 * math.sqrt(snr) / root + 1 / root) / (1 + snr + 2 * math.sqrt(snr) / root)
    return ShellCorrelation(sums(size) / pixels, value, pixels, half_bit)
