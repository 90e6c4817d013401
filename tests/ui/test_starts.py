import re

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_dipr.errors import DiprError
from napari_dipr.io.record import read_record
from napari_dipr.samples import sample
from napari_dipr.ui.starts_outcome import Outcome
from napari_dipr.ui.starts_panel import StartsPanel
from napari_dipr.ui.starts_table import KEEP

LONG = 1_000_000


@pytest.fixture
def asked(loaded):
    """A workflow that would run six quick starts in the exact support."""
    loaded.session.show_support(np.abs(loaded.session.truth) > 0, "test")
    refine, panel = loaded.refine, loaded.starts
    refine.algorithm.value = "HIO, then ER"
    refine.shrink_wrap.value, refine.iterations.value, refine.free.value = False, 300, True
    panel.count.value, panel.most.value = 6, 4
    return loaded


@pytest.fixture
def averaged(asked, over):
    asked.starts.run_button.click()
    over(asked.session)
    return asked


def ticks(panel):
    return [panel.table.item(row, KEEP).checkState() == Qt.CheckState.Checked for row in range(6)]


def test_starts_are_run_ranked_and_averaged_and_their_mean_is_a_run(averaged, tmp_path):
    session, panel = averaged.session, averaged.starts
    outcome = session.starts.outcome
    assert panel.table.rowCount() == 6
    values = [float(panel.table.item(row, 2).text()) for row in range(6)]
    assert values == sorted(values)  # by free χ²
    members = sorted(outcome.ensemble.members)
    assert sorted(i for i, kept in enumerate(panel.table.kept) if kept) == members
    mean = session.history.shown
    assert mean.name == f"run 1, mean of {len(members)} starts"
    assert mean.snapshot.nmse < 0.05
    assert outcome.verdict.kind == "agree"
    told = mean.settings["ensemble"]
    assert told["kept"] == [i + 1 for i in outcome.ensemble.members]
    assert told["verdict"]["kind"] == "agree"
    assert str(mean.settings["recipe"]).startswith("hio*270 + er*30")
    canvas = session.canvas
    np.testing.assert_array_equal(canvas.find("amplitude").data, mean.snapshot.amplitude)
    variance, amplitude = canvas.find("variance"), canvas.find("amplitude")
    np.testing.assert_allclose(variance.data, outcome.ensemble.consensus.variance.numpy())
    assert (tuple(variance.scale), variance.units) == (tuple(amplitude.scale), amplitude.units)
    np.testing.assert_array_equal(session.support, mean.snapshot.support)
    mean.write([tmp_path / "mean.npz"])
    np.testing.assert_allclose(read_record(tmp_path / "mean.npz").fields["variance"], variance.data)
    assert "Agree" in panel.words.text()
    assert "PRTF" in panel.words.text()
    assert set(panel.plot.curves) == {"PRTF", "PRTF's level", "FSC", "FSC's level"}
    assert panel.minimumSizeHint().width() <= 340
    assert [i for i, section in enumerate(averaged.sections) if section.isExpanded()] == [3, 5]
    assert f"mean of {len(members)} starts: agree" in averaged.sections[3].text()


def test_a_start_is_looked_at_and_nothing_that_was_drawn_is_lost(averaged, qtbot):
    session, panel = averaged.session, averaged.starts
    layer = session.support_layer
    layer.brush_size = 1
    layer.paint((5, 5), 1)
    qtbot.waitUntil(lambda: session.strokes is not None)
    drawn = session.support
    mean = session.history.shown
    for row in (4, 0, 2, 5) * 6:  # more of them than changes are remembered
        panel.table.cellClicked.emit(row, 1)
        place = panel.table.place(row)
        outcome = session.starts.outcome
        np.testing.assert_allclose(
            session.canvas.find("amplitude").data, outcome.ensemble.objects[place].abs().numpy(), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(session.support, outcome.ensemble.supports[place].numpy())
        assert session.strokes is None
    assert session.canvas.find("variance") is not None
    layer.undo()
    np.testing.assert_array_equal(session.support, drawn)
    qtbot.waitUntil(lambda: session.strokes is not None)
    assert session.strokes[5, 5] == 1
    panel.table.selectRow(5)
    panel.mean_button.click()
    assert panel.table.selectedItems() == []
    assert session.history.shown is mean
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, mean.snapshot.amplitude)


