import io

import numpy as np
import pytest
import torch
from rich.console import Console

from napari_dipr import reconstruct as module
from napari_dipr.errors import SolverError
from napari_dipr.experiment import simulate
from napari_dipr.reconstruct import Request, fitting
from napari_dipr.solvers.shrinkwrap import ShrinkWrap


def request(**changed):
    plain = {
        "recipe": "hio*20",
        "iterations": None,
        "shrink_wrap": True,
        "partial_coherence": False,
        "positive": False,
        "real": False,
        "model": None,
        "support": None,
        "seed": 0,
    }
    return Request(**(plain | changed))


@pytest.fixture
def measurement():
    return simulate(1 + np.random.default_rng(0).random((12, 14)), oversampling=2.5)[0]


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def failing(monkeypatch, error, times):
    """Make the first starts fail."""
    honest, left, devices = module.Problem.of.__func__, [error] * times, []

    def of(cls, *args, device, **known):
        devices.append(device)
        if left:
            raise left.pop()
        return honest(cls, *args, device="cpu", **known)  # wherever it was asked for: there is no other here

    monkeypatch.setattr(module.Problem, "of", classmethod(of))
    return devices


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")])
def test_where_the_accelerators_memory_is_full_the_cpu_does_it(monkeypatch, measurement, console, error):
    monkeypatch.setattr(module, "find_device", lambda name: torch.device("cuda"))
    devices = failing(monkeypatch, error, 1)
    result, asked = request().carry_out(measurement, console)
    assert devices == ["cuda", "cpu"]
    assert asked.problem.device.type == "cpu"
    assert result.iterations == asked.recipe.iterations == 20
    assert "memory of cuda is full: again on the cpu" in console.file.getvalue()


def test_where_the_cpus_memory_is_full_it_is_told(monkeypatch, measurement, console):
    devices = failing(monkeypatch, MemoryError("no room"), 1)
    with pytest.raises(SolverError, match=r"memory is full \(no room\)\. Crop"):
        request().carry_out(measurement, console)
    assert devices == ["cpu"]


def test_other_errors_of_the_device_are_not_taken_for_a_full_memory(monkeypatch, measurement, console):
    monkeypatch.setattr(module, "find_device", lambda name: torch.device("cuda"))
    devices = failing(monkeypatch, RuntimeError("CUDA error: device-side assert triggered"), 1)
    with pytest.raises(RuntimeError, match="device-side assert"):
        request().carry_out(measurement, console)
    assert devices == ["cuda"]


def test_the_plan_has_what_was_asked_for():
    plan = request(recipe="raar", iterations=40).plan()
    assert (str(plan), plan.shrinkwrap, plan.coherence) == ("raar*36 + er*4; shrinkwrap", ShrinkWrap(), None)
    plan = request(recipe="hio*200", shrink_wrap=False, partial_coherence=True).plan()
    assert plan.shrinkwrap is None
    assert plan.coherence is not None


def test_auto_is_planned_for_the_problem_that_is_solved(measurement, console):
    noisy, _ = simulate(1 + np.random.default_rng(0).random((12, 14)), oversampling=2.5, photons=1e5)
    for data, ends in ((measurement, "er"), (noisy, "poisson")):
        recipe = request(recipe="auto", iterations=20).carry_out(data, console).asked.recipe
        assert recipe.stages[-1].algorithm.name == ends


def test_a_support_file_is_the_support(tmp_path, measurement, console):
    inside = np.zeros(measurement.grid, bool)
    inside[8:20, 10:24] = True
    np.save(tmp_path / "inside.npy", inside)
    asked = request(support=str(tmp_path / "inside.npy"), shrink_wrap=False)
    result, *_ = asked.carry_out(measurement, console)
    np.testing.assert_array_equal(result.support[0], inside)
    unlike, *_ = request(support="autocorrelation", shrink_wrap=False).carry_out(measurement, console)
    assert not np.array_equal(unlike.support[0], inside)


def test_no_model_fits_a_size_that_none_was_trained_for(measurement):
    model, why = fitting(measurement)
    assert model is None
    assert why.startswith("support from the autocorrelation: ")
