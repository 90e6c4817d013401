import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_dipr.batch import work
from napari_dipr.batch.inputs import patterns_of
from napari_dipr.batch.job import failed
from napari_dipr.batch.work import solve_patterns
from napari_dipr.errors import FileError
from napari_dipr.io.read import read
from napari_dipr.io.record import read_record
from napari_dipr.preparation.steps import Preparation
from napari_dipr.reconstruct import Request


def objects(job, patterns):
    return [read_record(job.result(pattern)).object for pattern in patterns]


def test_a_pattern_comes_out_as_it_does_alone(make_job, scans):
    patterns = scans(4)
    alone, together = make_job("alone", together=1), make_job("together")
    rows = [solve_patterns(alone, [pattern])[0] for pattern in patterns]
    for one, other in zip(rows, solve_patterns(together, patterns), strict=True):
        assert other["state"] == "done"
        assert other["chi2"] == pytest.approx(one["chi2"], rel=1e-3)
        assert other["support_voxels"] == one["support_voxels"]
    for x, y in zip(objects(alone, patterns), objects(together, patterns), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-3 * np.abs(x).max())
    told = read_record(together.result(patterns[2])).provenance
    assert told["solved_together"] == 4
    assert told["errors"]["chi2"] == pytest.approx(rows[2]["chi2"], rel=1e-3)
    assert told["measurement"]["name"] == "scan2"


def test_masked_and_whole_patterns_share_a_batch(make_job, tmp_path, scans):
    first, second = scans(2)
    intensities = np.load(second.input)
    intensities[3:5, 4:9] = np.nan
    np.save(second.input, intensities)
    assert not read(second.input).measured.all()
    job, alone = make_job(), make_job("alone", together=1)
    solve_patterns(job, [first, second])
    solve_patterns(alone, [first, second])
    assert read_record(job.result(second)).provenance["solved_together"] == 2
    for x, y in zip(objects(job, [first, second]), objects(alone, [first, second]), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-3 * np.abs(x).max())


@pytest.mark.parametrize("options", [{"recipe": "auto", "iterations": 40}, {"free": 0.05}])
def test_what_depends_on_itself_is_solved_alone(make_job, scans, options):
    patterns = scans(2)
    job = make_job(**options)
    assert [row["state"] for row in solve_patterns(job, patterns)] == ["done", "done"]
    assert read_record(job.result(patterns[0])).provenance["solved_together"] == 1


def test_one_that_diverges_does_not_take_its_neighbours_with_it(make_job, scans, monkeypatch):
    patterns = scans(3)
    honest, calls = work.solve, []

    def failing(problem, *args, **options):
        calls.append(len(problem.amplitudes))
        if len(problem.amplitudes) > 1 or len(calls) == 3:
            raise ArithmeticError("diverged")
        return honest(problem, *args, **options)

    monkeypatch.setattr(work, "solve", failing)
    rows = solve_patterns(make_job(), patterns)
    assert calls == [3, 1, 1, 1]
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["error"] == "ArithmeticError: diverged"


def test_one_that_cannot_be_read_has_a_row_that_says_why(make_job, scans):
    patterns = scans(3)
    with open(patterns[1].input, "wb") as file:
        file.write(b"no array")
    job = make_job()
    rows = solve_patterns(job, patterns)
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["error"].startswith("scan1.npy cannot be read")
    assert not job.row_file(patterns[1]).exists()
    assert not job.result(patterns[1]).exists()


def test_an_earlier_result_is_told_as_such_and_stays_what_it_is(make_job, scans):
    patterns = scans(2)
    job = make_job()
    solve_patterns(job, patterns)
    result, good = job.result(patterns[0]).read_bytes(), np.load(patterns[0].input)
    np.save(patterns[0].input, np.full_like(good, np.nan))
    rows = solve_patterns(job, patterns)
    assert [row["state"] for row in rows] == ["failed", "done"]
    assert rows[0]["error"].endswith(" The scan0.tif that is there is of an earlier run.")
    assert job.result(patterns[0]).read_bytes() == result
    assert job.finished(patterns[0]) is None
    assert make_job(seed=5).earlier(patterns[0]).differs
    np.save(patterns[0].input, good)
    assert solve_patterns(job, patterns)[0]["state"] == "done"


def test_a_failure_takes_no_row_that_is_anothers_or_good(make_job, scans):
    (pattern,) = scans(1)
    job = make_job()
    solve_patterns(job, [pattern])
    other = pattern._replace(input="other.npy")
    assert failed(job, other, FileError("No."))["error"] == "No."
    assert failed(job, pattern, ValueError())["error"] == "ValueError"
    assert job.finished(pattern) is not None


def test_what_is_finished_is_not_solved_again_unless_anything_changed(make_job, scans, monkeypatch):
    patterns = scans(2)
    job = make_job()
    before = solve_patterns(job, patterns)
    monkeypatch.setattr(work, "_open", lambda job, pattern: pytest.fail("it is solved again"))
    assert solve_patterns(job, patterns) == before
    assert job.finished(patterns[0]) == before[0]
    np.save(patterns[0].input, np.load(patterns[0].input)[:, :30])
    assert job.finished(patterns[0]) is None
    for changed in ({"seed": 1}, {"starts": 2}, {"recipe": "hio*21"}, {"ending": ".npz"}):
        assert make_job(**changed).finished(patterns[1]) is None
    for same in ({"threads": 2}, {"together": 1}):
        assert make_job(**same).finished(patterns[1]) is not None
    job.result(patterns[1]).unlink()
    assert job.finished(patterns[1]) is None


