"""What starts agree on, how much they differ, and how far out: of objects that lie over each other."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.physics.fourier import mirrored
from napari_dipr.physics.fsc import ShellCorrelation, shell_correlation
from napari_dipr.physics.metrics import typical_amplitude
from napari_dipr.physics.prtf import TransferFunction, transfer_function
from napari_dipr.solvers.problem import Problem


@dataclass(frozen=True, eq=False)
class Modes:
    """Orthogonal objects that starts are made of, the strongest first.

    Attributes
    ----------
    shares
        Of the energy of all starts ``[n]``, falling, of sum 1. That of the first is 1 where all are the same.
    objects
        Complex ``[k, *grid]``, each of the energy that it has in a start in the mean.
    weights
        ``[n, n]``: column j is how much of mode j each start has, of norm 1.

    References
    ----------
    .. [1] V. Favre-Nicolin, S. Leake, Y. Chushkin, "Free log-likelihood as an unbiased metric for coherent diffraction
       imaging", Sci. Rep. 10, 2664 (2020).
    """

    shares: NDArray[np.float64]
    objects: Tensor = field(repr=False)
    weights: NDArray[np.complex128] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Consensus:
    """What kept starts have in common.

    Attributes
    ----------
    mean
        Of the complex objects ``[*grid]``: where phases differ it is small.
    amplitude
        The mean of their amplitudes ``[*grid]``.
    variance
        Of the complex objects ``[*grid]``, relative to the square of the mean's typical amplitude.
    spread
        The sum of the variance over the mean's energy. Of starts that differ by chance alone it is the error of each;
        what all have wrong in the same way is not in it.
    prtf
        The phase retrieval transfer function, on the pixels that were fitted; None where the starts are not
        independent, for it would be near 1 whatever the data say.
    fsc
        Fourier shell correlation between the means of two halves; None of fewer than two.
    modes
        The first of them.
    """

    mean: Tensor
    amplitude: Tensor
    variance: Tensor
    spread: float
    prtf: TransferFunction | None
    fsc: ShellCorrelation | None
    modes: Modes


def consensus(
    problem: Problem,
    objects: Tensor,
    supports: Tensor,
    *,
    independent: bool = True,
    basis: NDArray[np.float64] | None = None,
) -> Consensus:
    """Work out what objects have in common.

    Parameters
    ----------
    problem
        Of one measurement.
    objects, supports
        Aligned ``[n, *grid]``, the best first, inside their supports.
    independent
        Whether the starts were.
    basis
        The voxel's edges, see :func:`~napari_dipr.physics.shells.shells`: resolutions are then in nm.
    """
    n, mean = len(objects), objects.mean(0)
    deviation = torch.zeros_like(mean.real, dtype=torch.float64)
    for x in objects:
        deviation += (x - mean).abs().double().square()
    deviation /= max(n - 1, 1)
    energy = float(mean.abs().double().square().sum())
    curve = None
    if independent:
        amplitudes, measured = whole_pattern(problem)
        curve = transfer_function(objects, amplitudes, measured, basis)
    # The better and the worse ones come to lie in both halves.
    filled = float(supports.double().mean())
    halves = None if n < 2 else shell_correlation(objects[::2].mean(0), objects[1::2].mean(0), basis, filled)
    return Consensus(
        mean=mean,
        amplitude=objects.abs().mean(0),
        variance=(deviation / float(typical_amplitude(mean.abs()[None])[0]) ** 2).to(mean.real.dtype),
        spread=float(deviation.sum()) / energy,
        prtf=curve,
        fsc=halves,
        modes=find_modes(objects),
    )


def find_modes(objects: Tensor, most: int = 3) -> Modes:
    """Return the eigenmodes of objects ``[n, *grid]`` that lie over each other, ``most`` of them as objects.

    They are the singular vectors of the objects, found from their n × n scalar products.
    """
    flat = objects.flatten(1)
    n = len(flat)
    gram = np.array([[complex(torch.vdot(a, b)) for b in flat] for a in flat])
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    # xᵢ = Σⱼ √λⱼ·conj(Vᵢⱼ)·uⱼ with uⱼ = Σᵢ Vᵢⱼ·xᵢ/√λⱼ of norm 1: in the mean a start has λⱼ/n of the energy.
    count = min(most, n)
    mixed = torch.from_numpy(vectors[:, :count].T.copy()).to(flat) @ flat
    return Modes(values / values.sum(), (mixed / n**0.5).reshape(count, *objects.shape[1:]), vectors.conj())


def whole_pattern(problem: Problem) -> tuple[Tensor, Tensor | None]:
    """Return amplitudes and mask ``[*grid]`` of a problem of one measurement, from its half where it has but that."""
    measured = problem.measured
    mask = None if measured is None else measured[0] if measured.ndim > len(problem.grid) else measured
    if problem.whole is None:
        return problem.amplitudes[0], mask
    return _unhalved(problem.amplitudes[0], problem.whole), None if mask is None else _unhalved(mask, problem.whole)


def _unhalved(half: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return a pattern ``[*grid]`` that is the same at q and −q from its half."""
    n = grid[-1]
    column = torch.arange(n, device=half.device)
    there = half[..., torch.where(column <= n // 2, column, n - column)]
    others = tuple(range(1, half.ndim))
    turned = mirrored(there[None], others)[0]
    return torch.where(column <= n // 2, there, turned)
