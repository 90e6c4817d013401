from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from napari_dipr.physics.fourier import batchwise, grid_dims
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers import alm
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.problem import Problem, State


def noise(like, seed=1):
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def near(truth, error, seed=1):
    """Return an object of about this nmse to the truth."""
    added = noise(truth, seed)
    size = (truth.abs().square().sum(grid_dims(truth)) / added.abs().square().sum(grid_dims(truth))).sqrt()
    return truth + error**0.5 * batchwise(size, truth) * added


def iterate(algorithm, problem, state, steps):
    for _ in range(steps):
        state = algorithm.step(problem, state)
    return state


def infeasibility(problem, state):
    x = state.object
    return (x - problem.project_object(x, state.support)).abs().square().sum(grid_dims(x)).sqrt()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("grid", [(10, 9), (6, 7, 5)])
def test_the_gradient_is_that_of_the_lagrangian(planted, grid, masked, positive):
    measured = torch.rand(grid, generator=torch.Generator().manual_seed(3)) < 0.8 if masked else None
    problem, truth, support = planted(grid, batch=2, dtype=torch.complex128, positive=positive, measured=measured)
    z = near(truth, 0.3)
    memory = alm._Memory(
        residual=z - problem.project_magnitude(z),
        multiplier=0.1 * noise(truth, seed=5),
        penalty=torch.tensor([0.3, 2.0], dtype=torch.float64),
        infeasibility=torch.ones(2, dtype=torch.float64),
    )

    def value(x):
        there = replace(memory, residual=x - problem.project_magnitude(x))
        return alm._lagrangian(problem, support, x, there)[0]

    at, gradient = alm._lagrangian(problem, support, z, memory)
    torch.testing.assert_close(at, value(z))
    for seed in range(4):
        direction = noise(truth, seed=10 + seed)
        h = 1e-6
        slope = (value(z + h * direction) - value(z - h * direction)) / (2 * h)
        torch.testing.assert_close(alm._inner(gradient, direction), slope, rtol=1e-5, atol=1e-7)


def test_the_multiplier_at_the_support_is_the_text_books():
    """With the support alone the violation is (1−S)(ρZ + λ)."""
    z, multiplier = (torch.randn(1, 4, 4, dtype=torch.complex128) for _ in range(2))
    support = torch.rand(1, 4, 4) < 0.5
    problem = Problem(torch.ones(1, 4, 4, dtype=torch.float64))
    memory = alm._Memory(z, multiplier, torch.tensor([0.25], dtype=torch.float64), torch.ones(1))
    torch.testing.assert_close(alm._violation(problem, support, z, memory), ~support * (0.25 * z + multiplier))


@pytest.mark.parametrize("positive", [False, True])
def test_alm_converges_from_near_the_solution(planted, positive):
    problem, truth, support = planted((16, 16), batch=4, positive=positive)
    starts = torch.cat([near(truth[:1], 0.02, seed) for seed in range(4)])
    state = iterate(ALM(), problem, State(starts, support), 300)
    x = problem.project_object(state.object, support)
    assert float(problem.errors(x).chi2.sqrt().max()) < 1e-3
    assert float(nmse(x, truth)[0].max()) < 1e-4


def test_alm_converges_in_three_dimensions_with_unmeasured_pixels(planted):
    measured = torch.ones(10, 12, 10, dtype=torch.bool)
    measured[0, 0, :2], measured[3, 4, 5] = False, False
    problem, truth, support = planted((10, 12, 10), dtype=torch.complex64, measured=measured)
    state = iterate(ALM(), problem, State(near(truth, 0.02), support), 400)
    x = problem.project_object(state.object, support)
    assert float(problem.errors(x).chi2.sqrt()) < 1e-3
    assert float(nmse(x, truth)[0]) < 1e-4


