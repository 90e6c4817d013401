"""Many patterns, as people call for them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dipr.batch import run
from napari_dipr.cli import app
from napari_dipr.errors import DiprError
from napari_dipr.experiment import simulate
from napari_dipr.io.record import read_record

QUICK = ("--support", "autocorrelation", "--recipe", "hio*20")


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def batch(*args, workers=0, code=0):
    result = call("batch", *QUICK, *args, "--workers", workers)
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


def table(folder):
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for k in range(4):
        picture = 1 + np.random.default_rng(k).random((12, 14))
        np.save(folder / f"scan{k}.npy", simulate(picture, oversampling=2.5)[0].intensities)
    return folder


def test_many_samples_leave_results_and_a_summary(tmp_path):
    out = tmp_path / "out"
    result = batch("sample:fashion-2..4", "-o", out, "--json", "-")
    told = json.loads(result.stdout)
    assert (told["patterns"], told["done"], told["failed"]) == (3, 3, 0)
    assert told["settings"]["recipe"] == "hio*20"
    rows = table(out)
    assert [row["name"] for row in rows] == ["fashion-2", "fashion-3", "fashion-4"]
    for row, one in zip(rows, told["rows"], strict=True):
        assert float(row["chi2"]) == one["chi2"]
        assert float(row["nmse"]) == pytest.approx(one["nmse"])
        assert read_record(row["output"]).provenance["errors"]["chi2"] == pytest.approx(one["chi2"])


def test_a_result_is_that_of_reconstruct(tmp_path, scans):
    batch(scans, "-o", tmp_path / "out", "--together", 1, "--seed", 4)
    result = call("reconstruct", scans / "scan2.npy", "-o", tmp_path / "alone", "--seed", 4, *QUICK)
    assert result.exit_code == 0, result.stderr
    one, other = (read_record(tmp_path / folder / "scan2.tif") for folder in ("out", "alone"))
    np.testing.assert_array_equal(one.object, other.object)
    np.testing.assert_array_equal(one.support, other.support)


def test_one_that_fails_does_not_stop_the_rest_and_is_tried_again(tmp_path, scans, monkeypatch):
    out, good = tmp_path / "out", np.load(scans / "scan1.npy")
    np.save(scans / "scan1.npy", np.full_like(good, np.nan))
    result = batch(scans, "-o", out, code=1)
    assert "1 of 4 patterns failed. The same call tries them again." in result.stderr
    rows = table(out)
    assert [row["state"] for row in rows] == ["done", "failed", "done", "done"]
    assert rows[1]["error"] in result.stderr
    np.save(scans / "scan1.npy", good)
    tried, honest = [], run.solve_patterns

    def watched(job, patterns):
        tried.extend(pattern.name for pattern in patterns)
        return honest(job, patterns)

    monkeypatch.setattr(run.carry_out, "__kwdefaults__", {**run.carry_out.__kwdefaults__, "work": watched})
    result = batch(scans, "-o", out)
    assert tried == ["scan1"]
    assert "3 of them finished before" in result.stderr
    assert [row["state"] for row in table(out)] == ["done"] * 4
    assert "4 patterns, 4 results that are there are replaced" in batch(scans, "-o", out, "--again").stderr
    assert tried == ["scan1", "scan0", "scan1", "scan2", "scan3"]


def test_results_of_other_settings_are_replaced_only_if_asked_for(tmp_path, scans):
    out = tmp_path / "out"
    batch(scans / "scan0.npy", scans / "scan1.npy", "-o", out)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    refused = batch(scans, "-o", out, "--seed", 3, code=1).stderr
    assert "2 of 4 results are in" in refused
    assert "of another input or setting: seed (0 there, 3 now). Choose another folder (-o), or --again" in refused
    assert {path: path.read_bytes() for path in before} == before
    assert not (out / "scan2.tif").exists()
    result = batch(scans, "-o", out, "--seed", 3, "--again")
    assert "4 patterns, 2 results that are there are replaced" in result.stderr
    assert [row["seed"] for row in table(out)] == ["3"] * 4
    assert (out / "scan0.tif").read_bytes() != before[out / "scan0.tif"]
    assert "4 of them finished before" in batch(scans, "-o", out, "--seed", 3).stderr
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "scan0.npy", np.load(scans / "scan0.npy"))
    refused = batch(tmp_path / "other", "-o", out, "--seed", 3, code=1).stderr
    assert f"1 of 1 results are in {out} already, but of another input or setting: input ({scans}" in refused


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (DiprError("There is no scheduler."), 1)])
def test_where_nothing_can_be_begun_nothing_is_replaced(tmp_path, scans, monkeypatch, error, code):
    def absent(job, chunks, **options):
        raise error
        yield

    out = tmp_path / "out"
    batch(scans, "-o", out)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    monkeypatch.setattr(run, "carry_out", absent)
    told = batch(scans, "-o", out, "--again", code=code).stderr.strip().splitlines()
    assert told[-1].endswith(str(error) or "patterns, 4 results that are there are replaced")
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


def test_what_has_changed_since_is_solved_again_and_told(tmp_path, scans):
    out = tmp_path / "out"
    batch(scans, "-o", out)
    np.save(scans / "scan2.npy", np.load(scans / "scan1.npy"))
    result = batch(scans, "-o", out)
    assert "4 patterns, 3 of them finished before, 1 result that is there is replaced" in result.stderr
    one, other = (read_record(out / f"scan{k}.tif") for k in (1, 2))
    np.testing.assert_allclose(one.object, other.object, atol=1e-3 * np.abs(one.object).max())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (DiprError("The scheduler is gone."), 1)])
def test_a_break_keeps_what_is_finished(tmp_path, scans, monkeypatch, error, code):
    def broken(job, chunks, **options):
        yield run.solve_patterns(job, chunks[0])
        raise error

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run, "carry_out", broken)
        result = batch(scans, "-o", out, "--chunk", 1, code=code)
    assert "Stopped with 3 patterns to go" in result.stderr
    assert str(error) in result.stderr
    assert "The same call goes on" in result.stderr
    assert [row["name"] for row in table(out)] == ["scan0"]
    assert "1 of them finished before" in batch(scans, "-o", out).stderr
    assert len(table(out)) == 4


def test_measurements_are_not_replaced_by_results(tmp_path, scans):
    raw = tmp_path / "raw"
    raw.mkdir()
    for k in range(2):
        tifffile.imwrite(raw / f"s{k}.tif", np.load(scans / f"scan{k}.npy").astype(np.float32))
    before = {path: path.read_bytes() for path in raw.iterdir()}
    for words in (["batch", raw / "s0.tif", raw / "s1.tif"], ["reconstruct", raw / "s0.tif"]):
        refused = call(*words, "-o", raw, *QUICK)
        assert refused.exit_code == 1
        assert "s0.tif would replace the measurement itself" in " ".join(refused.stderr.split())
    np.save(scans / "scan3.npy", np.ones_like(np.load(scans / "scan0.npy")))
    refused = call(
        "batch", scans / "scan0.npy", "-o", raw, "--json", scans / "scan3.npy", "--mask", scans / "scan3.npy"
    )
    assert "scan3.npy would replace" in " ".join(refused.stderr.split())
    assert {path: path.read_bytes() for path in before} == before
    batch(raw / "s0.tif", raw / "s1.tif", "-o", raw, "--format", ".npz")
    assert read_record(raw / "s1.npz").object.any()


def test_every_frame_of_a_stack(tmp_path, scans):
    np.save(tmp_path / "stack.npy", np.stack([np.load(scans / f"scan{k}.npy") for k in range(3)]))
    batch(tmp_path / "stack.npy", "--each-frame", "--format", ".npz", "-o", tmp_path / "out")
    assert [Path(row["output"]).name for row in table(tmp_path / "out")] == [f"stack-{k}.npz" for k in range(3)]
    batch(scans, "--format", ".npz", "-o", tmp_path / "single")
    one, other = read_record(tmp_path / "out" / "stack-1.npz"), read_record(tmp_path / "single" / "scan1.npz")
    np.testing.assert_array_equal(one.object, other.object)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--frame", 0, "--each-frame"], 2, "give --frame or --each-frame"),
        (["--scheduler", "tcp://127.0.0.1:1"], 2, "workers are the scheduler's"),
        (["--format", ".doc"], 1, "no ending that results are written with"),
        (["--mask", "missing.npy"], 1, "missing.npy"),
        (["--support", "missing.tif"], 1, "missing.tif"),
        (["--dark", __file__], 1, "test_batch.py"),
    ],
)
def test_refusals(tmp_path, scans, options, code, says):
    result = batch(scans, "-o", tmp_path / "out", *options, code=code)
    assert says in " ".join(result.stderr.split())
    assert "patterns" not in result.stderr
    assert not (tmp_path / "out").exists()
