"""From a measurement to a proposal: the network's object, and the support that follows from it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_dipr.device import find_device
from napari_dipr.errors import ModelError, SupportError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.spec import ModelSpec, ProposalDefaults
from napari_dipr.networks.unrolled import Unrolled
from napari_dipr.networks.view import View
from napari_dipr.networks.zoo import describe_model, load_model, misfit
from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.physics.fourier import backward, batchwise, forward, gaussian_blur, grid_dims, mirrored
from napari_dipr.physics.metrics import chi2, typical_amplitude
from napari_dipr.physics.restore import restore_unmeasured
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.shrinkwrap import ShrinkWrap

# Pixels of patterns that a network takes at a time: what fits a CPU's cache, and any card's memory.
AT_ONCE = 400_000


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
        The share of the largest amplitude that is inside the support.
    coarseness
        How many of the object's pixels one of the network's is wide.
    chi2
        ``Σ(|F|−A)²/ΣA²`` of the network's object, as the network saw the measurement.
    agreement
        How alike the network's answers to the mirrored pattern are, 0…1: their mean correlation with the one that was
        kept, once shift, twin and phase are removed.
    """

    object: NDArray[np.complex64]
    support: NDArray[np.bool_]
    model: str
    threshold: float
    coarseness: float = 1.0
    chi2: float = math.nan
    agreement: float = math.nan


def propose(measurement: Measurement, model: str, *, device: str = "auto", threshold: float | None = None) -> Proposal:
    """Let a model propose an object and its support, for a measurement of any size.

    Unmeasured pixels are filled as :func:`~napari_dipr.physics.fill.fill_unmeasured` says, the few of a missing centre
    as :func:`~napari_dipr.physics.restore.restore_unmeasured` does, and left free where the network projects onto
    magnitudes. The pattern is brought to the network's grid (:class:`View`) and shown to it in all its mirror images
    (:func:`propose_all`).

    Parameters
    ----------
    measurement
        Of the dimensions that the model is made for.
    model
        The model's name, or the path of its folder.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    threshold
        Share of the largest amplitude that is inside; None for what suits the object, :func:`suited_threshold`.

    Raises
    ------
    ModelError
        If there is no such model, its weights are damaged, or it does not fit the measurement.
    SupportError
        If the threshold is not a share.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_dipr.experiment import simulate
    >>> from napari_dipr.measurement import Measurement
    >>> from napari_dipr.networks.propose import propose
    >>> pattern = simulate(np.ones((24, 18)))[0].intensities
    >>> pattern[:2] = np.nan  # as some detectors mark their gaps
    >>> measurement = Measurement.of(pattern, measured=np.isfinite(pattern))
    >>> proposal = propose(measurement, "unrolled-objects-2d")
    >>> proposal.object.shape == proposal.support.shape == pattern.shape
    True
    """
    spec = describe_model(model)
    if reason := misfit(measurement, spec):
        raise ModelError(f"{reason} Take another model, or start from the autocorrelation's support.")
    if threshold is not None:
        _check_share(threshold)
    where = find_device(device)
    problem = Problem.of(measurement, device=where)
    network = load_model(model, str(where))
    answer = answer_to(spec, network, problem.amplitudes.square(), problem.measured)
    if threshold is None:
        threshold = float(suited_threshold(answer.objects, spec.proposal, answer.coarseness)[0])
    support = support_of(answer.objects, spec.proposal, threshold, answer.coarseness)
    return Proposal(
        object=answer.objects[0].cpu().numpy(),
        support=support[0].cpu().numpy(),
        model=model,
        threshold=threshold,
        coarseness=float(answer.coarseness[0]),
        chi2=float(answer.chi2[0]),
        agreement=float(answer.agreement[0]),
    )


