"""DnCNN: convolutions that predict an image's noise, which is then subtracted."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_dipr.networks.spec import Strengths


class DnCNN(nn.Module):
    """Takes noise of one strength out of real images ``[batch, *window]``.

    References
    ----------
    .. [1] K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian Denoiser", IEEE Trans. Image Process. 26,
       3142 (2017), arXiv:1608.03981.
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        between: list[nn.Module] = []
        for _ in range(layers - 2):
            between += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        first = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.noise = nn.Sequential(*first, *between, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the images without their noise."""
        return images - self.noise(images[:, None])[:, 0]


class Denoisers(nn.Module):
    """A :class:`DnCNN` for each strength of noise, the strongest first."""

    def __init__(self, spec: "Strengths") -> None:
        super().__init__()
        self.strengths = tuple(sigma / 255 for sigma in spec.sigmas)
        self.networks = nn.ModuleList(DnCNN(spec.layers, spec.width) for _ in spec.sigmas)
