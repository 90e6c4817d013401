"""Table 1 of the paper: FashionMNIST test images, recovered by every method, with controls at equal cost.

The images lie at random places of a 36² field, turned or not (:mod:`napari_dipr.samples`), in a 72² grid, without
noise. Objects are complex: no row knows that they are real or not negative, except for what a network has learned,
and for the controls that are told so.

The paper says neither how often its solvers iterate nor how its error is normalised. Our budget is one for all rows
that it compares, ``ITERATIONS`` evaluations of ALM from one start: ``alm`` and ``hio`` from the bare window spend
exactly the transforms that ``passive_refined`` does. An evaluation of ALM and an iteration of HIO cost two each; ALM's
start costs two more, so that HIO gets one iteration more.

References
----------
.. [1] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, Table 1 and eq. A.1.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr import samples
from napari_dipr.benchmarks.kept import same_settings
from napari_dipr.benchmarks.score import Outcome, errors_of, summary
from napari_dipr.benchmarks.starts import (
    ANSWERS,
    DISTURBANCE,
    Batch,
    Starts,
    filled,
    from_autocorrelation,
    from_proposal,
    from_truth,
    from_window,
)
from napari_dipr.device import find_device
from napari_dipr.ensembles.starts import APART
from napari_dipr.errors import DiprError
from napari_dipr.io.write import write_json
from napari_dipr.networks.propose import predict, suited_shrinkwrap, support_of
from napari_dipr.networks.spec import Flaws
from napari_dipr.networks.zoo import describe_model, load_denoisers, load_model, trained
from napari_dipr.physics.fourier import forward
from napari_dipr.solvers.prdeep import prdeep
from napari_dipr.solvers.problem import Problem, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap
from napari_dipr.training.losses import Batch as Measured
from napari_dipr.training.objects import fashion_mnist
from napari_dipr.training.patterns import flawed

# Images solved together: more do not fit a CPU's cache.
BATCH = 32

ITERATIONS = 600
ALM = f"alm*{ITERATIONS}"
HIO = f"hio*{ITERATIONS - 49} + er*50"
# What HIO needs with a support that follows the object; well below the budget of the other rows.
HIO_SHORT = "hio*150 + er*30"

PASSIVE, NAIVE, UNROLLED = "passive-fashion", "naive-fashion", "unrolled-fashion"
DNCNN = "dncnn-fashion"
STARTS = 8

# prDeep's start is the best of many short runs of HIO, gone on with; as its authors have it.
PRDEEP_STARTS, PRDEEP_FIRST, PRDEEP_THEN = 50, "hio*50", "hio*1000"
PRDEEP_ITERATIONS = 200
# Of the denoisers beside the amplitudes: of nine from .03 to 1000 the best on 16 training images.
PRDEEP_WEIGHT = 100.0
# It costs some TFLOP an image.
PRDEEP_MOST = 256


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes
    ----------
    run
        How it works on a batch, with so many starts.
    model
        The network that proposes, if it needs one.
    paper
        The paper's figure.
    positive
        Whether it is told that objects are real and not negative.
    denoisers
        The denoisers that it needs.
    several
        Whether it takes more than one start.
    most
        Of how many images it is run on the first; None for all that are asked for.
    """

    run: Callable[[Batch, int], Outcome]
    model: str | None = None
    paper: float | None = None
    positive: bool = False
    denoisers: str | None = None
    several: bool = False
    most: int | None = None


def _network(model: str) -> Callable[[Batch, int], Outcome]:
    """Let the network alone answer."""

    def run(batch: Batch, count: int = 1) -> Outcome:
        measured, network = batch.problem.measured, load_model(model, str(batch.problem.device))
        objects = predict(network, filled(batch.problem), measured)
        how = describe_model(model).proposal
        return Outcome(objects, support_of(objects, how), ffts=0)

    return run


def _refined(
    starts: Starts,
    recipe: str,
    shrinkwrap: Callable[[], ShrinkWrap] | None = None,
    *,
    positive: bool = False,
    finds: bool = True,
) -> Callable[[Batch, int], Outcome]:
    """Refine from a start or several; ``finds`` says whether the support is a finding."""

    def run(batch: Batch, count: int) -> Outcome:
        problem = replace(batch.problem, positive=True) if positive else batch.problem
        plan = Recipe.parse(recipe, shrinkwrap=None if shrinkwrap is None else shrinkwrap())
        ends = [solve(problem, plan, start) for start in starts(batch, count)]
        found, support = _closest(ends)
        return Outcome(found, support if finds else None, sum(end.ffts for end in ends))

    return run


