"""How well an object explains the measured amplitudes; one figure per sample.

Both figures use measured pixels only. The object should be inside its support: an iterate of HIO that is not says
little about the solution it holds.
"""

import torch
from torch import Tensor

from napari_dipr.physics.fourier import grid_dims


def chi2(f: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return ``Σ(|F|−A)²/ΣA²`` for coefficients and amplitudes of ``[batch, *grid]``."""
    return _relative(torch.square, f, amplitudes, measured)


def r_factor(f: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return the R-factor ``Σ||F|−A|/ΣA`` for coefficients and amplitudes of ``[batch, *grid]``."""
    return _relative(torch.abs, f, amplitudes, measured)


def _relative(norm, f: Tensor, amplitudes: Tensor, measured: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
    misfit, scale = norm(f.abs() - amplitudes), norm(amplitudes)
    if measured is not None:  # not a product: an unmeasured pixel may hold NaN
        misfit, scale = torch.where(measured, misfit, 0), torch.where(measured, scale, 0)
    dims = grid_dims(f)
    return misfit.sum(dims) / scale.expand_as(misfit).sum(dims)
