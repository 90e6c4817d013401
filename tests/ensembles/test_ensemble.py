import numpy as np
import pytest
import torch

from napari_dipr.ensembles import ensemble as module
from napari_dipr.ensembles.ensemble import Diverged, Finished, combine, ensemble, watch
from napari_dipr.ensembles.starts import Starts, seed_of
from napari_dipr.errors import SolverError
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe

RECIPE = Recipe.parse("hio*150 + er*50; no shrinkwrap")
SHORT = Recipe.parse("hio*4; no shrinkwrap")


def drained(steps, stop_at=None):
    seen, send = [], None
    while True:
        try:
            at = steps.send(send)
        except StopIteration as end:
            return seen, end.value
        seen.append(at)
        send = len(at.finished) == stop_at


def test_starts_of_a_good_measurement_come_to_the_truth_and_say_so(simulated):
    problem, truth, support = simulated(1e6)
    found = ensemble(problem, RECIPE, Starts(support), 6)
    assert found.order[0] == int(np.argmin([row.free_likelihood for row in found.rows]))
    assert found.criterion.name == "free_likelihood"
    common = found.consensus
    assert float(nmse(common.mean[None], truth[None])[0]) < 0.01
    assert common.modes.shares[0] > 0.98
    assert common.spread < 0.02
    assert common.prtf.mean > 0.9
    kept = [x for x, k in zip(found.objects, found.kept, strict=True) if k]
    torch.testing.assert_close(torch.stack(kept).mean(0), common.mean)
    # Supports lie with their objects.
    for x, inside in zip(found.objects, found.supports, strict=True):
        assert float(x.abs().square()[inside].sum() / x.abs().square().sum()) > 0.99


def test_a_start_is_the_same_however_many_there_are_and_however_they_are_batched(simulated):
    problem, _, support = simulated(1e5)
    _, alone = drained(watch(problem, SHORT, Starts(support), 2, batch=1))
    _, among = drained(watch(problem, SHORT, Starts(support), 5, batch=3))
    assert [f.row.number for f in among] == [0, 1, 2, 3, 4]
    for a, b in zip(alone, among, strict=False):
        assert a.row.seed == b.row.seed
        torch.testing.assert_close(a.object, b.object, rtol=1e-3, atol=1e-3 * float(a.object.abs().max()))


def test_rows_come_as_they_are_done_and_a_stop_keeps_them(simulated):
    problem, _, support = simulated()
    seen, finished = drained(watch(problem, SHORT, Starts(support), 6, batch=2, interval=0))
    assert [len(at.finished) for at in seen if at.at is None] == [2, 4, 6]
    assert {at.running for at in seen if at.at is not None} == {(0, 1), (2, 3), (4, 5)}
    assert seen[0].at.iteration == 1
    assert len(finished) == 6
    _, stopped = drained(watch(problem, SHORT, Starts(support), 6, batch=2), stop_at=4)
    assert len(stopped) == 4
    assert len(combine(problem, stopped).rows) == 4
    told = []
    few = ensemble(problem, SHORT, Starts(support), 6, batch=2, progress=lambda at: told.append(at) or len(told) > 2)
    assert len(few.rows) < 6


def test_a_batch_that_does_not_fit_is_halved(simulated, monkeypatch):
    problem, _, support = simulated()
    real, sizes = module.run, []

    def small(problem, *args, **options):
        sizes.append(len(problem.amplitudes))
        if sizes[-1] > 2:
            raise RuntimeError("CUDA out of memory.")
        return real(problem, *args, **options)

    monkeypatch.setattr(module, "run", small)
    _, finished = drained(watch(problem, SHORT, Starts(support), 5, batch=5))
    assert sizes == [5, 2, 2, 1]
    assert [f.row.number for f in finished] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("recipe", ["hio*6; no shrinkwrap", "hio*6; shrinkwrap(every=2)", "hio*6; settling(every=2)"])
