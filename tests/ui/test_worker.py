import numpy as np
import pytest
import torch

from napari_dipr.errors import SolverError
from napari_dipr.samples import sample
from napari_dipr.solvers.problem import Problem, as_support, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.ui import worker
from napari_dipr.ui.worker import Mailbox, Wish, refinement_worker


def prepared(text="hio*40 + er*10"):
    measurement, truth = sample("fashion-0")
    problem = Problem.of(measurement)
    return problem, Recipe.parse(text), random_start(problem, as_support(np.abs(truth) > 0, problem), 0)


def run(qtbot, mailbox, prepare):
    """Run a refinement's worker; return what it yielded, returned and raised."""
    got = {"yielded": [], "returned": [], "errored": []}
    job = refinement_worker(mailbox, prepare)
    for name, values in got.items():
        getattr(job, name).connect(values.append)
    with qtbot.waitSignal(job.finished, timeout=60_000):
        job.start()
    return got


def test_returns_copies_of_the_last_iterate(qtbot):
    got = run(qtbot, Mailbox(), prepared)
    assert got["errored"] == []
    (last,) = got["returned"]
    assert isinstance(last.object, np.ndarray)
    assert last.iteration == 50
    assert last.ended == "all iterations done"
    np.testing.assert_allclose(np.abs(last.object), last.amplitude)
    assert np.isnan(last.phase[~last.support]).all()
    assert np.isfinite(last.phase[last.support]).all()


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2"), torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]
)
def test_errors_that_napari_would_swallow_reach_the_person(qtbot, error):
    """GeneratorWorker drops RuntimeError without a signal: the window would wait for ever."""

    def prepare():
        raise error

    (told,) = run(qtbot, Mailbox(), prepare)["errored"]
    assert isinstance(told, SolverError)
    assert not isinstance(told, RuntimeError)
    full = "memory" in repr(error).lower()
    assert ("out of memory" in str(told)) == full


def test_an_error_is_told_even_where_the_device_refuses_to_clean_up(qtbot, monkeypatch):
    def refusing():
        raise RuntimeError("CUDA error: device-side assert triggered")

    def failing():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("napari_dipr.device.release_memory", refusing)
    (told,) = run(qtbot, Mailbox(), failing)["errored"]
    assert "illegal memory access" in str(told)


def test_an_error_in_the_middle_of_a_run_is_told(qtbot, monkeypatch):
    problem, recipe, start = prepared()
    steps = iter(range(5))
    honest = type(problem).project_magnitude

    def failing(self, x):
        if next(steps, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return honest(self, x)

    monkeypatch.setattr(type(problem), "project_magnitude", failing)
    got = run(qtbot, Mailbox(), lambda: (problem, recipe, start))
    assert [type(error) for error in got["errored"]] == [SolverError]
    assert got["returned"] == []
    assert got["yielded"][0].iteration == 1


def test_later_strokes_win_and_wishes_are_taken_once():
    mailbox = Mailbox()
    mailbox.post(Wish(edit=np.array([1, 1, 0], np.int8), beta=0.5))
    number = mailbox.post(Wish(edit=np.array([0, -1, 1], np.int8)))
    controls = mailbox.take()
    np.testing.assert_array_equal(controls.edit, [1, -1, 1])
    assert (controls.beta, controls.stop, mailbox.taken) == (0.5, False, number)
    assert mailbox.take().edit is None


def test_wishes_that_do_not_go_together_are_done_one_after_the_other():
    mailbox, edits = Mailbox(), np.eye(3, dtype=np.int8)
    first = mailbox.post(Wish(edits[0]))
    mailbox.post(Wish(unpin=True))
    second = mailbox.post(Wish(edits[1]))  # of it no pixel is given back
    third = mailbox.post(Wish(edits[2], pin=False, stop=True))
    taken = [(mailbox.take(), mailbox.taken) for _ in range(4)]
    assert [number for _, number in taken] == [first, second, third, third]
    assert [controls.unpin for controls, _ in taken] == [False, True, False, False]
    assert [controls.pin for controls, _ in taken] == [True, True, False, True]
    assert [controls.stop for controls, _ in taken] == [False, False, True, False]
    for (controls, _), edit in zip(taken, edits, strict=False):
        np.testing.assert_array_equal(controls.edit, edit)
    assert taken[3][0].edit is None


def test_no_snapshot_is_due_until_the_last_one_was_shown(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: clock[0])
    mailbox = Mailbox()
    assert mailbox.wants_snapshot()
    mailbox.showing = True
    clock[0] += 10
    assert not mailbox.wants_snapshot()
    mailbox.shown(seconds=0.2)
    clock[0] += 0.2
    assert not mailbox.wants_snapshot()  # showing may take a quarter of the time, no more
    clock[0] += 0.5
    assert mailbox.wants_snapshot()


def test_the_global_phase_is_held_still_between_frames():
    x = (np.arange(1, 5) * np.exp(0.3j)).astype(np.complex64)
    inside = torch.ones(1, 4, dtype=torch.bool)
    first = worker._pictures(torch.from_numpy(x)[None], inside, None)["object"]
    turned = torch.from_numpy(x * np.exp(2j).astype(np.complex64))[None]
    np.testing.assert_allclose(worker._pictures(turned, inside, first)["object"], first, rtol=1e-5)