def test_what_was_painted_before_they_began_stays_pinned_in_the_mean(averaged, over, qtbot):
    session, panel = averaged.session, averaged.starts
    session.support_layer.brush_size = 1
    session.support_layer.paint((5, 5), 1)
    qtbot.waitUntil(lambda: session.strokes is not None)
    panel.run_button.click()
    over(session)
    assert session.strokes[5, 5] == 1
    assert session.support[5, 5]
    panel.table.cellClicked.emit(3, 1)
    assert session.strokes is None  # it may lie elsewhere
    panel.mean_button.click()
    assert session.strokes[5, 5] == 1
    panel.run_button.click()
    over(session)
    found = session.starts.outcome.ensemble
    assert found.supports[found.order[0], 5, 5]


def test_a_start_is_exported_and_kept_as_a_run(averaged, idle, tmp_path):
    session, panel = averaged.session, averaged.starts
    panel.table.cellClicked.emit(1, 0)
    number = panel.table.place(1) + 1
    written = []
    session.export([tmp_path / "start.npz"], written.append)
    idle(lambda: bool(written))
    told = read_record(tmp_path / "start.npz").provenance
    assert told["ensemble"] == {"begun": "phases at random, seed 0", "number": number, "of": 6}
    panel.keep_button.click()
    assert session.history.results[-1].name == f"run 2, start {number} of 6"
    assert not panel.keep_button.isEnabled()
    assert f"start {number} of 6" in averaged.runs.table.item(1, 0).text()
    averaged.runs.choose(session.history.results[0])
    averaged.runs.show_button.click()
    assert session.history.shown.name.startswith("run 1, mean of")
    session.export([tmp_path / "mean.npz"], written.append)
    idle(lambda: len(written) == 2)
    session.restore(tmp_path / "mean.npz")
    idle(lambda: len(session.history.results) == 3)
    assert session.history.shown.name.startswith("run 3, mean of")
    assert session.history.shown.settings["ensemble"]["verdict"]["kind"] == "agree"
    np.testing.assert_array_equal(
        session.canvas.find("variance").data, read_record(tmp_path / "mean.npz").fields["variance"]
    )
    before = session.canvas.find("variance").data.copy()
    session.history.settle("twin")
    np.testing.assert_array_equal(
        session.canvas.find("variance").data, session.history.shown.snapshot.fields["variance"]
    )
    assert not np.array_equal(session.canvas.find("variance").data, before)


def test_what_is_dropped_by_hand_is_left_out_of_the_mean(averaged, over):
    session, panel = averaged.session, averaged.starts
    first = session.starts.outcome
    assert not panel.average_button.isEnabled()
    kept = next(row for row in range(6) if ticks(panel)[row])
    dropped = panel.table.place(kept)
    panel.table.item(kept, KEEP).setCheckState(Qt.CheckState.Unchecked)
    panel.average_button.click()
    over(session)
    outcome = session.starts.outcome
    assert set(outcome.ensemble.members) == set(first.ensemble.members) - {dropped}
    assert outcome.verdict is first.verdict
    assert [result.settings["title"] for result in session.history.results] == [first.title, outcome.title]
    expected = outcome.ensemble.objects[list(outcome.ensemble.members)].mean(0).abs().numpy()
    inside = outcome.mean.support
    np.testing.assert_allclose(outcome.mean.amplitude[inside], expected[inside], rtol=1e-4)
    np.testing.assert_allclose(session.canvas.find("variance").data, outcome.mean.fields["variance"])

    panel.most.value = 2  # ticks them anew
    assert panel.table.kept.count(True) == 2
    assert panel.average_button.isEnabled()
    panel.table.item(ticks(panel).index(True), KEEP).setCheckState(Qt.CheckState.Unchecked)
    assert not panel.average_button.isEnabled()  # of one there is no mean
    with pytest.raises(DiprError, match="keep two or more"):
        session.starts.average(panel.table.kept)
    assert session.starts.course is None


