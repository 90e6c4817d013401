import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_dipr.errors import RecipeError, SolverError, SupportError
from napari_dipr.physics.fourier import forward
from napari_dipr.physics.metrics import chi2, r_factor
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers import run as run_module
from napari_dipr.solvers.problem import Problem, State, as_support, random_start
from napari_dipr.solvers.projections import ER, HIO, RRR, Detwin
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Controls, Reconstruction, run, solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap


def every_iterate(steps, answer=lambda iterate: None):
    """Drive a run to its end; return all iterates and the reconstruction."""
    seen = []
    try:
        iterate = next(steps)
        while True:
            seen.append(iterate)
            iterate = steps.send(answer(iterate))
    except StopIteration as end:
        return seen, end.value


def test_a_run_ends_with_a_reconstruction_that_explains_the_measurement(planted):
    problem, _, support = planted((24, 24), batch=4)
    end = solve(problem, Recipe.parse("hio*400 + er*40"), random_start(problem, support))
    assert isinstance(end, Reconstruction)
    assert (end.iterations, end.ffts, end.ended) == (440, 880, "all iterations done")
    assert float(end.chi2.median().sqrt()) < 1e-4
    f = forward(end.object)
    torch.testing.assert_close(end.chi2.float(), chi2(f, problem.amplitudes), rtol=0.05, atol=0)
    torch.testing.assert_close(end.r_factor.float(), r_factor(f, problem.amplitudes), rtol=0.05, atol=0)
    assert not (end.object * ~support).any()
    assert [record.iteration for record in end.history] == [440]
    assert end.history[-1].chi2 == pytest.approx(float(end.chi2.mean()))
    assert end.seconds > 0


