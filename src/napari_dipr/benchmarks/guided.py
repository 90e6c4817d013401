"""Guided generations beside independent starts at equal cost: the same number of iterations in all, on hard objects.

Crystals of much strain and blots of rough phase, 2-D, begin in the autocorrelation's support, and shrink-wrap follows;
or their support is known. The ways have an object's first starts in common.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.benchmarks.recipes import crystal
from napari_dipr.benchmarks.score import SOLVED
from napari_dipr.benchmarks.verdict import blot
from napari_dipr.ensembles.ensemble import Ensemble
from napari_dipr.ensembles.generations import Breed, guided
from napari_dipr.ensembles.starts import Starts
from napari_dipr.experiment import Experiment
from napari_dipr.physics.registration import register
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

ROUND = "(hio*80 + er*20)"
SHRINK = "shrinkwrap(threshold=0.1)"
PHOTONS, FREE, KEEP = 1e6, 0.04, 5
# Two errors are the same that differ by less.
ALIKE = 1.05


@dataclass(frozen=True)
class Way:
    """Starts and generations, rounds of 100 iterations in the first and in each later one, and how they are bred."""

    starts: int
    generations: int = 1
    rounds: int = 5
    later: int = 5
    breed: Breed = "root"

    @property
    def iterations(self) -> int:
        """Of all starts together."""
        return 100 * self.starts * (self.rounds + self.later * (self.generations - 1))

    def run(self, problem: Problem, support: Tensor | None, seed: int) -> Ensemble:
        """Carry it out, from the autocorrelation's support with shrink-wrap where none is given."""
        beside = SHRINK if support is None else "no shrinkwrap"
        first, later = (Recipe.parse(f"{ROUND}*{rounds}; {beside}") for rounds in (self.rounds, self.later))
        starts = Starts(autocorrelation_support(problem) if support is None else support, seed=seed)
        # Of one generation it is the ensemble of independent starts.
        return guided(
            problem,
            first,
            starts,
            self.starts,
            self.generations,
            later=later,
            breed=self.breed,
            most=KEEP,
            interval=float("inf"),
        )


# All of 10 000 iterations: starts × generations, the short ones of 100 iterations.
WAYS = {
    "20 independent": Way(20),
    "5, 4 × as long": Way(5, rounds=20),
    "5 × 4 by root": Way(5, 4),
    "5 × 4 by mean": Way(5, 4, breed="mean"),
    "10 × 2 by root": Way(10, 2),
    "10 × 6 short, root": Way(10, 6, later=1),
}
Objects = Callable[[np.random.Generator, int], NDArray[Any]]


def _crystal(rng: np.random.Generator, n: int, strain: float) -> NDArray[Any]:
    return crystal((n, n), strain, int(rng.integers(1 << 30)))


def _blot(rng: np.random.Generator, n: int) -> NDArray[Any]:
    return blot(rng, n, n * 0.36)


# Objects, and whether their support is known.
SETS: dict[str, tuple[Objects, bool]] = {
    "crystals, 1.2 rad": (partial(_crystal, strain=1.2), False),
    "crystals, 1.8 rad": (partial(_crystal, strain=1.8), False),
    "blots": (_blot, False),
    "blots, support known": (_blot, True),
}


def compare(
    objects: int = 24,
    *,
    seed: int = 0,
    side: int = 64,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, Any]:
    """Solve the objects of each of :data:`SETS` in each of :data:`WAYS`.

    Parameters
    ----------
    objects
        Of each set.
    seed
        Of objects, noise and starts.
    side
        Of the patterns, pixels.
    progress
        Told the set, and how many objects are done.

    Returns
    -------
    dict
        ``rows`` by set and way: ``errors`` of each object's best start by the criterion, and ``mean_errors`` of the
        mean of those kept: the share of energy that is wrong, ``1 − correlation²``; their medians, the share ``solved``
        (best below .01), the median ``criterion`` of the best, ``seconds``; and beside the first way, in how many
        objects the best is ``better`` and ``worse`` by more than 5 %, and the geometric mean ``ratio`` of the errors,
        of the best and of the mean. ``overall`` by way: of all sets together, the ratios each with its standard error.
    """
    rows: list[dict[str, Any]] = []
    for number, (name, (make, given)) in enumerate(SETS.items()):
        figures: dict[str, list[tuple[float, float, float, float]]] = {way: [] for way in WAYS}
        for k in range(objects):
            progress(name, number * objects + k)
            rng = np.random.default_rng([seed, number, k])
            experiment = Experiment.of(photons=PHOTONS, seed=k)
            measurement, truth = experiment.expose(make(rng, side), "simulated to compare ensembles")
            problem, known = Problem.of(measurement, free=FREE), torch.from_numpy(truth)
            support = known != 0 if given else None
            for way, how in WAYS.items():
                began = time.perf_counter()
                found = how.run(problem, support, seed + k)
                seconds = time.perf_counter() - began
                best = found.order[0]
                x, mean = (1 - register(y, known).correlation ** 2 for y in (found.objects[best], found.consensus.mean))
                figures[way].append((x, mean, found.criterion.of(found.rows[best]), seconds))
        first_best, first_mean = np.array(figures[next(iter(WAYS))]).T[:2]
        for way, how in WAYS.items():
            best_error, mean_error, criterion, seconds_each = np.array(figures[way]).T
            ratio = best_error / first_best
            rows.append(
                {
                    "set": name,
                    "way": way,
                    "iterations": how.iterations,
                    "errors": best_error.tolist(),
                    "mean_errors": mean_error.tolist(),
                    "best_median": float(np.median(best_error)),
                    "mean_median": float(np.median(mean_error)),
                    "solved": float((best_error < SOLVED).mean()),
                    "criterion": float(np.median(criterion)),
                    "better": int((ratio < 1 / ALIKE).sum()),
                    "worse": int((ratio > ALIKE).sum()),
                    "ratio": float(np.exp(np.log(ratio).mean())),
                    "mean_ratio": float(np.exp(np.log(mean_error / first_mean).mean())),
                    "seconds": float(seconds_each.sum()),
                }
            )
    overall = [{"way": way, **_beside(way, rows)} for way in WAYS]
    return {"objects": objects, "seed": seed, "side": side, "photons": PHOTONS, "rows": rows, "overall": overall}


def _beside(way: str, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Hold a way's errors in all sets against the first way's."""
    figures: dict[str, float] = {}
    for errors, name in (("errors", "ratio"), ("mean_errors", "mean_ratio")):
        own, first = (np.concatenate([r[errors] for r in rows if r["way"] == w]) for w in (way, next(iter(WAYS))))
        logs = np.log(own / first)
        figures[name] = float(np.exp(logs.mean()))
        figures[f"{name}_error"] = float(figures[name] * logs.std() / np.sqrt(max(len(logs) - 1, 1)))
    return figures | {key: sum(r[key] for r in rows if r["way"] == way) for key in ("better", "worse")}
