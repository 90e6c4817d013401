"""The far-field forward model and the projection onto measured magnitudes.

Objects and patterns are tensors ``[batch, *grid]``, 2-D or 3-D grids. The zero frequency is at the corner; the object
may lie anywhere, since no intensity tells where. Transforms are unnormalised, so that ``|F(x)|²`` are the intensities.
"""

import math
from typing import Any

import torch
from torch import Tensor

from napari_dipr.physics.axes import along, central

# Below this magnitude a Fourier coefficient has no phase to keep; far under the rounding of any measured amplitude.
TINY = 1e-20


def grid_dims(x: Tensor) -> tuple[int, ...]:
    """Return the dimensions of ``x`` that span the grid: all but the first (the batch)."""
    return tuple(range(1, x.ndim))


def batchwise(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value per sample, ``[batch]``, so that it broadcasts against ``x`` of ``[batch, *grid]``."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def forward(x: Tensor) -> Tensor:
    """Propagate objects ``[batch, *grid]`` to the far field: the discrete Fourier transform over the grid."""
    return torch.fft.fftn(x, dim=grid_dims(x))


def backward(f: Tensor) -> Tensor:
    """Invert :func:`forward`."""
    return backward_unscaled(f).mul_(1 / math.prod(f.shape[1:]))


def backward_unscaled(f: Tensor) -> Tensor:
    """Invert :func:`forward` but for the factor ``1/pixels``.

    Whoever scales does so: with torch 2.13 on the CPU, a scaled ``ifftn`` of one complex64 pattern of 2048² pixels on
    two threads comes out smaller by the factor once more (pytorch/pytorch#169670).
    """
    return torch.fft.ifftn(f, dim=grid_dims(f), norm="forward")


def mirrored(pattern: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Return cornered ``[batch, *grid]`` with −q in place of q, along some dimensions of it or (None) along all."""
    dims = grid_dims(pattern) if dims is None else dims
    return torch.roll(torch.flip(pattern, dims), (1,) * len(dims), dims)


def replace_magnitude(f: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Give Fourier coefficients the measured magnitudes and keep their phases.

    Parameters
    ----------
    f
        Complex coefficients ``[batch, *grid]``.
    amplitudes
        Measured ``|F|`` of the same shape, in the square root of the intensities' unit.
    measured
        Boolean mask, broadcastable to ``f``; where it is False, ``f`` stays as it is. None: all is measured.

    Notes
    -----
    A coefficient that is exactly 0 has no phase to keep, and stays 0.
    """
    # f·(A/|f|) keeps the phase without an angle and an exponential, which cost several times as much.
    factor = amplitudes / f.abs().clamp_min(TINY)
    if measured is not None:
        factor = torch.where(measured, factor, 1.0)
    return f * factor


def magnitude_projection(x: Tensor, amplitudes: Tensor, measured: Tensor | None = None) -> Tensor:
    """Project objects onto the set that has the measured magnitudes: ``P(x) = F⁻¹(A·Fx/|Fx|)``.

    Unmeasured pixels stay free. Parameters as in :func:`replace_magnitude`.

    References
    ----------
    .. [1] J. R. Fienup, "Phase retrieval algorithms: a comparison", Appl. Opt. 21, 2758 (1982).
    """
    return backward(replace_magnitude(forward(x), amplitudes, measured))


def autocorrelation(intensities: Tensor) -> Tensor:
    """Return the objects' autocorrelation ``F⁻¹|Fx|²`` (complex, origin at the corner) from ``[batch, *grid]``."""
    return backward(intensities.to(torch.promote_types(intensities.dtype, torch.complex64)))


def gaussian_blur(x: Tensor, sigma: float | Tensor) -> Tensor:
    """Smooth real ``[batch, *grid]`` with a periodic Gaussian of standard deviation ``sigma`` pixels.

    Of all samples, or ``[batch]`` of each.
    """
    if isinstance(sigma, Tensor):
        sigma = batchwise(sigma, x)
    elif sigma <= 0:
        return x
    dims = grid_dims(x)
    f = torch.fft.rfftn(x, dim=dims)
    for dim in dims:
        n = x.shape[dim]
        q = (torch.fft.rfftfreq if dim == dims[-1] else torch.fft.fftfreq)(n, device=x.device, dtype=x.dtype)
        f = f * torch.exp(-2 * (torch.pi * sigma * along(q, dim, x.ndim)) ** 2)
    return torch.fft.irfftn(f, s=x.shape[1:], dim=dims)


def centre_window(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cut the central window of ``shape`` out of ``[batch, *grid]`` (or of ``[batch, channel, *grid]``)."""
    return array[_central_slices(tuple(array.shape[-len(shape) :]), shape)]


def embed_window(window: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Lay a window in the centre of a zero grid: the adjoint of :func:`centre_window`."""
    full = window.new_zeros(*window.shape[: -len(grid)], *grid)
    full[_central_slices(grid, tuple(window.shape[-len(grid) :]))] = window
    return full


def corner_window(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cut the window of odd ``shape`` round the corner of ``[batch, *grid]``, the corner in its middle."""
    for dim, (n, side) in enumerate(zip(array.shape[1:], shape, strict=True), 1):
        array = array.index_select(dim, torch.arange(-(side // 2), side // 2 + 1, device=array.device) % n)
    return array


def embed_corner(window: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Lay a window of odd shape round the corner of a zero grid: the adjoint of :func:`corner_window`."""
    for dim, n in enumerate(grid, 1):
        where = torch.arange(-(window.shape[dim] // 2), window.shape[dim] // 2 + 1, device=window.device) % n
        wider = window.new_zeros([n if d == dim else m for d, m in enumerate(window.shape)])
        window = wider.index_copy(dim, where, window)
    return window


def coherence_of(psf: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the degree of coherence by distance, as ``rfftn`` lays its halves out, for a blur ``[batch, *window]``.

    Multiplied with it, the autocorrelation becomes that of the intensities convolved with ``psf``, which is the same at
    q and −q.
    """
    embedded = embed_corner(psf, grid)
    return torch.fft.rfftn(embedded, dim=grid_dims(embedded)).real.contiguous()


def _central_slices(grid: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    if any(m > n for n, m in zip(grid, shape, strict=True)):
        raise ValueError(f"A window of {shape} does not fit into a grid of {grid}.")
    return (..., *central(grid, shape))
