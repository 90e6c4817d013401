"""The U-Net, on pictures and volumes alike."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """A U-Net: ``[batch, inputs, *window]`` to ``[batch, width, *window]``, the features of its last level.

    References
    ----------
    .. [1] O. Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597.
    """

    def __init__(self, inputs: int, width: int, levels: int, dimensions: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            _block(before, after, dimensions) for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(widths[i] + widths[i + 1], widths[i], dimensions) for i in reversed(range(levels - 1))
        )
        self.pool = functional.max_pool2d if dimensions == 2 else functional.max_pool3d

    def forward(self, h: Tensor) -> Tensor:
        """Return the features; see the class."""
        skips = []
        for level, block in enumerate(self.down):
            h = block(self.pool(h, 2) if level else h)
            skips.append(h)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            h = block(torch.cat([functional.interpolate(h, skip.shape[2:]), skip], 1))
        return h


def convolution(dimensions: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution of pictures or of volumes."""
    return nn.Conv2d if dimensions == 2 else nn.Conv3d


def _block(before: int, after: int, dimensions: int) -> nn.Sequential:
    """Two convolutions of side 3. GroupNorm, because it works at any batch size and with the Jacobian term."""
    groups = math.gcd(after, max(1, after // 8))  # of about eight channels; they must divide the width
    convolve = convolution(dimensions)
    return nn.Sequential(
        convolve(before, after, 3, padding=1, bias=False),
        nn.GroupNorm(groups, after),
        nn.SiLU(inplace=True),
        convolve(after, after, 3, padding=1, bias=False),
        nn.GroupNorm(groups, after),
        nn.SiLU(inplace=True),
    )
