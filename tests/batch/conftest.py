import numpy as np
import pytest

from napari_dipr.batch.inputs import patterns_of
from napari_dipr.batch.job import Job
from napari_dipr.experiment import simulate
from napari_dipr.preparation.steps import Preparation
from napari_dipr.reconstruct import Request


@pytest.fixture
def make_job(tmp_path):
    """Make a job that writes into a folder, with what is to be other than usual."""

    def make(folder="out", **changed):
        asked = {
            "recipe": "hio*20",
            "iterations": None,
            "shrink_wrap": True,
            "partial_coherence": False,
            "positive": False,
            "real": False,
            "model": None,
            "support": "autocorrelation",
            "seed": 0,
        }
        asked |= {name: changed.pop(name) for name in list(changed) if name in asked or name in ("free", "photons")}
        return Job(Request(**asked), Preparation(), tmp_path / folder, **changed)

    return make


@pytest.fixture
def scans(tmp_path):
    """Write patterns of one shape, and return them."""

    def write(count, **known):
        folder = tmp_path / "scans"
        folder.mkdir(exist_ok=True)
        for k in range(count):
            picture = 1 + np.random.default_rng(k).random((12, 14))
            np.save(folder / f"scan{k}.npy", simulate(picture, oversampling=2.5, **known)[0].intensities)
        return patterns_of([str(folder)])

    return write
