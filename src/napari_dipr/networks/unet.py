"""The U-Net that maps a folded autocorrelation to an object in its window."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_dipr.networks.spec import NetworkSpec
from napari_dipr.physics.fourier import autocorrelation, batchwise, embed_window, grid_dims


class UNet(nn.Module):
    """A U-Net on the square root of the autocorrelation, folded to the window's size.

    Takes intensities ``[batch, *grid]`` (any unit, zero frequency at the corner) and returns objects
    ``[batch, *window]`` whose far field has the unit of their square root.

    References
    ----------
    .. [1] O. Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597.
    .. [2] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop (its Fig. 2 names a
       U-Net; sizes and input scaling are not stated there and are ours).
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = [spec.width * 2**level for level in range(spec.levels)]
        inputs = spec.fold ** len(spec.window)
        self.down = nn.ModuleList(
            _Block(before, after) for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(_Block(widths[i] + widths[i + 1], widths[i]) for i in reversed(range(spec.levels - 1)))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def features(self, intensities: Tensor) -> Tensor:
        """Return the normalised, compressed, folded autocorrelation ``[batch, fold², *window]``."""
        dims = grid_dims(intensities)
        rho = torch.fft.fftshift(autocorrelation(intensities).real, dims)
        # The origin of the autocorrelation is the object's energy and its largest value.
        rho = rho / rho.amax(dims, keepdim=True).clamp_min(torch.finfo(rho.dtype).tiny)
        return functional.pixel_unshuffle((rho.sign() * rho.abs().sqrt())[:, None], self.spec.fold)

    def forward(self, intensities: Tensor) -> Tensor:
        """Return objects ``[batch, *window]``; see the class."""
        h = self.features(intensities)
        skips = []
        for level, block in enumerate(self.down):
            h = block(functional.max_pool2d(h, 2) if level else h)
            skips.append(h)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            h = block(torch.cat([functional.interpolate(h, skip.shape[2:]), skip], 1))
        return functional.softplus(self.head(h)[:, 0].float()) * self.rms(intensities)

    def rms(self, intensities: Tensor) -> Tensor:
        """Return the root mean square that the object has in its window, by Parseval's theorem."""
        pixels = intensities[0].numel() * self.spec.window[0] * self.spec.window[1]
        return batchwise((intensities.sum(grid_dims(intensities)) / pixels).sqrt(), intensities)

    def on_grid(self, intensities: Tensor) -> Tensor:
        """Return :meth:`forward`'s objects in the centre of the measurement's grid, ``[batch, *grid]``."""
        return embed_window(self(intensities), self.spec.grid)


class _Block(nn.Sequential):
    """Two 3×3 convolutions. GroupNorm, because it works at any batch size and with the Jacobian term."""

    def __init__(self, before: int, after: int) -> None:
        groups = math.gcd(after, max(1, after // 8))  # of about eight channels; they must divide the width
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.GroupNorm(groups, after),
            nn.SiLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.GroupNorm(groups, after),
            nn.SiLU(inplace=True),
        )
