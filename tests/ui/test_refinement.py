from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_dipr.errors import DiprError
from napari_dipr.experiment import simulate
from napari_dipr.io.record import read_record
from napari_dipr.physics.symmetry import nmse
from napari_dipr.samples import sample
from napari_dipr.solvers.problem import Problem
from napari_dipr.ui.session import session_of
from napari_dipr.ui.worker import Mailbox

LONG = 1_000_000


def painted(session, where, label):
    layer = session.support_layer
    layer.brush_size = 3
    layer.paint(where, label)


def test_a_run_recovers_the_object_and_shows_it(loaded, finished):
    session = loaded.session
    # With the exact support nearly every start is solved; otherwise it is a matter of the processor's rounding.
    session.show_support(np.abs(session.truth) > 0, "test")
    loaded.refine.shrink_wrap.value = False
    loaded.refine.iterations.value = 600
    loaded.refine.bar.start.click()
    assert session.refinement.state == "running"
    finished(session)
    snapshot = session.refinement.snapshot
    assert snapshot.ended == "all iterations done"
    error, _ = nmse(torch.from_numpy(snapshot.object)[None], torch.from_numpy(session.truth)[None])
    assert float(error) < 0.05
    assert snapshot.nmse == pytest.approx(float(error), abs=1e-4)
    assert f"nmse {snapshot.nmse:.3f}" in loaded.refine.bar.words.text()
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, snapshot.amplitude)
    np.testing.assert_array_equal(session.support, snapshot.support)
    assert len(loaded.refine.plot.curves["chi2"].getData()[0]) == len(snapshot.history)


def test_shrink_wraps_changes_are_not_a_persons(loaded, finished):
    session = loaded.session
    before = session.support
    loaded.refine.iterations.value = 60
    loaded.refine.bar.start.click()
    finished(session)
    assert (session.support != before).any()
    np.testing.assert_array_equal(session.support, session.refinement.snapshot.support)
    assert not session.is_edited
    assert session.strokes is None