def test_without_free_pixels_the_ranking_is_warned_of(asked, over):
    refine, panel = asked.refine, asked.starts
    refine.free.value = False
    assert "No pixels are held back" in panel.recipe.text()
    refine.algorithm.value, refine.iterations.value, panel.count.value = "auto", 200, 3  # it ends by itself
    panel.run_button.click()
    over(asked.session)
    assert len(asked.session.starts.outcome.rows) == 3
    assert "falls with every freedom" in panel.words.text()
    assert panel.table.isColumnHidden(2)
    panel.free_button.click()
    assert refine.free.value
    assert "No pixels" not in panel.recipe.text()


def test_starts_of_a_real_object_have_a_real_mean(asked, over):
    asked.refine.positive.value, asked.refine.iterations.value = True, 100
    asked.starts.count.value = 3
    asked.starts.run_button.click()
    over(asked.session)
    mean = asked.session.history.shown
    assert mean.snapshot.nmse < 0.05
    inside = mean.snapshot.support & (mean.snapshot.amplitude > 0)
    np.testing.assert_allclose(mean.snapshot.phase[inside], 0, atol=1e-5)
    assert mean.settings["positive"]


def test_closing_the_window_ends_them(asked, idle, qtbot):
    session = asked.session
    asked.refine.iterations.value = LONG
    asked.starts.run_button.click()
    idle(lambda: asked.starts.stop_button.isEnabled())
    with qtbot.waitSignal(session.starts.course.worker.finished, timeout=10_000):
        session.viewer.close()


def test_starts_near_an_object_are_not_independent(averaged, over, qtbot):
    session, panel = averaged.session, averaged.starts
    averaged.refine.iterations.value = 60
    session.support_layer.brush_size = 1
    session.support_layer.paint((5, 5), 1)
    qtbot.waitUntil(lambda: session.strokes is not None)
    panel.begin.value = "last"
    panel.amount.value = 0.1
    panel.run_button.click()
    over(session)
    outcome = session.starts.outcome
    assert bool(outcome.starts.support[5, 5])
    assert outcome.starts.pinned.nonzero().tolist() == [[5, 5]]
    assert outcome.settings["support_edited_by_hand"]
    assert outcome.settings["start"] == "one object disturbed by 0.1 of its amplitude, seed 0"
    assert outcome.ensemble.consensus.prtf is None
    assert "not independent" in panel.words.text()
    assert panel.begin.choices == ("random", "last")
    assert set(panel.plot.curves) == {"FSC", "FSC's level"}


def test_a_start_that_diverges_is_left_out_and_told(asked, over, told, diverging):
    session, panel = asked.session, asked.starts
    diverging(2)
    panel.run_button.click()
    over(session)
    outcome = session.starts.outcome
    assert [row.number for row in outcome.rows] == [0, 1, 3, 4, 5]
    assert panel.table.rowCount() == 5
    assert {panel.table.item(row, 0).text() for row in range(5)} == {"1", "2", "4", "5", "6"}
    assert "Start 3 (seed 2000006) is left out: The iterate is no longer finite" in panel.words.text()
    assert [one["number"] for one in session.history.shown.settings["ensemble"]["diverged"]] == [3]
    row = next(row for row in range(5) if panel.table.item(row, 0).text() == "4")
    panel.table.cellClicked.emit(row, 0)
    place = panel.table.place(row)
    np.testing.assert_array_equal(session.support, outcome.ensemble.supports[place].numpy())
    diverging(0, 1, 3, 4)
    panel.run_button.click()
    over(session)
    assert "1 start came to its end; of fewer than 2 nothing can be said. Start 1" in told.messages()[-1]
    assert session.starts.outcome is outcome  # a single one says less