def test_without_an_interval_every_iteration_is_yielded_and_with_an_endless_one_the_first(planted):
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    seen, _ = every_iterate(run(problem, Recipe.parse("hio*4 + er*3"), start, interval=0))
    assert [i.iteration for i in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [i.stage for i in seen] == ["hio*4"] * 4 + ["er*3"] * 3
    assert {i.total for i in seen} == {7}
    for iterate in seen:
        assert torch.equal(iterate.solution, problem.project_object(iterate.state.object, support))
    seen, end = every_iterate(run(problem, Recipe.parse("hio*4 + er*3"), start, interval=math.inf))
    assert [i.iteration for i in seen] == [1]
    assert end.iterations == 7


def test_yields_follow_the_clock(planted, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(run_module.time, "monotonic", lambda: next(clock))
    problem, _, support = planted((12, 12))
    seen, _ = every_iterate(run(problem, Recipe.parse("hio*13"), random_start(problem, support), interval=4))
    assert [i.iteration for i in seen] == [1, 5, 9, 13]


def test_the_history_has_the_first_iteration_every_tenth_and_the_last(planted):
    problem, _, support = planted((12, 12), batch=2)
    seen, end = every_iterate(run(problem, Recipe.parse("hio*23"), random_start(problem, support), interval=0))
    assert [r.iteration for r in end.history] == [1, 10, 20, 23]
    assert [len(i.history) for i in seen[8:11]] == [1, 2, 2]
    at_ten = seen[9]
    f = forward(at_ten.solution)
    assert at_ten.history[-1].chi2 == pytest.approx(float(chi2(f, problem.amplitudes).mean()))
    assert at_ten.history[-1].r_factor == pytest.approx(float(r_factor(f, problem.amplitudes).mean()))
    assert at_ten.history[-1].support_pixels == float(support[0].sum())


def test_watching_changes_nothing_of_the_result(planted):
    problem, _, support = planted((12, 12))
    recipe = Recipe.parse("hio*30 + er*5", shrinkwrap=ShrinkWrap(every=10))
    start = random_start(problem, support)
    _, watched = every_iterate(run(problem, recipe, start, interval=0, record_every=1))
    unwatched = solve(problem, recipe, start)
    assert torch.equal(watched.object, unwatched.object)
    assert watched.ffts == unwatched.ffts


def test_the_transforms_are_counted_truly(planted, transforms):
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    transforms.clear()
    end = solve(problem, Recipe.parse("hio*12 + raar*5 + dm*5 + rrr*5 + alm*12 + er*3"), start)
    assert end.ffts == len(transforms) - 1  # the last look at the error


@pytest.mark.parametrize("name", ["hio", "er", "raar", "dm", "rrr", "alm(inner=7)"])
def test_a_run_goes_on_from_the_state_of_another_as_if_it_were_one(planted, name):
    problem, _, support = planted((12, 12), batch=2)
    start = random_start(problem, support)
    whole = solve(problem, Recipe.parse(f"{name}*40"), start)
    half = solve(problem, Recipe.parse(f"{name}*20"), start)
    other = solve(problem, Recipe.parse(f"{name}*20"), half.state)
    assert torch.equal(other.object, whole.object)
    assert (other.iterations, other.ffts) == (whole.iterations, whole.ffts)
    assert other.history[-1].iteration == 40


def test_a_new_support_lets_alm_start_afresh(planted):
    problem, _, support = planted((12, 12))
    state = solve(problem, Recipe.parse("alm(inner=3)*10"), random_start(problem, support)).state
    assert state.memory.multiplier.any()
    edit = np.zeros((12, 12), np.int8)
    edit[0, 0] = 1
    steps = run(problem, Recipe.parse("alm(inner=3)*10"), state, interval=0)
    seen, _ = every_iterate(steps, lambda i: Controls(edit=edit) if i.iteration == 1 else None)
    assert not seen[1].state.memory.multiplier.any()


# Controls


def test_stop_ends_the_run_with_what_there_is(planted):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse("hio*50 + er*50"), random_start(problem, support), interval=0)
    seen, end = every_iterate(steps, lambda i: Controls(stop=i.iteration == 7))
    assert len(seen) == end.iterations == 7
    assert end.ended == "stopped after 7 of 100 iterations"
    assert torch.equal(end.object, seen[-1].solution)
    assert end.history[-1].iteration == 7


def test_beta_changes_the_steps_from_then_on_and_in_later_stages(planted):
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    steps = run(problem, Recipe.parse("hio*3 + er*1 + hio*3"), start, interval=0)
    seen, end = every_iterate(steps, lambda i: Controls(beta=0.4) if i.iteration == 2 else None)
    assert [i.stage for i in seen] == ["hio*3"] * 2 + ["hio(beta=0.4)*3", "er*1"] + ["hio(beta=0.4)*3"] * 3
    expected = start
    for algorithm in [HIO()] * 2 + [HIO(beta=0.4)] + [ER()] + [HIO(beta=0.4)] * 3:
        expected = algorithm.step(problem, expected)
    assert torch.equal(end.state.object, expected.object)


@pytest.mark.parametrize("name", ["raar", "dm", "rrr"])
def test_beta_changes_every_algorithm_that_has_one(planted, name):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse(f"{name}*3 + alm*1"), random_start(problem, support), interval=0)
    seen, _ = every_iterate(steps, lambda i: Controls(beta=0.4) if i.iteration == 1 else None)
    assert [i.stage for i in seen] == [f"{name}*3", *[f"{name}(beta=0.4)*3"] * 2, "alm*1"]


def test_what_goes_on_after_rrr_starts_inside_the_support_and_rrr_itself_goes_on_from_its_iterate(planted):
    problem, _, support = planted((12, 12))
    state = random_start(problem, support)
    end = solve(problem, Recipe.parse("rrr*3 + rrr(beta=0.4)*2 + er*1"), state)
    for algorithm in [RRR()] * 3 + [RRR(beta=0.4)] * 2:
        state = algorithm.step(problem, state)
    inside = State(problem.project_object(state.object, support), support)
    assert not torch.equal(inside.object, state.object)
    assert torch.equal(end.state.object, ER().step(problem, inside).object)


def test_shrink_wrap_looks_at_what_rrr_has_inside_the_support(planted, monkeypatch):
    looked_at = []
    monkeypatch.setattr(
        ShrinkWrap,
        "update",
        lambda self, problem, state, first, progress: looked_at.append(state.object) or state.support,
    )
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    wrapped = solve(problem, Recipe.parse("rrr*20", shrinkwrap=ShrinkWrap(every=10)), start)
    assert not (looked_at[0] * ~support).any()
    assert torch.equal(wrapped.object, solve(problem, Recipe.parse("rrr*20"), start).object)  # its iterate is kept


