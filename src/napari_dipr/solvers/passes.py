"""The passes over memory between two transforms, in place: what an iteration costs beside its FFTs.

On the CPU each is one loop compiled by numba, where that is installed: memory is read and written once, which a chain
of torch operations does several times over. Elsewhere, or without numba, torch's own operations do the same.

All take objects or spectra of ``[batch, *grid]``, and masks of that shape or of ``[*grid]``. What is changed in place
is what they return: the tensor that was given, unless its memory is in another order than its axes.
"""

import math
from typing import Any

import torch
from torch import Tensor

from napari_dipr.physics.fourier import TINY, grid_dims

# Expected counts have at least this: where the model has none and a photon came, the likelihood would be zero.
LEAST = 1e-3

_loops: Any = None


def impose_magnitude(
    f: Tensor,
    amplitudes: Tensor,
    measured: Tensor | None = None,
    intensities: Tensor | None = None,
    *,
    scale: float = 1.0,
) -> Tensor:
    """Give Fourier coefficients the measured magnitudes, ``f·A/|f|``, in place; returns them.

    Parameters
    ----------
    f
        Complex coefficients.
    amplitudes
        Measured ``|F|``.
    measured
        Where it is False, ``f`` stays as it is. None: all was measured.
    intensities
        The model's intensities, where they are not ``|f|²``: their square root takes the place of ``|f|``.
    scale
        What all coefficients are multiplied by on the way, for the inverse transform.
    """
    if loops := compiled(f):
        f = f.contiguous()
        model = None if intensities is None else _rows(intensities.expand_as(f), f)
        arrays = (_rows(f, f), _rows(amplitudes.expand_as(f), f), _rows(measured, f), model)
        loops.call(loops.impose_magnitude, *arrays, *loops.scalars(f.real.dtype, scale))
        return f
    size = f.abs() if intensities is None else intensities.clamp_min(0).sqrt_()
    torch.div(amplitudes, size.clamp_min_(TINY), out=size)
    if measured is not None:
        size.masked_fill_(measured.logical_not(), 1.0)
    return f.mul_(size.mul_(scale) if scale != 1 else size)


def relax(y: Tensor, x: Tensor, support: Tensor, a: float, b: float, *, positive: bool = False) -> Tensor:
    """Leave ``y`` inside the support and make it ``a·x + b·y`` outside, in place; returns it.

    Where ``positive``, the object is real and not negative: of ``y`` the real part counts, and as outside below 0.
    """
    if loops := compiled(y):
        y, inside = y.contiguous(), _rows(support.expand_as(y), y)
        arrays = (_rows(y, y), _rows(x.expand_as(y), y), inside)
        if y.is_complex():
            loop = loops.relax_positive if positive else loops.relax
            loops.call(loop, *arrays, *loops.scalars(x.real.dtype, a, b))
        else:
            lowest = 0.0 if positive else -math.inf
            loops.call(loops.relax_real, *arrays, *loops.scalars(x.dtype, a, b, lowest))
        return y
    if positive:
        y = y.real.to(y.dtype)
        support = support & (y.real >= 0)
    return torch.where(support, y, x * a + y * b, out=y)


def misfits(
    f: Tensor,
    amplitudes: Tensor,
    measured: Tensor | None = None,
    intensities: Tensor | None = None,
    *,
    photons: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the sums over measured pixels that errors are made of, ``[batch, 3]`` in float64 (mps: float32).

    ``Σ(|F|−A)²``, ``Σ||F|−A|`` and half the Poisson deviance, ``Σ o − c + c·ln(c/o)``, with the ``c = A²·photons``
    counts that were measured and those that the model expects, ``o = |F|²·photons``; 0 where photons are not known.

    Parameters
    ----------
    f, amplitudes, measured, intensities
        As of :func:`impose_magnitude`.
    photons
        Photons per unit of intensity.
    weights
        ``[last axis]``: for how many pixels one of that column stands. None: for itself.
    """
    if loops := compiled(f):
        model = None if intensities is None else _rows(intensities.expand_as(f), f)
        columns = None if weights is None else weights.numpy()
        arrays = (_rows(f, f), _rows(amplitudes.expand_as(f), f), _rows(measured, f), model)
        return torch.from_numpy(loops.call(loops.misfits, *arrays, columns, photons))
    size = f.abs() if intensities is None else intensities.clamp_min(0).sqrt()
    difference = size - amplitudes
    terms = [difference.square(), difference.abs(), torch.zeros_like(size)]
    wide = torch.float32 if f.device.type == "mps" else torch.float64
    if photons is not None:  # bright pixels' terms cancel but for a part in their counts
        expected, counts = size.to(wide).square() * photons + LEAST, amplitudes.to(wide).square() * photons
        terms[2] = expected - counts + torch.xlogy(counts, counts / expected)
    sums = []
    for term in terms:
        term = term if measured is None else torch.where(measured, term, 0)
        term = term if weights is None else term * weights
        sums.append(term.sum(grid_dims(term), dtype=wide))
    return torch.stack(sums, 1)


def count_above(values: Tensor, levels: Tensor) -> Tensor:
    """Return how many of real values ``[batch, n]`` exceed each of the levels ``[batch, k]``, as ``[batch, k]``."""
    if loops := compiled(values):
        return torch.from_numpy(loops.call(loops.count_above, values.contiguous().numpy(), levels.contiguous().numpy()))
    return torch.stack([(values > level.unsqueeze(1)).sum(1) for level in levels.unbind(1)], 1)


def compiled(x: Tensor) -> Any:
    """Return the module of compiled loops, where they can serve this tensor."""
    global _loops
    if x.device.type != "cpu" or type(x) is not Tensor or _loops is False:
        return None
    if _loops is None:
        try:
            from napari_dipr.solvers import loops

            _loops = loops
        except ImportError:
            _loops = False
    return _loops or None


def _rows(x: Tensor | None, like: Tensor) -> Any:
    """See a tensor as numpy's ``[batch or 1, pixels]``; a loop knows no bounds, so rows must be as many as it takes."""
    return None if x is None else x.resolve_conj().reshape(-1, math.prod(like.shape[1:])).numpy()
