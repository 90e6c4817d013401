from dataclasses import replace

import numpy as np
import pytest

from napari_dipr.errors import DiprError
from napari_dipr.io.record import read_record
from napari_dipr.samples import sample
from napari_dipr.ui.refine_panel import WRITTEN, RefinePanel
from napari_dipr.ui.runs_panel import RunsPanel
from napari_dipr.ui.session import session_of
from napari_dipr.ui.workflow import Workflow


@pytest.fixture
def refined(loaded, finished):
    """A workflow with two runs, from seeds 0 and 1 and the exact support, that ended at the object."""
    session, refine = loaded.session, loaded.refine
    session.show_support(np.abs(session.truth) > 0, "test")
    refine.shrink_wrap.value, refine.iterations.value = False, 400
    for seed in (0, 1):
        refine.start.value, refine.seed.value = "random", seed
        refine.bar.start.click()
        finished(session)
    return loaded


def test_every_run_is_kept_with_what_it_came_to(refined):
    first, second = refined.session.history.results
    assert (first.number, second.number) == (1, 2)
    assert (first.settings["seed"], second.settings["seed"]) == (0, 1)
    assert first.recipe == "hio*360 + er*40"
    assert first.ended == "all iterations done"
    assert refined.session.history.shown is second
    table = refined.runs.table
    assert table.rowCount() == 2
    assert table.item(1, 0).text() == "2 (shown)"
    assert table.item(0, 3).text() == "400"
    assert refined.runs.summary == "2 kept"
    assert table.isColumnHidden(2)


def test_an_earlier_run_is_shown_again_and_gone_on_from(refined, finished):
    session, runs = refined.session, refined.runs
    first = session.history.results[0]
    runs.choose(first)
    runs.show_button.click()
    assert session.history.shown is first
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, first.snapshot.amplitude)
    np.testing.assert_array_equal(session.support, first.snapshot.support)
    assert len(refined.refine.plot.curves["chi2"].getData()[0]) == len(first.snapshot.history)
    refined.refine.iterations.value = 50
    runs.continue_button.click()
    finished(session)
    third = session.history.results[-1]
    assert third.settings["start"] == "the object shown"
    assert third.settings["continues"] is first.settings
    assert third.snapshot.history[-1].chi2 < 2 * first.snapshot.history[-1].chi2


def test_a_run_can_be_forgotten_and_what_is_shown_stays(refined):
    session, runs = refined.session, refined.runs
    first, second = session.history.results
    runs.choose(second)
    runs.delete_button.click()
    assert session.history.results == [first]
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, second.snapshot.amplitude)
    assert not runs.turns["Twin"].isEnabled()


def test_two_runs_are_compared_in_words_and_side_by_side(refined, idle):
    session, runs = refined.session, refined.runs
    first, second = session.history.results
    runs.choose(second)
    runs.other.value = first
    runs.compare_button.click()
    idle(lambda: bool(runs.words.text()))
    words = runs.words.text()
    assert words.startswith("Run 2 and run 1: amplitudes correlate at ")
    assert "Removed from run 1: " in words
    shown = session.canvas.find("compared").data
    # Aligned: in the same place, and as bright.
    similar = (
        np.vdot(shown, second.snapshot.amplitude) / np.linalg.norm(shown) / np.linalg.norm(second.snapshot.amplitude)
    )
    assert similar > 0.9
    assert session.canvas.find("compared").name.endswith("run 1, aligned")


def test_a_run_is_compared_with_the_known_object_and_with_a_file(refined, idle, tmp_path, monkeypatch, told):
    session, runs = refined.session, refined.runs
    second = session.history.results[1]
    runs.other.value = "the known object"
    runs.compare_button.click()
    idle(lambda: "known object" in runs.words.text())
    second.write([tmp_path / "second.tif"])
    monkeypatch.setattr(
        "napari_dipr.ui.runs_panel.QFileDialog.getOpenFileName",
        lambda *args, **options: (str(tmp_path / "second.tif"), ""),
    )
    runs.other.value = "a file …"
    runs.compare_button.click()
    idle(lambda: "second.tif" in runs.words.text())
    assert "amplitudes correlate at 1.000, complex objects at 1.000" in runs.words.text()
    (tmp_path / "second_support.tif").unlink()
    runs.compare_button.click()
    idle(lambda: bool(told.messages()))
    assert "second_support.tif" in told.messages()[-1]


def test_runs_of_another_measurement_come_back_with_it(refined, finished):
    session, runs = refined.session, refined.runs
    first = session.history.results[0]
    canvas, measurement = session.canvas, session.measurement
    session.use(*sample("fashion-1"))
    assert not canvas.is_seen("amplitude")
    assert len(session.history.results) == 2
    runs.choose(first)
    runs.show_button.click()
    assert session.measurement is measurement
    assert session.canvas is canvas
    assert canvas.is_seen("amplitude")
    assert canvas.is_seen("measurement")
    np.testing.assert_array_equal(session.support, first.snapshot.support)
    assert session.history.shown is first