def test_a_later_stage_that_beta_does_not_fit_keeps_its_own(planted):
    problem, _, support = planted((12, 12))
    recipe = Recipe.parse("hio*2 + raar*2 + er*1 + dm*1")
    steps = run(problem, recipe, random_start(problem, support), interval=0)
    seen, end = every_iterate(steps, lambda i: Controls(beta=1.5) if i.iteration == 1 else None)
    assert [i.stage for i in seen] == ["hio*2", "hio(beta=1.5)*2", "raar*2", "raar*2", "er*1", "dm(beta=1.5)*1"]
    assert end.ended == "all iterations done"


@pytest.mark.parametrize("beta", [-1.0, 0.0, 5.0, math.nan])
def test_a_beta_out_of_bounds_is_refused(planted, beta):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse("hio*9"), random_start(problem, support), interval=0)
    next(steps)
    with pytest.raises(RecipeError, match=r"feedback β does not fit: beta"):
        steps.send(Controls(beta=beta))


def test_an_edit_is_in_force_from_the_next_step_on(planted):
    problem, _, support = planted((12, 12), batch=2)
    edit = np.zeros((12, 12), np.int8)
    y, x = (int(i) for i in support[0].nonzero()[0])
    edit[y, x], edit[0, 0] = -1, 1
    steps = run(problem, Recipe.parse("er*5"), random_start(problem, support), interval=0)
    seen, end = every_iterate(steps, lambda i: Controls(edit=edit) if i.iteration == 2 else None)
    expected = support.clone()
    expected[:, y, x], expected[:, 0, 0] = False, True
    assert torch.equal(seen[1].state.support, support)
    assert torch.equal(seen[2].state.support, expected)
    assert torch.equal(end.support, expected)
    assert torch.equal(end.state.pinned[1], torch.from_numpy(edit != 0))
    assert not seen[2].solution[:, y, x].any()


def test_shrink_wrap_undoes_neither_what_was_painted_in_nor_what_was_painted_out(planted):
    problem, truth, support = planted((24, 24), positive=True)
    bright = np.unravel_index(int(truth[0].abs().argmax()), (24, 24))
    edit = np.zeros((24, 24), np.int8)
    edit[bright], edit[0, 0] = -1, 1
    recipe = Recipe.parse("hio*60", shrinkwrap=ShrinkWrap(every=5))
    start = State(truth, support)
    seen, end = every_iterate(
        run(problem, recipe, start, interval=0), lambda i: Controls(edit=edit) if i.iteration == 1 else None
    )
    supports = [i.state.support[0] for i in seen[1:]]
    assert any(not torch.equal(a, b) for a, b in pairwise(supports))  # shrink-wrap was at work
    assert not any(bool(s[bright]) for s in supports)
    assert all(bool(s[0, 0]) for s in supports)
    # A later stroke over the same pixels wins, and stays.
    end = every_iterate(
        run(problem, recipe, end.state, interval=0), lambda i: Controls(edit=-edit) if i.iteration == 1 else None
    )[1]
    assert bool(end.support[0][bright])
    assert not bool(end.support[0, 0, 0])


def test_pins_hold_in_a_run_that_goes_on(planted):
    problem, truth, support = planted((24, 24), positive=True)
    pinned = torch.zeros_like(support)
    pinned[:, 0, 0] = True
    support = support | pinned
    end = solve(problem, Recipe.parse("hio*40", shrinkwrap=ShrinkWrap(every=5)), State(truth, support, pinned))
    assert bool(end.support[0, 0, 0])
    assert torch.equal(end.state.pinned, pinned)


def test_an_edit_may_be_left_to_shrink_wrap_and_pins_be_given_back(planted):
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    edit = np.zeros((12, 12), np.int8)
    edit[0, 0], edit[11, 11] = 1, 1
    other = edit[::-1].copy()
    orders = {1: Controls(edit=edit), 2: Controls(edit=-edit, pin=False), 3: Controls(unpin=True, edit=other)}
    steps = run(problem, Recipe.parse("hio*5"), start, interval=0)
    seen, _ = every_iterate(steps, lambda i: orders.get(i.iteration))
    pinned = [iterate.state.pinned for iterate in seen]
    assert pinned[0] is None
    for after in (1, 2):
        assert torch.equal(pinned[after][0], torch.from_numpy(edit != 0))
    assert seen[1].state.support[0, 0, 0]
    assert not seen[2].state.support[0, 0, 0]
    assert torch.equal(pinned[3][0], torch.from_numpy(other != 0))


