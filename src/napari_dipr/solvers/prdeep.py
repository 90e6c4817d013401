"""prDeep: amplitudes fitted with a denoiser as the prior, by forward-backward splitting.

It minimises ``½‖|Ax| − y‖² + μ/2·xᴴ(x − D(x))`` over the pixels of a window, A the unitary transform of it, once for
each denoiser D, from the strongest noise to the weakest. The authors divide the first term by the noise's variance;
what counts is its product μ with their λ, which remains without noise too. Real and imaginary parts are denoised alike.

References
----------
.. [1] C. A. Metzler, P. Schniter, A. Veeraraghavan, R. G. Baraniuk, "prDeep: Robust Phase Retrieval with a Flexible
   Deep Network", ICML 2018, arXiv:1803.00212, eq. 4 to 6.
.. [2] T. Goldstein, C. Studer, R. Baraniuk, "A Field Guide to Forward-Backward Splitting with a FASTA Implementation",
   arXiv:1411.3406: adaptive steps, non-monotone line search, residual and relative residual.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_dipr.physics.fourier import batchwise, centre_window, embed_window, grid_dims
from napari_dipr.solvers.problem import Problem, State

# Takes noise out of real images [batch, *window].
Denoiser = Callable[[Tensor], Tensor]

FIRST_STEP = 0.2
# Line search: how far back it looks, how much a step shrinks, and how often.
LOOK_BACK, SHRINK, TRIES = 10, 0.2, 20
# Relative residual that float32 can reach.
TOLERANCE = 1e-4


@torch.inference_mode()
def prdeep(
    problem: Problem,
    start: State,
    window: tuple[int, ...],
    denoisers: Iterable[Denoiser],
    *,
    weight: float,
    iterations: int = 200,
) -> tuple[Tensor, int]:
    """Fit objects to a problem's amplitudes.

    Parameters
    ----------
    problem
        A batch with whole spectra.
    start
        Where it begins.
    window
        Pixels in the grid's middle that the objects are in.
    denoisers
        One after the other; each takes and returns real images ``[batch, *window]``.
    weight
        μ.
    iterations
        The most for each denoiser.

    Returns
    -------
    tuple
        The objects, complex ``[batch, *grid]``, and how many Fourier transforms were spent on each, on average.
    """
    fit, x, ffts = _Fit(problem), centre_window(start.object, window), 0.0
    for denoiser in denoisers:
        x, spent = _split(fit, x, denoiser, weight, iterations)
        ffts += spent
    return embed_window(x, problem.grid), round(ffts)


@dataclass(frozen=True)
class _Fit:
    """The first term, of ``[batch, *window]``."""

    problem: Problem

    def transform(self, x: Tensor) -> Tensor:
        grid = embed_window(x, self.problem.grid)
        return torch.fft.fftn(grid, dim=grid_dims(grid), norm="ortho")

    def residual(self, f: Tensor, some: Tensor | slice = slice(None)) -> Tensor:
        """Return what the transforms of some of the batch have too much: the slope by them, too."""
        scale = f[0].numel() ** -0.5
        too_much = f - torch.sgn(f) * self.problem.amplitudes[some] * scale
        measured = self.problem.measured
        return too_much if measured is None else too_much * measured.expand(self.problem.shape)[some]

    def gradient(self, f: Tensor, window: tuple[int, ...]) -> Tensor:
        slope = self.residual(f)
        return centre_window(torch.fft.ifftn(slope, dim=grid_dims(slope), norm="ortho"), window)


def _split(fit: _Fit, x: Tensor, denoiser: Denoiser, weight: float, iterations: int) -> tuple[Tensor, float]:
    """Return the iterate that is nearest to a fixed point, and the transforms spent on each sample, on average."""
    window, count = tuple(x.shape[1:]), len(x)
    f = fit.transform(x)
    gradient, values = fit.gradient(f, window), [_energy(fit.residual(f)) / 2]
    step, least, best, ffts = torch.full_like(values[0], FIRST_STEP), torch.full_like(values[0], torch.inf), x, 2.0
    for _ in range(iterations):
        recent = torch.stack(values[-LOOK_BACK:]).amax(0)
        forward, backward, f, value = x.clone(), x.clone(), f.clone(), values[-1].clone()
        left = torch.arange(count, device=x.device)
        for _ in range(TRIES):
            length = batchwise(step[left], x)
            forward[left] = x[left] - length * gradient[left]
            denoised = _denoised(denoiser, forward[left])
            backward[left] = (forward[left] + length * weight * denoised) / (1 + length * weight)
            f[left] = fit.transform(backward[left])
            value[left] = _energy(fit.residual(f[left], left)) / 2
            ffts += len(left) / count
            change = backward[left] - x[left]
            bound = recent[left] + _inner(change, gradient[left]) + _energy(change) / (2 * step[left])
            left = left[value[left] > bound * (1 + 1e-6)]
            if not len(left):
                break
            step[left] *= SHRINK
        change, before = backward - x, gradient
        gradient, ffts = fit.gradient(f, window), ffts + 1
        values.append(value)
        pull = (forward - backward) / batchwise(step, x)
        residual = _energy(gradient + pull).sqrt()
        best = torch.where(batchwise(residual < least, x), backward, best)
        least = torch.minimum(residual, least)
        scale = torch.maximum(_energy(gradient), _energy(pull)).sqrt()
        if bool((residual <= TOLERANCE * scale).all()):
            break
        step = _next_step(step, change, gradient - before)
        x = backward
    return best, ffts


def _next_step(step: Tensor, change: Tensor, bend: Tensor) -> Tensor:
    """Return the next step of Barzilai and Borwein, adaptive; half as long again where that is no length."""
    product = _inner(change, bend)
    long = _energy(change) / product
    short = (product / _energy(bend)).clamp_min(0)
    found = torch.where(2 * short > long, short, long - short / 2)
    return torch.where((found > 0) & found.isfinite(), found, 1.5 * step)


def _denoised(denoiser: Denoiser, x: Tensor) -> Tensor:
    real, imaginary = denoiser(torch.cat([x.real, x.imag])).chunk(2)
    return torch.complex(real, imaginary)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.flatten(1).sum(1)


def _energy(x: Tensor) -> Tensor:
    return _inner(x, x)
