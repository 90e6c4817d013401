"""What checkpoints take from a run: its iterations per second with them and without, in turn.

One checkpoint costs little beside what a busy machine does to a run, so three figures are told. The loop time that one
takes comes from stretches of one run, every second of which has one written beside it; over the interval it is the
share that is lost. Processor time, of the writing and of what it adds to the loop's own, is what a machine that does
nothing else loses at most, and a busy one changes it little. Runs with and without checkpoints, in turn, say that
nothing was forgotten.
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipr.io.checkpoint import Checkpoints
from napari_dipr.io.cutoff import INTERVAL, VARIABLE
from napari_dipr.measurement import Measurement
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Iterate, run
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

RECIPES = ("hio*1000000", "alm*1000000")
# A stretch is so many times as long as a checkpoint takes to be written, and no shorter than so many seconds.
STRETCH, SHORTEST = 3, 0.5


def checkpoints(
    grids: tuple[tuple[int, ...], ...] = ((512, 512), (128, 128, 128)),
    *,
    recipes: tuple[str, ...] = RECIPES,
    writes: int = 12,
    pairs: int = 2,
    seconds: float = 60.0,
    device: str = "cpu",
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Measure what checkpoints cost.

    Parameters
    ----------
    grids, recipes
        Of the runs: each recipe on each grid.
    writes
        Stretches with a checkpoint, and as many without.
    pairs, seconds
        Runs with checkpoints every 20 s, and as many without, each of so many seconds.
    device
        Where.
    progress
        Called after each grid and recipe.

    Returns
    -------
    dict
        Plain JSON: ``rows`` with ``grid``, ``recipe``, ``megabytes``, ``write_ms`` (from the moment that an iterate is
        handed over until the disk has it), ``cpu_ms`` (processor time of that, and what it adds to the loop's, the
        median of pairs of stretches), ``cost_ms`` (loop time, likewise, and its quartiles), ``cpu_share`` and ``share``
        (of 20 s), and ``ratio`` (of the iterations in the same time, with over without).
    """
    rows = []
    for grid in grids:
        for recipe in recipes:
            rows.append(_row(grid, recipe, writes, pairs, seconds, device))
            progress()
    threads = torch.get_num_threads()
    return {
        "interval": INTERVAL,
        "rows": rows,
        "writes": writes,
        "pairs": pairs,
        "seconds": seconds,
        "threads": threads,
    }


def ellipsoid(grid: tuple[int, ...]) -> Measurement:
    """Return the pattern of an ellipsoid with a smooth phase, with the noise of photons."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n, endpoint=False) for n in grid], indexing="ij")
    inside = sum((axis / size) ** 2 for axis, size in zip(axes, (0.3, 0.36, 0.42), strict=False)) < 1
    x = inside * np.exp(2j * np.sin(3 * axes[0] + 2 * axes[1]))
    intensities = np.abs(np.fft.fftn(x)) ** 2
    counts = np.random.default_rng(0).poisson(intensities * (1e6 / intensities.max()))
    return Measurement.of(counts.astype(np.float32), zero_frequency="corner", photons_per_unit=1, name="ellipsoid")


def _row(grid: tuple[int, ...], recipe: str, writes: int, pairs: int, seconds: float, device: str) -> dict[str, Any]:
    measurement = ellipsoid(grid)
    problem = Problem.of(measurement, device=device)
    plan, start = Recipe.parse(recipe, problem=problem), random_start(problem, autocorrelation_support(problem))

    def steps(interval: float) -> Iterator[Iterate]:
        return run(problem, plan, start, interval=interval)

    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {VARIABLE: folder}):
        with closing(steps(0)) as running:  # type: ignore[type-var]
            row = _stretches(running, Checkpoints(measurement, plan, {}, interval=0), writes)
        counts: dict[bool, int] = {True: 0, False: 0}
        for pair in range(pairs):
            for kept in (True, False) if pair % 2 else (False, True):
                with closing(steps(0.1)) as running:  # type: ignore[type-var]
                    counts[kept] += _iterations(running, Checkpoints(measurement, plan, {}) if kept else None, seconds)
    row["ratio"] = counts[True] / counts[False] if pairs else None
    return {"grid": list(grid), "recipe": recipe, **row}


def _stretches(running: Iterator[Iterate], kept: Checkpoints, writes: int) -> dict[str, Any]:
    def go(iterations: int, write: bool) -> NDArray[np.float64]:
        began = np.array([time.perf_counter(), time.thread_time()])
        for n in range(iterations):
            iterate = next(running)
            if write and n == 0:
                kept.look(iterate)
        return np.array([time.perf_counter(), time.thread_time()]) - began

    first = next(running)
    kept.keep(first)
    took, spent = [], []
    for _ in range(5):
        iterate = next(running)
        began, worked = time.perf_counter(), time.process_time()
        kept.keep(iterate)
        took.append(time.perf_counter() - began)
        spent.append(time.process_time() - worked)
    length = max(STRETCH * float(np.median(took)), SHORTEST)
    iterations = math.ceil(length / (go(20, False)[0] / 20))
    costs = []
    for pair in range(writes):
        times = {}
        for write in (True, False) if pair % 2 else (False, True):
            times[write] = go(iterations, write)
            kept.wait()
        costs.append(times[True] - times[False])
    size = kept.size
    kept.end()
    low, middle, high = (float(q) for q in np.quantile([wall for wall, _ in costs], (0.25, 0.5, 0.75)))
    processor = float(np.median(spent)) + max(0.0, float(np.median([cpu for _, cpu in costs])))
    return {
        "megabytes": size / 1e6,
        "write_ms": 1e3 * float(np.median(took)),
        "cpu_ms": 1e3 * processor,
        "cost_ms": 1e3 * middle,
        "cost_quartiles_ms": [1e3 * low, 1e3 * high],
        "share": middle / INTERVAL,
        "cpu_share": processor / INTERVAL,
    }


def _iterations(running: Iterator[Iterate], kept: Checkpoints | None, seconds: float) -> int:
    """Return how many iterations are done in some seconds."""
    began, done = time.monotonic(), 0
    for iterate in running:
        done = iterate.iteration
        if kept is not None:
            kept.look(iterate)
        if time.monotonic() - began >= seconds:
            break
    if kept is not None:
        kept.end()
    return done