def _closest(ends: list[Reconstruction]) -> tuple[Tensor, Tensor]:
    """Return each image's object and support that leave the least residual: that needs no truth."""
    best = torch.stack([end.chi2 for end in ends]).argmin(0)
    images = torch.arange(len(best), device=best.device)
    objects, supports = (
        torch.stack(arrays) for arrays in zip(*((end.object, end.support) for end in ends), strict=True)
    )
    return objects[best, images], supports[best, images]


def _prdeep(batch: Batch, count: int) -> Outcome:
    problem, first, then = batch.problem, Recipe.parse(PRDEEP_FIRST), Recipe.parse(PRDEEP_THEN)
    ends = [solve(problem, first, start) for start in from_window(batch, PRDEEP_STARTS)]
    end = solve(problem, then, start_from(problem, *_closest(ends)))
    start = start_from(problem, end.object, end.support)
    denoisers = load_denoisers(DNCNN, str(problem.device)).networks
    found, spent = prdeep(
        problem, start, (samples.FIELD,) * 2, denoisers, weight=PRDEEP_WEIGHT, iterations=PRDEEP_ITERATIONS
    )
    return Outcome(found, None, sum(end.ffts for end in ends) + end.ffts + spent)


def _close() -> ShrinkWrap:
    return suited_shrinkwrap(UNROLLED)


METHODS = {
    # The paper's.
    "hio": Method(_refined(from_window, HIO, finds=False), paper=0.441),
    "alm": Method(_refined(from_window, ALM, finds=False), paper=0.312),
    "passive": Method(_network(PASSIVE), PASSIVE, paper=0.266),
    "passive_refined": Method(_refined(from_proposal(PASSIVE), ALM), PASSIVE, paper=0.187),
    "naive": Method(_network(NAIVE), NAIVE, paper=0.492),
    "naive_refined": Method(_refined(from_proposal(NAIVE), ALM), NAIVE, paper=0.397),
    "prdeep": Method(_prdeep, paper=0.412, denoisers=DNCNN, most=PRDEEP_MOST),
    # Ours.
    "passive_refined_hio": Method(_refined(from_proposal(PASSIVE), HIO_SHORT, ShrinkWrap), PASSIVE),
    "unrolled": Method(_network(UNROLLED), UNROLLED),
    "unrolled_refined": Method(_refined(from_proposal(UNROLLED), HIO_SHORT, _close), UNROLLED),
    "unrolled_refined_alm": Method(_refined(from_proposal(UNROLLED), ALM), UNROLLED),
    "unrolled_multistart": Method(_refined(from_proposal(UNROLLED), HIO_SHORT, _close), UNROLLED, several=True),
    # Controls without a network.
    "hio_shrinkwrap": Method(_refined(from_autocorrelation, HIO_SHORT, ShrinkWrap)),
    "hio_shrinkwrap_window": Method(_refined(from_window, HIO_SHORT, ShrinkWrap)),
    "hio_shrinkwrap_multistart": Method(_refined(from_autocorrelation, HIO_SHORT, ShrinkWrap), several=True),
    "hio_positive": Method(_refined(from_window, HIO, positive=True, finds=False), positive=True),
    "hio_positive_short": Method(_refined(from_window, HIO_SHORT, positive=True, finds=False), positive=True),
    # Ceilings.
    "hio_oracle": Method(_refined(from_truth, HIO, finds=False)),
    "alm_oracle": Method(_refined(from_truth, ALM, finds=False)),
}