def test_strokes_reach_the_running_solver_and_stay(loaded, finished, idle):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    put_in, taken_out = (
        (5, 5),
        tuple(int(i) for i in np.argwhere(session.support)[len(np.argwhere(session.support)) // 2]),
    )
    painted(session, put_in, 1)
    painted(session, taken_out, 0)
    idle(lambda: run.snapshot.support[put_in] and not run.snapshot.support[taken_out])
    seen = run.snapshot.iteration
    idle(lambda: run.snapshot.iteration > seen + 100)  # five times shrink-wrap
    assert session.support[put_in]
    assert not session.support[taken_out]
    assert run.settings["support_edited_by_hand"]
    session.support_layer.undo()
    idle(lambda: run.snapshot.support[taken_out])
    loaded.refine.bar.stop.click()
    finished(session)
    assert run.snapshot.ended.startswith("stopped after")


def test_pause_holds_the_run_and_keeps_what_is_painted(loaded, finished, idle, qtbot):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    loaded.refine.bar.pause.click()
    idle(lambda: run.state == "paused")
    assert loaded.refine.bar.pause.text() == "Resume"
    qtbot.wait(200)
    while (held := run.snapshot.iteration) != (qtbot.wait(1500) or run.snapshot.iteration):
        pass  # its last pictures are under way on a slow machine
    painted(session, (4, 4), 1)
    qtbot.wait(200)
    assert run.snapshot.iteration == held
    loaded.refine.bar.pause.click()
    idle(lambda: run.snapshot.support[4, 4])
    loaded.refine.bar.pause.click()
    idle(lambda: run.state == "paused")
    loaded.refine.bar.stop.click()  # a held run stops too
    finished(session)


def test_a_held_run_goes_step_by_step(loaded, finished, idle, qtbot, monkeypatch):
    session, run, bar = loaded.session, loaded.session.refinement, loaded.refine.bar
    taken, take = [], Mailbox.take

    def watched(mailbox, iteration):
        taken.append((iteration, take(mailbox, iteration)))
        return taken[-1][1]

    monkeypatch.setattr(Mailbox, "take", watched)
    loaded.refine.iterations.value = LONG
    assert not bar.step.isEnabled()
    bar.start.click()
    idle(lambda: run.snapshot is not None)
    assert not bar.step.isEnabled()
    bar.pause.click()
    idle(lambda: taken[-1] == (run.snapshot.iteration, None))
    held = run.snapshot.iteration
    for steps in (1, 1, 7):
        bar.steps.value = steps
        painted(session, (steps, 4), 1)
        bar.step.click()
        held += steps
        idle(lambda held=held: run.snapshot.iteration == held)
        assert run.snapshot.support[steps, 4]
    qtbot.wait(300)
    assert run.snapshot.iteration == held
    assert run.state == "paused"
    bar.steps.value = 100_000  # of these it is called back
    bar.step.click()
    idle(lambda: run.snapshot.iteration > held + 1)
    bar.pause.click()
    seen = run.snapshot.iteration
    idle(lambda: run.snapshot.iteration > seen + 1)
    bar.stop.click()
    finished(session)


def test_a_stop_before_the_pause_came_into_effect_ends_the_run(loaded, finished):
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    loaded.refine.bar.pause.click()
    loaded.refine.bar.stop.click()
    finished(loaded.session)
    assert loaded.session.refinement.snapshot.ended.startswith("stopped after")


def test_what_is_painted_while_it_is_paused_is_in_the_result_when_it_is_stopped(loaded, finished, idle):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    loaded.refine.bar.pause.click()
    idle(lambda: run.state == "paused")
    painted(session, (4, 4), 1)
    loaded.refine.bar.stop.click()
    finished(session)
    assert run.snapshot.support[4, 4]


def test_a_stroke_is_passed_on_before_the_next_picture_is_shown(loaded, finished, idle, monkeypatch):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    monkeypatch.setattr(run, "_follow_support", lambda snapshot: None)
    mailbox = run._mailbox
    posted = mailbox.posted
    painted(session, (4, 4), 1)
    idle(lambda: mailbox.posted > posted)
    idle(lambda: mailbox.taken == mailbox.posted)
    monkeypatch.undo()
    loaded.refine.bar.stop.click()
    finished(session)
    assert run.snapshot.support[4, 4]


def test_an_edit_is_remembered_by_the_next_run(loaded, finished):
    session, run = loaded.session, loaded.session.refinement
    painted(session, (4, 4), 1)
    loaded.refine.iterations.value = 20
    for _ in range(2):
        loaded.refine.bar.start.click()
        finished(session)
        assert session.is_edited
        assert run.settings["support_edited_by_hand"]


def test_a_run_can_go_on_from_the_one_before_and_says_so(loaded, finished):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = 20
    loaded.refine.bar.start.click()
    finished(session)
    first = run.settings
    loaded.refine.start.value = "last"
    loaded.refine.bar.start.click()
    finished(session)
    assert run.settings["continues"] is first
    assert run.settings["seed"] is None


def test_a_picture_that_cannot_be_shown_does_not_stop_the_stream(loaded, finished, idle, qtbot, monkeypatch):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    honest, failures = session.pictures.show_amplitude, [1]

    def failing(*arguments):
        if failures:
            failures.pop()
            raise ValueError("no picture")
        honest(*arguments)

    with qtbot.captureExceptions() as caught:
        monkeypatch.setattr(session.pictures, "show_amplitude", failing)
        idle(lambda: not failures)
        seen = run.snapshot.iteration
        idle(lambda: run.snapshot.iteration > seen + 20)
        loaded.refine.bar.stop.click()
        finished(session)
    assert [str(error[1]) for error in caught] == ["no picture"]


def test_a_support_that_no_solver_can_use_does_not_end_the_run(loaded, finished, idle, told):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    layer = session.support_layer
    everywhere = tuple(i.ravel() for i in np.indices((72, 72)))
    for label, says in ((0, "is empty"), (1, "50%")):
        layer.data_setitem(everywhere, label)
        idle(lambda says=says: any(says in message for message in told.messages()))
        assert run.state == "running"
        assert 0 < run.snapshot.support.sum() < 2000
        layer.undo()
    loaded.refine.bar.stop.click()
    finished(session)


def test_an_error_in_the_solver_leaves_the_window_usable(loaded, finished, idle, told, monkeypatch):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    honest, failing = Problem.project_magnitude, []

    def step(self, x):
        if failing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return honest(self, x)

    monkeypatch.setattr(Problem, "project_magnitude", step)
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    painted(session, (3, 3), 1)
    failing.append(True)
    finished(session)
    assert any("out of memory" in message and "cpu" in message for message in told.messages())
    assert session.support[3, 3]
    assert run.snapshot.amplitude.max() > 0
    assert loaded.refine.bar.start.isEnabled()
    failing.clear()
    loaded.refine.iterations.value = 20
    loaded.refine.bar.start.click()
    finished(session)
    assert run.snapshot.ended == "all iterations done"


@pytest.mark.parametrize(("label", "says"), [(0, "empty"), (1, "more than 50%")])
def test_a_support_that_cannot_do_is_told_before_anything_changes(loaded, finished, told, label, says):
    session = loaded.session
    session.support_layer.data_setitem(tuple(i.ravel() for i in np.indices((72, 72))), label)
    loaded.refine.run()
    finished(session)
    assert any(says in message for message in told.messages())
    assert session.refinement.snapshot is None
    assert (np.asarray(session.support_layer.data) == label).all()


def test_an_empty_support_waits_to_be_painted(loaded):
    bar, support = loaded.refine.bar, loaded.support
    support.empty_button.click()
    assert not bar.start.isEnabled()
    assert "empty" in bar.words.text()
    assert not any(tool.isEnabled() for tool in support.tools.values())
    loaded.session.support_layer.data_setitem((np.array([30, 31]), np.array([30, 30])), 1)
    assert bar.start.isEnabled()
    assert all(tool.isEnabled() for tool in support.tools.values())


def test_nothing_starts_without_measurement_or_support(workflow):
    refinement = workflow.session.refinement
    options = {"start": "random", "seed": 0, "device": "cpu", "positive": False}
    with pytest.raises(DiprError, match="no measurement"):
        refinement.start(lambda: None, **options)
    workflow.session.use(*sample("fashion-1"))
    with pytest.raises(DiprError, match="no support"):
        refinement.start(lambda: None, **options)
    assert not workflow.refine.bar.start.isEnabled()


def test_removing_a_layer_that_is_in_use_does_not_end_the_run(loaded, finished, idle):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    for role in ("amplitude", "support"):
        session.viewer.layers.remove(session.canvas.find(role))
    seen = run.snapshot.iteration
    idle(lambda: run.snapshot.iteration > seen)
    assert session.canvas.find("amplitude") is not None
    loaded.refine.bar.stop.click()
    finished(session)


def test_another_measurement_ends_the_run_and_hides_its_layers(loaded, idle, qtbot):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    old = [layer for layer in session.viewer.layers if layer.name.startswith("fashion-0")]
    session.use(*sample("fashion-1"))
    qtbot.wait(300)
    assert run.state == "idle"
    assert run.snapshot is None
    assert session.support is None
    assert all(layer in session.viewer.layers and not layer.visible for layer in old)


def test_closing_the_window_ends_the_run(loaded, idle, qtbot):
    session = loaded.session
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    idle(lambda: session.refinement.snapshot is not None)
    worker = session.refinement._worker
    with qtbot.waitSignal(worker.finished, timeout=10_000):
        session.viewer.close()


def test_nothing_more_is_shown_of_a_run_once_its_window_is_closing(loaded, finished, qtbot, monkeypatch):
    session, run, late = loaded.session, loaded.session.refinement, []
    monkeypatch.setattr(
        session.pictures, "steps", lambda *of: [lambda: run._worker.quit(), lambda: late.append("a picture")]
    )
    loaded.refine.iterations.value = LONG
    loaded.refine.bar.start.click()
    finished(session)
    qtbot.wait(50)
    assert late == []


def test_two_viewers_run_side_by_side(make_napari_viewer, idle):
    sessions = [session_of(make_napari_viewer()) for _ in range(2)]
    assert sessions[0] is not sessions[1]
    from napari_dipr.solvers.recipe import Recipe

    for session, name in zip(sessions, ("fashion-0", "fashion-1"), strict=True):
        measurement, truth = sample(name)
        session.use(measurement, truth)
        session.show_support(np.abs(truth) > 0, "test")
        session.refinement.start(
            lambda problem: Recipe.parse("hio*200 + er*20"), start="random", seed=0, device="cpu", positive=False
        )
    idle(lambda: all(s.refinement.state == "idle" for s in sessions))
    for session in sessions:
        assert session.refinement.snapshot.history[-1].chi2 < 1e-3


def test_partial_coherence_and_free_pixels_reach_solver_curve_and_export(loaded, finished, idle, tmp_path):
    session, refine = loaded.session, loaded.refine
    refine.coherence.value = refine.free.value = True
    refine.iterations.value = 200  # the coherence is first estimated after 100
    refine.bar.start.click()
    finished(session)
    snapshot = session.refinement.snapshot
    last = snapshot.history[-1]
    iterations, values = refine.plot.curves["free_chi2"].getData()
    np.testing.assert_array_equal(iterations, [record.iteration for record in snapshot.history])
    free = [record.free_chi2 for record in snapshot.history]
    np.testing.assert_allclose(values, np.log10(free), rtol=1e-6)  # the axis is logarithmic
    assert snapshot.psf.sum() == pytest.approx(1, abs=1e-5)

    problem = Problem.of(session.measurement, free=session.refinement.settings["free_share"])
    x, psf = torch.from_numpy(snapshot.object)[None], torch.from_numpy(snapshot.psf)[None]
    blurred, coherent = problem.seen_with(psf).errors(x), problem.errors(x)
    assert float(blurred.chi2) == pytest.approx(last.chi2, rel=1e-3)
    assert float(blurred.free.chi2) == pytest.approx(last.free_chi2, rel=1e-3)
    assert float(coherent.chi2) != pytest.approx(last.chi2, rel=0.1)  # or the blur would make no difference here

    paths = {}
    session.exported.connect(paths.update)
    loaded.export.folder.value = tmp_path
    loaded.export.export_button.click()
    idle(lambda: bool(paths))
    told = read_record(paths["tif"]).provenance
    assert len(told["errors"]["psf_sigma"]) == 2
    assert all(sigma > 0 for sigma in told["errors"]["psf_sigma"])
    assert told["errors"]["chi2"] == pytest.approx(last.chi2, rel=1e-3)
    assert told["free_share"] == 0.05

    refine.coherence.value = refine.free.value = False
    refine.iterations.value = 20
    refine.bar.start.click()
    finished(session)
    assert session.refinement.snapshot.psf is None
    assert session.refinement.snapshot.history[-1].free_chi2 is None
    drawn = refine.plot.curves["free_chi2"].getData()[0]
    assert drawn is None or len(drawn) == 0


def test_auto_ends_on_its_own_and_says_why(workflow, finished):
    session, refine = workflow.session, workflow.refine
    rng = np.random.default_rng(0)
    rows, columns = np.indices((14, 16))
    tip = (rows / 14 + columns / 16 < 1) * (1 + rng.random((14, 16))) * np.exp(1j * rng.random((14, 16)))
    session.use(*simulate(tip))
    session.show_support(np.abs(session.truth) > 0, "test")
    refine.shrink_wrap.value = False
    refine.algorithm.value = "auto"
    refine.iterations.value = 5000
    refine.bar.start.click()
    finished(session)
    snapshot = session.refinement.snapshot
    assert snapshot.iteration < 2500
    assert snapshot.ended.startswith("hio ended after ")
    assert snapshot.ended in refine.bar.words.text()
    assert refine.bar.progress.value() == refine.bar.progress.maximum()


def test_a_volume_streams_while_it_is_refined(workflow, finished, idle):
    session, run = workflow.session, workflow.session.refinement
    rng = np.random.default_rng(0)
    measurement, truth = simulate((1 + rng.random((12, 12, 12))) * np.exp(1j * rng.random((12, 12, 12))))
    session.use(measurement, truth)
    session.show_support(np.abs(truth) > 0, "test")
    arrived, frames = [], []
    run.advanced.connect(lambda: arrived.append(run.snapshot.iteration))
    run.advanced.connect(lambda: frames.append(session.canvas.find("amplitude").data.copy()))
    workflow.refine.iterations.value = LONG
    workflow.refine.bar.start.click()
    idle(lambda: len(frames) >= 5)
    assert run.state == "running"
    workflow.refine.bar.stop.click()
    finished(session)
    assert arrived == sorted(arrived)
    assert len(set(arrived)) >= 5
    for before, after in pairwise(frames[:5]):
        assert not np.array_equal(before, after)
    for role in ("amplitude", "phase", "support"):
        layer = session.canvas.find(role)
        assert layer.ndim == 3
        assert layer.data.shape == (24, 24, 24)
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, run.snapshot.amplitude)
    np.testing.assert_array_equal(session.support, run.snapshot.support)


def test_a_volume_drawn_as_one_streams_in_fewer_voxels_and_is_whole_when_held(workflow, finished, idle, monkeypatch):
    monkeypatch.setattr("napari_dipr.ui.pictures.STREAMED", 12)
    session, run = workflow.session, workflow.session.refinement
    measurement, truth = simulate(1 + np.random.default_rng(0).random((12, 12, 12)))
    session.use(measurement, truth)
    session.show_support(np.abs(truth) > 0, "test")
    session.viewer.dims.ndisplay = 3
    workflow.refine.iterations.value = LONG
    workflow.refine.bar.start.click()
    idle(lambda: session.canvas.find("amplitude") is not None and session.canvas.find("amplitude").data.shape[0] == 12)
    coarse = session.canvas.find("amplitude")
    assert tuple(coarse.scale) == (2, 2, 2)
    workflow.refine.bar.pause.click()
    idle(lambda: all(session.canvas.find(role).data.shape == (24, 24, 24) for role in ("amplitude", "phase")))
    whole = session.canvas.find("amplitude")
    np.testing.assert_array_equal(whole.data, run.snapshot.amplitude)
    assert tuple(whole.scale) == (1, 1, 1)
    np.testing.assert_array_equal(whole.translate, session.support_layer.translate)
    workflow.refine.bar.stop.click()
    finished(session)
    assert session.canvas.find("amplitude").data.shape == (24, 24, 24)


def test_a_volume_that_is_left_while_it_streams_is_whole(workflow, idle, monkeypatch):
    monkeypatch.setattr("napari_dipr.ui.pictures.STREAMED", 12)
    session = workflow.session
    measurement, truth = simulate(1 + np.random.default_rng(0).random((12, 12, 12)))
    session.use(measurement, truth)
    session.show_support(np.abs(truth) > 0, "test")
    canvas, session.viewer.dims.ndisplay = session.canvas, 3
    workflow.refine.iterations.value = LONG
    workflow.refine.bar.start.click()
    idle(lambda: canvas.find("phase") is not None and canvas.find("phase").data.shape[0] == 12)
    session.use(*sample("fashion-1"))
    assert canvas.find("amplitude").data.shape == canvas.find("phase").data.shape == (24, 24, 24)
