"""A run of the window that was cut off is offered, and comes back with all that was drawn."""

import shutil

import numpy as np
import pytest
import torch

from napari_dipr.errors import FileError
from napari_dipr.io import cutoff
from napari_dipr.io.checkpoint import Kept
from napari_dipr.io.cutoff import cut_off, runs_folder
from napari_dipr.io.sealed import read_sealed
from napari_dipr.samples import sample
from napari_dipr.solvers.position import Position
from napari_dipr.solvers.problem import Problem, State, as_support, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.ui import resume, worker
from napari_dipr.ui.refine_panel import WRITTEN
from napari_dipr.ui.resume import Keeper
from napari_dipr.ui.session import session_of
from napari_dipr.ui.worker import Mailbox, Wish
from napari_dipr.ui.workflow import Workflow


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(resume, "INTERVAL", 0.1)


def crashed(tmp_path, monkeypatch):
    """Go where the folders of the runs lie as a crash at this moment would leave them."""
    while True:
        try:
            shutil.copytree(runs_folder(), tmp_path / "after" / "runs", dirs_exist_ok=True)
            break
        except shutil.Error:  # a state was being renamed
            continue
    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "after"))


def kept():
    """Return the newest whole state of each run."""
    folders = sorted(runs_folder().iterdir()) if runs_folder().is_dir() else []
    return [states[0] for folder in folders if (states := cutoff.states(folder))]


def test_what_was_drawn_while_it_was_held_comes_back_and_the_run_goes_on(
    loaded, idle, finished, make_napari_viewer, tmp_path, monkeypatch
):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.algorithm.value = WRITTEN
    loaded.refine.text.value = "raar(beta=0.8)*100000; shrinkwrap(every=5)"
    loaded.refine.seed.value = 7
    loaded.refine.positive.value = False
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    session.support_layer.paint((30, 30), 0)
    idle(lambda: session.strokes is not None and run.taken > 0)
    loaded.refine.bar.pause.click()
    session.support_layer.paint((5, 5), 1)
    idle(lambda: session.strokes is not None and session.strokes[5, 5] == 1)

    def is_kept():
        try:
            found = read_sealed(kept()[0])
        except (IndexError, FileError):  # a state was being renamed
            return False
        drawn = any(wish["edit"] is not None and wish["edit"][5, 5] == 1 for wish in found["more"]["wishes"])
        return drawn and found["iteration"] == run.snapshot.iteration

    idle(is_kept)
    before, strokes = session.support, session.strokes
    crashed(tmp_path, monkeypatch)
    (left,) = cut_off()

    again = Workflow(make_napari_viewer())
    new = again.session
    assert new is not session
    assert again.offer.isVisibleTo(again)
    assert f"cut off at iteration {left.iteration} of 100000" in again.offer.words.text()
    again.offer.resume_button.click()
    idle(lambda: new.measurement is not None)
    np.testing.assert_array_equal(new.measurement.intensities, session.measurement.intensities)
    np.testing.assert_array_equal(new.truth, session.truth)
    np.testing.assert_array_equal(new.support, before)
    np.testing.assert_array_equal(new.strokes, strokes)
    assert new.refinement.state == "running"
    assert not again.offer.isVisibleTo(again)
    idle(lambda: new.refinement.snapshot is not None and new.refinement.snapshot.iteration > left.iteration + 20)
    assert new.refinement.snapshot.support[5, 5]
    assert not new.refinement.snapshot.support[30, 30]
    assert new.refinement.snapshot.total == 100000
    assert new.refinement.snapshot.history[0].iteration == 1
    assert str(new.refinement.settings["recipe"]) == str(run.settings["recipe"])
    assert new.refinement.settings["seed"] == 7
    assert again.refine.text.value == str(run.settings["recipe"])
    again.refine.bar.stop.click()
    finished(new)
    loaded.refine.bar.stop.click()
    finished(session)
    idle(lambda: not list(runs_folder().iterdir()))  # both came to an end
    assert new.history.results[-1].ended.startswith("stopped after")


def generator(mailbox, text="hio*100000"):
    measurement, truth = sample("fashion-0")
    problem = Problem.of(measurement)
    start = random_start(problem, as_support(np.abs(truth) > 0, problem), 0)
    recipe = Recipe.parse(text)
    settings = {"positive": False, "free_share": 0.0, "device": "cpu", "support_from": "a test"}
    keeper = Keeper(measurement, settings)
    return worker._refine(mailbox, lambda: (problem, recipe, start), measurement, None, keeper)


def going(mailbox):
    steps, before = generator(mailbox), len(kept())
    while len(kept()) == before:
        next(steps)
    return steps


def started(workflow, idle, text="raar(beta=0.8)*1000000; no shrinkwrap"):
    workflow.refine.algorithm.value = WRITTEN
    workflow.refine.text.value = text
    workflow.refine.bar.start.click()
    idle(lambda: bool(kept()))


def test_a_run_that_is_left_is_over(loaded, idle):
    started(loaded, idle)
    loaded.session.use(*sample("fashion-1"))
    idle(lambda: not list(runs_folder().iterdir()))


def test_a_window_that_is_closed_leaves_its_run_with_the_last_iterate(loaded, idle, qtbot, monkeypatch):
    session, seen = loaded.session, []
    started(loaded, idle)
    monkeypatch.setattr(Keeper, "look", lambda self, iterate, mailbox: seen.append(iterate.iteration))
    idle(lambda: len(seen) > 10)
    with qtbot.waitSignal(session.refinement._worker.finished, timeout=10_000):
        session.viewer.close()
    (left,) = cut_off()
    assert left.iteration == seen[-1]


