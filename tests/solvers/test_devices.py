"""Steps on an accelerator that is not there: torch's fake tensors have a device and a shape, and no values.

Under them a tensor of another device is an error, and so is to ask the device for a number, which on an accelerator
would make every iteration wait. What is computed there is tested on the CPU, by the torch path of the passes.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from napari_dipr.physics.fourier import gaussian_blur, mirrored
from napari_dipr.solvers import passes, projections
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.free import FreePixels
from napari_dipr.solvers.problem import Errors, Problem, State
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, autocorrelation_support, dilated

ALGORITHMS = [ER(), HIO(), RAAR(), DM(), RRR(), ALM(inner=2, patience=1)]
if hasattr(projections, "Detwin"):
    ALGORITHMS.append(projections.Detwin())
try:
    from napari_dipr.solvers.likelihood import Gaussian, Poisson
except ImportError:
    pass
else:
    ALGORITHMS += [Poisson(), Gaussian()]

FLAT, DEEP = (12, 15), (6, 8, 7)
CASES = [(FLAT, "whole"), (FLAT, "positive"), (FLAT, "halved"), (DEEP, "halved"), (FLAT, "blurred")]
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def fakes() -> Iterator[None]:
    with FakeTensorMode():
        yield


def case(grid, kind, dtype=torch.float32, batch=2):
    """Return a problem with free pixels and a mask on a device, and a state to go on from."""
    half = (*grid[:-1], grid[-1] // 2 + 1)
    spectrum = half if kind == "halved" else grid
    device = torch.device(DEVICE)
    index = torch.zeros(7, dtype=torch.int64, device=device)
    free = FreePixels(index, torch.ones(batch, 7, dtype=dtype, device=device))
    problem = Problem(
        torch.ones(batch, *spectrum, dtype=dtype, device=device),
        torch.ones(spectrum, dtype=torch.bool, device=device),
        positive=kind in ("positive", "halved"),
        photons=3.0,
        free=free,
        coherence=torch.ones(batch, *half, dtype=dtype, device=device) if kind == "blurred" else None,
        whole=grid if kind == "halved" else None,
    )
    x = torch.ones(batch, *grid, dtype=problem.dtype, device=device)
    return problem, State(x, torch.ones(batch, *grid, dtype=torch.bool, device=device))


def tensors(thing):
    """Return all tensors of a state, with those of its memory."""
    if isinstance(thing, Tensor):
        return [thing]
    if is_dataclass(thing):
        return [t for f in fields(thing) for t in tensors(getattr(thing, f.name))]
    return [t for part in thing for t in tensors(part)] if isinstance(thing, tuple | list) else []


def test_fake_tensors_see_what_these_tests_look_for():
    x = torch.ones(2, 3, device=DEVICE)
    with pytest.raises(DataDependentOutputException):
        x.sum().item()
    with pytest.raises(DataDependentOutputException):
        bool((x > 0).all())
    with pytest.raises(RuntimeError, match="device"):
        x + torch.ones(2, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("grid", "kind"), CASES)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_steps_stay_on_their_device_and_ask_it_for_no_number(algorithm, grid, kind, dtype):
    if kind == "blurred" and algorithm.coherent:
        pytest.skip("for coherent light alone")
    problem, state = case(grid, kind, dtype)
    before = state.object
    for _ in range(6):  # ALM: over updates of the multipliers and of the penalty
        state = algorithm.step(problem, state)
    assert state.object.shape == before.shape
    assert state.object.dtype == before.dtype == problem.dtype
    assert state.iteration == 6
    assert {t.device.type for t in tensors(state)} == {DEVICE}
    wide = {torch.float32: {torch.float32, torch.complex64}, torch.float64: {torch.float64, torch.complex128}}[dtype]
    assert {t.dtype for t in tensors(state)} <= wide | {torch.bool}
    assert algorithm.estimate(problem, state).device.type == DEVICE


@pytest.mark.parametrize(("grid", "kind"), CASES)
def test_errors_stay_on_their_device(grid, kind):
    problem, state = case(grid, kind)
    errors = problem.errors(state.object)
    assert isinstance(errors.free, Errors)
    found = tensors(errors)
    assert len(found) == 6
    assert {(t.device.type, t.dtype, tuple(t.shape)) for t in found} == {(DEVICE, torch.float64, (2,))}


@pytest.mark.parametrize("reference", ["maximum", "rms"])
@pytest.mark.parametrize("dilate", [0, 2])
@pytest.mark.parametrize(("grid", "kind"), CASES)
def test_shrink_wrap_stays_on_its_device_and_asks_it_for_no_number(grid, kind, dilate, reference):
    problem, state = case(grid, kind)
    state = State(state.object, state.support, pinned=state.support)
    wrap = ShrinkWrap(dilate=dilate, reference=reference)
    support = wrap.update(problem, state, state.support, 0.3)
    assert (support.device.type, support.dtype, support.shape) == (DEVICE, torch.bool, state.support.shape)


@pytest.mark.parametrize(("grid", "kind"), CASES)
def test_the_first_support_stays_on_its_device(grid, kind):
    problem, state = case(grid, kind)
    support = autocorrelation_support(problem)
    assert (support.device.type, support.dtype, support.shape) == (DEVICE, torch.bool, state.support.shape)


@pytest.mark.parametrize(("grid", "kind"), CASES)
def test_scaling_and_both_projections_stay_on_their_device(grid, kind):
    problem, state = case(grid, kind)
    for x in (
        problem.scaled(state.object),
        problem.project_magnitude(state.object),
        problem.project_object(state.object, state.support),
    ):
        assert (x.device.type, x.dtype, x.shape) == (DEVICE, problem.dtype, state.object.shape)


def test_the_parts_stay_on_their_device():
    x = torch.ones(2, 9, 8, device=DEVICE)
    for part in (dilated(x > 0, 2), mirrored(x), gaussian_blur(x, 1.0)):
        assert (part.device.type, part.shape) == (DEVICE, x.shape)
    assert passes.compiled(x) is None