def test_a_run_yields_after_as_many_iterations_as_asked_for(planted):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse("er*30"), random_start(problem, support), interval=float("inf"))
    orders = {1: 1, 2: 3, 5: 10, 15: None}
    seen, end = every_iterate(steps, lambda i: Controls(steps=orders[i.iteration]))
    assert [iterate.iteration for iterate in seen] == [1, 2, 5, 15]
    assert end.iterations == 30


def test_an_edit_after_the_last_iteration_is_in_the_result_and_its_history(planted):
    problem, _, support = planted((12, 12))
    edit = np.zeros((12, 12), np.int8)
    edit[0, 0] = 1
    steps = run(problem, Recipe.parse("er*10"), random_start(problem, support), interval=0)
    _, end = every_iterate(steps, lambda i: Controls(edit=edit) if i.iteration == 10 else None)
    assert [r.iteration for r in end.history] == [1, 10]
    assert end.history[-1].support_pixels == float(support.sum()) + 1
    assert end.history[-1].chi2 == pytest.approx(float(end.chi2))


def test_an_edit_that_leaves_no_support_is_refused_and_the_run_can_go_on_from_the_last_iterate(planted):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse("hio*9"), random_start(problem, support), interval=0)
    iterate = next(steps)
    before = iterate.state.object.clone()
    with pytest.raises(SupportError, match="empty"):
        steps.send(Controls(edit=np.full((12, 12), -1)))
    assert torch.equal(iterate.state.object, before)
    assert torch.equal(iterate.state.support, support)
    assert solve(problem, Recipe.parse("hio*8"), iterate.state).iterations == 9


# Shrink-wrap's place in a run


def test_shrink_wrap_narrows_while_the_algorithm_searches_and_goes_on_while_er_finishes(planted, monkeypatch):
    calls = []
    monkeypatch.setattr(
        ShrinkWrap,
        "update",
        lambda self, problem, state, first, progress: calls.append((state.iteration, progress)) or state.support,
    )
    problem, _, support = planted((12, 12))
    solve(problem, Recipe.parse("hio*20 + er*20", shrinkwrap=ShrinkWrap(every=5)), random_start(problem, support))
    assert calls == [(5, 0.25), (10, 0.5), (15, 0.75), (20, 1.0), (25, 1.0), (30, 1.0), (35, 1.0)]
    calls.clear()
    solve(problem, Recipe.parse("hio*20 + er*20"), random_start(problem, support))
    assert calls == []


def test_shrink_wrap_finds_the_support_of_an_object_in_a_loose_window(planted):
    problem, _, support = planted((32, 32), positive=True)
    window = torch.zeros_like(support)
    window[:, 7:25, 7:25] = True
    recipe = Recipe.parse("hio*300 + er*30", shrinkwrap=ShrinkWrap())
    end = solve(problem, recipe, State(random_start(problem, window, 1).object, window))
    assert int(end.support.sum()) < 0.8 * int(window.sum())
    assert float(end.chi2) < 0.05


# When it goes wrong


def test_an_iterate_that_is_no_longer_finite_is_an_error_with_its_iteration(planted):
    problem, _, support = planted((12, 12), batch=2)
    start = random_start(problem, support)
    start.object[1, 3, 3] = torch.nan
    with pytest.raises(SolverError, match=r"no longer finite at iteration 1:"):
        solve(problem, Recipe.parse("hio*20"), start, record_every=10)
    with pytest.raises(SolverError, match=r"no longer finite at iteration 20:"):
        solve(problem, Recipe.parse("hio*20"), start)


def test_an_error_inside_a_step_comes_out_as_it_is_and_leaves_the_last_iterate_whole(planted, monkeypatch):
    problem, _, support = planted((12, 12))
    steps = run(problem, Recipe.parse("hio*20"), random_start(problem, support), interval=0)
    iterate = next(steps)

    def fails(self, problem, state):
        raise MemoryError("not enough")

    with monkeypatch.context() as patch:
        patch.setattr(HIO, "step", fails)
        with pytest.raises(MemoryError, match="not enough"):
            next(steps)
    assert solve(problem, Recipe.parse("hio*19"), iterate.state).iterations == 20


