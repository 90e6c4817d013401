"""Shrink-wrap: the support follows the object, within bounds; and the first support, from the autocorrelation."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from napari_dipr.physics.fourier import autocorrelation, batchwise, gaussian_blur, grid_dims
from napari_dipr.solvers.problem import MAX_FRACTION, Problem, State


class ShrinkWrap(BaseModel):
    """Every so often, the support becomes where the smoothed object is bright.

    The support's share of the grid stays between ``smallest`` and ``largest``: where the threshold would leave these
    bounds, that many of the brightest pixels are taken instead. Without the upper one a support can run away while χ²
    falls.

    References
    ----------
    .. [1] S. Marchesini et al., "X-ray image reconstruction from a diffraction pattern alone", Phys. Rev. B 68,
       140101 (2003).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(20, ge=1, le=1000, description="iterations between two updates")
    sigma: float = Field(1.5, ge=0, le=10, description="standard deviation of the first smoothing, pixels")
    sigma_end: float = Field(0.7, ge=0, le=10, description="standard deviation of the last smoothing, pixels")
    threshold: float = Field(0.1, gt=0, lt=1, description="share of the reference that is inside")
    reference: Literal["maximum", "rms"] = Field(
        "maximum", description="what the threshold is a share of: the maximum, or the rms inside the support"
    )
    smallest: float = Field(0.002, ge=0, lt=1, description="smallest share of the grid")
    largest: float = Field(0.25, gt=0, le=MAX_FRACTION, description="largest share of the grid")

    @model_validator(mode="after")
    def _ordered(self) -> "ShrinkWrap":
        if self.smallest >= self.largest:
            raise ValueError(f"smallest ({self.smallest}) must be below largest ({self.largest})")
        return self

    def sigma_at(self, progress: float) -> float:
        """Return the smoothing at a share of the way, 0…1: it falls linearly."""
        return self.sigma + (self.sigma_end - self.sigma) * min(max(progress, 0.0), 1.0)

    def update(self, state: State, progress: float) -> Tensor:
        """Return the new support ``[batch, *grid]``; pinned pixels are as they were."""
        brightness = gaussian_blur(state.object.abs(), self.sigma_at(progress))
        dims = grid_dims(brightness)
        if self.reference == "maximum":
            reference = brightness.amax(dims)
        else:
            inside = state.support
            reference = ((brightness.square() * inside).sum(dims) / inside.sum(dims).clamp_min(1)).sqrt()
        level = self.threshold * reference
        support = brightness > batchwise(_within_bounds(level, brightness, self.smallest, self.largest), brightness)
        if state.pinned is not None:
            support = torch.where(state.pinned, state.support, support)
        return support


def autocorrelation_support(problem: Problem, threshold: float = 0.04, shrink: float = 0.6) -> Tensor:
    """Return a first support ``[batch, *grid]`` in the middle of the grid, from the autocorrelation alone.

    An object's autocorrelation spans twice its extent. Where its modulus exceeds ``threshold`` of its maximum, and
    scaled down by ``shrink``, it makes a region that holds most objects: 0.5 would have just the object's width in
    every direction and cut the corners off one that is not its own mirror image.

    References
    ----------
    .. [1] J. R. Fienup, T. R. Crimmins, W. Holsztynski, "Reconstruction of the support of an object from the support of
       its autocorrelation", J. Opt. Soc. Am. 72, 610 (1982).
    """
    rho = autocorrelation(problem.amplitudes.square()).abs()
    dims = grid_dims(rho)
    level = threshold * rho.amax(dims)
    rho = torch.fft.fftshift(rho, dims)
    for dim in dims:
        n = rho.shape[dim]
        source = n // 2 + ((torch.arange(n, device=rho.device) - n // 2) / shrink).round().long()
        outside = (source < 0) | (source >= n)
        rho = rho.index_select(dim, source.clamp(0, n - 1))
        rho = rho.masked_fill(outside.reshape([-1 if d == dim else 1 for d in range(rho.ndim)]), 0.0)
    rho = gaussian_blur(rho, 1.0)
    # The bound of shrink-wrap holds here too: where noise or a small detector spreads the autocorrelation over the
    # grid, its brightest part must do.
    return rho > batchwise(_within_bounds(level, rho, 0.0, ShrinkWrap().largest), rho)


def _within_bounds(level: Tensor, brightness: Tensor, smallest: float, largest: float) -> Tensor:
    """Move threshold levels ``[batch]`` so that the share of pixels above each lies within the bounds."""
    flat = brightness.flatten(1)
    n = flat.shape[1]
    fewest, most = max(1, int(smallest * n)), max(1, int(largest * n))
    # kthvalue counts from below: above the (n − k)-th smallest lie k pixels.
    upper = flat.kthvalue(max(1, n - fewest), dim=1).values
    lower = flat.kthvalue(max(1, n - most), dim=1).values
    return level.clamp(lower, upper)