def table1(
    images: int = 256,
    methods: Sequence[str] = tuple(METHODS),
    *,
    device: str = "auto",
    seed: int = 0,
    starts: int = STARTS,
    kept: Path | None = None,
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
    starts
        How many starts the rows have that keep the best of several.
    kept
        Folder for the errors of finished batches: what is there is not computed again.
    progress
        Told the method, and the images it is done with, after every batch.

    Returns
    -------
    dict
        ``{"images": N, "starts": K, "rows": {method: row}}``. Beside the figures of
        :func:`~napari_dipr.benchmarks.score.summary` a row has
        ``ffts_per_image`` and ``ms_per_image`` (the network included in both), ``images``, ``paper`` and ``positive``,
        whether objects were known to be real and not negative.

    Raises
    ------
    DiprError
        If a method is not known, its model or the images are not at hand, or the folder holds what was computed
        otherwise; before anything is computed.
    """
    known(methods)
    truth, where = first_objects(images), find_device(device)
    used = {}
    for model in sorted({str(METHODS[name].model) for name in methods if METHODS[name].model}):
        load_model(model, str(where))  # where it is used, so that no row's time has it
        spec = describe_model(model)
        used[model] = [trained(model)["sha256"], spec.proposal.model_dump(), spec.network.model_dump(mode="json")]
    for denoisers in sorted({str(METHODS[name].denoisers) for name in methods if METHODS[name].denoisers}):
        load_denoisers(denoisers, str(where))
        used[denoisers] = trained(denoisers)["sha256"]
    if kept is not None:
        how: dict[str, Any] = {
            "ALM": ALM,
            "HIO": HIO,
            "short HIO": HIO_SHORT,
            "shrink-wrap": repr(ShrinkWrap()),
            "prDeep": [PRDEEP_STARTS, PRDEEP_FIRST, PRDEEP_THEN, PRDEEP_ITERATIONS, PRDEEP_WEIGHT],
        }
        how |= {"answers": ANSWERS, "disturbance": DISTURBANCE, "seed": seed, "starts": starts}
        same_settings(kept, {**how, "device": str(where), "threads": torch.get_num_threads(), **used})
    rows = {}
    for name in methods:
        parts, count = [], images_of(name, images)
        for first, part in batches(name, truth):
            file = None if kept is None else kept / f"{name}-{first}-{len(part)}.json"
            if file is not None and file.is_file():
                parts.append(json.loads(file.read_text(encoding="utf-8")))
            else:
                parts.append(run_on(METHODS[name], batch_of(part, seed + first, where), starts))
                if file is not None:
                    write_json(file, parts[-1])
            progress(name, first + len(part))
        spent = sum(each["ffts"] * len(each["errors"]["nmse"]) for each in parts)
        rows[name] = {
            **summary([each["errors"] for each in parts]),
            "ffts_per_image": round(spent / count) + network_ffts(name, starts),
            "ms_per_image": 1e3 * sum(each["seconds"] for each in parts) / count,
            "images": count,
            "paper": METHODS[name].paper,
            "positive": METHODS[name].positive,
        }
    return {"images": images, "starts": starts, "rows": rows}


def images_of(method: str, images: int) -> int:
    """Return on how many of the images a method is run."""
    return min(images, METHODS[method].most or images)


def batches(method: str, truth: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Split the objects that a method is run on: each part with the number of its first."""
    some = truth[: images_of(method, len(truth))]
    yield from zip(range(0, len(some), BATCH), some.split(BATCH), strict=True)


def network_ffts(method: str, starts: int) -> int:
    """Return the transforms that a method's network, if it has one, takes for the answers to an image."""
    model, answers = METHODS[method].model, min(starts, ANSWERS) if METHODS[method].several else 1
    return 0 if model is None else answers * describe_model(model).network.ffts


def known(methods: Sequence[str]) -> None:
    """Refuse methods that there are none of.

    Raises
    ------
    DiprError
        Which names those that there are.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise DiprError(f"There is no method {', '.join(map(repr, unknown))}. The methods: {', '.join(METHODS)}.")


def run_on(method: Method, batch: Batch, starts: int) -> dict[str, Any]:
    """Run a method on a batch: the errors of its images, the transforms spent on each, and the seconds on all."""
    began = time.perf_counter()
    outcome = method.run(batch, starts if method.several else 1)
    # Devices work ahead: the copy waits for them.
    support = None if outcome.support is None else outcome.support.cpu()
    outcome = Outcome(outcome.object.cpu(), support, outcome.ffts)
    seconds = time.perf_counter() - began
    return {"errors": errors_of(outcome, batch.truth.cpu()), "ffts": outcome.ffts, "seconds": seconds}


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


def batch_of(truth: Tensor, seed: int, device: torch.device, flaws: Flaws | None = None) -> Batch:
    """Measure objects ``[batch, *grid]``: in float64 on the CPU, without noise but for the flaws that are given."""
    amplitudes, measured = forward(truth.to(torch.complex128)).abs().to(torch.float32), None
    if flaws is not None:
        perfect = Measured(amplitudes.square(), None, truth)
        # Not the stream that starts are drawn from.
        batch = flawed(perfect, flaws, torch.Generator().manual_seed(seed + APART // 2))
        amplitudes, measured = batch.intensities.sqrt(), batch.measured
    return Batch(
        Problem(amplitudes.to(device), None if measured is None else measured.to(device)), truth.to(device), seed
    )
