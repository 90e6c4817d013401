"""The phase retrieval transfer function: how far out the phases of independent reconstructions are the same.

Where they are not, the spectra of the reconstructions cancel each other in the mean, and the mean falls below what was
measured. The starts must be independent of each other: starts from one object or one network's answer, or iterates of
one run, agree because they began alike, and the function is then near 1 whatever the data say. A support that all of
them share is a part of what they agree in.

The mean of few does not fall to 0: n phases at random leave 1/√n of the amplitude, of seven starts .38, which is above
1/e. What is beyond chance is estimated beside.

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

from napari_dipr.physics.fourier import forward
from napari_dipr.physics.shells import first_below, half_period, shells, sums_in

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
    starts
        How many there are.
    """

    frequency: NDArray[np.float64]
    value: NDArray[np.float64]
    pixels: NDArray[np.int64]
    mean: float
    starts: int

    @property
    def chance(self) -> float:
        """The value that starts with nothing in common have, rms."""
        return 1 / math.sqrt(self.starts)

    @property
    def beyond_chance(self) -> NDArray[np.float64]:
        """What infinitely many such starts would have, ``√((n·PRTF² − 1)/(n − 1))``, 0 where that is negative.

        A start of the measured modulus is ``c`` in common with all and a deviation of its own, of which the mean of n
        has the energy ``(1 − c²)/n``. ``napari-dipr benchmark resolution`` holds it against the truth.
        """
        n = self.starts
        return np.sqrt(np.maximum((n * self.value**2 - 1) / max(n - 1, 1), 0))

    @property
    def cutoff(self) -> float | None:
        """The frequency at which it first falls below 1/e, between shells on a straight line.

        None where it never does, 0 where it is below from the first shell on.
        """
        return first_below(self.frequency, self.value, LEVEL)

    @property
    def resolution(self) -> float | None:
        """Half a period of :attr:`cutoff`, in voxels or nm; None where it never falls below, infinite at 0."""
        return half_period(self.cutoff)

    @property
    def resolution_beyond_chance(self) -> float | None:
        """Half a period where :attr:`beyond_chance` first falls below 1/e, as :attr:`resolution`."""
        return half_period(first_below(self.frequency, self.beyond_chance, LEVEL))


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
        ``[n, *grid]``, laid over each other, from independent starts.
    amplitudes
        Measured ``[*grid]``, zero frequency at the corner.
    measured
        Boolean ``[*grid]``; None where all were.
    basis
        As in :func:`~napari_dipr.physics.shells.shells`.

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
    size, shell = shells(grid, basis)
    pixels, sums = sums_in(shell[counts])
    return TransferFunction(
        sums(size[counts]) / pixels, sums(ratio) / pixels, pixels, float(ratio.mean()), len(objects)
    )
