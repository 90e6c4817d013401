"""The likelihoods against their definitions, written here once more pixel by pixel of the whole spectrum."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import data

from napari_dipr.physics.fourier import batchwise, forward, grid_dims, mirrored
from napari_dipr.physics.symmetry import nmse, twin
from napari_dipr.solvers import likelihood
from napari_dipr.solvers.likelihood import Gaussian, Poisson
from napari_dipr.solvers.problem import Problem, State
from napari_dipr.solvers.projections import ER

GRIDS = [(12, 15), (8, 7, 6)]
BOTH = [Poisson(), Gaussian()]
CASES = ["complex", "masked", "blurred", "real", "positive", "half", "half positive masked"]
both = pytest.mark.parametrize("algorithm", BOTH, ids=lambda a: a.name)


def noise(like, seed=1):
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def near(truth, support, error, seed=1):
    """Return an object inside the support, off the truth by this share of its energy."""
    added = noise(truth, seed) * support
    size = (truth.abs().square().sum(grid_dims(truth)) / added.abs().square().sum(grid_dims(truth))).sqrt()
    return truth + error**0.5 * batchwise(size, truth) * added


def iterate(algorithm, problem, state, steps):
    for _ in range(steps):
        state = algorithm.step(problem, state)
    return state


def counted(problem, photons, seed=0):
    intensities = problem.amplitudes.double().square()
    unit = photons / float(intensities[0].sum())
    counts = torch.poisson(intensities * unit, generator=torch.Generator().manual_seed(seed))
    return replace(problem, amplitudes=(counts / unit).sqrt().to(problem.amplitudes.dtype), photons=unit)


def bell(ndim):
    """Return a point-spread function that is its own mirror image, ``[1, *window]``."""
    psf = torch.ones(1, dtype=torch.float64)
    for _ in range(ndim):
        psf = psf[..., None] * torch.tensor([0.15, 0.7, 0.15], dtype=torch.float64)
    return psf


def case(planted, name, grid, batch=2, dtype=torch.complex128, error=0.02):
    """Return ``(problem, whole, start, truth)``: the whole spectrum's problem beside that which is solved."""
    measured = noise(torch.empty(grid), seed=3) < 0.8 if "masked" in name else None
    problem, truth, support = planted(grid, batch, dtype=dtype, positive="positive" in name)
    if "real" in name or "half" in name or "positive" in name:
        truth = truth.real.clamp_min(0 if "positive" in name else -torch.inf).to(dtype)
    flags = {"positive": "positive" in name, "real": "real" in name or "half" in name}
    whole = Problem(forward(truth).abs(), measured, **flags, photons=1e9)
    if name == "blurred":
        power = convolved(whole.amplitudes.square(), bell(len(grid)))
        whole = replace(whole, amplitudes=power.sqrt()).seen_with(bell(len(grid)).to(truth.real.dtype))
    problem = whole.halved() if "half" in name else whole
    if "half" in name:  # what one of q and -q measured, both did
        known = None if measured is None else measured | mirrored(measured[None])[0]
        whole = replace(whole, amplitudes=forward(truth).abs(), measured=known)
        truth = truth.real
    return problem, whole, State(problem.project_object(near(truth, support, error), support), support), truth


