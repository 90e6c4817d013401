import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.ensembles.ensemble import Finished, combine
from napari_dipr.ensembles.generations import bred, children, evolve, guided
from napari_dipr.ensembles.ranking import Row
from napari_dipr.ensembles.starts import Given, Starts
from napari_dipr.ensembles.verdict import verdict
from napari_dipr.errors import SolverError
from napari_dipr.physics.registration import register
from napari_dipr.physics.symmetry import nmse, twin
from napari_dipr.solvers.recipe import Recipe

SHORT = Recipe.parse("hio*20 + er*5; no shrinkwrap")
WRAPPED = Recipe.parse("hio*20 + er*5; shrinkwrap(threshold=0.1)")


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def population(objects, supports, errors=None):
    errors = range(1, len(objects) + 1) if errors is None else errors
    rows = [Row(i, i, float(e), float(e), int(s.sum())) for i, (e, s) in enumerate(zip(errors, supports, strict=True))]
    return [Finished(*each) for each in zip(rows, objects, supports, strict=True)]


def drained(steps, stop_at=None):
    seen, send = [], None
    while True:
        try:
            at = steps.send(send)
        except StopIteration as end:
            return seen, end.value
        seen.append(at)
        send = stop_at is not None and stop_at(at)


@pytest.mark.parametrize("breed", ["root", "mean"])
@given(seed=st.integers(0, 50), angle=st.floats(-3, 3))
def test_a_child_is_its_parents_where_they_agree_and_dark_where_they_contradict(breed, seed, angle):
    a, b = noise(6, 5, seed=seed), noise(6, 5, seed=seed + 100)
    turn = complex(math.cos(angle), math.sin(angle))
    torch.testing.assert_close(bred(a, a, breed), a)
    torch.testing.assert_close(bred(a, b, breed), bred(b, a, breed))
    torch.testing.assert_close(bred(a * turn, b * turn, breed), bred(a, b, breed) * turn)
    # Never brighter than half the sum of both.
    assert bool((bred(a, b, breed).abs() <= (a.abs() + b.abs()) / 2 + 1e-12).all())
    torch.testing.assert_close(bred(a, -a, breed), torch.zeros_like(a))


def test_the_root_is_the_geometric_mean_with_the_phase_halfway_the_shorter_way_round():
    a, b = (
        torch.polar(torch.tensor([r], dtype=torch.float64), torch.tensor([p], dtype=torch.float64))
        for r, p in ((4, 3.0), (9, -3.0))
    )
    child = bred(a, b)
    assert float(child.abs()) == pytest.approx(6)
    assert abs(float(child.angle())) == pytest.approx(math.pi)
    assert float(bred(a, 0 * b).abs()) == 0
    # Real objects stay real.
    real = bred(torch.tensor([4.0, -4.0, 1.0]), torch.tensor([9.0, -9.0, 0.0]))
    torch.testing.assert_close(real, torch.tensor([6.0, -6.0, 0.0]))


@pytest.mark.parametrize("recipe", [SHORT, WRAPPED])
@pytest.mark.parametrize("breed", ["root", "mean"])
def test_a_population_of_one_object_as_no_intensity_tells_it_apart_stays(simulated, recipe, breed):
    problem, truth, support = simulated(None, 0)
    turned = twin(truth[None])[0] * complex(math.cos(1), math.sin(1))
    objects = [truth, truth * 1j, truth.roll((3, -2), (0, 1)), turned]
    supports = [x.abs() > 1e-6 for x in objects]
    found = children(problem, recipe, population(objects, supports), breed)
    for k in range(4):
        state = found.start(problem, k)
        torch.testing.assert_close(state.object[0], truth, rtol=1e-3, atol=1e-3 * float(truth.abs().max()))
        assert float(problem.errors(state.object).chi2[0]) < 1e-5
        if recipe.shrinkwrap is None:
            assert torch.equal(state.support[0], support)


def test_the_best_guides_and_is_not_bred(simulated):
    problem, truth, support = simulated(None, 0)
    other = truth.clone()
    other[truth != 0] *= torch.exp(1j * noise(int(support.sum())).real).to(truth.dtype)
    found = children(problem, SHORT, population([other, truth], [support, support], [0.5, 0.1]))
    torch.testing.assert_close(found.objects[1], truth)
    alike = register(found.objects[0], truth).correlation
    assert alike > register(other, truth).correlation + 0.01
    # Shrink-wrap says where the child is: half of what one parent alone has beside the object is too dark for it.
    far = support.roll((14, 14), (0, 1))
    other = truth + 1e-3 * far * truth.abs().max()
    wrapped = children(problem, WRAPPED, population([other, truth], [support | far, support], [0.5, 0.1]))
    assert torch.equal(wrapped.supports[1], support)
    assert float((wrapped.supports[0] & support).sum() / support.sum()) > 0.95
    assert not bool((wrapped.supports[0] & far).any())


def test_generations_are_counted_and_the_best_is_never_lost(simulated):
    problem, _, support = simulated(1e6)
    seen, finished = drained(
        evolve(problem, SHORT, Starts(support, seed=4), 4, 3, later=Recipe.parse("hio*8; no shrinkwrap"))
    )
    assert sorted({(at.generation, at.generations) for at in seen}) == [(1, 3), (2, 3), (3, 3)]
    best = [min(f.row.free_likelihood for f in at.finished) for at in seen if len(at.finished) == 4]
    last = min(f.row.free_likelihood for f in finished)
    assert last <= best[0]
    assert [f.row.number for f in finished] == [0, 1, 2, 3]
    assert {f.row.iterations for f in finished} == {25 + 8 + 8}
    first = Starts(support, seed=4)
    assert [f.row.seed for f in finished] == [f.row.seed for f in drained(evolve(problem, SHORT, first, 4, 1))[1]]


