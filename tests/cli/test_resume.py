"""A call that is cut off is offered, and comes out as if it had never been."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipr import reconstruct as module
from napari_dipr.cli import app
from napari_dipr.io.cutoff import VARIABLE, cut_off, runs_folder
from napari_dipr.io.record import read_record


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


WORDS = ("reconstruct", "sample:fashion-0", "-o", "a.npz", "--support", "autocorrelation", "--recipe", "hio*50+er*9")


def cut(monkeypatch, at=23, words=WORDS):
    """Carry out a call that is interrupted."""
    honest = module.run

    def interrupted(*args, **options):
        for iterate in honest(*args, **options, interval=0):
            yield iterate
            if iterate.iteration == at:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "run", interrupted)
        result = call(*words)
    assert result.exit_code == 130 or result.exit_code == 1
    return result


def test_what_ctrl_c_cut_off_is_kept_and_gone_on_with(monkeypatch, tmp_path):
    assert call("reconstruct", "sample:fashion-0", "-o", "whole.npz", *WORDS[4:], "--keep-every", "0").exit_code == 0
    said = cut(monkeypatch).stderr
    (run,) = cut_off()
    assert f"cut off at iteration 23; to go on: napari-dipr resume {run.name}" in said
    assert (run.iteration, run.total) == (23, 59)
    assert "cut off at iteration 23 of 59" in call("resume", "--list").stderr
    monkeypatch.chdir("/")
    result = call("resume", run.name)
    assert result.exit_code == 0, result.stderr
    whole, found = read_record(tmp_path / "whole.npz"), read_record(tmp_path / "a.npz")
    assert np.array_equal(found.object, whole.object)
    assert np.array_equal(found.support, whole.support)
    assert found.provenance["convergence"] == whole.provenance["convergence"]
    assert list(runs_folder().iterdir()) == []


def test_the_same_call_is_told_of_it_and_a_result_ends_the_offer(monkeypatch):
    cut(monkeypatch)
    other = call(*WORDS, "--seed", "4", "--resume")
    assert "nothing of this call was cut off" in other.stderr
    (run,) = cut_off()
    assert f"to go on: napari-dipr resume {run.name}" in other.stderr.replace("\n", " ")
    assert len(cut_off()) == 1
    result = call(*WORDS)
    assert "add --resume to go on with it" in result.stderr
    assert cut_off() == []


def test_resume_goes_on_though_the_input_is_gone(monkeypatch, tmp_path):
    np.save("pattern.npy", np.random.default_rng(0).poisson(9.0, (24, 24)))
    words = ("reconstruct", "pattern.npy", *WORDS[2:])
    cut(monkeypatch, words=words)
    (tmp_path / "pattern.npy").unlink()
    result = call(*words, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "going on with" in result.stderr
    assert "cut off" in result.stderr
    assert read_record("a.npz").provenance["errors"]["iterations"] == 59


def test_several_are_listed_and_one_can_be_deleted(monkeypatch):
    assert "No run was cut off" in call("resume").stderr
    cut(monkeypatch)
    cut(monkeypatch, words=(*WORDS, "--seed", "4"))
    names = [run.name for run in cut_off()]
    result = call("resume")
    assert result.exit_code == 1
    assert all(name in result.stderr for name in names)
    assert "2 runs were cut off. Name one" in result.stderr
    assert call("resume", names[0], "--discard").exit_code == 0
    assert [run.name for run in cut_off()] == names[1:]
    assert "There is no run x" in call("resume", "x").stderr


def test_a_run_that_diverges_leaves_nothing(monkeypatch):
    honest = module.run

    def diverging(*args, **options):
        yield next(honest(*args, **options))
        time.sleep(0.02)
        yield next(honest(*args, **options))
        raise module.SolverError("It diverged.")

    monkeypatch.setattr(module, "run", diverging)
    result = call(*WORDS, "--keep-every", "0.01")
    assert "It diverged" in result.stderr
    assert cut_off() == []
    assert list(runs_folder().iterdir()) == []


def test_a_killed_process_is_gone_on_with(tmp_path):
    words = [*WORDS[:-1], "hio*1000000", "--keep-every", "0.2"]
    process = subprocess.Popen([sys.executable, "-m", "napari_dipr.cli", *words], stderr=subprocess.DEVNULL)
    try:
        while not list(runs_folder().glob("*/state-1.safetensors")):
            assert process.poll() is None
            time.sleep(0.02)
        assert cut_off() == []
    finally:
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
    (run,) = cut_off()
    told = json.loads((run.folder / "run.json").read_text())
    assert told["settings"]["words"] == words
    assert run.iteration > 1


def test_the_run_that_is_named_goes_on_and_one_that_came_further_stays(monkeypatch):
    cut(monkeypatch, at=40)
    cut(monkeypatch, at=5)
    further, less = sorted(cut_off(), key=lambda run: -run.iteration)
    result = call("resume", less.name)
    assert result.exit_code == 0, result.stderr
    assert "iteration 5 of 59" in result.stderr
    assert [run.name for run in cut_off()] == [further.name]
    cut(monkeypatch, at=5)
    result = call("resume", further.name)
    assert "iteration 40 of 59" in result.stderr
    assert cut_off() == []


def test_another_version_is_told(monkeypatch):
    cut(monkeypatch)
    monkeypatch.setattr("napari_dipr.cli.kept.__version__", "99.0")
    assert "now by 99.0: it may go on otherwise" in call(*WORDS, "--resume").stderr
