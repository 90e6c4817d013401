"""How often the verdict on an ensemble is right: simulated cases whose class is known by how they are made.

Objects are blots with a rough amplitude and phase, measured on 48² to 96² pixels. Each class is made in three ways:

- *agree*: independent random starts with enough iterations, in the known support without noise, in it with 1e6 photons,
  or in the autocorrelation's with shrink-wrap and 1e7 photons.
- *twin superposed*: the object and its twin in parts of 1 : .85 to 1, with any phase between them, each start disturbed
  by .05 to .1 of it and ended after two iterations of ER in a support that is its own twin. Without noise, with 1e6
  photons, and so of a real object.
- *distinct families*: the object is a convolution a⊗b, which has the pattern of a⊗twin(b), and the two correlate at .8
  at most. Half of the starts begin near the one, half near the other: disturbed by .1, 100 iterations of ER. Without
  noise, with 1e6 photons, and so with three and five.
- *no agreement*: independent starts of 300 to 1500 photons; in a support of half the grid, ended after 12 iterations of
  HIO; and of an object that fills three quarters of the grid's side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_dipr.ensembles.ensemble import Ended, Ensemble, combine, drained, watch
from napari_dipr.ensembles.starts import Starts
from napari_dipr.ensembles.verdict import AGREE, FAMILIES, KINDS, NONE, TWIN, verdict
from napari_dipr.experiment import Experiment
from napari_dipr.measurement import Measurement
from napari_dipr.physics.placement import twinned
from napari_dipr.physics.registration import register
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

STARTS = 8
# Above this nmse of the mean an agreement is on something wrong.
WRONG = 0.1
# Two families are distinct where their objects correlate at no more.
APART = 0.8
GRIDS = (48, 64, 80, 96)
Objects = NDArray[np.complexfloating]


@dataclass(frozen=True, eq=False)
class Case:
    """An ensemble, what it should be found to be, and how it was made."""

    kind: str
    made: str
    ensemble: Ensemble
    measurement: Measurement
    truth: Tensor


def verdicts(each: int = 15, seed: int = 11, progress: Callable[[str, int], None] | None = None) -> dict[str, Any]:
    """Make cases and count the verdicts on them.

    Parameters
    ----------
    each
        Cases of each class.
    seed
        Of all of them; the verdict's thresholds were chosen on those of the seeds 0 to 7.
    progress
        Told the class and how many cases are done.

    Returns
    -------
    dict
        ``confusion`` by class and verdict, ``right`` (share), ``wrong_agree`` (verdicts *agree* whose mean has an nmse
        above .1), and the ``cases`` with the numbers behind each.
    """
    confusion = {kind: dict.fromkeys(KINDS, 0) for kind in KINDS}
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for number in range(each):
            case = make(kind, number, seed)
            found = verdict(case.ensemble, case.measurement)
            error = float(nmse(case.ensemble.consensus.mean[None], case.truth[None])[0])
            confusion[kind][found.kind] += 1
            rows.append(
                {"class": kind, "made": case.made, "verdict": found.kind, "nmse": error, "cause": found.cause}
                | found.figures
            )
            if progress is not None:
                progress(kind, len(rows))
    return {
        "each": each,
        "seed": seed,
        "starts": STARTS,
        "confusion": confusion,
        "right": sum(row["class"] == row["verdict"] for row in rows) / len(rows),
        "wrong_agree": sum(row["verdict"] == AGREE and row["nmse"] > WRONG for row in rows),
        "cases": rows,
    }


def make(kind: str, number: int, seed: int) -> Case:
    """Make case ``number`` of a class; they take turns in how they are made."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    return {AGREE: _agree, TWIN: _twin, FAMILIES: _families, NONE: _none}[kind](rng, number % 3)


def _agree(rng: np.random.Generator, way: int) -> Case:
    n = int(rng.choice(GRIDS))
    truth = blot(rng, n, n * 0.36)
    measurement, known = _measured(truth, (None, 1e6, 1e7)[way])
    problem = Problem.of(measurement, free=0.04)
    if way == 2:
        recipe, support = (
            Recipe.parse("(hio*60 + er*20)*5; shrinkwrap(threshold=0.1)"),
            autocorrelation_support(problem),
        )
    else:
        recipe, support = Recipe.parse("(hio*80 + er*20)*8; no shrinkwrap"), torch.from_numpy(truth != 0)
    made = ("known support, no noise", "known support, 1e6 photons", "shrink-wrap, 1e7 photons")[way]
    return Case(AGREE, made, _run(problem, recipe, Starts(support, seed=_seed(rng))), measurement, known)