def test_closing_a_run_leaves_the_start_as_it_was(planted):
    problem, _, support = planted((12, 12))
    start = random_start(problem, support)
    before = start.object.clone()
    steps = run(problem, Recipe.parse("hio*20"), start, interval=0)
    next(steps)
    next(steps)
    steps.close()
    assert torch.equal(start.object, before)
    assert start.iteration == 0


def test_unmeasured_values_influence_no_reconstruction(planted):
    problem, _, support = planted((12, 12))
    measured = torch.ones(12, 12, dtype=torch.bool)
    measured[0, :2] = False
    ends = [
        solve(other, Recipe.parse("hio*20", shrinkwrap=ShrinkWrap(every=5)), random_start(other, support))
        for other in (
            Problem(problem.amplitudes, measured),
            Problem(torch.where(measured, problem.amplitudes, torch.nan), measured),
        )
    ]
    assert torch.equal(ends[0].object, ends[1].object)
    assert torch.equal(ends[0].chi2, ends[1].chi2)


# Stages that end on their own


def test_a_search_that_has_explained_the_measurement_ends_and_the_rest_is_carried_out(planted):
    problem, truth, support = planted((24, 24), dtype=torch.complex128)
    end = solve(problem, Recipe.parse("hio*5000 + er*7; settling(every=10)"), random_start(problem, support))
    assert end.iterations < 2000
    assert (end.iterations - 7) % 10 == 0
    assert end.ended == f"hio ended after {end.iterations - 7} iterations: the measurement is explained"
    assert float(nmse(end.object, truth)[0]) < 1e-6


def test_a_search_that_no_longer_improves_ends_and_says_so(planted):
    problem, _, support = planted((24, 24))
    other = Problem(problem.amplitudes * (1 + 0.5 * torch.rand(1, 24, 24)))  # no object explains it
    end = solve(other, Recipe.parse("raar*5000 + er*5; settling(patience=60)"), random_start(other, support))
    assert "χ² has not improved for 60 iterations" in end.ended
    assert end.iterations < 2000


def test_what_is_far_from_explained_is_searched_on_though_nothing_improves(planted):
    problem, _, support = planted((24, 24))
    other = Problem(problem.amplitudes * (1 + 0.5 * torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(1))))
    start = random_start(other, support)
    ends = [solve(other, Recipe.parse(f"raar*900; settling(patience=60,hopeful={h})"), start) for h in (1, 1e-6)]
    assert "has not improved" in ends[0].ended
    assert ends[0].iterations < 900
    assert ends[1].ended == "all iterations done"
    assert ends[1].iterations == 900


def test_where_pixels_are_held_back_they_decide(planted):
    problem, _, support = planted((24, 24))
    held = Problem(problem.amplitudes * (1 + 0.3 * torch.rand(1, 24, 24))).holding_out(0.1, 1)
    end = solve(held, Recipe.parse("hio*3000; settling(gain=0.5)"), random_start(held, support))
    looks = [record.free_chi2 for record in end.history]
    assert all(look is not None for look in looks)
    assert min(looks[-5:]) > 0.5 * min(looks)


def test_a_support_that_runs_away_ends_the_search():
    problem = Problem(torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)))
    support = torch.zeros(32, 32, dtype=torch.bool)
    support[12:18, 12:18] = True
    recipe = Recipe.parse("hio*3000; shrinkwrap(threshold=0.05, growth=3); settling(patience=100, gain=0.001)")
    end = solve(problem, recipe, random_start(problem, as_support(support, problem)))
    assert "the support ran away" in end.ended
    assert end.iterations < 1000


def test_the_total_that_is_told_falls_when_a_stage_ends_early(planted):
    problem, _, support = planted((24, 24))
    recipe = Recipe.parse("hio*5000 + er*7; settling")
    seen, end = every_iterate(run(problem, recipe, random_start(problem, support), interval=0))
    assert seen[0].total == 5007
    assert seen[-1].total == end.iterations == seen[-1].iteration


