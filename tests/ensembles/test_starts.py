import pytest
import torch

from napari_dipr.ensembles.starts import Starts, batch_size, check_single, seed_of, together
from napari_dipr.errors import SolverError
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve


def test_start_0_is_the_random_start_of_the_seed_and_each_other_one_another(simulated):
    problem, _, support = simulated()
    starts = Starts(support, seed=4)
    first = starts.start(problem, 0).object
    assert torch.equal(first, random_start(problem, support[None], 4).object)
    assert torch.equal(starts.start(problem, 5).object, starts.start(problem, 5).object)
    seen = {round(float(starts.start(problem, k).object.abs().max()), 9) for k in range(6)}
    assert len(seen) == 6
    assert len({seed_of(seed, k) for seed in range(20) for k in range(20)}) == 400


def test_starts_near_an_object_lie_as_far_from_it_as_is_said(simulated):
    problem, truth, support = simulated()
    far = []
    for amount in (0.0, 0.1, 0.4):
        starts = Starts(support, truth, amount)
        assert not starts.independent
        x, y = starts.start(problem, 2).object.flatten(), truth.flatten()
        overlap = min(float(abs(torch.vdot(x, y)) / (x.norm() * y.norm())), 1.0)
        far.append((1 / overlap**2 - 1) ** 0.5)
    assert far == pytest.approx([0, 0.1, 0.4], rel=0.35, abs=2e-3)
    assert not torch.equal(starts.start(problem, 2).object, starts.start(problem, 3).object)


@pytest.mark.parametrize("known", [{}, {"real": True}, {"positive": True}])
def test_a_start_comes_out_in_a_batch_as_it_does_alone(simulated, known):
    problem, _, support = simulated(1e5, **known)
    starts, recipe = Starts(support), Recipe.parse("hio*12 + er*4; shrinkwrap(every=5)")
    states = [starts.start(problem, k) for k in range(3)]
    whole = solve(*_ordered(together(problem, states), recipe))
    assert whole.object.shape == (3, *problem.grid)
    for k, state in enumerate(states):
        alone = solve(problem, recipe, state)
        torch.testing.assert_close(
            whole.object[k], alone.object[0], rtol=1e-3, atol=1e-3 * float(alone.object.abs().max())
        )
        torch.testing.assert_close(whole.errors.free.chi2[k], alone.errors.free.chi2[0], rtol=1e-3, atol=0)


def _ordered(batch, recipe):
    problem, state = batch
    return problem, recipe, state


def test_masks_and_coherence_are_those_of_the_measurement_in_a_batch_too(simulated):
    problem, _, support = simulated()
    measured = torch.rand(problem.amplitudes.shape, generator=torch.Generator().manual_seed(1)) > 0.2
    masked = Problem(problem.amplitudes, measured).seen_with(torch.ones(1, 3, 3) / 9)
    x = Starts(support).start(masked, 0)
    whole, both = together(masked, [x, x])
    for chi2 in whole.errors(both.object).chi2:
        torch.testing.assert_close(chi2, masked.errors(x.object).chi2[0])


@pytest.mark.parametrize("kind", ["random", "near"])
def test_what_a_person_decided_on_is_left_as_it_is_in_a_batch_too(simulated, kind):
    problem, truth, support = simulated()
    pinned = torch.zeros_like(support)
    pinned[0, 0] = True
    first = support.clone()
    first[0, 0] = True
    starts = Starts(first, truth if kind == "near" else None, pinned=pinned)
    whole, both = together(problem, [starts.start(problem, k) for k in range(3)])
    assert torch.equal(both.pinned, pinned.expand(3, *problem.grid))
    shrinking = Recipe.parse("hio*20; shrinkwrap(every=5,threshold=0.5)")
    end = solve(whole, shrinking, both)
    assert bool(end.support[:, 0, 0].all())
    free = solve(problem, shrinking, Starts(first).start(problem, 0))
    assert not bool(free.support[0, 0, 0])


def test_small_starts_run_together_and_large_ones_one_by_one():
    recipe, settles = Recipe.parse("hio*10"), Recipe.parse("hio*10; settling")
    small, large = Problem(torch.ones(1, 32, 32)), Problem(torch.ones(1, 64, 64, 64))
    assert batch_size(small, recipe, 7) == 7
    assert 7 < batch_size(small, recipe, 10_000) < 10_000
    assert batch_size(large, recipe, 7) == 1
    # Its end would depend on the others'.
    assert batch_size(small, settles, 7) == 1


def test_several_measurements_are_refused():
    with pytest.raises(SolverError, match="batch of 2"):
        check_single(Problem(torch.ones(2, 16, 16)))