def _twin(rng: np.random.Generator, way: int) -> Case:
    n = int(rng.choice(GRIDS))
    truth = blot(rng, n, n * 0.36)
    truth = np.abs(truth).astype(np.complex128) if way == 2 else truth
    measurement, known = _measured(truth, (None, 1e6, 1e6)[way])
    problem = Problem.of(measurement, free=0.04)
    support = (truth != 0) | (twinned(truth) != 0)
    mixed = known.numpy() + rng.uniform(0.85, 1) * np.exp(2j * np.pi * rng.random()) * twinned(known.numpy())
    starts = Starts(torch.from_numpy(support), torch.from_numpy(mixed), (0.05, 0.1, 0.05)[way], _seed(rng))
    made = ("mixture, no noise", "mixture, 1e6 photons", "mixture of a real object, 1e6 photons")[way]
    return Case(TWIN, made, _run(problem, Recipe.parse("er*2; no shrinkwrap"), starts), measurement, known)


def _families(rng: np.random.Generator, way: int) -> Case:
    n = int(rng.choice(GRIDS))
    alike = 1.0
    while alike > APART:
        a, b = blot(rng, n, n * 0.22), blot(rng, n, n * 0.2)
        truth, other = (_convolved(a, y) for y in (b, twinned(b)))
        alike = register(*(torch.from_numpy(x) for x in (truth, other))).correlation
    measurement, known = _measured(truth, (None, 1e6, 1e6)[way])
    problem = Problem.of(measurement, free=0.04)
    support = torch.from_numpy(ndimage.binary_dilation((np.abs(truth) > 0) | (np.abs(other) > 0)))
    recipe, seed = Recipe.parse("er*100; no shrinkwrap"), _seed(rng)
    first = 3 if way == 2 else STARTS // 2
    ended: list[Ended] = []
    for x, count in ((truth, first), (other, STARTS - first)):
        starts = Starts(support, torch.from_numpy(x), 0.1, seed + len(ended))
        ended += _ended(problem, recipe, starts, count)
    made = ("a⊗b, no noise", "a⊗b, 1e6 photons", "a⊗b, 1e6 photons, 3 : 5")[way]
    return Case(FAMILIES, made, combine(problem, ended, independent=False), measurement, known)


def _none(rng: np.random.Generator, way: int) -> Case:
    n = int(rng.choice(GRIDS))
    truth = blot(rng, n, n * (0.75 if way == 2 else 0.36))
    measurement, known = _measured(truth, (float(rng.integers(300, 1500)), 1e6, 1e6)[way])
    problem = Problem.of(measurement, free=0.04)
    inside, recipe = torch.from_numpy(truth != 0), Recipe.parse("hio*80 + er*20; no shrinkwrap")
    if way == 1:
        inside = torch.zeros(n, n, dtype=torch.bool)
        inside[n // 8 : n // 8 + (n * 7) // 10, n // 8 : n // 8 + (n * 7) // 10] = True
        recipe = Recipe.parse("hio*12; no shrinkwrap")
    elif way == 2:
        inside = autocorrelation_support(problem)
    made = ("few photons", "wide support, few iterations", "object larger than half the grid")[way]
    return Case(NONE, made, _run(problem, recipe, Starts(inside, seed=_seed(rng))), measurement, known)


def _run(problem: Problem, recipe: Recipe, starts: Starts) -> Ensemble:
    return combine(problem, _ended(problem, recipe, starts, STARTS), independent=starts.independent)


def _ended(problem: Problem, recipe: Recipe, starts: Starts, count: int) -> tuple[Ended, ...]:
    return drained(watch(problem, recipe, starts, count, interval=float("inf")), None)


def _measured(truth: Objects, photons: float | None) -> tuple[Measurement, Tensor]:
    experiment = Experiment.of(photons=photons, seed=int(abs(truth).sum() * 1e3))
    measurement, known = experiment.expose(truth, "simulated to judge verdicts")
    return measurement, torch.from_numpy(known)


def blot(rng: np.random.Generator, n: int, width: float) -> Objects:
    """Make a blot in the middle of ``[n, n]``, about so wide, whose outline, amplitude and phase are smooth noise."""
    y, x = np.mgrid[:n, :n] - n // 2
    angle, turns = np.arctan2(y, x), np.arange(1, 5)
    waves = rng.normal(size=4)[:, None, None] * np.cos(turns[:, None, None] * angle + 6.3 * rng.random((4, 1, 1)))
    radius = width / 2 * (1 + 0.12 * waves.sum(0)).clip(0.4, 1.3)
    rough = [ndimage.gaussian_filter(rng.normal(size=(n, n)), 1.5, mode="wrap") for _ in range(2)]
    amplitude = (1 + 0.5 * rough[0] / rough[0].std()).clip(0.1)
    return np.where(np.hypot(y, x) < radius, amplitude * np.exp(1j * rough[1] / rough[1].std()), 0)


def _convolved(a: Objects, b: Objects) -> Objects:
    product = np.fft.ifft2(np.fft.fft2(np.fft.ifftshift(a)) * np.fft.fft2(np.fft.ifftshift(b)))
    product = np.fft.fftshift(product)
    return np.where(np.abs(product) > 1e-9 * np.abs(product).max(), product, 0)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))