def convolved(power, psf):
    """Convolve round the grid's edges, by the definition."""
    dims, middle = grid_dims(power), [n // 2 for n in psf.shape[1:]]
    total = torch.zeros_like(power)
    for index in product(*[range(n) for n in psf.shape[1:]]):
        shift = [i - m for i, m in zip(index, middle, strict=True)]
        total += psf[(0, *index)] * torch.roll(power, shift, dims)
    return total


def value(algorithm, whole, x):
    """Return L by its definition."""
    o = forward(x).abs().square()
    if whole.coherence is not None:
        o = convolved(o, bell(o.ndim - 1))
    a = whole.amplitudes.double()
    c = a.square()
    terms = o - c + torch.xlogy(c, c / o) if algorithm.name == "poisson" else (o.sqrt() - a).square() / 2
    terms = terms if whole.measured is None else terms * whole.measured
    return terms.sum(grid_dims(terms))


@both
@pytest.mark.parametrize(("name", "grid"), list(product(CASES, GRIDS)))
def test_the_gradient_is_that_of_the_likelihood(planted, algorithm, name, grid):
    problem, whole, start, _ = case(planted, name, grid, error=0.3)
    x = start.object
    gradient = algorithm.step(problem, start).memory.gradient
    assert not gradient[~start.support].any()
    for seed in range(3):
        d = noise(x, seed)
        d = (d.real.to(d.dtype) if problem.real else d) * start.support * ((x != 0) if problem.positive else 1)
        slope = (value(algorithm, whole, x + 1e-5 * d) - value(algorithm, whole, x - 1e-5 * d)) / 2e-5
        inner = (gradient.conj() * d).real.sum(grid_dims(x))
        torch.testing.assert_close(2 * x[0].numel() * inner, slope, rtol=1e-5, atol=1e-5 * float(slope.abs().max()))


@both
@pytest.mark.parametrize("name", CASES)
def test_no_step_raises_the_likelihood_and_far_starts_fall_far(planted, algorithm, name):
    problem, whole, state, _ = case(planted, name, (12, 15), batch=3, error=0.5)
    scale = float(whole.amplitudes.square().sum()) * 1e-14
    assert algorithm.spectrum(state) is None
    first = before = value(algorithm, whole, state.object)
    for _ in range(60):
        state = algorithm.step(problem, state)
        after = value(algorithm, whole, state.object)
        assert (after <= before + scale).all()
        torch.testing.assert_close(algorithm.spectrum(state), problem.forward(state.object))
        before = after
    assert (before < 0.1 * first).all()
    assert torch.equal(state.object, problem.project_object(state.object, state.support))


@both
@pytest.mark.parametrize(
    ("name", "grid", "steps"),
    [*((name, (24, 24), 30) for name in CASES), *((name, (12, 14, 10), 20) for name in CASES if name != "blurred")],
)
def test_it_converges_from_near_the_solution_where_er_is_ten_times_as_far(planted, algorithm, name, grid, steps):
    problem, _, start, truth = case(planted, name, grid, dtype=torch.complex64)
    end, reduced = (iterate(a, problem, start, steps).object for a in (algorithm, ER()))
    assert (problem.errors(end).chi2.sqrt() < 1e-4).all()
    assert (problem.errors(reduced).chi2 > 100 * problem.errors(end).chi2).all()
    assert (nmse(end, truth)[0] < 1e-4).all()
    assert end.dtype == truth.dtype


@both
def test_zeros_of_a_positive_object_are_found_within_few_steps(planted, algorithm):
    """Within ten steps: it takes 9 times the residual not to leave pixels at their bound out of the gradient."""
    _, truth, support = planted((48, 48), batch=8, dtype=torch.complex128)
    truth = (truth.real - 1).clamp_min(0).to(truth.dtype)  # 84 % of it zeros
    problem = Problem(forward(truth).abs(), positive=True)
    state = State(problem.project_object(near(truth, support, 0.02), support), support)
    assert float(problem.errors(iterate(algorithm, problem, state, 10).object).chi2.sqrt().mean()) < 6e-6


@pytest.mark.parametrize("positive", [False, True])
def test_of_few_photons_the_poisson_likelihood_makes_the_best_object_and_the_least_deviance(planted, positive):
    problem, truth, support = planted((32, 32), batch=16, positive=positive)
    problem = counted(problem, 3e4)
    start = State(problem.project_object(near(truth, support, 0.02), support), support)
    counts, amplitudes = (iterate(algorithm, problem, start, 40).object for algorithm in BOTH)
    reduced = iterate(ER(), problem, start, 60).object
    likelihoods = [problem.errors(x).likelihood for x in (counts, amplitudes, reduced)]
    assert (likelihoods[0] < torch.minimum(*likelihoods[1:])).all()
    errors = [float(nmse(x, truth)[0].mean()) for x in (counts, amplitudes, start.object)]
    assert errors[0] < errors[1] < 0.5 * errors[2]


@both
@pytest.mark.parametrize("half", [False, True])
def test_a_positive_object_ends_where_nothing_that_is_allowed_lowers_the_likelihood(planted, algorithm, half):
    _, whole, start, truth = case(planted, "positive", (20, 20))
    unexplained = (truth + 0.5 * noise(truth)).real.to(truth.dtype)  # not by what is inside the support
    whole = replace(whole, amplitudes=forward(unexplained).abs())
    problem = whole.halved() if half else whole
    state = iterate(algorithm, problem, State(start.object.real if half else start.object, start.support), 300)
    at = state.object.real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(algorithm, whole, at).sum(), at)
    bound, inside = start.support & (at <= 0), start.support & (at > 0)
    size = 1e-6 * at[0].numel() * float(at.abs().max())
    assert bound.any()
    assert (gradient[bound] > -size).all()
    assert (gradient[bound] > 1e3 * size).any()
    assert (gradient[inside].abs() < size).all()


@both
@given(grid=st.sampled_from(GRIDS), is_twin=st.booleans(), phase=st.floats(-3, 3), positive=st.booleans(), more=data())
@settings(max_examples=15, deadline=None)
def test_a_solution_stays_and_so_do_its_shifts_and_its_twin(planted, algorithm, grid, is_twin, phase, positive, more):
    problem, truth, support = planted(grid, dtype=torch.complex128, positive=positive)
    shift = more.draw(st.tuples(*[st.integers(0, n - 1) for n in grid]))
    if is_twin:
        truth, support = twin(truth), twin(support.to(truth.dtype)).real > 0.5
    truth, support = (torch.roll(t, shift, grid_dims(t)) for t in (truth, support))
    if not positive:
        truth = truth * torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(phase, dtype=torch.float64))
    stayed = iterate(algorithm, problem, State(truth, support), 3).object
    torch.testing.assert_close(stayed, truth, rtol=1e-8, atol=1e-8)
    elsewhere = torch.roll(support, 2, 1)  # where it is no solution
    moved = algorithm.step(problem, State(truth, elsewhere)).object
    assert float((moved - truth * elsewhere).abs().max()) > 1e-3