def test_a_run_that_is_left_for_another_measurement_is_kept(loaded, idle):
    session, run = loaded.session, loaded.session.refinement
    loaded.refine.iterations.value = 1_000_000
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    last = run.snapshot
    session.use(*sample("fashion-1"))
    (result,) = session.history.results
    assert result.snapshot is last
    assert result.ended == "left for another measurement"
    assert result.measurement.name != session.measurement.name
    idle(lambda: run.state == "idle")


def test_the_runs_outlive_the_dock(refined, viewer):
    session = refined.session
    viewer.window.remove_dock_widget(refined)
    again = Workflow(viewer)
    viewer.window.add_dock_widget(again, name="Phase retrieval again")
    assert again.session is session
    assert again.runs.table.rowCount() == 2


@pytest.mark.parametrize("turn", ["Twin", "Recentre"])
def test_what_no_intensity_tells_is_settled_with_support_and_proposal(refined, turn, idle):
    session, runs = refined.session, refined.runs
    before, support = session.refinement.snapshot, session.support
    layer = session.support_layer
    layer.brush_size = 1
    layer.paint((3, 5), 1)
    idle(lambda: session.strokes is not None)
    runs.turns[turn].click()
    after = session.refinement.snapshot
    np.testing.assert_allclose(
        np.abs(np.fft.fftn(after.object)),
        np.abs(np.fft.fftn(before.object)),
        rtol=1e-3,
        atol=1e-2 * np.abs(before.object).max(),
    )
    assert (after.support != before.support).any()
    # What was painted since the run is moved with the rest.
    assert (session.support & ~after.support).sum() == (~support)[3, 5]
    assert (session.strokes != 0).sum() == 1
    assert session.support[session.strokes > 0].all()
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, after.amplitude)
    (words,) = session.history.shown.settings["settled_by_hand"]
    assert words == "twin" if turn == "Twin" else words.startswith("shifted by (")
    if turn == "Recentre":
        middle = [np.mean(w) for w in np.nonzero(after.support)]
        assert middle == pytest.approx([36, 36], abs=3)


def test_a_ramp_is_taken_off_what_is_shown_and_put_on_again_to_go_on(loaded, finished, tmp_path):
    from napari_dipr.physics.placement import phase_ramp, with_ramp

    session, runs = loaded.session, loaded.runs
    session.show_support(np.abs(session.truth) > 0, "test")
    loaded.refine.shrink_wrap.value, loaded.refine.iterations.value = False, 30
    loaded.refine.bar.start.click()
    finished(session)
    before = session.refinement.snapshot
    runs.turns["Remove phase ramp"].click()
    after = session.refinement.snapshot
    assert phase_ramp(after.object) == pytest.approx([0, 0], abs=1e-3)
    assert after.ramp == pytest.approx(phase_ramp(before.object))
    back = with_ramp(after.object, after.ramp)
    turned = np.vdot(back, before.object)
    np.testing.assert_allclose(back * turned / abs(turned), before.object, atol=1e-3 * np.abs(before.object).max())
    chi2 = before.history[-1].chi2
    loaded.refine.iterations.value, loaded.refine.start.value = 1, "last"
    paths = session.history.shown.write([tmp_path / "levelled.tif"])
    assert "phase ramp of" in read_record(paths["tif"]).provenance["settled_by_hand"][0]
    loaded.refine.bar.start.click()
    finished(session)
    assert session.refinement.snapshot.history[-1].chi2 < 1.5 * chi2


def test_during_a_run_nothing_is_settled_or_shown_again(refined, idle, finished):
    session, runs = refined.session, refined.runs
    first = session.history.results[0]
    refined.refine.iterations.value = 1_000_000
    refined.refine.bar.start.click()
    idle(lambda: session.refinement.state == "running")
    assert not runs.show_button.isEnabled()
    assert not runs.turns["Twin"].isEnabled()
    for action in (lambda: session.history.show(first), lambda: session.history.settle("twin")):
        with pytest.raises(DiprError, match="A run is under way"):
            action()
    refined.refine.bar.stop.click()
    finished(session)
    assert len(session.history.results) == 3


def test_a_name_stays_taken_when_its_layers_are_gone(refined):
    session, runs = refined.session, refined.runs
    first = session.history.results[0]
    session.viewer.layers.clear()
    session.use(*sample("fashion-0"))
    assert session.measurement.name == "fashion-0 (2)"
    runs.choose(first)
    runs.show_button.click()
    assert session.measurement is first.measurement


def test_a_mask_that_was_taken_since_counts_when_the_run_that_is_shown_goes_on(refined, finished, idle):
    session, panel = refined.session, refined.measurement
    panel.draw_button.click()
    session.mask.layer.paint((36, 36), 1)
    idle(lambda: panel.mask_button.isEnabled())
    panel.mask_button.click()
    refined.refine.iterations.value = 10
    refined.runs.continue_button.click()
    finished(session)
    assert not session.history.results[-1].measurement.measured[36, 36]


def test_a_run_that_was_forgotten_is_exported_for_what_it_was(refined, tmp_path):
    session, runs = refined.session, refined.runs
    runs.choose(session.history.results[1])
    runs.delete_button.click()
    assert session.history.current("exported while it ran").ended == "all iterations done"