def test_multipliers_and_penalty_change_between_the_inner_problems_and_the_violation_falls(planted):
    problem, truth, support = planted((16, 16), batch=2, dtype=torch.complex128)
    algorithm = ALM(inner=10, patience=1)
    state = State(near(truth, 0.05), support)
    multipliers, penalties, violations = [], [], []
    for outer in range(12):
        state = iterate(algorithm, problem, state, 10 if outer else 11)
        multipliers.append(state.memory.multiplier.clone())
        penalties.append(state.memory.penalty.clone())
        violations.append(infeasibility(problem, state))
    for before, after in pairwise(multipliers):
        assert not torch.allclose(before, after)
    # λ = ρ(V − P_C V) lives where the constraint does.
    assert not multipliers[-1][support].any()
    assert (penalties[-1] > penalties[0]).any()
    assert all((after >= before).all() for before, after in pairwise(penalties))
    assert (penalties[-1] <= algorithm.penalty_max).all()
    assert (violations[-1] < 1e-2 * violations[0]).all()


def test_the_penalty_stops_at_its_bound(planted):
    problem, truth, support = planted((12, 12), dtype=torch.complex64)
    foreign = torch.roll(support, 4, 1)  # nothing feasible fits: the violation cannot fall
    state = iterate(ALM(inner=2, penalty=0.01, patience=1, penalty_max=0.05), problem, State(truth, foreign), 30)
    torch.testing.assert_close(state.memory.penalty, torch.tensor([0.05]))


def test_no_step_raises_the_lagrangian(planted):
    problem, truth, support = planted((16, 16), batch=3, dtype=torch.complex128)
    algorithm, state = ALM(inner=1000), State(near(truth, 0.3), support)
    state = algorithm.step(problem, state)
    before = alm._lagrangian(problem, support, state.object, state.memory)[0]
    for _ in range(40):
        state = algorithm.step(problem, state)
        after = alm._lagrangian(problem, support, state.object, state.memory)[0]
        assert (after <= before * (1 + 1e-5)).all()
        before = after


def test_a_batch_goes_as_its_samples_go(planted):
    problem, truth, support = planted((16, 16), batch=3, dtype=torch.complex128)
    starts = torch.cat([near(truth[:1], error, seed) for seed, error in enumerate((0.01, 0.1, 0.5))])
    algorithm = ALM(inner=8)
    together = iterate(algorithm, problem, State(starts, support), 20).object
    for k in range(3):
        alone = iterate(algorithm, Problem(problem.amplitudes[k : k + 1]), State(starts[k : k + 1], support[:1]), 20)
        assert float((alone.object - together[k : k + 1]).norm() / alone.object.norm()) < 1e-6


def test_single_precision_follows_double_precision(planted):
    problem, truth, support = planted((16, 16), dtype=torch.complex128)
    start = near(truth, 0.02)
    double = iterate(ALM(inner=8), problem, State(start, support), 20).object
    single = iterate(
        ALM(inner=8), Problem(problem.amplitudes.float()), State(start.to(torch.complex64), support), 20
    ).object
    assert single.dtype == torch.complex64
    # A line search decides on differences: rounding is amplified more than by a projection.
    assert float((single - double).norm() / double.norm()) < 1e-3


def test_every_transform_is_counted(planted, transforms):
    problem, truth, support = planted((16, 16), batch=2, dtype=torch.complex64)
    state = State(near(truth, 0.5), support)
    transforms.clear()
    for _ in range(25):
        state = ALM(inner=5).step(problem, state)
        assert state.ffts == len(transforms)


def test_a_step_from_an_earlier_state_is_not_disturbed_by_later_ones(planted):
    problem, truth, support = planted((12, 12), dtype=torch.complex128)
    earlier = iterate(ALM(inner=4), problem, State(near(truth, 0.1), support), 6)
    once = iterate(ALM(inner=4), problem, earlier, 5).object
    again = iterate(ALM(inner=4), problem, earlier, 5).object
    torch.testing.assert_close(again, once)


def test_fewer_inner_iterations_than_were_done_still_update_the_multipliers(planted):
    problem, truth, support = planted((12, 12), dtype=torch.complex128)
    state = iterate(ALM(inner=50), problem, State(near(truth, 0.1), support), 10)
    assert not state.memory.multiplier.any()
    after = iterate(ALM(inner=5), problem, state, 6)
    assert after.memory.multiplier.any()
