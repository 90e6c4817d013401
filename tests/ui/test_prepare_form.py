import json

import numpy as np
import pytest

from napari_dipr.benchmarks.bragg import AT_34_ID_C
from napari_dipr.errors import MeasurementError
from napari_dipr.preparation.steps import Preparation
from napari_dipr.ui.prepare_form import PrepareForm

SETTINGS = {
    "kind": "amplitude",
    "zero_frequency": "centre",
    "rocking_axis": 1,
    "origin": (3, 4),
    "dark": "dark.tif",
    "leave_out": ("NaN", "hot"),
    "saturation": 6e4,
    "grow": 2,
    "background": "rim",
    "threshold": 3.0,
    "centre": (10, 12),
    "crop": (64, 48),
    "bin": (1, 2),
    "geometry": {
        "wavelength": 0.13776022,
        "distance": 0.5,
        "pixel_size": (55.0, 75.0),
        "scan": {"beamline": "34-ID-C", "motor": "theta", "step": 0.005, "detector": {"delta": 32.174, "gamma": 12.6}},
    },
}


@pytest.fixture
def form(qtbot, viewer):
    form = PrepareForm("test")
    qtbot.addWidget(form)
    return form


def test_a_form_says_what_was_entered_and_is_empty_after_a_reset(form):
    assert form.preparation == Preparation()
    form.enter(SETTINGS)
    assert form.preparation == Preparation.of(**SETTINGS)
    form.reset()
    assert form.preparation == Preparation()


def test_each_change_can_be_undone_and_made_again(form, idle):
    seen = []
    form.changed.connect(lambda: seen.append(form.preparation))
    form.threshold.value = "3"
    idle(lambda: len(seen) == 1)
    form.crop.value = "64"
    form.undo_button.click()  # also what has not settled yet
    assert (form.threshold.value, form.crop.value) == ("3", "")
    form.undo_button.click()
    assert form.preparation == Preparation()
    assert not form.undo_button.isEnabled()
    form.redo_button.click()
    form.redo_button.click()
    assert form.preparation == Preparation.of(threshold=3.0, crop=64)
    form.undo_button.click()
    form.bin.value = "2"  # from here on there is nothing to make again
    form.undo_button.click()
    form.redo_button.click()
    assert form.preparation == Preparation.of(threshold=3.0, bin=2)
    assert not form.redo_button.isEnabled()


def test_settings_go_to_a_file_and_come_back(form, tmp_path, monkeypatch, told):
    path = tmp_path / "settings.json"
    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(f"napari_dipr.ui.prepare_form.QFileDialog.{name}", lambda *a, **k: (str(path), ""))
    form.enter(SETTINGS)
    form.save_button.click()
    form.reset()
    form.load_button.click()
    assert form.preparation == Preparation.of(**SETTINGS)
    path.write_text(json.dumps({"polish": 1}))
    form.load_button.click()
    assert any("polish" in message for message in told.messages())
    assert form.preparation == Preparation.of(**SETTINGS)


def test_what_is_not_understood_is_told(form):
    form.crop.value = "wide"
    with pytest.raises(MeasurementError, match="crop is 'wide'"):
        _ = form.preparation


def counts():
    r2 = sum((np.indices((96, 80)) - np.array([[[50]], [[38]]])) ** 2)
    data = np.random.default_rng(0).poisson(1e4 * np.exp(-r2 / 200) + 2)
    data[5, 6] = 1_000_000
    return data


def test_a_preview_shows_what_comes_of_it_and_follows_the_form(workflow, idle):
    panel, viewer = workflow.measurement, workflow.session.viewer
    panel.source.layer.value = viewer.add_image(counts(), name="raw")
    panel.preview_box.value = True
    idle(lambda: "preview (log)" in viewer.layers)
    assert viewer.layers["preview (log)"].data.shape == (96, 80)
    panel.prepare.leave_out["hot"].value = True
    panel.prepare.crop.value = "64"
    idle(lambda: viewer.layers["preview (log)"].data.shape == (64, 64))
    assert "left out 1 pixels: hot" in panel.outcome.text()
    assert "the object spans about" in panel.outcome.text()
    assert panel.session.measurement is None
    panel.prepare.undo_button.click()
    idle(lambda: viewer.layers["preview (log)"].data.shape == (96, 80))
    # A picture that a person removes comes back with the next change.
    viewer.layers.remove("preview: left out")
    panel.prepare.redo_button.click()
    idle(lambda: "preview: left out" in viewer.layers and viewer.layers["preview (log)"].data.shape == (64, 64))
    panel.use_button.click()
    idle(lambda: panel.session.measurement is not None)
    assert panel.session.measurement.grid == (64, 64)
    assert panel.session.measurement.source["preparation"]["crop"] == 64
    idle(lambda: not any("preview" in layer.name for layer in viewer.layers))


