"""Starts of the window that were cut off are offered, and those that are missing are run, on to the mean."""

import dataclasses
import shutil
import threading

import numpy as np
import pytest
import torch

from napari_dipr.io import cutoff, kept_starts
from napari_dipr.io.cutoff import cut_off, runs_folder
from napari_dipr.io.sealed import read_sealed, write_sealed
from napari_dipr.samples import sample
from napari_dipr.solvers.problem import Problem
from napari_dipr.ui.workflow import Workflow

COUNT = 5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def asked(loaded):
    """A workflow that would run five quick starts."""
    refine, panel = loaded.refine, loaded.starts
    refine.algorithm.value = "HIO, then ER"
    refine.shrink_wrap.value, refine.iterations.value, refine.free.value = False, 60, True
    panel.count.value, panel.most.value, panel.seed.value = COUNT, 3, 11
    return loaded


@pytest.fixture
def crash(tmp_path, monkeypatch):
    """Have the folders as a crash with so many starts done would leave them, in ``after``."""
    honest = kept_starts.KeptStarts.keep

    def crash(number):
        def keep(self, finished):
            honest(self, finished)
            if len(finished) == number and not (tmp_path / "after").exists():
                shutil.copytree(runs_folder(), tmp_path / "after" / "runs")

        monkeypatch.setattr(kept_starts.KeptStarts, "keep", keep)

    return crash


@pytest.fixture
def after(tmp_path, monkeypatch, make_napari_viewer):
    """Open another window after the crash."""

    def after():
        monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "after"))
        return Workflow(make_napari_viewer())

    return after


def same(a, b):
    """Say that two outcomes are the same but for the time that they took."""
    for one, other in zip(a.rows, b.rows, strict=True):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)
    assert torch.equal(a.ensemble.objects, b.ensemble.objects)
    assert torch.equal(a.ensemble.supports, b.ensemble.supports)
    assert a.ensemble.kept == b.ensemble.kept
    np.testing.assert_array_equal(a.mean.object, b.mean.object)
    assert a.verdict == b.verdict


def test_starts_that_were_cut_off_come_back_and_end_in_the_same_mean(asked, over, idle, crash, after, qtbot):
    session, panel = asked.session, asked.starts
    session.support_layer.brush_size = 1
    session.support_layer.paint((5, 5), 1)
    qtbot.waitUntil(lambda: session.strokes is not None)
    begun, strokes = session.support, session.strokes
    crash(3)
    panel.run_button.click()
    over(session)
    whole = session.starts.outcome
    assert list(runs_folder().iterdir()) == []  # a course that is over leaves nothing
    assert not asked.offer.isVisibleTo(asked)

    again = after()
    new = again.session
    assert again.offer.isVisibleTo(again)
    assert again.offer.words.text().startswith("Starts were left unfinished: fashion-0, cut off at start 3 of 5 (")
    again.offer.resume_button.click()
    idle(lambda: new.starts.course is not None)
    assert not again.offer.isVisibleTo(again)
    np.testing.assert_array_equal(new.measurement.intensities, session.measurement.intensities)
    np.testing.assert_array_equal(new.truth, session.truth)
    np.testing.assert_array_equal(new.support, begun)
    np.testing.assert_array_equal(new.strokes, strokes)
    over(new)
    outcome = new.starts.outcome
    same(outcome, whole)
    assert [row.seconds for row in outcome.rows][:3] == [row.seconds for row in whole.rows][:3]  # were not run again
    assert [row.seconds for row in outcome.rows][3:] != [row.seconds for row in whole.rows][3:]
    assert new.history.shown.name == session.history.shown.name
    told, expected = new.history.shown.settings, session.history.shown.settings
    assert {**told, "recipe": 0, "ensemble": 0} == {**expected, "recipe": 0, "ensemble": 0}
    assert str(told["recipe"]) == str(expected["recipe"])
    assert (told["ensemble"]["kept"], told["ensemble"]["asked_for"]) == (expected["ensemble"]["kept"], COUNT)
    assert [getattr(again.starts, name).value for name in ("count", "most", "seed")] == [COUNT, 3, 11]
    assert (again.refine.free.value, again.refine.shrink_wrap.value) == (True, False)
    assert again.starts.table.rowCount() == COUNT
    assert list(runs_folder().iterdir()) == []


@pytest.mark.parametrize("done", [2, COUNT])  # the last is in the midst of averaging
def test_disturbed_starts_come_back_with_the_object_that_they_begin_near(
    asked, over, idle, finished, crash, after, done
):
    session, panel = asked.session, asked.starts
    asked.refine.bar.start.click()
    finished(session)
    panel.begin.value, panel.amount.value = "last", 0.2
    crash(done)
    panel.run_button.click()
    over(session)
    again = after()
    assert f"start {done} of 5" in again.offer.words.text()
    again.offer.resume_button.click()
    idle(lambda: again.session.starts.outcome is not None)
    outcome, whole = again.session.starts.outcome, session.starts.outcome
    same(outcome, whole)
    assert torch.equal(outcome.starts.object, whole.starts.object)
    assert outcome.settings["start"] == "one object disturbed by 0.2 of its amplitude, seed 11"
    assert outcome.ensemble.consensus.prtf is None
    assert again.starts.amount.value == 0.2