def test_the_best_keeps_its_place_where_going_on_made_it_worse(simulated):
    problem, _, support = simulated(1e6)
    worse = Recipe.parse("hio(beta=2)*1; no shrinkwrap")
    _, before = drained(evolve(problem, Recipe.parse("hio*100 + er*30; no shrinkwrap"), Starts(support), 3, 1))
    _, after = drained(
        evolve(problem, Recipe.parse("hio*100 + er*30; no shrinkwrap"), Starts(support), 3, 2, later=worse)
    )
    best = min(range(3), key=lambda i: before[i].row.free_likelihood)
    assert torch.equal(after[best].object, before[best].object)
    assert after[best].row.iterations == before[best].row.iterations + 1


def test_a_stop_leaves_what_had_not_ended_as_it_was(simulated):
    problem, _, support = simulated()
    steps = evolve(problem, SHORT, Starts(support), 4, 3, batch=1)
    _, finished = drained(steps, lambda at: at.generation == 2 and len(at.finished) == 2)
    assert [f.row.iterations for f in finished] == [50, 50, 25, 25]
    _, early = drained(evolve(problem, SHORT, Starts(support), 4, 3, batch=1), lambda at: len(at.finished) == 3)
    assert [f.row.number for f in early] == [0, 1, 2]


def test_guided_starts_have_no_transfer_function_and_say_why(simulated):
    problem, truth, support = simulated(1e6)
    told = []
    recipe = Recipe.parse("hio*150 + er*50; no shrinkwrap")
    found = guided(problem, recipe, Starts(support), 3, 2, progress=lambda at: told.append(at.generation))
    assert found.consensus.prtf is None
    assert "no PRTF" in found.dependence
    assert found.dependence in verdict(found).words
    assert found.keeping([True] * 3).consensus.prtf is None
    assert float(nmse(found.consensus.mean[None], truth[None])[0]) < 0.01
    assert set(told) == {1, 2}
    alone = guided(problem, SHORT, Starts(support), 3, 1)
    assert alone.consensus.prtf is not None
    assert alone.dependence is None


def test_real_objects_breed_too(simulated):
    problem, _, support = simulated(1e5, positive=True)
    found = guided(problem, SHORT, Starts(support), 3, 2)
    assert len(combine(problem, drained(evolve(problem, WRAPPED, Starts(support), 3, 2))[1]).rows) == len(found.rows)


def test_what_makes_no_generations_is_refused(simulated):
    problem, _, support = simulated()
    with pytest.raises(SolverError, match="0 generations"):
        guided(problem, SHORT, Starts(support), 3, 0)
    with pytest.raises(SolverError, match="'best'"):
        guided(problem, SHORT, Starts(support), 3, 2, breed="best")


def test_a_start_that_diverges_is_left_out_of_all_generations(simulated, diverging):
    problem, _, support = simulated(1e6)
    asked = problem, SHORT, Starts(support, seed=4)
    _, first = drained(evolve(*asked, 4, 1))
    diverging(1)
    seen, ended = drained(evolve(*asked, 4, 3))
    assert [f.row.number for f in ended[:3]] == [0, 2, 3]
    assert [f.row.seed for f in ended[:3]] == [first[k].row.seed for k in (0, 2, 3)]
    assert {f.row.iterations for f in ended[:3]} == {75}
    assert [one.number for one in ended[3:]] == [1]
    assert {(at.generation, at.count) for at in seen} == {(1, 4), (2, 3), (3, 3)}
    assert guided(*asked, 4, 3).diverged == ended[3:]
    diverging(0, 2)
    with pytest.raises(SolverError, match="1 start came to its end"):
        guided(*asked, 4, 3)


def test_where_a_child_diverges_its_parent_stays(simulated, monkeypatch):
    problem, _, support = simulated(1e6)
    honest = Given.start

    def start(self, problem, number):
        begun = honest(self, problem, number)
        return replace(begun, object=begun.object * math.nan) if number == 2 else begun

    monkeypatch.setattr(Given, "start", start)
    _, parents = drained(evolve(problem, SHORT, Starts(support), 4, 1))
    _, ended = drained(evolve(problem, SHORT, Starts(support), 4, 2))
    assert torch.equal(ended[2].object, parents[2].object)
    assert [f.row.iterations for f in ended] == [50, 50, 25, 50]
    assert ended[2].row.ended.startswith("as a generation before: The iterate is no longer finite")


@pytest.mark.parametrize("known", [0, 2, 4, 5, 9, 12])
def test_generations_that_were_cut_off_go_on_to_the_same(simulated, diverging, known):
    problem, _, support = simulated(1e6)
    diverging(3)
    asked = problem, WRAPPED, Starts(support, seed=4), 5, 3
    seen, whole = drained(evolve(*asked, batch=1))
    every = (*seen[-1].before, *seen[-1].ended)
    assert len(every) == 5 + 4 + 4
    seen, again = drained(evolve(*asked, batch=1, done=every[:known]))
    assert len((*seen[0].before, *seen[0].ended)) == known
    for a, b in zip(again, whole, strict=True):
        assert type(a) is type(b)
        if isinstance(a, Finished):
            assert replace(a.row, seconds=0) == replace(b.row, seconds=0)
            assert torch.equal(a.object, b.object)
