import json

import numpy as np
import pytest
import tifffile

from napari_dipr.io.record import read_record


@pytest.fixture
def refined(loaded, finished):
    loaded.refine.iterations.value = 60
    loaded.refine.bar.start.click()
    finished(loaded.session)
    return loaded


def test_the_files_hold_what_is_shown_and_how_it_came_about(refined, idle, tmp_path):
    paths = {}
    refined.session.exported.connect(paths.update)
    refined.export.folder.value = tmp_path / "new"
    refined.export.name.value = "boot"
    refined.export.export_button.click()
    idle(lambda: bool(paths))
    snapshot = refined.session.refinement.snapshot
    np.testing.assert_allclose(tifffile.imread(paths["tif"])[0], snapshot.amplitude, rtol=1e-6)
    np.testing.assert_array_equal(tifffile.imread(paths["support"]) > 0, snapshot.support)
    told = read_record(paths["tif"]).provenance
    assert told["measurement"]["source"]["sample"] == "fashion-0"
    assert told["recipe"]["text"] == str(refined.session.refinement.settings["recipe"])
    assert told["errors"]["iterations"] == 60
    assert told["errors"]["chi2"] == pytest.approx(snapshot.history[-1].chi2, rel=1e-3)
    assert told["start"]["seed"] == 0
    assert told["start"]["object"] == "random phases"
    assert told["device"] == "cpu"
    assert told["window"]["napari"]
    assert json.dumps(told)
    assert "boot.tif, boot_support.tif" in refined.export.state.text()


def test_several_formats_may_be_ticked_and_none_is_nothing_to_do(refined, idle, tmp_path):
    panel, session = refined.export, refined.session
    panel.folder.value, panel.name.value = tmp_path / "new", "boot"
    panel.formats[".tif"].value = False
    assert not panel.export_button.isEnabled()
    for ending in (".cxi", ".vti"):
        panel.formats[ending].value = True
    written = []
    session.exported.connect(lambda paths: written.append(paths))
    panel.export_button.click()
    idle(lambda: len(written) == 1)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"boot.cxi", "boot.vti"}
    assert panel.export_button.text() == "Replace"
    measurement = read_record(tmp_path / "new" / "boot.cxi").measurement
    np.testing.assert_array_equal(measurement.intensities, session.measurement.intensities)


@pytest.mark.parametrize("name", ["a/b", "../a", "..", "a:b"])
def test_a_name_stays_in_its_folder(refined, told, tmp_path, name):
    refined.export.folder.value, refined.export.name.value = tmp_path / "x", name
    refined.export.export_button.click()
    assert "cannot begin a file's name" in told.messages()[-1]
    assert not (tmp_path / "x").exists()


def test_a_place_that_cannot_be_written_to_is_told_and_nothing_is_lost(refined, idle, told, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refined.export.folder.value = tmp_path / "file" / "below"
    refined.export.export_button.click()
    idle(lambda: any("Cannot write" in message for message in told.messages()))
    assert refined.session.refinement.snapshot is not None
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_that_failed_does_not_lend_its_settings_to_the_one_before(refined, finished, idle, tmp_path):
    session = refined.session
    recipe = str(session.refinement.settings["recipe"])
    refined.refine.algorithm.value, refined.refine.seed.value = "ALM", 7
    layer = session.support_layer
    layer.data_setitem(np.nonzero(np.asarray(layer.data)), 0)
    assert "support has changed" in refined.export.state.text()
    refined.refine.bar.start.click()
    finished(session)
    paths = {}
    session.exported.connect(paths.update)
    refined.export.folder.value = tmp_path
    refined.export.export_button.click()
    idle(lambda: bool(paths))
    assert read_record(paths["tif"]).provenance["recipe"]["text"] == recipe


def test_there_is_nothing_to_export_before_a_run(loaded):
    assert not loaded.export.export_button.isEnabled()


def test_files_are_named_after_their_run_and_what_would_be_replaced_is_told(refined, finished, idle, tmp_path):
    panel, session = refined.export, refined.session
    panel.folder.value = tmp_path
    assert panel.name.value == "fashion-0_run1"
    assert panel.export_button.text() == "Export"
    written = []
    session.exported.connect(lambda paths: written.append(paths))
    panel.export_button.click()
    idle(lambda: len(written) == 1)
    assert panel.export_button.text() == "Replace"
    refined.refine.bar.start.click()
    finished(session)
    assert panel.name.value == "fashion-0_run2"
    assert panel.export_button.text() == "Export"
    panel.name.value = "fashion-0_run1"
    assert "fashion-0_run1.tif, fashion-0_run1_support.tif are in this folder already" in panel.state.text()
    panel.name.value = "mine"
    refined.refine.bar.start.click()
    finished(session)
    assert panel.name.value == "mine"  # what a person has written stays


def test_what_a_run_has_come_to_is_exported_under_its_own_name(refined, finished, idle, tmp_path):
    panel, session, run = refined.export, refined.session, refined.session.refinement
    panel.folder.value = tmp_path
    refined.refine.iterations.value = 1_000_000
    refined.refine.bar.start.click()
    idle(lambda: panel.name.value == "fashion-0_run2")
    assert run.state == "running"
    written = []
    session.exported.connect(lambda paths: written.append(paths))
    panel.export_button.click()
    idle(lambda: len(written) == 1)
    assert written[0]["tif"].name == "fashion-0_run2.tif"
    refined.refine.bar.stop.click()
    finished(session)
    assert panel.name.value == "fashion-0_run2"
    session.history.delete(session.history.results[-1])
    session.support_changed.emit()
    assert panel.name.value == "fashion-0_run2"  # what is shown is that run still


def test_nobody_s_home_folder_is_told_when_it_is_written_to(refined, told):
    refined.export.folder.line_edit.value = "~nobody-of-that-name"
    refined.session.support_changed.emit()
    refined.export.export_button.click()
    assert "nobody's home folder" in told.messages()[-1]