def running(workflow, idle):
    """Run starts until two are kept; the next ones take their time."""
    workflow.refine.iterations.value = 3000
    workflow.starts.run_button.click()
    idle(lambda: len(list(runs_folder().glob(f"*/{cutoff.STARTS}"))) >= 2)


def test_closing_the_window_leaves_them(asked, idle, qtbot):
    session = asked.session
    running(asked, idle)
    assert cut_off() == []  # while the program lives they are its own
    with qtbot.waitSignal(session.starts.course.worker.finished, timeout=10_000):
        session.viewer.close()
    (left,) = cut_off()
    assert 2 <= left.iteration < COUNT
    assert (left.of_starts, left.total) == (True, COUNT)


@pytest.mark.parametrize("how", ["stopped", "left for another measurement"])
def test_what_a_person_gives_up_is_over(asked, idle, over, how):
    session = asked.session
    running(asked, idle)
    if how == "stopped":
        asked.starts.stop_button.click()
        over(session)
        assert session.starts.outcome.mean is not None
    else:
        session.use(*sample("fashion-1"))
    idle(lambda: not list(runs_folder().iterdir()) and not session.busy)
    assert not asked.offer.isVisibleTo(asked)


def test_starts_that_the_machine_ends_are_offered_and_those_that_diverge_are_not(asked, idle, over, told, monkeypatch):
    session, panel = asked.session, asked.starts

    def full(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    running(asked, idle)
    with monkeypatch.context() as patch:
        patch.setattr(Problem, "project_magnitude", full)
        over(session)
        assert "out of memory" in told.messages()[-1]
        assert asked.offer.isVisibleTo(asked)
        done = cut_off()[0].iteration
        assert len(session.starts.outcome.rows) == done  # and can be averaged as they are
        asked.offer.resume_button.click()  # and fails again
        idle(lambda: len(told.messages()) == 2 and not session.busy)
        over(session)
        assert [run.iteration for run in cut_off()] == [done]
        assert asked.offer.isVisibleTo(asked)

    def diverging(self, x):
        return torch.full_like(x, torch.nan)

    monkeypatch.setattr(Problem, "project_magnitude", diverging)
    asked.offer.resume_button.click()
    idle(lambda: getattr(session.starts.outcome, "mean", None) is not None and not session.busy)
    outcome = session.starts.outcome
    assert (len(outcome.rows), len(outcome.diverged)) == (done, COUNT - done)
    assert panel.words.text().count("is left out") == COUNT - done
    panel.run_button.click()
    idle(lambda: len(told.messages()) == 3 and not session.busy)
    assert "0 starts came to their end" in told.messages()[-1]
    assert list(runs_folder().iterdir()) == []
    assert not asked.offer.isVisibleTo(asked)
    assert session.starts.outcome is outcome


def test_a_disk_that_is_full_is_told_once_and_ends_nothing(asked, over, told, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(kept_starts, "write_sealed", full)
    asked.starts.run_button.click()
    over(asked.session)
    assert asked.session.starts.outcome.mean is not None
    assert told.messages() == ["The starts are not kept, and lost if the program ends: No space left on device"]
    assert list(runs_folder().iterdir()) == []


@pytest.fixture
def left(asked, over, crash, after):
    """The window after a crash with three starts done, and the outcome if there had been none."""
    crash(3)
    asked.starts.run_button.click()
    over(asked.session)
    return after(), asked.session.starts.outcome


def damage(path):
    values = bytearray(path.read_bytes())
    values[-3] ^= 1
    path.write_bytes(values)


def test_a_start_whose_file_is_damaged_is_run_again(left, idle):
    again, whole = left
    damage(sorted(cut_off()[0].folder.glob(cutoff.STARTS))[1])
    again.offer.resume_button.click()
    idle(lambda: again.session.starts.outcome is not None)
    same(again.session.starts.outcome, whole)


@pytest.fixture
def release():
    """What something else waits for, until the test is over at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_while_something_else_is_under_way_nothing_takes_the_place_of_what_is_at_hand(left, idle, told, release):
    again, whole = left
    session = again.session
    again.offer.resume_button.click()
    session.do(release.wait, lambda found: None, "Exporting", whatever_is_loaded=True)
    idle(lambda: bool(told.messages()))
    assert told.messages()[-1] == "Exporting is under way. Wait for it."
    assert session.measurement is None
    release.set()
    idle(lambda: not session.busy)
    assert again.offer.isVisibleTo(again)
    again.offer.resume_button.click()
    idle(lambda: session.starts.outcome is not None)
    same(session.starts.outcome, whole)


@pytest.mark.parametrize("what", ["measurement", "begun", "begun by another version"])
def test_what_they_begin_with_is_damaged_and_they_stay_to_be_discarded(left, idle, told, what):
    again, _ = left
    path = cut_off()[0].folder / (cutoff.MEASUREMENT if what == "measurement" else cutoff.BEGUN)
    if "version" in what:
        values = read_sealed(path)
        del values["amount"]
        write_sealed(path, values)
    else:
        damage(path)
    again.offer.resume_button.click()
    idle(lambda: bool(told.messages()) and not again.session.busy)
    assert "cannot be gone on with" in told.messages()[-1]
    assert "Discard it" in told.messages()[-1]
    assert again.session.measurement is None
    assert again.offer.isVisibleTo(again)
    again.offer.discard_button.click()
    assert not again.offer.isVisibleTo(again)
    assert list(runs_folder().iterdir()) == []
