"""Figures of objects, one per sample: how well they explain the measured amplitudes, and how bright they are.

The former use measured pixels only. The object should be inside its support: an iterate of HIO that is not says little
about the solution it holds.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from napari_dipr.physics.fourier import grid_dims


def chi2(f: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return ``Σ(|F|−A)²/ΣA²`` for coefficients and amplitudes of ``[batch, *grid]``."""
    return relative_difference(torch.square, f.abs(), amplitudes, measured)


def r_factor(f: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return the R-factor ``Σ||F|−A|/ΣA`` for coefficients and amplitudes of ``[batch, *grid]``."""
    return relative_difference(torch.abs, f.abs(), amplitudes, measured)


def relative_difference(
    norm: Callable[[Tensor], Tensor], found: Tensor, wanted: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Return ``Σnorm(found − wanted)/Σnorm(wanted)`` of real ``[batch, *grid]``, over measured pixels."""
    misfit, scale = norm(found - wanted), norm(wanted)
    if measured is not None:  # not a product: an unmeasured pixel may hold NaN
        misfit, scale = torch.where(measured, misfit, 0), torch.where(measured, scale, 0)
    dims = grid_dims(found)
    return misfit.sum(dims) / scale.expand_as(misfit).sum(dims)


def typical_amplitude(amplitudes: Tensor) -> Tensor:
    """Return ``Σa³/Σa²`` of amplitudes ``[batch, *grid]``: their mean, weighted by the energy.

    It hardly depends on how large an object is, how bright its brightest pixel and how wide its faint surroundings.
    """
    dims = grid_dims(amplitudes)
    return amplitudes.pow(3).sum(dims) / amplitudes.square().sum(dims).clamp_min(1e-30)
