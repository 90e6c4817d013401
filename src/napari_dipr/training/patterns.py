"""Diffraction patterns of drawn objects, with the flaws that measured ones have."""

import math

import torch
from torch import Tensor

from napari_dipr.networks.spec import Flaws
from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.physics.fourier import batchwise, embed_window, forward, grid_dims
from napari_dipr.training.losses import Batch


def measure(objects: Tensor, grid: tuple[int, ...]) -> Batch:
    """Return the flawless patterns of objects ``[batch, *window]`` in the middle of a grid."""
    truth = embed_window(objects.to(torch.complex64), grid)
    return Batch(forward(truth).abs().square(), None, truth)


def flawed(batch: Batch, flaws: Flaws, generator: torch.Generator) -> Batch:
    """Return the batch with photon noise, a missing centre and dead pixels, each in some of its patterns."""
    count, dims, device = len(batch.intensities), grid_dims(batch.intensities), batch.intensities.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator, device=device)

    photons = 10 ** uniform(math.log10(flaws.photons[0]), math.log10(flaws.photons[1]))
    scale = batchwise(photons / batch.intensities.sum(dims), batch.intensities)
    counted = torch.poisson(batch.intensities * scale, generator) / scale
    is_noisy = batchwise(uniform(0, 1) < flaws.noisy, counted)
    intensities = torch.where(is_noisy, counted, batch.intensities)
    hidden = torch.where(uniform(0, 1) < flaws.hidden, uniform(*flaws.radius), 0.0)
    dead = torch.where(uniform(0, 1) < flaws.dead, uniform(0, flaws.most_dead), 0.0)
    measured = frequency_radius(batch.intensities) >= batchwise(hidden, counted)
    measured = measured & (uniform(0, 1, *batch.intensities.shape[1:]) >= batchwise(dead, counted))
    return Batch(fill_unmeasured(intensities, measured), measured, batch.truth)


def frequency_radius(patterns: Tensor) -> Tensor:
    """Return how many pixels each of a pattern ``[batch, *grid]`` is from its cornered zero frequency, ``[*grid]``."""
    grid = patterns.shape[1:]
    axes = [torch.fft.fftfreq(n, 1 / n, device=patterns.device) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
