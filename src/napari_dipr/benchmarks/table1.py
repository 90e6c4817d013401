"""Table 1 of the paper: FashionMNIST test images, recovered by every method, with controls at equal cost.

The images lie at random places of a 36² field, turned or not (:mod:`napari_dipr.samples`), in a 72² grid, without
noise. Objects are complex: no row knows that they are real or not negative, except for what a network has learned.

The paper says neither how often its solvers iterate nor how its error is normalised. Our budget is one for all rows
that it compares, ``ITERATIONS`` evaluations of ALM from one start: ``alm`` and ``hio`` from the bare window spend
exactly the transforms that ``passive_refined`` does. An evaluation of ALM and an iteration of HIO cost two each; ALM's
start costs two more, so that HIO gets one iteration more.

References
----------
.. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, Table 1 and eq. A.1.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr import samples
from napari_dipr.device import find_device
from napari_dipr.errors import DiprError
from napari_dipr.networks.propose import predict, support_of
from napari_dipr.networks.zoo import describe_model, load_model
from napari_dipr.physics.fourier import forward
from napari_dipr.physics.symmetry import find_alignment, nmse
from napari_dipr.solvers.problem import Problem, State, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap
from napari_dipr.training.objects import fashion_mnist

# Images solved together: more do not fit a CPU's cache.
BATCH = 32
# An image counts as solved below this nmse.
SOLVED = 0.01

ITERATIONS = 600
ALM = f"alm*{ITERATIONS}"
HIO = f"hio*{ITERATIONS - 49} + er*50"
# What HIO needs with a support that follows the object; well below the budget of the other rows.
HIO_SHORT = "hio*150 + er*30"

PASSIVE = "passive-fashion"


@dataclass(frozen=True)
class Batch:
    """Measurements and what they are of: the truth ``[batch, 72, 72]``, for scores and oracles alone."""

    problem: Problem
    truth: Tensor
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a method makes of a batch.

    Attributes
    ----------
    object
        Complex ``[batch, *grid]``, inside the support.
    support
        Boolean ``[batch, *grid]``; None where the method finds none.
    ffts
        Transforms spent on each image by solvers. A network's own autocorrelation is not counted.
    """

    object: Tensor
    support: Tensor | None
    ffts: int


@dataclass(frozen=True)
class Method:
    """A row of the table: how it works, the model it needs, and the paper's figure."""

    run: Callable[[Batch], Outcome]
    model: str | None = None
    paper: float | None = None


def _from_window(recipe: str) -> Callable[[Batch], Outcome]:
    """Start at random in the whole field, as without knowledge."""

    def run(batch: Batch) -> Outcome:
        window = torch.from_numpy(samples.field_window()).to(batch.problem.device)
        support = window.expand(batch.problem.amplitudes.shape).contiguous()
        return _refined(batch, recipe, random_start(batch.problem, support, batch.seed), finds=False)

    return run


def _from_truth(recipe: str) -> Callable[[Batch], Outcome]:
    """Start at random in the exact support: what no proposal can surpass."""

    def run(batch: Batch) -> Outcome:
        start = random_start(batch.problem, batch.truth != 0, batch.seed)
        return _refined(batch, recipe, start, finds=False)

    return run


def _network(model: str) -> Callable[[Batch], Outcome]:
    """Let the network alone answer."""

    def run(batch: Batch) -> Outcome:
        objects = predict(load_model(model, str(batch.problem.device)), batch.problem.amplitudes.square())
        how = describe_model(model).proposal
        return Outcome(objects, support_of(objects, how), ffts=0)

    return run


def _from_network(model: str, recipe: str, shrinkwrap: ShrinkWrap | None = None) -> Callable[[Batch], Outcome]:
    """Start from a network's output in the support that follows from it."""

    def run(batch: Batch) -> Outcome:
        proposed = _network(model)(batch)
        assert proposed.support is not None
        start = start_from(batch.problem, proposed.object, proposed.support)
        return _refined(batch, recipe, start, shrinkwrap)

    return run


def _refined(
    batch: Batch, recipe: str, start: State, shrinkwrap: ShrinkWrap | None = None, *, finds: bool = True
) -> Outcome:
    end = solve(batch.problem, Recipe.parse(recipe, shrinkwrap=shrinkwrap), start)
    return Outcome(end.object, end.support if finds else None, end.ffts)


METHODS = {
    "hio": Method(_from_window(HIO), paper=0.441),
    "alm": Method(_from_window(ALM), paper=0.312),
    "passive": Method(_network(PASSIVE), PASSIVE, paper=0.266),
    "passive_refined": Method(_from_network(PASSIVE, ALM), PASSIVE, paper=0.187),
    "passive_refined_hio": Method(_from_network(PASSIVE, HIO_SHORT, ShrinkWrap()), PASSIVE),
    "hio_oracle": Method(_from_truth(HIO)),
    "alm_oracle": Method(_from_truth(ALM)),
}