def test_a_measurement_is_taken_up_again_as_it_was_left(refined, idle):
    session, panel = refined.session, refined.measurement
    shown, name = session.history.shown, session.measurement.name
    session.support_layer.paint((3, 5), 1)
    idle(lambda: session.strokes is not None)
    strokes, support, origin = session.strokes, session.support, session.support_from
    assert not panel.loaded_row.isVisibleTo(panel)
    session.use(*sample("fashion-1"))
    assert (session.strokes, session.refinement.snapshot) == (None, None)
    session.show_support(np.ones((72, 72), bool), "another")
    session.viewer.layers.remove(next(la for la in session.viewer.layers if la.name == f"{name} · measurement (log)"))
    assert panel.loaded_row.isVisibleTo(panel)
    assert panel.loaded.value == session.measurement.name
    panel.loaded.value = name
    assert session.measurement.name == name
    assert session.history.shown is shown
    np.testing.assert_array_equal(session.strokes, strokes)
    np.testing.assert_array_equal(session.support, support)
    assert (session.support_from, session.is_edited) == (origin, True)
    assert session.canvas.is_seen("measurement")  # made anew
    assert panel.loaded.value == name


def test_a_measurement_without_layers_is_taken_off_the_list(refined):
    session = refined.session
    name = session.measurement.name
    session.use(*sample("fashion-1"))
    assert session.loaded == (name, session.measurement.name)
    for layer in [layer for layer in session.viewer.layers if layer.name.startswith(f"{name} ·")]:
        session.viewer.layers.remove(layer)
    assert session.loaded == (session.measurement.name,)
    assert refined.measurement.loaded.choices == session.loaded
    refined.runs.choose(session.history.results[0])
    refined.runs.show_button.click()
    assert session.measurement.name == name
    assert session.canvas.is_seen("measurement")
    assert session.canvas.is_seen("amplitude")


def test_the_form_of_a_dock_that_was_closed_continues_nothing(viewer, finished):
    _, closed = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    closed.refine.algorithm.value, closed.refine.text.value = WRITTEN, "hio*77"
    viewer.window.remove_dock_widget(closed.native if hasattr(closed, "native") else closed)
    session = session_of(viewer)
    session.use(*sample("fashion-0"))
    session.show_support(abs(session.truth) > 0, "the object")
    _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    assert workflow is not closed
    workflow.refine.algorithm.value, workflow.refine.text.value = WRITTEN, "hio*20"
    workflow.refine.bar.start.click()
    finished(session)
    workflow.runs.continue_button.click()
    finished(session)
    assert [result.recipe for result in session.history.results] == ["hio*20", "hio*20"]


def test_continuing_needs_the_form_that_says_how(viewer, session, finished, told):
    session.use(*sample("fashion-0"))
    session.show_support(abs(session.truth) > 0, "the object")
    form = RefinePanel(viewer)
    form.iterations.value = 10
    form.run()
    finished(session)
    runs = RunsPanel(viewer)
    runs.continue_button.click()
    assert "Open it: Plugins" in told.messages()[-1]
    assert len(session.history.results) == 1


def test_a_name_is_taken_while_its_measurement_can_be_taken_up(loaded):
    session = loaded.session
    name = session.measurement.name
    session.viewer.layers.clear()
    measurement, truth = sample("fashion-1")
    session.use(replace(measurement, name=name), truth)
    assert session.measurement.name == f"{name} (2)"
    assert (session.proposal, session.support, session.strokes) == (None, None, None)


def test_a_stroke_that_was_undone_is_not_pinned_when_one_comes_back(loaded, idle):
    session = loaded.session
    name, layer = session.measurement.name, session.support_layer
    layer.paint((3, 5), 1)
    idle(lambda: session.strokes is not None)
    layer.undo()
    session.use(*sample("fashion-1"))
    session.take_up(name)
    assert session.strokes is None
    assert not session.support[3, 5]


def test_a_mask_that_is_painted_and_not_used_yet_stays_while_another_measurement_is_looked_at(loaded):
    session = loaded.session
    name = session.measurement.name
    layer = session.mask.draw()
    layer.data_setitem((np.array([1]), np.array([2])), 1)
    session.use(*sample("fashion-1"))
    session.take_up(name)
    assert session.mask.is_drawn
    assert layer.data[1, 2] == 1


def test_leaving_a_run_and_coming_back(loaded, idle):
    session, run = loaded.session, loaded.session.refinement
    name = session.measurement.name
    loaded.refine.iterations.value = 1_000_000
    loaded.refine.bar.start.click()
    idle(lambda: run.snapshot is not None)
    session.use(*sample("fashion-1"))
    (result,) = session.history.results
    assert not loaded.export.export_button.isEnabled()
    session.take_up(name)
    assert session.history.shown is result
    assert loaded.export.export_button.isEnabled()
    assert run.state == "idle"


def test_undo_ends_where_the_object_was_turned(refined):
    session, layer = refined.session, refined.session.support_layer
    layer.mode = "paint"
    refined.runs.turns["Twin"].click()
    turned = session.support
    layer.undo()
    np.testing.assert_array_equal(session.support, turned)
    assert layer.mode == "paint"