def test_a_stop_averages_those_that_are_done(asked, over, idle):
    session, panel = asked.session, asked.starts
    asked.refine.iterations.value = 2000
    panel.run_button.click()
    idle(lambda: session.starts.course.outcome is not None and len(session.starts.course.outcome.rows) >= 2)
    idle(lambda: panel.stop_button.isEnabled() and panel.table.rowCount() >= 2)
    panel.stop_button.click()
    over(session)
    done = len(session.starts.outcome.rows)
    assert 2 <= done < 6
    assert panel.table.rowCount() == done
    assert session.history.shown.snapshot.ended.endswith(f"of {done} starts")
    assert session.history.shown.settings["ensemble"]["asked_for"] == 6


def test_a_stop_before_any_is_done_shows_what_was_shown(asked, over, idle, finished):
    session, panel = asked.session, asked.starts
    asked.refine.iterations.value = 20
    asked.refine.bar.start.click()
    finished(session)
    before = session.canvas.find("amplitude").data.copy()
    asked.refine.iterations.value = LONG
    panel.run_button.click()
    idle(lambda: (session.canvas.find("amplitude").data != before).any())
    idle(lambda: panel.stop_button.isEnabled())
    panel.stop_button.click()
    over(session)
    np.testing.assert_array_equal(session.canvas.find("amplitude").data, before)
    assert session.starts.outcome is None
    assert len(session.history.results) == 1


def test_runs_and_starts_refuse_each_other(asked, over, idle, finished, told):
    session, refine, panel = asked.session, asked.refine, asked.starts
    refine.iterations.value = LONG
    panel.run_button.click()
    idle(lambda: panel.stop_button.isEnabled())
    assert not refine.bar.start.isEnabled()
    with pytest.raises(DiprError, match="Many starts are under way"):
        session.refinement.start(start="random", seed=0, **refine.asked())
    with pytest.raises(DiprError, match="Many starts are under way"):
        session.refinement.must_be_idle()
    panel.stop_button.click()
    over(session)
    refine.bar.start.click()
    assert not panel.run_button.isEnabled()
    with pytest.raises(DiprError, match="A run is under way"):
        session.starts.average([True, True])
    refine.bar.stop.click()
    finished(session)


def test_an_error_is_told_and_the_layers_stay(asked, over, told, monkeypatch):
    session, panel = asked.session, asked.starts
    seen = {layer.name: np.array(layer.data) for layer in session.canvas.layers if layer.name.endswith("support")}
    names = [layer.name for layer in session.viewer.layers]
    asked.refine.algorithm.value, asked.refine.text.value = "as written below", "nonsense*3"
    panel.run_button.click()
    over(session)
    assert any("nonsense" in message for message in told.messages())
    assert [layer.name for layer in session.viewer.layers] == names
    for name, data in seen.items():
        np.testing.assert_array_equal(session.viewer.layers[name].data, data)
    assert session.starts.outcome is None
    assert panel.run_button.isEnabled()


def test_another_measurement_ends_them_and_those_that_are_done_wait(asked, over, idle, told, monkeypatch):
    session, panel = asked.session, asked.starts
    honest, averaged = Outcome.averaged, []
    monkeypatch.setattr(Outcome, "averaged", lambda *of: (averaged.append(of), honest(*of))[1])
    asked.refine.iterations.value = 2000
    panel.run_button.click()
    idle(lambda: session.starts.course.outcome is not None and len(session.starts.course.outcome.rows) >= 2)
    session.use(*sample("fashion-1"))
    assert re.search(r"The starts of fashion-0 were given up: \d of 6 are done", told.messages()[-1])
    assert session.starts.course is None
    assert session.starts.outcome is None
    assert panel.table.rowCount() == 0
    idle(lambda: not session.busy)
    assert averaged == []  # for nobody
    assert session.canvas.find("amplitude") is None
    session.take_up("fashion-0")
    done = len(session.starts.outcome.rows)
    assert 2 <= done < 6
    assert panel.table.rowCount() == done
    assert session.canvas.find("amplitude") is None  # it was nobody's
    panel.average_button.click()
    over(session)
    assert session.starts.outcome.mean is session.history.shown.snapshot


def test_the_panel_alone_says_what_it_lacks(viewer, told, qtbot):
    panel = StartsPanel(viewer)
    qtbot.addWidget(panel)
    assert "Open it: Plugins" in panel.recipe.text()
    assert not panel.run_button.isEnabled()
