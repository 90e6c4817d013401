import dataclasses

import pytest
import torch

from napari_dipr.ensembles.ensemble import Diverged, combine, drained, watch
from napari_dipr.ensembles.starts import Starts
from napari_dipr.errors import FileError
from napari_dipr.experiment import simulate
from napari_dipr.io import cutoff
from napari_dipr.io.checkpoint import Claim
from napari_dipr.io.cutoff import VARIABLE, cut_off
from napari_dipr.io.kept_starts import KeptStarts
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))


@pytest.fixture(scope="module")
def ensemble():
    rng = torch.Generator().manual_seed(2)
    picture = 0.5 + torch.rand(12, 12, generator=rng)
    measurement, truth = simulate(picture.numpy(), oversampling=3)
    problem = Problem.of(measurement, free=0.05)
    asked = problem, Recipe.parse("hio*40; no shrinkwrap"), Starts(torch.from_numpy(truth != 0), seed=3), 5
    return measurement, asked, drained(watch(*asked, batch=1), None)


def same(a, b):
    assert a.row == b.row
    assert torch.equal(a.object, b.object)
    assert torch.equal(a.support, b.support)


def kept(measurement, finished, **options):
    found = KeptStarts(measurement, {"words": ["ensemble"]}, 5, **options)
    found.keep(finished[:1])
    found.keep(finished)
    return found


def test_starts_that_were_cut_off_go_on_to_the_same_ensemble(ensemble):
    measurement, asked, finished = ensemble
    kept(measurement, finished[:3]).leave()
    (run,) = cut_off()
    assert str(run).startswith(f"{measurement.name}, cut off at start 3 of 5")
    claim = Claim(run)
    again = KeptStarts(claim.measurement(), {}, 5, claim=claim)
    done = again.load()
    for a, b in zip(done, finished, strict=False):
        same(a, b)
    assert len(done) == 3
    whole = drained(watch(*asked, done=done, batch=1), None)
    for a, b in zip(whole[:3], finished, strict=False):
        same(a, b)
    for a, b in zip(whole[3:], finished[3:], strict=True):  # but for the time that they took
        same(dataclasses.replace(a, row=dataclasses.replace(a.row, seconds=b.row.seconds)), b)
    torch.testing.assert_close(combine(asked[0], whole).objects, combine(asked[0], finished).objects, rtol=0, atol=0)
    again.keep(whole)
    assert len(list(run.folder.glob("start-*"))) == 5
    again.end()
    assert cut_off() == []


def test_what_they_begin_with_is_kept_beside_them(ensemble):
    measurement, (_, recipe, starts, _), finished = ensemble
    begun = {"support": starts.support.numpy(), "pinned": None, "recipe": str(recipe), "seed": 3}
    kept(measurement, finished[:2], begun=begun).leave()
    kept(measurement, finished[:1]).leave()
    runs = {run.iteration: Claim(run) for run in cut_off()}
    found = runs[2].begun()
    assert torch.equal(found.pop("support"), starts.support)
    assert found == {"pinned": None, "recipe": str(recipe), "seed": 3}
    with pytest.raises(FileError, match=r"begun.safetensors is missing .* Discard it"):
        runs[1].begun()
    assert all(claim.run.of_starts for claim in runs.values())


def test_a_damaged_start_and_those_after_it_are_run_again(ensemble):
    measurement, _, finished = ensemble
    kept(measurement, finished[:4]).leave()
    (run,) = cut_off()
    path = sorted(run.folder.glob("start-*"))[2]
    values = bytearray(path.read_bytes())
    values[-3] ^= 1
    path.write_bytes(values)
    again = KeptStarts(measurement, {}, 5, claim=Claim(run))
    assert len(again.load()) == 2
    again.keep(finished)
    again.leave()
    (run,) = cut_off()
    assert run.iteration == 5
    assert len(KeptStarts(measurement, {}, 5, claim=Claim(run)).load()) == 5


def test_what_cannot_be_kept_is_told_once_and_ends_nothing(ensemble, monkeypatch):
    measurement, _, finished = ensemble

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("napari_dipr.io.kept_starts.write_sealed", full)
    told = []
    found = kept(measurement, finished, tell=told.append)
    assert told == ["The starts are not kept, and lost if the program ends: No space left on device"]
    found.end()


def test_what_is_kept_without_a_word_is_not_deleted_for_its_size(ensemble, monkeypatch):
    measurement, _, finished = ensemble
    object = finished[0].object
    begun = {"first": torch.zeros_like(object), "support": finished[0].support}
    told = []
    found = kept(measurement, finished, tell=told.append, begun=begun)
    size = sum(file.stat().st_size for file in found._held.folder.iterdir())
    found.end()
    for most in (0.7 * size, 1.01 * size):
        monkeypatch.setattr(cutoff, "MOST_BYTES", most)
        monkeypatch.setattr("napari_dipr.io.kept_starts.MOST_BYTES", most)
        found = kept(measurement, finished, tell=told.append, begun=begun)
        found.leave()
        cutoff.clean()
        assert len(told) == 1
        assert [run.iteration for run in cut_off()] == ([] if most < size else [5])
        for run in cut_off():
            Claim(run).discard()
        found.end()


def test_while_its_program_lives_an_ensemble_is_not_offered(ensemble):
    measurement, _, finished = ensemble
    found = kept(measurement, finished[:2])
    assert cut_off() == []
    found.leave()
    assert len(cut_off()) == 1


def test_of_a_start_that_diverged_it_is_kept_that_it_did_so(ensemble):
    measurement, _, finished = ensemble
    gone = Diverged(1, 1_000_006, "The iterate is no longer finite.")
    kept(measurement, [finished[0], gone, finished[2]]).leave()
    (run,) = cut_off()
    assert run.iteration == 3
    done = KeptStarts(measurement, {}, 5, claim=Claim(run)).load()
    assert done[1] == gone
    same(done[2], finished[2])