@both
@pytest.mark.parametrize("name", ["masked", "half positive masked"])
def test_values_of_unmeasured_pixels_change_nothing(planted, algorithm, name):
    problem, _, start, _ = case(planted, name, (12, 15))
    nothing = replace(problem, amplitudes=torch.where(problem.measured, problem.amplitudes, torch.nan))
    end = iterate(algorithm, problem, start, 5).object
    assert torch.equal(iterate(algorithm, nothing, start, 5).object, end)
    # and they stay free: the steps are others where they are taken for measured zeros
    assert not torch.equal(iterate(algorithm, replace(problem, measured=None), start, 5).object, end)


@both
@pytest.mark.parametrize("name", ["complex", "positive", "half", "blurred"])
@pytest.mark.parametrize("error", [0.02, 0.3])
def test_a_batch_goes_as_its_samples_go(planted, algorithm, name, error):
    problem, _, start, _ = case(planted, name, (12, 15), batch=3, dtype=torch.complex64, error=error)
    x = start.object * torch.tensor([1.0, 0.7, 1.4]).reshape(-1, 1, 1)  # each at another place
    together = iterate(algorithm, problem, State(x, start.support), 20).object
    for k in range(3):
        alone = replace(problem, amplitudes=problem.amplitudes[k : k + 1])
        one = iterate(algorithm, alone, State(x[k : k + 1], start.support[k : k + 1]), 20).object
        assert float((one - together[k : k + 1]).norm() / one.norm()) < 1e-4


@both
@pytest.mark.parametrize("name", ["complex", "positive", "half"])
def test_single_precision_follows_double_precision(planted, algorithm, name):
    problem, _, start, _ = case(planted, name, (24, 24), batch=4, error=0.1)
    double = iterate(algorithm, problem, start, 20).object
    coarse = replace(problem, amplitudes=problem.amplitudes.float())
    x = start.object.to(torch.complex64 if start.object.is_complex() else torch.float32)
    single = iterate(algorithm, coarse, State(x, start.support), 20).object
    assert single.dtype == x.dtype
    assert float((single - double).norm() / double.norm()) < 1e-4


@both
@pytest.mark.parametrize(
    ("name", "first", "each"), [("complex", 3, 2), ("half", 3, 2), ("positive", 3, 2), ("blurred", 11, 10)]
)
def test_every_transform_is_counted(planted, transforms, algorithm, name, first, each):
    problem, _, state, _ = case(planted, name, (12, 12))
    transforms.clear()
    for step in range(1, 121):
        state = algorithm.step(problem, state)
        assert state.ffts == len(transforms) == first + (step - 1) * each + step // likelihood.REFRESH


@both
def test_a_step_leaves_the_state_it_was_given_as_it_was(planted, algorithm):
    problem, _, state, _ = case(planted, "positive", (12, 15), error=0.3)
    for steps in (0, 1, 4):
        state = iterate(algorithm, problem, state, steps)
        kept = [state.object, *(vars(state.memory).values() if state.memory else ())]
        kept = [v for v in kept if isinstance(v, torch.Tensor)]
        before = [v.clone() for v in kept]
        once = algorithm.step(problem, state).object
        assert all(torch.equal(*pair) for pair in zip(kept, before, strict=True))
        assert torch.equal(algorithm.step(problem, state).object, once)
        assert not torch.equal(once, state.object)


@both
@given(brightness=st.floats(1e-4, 1e4))
@settings(max_examples=10, deadline=None)
def test_scaling_the_measurement_scales_the_iterates(planted, algorithm, brightness):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = near(truth, support, 0.1)
    once = iterate(algorithm, problem, State(x, support), 5).object
    bright = Problem(problem.amplitudes * brightness)
    after = iterate(algorithm, bright, State(x * brightness, support), 5).object
    torch.testing.assert_close(after, once * brightness, rtol=1e-6, atol=1e-6 * brightness)


@both
@pytest.mark.parametrize("name", ["complex", "positive"])
def test_a_sample_whose_trial_is_refused_stays_and_tries_a_shorter_one_along_its_gradient(
    planted, monkeypatch, algorithm, name
):
    problem, _, start, _ = case(planted, name, (12, 15))
    state = iterate(algorithm, problem, start, 3)
    first = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(-1, 1, 1)  # L rises for the first sample
    with monkeypatch.context() as patch:
        patch.setattr(type(algorithm), "_rise", lambda self, model, data, change: first.expand(model.shape))
        refused = algorithm.step(problem, state)
    assert torch.equal(refused.object[0], state.object[0])
    assert not torch.equal(refused.object[1], state.object[1])
    end = algorithm.step(problem, refused)
    lengths = [float((s.object - state.object)[0].norm()) for s in (end, algorithm.step(problem, state))]
    assert 0 < lengths[0] < lengths[1]
    if name == "complex":
        assert torch.equal(end.memory.direction[0], -end.memory.gradient[0])
    assert not torch.equal(end.memory.direction[1], -end.memory.gradient[1])