def test_a_start_that_diverges_is_left_out_and_the_others_come_out_as_they_would_have(simulated, diverging, recipe):
    problem, _, support = simulated(1e5)
    asked = problem, Recipe.parse(recipe), Starts(support, seed=7), 7
    _, whole = drained(watch(*asked, batch=1))
    diverging(1)
    seen, ended = drained(watch(*asked, batch=3, interval=0))
    assert [type(one) is Diverged for one in ended] == [False, True, *[False] * 5]
    assert (ended[1].number, ended[1].seed) == (1, seed_of(7, 1))
    assert str(ended[1]).startswith(f"Start 2 (seed {seed_of(7, 1)}) is left out: The iterate is no longer finite")
    # Those of its batch are run again, each by itself; the next ones together as ever.
    running = list(dict.fromkeys(at.running for at in seen if at.at is not None))
    assert running == [(0, 1, 2), (0,), (1,), (2,), (3, 4, 5), (6,)]
    for k in (0, 2):
        assert torch.equal(ended[k].object, whole[k].object)
        assert torch.equal(ended[k].support, whole[k].support)
    assert [len(at.ended) for at in seen if at.at is None] == [1, 2, 3, 6, 7]
    assert len(seen[-1].finished) == 6
    _, again = drained(watch(*asked, batch=3, done=ended[:2]))
    assert again[:2] == ended[:2]
    assert torch.equal(again[6].object, ended[6].object)

    found = combine(problem, ended)
    assert [row.number for row in found.rows] == [0, 2, 3, 4, 5, 6]
    assert found.diverged == found.keeping([True] * 6).diverged == (ended[1],)


def test_starts_that_are_gone_on_with_are_batched_as_they_would_have_been(simulated, diverging):
    problem, _, support = simulated(1e5)
    # Of what descends the likelihood, a start alone and one of a batch are not rounded alike.
    asked = problem, Recipe.parse("poisson*10"), Starts(support, seed=7), 7
    diverging(1)
    _, whole = drained(watch(*asked, batch=3))
    seen, again = drained(watch(*asked, batch=3, interval=0, done=whole[:1]))
    running = list(dict.fromkeys(at.running for at in seen if at.at is not None))
    assert running == [(1, 2), (1,), (2,), (3, 4, 5), (6,)]
    for k in (3, 4, 5):
        assert torch.equal(again[k].object, whole[k].object)


def test_of_fewer_than_two_that_do_not_diverge_nothing_is_said(simulated, diverging):
    problem, _, support = simulated()
    diverging(0, 1, 3)
    with pytest.raises(SolverError, match=r"1 start came to its end; .* said\. Start 1 .* no longer finite"):
        ensemble(problem, SHORT, Starts(support), 4)
    assert len(ensemble(problem, SHORT, Starts(support), 5).rows) == 2


@pytest.mark.parametrize("known", [{}, {"real": True}, {"positive": True}])
def test_the_object_is_the_mean_inside_its_support_and_its_errors_are_of_it(simulated, known):
    problem, _, support = simulated(1e4, **known)
    found = ensemble(problem, Recipe.parse("hio*40; shrinkwrap(every=10)"), Starts(support), 4)
    mean, inside = found.consensus.mean, found.support
    assert not bool(found.object[~inside].any())
    expected = mean[inside].real if known else mean[inside]
    expected = expected.clamp_min(0) if "positive" in known else expected
    torch.testing.assert_close(found.object[inside], expected.to(problem.dtype))
    torch.testing.assert_close(found.errors.chi2, problem.errors(found.object[None]).chi2)
    assert found.errors.free is not None
    # A start with itself has itself for a mean, and its own errors.
    best = found.order[0]
    alone = Finished(found.rows[best], found.objects[best], found.supports[best])
    twice = combine(problem, [alone, alone])
    assert float(twice.errors.chi2[0]) == pytest.approx(alone.row.chi2, rel=1e-3)


def test_a_person_chooses_which_are_averaged(simulated):
    problem, _, support = simulated()
    found = ensemble(problem, SHORT, Starts(support), 4, most=2)
    assert sum(found.kept) == 2
    chosen = [False, True, False, True]
    other = found.keeping(chosen)
    assert list(other.kept) == chosen
    torch.testing.assert_close(other.consensus.mean, other.objects[[1, 3]].mean(0))
    with pytest.raises(SolverError, match="keep 2 or more"):
        found.keeping([True, False, False, False])


def test_real_objects_and_starts_near_one_object_make_ensembles_too(simulated):
    problem, truth, support = simulated(1e5, positive=True)
    found = ensemble(problem, RECIPE, Starts(support), 3)
    assert found.consensus.prtf.mean > 0.8
    near = ensemble(problem, SHORT, Starts(support, truth, 0.2), 3)
    assert near.consensus.prtf is None
    assert near.consensus.fsc.value[1] > 0.9


def test_what_makes_no_ensemble_is_refused(simulated):
    problem, _, support = simulated()
    with pytest.raises(SolverError, match="ensemble of 1"):
        ensemble(problem, SHORT, Starts(support), 1)
    with pytest.raises(SolverError, match="0 starts"):
        ensemble(problem, SHORT, Starts(support), 4, batch=2, progress=lambda at: True)
    with pytest.raises(SolverError, match="batch of 2"):
        ensemble(Problem(torch.ones(2, 16, 16)), SHORT, Starts(support), 4)
