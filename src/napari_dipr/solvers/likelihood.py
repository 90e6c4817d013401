"""Refinement by maximum likelihood: conjugate gradients on the probability of what was measured, to end recipes with.

With ``c = A²`` the measured intensities and ``o = |Fx|²`` the object's (``|Fx|² ⊗ PSF`` where light is partially
coherent), both minimise over objects inside the support, with sums over measured pixels,

    Poisson:   L = Σ o − c + c·ln(c/o),    Gaussian:   L = ½ Σ (√o − A)².

With ``ℓ'`` the derivative of a pixel's term to its o, Wirtinger's calculus gives the gradient that a step follows,

    g = S·F⁻¹[(ℓ' ⊗ PSF)·Fx],    dL = 2N·Re⟨g, dx⟩,    ℓ' = 1 − c/o or ½(1 − A/√o),

N the pixels of the grid: the PSF is symmetric, so that blurring is its own adjoint, and F⁻¹ is F's but for N. The
Gaussian's is ``½·S·(x − P(x))``: error reduction is its steepest descent.

A step moves along Polak's and Ribière's conjugate direction d. Since ``F(x + γd) = Fx + γFd``, intensities along it
are the parabola ``o + γb + γ²q`` with ``b = 2·Re(Fx·conj(Fd))`` and ``q = |Fd|²`` (blurred, where light is partially
coherent), and its search costs sums over pixels but no transforms: γ is Gauss and Newton's, corrected once by the
secant of the slopes. What does not lower L, computed from differences that rounding cannot hide, is refused: the sample
stays, and its next step is a shorter one along the gradient. Everything is per sample, and asks the device for no
decision.

Where the object is known not to be negative, the direction is bent: it leads to the projection of a trial onto x ≥ 0,
the trial as long as the last step. All between is positive too, and γ is bounded by where the next pixel ends. Pixels
at zero whose gradient would push them below count in neither gradient nor conjugacy.

References
----------
.. [1] P. Thibault, M. Guizar-Sicairos, "Maximum-likelihood refinement for coherent diffractive imaging", New J. Phys.
   14, 063004 (2012).
.. [2] V. Favre-Nicolin et al., "PyNX: high-performance computing toolkit for coherent X-ray imaging based on
   operators", J. Appl. Cryst. 53, 1404 (2020).
.. [3] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., sec. 5.2 (PR+) and 16.7 (projected gradients).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from napari_dipr.physics.fourier import batchwise, grid_dims
from napari_dipr.solvers.passes import LEAST
from napari_dipr.solvers.problem import Problem, State
from napari_dipr.solvers.projections import Algorithm

# Steps between two transforms of the object itself, which take out what rounding has added to its spectrum.
REFRESH = 50
# The secant may shorten or lengthen the first γ by this much; a refused γ is divided by the latter.
SHORTEST, LONGEST = 0.1, 4.0
# Background of counts in an unknown unit, as a share of the mean intensity.
UNSEEN = 1e-4


@dataclass(frozen=True)
class _Memory:
    spectrum: Tensor  # of the iterate
    gradient: Tensor
    direction: Tensor
    size: Tensor  # ‖gradient‖² per sample
    length: Tensor  # of the next trial at most, per sample, in units of the direction
    age: int = 0


class _Likelihood(Algorithm):
    """Conjugate gradients on a likelihood; see the module."""

    searches: ClassVar[bool] = False
    curvature: ClassVar[float]
    """Of a pixel's term where model and data agree, ``o·ℓ''``."""

    def spectrum(self, state: State) -> Tensor | None:
        """Return the iterate's spectrum, where a step of this algorithm has left it: it costs no transform."""
        return state.memory.spectrum if isinstance(state.memory, _Memory) else None

    def step(self, problem: Problem, state: State) -> State:
        """Return the next state.

        Two transforms, and one more for the first step and for every 50th, which renew the spectrum. A PSF asks for
        eight more, of real numbers.
        """
        memory = state.memory if isinstance(state.memory, _Memory) else None
        x = problem.project_object(state.object, state.support) if memory is None else state.object
        f = problem.forward(x) if memory is None else memory.spectrum
        floor, data = self._floored(problem)
        hidden = None if problem.measured is None else problem.measured.logical_not()
        blurs = 0 if problem.coherence is None else 4

        model = problem.blur(_product(f, f)).add_(floor).clamp_min_(floor)
        slope = _hide(self._slope(model, data), hidden)
        gradient = _gradient(problem, state.support, x, f, slope)
        size = _inner(gradient, gradient)
        direction, length = -gradient, torch.full_like(size, 0.5 / self.curvature if problem.positive else torch.inf)
        if memory is not None:
            # No direction that leads uphill; with γ at the minimum of a parabola there is none.
            share = ((size - _inner(gradient, memory.gradient)) / memory.size.clamp_min(_tiny(size))).clamp_min(0)
            share = torch.where(share * _inner(gradient, memory.direction) < size, share, 0)
            direction, length = _along(direction, memory.direction, share), memory.length
        most = length
        if problem.positive:
            direction, most = _bent(x, direction, length)

        g = problem.forward(direction)
        b, q = (_hide(problem.blur(y), hidden) for y in (_product(f, g, 2), _product(g, g)))
        gamma, downhill = self._search(problem, (model, b, q), data, floor, slope, most)
        change = b.addcmul_(batchwise(gamma, q), q).mul_(batchwise(gamma, q))
        falls = _sum(problem, self._rise(model, data, change)) < 0

        moved = torch.where(falls, gamma, 0)
        x, f = _along(x, direction, moved), _along(f, g, moved)
        if problem.positive:
            x = problem.project_object(x, state.support)  # rounding at the bound
        age, ffts = (0 if memory is None else memory.age) + 1, (3 if memory is None else 2) + 2 * blurs
        if age % REFRESH == 0:
            f, ffts = problem.forward(x), ffts + 1
        free = torch.where(gamma < most, gamma, 2 * gamma) if problem.positive else torch.full_like(gamma, torch.inf)
        tried = torch.where(falls, free, torch.where(downhill, gamma / LONGEST, length)).clamp_min(1e-20)
        return state.advance(x, ffts, _Memory(f, gradient, direction, size, tried, age))

    def _search(
        self, problem: Problem, line: tuple[Tensor, ...], data: Tensor, floor: Tensor, slope: Tensor, most: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return γ, and whether L falls at its beginning."""
        (model, b, q), tiny = line, _tiny(slope)
        first = _sum(problem, slope * b)
        curve = _sum(problem, torch.div(b, model).mul_(b)).mul_(self.curvature)
        gamma = torch.minimum((-first / curve.clamp_min(tiny)).clamp_min(0), most)
        shaped = batchwise(gamma, b)
        rate = torch.addcmul(b, shaped, q)
        there = torch.addcmul(model, shaped, rate).clamp_min_(floor)
        second = _sum(problem, self._slope(there, data).mul_(rate.addcmul_(shaped, q)))
        ratio = torch.where(second > first, -first / (second - first).clamp_min(tiny), LONGEST)
        return torch.minimum(gamma * ratio.clamp(SHORTEST, LONGEST), most), first < 0

    def _floored(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return what is added to the model's intensities, and the data to compare them with."""
        raise NotImplementedError

    def _slope(self, model: Tensor, data: Tensor) -> Tensor:
        """Return ``ℓ'`` at intensities."""
        raise NotImplementedError

    def _rise(self, model: Tensor, data: Tensor, change: Tensor) -> Tensor:
        """Return by how much ``ℓ`` rises where intensities change."""
        raise NotImplementedError


class Poisson(_Likelihood):
    """Maximum likelihood of photon counts, ``Σ o − c + c·ln(c/o)``: what to end with where the pattern is counts.

    Weak pixels weigh as they should, which amplitudes do only where counts are many. To c and o alike a flat background
    is added: 1e-3 photons or, where photons per unit are not known, 1e-4 of the mean intensity. It bounds what a pixel
    without light can ask for, and leaves the solution where it is.

    Notes
    -----
    No count can be where the model has none, so a zero of the model does not pass through a pixel of many photons: what
    comes here with such a zero on its wrong side keeps it. Let ER or the Gaussian go before. Smooth objects of 64²
    pixels with patterns of 1e8 to 1, from an nmse of .02 and without noise: a background of 1e-4 of the mean solved 16
    of 16, 1e-6 13. Counts are best described with less: from 1e4 photons 1e-3 of a photon ends at an nmse of .018, .1
    at .020, the Gaussian at .019.
    """

    curvature: ClassVar[float] = 1.0
    name: Literal["poisson"] = "poisson"

    def _floored(self, problem: Problem) -> tuple[Tensor, Tensor]:
        mean = _mean(problem)
        floor = mean * UNSEEN if problem.photons is None else torch.full_like(mean, LEAST / problem.photons)
        return floor, problem.amplitudes.square().add_(floor)

    def _slope(self, model: Tensor, data: Tensor) -> Tensor:
        return torch.div(data, model).neg_().add_(1)

    def _rise(self, model: Tensor, data: Tensor, change: Tensor) -> Tensor:
        return change - torch.div(change, model).clamp_min_(-1 + 1e-6).log1p_().mul_(data)


class Gaussian(_Likelihood):
    """Least squares of amplitudes, ``½ Σ (√o − A)²``: for data whose unit is not known.

    The root makes the noise of counts the same in all pixels, but for those of few photons.
    """

    curvature: ClassVar[float] = 0.25
    name: Literal["gaussian"] = "gaussian"

    def _floored(self, problem: Problem) -> tuple[Tensor, Tensor]:
        return _mean(problem) * 1e-20, problem.amplitudes

    def _slope(self, model: Tensor, data: Tensor) -> Tensor:
        return torch.div(data, model.sqrt()).neg_().add_(1).mul_(0.5)

    def _rise(self, model: Tensor, data: Tensor, change: Tensor) -> Tensor:
        before, after = model.sqrt(), (model + change).clamp_min_(0).sqrt_()
        return (after + before - 2 * data) * (after - before) / 2


def _gradient(problem: Problem, support: Tensor, x: Tensor, f: Tensor, slope: Tensor) -> Tensor:
    gradient = problem.backward(f * problem.blur(slope))
    gradient = gradient.real.to(gradient.dtype) if problem.real else gradient
    gradient = gradient.mul_(support.to(x.real.dtype))
    if problem.positive:
        gradient = gradient.masked_fill_((x.real <= 0) & (gradient.real > 0), 0)
    return gradient


def _bent(x: Tensor, direction: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction to a trial's projection onto x ≥ 0, and how far it may be followed."""
    span = batchwise(length, x).to(x.real.dtype)
    bent = torch.addcmul(x.real, direction.real, span).clamp_min_(0).sub_(x.real).div_(span)
    most = torch.where(bent < 0, x.real / -bent, torch.inf).amin(grid_dims(x))
    return bent.to(x.dtype), torch.maximum(most, length)


def _product(f: Tensor, g: Tensor, times: float = 1) -> Tensor:
    """Return ``times·Re(f·conj(g))``."""
    return (f.conj() * g).real * times  # the last also for a tensor without gaps


def _hide(x: Tensor, hidden: Tensor | None) -> Tensor:
    return x if hidden is None else x.masked_fill_(hidden, 0)


def _along(x: Tensor, d: Tensor, gamma: Tensor) -> Tensor:
    """Return ``x + γd``; complex tensors as pairs, since torch would make γ complex."""
    if not x.is_complex():
        return torch.addcmul(x, batchwise(gamma, x), d)
    a, b = torch.view_as_real(x), torch.view_as_real(d)
    return torch.view_as_complex(torch.addcmul(a, batchwise(gamma, a), b))


def _sum(problem: Problem, x: Tensor) -> Tensor:
    """Sum over the whole spectrum, per sample."""
    if problem.weights is None:
        return x.flatten(1).sum(1)
    return (x.flatten(1, -2).sum(1) * problem.weights).sum(1)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return ``Re⟨a, b⟩`` per sample."""
    a, b = (torch.view_as_real(y) if y.is_complex() else y for y in (a, b))
    return (a * b).flatten(1).sum(1)


def _mean(problem: Problem) -> Tensor:
    """Return the mean measured intensity, shaped to a sample."""
    power, _, pixels = problem.norms
    return batchwise(power / pixels, problem.amplitudes).to(problem.amplitudes.dtype)


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny
