import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_dipr.errors import SolverError
from napari_dipr.samples import sample
from napari_dipr.solvers.problem import Problem, as_support, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.ui import worker
from napari_dipr.ui.worker import Mailbox, Wish, refinement_worker

MEASUREMENT, TRUTH = sample("fashion-0")


def prepared(text="hio*40 + er*10"):
    problem = Problem.of(MEASUREMENT)
    return problem, Recipe.parse(text), random_start(problem, as_support(np.abs(TRUTH) > 0, problem), 0)


def run(qtbot, mailbox, prepare):
    """Run a refinement's worker; return what it yielded, returned and raised."""
    got = {"yielded": [], "returned": [], "errored": []}
    job = refinement_worker(mailbox, prepare, MEASUREMENT)
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

    monkeypatch.setattr("napari_dipr.ui.worker.release_memory", refusing)
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


def chain(controls):
    """What is asked for, in its order."""
    orders = []
    while controls is not None:
        orders.append(controls)
        controls = controls.then
    return orders


def test_wishes_are_taken_once_and_in_their_order():
    mailbox, edits = Mailbox(), np.eye(3, dtype=np.int8)
    mailbox.post(Wish(edits[0]))
    mailbox.post(Wish(edits[1], unpin=True, beta=0.5))
    number = mailbox.post(Wish(edits[2], pin=False, stop=True))
    *orders, last = chain(mailbox.take(1))
    for order, edit in zip(orders, edits, strict=True):
        np.testing.assert_array_equal(order.edit, edit)
    assert [order.unpin for order in orders] == [False, True, False]
    assert [order.pin for order in orders] == [True, True, False]
    assert [order.stop for order in orders] == [False, False, True]
    assert (last.edit, last.steps, mailbox.taken) == (None, None, number)
    assert len(chain(mailbox.take(2))) == 1


def test_a_held_run_waits_until_it_is_to_step_to_go_on_or_to_stop():
    mailbox = Mailbox()
    mailbox.hold(True)
    assert mailbox.take(5) is None
    mailbox.post(Wish(beta=0.5))
    assert mailbox.take(5) is None  # wishes wait with it
    mailbox.step(3)
    first, last = chain(mailbox.take(5))
    assert (first.beta, last.steps) == (0.5, 3)
    assert chain(mailbox.take(7))[-1].steps == 1  # the clock came first
    mailbox.step(2)
    assert chain(mailbox.take(7))[-1].steps == 3
    assert mailbox.take(10) is None
    mailbox.step(100_000)
    assert chain(mailbox.take(10))[-1].steps == 100_000
    mailbox.hold(False)  # in the middle of it
    assert chain(mailbox.take(12))[-1].steps is None
    mailbox.hold(True)
    assert mailbox.take(12) is None
    mailbox.post(Wish(stop=True))
    assert chain(mailbox.take(12))[0].stop


def test_a_snapshot_claims_no_wish_that_the_run_has_not_seen(monkeypatch):
    monkeypatch.setattr(worker, "INTERVAL", 0.0)
    mailbox, pixel = Mailbox(interval=0, showing=1.0), np.zeros((72, 72), np.int8)
    pixel[0, 0] = 1
    seen = []
    mailbox.post(Wish(pixel))
    for snapshot in worker._refine(mailbox, lambda: prepared("er*5"), MEASUREMENT, None):
        seen.append(snapshot)
        mailbox.shown(0.0)
    assert [snapshot.taken for snapshot in seen] == [0, 1, 1, 1, 1]
    assert [bool(snapshot.support[0, 0]) for snapshot in seen] == [False, True, True, True, True]


def test_no_snapshot_is_due_until_the_last_one_was_shown(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: clock[0])
    mailbox = Mailbox()
    assert mailbox.wants_snapshot()
    mailbox.showing = True
    clock[0] += 10
    assert not mailbox.wants_snapshot()
    mailbox.shown(seconds=2.0)  # of the first, whose layers had to be made
    clock[0] += 0.11
    assert mailbox.wants_snapshot()
    mailbox.showing, mailbox.making = True, 0.1
    mailbox.shown(seconds=0.1)
    clock[0] += 3.0
    assert not mailbox.wants_snapshot()  # making and showing may take 6 % of the time, no more
    clock[0] += 0.2
    assert mailbox.wants_snapshot()


def test_the_global_phase_is_held_still_between_frames():
    x = (np.arange(1, 5) * np.exp(0.3j)).astype(np.complex64)
    inside = torch.ones(1, 4, dtype=torch.bool)
    first = worker.pictures_of(torch.from_numpy(x)[None], inside, None)["object"]
    turned = torch.from_numpy(x * np.exp(2j).astype(np.complex64))[None]
    np.testing.assert_allclose(worker.pictures_of(turned, inside, first)["object"], first, rtol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="it looks where Linux lists libraries")
def test_torch_s_libraries_are_there_before_it_is_imported():
    script = """
import sys
from napari_dipr.ui.worker import load_torch
load_torch()
assert "torch" not in sys.modules
assert "libtorch_cpu" in open("/proc/self/maps").read()
import torch
assert torch.ones(3).sum() == 3
load_torch()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