def table1(
    images: int = 256,
    methods: Sequence[str] = tuple(METHODS),
    *,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[str, int], None] = lambda method, done: None,
) -> dict[str, Any]:
    """Run methods on the first FashionMNIST test images.

    Parameters
    ----------
    images
        How many; the first k are the same for any number. More than the 256 that are shipped are looked for where
        :func:`~napari_dipr.training.objects.fashion_mnist` does.
    methods
        Names of :data:`METHODS`.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    seed
        Of the random starts. The images' places have their own, :data:`napari_dipr.samples.SEED`.
    progress
        Told the method, and the images it is done with, after every batch.

    Returns
    -------
    dict
        ``{"images": N, "rows": {method: row}}``, see :func:`score`; beside its figures a row has
        ``ffts_per_image``, ``ms_per_image`` (the network included), ``images`` and ``paper``.

    Raises
    ------
    DiprError
        If a method is not known, or its model or the images are not at hand; before anything is computed.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise DiprError(f"There is no method {', '.join(map(repr, unknown))}. The methods: {', '.join(METHODS)}.")
    truth, where = first_objects(images), find_device(device)
    for model in {METHODS[name].model for name in methods} - {None}:
        load_model(str(model), str(where))  # where it is used, so that no row's time has it
    rows = {}
    for name in methods:
        outcomes, seconds = [], 0.0
        for first in range(0, images, BATCH):
            batch = batch_of(truth[first : first + BATCH], seed + first, where)
            began = time.perf_counter()
            outcome = METHODS[name].run(batch)
            # Devices work ahead: the copy waits for them.
            support = None if outcome.support is None else outcome.support.cpu()
            outcomes.append(Outcome(outcome.object.cpu(), support, outcome.ffts))
            seconds += time.perf_counter() - began
            progress(name, min(first + BATCH, images))
        rows[name] = {
            **score(outcomes, truth),
            "ffts_per_image": outcomes[0].ffts,
            "ms_per_image": 1e3 * seconds / images,
            "images": images,
            "paper": METHODS[name].paper,
        }
    return {"images": images, "rows": rows}


def first_objects(count: int) -> Tensor:
    """Return the first FashionMNIST test images as objects, complex64 ``[count, 72, 72]``.

    Raises
    ------
    DiprError
        If there are not so many.
    """
    images: NDArray[np.uint8] = samples.shipped_images()
    if count > len(images):
        images = fashion_mnist("test")
    if not 1 <= count <= len(images):
        raise DiprError(f"There are 1 to {len(images)} test images to take, not {count}.")
    return torch.from_numpy(samples.on_grid(samples.place(images[:count]))).to(torch.complex64)


def batch_of(truth: Tensor, seed: int, device: torch.device) -> Batch:
    """Measure objects ``[batch, *grid]``: amplitudes without noise, computed in float64 on the CPU."""
    amplitudes = forward(truth.to(torch.complex128)).abs().to(torch.float32)
    return Batch(Problem(amplitudes.to(device)), truth.to(device), seed)


def score(
    outcomes: Sequence[Outcome], truth: Tensor, window: Tensor | None = None, inside: Tensor | None = None
) -> dict[str, float | None]:
    """Compare what batches came to with the truth, ``[images, *grid]``.

    Parameters
    ----------
    outcomes, truth
        Of the batches one after the other; the truth is zero outside the window.
    window
        Boolean ``[*grid]``; None for the field of FashionMNIST's images.
    inside
        The true supports, boolean ``[images, *grid]``; None for where the truth is not 0.

    Returns
    -------
    dict
        ``nmse_mean``, ``nmse_median`` and ``nmse_full_mean`` of :func:`~napari_dipr.physics.symmetry.nmse`, over the
        field; ``solved``, the share of images whose nmse is below ``SOLVED``; ``support_iou``, the mean
        over the images of |S ∩ T|/|S ∪ T| with S the method's support and T the true one, S shifted and turned as
        brings the object's largest overlap with the truth (the alignment of ``nmse_full``); None for methods that
        find no support.
    """
    window = torch.from_numpy(samples.field_window()) if window is None else window
    inside = truth != 0 if inside is None else inside
    objects = torch.cat([outcome.object for outcome in outcomes])
    error, error_full = nmse(objects, truth, window)
    supports = [outcome.support for outcome in outcomes if outcome.support is not None]
    return {
        "nmse_mean": float(error.mean()),
        "nmse_median": float(error.quantile(0.5)),
        "nmse_full_mean": float(error_full.mean()),
        "solved": float((error < SOLVED).double().mean()),
        "support_iou": _mean_iou(objects, torch.cat(supports), truth, inside) if supports else None,
    }


def _mean_iou(objects: Tensor, supports: Tensor, truth: Tensor, inside: Tensor) -> float:
    shares = []
    for x, support, t, wanted in zip(objects, supports, truth, inside, strict=True):
        # Shift and twin alone: a support has neither phase nor scale.
        symmetry = replace(find_alignment(x, t), phase=0.0, scale=1.0)
        found = symmetry.remove(support.to(torch.complex64)).real > 0.5
        shares.append(float((found & wanted).sum() / (found | wanted).sum()))
    return float(np.mean(shares))
