"""How fast a run is in a process of its own, without a window: ``python -m napari_dipr.benchmarks.headless GRID…``."""

import sys
import time
from collections.abc import Sequence

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


def rate(grid: Sequence[int], seconds: float = 4.0) -> float:
    """Return the iterations per second of HIO on :func:`ball`, after a second to warm up."""
    measurement, inside = ball(grid)
    problem = Problem.of(measurement)
    steps = run(problem, Recipe.parse(RECIPE), random_start(problem, as_support(inside, problem), SEED))

    def go_on_for(duration: float) -> tuple[int, float]:
        iterate, until = next(steps), time.monotonic() + duration
        while time.monotonic() < until:
            iterate = next(steps)
        return iterate.iteration, time.monotonic()

    first, began = go_on_for(1.0)
    last, ended = go_on_for(seconds)
    steps.close()
    return (last - first) / (ended - began)


if __name__ == "__main__":
    print(rate([int(side) for side in sys.argv[1:]]))  # noqa: T201