def test_what_an_earlier_result_came_of_is_told(make_job, scans, tmp_path):
    patterns = scans(2)
    mask = tmp_path / "mask.npy"
    np.save(mask, np.ones(np.load(patterns[0].input).shape))
    job = replace(make_job(), preparation=Preparation.of(mask=mask, crop=24))
    solve_patterns(job, patterns)
    assert job.earlier(patterns[0]) == (job.finished(patterns[0]), {}, False)
    np.save(patterns[0].input, np.load(patterns[0].input))
    assert job.earlier(patterns[0])[1:] == ({}, True)
    other = replace(make_job(seed=1, free=0.05, ending=".npz"), preparation=Preparation.of(mask=mask))
    assert set(other.earlier(patterns[1]).differs.values()) == {
        "crop (24 there, none now)",
        "format (.tif there, .npz now)",
        "free (none there, 0.05 now)",
        "seed (0 there, 1 now)",
    }
    np.save(mask, np.ones((30, 30)))
    assert replace(job).earlier(patterns[1]).differs == {"mask's file": "mask's file"}
    job.result(patterns[1]).unlink()
    assert job.earlier(patterns[1]) is None
    for text in ("", "3", '"text"', "[]", "{}", '{"asked": "a digest", "input": "a", "frame": null, "state": "done"}'):
        job.row_file(patterns[0]).write_text(text)
        assert job.earlier(patterns[0]) is None


def test_a_row_is_there_only_once_its_result_is(make_job, scans, monkeypatch):
    (pattern,) = scans(1)
    job = make_job()

    def failing(*args):
        raise FileError("The disk is full.")

    monkeypatch.setattr(work, "write_records", failing)
    assert solve_patterns(job, [pattern])[0]["error"] == "The disk is full."
    assert not job.row_file(pattern).exists()


def test_another_inputs_result_is_not_lost(make_job, scans, tmp_path):
    (pattern,) = scans(1)
    job = make_job()
    solve_patterns(job, [pattern])
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "scan0.npy", np.load(pattern.input))
    other = patterns_of([str(tmp_path / "other")])[0]
    with pytest.raises(FileError, match=r"is the result of another input, .*scans.scan0\.npy\. Choose another folder"):
        job.finished(other)
    job.forget(other)
    assert job.finished(other) is None


def test_of_several_starts_the_mean_and_a_verdict_are_kept(make_job, scans):
    (pattern,) = scans(1)
    job = make_job(starts=3)
    (row,) = solve_patterns(job, [pattern])
    assert row["verdict"] in ("agree", "twin superposed", "distinct families", "no agreement")
    assert 2 <= row["kept"] <= 3
    assert row["free_chi2"] > 0
    told = read_record(job.result(pattern)).provenance
    assert len(told["ensemble"]["starts"]) == 3


def test_a_start_that_diverges_is_left_out_and_told(make_job, scans, diverging):
    diverging(1)
    (row,) = solve_patterns(make_job(starts=3, support=None), scans(1))
    assert row["state"] == "done"
    assert [words for words in row["remarks"] if words.startswith("Start 2")]


def test_the_truth_of_a_sample_is_compared_with(make_job):
    job = make_job(recipe="hio")
    (row,) = solve_patterns(job, patterns_of(["sample:fashion-5"]))
    assert 0 < row["nmse"] < 0.5
    kept = json.loads(job.row_file(patterns_of(["sample:fashion-5"])[0]).read_text())
    assert len(kept["pictures"]) == 2
    assert set(row["costs"]) == {"read", "prepare", "solve", "compare", "write", "pictures"}


def test_files_are_found_from_any_folder(make_job, scans, tmp_path, monkeypatch):
    (pattern,) = scans(1)
    monkeypatch.chdir(tmp_path)
    shape = np.load(pattern.input).shape
    inside = np.zeros(shape, bool)
    inside[8:20, 10:24] = True
    np.save("inside.npy", inside)
    np.save("mask.npy", np.ones(shape))
    job = make_job(support="inside.npy", shrink_wrap=False)
    job = replace(job, preparation=Preparation.of(mask=Path("mask.npy")))
    monkeypatch.chdir("/")
    (row,) = solve_patterns(job, [pattern])
    assert row["support_voxels"] == inside.sum()
    assert job.finished(pattern) == row
    np.save(tmp_path / "mask.npy", np.ones((*shape, 1)))
    assert replace(job).finished(pattern) is None


def test_an_outcome_that_cannot_be_does_not_end_the_neighbours(make_job, scans, monkeypatch):
    patterns, honest = scans(3), work.outcome

    def failing(request, measurement, *args, **told):
        if measurement.name == "scan1":
            raise FileError("No crystal.")
        return honest(request, measurement, *args, **told)

    monkeypatch.setattr(work, "outcome", failing)
    rows = solve_patterns(make_job(), patterns)
    assert [row.get("error") for row in rows] == [None, "No crystal.", None]


def test_what_is_alone_of_its_shape_is_asked_for_once(make_job, scans, monkeypatch):
    patterns = scans(3)
    np.save(patterns[2].input, np.load(patterns[2].input)[1:-1, 1:-1])
    calls, honest = [], Request.asked

    def counted(self, measurement, device):
        calls.append(measurement.name)
        return honest(self, measurement, device)

    monkeypatch.setattr(Request, "asked", counted)
    rows = solve_patterns(make_job(), patterns)
    assert [row["state"] for row in rows] == ["done"] * 3
    assert sorted(calls) == ["scan0", "scan1", "scan2"]
