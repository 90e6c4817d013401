import numpy as np
import pytest
import torch

from napari_dipr.experiment import simulate
from napari_dipr.solvers.problem import Problem


@pytest.fixture(scope="session")
def simulated():
    """Make a measurement of a rough triangle, with photons and free pixels where asked: ``(problem, truth, support)``.

    ``[*grid]``; the triangle is not its own twin, and its support makes the solution unique.
    """

    def make(photons=None, free=0.05, side=12, **known):
        rng = np.random.default_rng(3)
        rows, columns = np.mgrid[:side, :side]
        picture = rng.uniform(0.3, 1, (side, side)) * np.exp(1j * rng.uniform(0, 2, (side, side)))
        picture = picture * (rows + columns < side)
        picture = picture.real.clip(0.1) * (picture != 0) if known.get("positive") else picture
        measurement, truth = simulate(picture, photons=photons, oversampling=3)
        problem = Problem.of(measurement, free=free, **known)
        truth = torch.from_numpy(truth)
        return problem, truth, truth != 0

    return make
