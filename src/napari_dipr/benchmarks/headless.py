"""How fast a run is without a window: ``python -m napari_dipr.benchmarks.headless GRID…``, seconds on its input."""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_dipr.measurement import Measurement
from napari_dipr.solvers.problem import Problem, as_support, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import run

RECIPE = "hio*1000000; no shrinkwrap"
SEED = 0


def ball(grid: Sequence[int]) -> tuple[Measurement, NDArray[np.bool_]]:
    """Return the measurement of a ball with some texture and phase, and where the ball is."""
    radius = np.sqrt(sum((x - n / 2) ** 2 for x, n in zip(np.indices(tuple(grid)), grid, strict=True)))
    inside = radius < min(grid) / 6
    texture = 1 + 0.3 * np.random.default_rng(SEED).random(tuple(grid))
    x = inside * texture * np.exp(1j * np.cos(20 * radius / min(grid)))
    power = np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2
    return Measurement.of(power, zero_frequency="centre", name="ball"), inside


def stopwatch(grid: Sequence[int]) -> Callable[[float], float]:
    """Return what lets HIO on :func:`ball` work for so many seconds and returns the iterations per second."""
    measurement, inside = ball(grid)
    problem = Problem.of(measurement)
    steps = run(problem, Recipe.parse(RECIPE), random_start(problem, as_support(inside, problem), SEED))
    next(steps)

    def work_for(seconds: float) -> float:
        first, began = next(steps).iteration, time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            last = next(steps).iteration
        return (last - first) / (now - began)

    work_for(1.0)  # the first iterations are slower
    return work_for


if __name__ == "__main__":
    # A rate for each line with a number of seconds: between them this process rests.
    work_for = stopwatch([int(side) for side in sys.argv[1:]])
    for line in sys.stdin:
        print(work_for(float(line)), flush=True)  # noqa: T201
