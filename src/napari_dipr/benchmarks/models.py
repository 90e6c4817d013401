"""The shipped models on test sets that no training saw: alone, refined, and beside the exact support.

FashionMNIST's models are tested on the images that are shipped, the others on simulated objects: *clean* ones (plain
polygons and blobs, phases of up to 1.5 rad, no noise) and *hard* ones (everything that is trained for: noise, a missing
centre and dead pixels in some). Refinement is one start of ``RECIPE`` from the proposal, with objects complex and
without positivity; *exact support* is the same recipe at random from the exact support.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from napari_dipr import samples
from napari_dipr.benchmarks.score import Outcome, score
from napari_dipr.benchmarks.table1 import HIO_SHORT
from napari_dipr.device import find_device
from napari_dipr.errors import DiprError
from napari_dipr.networks.propose import Answer, answer_to, suited_shrinkwrap, support_of
from napari_dipr.networks.spec import Flaws, ModelSpec, Variety
from napari_dipr.networks.unrolled import Unrolled
from napari_dipr.networks.zoo import describe_model, load_model, model_names
from napari_dipr.physics.fourier import embed_window, grid_dims
from napari_dipr.solvers.problem import Problem, State, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap
from napari_dipr.training import simulated
from napari_dipr.training.losses import Batch
from napari_dipr.training.objects import unseen_objects
from napari_dipr.training.patterns import flawed, measure

RECIPE = HIO_SHORT
# Pixels of patterns that are worked on together: more do not fit a CPU's cache.
AT_ONCE = 200_000
# What a soft or band-limited object has below this share of its maximum is not counted to its support.
FAINT = 0.1
HARD_SEED = 2022

Kind = Literal["clean", "hard"]


def models(
    objects: int = 256,
    names: Sequence[str] | None = None,
    *,
    kind: Kind = "clean",
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, Any]:
    """Test models on the first of the objects that they are for.

    Parameters
    ----------
    objects
        How many.
    names
        Of the models; None for all that are at hand.
    kind
        Which simulated objects; FashionMNIST has one kind.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    seed
        Of the random starts in the exact support.
    progress
        Told the model, and the objects it is done with, after every batch.

    Returns
    -------
    dict
        ``{"objects", "kind", "models": {name: row}}``, a row as the title of its keys says: ``nmse_mean``,
        ``nmse_median``, ``support_iou``, ``chi2``, ``agreement`` of the proposals; ``refined_nmse_mean`` and
        ``refined_solved``; ``exact_support_nmse_mean`` and ``exact_support_solved``; ``ms_per_proposal``.

    Raises
    ------
    DiprError
        If there is no such model or device.
    """
    names, where = model_names() if names is None else names, find_device(device)
    specs = {name: describe_model(name) for name in names}
    there = len(samples.shipped_images())
    if objects > there and any(spec.training.objects == "fashion-mnist" for spec in specs.values()):
        raise DiprError(f"{objects} test objects were asked for; of FashionMNIST there are {there}.")
    rows = {}
    for name, spec in specs.items():
        told = lambda done, name=name: progress(name, done)  # noqa: E731
        rows[name] = _row(name, load_model(name, str(where)), test_batch(spec, objects, kind, where), seed, told)
    return {"objects": objects, "kind": kind, "models": rows}


def test_batch(spec: ModelSpec, count: int, kind: Kind, device: torch.device) -> Batch:
    """Return the test set of a model: measurements ``[count, *grid]`` and their truth."""
    if spec.training.objects != "simulated" or kind == "clean":
        batch = measure(unseen_objects(spec, count), spec.network.grid)
    else:
        generator = torch.Generator().manual_seed(HARD_SEED)
        drawn = [simulated.draw(64, spec.network.window, Variety(), generator) for _ in range(-(-count // 64))]
        batch = flawed(measure(torch.cat(drawn)[:count], spec.network.grid), Flaws(), generator)
    measured = None if batch.measured is None else batch.measured.to(device)
    return Batch(batch.intensities.to(device), measured, batch.truth.to(device))


def _row(
    name: str, network: Unrolled, batch: Batch, seed: int, progress: Callable[[int], None]
) -> dict[str, float | None]:
    spec, follow = describe_model(name), suited_shrinkwrap(name)
    size = max(1, AT_ONCE // batch.intensities[0].numel())
    # FashionMNIST's images are dim in places, to their hard edge.
    inside = batch.truth != 0 if spec.training.objects == "fashion-mnist" else true_support(batch.truth)
    alone: list[Outcome] = []
    refined: list[Outcome] = []
    exact: list[Outcome] = []
    answers: list[Answer] = []
    seconds = 0.0
    for first in range(0, len(batch.intensities), size):
        part = slice(first, first + size)
        measured = None if batch.measured is None else batch.measured[part]
        intensities = batch.intensities[part]
        began = time.perf_counter()
        answer = answer_to(spec, network, intensities, measured)
        support = support_of(answer.objects, spec.proposal, coarseness=answer.coarseness)
        alone.append(Outcome(answer.objects.cpu(), support.cpu(), ffts=0))
        seconds += time.perf_counter() - began
        problem = Problem(intensities.sqrt(), measured)
        refined.append(_refined(problem, start_from(problem, answer.objects, support), follow))
        exact.append(_refined(problem, random_start(problem, inside[part], seed + first), follow))
        answers.append(answer)
        progress(min(first + size, len(batch.intensities)))
    truth, inside = batch.truth.cpu(), inside.cpu()
    window = embed_window(torch.ones(spec.network.window, dtype=torch.bool), spec.network.grid)
    scores = {name: score(some, truth, window, inside) for name, some in (("", alone), ("r", refined), ("e", exact))}
    return {
        "nmse_mean": scores[""]["nmse_mean"],
        "nmse_median": scores[""]["nmse_median"],
        "support_iou": scores[""]["support_iou"],
        "chi2": float(torch.cat([answer.chi2 for answer in answers]).mean()),
        "agreement": float(torch.cat([answer.agreement for answer in answers]).mean()),
        "refined_nmse_mean": scores["r"]["nmse_mean"],
        "refined_solved": scores["r"]["solved"],
        "exact_support_nmse_mean": scores["e"]["nmse_mean"],
        "exact_support_solved": scores["e"]["solved"],
        "ms_per_proposal": 1e3 * seconds / len(truth),
    }


def _refined(problem: Problem, start: State, shrinkwrap: ShrinkWrap) -> Outcome:
    end = solve(problem, Recipe.parse(RECIPE, shrinkwrap=shrinkwrap), start)
    return Outcome(end.object.cpu(), end.support.cpu(), end.ffts)


def true_support(truth: Tensor) -> Tensor:
    """Return where objects ``[batch, *grid]`` are: above ``FAINT`` of their maximum."""
    amplitude = truth.abs()
    return amplitude > FAINT * amplitude.amax(grid_dims(amplitude), keepdim=True)
