"""What a network sees of a measurement of any size: the pattern brought to the network's grid, and objects back.

How far a pattern reaches decides an object's extent in its own pixels; how finely it is sampled decides the room round
the object. So, along each axis, the pattern is cropped until the object fits the network's window, which coarsens its
pixels (or padded with zeros where the object would be too small), and the autocorrelation is cropped to the network's
grid, which samples the pattern as coarsely as an oversampling of two.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_dipr.physics.fourier import autocorrelation, backward, batchwise, forward, grid_dims

# The autocorrelation ends where it is below this share of its origin ...
EDGE = 0.01
# ... or below this multiple of its lowest fifth, which holds noise alone where there is room round the object.
ABOVE_NOISE = 8.0
# Shares of the window: an object that spans more than the limit, and might be cut off at the edge, is brought to what
# is full; one that spans less than what is small, to what is enlarged.
LIMIT, FULL, SMALL, ENLARGED = 0.9, 0.7, 0.2, 0.45
# Share of a coarse pixel's weight that must have been measured.
KNOWN = 0.5
# Share of a pixel below which it counts as padding.
LITTLE = 0.1


@dataclass(frozen=True)
class View:
    """How a measurement's grid and a network's are related.

    Attributes
    ----------
    grid
        The measurement's.
    kept
        Pixels of the pattern, along each axis, that the network sees: fewer than ``grid`` where it is cropped.
    target
        The network's grid.
    """

    grid: tuple[int, ...]
    kept: tuple[int, ...]
    target: tuple[int, ...]

    @classmethod
    def of(
        cls, intensities: Tensor, target: tuple[int, ...], window: tuple[int, ...], *, complete: bool = True
    ) -> "View":
        """Choose the view for patterns ``[batch, *grid]``, cornered and filled, so that the largest object fits.

        Where a pattern was not ``complete`` before it was filled, an autocorrelation that never ends tells of how it
        was filled: then an object that may fit is taken to fit.
        """
        grid, kept = tuple(intensities.shape[1:]), []
        for n, extent, side, m in zip(grid, extents(intensities), window, target, strict=True):
            share = extent / side
            limit = LIMIT if complete or extent < n / 2 else 1.0
            wanted = FULL if share > limit else ENLARGED if share < SMALL else share
            best = n if wanted == share else 2 * round(n * wanted / share / 2)
            # Not below the window, which the object's grid must hold; and padded by little: of a flat pattern, whose
            # object would be a single pixel, nothing is to be seen at any size.
            kept.append(max(side, min(best, max(n, min(2 * n, 2 * m)))))
        return cls(grid, tuple(kept), target)

    @property
    def coarseness(self) -> float:
        """How many of the measurement's object pixels one of the network's is wide, on average over the axes."""
        return math.prod(n / k for n, k in zip(self.grid, self.kept, strict=True)) ** (1 / len(self.grid))

    def narrow(self, intensities: Tensor, measured: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Bring cornered patterns ``[batch, *grid]``, filled, and where they were measured to the network's grid."""
        if self.grid == self.kept == self.target:
            return intensities, measured
        patterns = self._resampled(intensities).clamp_min(0)
        if measured is None:
            return patterns, None
        missing = self._resampled(measured.logical_not().to(intensities.dtype).expand(intensities.shape))
        everything = self._resampled(torch.ones_like(intensities[:1]))
        # Where the pattern was padded there is nothing to miss: it counts as measured, and as 0.
        return patterns, missing < (1 - KNOWN) * everything.clamp_min(LITTLE)

    def _resampled(self, patterns: Tensor) -> Tensor:
        return _resized(_resized(patterns, self.kept, fourier=False), self.target, fourier=True)

    def widen(self, objects: Tensor) -> Tensor:
        """Bring centred objects ``[batch, *target]`` to the measurement's grid; their far field stays."""
        if self.grid == self.kept == self.target:
            return objects
        dims = grid_dims(objects)
        cornered = _resized(torch.fft.ifftshift(objects.to(torch.complex64), dims), self.kept, fourier=False)
        finer = backward(_resized(forward(cornered), self.grid, fourier=False))
        return torch.fft.fftshift(finer, dims)


def extents(intensities: Tensor) -> tuple[float, ...]:
    """Return how far the largest object of ``[batch, *grid]`` reaches along each axis, in pixels of its own grid.

    Half of what its autocorrelation does.
    """
    dims = grid_dims(intensities)
    rho = autocorrelation(intensities).abs()
    level = EDGE * rho.amax(dims)
    floor = ABOVE_NOISE * torch.quantile(_sample(rho), 0.2, dim=1)
    # Where there is no room round the object the lowest fifth belongs to it: then a tenth of the origin is enough.
    above = rho > batchwise(torch.maximum(level, floor.clamp_max(0.1 * rho.amax(dims))), rho)
    found = []
    for dim in dims:
        n = rho.shape[dim]
        reached = above.movedim(dim, 0).flatten(1).any(1)
        distance = np.abs(np.fft.fftfreq(n, 1 / n))[reached.cpu().numpy()]
        found.append(min(float(distance.max(initial=0)) + 1, n / 2))
    return tuple(found)


def _sample(rho: Tensor) -> Tensor:
    # torch.quantile takes 16 million values at most; every so many-th pixel tells as much.
    flat = rho.flatten(1)
    return flat[:, :: max(1, flat.shape[1] // 1_000_000) | 1]


def _resized(array: Tensor, shape: tuple[int, ...], *, fourier: bool) -> Tensor:
    """Crop or pad cornered ``[batch, *grid]`` about its zero, in Fourier space where asked: then it is real before."""
    if fourier:
        array = autocorrelation(array)
    for dim, (n, m) in enumerate(zip(array.shape[1:], shape, strict=True), 1):
        shared = min(n, m)
        high, low = (shared + 1) // 2, shared // 2
        parts = [array.narrow(dim, 0, high), array.narrow(dim, n - low, low)]
        if m > n:
            parts.insert(1, array.new_zeros([m - n if d == dim else k for d, k in enumerate(array.shape)]))
        array = torch.cat(parts, dim)
    return forward(array).real if fourier else array
