"""Many starts, as people call them."""

import json
import re

import pytest
from typer.testing import CliRunner

from napari_dipr.cli import app
from napari_dipr.io.record import read_record


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_starts_are_listed_judged_and_their_mean_written(tmp_path):
    result = call(
        "ensemble", "sample:fashion-0", "-o", tmp_path / "mean.npz", "--starts", 5, "--keep", 3, "--iterations", 100,
        "--curves", tmp_path / "curves.png", "--json", tmp_path / "f.json", "--seed", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    figures = json.loads((tmp_path / "f.json").read_text())
    assert [row["number"] for row in figures["starts"]] == [1, 2, 3, 4, 5]
    assert figures["starts"][0]["seed"] == 2
    table = re.findall(r"^ +(\d) .*?(kept)?\s*$", result.stderr, re.MULTILINE)
    best_first = sorted(figures["starts"], key=lambda row: row["rank"])
    assert table == [(str(row["number"]), "kept" if row["kept"] else "") for row in best_first]
    assert figures["verdict"]["words"] in result.stderr
    assert "ranked by the free χ²; from phases at random, seed 2" in result.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = read_record(figures["outputs"]["npz"])
    assert set(record.fields) == {"variance"}
    assert record.provenance["ensemble"]["kept"] == figures["kept"]


def test_errors_by_threshold(tmp_path):
    result = call(
        "thresholds", "sample:fashion-0", "--support", "autocorrelation", "--recipe", "hio*60; shrinkwrap(growth=3)",
        "--thresholds", "0.05,0.2,0.6", "--starts", 2, "--json", "-", "--curves", tmp_path / "t.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert [point["threshold"] for point in figures["points"]] == [0.05, 0.2, 0.6]
    least = min(figures["points"], key=lambda point: point["starts"][0]["free_chi2"])
    assert figures["least"] == least["threshold"]
    assert f"is least with the threshold {figures['least']:g}" in result.stderr
    assert (tmp_path / "t.png").stat().st_size > 1000


@pytest.mark.parametrize(("options", "words"), [
    (("ensemble", "-o", "x.npz", "--perturb", 0.1, "--support", "autocorrelation"), "no network's object to disturb"),
    (("ensemble", "-o", "x.unknown/", "--photons", "inf"), "inf photons per unit"),
    (("ensemble", "-o", "x.npz", "--curves", "c.xyz"), "c.xyz has no ending that curves are drawn with"),
    (("thresholds", "--thresholds", "0.1;0.2"), "numbers after commas, this is '0.1;0.2'"),
    (("thresholds", "--no-shrink-wrap"), "no threshold to choose"),
])  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    command, *rest = options
    result = call(command, "sample:fashion-0", *rest)
    assert result.exit_code == 1, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("generations", "cut"), [(1, 2), (2, 6)])
def test_an_ensemble_that_was_cut_off_goes_on(tmp_path, monkeypatch, generations, cut):
    from napari_dipr.io import cutoff, kept_starts

    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "cache"))
    words = [
        "ensemble", "sample:fashion-0", "-o", tmp_path / "m.npz", "--starts", 4, "--support", "autocorrelation",
        "--recipe", "hio*30; settling", "--json", tmp_path / "f.json", "--generations", generations,
    ]  # fmt: skip
    whole = call(*words)
    assert whole.exit_code == 0, whole.stderr
    expected = json.loads((tmp_path / "f.json").read_text())
    honest = kept_starts.KeptStarts.keep

    def keep(self, finished):
        honest(self, finished)
        if len(finished) == cut:
            self.leave()  # as the system does of a program that has ended
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kept_starts.KeptStarts, "keep", keep)
        assert f"--resume goes on after the {cut} starts that are done" in call(*words).stderr
    assert f"cut off at start {cut} of {4 * generations}" in call("resume", "--list").stderr
    ran = []
    monkeypatch.setattr(
        kept_starts.KeptStarts, "keep", lambda self, finished: ran.append(len(finished)) or honest(self, finished)
    )
    again = call("resume")
    assert again.exit_code == 0, again.stderr
    assert min(ran) == cut
    figures = json.loads((tmp_path / "f.json").read_text())
    for one in (expected, figures):
        for row in one["starts"]:
            row.pop("seconds")
    assert figures == expected
    assert "No run was cut off" in call("resume", "--list").stderr