def test_a_setting_that_does_not_work_leaves_the_last_preview(workflow, idle, told):
    panel, viewer = workflow.measurement, workflow.session.viewer
    panel.source.layer.value = viewer.add_image(counts(), name="raw")
    panel.preview_box.value = True
    idle(lambda: "preview (log)" in viewer.layers)
    panel.prepare.threshold.value = "1e9"
    idle(lambda: any("No intensity reaches" in message for message in told.messages()))
    panel.prepare.crop.value = "4"
    idle(lambda: any("crop" in message for message in told.messages()))
    assert viewer.layers["preview (log)"].data.shape == (96, 80)
    panel.preview_box.value = False
    idle(lambda: "preview (log)" not in viewer.layers)


def test_a_preview_follows_the_frame_and_what_is_painted(workflow, idle):
    panel, viewer = workflow.measurement, workflow.session.viewer
    stack = np.stack([counts(), 3 * counts()])
    panel.source.layer.value = viewer.add_image(stack, name="raw")
    panel.source.frame.value = 0
    panel.preview_box.value = True
    idle(lambda: "preview (log)" in viewer.layers)
    first = viewer.layers["preview (log)"].data.copy()
    panel.source.frame.value = 1
    idle(lambda: not np.array_equal(viewer.layers["preview (log)"].data, first))
    stop = viewer.add_labels(np.zeros((96, 80), np.uint8), name="stop")
    panel.mask.value = stop
    stop.data_setitem((np.array([3, 4]), np.array([5, 5])), 1)
    idle(lambda: viewer.layers["preview: left out"].data.sum() == 2)


def test_many_changes_are_not_prepared_one_by_one(workflow, idle, monkeypatch):
    panel, viewer = workflow.measurement, workflow.session.viewer
    panel.source.layer.value = viewer.add_image(counts(), name="raw")
    done = []
    honest = panel._bench.prepare
    monkeypatch.setattr(panel._bench, "prepare", lambda *args: (done.append(1), honest(*args))[1])
    panel.preview_box.value = True
    for threshold in range(2, 9):
        panel.prepare.threshold.value = str(threshold)
        panel.prepare._settle()
    idle(lambda: "intensities below 8 set to 0" in panel.outcome.text())
    assert len(done) <= 3


def test_a_form_remembers_nothing_of_one_measurement_alone(form, qtbot):
    form.enter({**SETTINGS, "kind": "amplitude"})
    form.memory.save()
    again = PrepareForm("test")
    qtbot.addWidget(again)
    assert again.preparation.kind == "amplitude"
    assert again.preparation.geometry is None
    assert again.preparation.centre is None
    assert again.preparation.dark is None


def test_a_volume_is_shown_in_its_middle_after_a_preview_too(workflow, idle):
    panel, session = workflow.measurement, workflow.session
    scan = np.random.default_rng(0).poisson(5, (32, 40, 48))
    scan[16, 20, 24] = 400
    panel.source.layer.value = session.viewer.add_image(scan, name="scan")
    panel.prepare.geometry.value = AT_34_ID_C
    panel.preview_box.value = True
    idle(lambda: "preview (log)" in session.viewer.layers and panel.use_button.isEnabled())
    panel.use_button.click()
    idle(lambda: session.measurement is not None)
    idle(lambda: "preview (log)" not in session.viewer.layers)
    picture = session.canvas.find("measurement")
    assert round(picture.world_to_data(session.viewer.dims.point)[0]) == 16
