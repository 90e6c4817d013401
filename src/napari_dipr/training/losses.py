"""Losses that train a network: each gives one value per sample, 0 for an object that leaves nothing to wish.

The passive losses are eq. 2.1 of the paper, Σ ℓ(Y, |F g(Y)|²), with different ℓ, which it leaves open. They look at no
truth: shift and twin are for the network to settle. The supervised ones look at it, as it lies or aligned.

References
----------
.. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, eq. 2.1 and 2.2.
.. [2] J. Hoffman, D. A. Roberts, S. Yaida, "Robust Learning with Jacobian Regularization", arXiv:1908.02729.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_dipr.networks.spec import LossName
from napari_dipr.physics.axes import along
from napari_dipr.physics.fourier import backward, batchwise, forward, grid_dims
from napari_dipr.physics.metrics import chi2, r_factor, relative_difference
from napari_dipr.physics.symmetry import twin


@dataclass(frozen=True)
class Batch:
    """What a loss may look at.

    Attributes
    ----------
    intensities
        ``[batch, *grid]``, cornered, unmeasured pixels filled.
    measured
        Boolean of that shape, or None: all are.
    truth
        The objects, complex ``[batch, *grid]``, in the intensities' unit.
    """

    intensities: Tensor
    measured: Tensor | None
    truth: Tensor


def passive_squared(objects: Tensor, batch: Batch) -> Tensor:
    """Return χ² = ``Σ(|F g(Y)| − √Y)²/ΣY`` over measured pixels, for objects ``[batch, *grid]``."""
    return chi2(forward(objects), batch.intensities.sqrt(), batch.measured)


def passive_absolute(objects: Tensor, batch: Batch) -> Tensor:
    """Return the R-factor ``Σ||F g(Y)| − √Y|/Σ√Y`` over measured pixels, for objects ``[batch, *grid]``.

    A network that minimises the squares fills the faint high frequencies, whose phases it cannot tell, with one bright
    pixel; absolute differences make that less worth while.
    """
    return r_factor(forward(objects), batch.intensities.sqrt(), batch.measured)


def passive_intensity(objects: Tensor, batch: Batch) -> Tensor:
    """Return ``Σ(|F g(Y)|² − Y)²/ΣY²`` over measured pixels, for objects ``[batch, *grid]``: the brightest decide."""
    found = forward(objects).abs().square()
    return relative_difference(torch.square, found, batch.intensities, batch.measured)


def passive_mixed(objects: Tensor, batch: Batch) -> Tensor:
    """Return the mean of :func:`passive_absolute` and :func:`passive_intensity`."""
    return (passive_absolute(objects, batch) + passive_intensity(objects, batch)) / 2


def naive(objects: Tensor, batch: Batch) -> Tensor:
    """Return ``‖g(Y) − x‖²/‖x‖²`` with the truth as it lies, whatever its shift, twin and phase."""
    return _difference(objects, batch.truth)


def symmetry_aware(objects: Tensor, batch: Batch) -> Tensor:
    """Return ``‖g(Y) − T(x)‖²/‖x‖²`` with the shift, twin and phase T that bring the truth closest to the object."""
    return _difference(objects, aligned(batch.truth, objects))


@torch.no_grad()
def aligned(truth: Tensor, objects: Tensor) -> Tensor:
    """Return each truth's equivalent ``[batch, *grid]`` that is closest to its object; nothing flows back through it.

    Over all circular shifts, the twin, and the global phase, to whole pixels, by cross-correlation. The scale stays.
    """
    dims = grid_dims(truth)
    found = forward(objects.detach().to(truth.dtype))
    best = truth.new_zeros(len(truth)).real - 1
    phase, shifted = torch.ones_like(truth[:, 0].flatten(1)[:, 0]), torch.zeros_like(truth)
    for candidate in (truth, twin(truth)):
        spectrum = forward(candidate)
        overlap = backward(spectrum.conj() * found)
        where = overlap.abs().flatten(1).argmax(1)
        peak = overlap.flatten(1).gather(1, where[:, None])[:, 0]
        is_better = peak.abs() > best
        # A shift by s multiplies the spectrum with exp(−2πi q·s): exact for whole pixels.
        ramp = torch.zeros_like(overlap.real)
        rest = where
        for dim in reversed(dims):
            n = truth.shape[dim]
            q = along(torch.fft.fftfreq(n, device=truth.device), dim, truth.ndim)
            ramp = ramp + q * batchwise(rest % n, ramp)
            rest = rest // n
        moved = backward(spectrum * torch.polar(torch.ones_like(ramp), -2 * torch.pi * ramp))
        best = torch.where(is_better, peak.abs(), best)
        # What is dark everywhere has no phase: it is compared with the truth as it is, not with nothing.
        phase = torch.where(is_better, torch.where(peak == 0, 1, torch.sgn(peak)), phase)
        shifted = torch.where(batchwise(is_better, shifted), moved, shifted)
    return shifted * batchwise(phase, shifted)


def jacobian(objects: Tensor, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return an unbiased estimate of ``‖∂objects/∂inputs‖_F²/C`` per sample, eq. 2.2 per output, of which there are C.

    ``‖J‖_F² = C·E‖vᵀJ‖²`` for v uniform on the unit sphere in the outputs' space: this is ``‖vᵀJ‖²`` of one v.

    Parameters
    ----------
    objects
        Real or complex ``[batch, ...]``, with a graph to ``inputs``.
    inputs
        What they are differentiated by; normalised, so that the term has no unit.
    generator
        Of the directions.
    """
    outputs = torch.view_as_real(objects) if objects.is_complex() else objects
    v = torch.randn(outputs.shape, generator=generator, device=outputs.device)
    v = v / batchwise(v.flatten(1).norm(dim=1), v)
    (product,) = torch.autograd.grad(outputs, inputs, v, create_graph=True)
    return product.flatten(1).square().sum(1)


def _difference(objects: Tensor, truth: Tensor) -> Tensor:
    dims = grid_dims(truth)
    return (objects - truth).abs().square().sum(dims) / truth.abs().square().sum(dims)


LOSSES: dict[LossName, Callable[[Tensor, Batch], Tensor]] = {
    "passive-squared": passive_squared,
    "passive-absolute": passive_absolute,
    "passive-intensity": passive_intensity,
    "passive-mixed": passive_mixed,
    "naive": naive,
    "symmetry-aware": symmetry_aware,
}
