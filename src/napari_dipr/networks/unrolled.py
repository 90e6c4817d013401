"""The network that maps intensities to an object in its window: a U-Net, or several with the physics between them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_dipr.networks.spec import NetworkSpec
from napari_dipr.networks.unet import UNet, convolution
from napari_dipr.physics.fourier import (
    autocorrelation,
    batchwise,
    centre_window,
    embed_window,
    gaussian_blur,
    grid_dims,
    magnitude_projection,
)
from napari_dipr.physics.metrics import typical_amplitude

# Iterations before a projection: HIO's β, the last share of them that are ER, and what is inside the object so far. It
# is half inside where its amplitude, smoothed by so many pixels, is that share of what is typical of it; the sharper,
# the more suddenly.
BETA = 0.9
ENDING = 5
SMOOTHING = 0.7
LEVEL = 0.12
SHARPNESS = 4


class Unrolled(nn.Module):
    """A U-Net on the autocorrelation; then, as often as the description says, magnitude projection and another U-Net.

    Takes intensities ``[batch, *grid]`` (any unit, zero frequency at the corner, unmeasured pixels filled) and returns
    objects ``[batch, *window]`` whose far field has the unit of their square root: real and non-negative or complex, as
    described. The first U-Net sees the square root of the autocorrelation's modulus with its phase, folded to the
    window's size; each further one sees that as well, the object so far, what the magnitude projection makes of it and
    the features of the one before. It answers with how much of the projection to keep, pixel by pixel (a soft support),
    and what to add.

    Where the description asks for iterations, they go before the projection (:func:`iterated`). Nothing is learnt
    through them: HIO is no contraction, and each U-Net has an object of its own to answer for.

    References
    ----------
    .. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop (its Fig. 2 names a
       U-Net; sizes and input scaling are not stated there and are ours).
    .. [2] J. Adler, O. Öktem, "Learned primal-dual reconstruction", IEEE Trans. Med. Imaging 37, 1322 (2018): networks
       between the steps of an iteration, which hand features on.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        dimensions, channels = len(spec.window), 2 if spec.is_complex else 1
        folded = channels * spec.fold**dimensions
        further = folded + 2 * channels + spec.width
        inputs = [folded] + [further] * spec.projections
        self.stages = nn.ModuleList(UNet(n, spec.width, spec.levels, dimensions) for n in inputs)
        # After a projection there is one output more: the share of it that is kept.
        outputs = [channels] + [channels + 1] * spec.projections
        self.heads = nn.ModuleList(convolution(dimensions)(spec.width, n, 1) for n in outputs)

    def features(self, intensities: Tensor) -> Tensor:
        """Return the normalised, compressed, folded autocorrelation ``[batch, channels, *window]``."""
        dims = grid_dims(intensities)
        rho = torch.fft.fftshift(autocorrelation(intensities), dims)
        # The origin of the autocorrelation is the object's energy and its largest value.
        rho = rho / rho.abs().amax(dims, keepdim=True).clamp_min(torch.finfo(intensities.dtype).tiny)
        if not self.spec.is_complex:  # a real object's is real
            return folded((rho.real.sign() * rho.real.abs().sqrt())[:, None], self.spec.fold)
        compressed = rho / rho.abs().sqrt().clamp_min(1e-12)
        return folded(torch.stack((compressed.real, compressed.imag), 1), self.spec.fold)

    def objects(
        self, intensities: Tensor, measured: Tensor | None = None, features: Tensor | None = None
    ) -> list[Tensor]:
        """Return the objects ``[batch, *window]`` after each of the U-Nets.

        Parameters
        ----------
        intensities
            ``[batch, *grid]``, cornered.
        measured
            Boolean of that shape: where the magnitude projections may use them. None: everywhere.
        features
            Those of :meth:`features`, where they are at hand.
        """
        unit = self.rms(intensities)
        amplitudes = intensities.sqrt() / unit
        features = self.features(intensities) if features is None else features
        found: list[Tensor] = []
        h, x = features, None
        for stage, head in zip(self.stages, self.heads, strict=True):
            projected = None
            if x is not None:
                on_grid = embed_window(x, self.spec.grid).to(torch.complex64)
                if self.spec.iterations:
                    on_grid = iterated(on_grid, amplitudes, measured, self.spec.window, self.spec.iterations)
                projected = centre_window(magnitude_projection(on_grid, amplitudes, measured), self.spec.window)
                h = torch.cat([features, self._channels(x), self._channels(projected), h], 1)
            if intensities.device.type != "mps":
                h = h.contiguous(memory_format=torch.channels_last if h.ndim == 4 else torch.channels_last_3d)
            h = stage(h)
            x = self._object(head(h).float(), projected)
            found.append(x * unit)
        return found

    def forward(self, intensities: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return objects ``[batch, *window]``; see the class."""
        return self.objects(intensities, measured)[-1]

    def rms(self, intensities: Tensor) -> Tensor:
        """Return the root mean square that the object has in its window, by Parseval's theorem."""
        pixels = intensities[0].numel() * math.prod(self.spec.window)
        return batchwise((intensities.sum(grid_dims(intensities)) / pixels).sqrt(), intensities)

    def on_grid(self, intensities: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return :meth:`forward`'s objects in the centre of the measurement's grid, ``[batch, *grid]``."""
        return embed_window(self(intensities, measured), self.spec.grid)

    def _channels(self, x: Tensor) -> Tensor:
        return torch.stack((x.real, x.imag), 1) if self.spec.is_complex else x.real[:, None]

    def _object(self, out: Tensor, projected: Tensor | None) -> Tensor:
        x = torch.complex(out[:, 0], out[:, 1]) if self.spec.is_complex else functional.softplus(out[:, 0])
        if projected is None:
            return x
        kept = projected if self.spec.is_complex else projected.real.clamp_min(0)
        return x + torch.sigmoid(out[:, -1]) * kept


@torch.no_grad()
def iterated(
    objects: Tensor, amplitudes: Tensor, measured: Tensor | None, window: tuple[int, ...], iterations: int
) -> Tensor:
    """Iterate by HIO, at last by ER, with a soft support that follows from the objects.

    ``x ← m·P(x) + (1−m)·(x − βP(x))``, then ``x ← m·P(x)``: Fienup's hybrid input-output and error reduction where the
    support's indicator is replaced by a number m between 0 and 1, ``m = rˢ/(1 + rˢ)`` for the smoothed amplitude r
    relative to the threshold.

    Parameters
    ----------
    objects
        Complex ``[batch, *grid]``, in a central window and 0 outside.
    amplitudes, measured
        As in :func:`~napari_dipr.physics.fourier.magnitude_projection`.
    window
        Outside it is no support.
    iterations
        In all; the last fifth are ER.
    """
    blurred = gaussian_blur(objects.abs(), SMOOTHING)
    blurred = embed_window(centre_window(blurred, window), tuple(objects.shape[1:])).clamp_min(0)
    threshold = batchwise(LEVEL * typical_amplitude(blurred), blurred).clamp_min(torch.finfo(blurred.dtype).tiny)
    share = 1 / (1 + (blurred / threshold) ** -SHARPNESS)
    ending = iterations // ENDING
    x = objects
    for _ in range(iterations - ending):
        projected = magnitude_projection(x, amplitudes, measured)
        x = share * projected + (1 - share) * (x - BETA * projected)
    for _ in range(ending):
        x = share * magnitude_projection(x, amplitudes, measured)
    return x


def folded(array: Tensor, fold: int) -> Tensor:
    """Fold blocks of ``fold`` pixels a side into channels: ``[batch, channels·foldᵈ, *(grid/fold)]``."""
    batch, channels, *grid = array.shape
    split = [side for n in grid for side in (n // fold, fold)]
    d = len(grid)
    order = [0, 1, *range(3, 3 + 2 * d, 2), *range(2, 2 + 2 * d, 2)]
    blocks = array.reshape(batch, channels, *split).permute(order)
    return blocks.reshape(batch, channels * fold**d, *(n // fold for n in grid))