def test_what_was_taken_and_not_done_is_kept_when_the_window_is_closed():
    mailbox = Mailbox()
    mailbox.hold(True)
    steps, edit = generator(mailbox), np.zeros((72, 72), np.int8)
    next(steps)
    edit[5, 5] = 1
    mailbox.post(Wish(edit))
    mailbox.hold(False)
    next(steps)  # takes it, and waits to be asked for the next iterate
    assert mailbox.taken == 1
    mailbox.post(Wish(beta=0.5))
    steps.close()
    first, second = resume.taken_up(cut_off()[0]).wishes
    assert first.edit[5, 5] == 1
    assert second.beta == 0.5


def test_a_run_that_the_machine_ends_is_left_and_offered_and_one_that_diverges_is_not(loaded, idle, monkeypatch, told):
    session = loaded.session
    started(loaded, idle)

    def full(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(Problem, "project_magnitude", full)
        idle(lambda: session.refinement.state == "idle")
        assert "out of memory" in told.messages()[-1]
        assert loaded.offer.isVisibleTo(loaded)
        before = cut_off()[0].iteration
        loaded.offer.resume_button.click()  # and fails again
        idle(lambda: len(told.messages()) == 2 and not session.busy)
        idle(lambda: session.refinement.state == "idle" and loaded.offer.isVisibleTo(loaded))
        assert [run.iteration for run in cut_off()] == [before]
    loaded.offer.resume_button.click()
    idle(lambda: session.refinement.snapshot is not None and session.refinement.snapshot.iteration > before)

    def diverging(self, x):
        return torch.full_like(x, torch.nan)

    monkeypatch.setattr(Problem, "project_magnitude", diverging)
    idle(lambda: session.refinement.state == "idle")
    assert "diverged" in told.messages()[-1]
    assert list(runs_folder().iterdir()) == []
    assert not loaded.offer.isVisibleTo(loaded)


def test_a_run_that_was_held_at_its_end_comes_back_and_takes_what_was_asked_for(loaded, idle, finished, told):
    mailbox, edit = Mailbox(), np.zeros((72, 72), np.int8)
    mailbox.hold(True)
    steps = generator(mailbox, "hio*30; no shrinkwrap")
    next(steps)
    mailbox.step(29)
    while (last := next(steps)) is None or last.iteration < 30:
        mailbox.shown(0)
    edit[5, 5] = 1
    mailbox.post(Wish(edit))
    steps.close()
    loaded.offer.look()
    assert "iteration 30 of 30" in loaded.offer.words.text()
    loaded.offer.resume_button.click()
    idle(lambda: bool(loaded.session.history.results))
    finished(loaded.session)
    snapshot = loaded.session.refinement.snapshot
    assert (snapshot.iteration, snapshot.ended) == (30, "all iterations done")
    assert snapshot.support[5, 5]
    assert told.messages() == []
    assert list(runs_folder().iterdir()) == []


def test_an_offer_can_be_discarded(workflow):
    assert not workflow.offer.isVisibleTo(workflow)
    for _ in range(2):
        going(Mailbox()).close()
    workflow.offer.look()
    assert "And 1 more" in workflow.offer.words.text()
    workflow.offer.discard_button.click()
    assert "more" not in workflow.offer.words.text()
    workflow.offer.discard_button.click()
    assert not workflow.offer.isVisibleTo(workflow)
    assert list(runs_folder().iterdir()) == []


def test_a_damaged_run_is_told_and_stays_to_be_discarded(workflow, told, idle):
    going(Mailbox()).close()
    for path in cut_off()[0].folder.glob("measurement*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    workflow.offer.look()
    workflow.offer.resume_button.click()
    idle(lambda: bool(told.messages()))
    assert "damaged" in told.messages()[-1]
    idle(lambda: not workflow.session.busy)
    assert workflow.session.measurement is None
    assert workflow.offer.isVisibleTo(workflow)
    assert session_of(workflow.session.viewer).refinement.state == "idle"


def test_painting_and_pins_are_those_of_the_state_and_of_what_was_asked_since():
    support, pinned = torch.zeros(1, 3, 3, dtype=torch.bool), torch.zeros(1, 3, 3, dtype=torch.bool)
    support[0, 1, 1] = pinned[0, 1, 1] = pinned[0, 0, 0] = True
    state = State(support.to(torch.complex64), support, pinned)
    edit, pins = np.zeros((3, 3), np.int8), np.zeros((3, 3), np.int8)
    edit[2, 2], edit[1, 1] = 1, -1
    pins[2, 2], pins[0, 0] = 1, -1

    def painted(*wishes):
        position = Position(support)
        kept = Kept(state, position, Recipe.parse("hio*5"), {})
        return resume.TakenUp(None, kept, None, None, {}, wishes).painted()

    inside, strokes = painted()
    assert inside.tolist() == support[0].tolist()
    assert strokes.tolist() == [[-1, 0, 0], [0, 1, 0], [0, 0, 0]]
    inside, strokes = painted(Wish(edit, pin=False), Wish(pins, unpin=True), Wish(beta=0.5))
    assert inside.tolist() == [[False] * 3, [False] * 3, [False, False, True]]
    assert strokes.tolist() == [[-1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert painted(Wish(None, unpin=True))[1] is None