def test_where_nothing_is_held_back_a_warning_says_so(tmp_path):
    options = ("sample:fashion-0", "--free", 0, "--support", "autocorrelation", "--recipe", "hio*20; shrinkwrap")
    for command in (("ensemble", "-o", tmp_path / "m.npz"), ("thresholds", "--thresholds", "0.1,0.2")):
        result = call(*command, *options, "--starts", 2)
        assert result.exit_code == 0, result.stderr
        assert "Hold pixels back to rank by what was not fitted" in result.stderr
        assert "free" not in result.stderr.split("χ²")[0]


def test_the_mean_is_compared_with_the_truth(tmp_path):
    words = ("-o", tmp_path / "m.npz", "--starts", 2, "--recipe", "hio*20; shrinkwrap", "--json", tmp_path / "f.json")
    result = call("ensemble", "sample:fashion-0", *words, "--support", "autocorrelation")
    nmse = json.loads((tmp_path / "f.json").read_text())["nmse"]
    assert 0 < nmse < 1
    assert f"nmse of the mean {nmse:.4f}" in result.stderr


def test_nothing_that_is_read_is_replaced(tmp_path):
    from napari_dipr.io.record import write_measurement
    from napari_dipr.samples import sample

    write_measurement(tmp_path / "pattern.npz", sample("fashion-0")[0])
    before = (tmp_path / "pattern.npz").read_bytes()
    for options in (("-o", tmp_path / "pattern.npz"), ("-o", tmp_path / "m.tif", "--json", tmp_path / "pattern.npz")):
        result = call("ensemble", tmp_path / "pattern.npz", *options, "--starts", 2)
        assert result.exit_code == 1
        assert "would replace the measurement itself" in result.stderr
    assert (tmp_path / "pattern.npz").read_bytes() == before


def test_starts_that_diverge_are_told(tmp_path, diverging):
    words = ("sample:fashion-0", "--support", "autocorrelation", "--recipe", "hio*9; shrinkwrap", "--starts", 3)
    diverging(1)
    result = call("ensemble", *words, "-o", tmp_path / "m.npz", "--json", tmp_path / "f.json")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"Start 2 \(seed 1000003\)\s+is left out", result.stderr)
    assert [one["number"] for one in json.loads((tmp_path / "f.json").read_text())["diverged"]] == [2]
    result = call("thresholds", *words, "--thresholds", 0.1, "--json", "-")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"threshold 0.1: Start 2", result.stderr)
    assert len(json.loads(result.stdout)["points"][0]["starts"]) == 2
    diverging(0)
    result = call("ensemble", *words, "-o", tmp_path / "m.npz")
    assert result.exit_code == 1
    assert "1 start came to its end" in result.stderr
    diverging(2)
    result = call("thresholds", *words, "--thresholds", 0.1)
    assert result.exit_code == 1
    assert "All starts diverged, with each threshold" in result.stderr


def test_where_the_memory_is_full_in_the_end_the_starts_stay(tmp_path, monkeypatch):
    from napari_dipr import gather
    from napari_dipr.io import cutoff

    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "cache"))
    words = ["ensemble", "sample:fashion-0", "-o", tmp_path / "m.npz", "--starts", 3, "--support", "autocorrelation"]
    words += ["--recipe", "hio*20", "--device", "cpu"]
    with monkeypatch.context() as patched:
        patched.setattr(gather, "verdict", full)
        result = call(*words)
    assert result.exit_code == 1
    assert "The memory is full" in result.stderr
    assert len(list(cutoff.runs_folder().glob(f"*/{cutoff.STARTS}"))) == 3