def test_without_records_nothing_asks_the_device_before_the_end(planted):
    problem, _, support = planted((12, 12))
    bad = Problem(problem.amplitudes * torch.nan)
    with pytest.raises(SolverError, match="no longer finite at iteration 7"):
        solve(bad, Recipe.parse("hio*7"), State(torch.ones(1, 12, 12, dtype=torch.complex64), support))


def test_likelihood_and_free_errors_are_recorded_where_they_are_known(planted):
    problem, _, support = planted((24, 24))
    plain = solve(problem, Recipe.parse("hio*20"), random_start(problem, support)).history[-1]
    assert (plain.likelihood, plain.free_chi2, plain.free_likelihood) == (None, None, None)
    known = replace(problem, photons=10.0).holding_out(0.1, 1)
    last = solve(known, Recipe.parse("hio*20"), random_start(known, support)).history[-1]
    assert last.likelihood > 0
    assert last.free_likelihood > last.likelihood
    assert last.free_chi2 > last.chi2


# Detwin


def test_detwin_works_in_half_the_support_and_leaves_the_support_as_it_is(planted):
    problem, _, support = planted((24, 24))
    state = Detwin(axis=1).step(problem, random_start(problem, support))
    assert torch.equal(state.support, support)
    half = state.memory
    assert 0.3 < float(half.sum() / support.sum()) < 0.7
    columns = [s[0].any(0).nonzero()[:, 0] for s in (half, support & ~half)]
    assert int(columns[0].min()) > int(columns[1].max())


def test_detwin_finds_the_middle_of_a_support_that_lies_across_the_edge():
    support = torch.zeros(1, 20, 20, dtype=torch.bool)
    support[0, 5:9, [17, 18, 19, 0, 1, 2]] = True
    half = Detwin(axis=1)._half(support)
    assert half[0].any(0).nonzero()[:, 0].tolist() in ([0, 1, 2], [0, 1, 2, 19])


def test_shrink_wrap_waits_while_half_the_support_is_dark(planted):
    problem, _, support = planted((24, 24))
    recipe = Recipe.parse("detwin*40", shrinkwrap=ShrinkWrap(every=5))
    end = solve(problem, recipe, random_start(problem, support))
    assert torch.equal(end.support, support)


# Going on


@pytest.mark.parametrize("after", ["er*3", "hio*3", "alm*3", "detwin*3", "poisson*3", "gaussian*3", "detwin(axis=1)*3"])
@pytest.mark.parametrize("before", ["alm*4", "detwin*4", "poisson*4", "gaussian*4"])
def test_what_another_algorithm_kept_is_not_taken_over(planted, before, after):
    problem, _, support = planted((12, 15))
    first = solve(problem, Recipe.parse(before), random_start(problem, support)).state
    on = solve(problem, Recipe.parse(after), first)
    if before.split("*")[0] != after.split("*")[0]:
        afresh = solve(problem, Recipe.parse(after), State(first.object, first.support))
        assert torch.equal(on.object, afresh.object)
    assert on.iterations == 7


def test_a_stroke_does_not_end_a_search_that_was_better_before_it(planted):
    problem, _, support = planted((24, 24))
    recipe = Recipe.parse("hio*300; settling(patience=40, every=10)")
    erased = torch.zeros(24, 24, dtype=torch.int8)
    erased[tuple(support[0].nonzero()[:3].T)] = -1

    def erase(iterate):
        return Controls(edit=erased) if iterate.iteration == 100 else None

    _, end = every_iterate(run(problem, recipe, random_start(problem, support), interval=0), erase)
    assert end.iterations >= 140


def test_a_psf_that_is_known_stays_with_the_problem_and_the_state(planted):
    problem, truth, support = planted((16, 16), dtype=torch.complex128)
    psf = torch.zeros(1, 3, 3, dtype=torch.float64)
    psf[0, 1, :] = torch.tensor([0.2, 0.6, 0.2])
    seen = problem.seen_with(psf)
    expected = seen.errors(ER().step(seen, State(truth, support)).object).chi2
    torch.testing.assert_close(solve(seen, Recipe.parse("er*1"), State(truth, support)).chi2, expected)
    torch.testing.assert_close(solve(problem, Recipe.parse("er*1"), State(truth, support, psf=psf)).chi2, expected)
