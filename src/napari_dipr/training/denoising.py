"""The training of denoisers, for prDeep: FashionMNIST images and normal noise, each network with its own strength."""

import math
from typing import Any

import torch
from torch import Tensor

from napari_dipr import samples
from napari_dipr.networks.dncnn import Denoisers
from napari_dipr.networks.spec import DenoisersSpec
from napari_dipr.training.objects import Draw
from napari_dipr.training.task import Task

TEST_SEED = 2022


class Denoising(Task):
    """Networks that take noise out of the real or the imaginary part of an object.

    No phase is told from another: such a part is the image times the cosine of any angle.
    """

    network: Denoisers

    def __init__(self, spec: DenoisersSpec, draw: Draw) -> None:
        config = spec.model_dump(mode="json", exclude={"denoisers": {"purpose"}})
        super().__init__(spec.denoisers.name, spec.training, draw, config)
        self.network = spec.denoisers.build()

    def training_step(self, step: int, batch_index: int) -> Tensor:
        """Return the sum over the networks of the mean square error, relative to the noise's."""
        images, generator = self.batch(step)
        angles = 2 * math.pi * torch.rand(len(images), 1, 1, generator=generator, device=self.device)
        parts = images * torch.cos(angles)
        errors = []
        for strength, denoiser in zip(self.network.strengths, self.network.networks, strict=True):
            noise = torch.randn(parts.shape, generator=generator, device=self.device)
            errors.append((denoiser(parts + strength * noise) - parts).square().mean() / strength**2)
        return self.sound(torch.stack(errors).sum())

    @torch.inference_mode()
    def figures(self) -> dict[str, Any]:
        """Return the test images' mean PSNR by the noise's standard deviation of 255, before and after."""
        network = self.network.cpu().eval()
        images = torch.from_numpy(samples.place(samples.shipped_images()))
        generator = torch.Generator().manual_seed(TEST_SEED)
        psnr: dict[str, list[float]] = {}
        for strength, denoiser in zip(network.strengths, network.networks, strict=True):
            noisy = images + strength * torch.randn(images.shape, generator=generator)
            found = torch.cat([denoiser(part) for part in noisy.split(32)])
            errors = [(x - images).square().flatten(1).mean(1) for x in (noisy, found)]
            psnr[f"{255 * strength:g}"] = [round(float(-10 * error.log10().mean()), 2) for error in errors]
        return {"psnr": psnr, "images": len(images)}
