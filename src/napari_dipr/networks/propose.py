"""From a measurement to a proposal: the network's object, and the support that follows from it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_dipr.device import find_device
from napari_dipr.errors import ModelError, SupportError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.spec import ProposalDefaults
from napari_dipr.networks.unrolled import Unrolled
from napari_dipr.networks.zoo import describe_model, load_model, misfit
from napari_dipr.physics.fourier import batchwise, gaussian_blur, grid_dims


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a network makes of a measurement.

    Attributes
    ----------
    object
        Complex ``[*grid]``, in the measurement's scale.
    support
        Boolean ``[*grid]``.
    model
        The model's name.
    threshold
        The share of the maximum that is inside the support.
    """

    object: NDArray[np.complex64]
    support: NDArray[np.bool_]
    model: str
    threshold: float


def propose(measurement: Measurement, model: str, *, device: str = "auto", threshold: float | None = None) -> Proposal:
    """Let a model propose an object and its support.

    Parameters
    ----------
    measurement
        Of the size that the model is made for.
    model
        The model's name.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    threshold
        Share of the maximum that is inside; None for the model's own.

    Raises
    ------
    ModelError
        If there is no such model, its weights are damaged, or it does not fit the measurement.
    SupportError
        If the threshold is not a share.
    """
    spec = describe_model(model)
    if reason := misfit(measurement, spec):
        raise ModelError(f"{reason} Crop the measurement, or start from the autocorrelation's support.")
    threshold = spec.proposal.threshold if threshold is None else threshold
    if not 0 < threshold < 1:
        raise SupportError(f"The threshold is {threshold:g}; as a share of the maximum it must be between 0 and 1.")
    where = find_device(device)
    intensities = torch.from_numpy(np.square(measurement.cornered_amplitudes()))[None].to(where)
    objects = predict(load_model(model, str(where)), intensities)
    support = support_of(objects, spec.proposal, threshold)
    return Proposal(objects[0].cpu().numpy(), support[0].cpu().numpy(), model, threshold)


def rethreshold(proposal: Proposal, threshold: float) -> Proposal:
    """Return the proposal with the support that another threshold gives; the network does not run again."""
    how = describe_model(proposal.model).proposal
    support = support_of(torch.from_numpy(proposal.object)[None], how, threshold)[0].numpy()
    return replace(proposal, support=support, threshold=threshold)


@torch.inference_mode()
def predict(network: Unrolled, intensities: Tensor) -> Tensor:
    """Return a network's objects, complex64 ``[batch, *grid]``, for cornered intensities of that shape on its device.

    They are scaled to the measured energy; the network alone gets it right only roughly.
    """
    objects = network.on_grid(intensities)
    dims = grid_dims(objects)
    wanted = intensities.sum(dims) / intensities[0].numel()
    scale = (wanted / objects.abs().square().sum(dims).clamp_min(1e-30)).sqrt()
    return (objects * batchwise(scale, objects)).to(torch.complex64)


def support_of(objects: Tensor, how: ProposalDefaults, threshold: float) -> Tensor:
    """Threshold the objects' smoothed amplitude: boolean ``[batch, *grid]``.

    The median filter first takes out single bright pixels, which would set the maximum.
    """
    amplitude = objects.abs()
    if how.median > 1:
        amplitude = _median(amplitude, how.median)
    amplitude = gaussian_blur(amplitude, how.sigma)
    return amplitude > threshold * batchwise(amplitude.amax(grid_dims(amplitude)), amplitude)


def _median(images: Tensor, side: int) -> Tensor:
    padded = functional.pad(images[:, None], (side // 2,) * 4, mode="reflect")
    columns = functional.unfold(padded, side)
    return columns.median(1).values.reshape(images.shape)