def _check_share(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise SupportError(f"The threshold is {threshold:g}; as a share of the maximum it must be between 0 and 1.")


def rethreshold(proposal: Proposal, threshold: float) -> Proposal:
    """Return the proposal with the support that another threshold gives; the network does not run again.

    Raises
    ------
    SupportError
        If the threshold is not a share.
    """
    _check_share(threshold)
    how = describe_model(proposal.model).proposal
    objects = torch.from_numpy(proposal.object)[None]
    support = support_of(objects, how, threshold, proposal.coarseness)[0].numpy()
    return replace(proposal, support=support, threshold=threshold)


def suited_shrinkwrap(model: str | None) -> ShrinkWrap:
    """Return the shrink-wrap that suits what a model proposes; without a model, the usual one."""
    if model is None:
        return ShrinkWrap()
    how = describe_model(model).proposal
    return ShrinkWrap(threshold=how.shrinkwrap, dilate=how.dilate)


@dataclass(frozen=True)
class Answer:
    """What a network makes of a batch: objects ``[batch, *grid]``, and of each what :class:`Proposal` says."""

    objects: Tensor
    chi2: Tensor
    agreement: Tensor
    coarseness: Tensor


def answer_to(spec: ModelSpec, network: Unrolled, intensities: Tensor, measured: Tensor | None = None) -> Answer:
    """Return what a model's network makes of a batch, asked as its description says; see :func:`propose_all`."""
    how = {"mirrored": spec.proposal.mirrors, "resampled": spec.model.resampled}
    return propose_all(network, intensities, measured, **how)


@torch.inference_mode()
def propose_all(
    network: Unrolled,
    intensities: Tensor,
    measured: Tensor | None = None,
    *,
    mirrored: bool = True,
    resampled: bool = True,
) -> Answer:
    """Let a network answer to cornered patterns ``[batch, *grid]`` of any size, and to their mirror images.

    Each is brought to the network's grid by a view of its own. Of the answers that which explains the measurement best
    is kept. Where ``mirrored`` is False, only the answer to the pattern itself can be: the others tell how sure the
    network is. Where ``resampled`` is False, the patterns have the network's size and are left as they are.
    """
    filled, target = fill_unmeasured(intensities, measured), network.spec.grid
    if not resampled:
        return _seen(network, View(target, target, target), filled, measured, mirrored)
    # A wrong centre is spread over the whole autocorrelation, which tells how far the object reaches.
    filled = restore_unmeasured(filled, measured)
    complete = [True] * len(filled) if measured is None else measured.expand(filled.shape).flatten(1).all(1).tolist()
    views = [
        View.of(each, target, network.spec.window, complete=flag)
        for each, flag in zip(filled.split(1), complete, strict=True)
    ]
    answers: list[Answer] = []
    places: list[Tensor] = []
    for view in dict.fromkeys(views):
        places.append(torch.tensor([i for i, own in enumerate(views) if own == view], device=filled.device))
        masks = None if measured is None else measured.expand(filled.shape)[places[-1]]
        answers.append(_seen(network, view, filled[places[-1]], masks, mirrored))
    order = torch.cat(places).argsort()

    def together(name: str) -> Tensor:
        return torch.cat([getattr(answer, name) for answer in answers])[order]

    return Answer(together("objects"), together("chi2"), together("agreement"), together("coarseness"))


def _seen(network: Unrolled, view: View, filled: Tensor, measured: Tensor | None, mirrored: bool) -> Answer:
    seen, known = view.narrow(filled, measured)
    amplitudes = seen.sqrt()
    images, errors = [], []
    for mirror in mirrors(seen):
        found = answer_mirrored(network, mirror, seen, known)
        images.append(found)
        errors.append(chi2(forward(found), amplitudes, known))
    stacked, error = torch.stack(images), torch.stack(errors)
    best = error.argmin(0) if mirrored else torch.zeros_like(error[0], dtype=torch.long)
    kept = stacked[best, torch.arange(len(seen), device=best.device)]
    objects = _of_energy(view.widen(torch.fft.fftshift(kept, grid_dims(kept))), filled)
    chosen = error.gather(0, best[None])[0]
    return Answer(objects, chosen, _agreement(stacked, kept), torch.full_like(chosen, view.coarseness))


@dataclass(frozen=True)
class Mirror:
    """A mirror image of cornered arrays ``[batch, *grid]``: axes that are reversed, then two that are exchanged."""

    reversed: tuple[int, ...]
    exchanged: tuple[int, int] | None = None

    def __call__(self, array: Tensor, *, back: bool = False) -> Tensor:
        """Return the mirror image, or what it is one of."""
        if back and self.exchanged:
            array = array.transpose(*self.exchanged)
        if self.reversed:
            array = mirrored(array, self.reversed)
        if not back and self.exchanged:
            array = array.transpose(*self.exchanged)
        return array.contiguous()


def mirrors(patterns: Tensor) -> Iterator[Mirror]:
    """Return the mirror images of patterns ``[batch, *grid]``: 8 of a square picture, else one per set of axes.

    An object's far field is mirrored as the object is; a network that was not told so may find one easier.
    """
    dims = grid_dims(patterns)
    exchanges: list[tuple[int, int] | None] = [None]
    if len(dims) == 2 and patterns.shape[1] == patterns.shape[2]:
        exchanges.append((1, 2))
    for exchanged in exchanges:
        for count in range(len(dims) + 1):
            for axes in combinations(dims, count):
                yield Mirror(axes, exchanged)


@torch.inference_mode()
def answer_mirrored(network: Unrolled, mirror: Mirror, intensities: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return a network's answers to patterns' mirror images, mirrored back: cornered, else as :func:`predict` does."""
    mask = None if measured is None else mirror(measured.expand(intensities.shape))
    found = predict(network, mirror(intensities), mask)
    return mirror(torch.fft.ifftshift(found, grid_dims(found)), back=True)


@torch.inference_mode()
def predict(network: Unrolled, intensities: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return a network's objects, complex64 ``[batch, *grid]``, for cornered intensities of that shape on its device.

    They are scaled to the measured energy; the network alone gets it right only roughly.
    """
    size = max(1, AT_ONCE // intensities[0].numel())
    parts = intensities.split(size)
    masks = [None] * len(parts) if measured is None else measured.expand(intensities.shape).split(size)
    found = [network.on_grid(part, mask) for part, mask in zip(parts, masks, strict=True)]
    return _of_energy(torch.cat(found), intensities)


def _of_energy(objects: Tensor, intensities: Tensor) -> Tensor:
    dims = grid_dims(objects)
    wanted = intensities.sum(dims) / intensities[0].numel()
    scale = (wanted / objects.abs().square().sum(dims).clamp_min(1e-30)).sqrt()
    return (objects * batchwise(scale, objects)).to(torch.complex64)


def _agreement(images: Tensor, kept: Tensor) -> Tensor:
    """Return the mean correlation ``[batch]`` of ``[images, batch, *grid]`` with ``[batch, *grid]``, aligned."""
    dims = grid_dims(kept)
    reference, size = forward(kept), kept.flatten(1).norm(dim=1)
    correlations = []
    for image in images:
        spectrum = forward(image)
        # The twin's spectrum is the conjugate one.
        overlaps = [backward(f * spectrum).abs().amax(dims) for f in (reference.conj(), reference)]
        correlations.append(torch.maximum(*overlaps) / (size * image.flatten(1).norm(dim=1)).clamp_min(1e-30))
    return torch.stack(correlations).mean(0)


def support_of(
    objects: Tensor, how: ProposalDefaults, threshold: float | None = None, coarseness: float | Tensor = 1.0
) -> Tensor:
    """Threshold the objects' smoothed amplitude: boolean ``[batch, *grid]``.

    The median filter first takes out single bright pixels, which would set the maximum. The smoothing is in the
    network's pixels, which are ``coarseness`` times as wide as the objects', of all or ``[batch]`` of each. Without a
    threshold each object gets the one that suits it.
    """
    amplitude = _smoothed(objects, how, coarseness)
    return amplitude > (batchwise(_suited(amplitude, how), amplitude) if threshold is None else threshold)


def suited_threshold(objects: Tensor, how: ProposalDefaults, coarseness: float | Tensor = 1.0) -> Tensor:
    """Return the share of each object's largest amplitude ``[batch]`` that is inside: what the data choose.

    It is the model's ``level`` of the amplitude that is typical of the object,
    :func:`~napari_dipr.physics.metrics.typical_amplitude`.
    """
    return _suited(_smoothed(objects, how, coarseness), how)


def _suited(amplitude: Tensor, how: ProposalDefaults) -> Tensor:
    return how.level * typical_amplitude(amplitude)


def _smoothed(objects: Tensor, how: ProposalDefaults, coarseness: float | Tensor) -> Tensor:
    """Return the filtered amplitudes, ``[batch, *grid]``, relative to the largest of each object."""
    amplitude = objects.abs()
    if how.median > 1:
        amplitude = _median(amplitude, how.median)
    amplitude = gaussian_blur(amplitude, how.sigma * coarseness)
    return amplitude / batchwise(amplitude.amax(grid_dims(amplitude)).clamp_min(1e-30), amplitude)


def _median(images: Tensor, side: int) -> Tensor:
    dims = grid_dims(images)
    windows = functional.pad(images[:, None], (side // 2,) * 2 * len(dims), mode="reflect")[:, 0]
    for dim in dims:
        windows = windows.unfold(dim, side, 1)
    return windows.flatten(len(dims) + 1).median(-1).values
