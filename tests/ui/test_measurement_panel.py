import time

import numpy as np
import pytest
import tifffile

from napari_dipr.samples import sample
from napari_dipr.ui import measurement_panel


@pytest.fixture
def panel(workflow):
    return workflow.measurement


@pytest.fixture
def use(panel, idle):
    """Press *Use as measurement* and wait for the outcome."""

    def press(succeeds=True):
        before = panel.session.measurement
        panel.use_button.click()
        if succeeds:
            idle(lambda: panel.session.measurement is not before)
        return panel.session.measurement

    return press


def pattern():
    return sample("fashion-2")[0].intensities


@pytest.mark.parametrize("kind", ["intensity", "amplitude"])
@pytest.mark.parametrize("where", ["centre", "corner"])
def test_a_layer_becomes_the_measurement_it_is_said_to_be(panel, use, kind, where):
    values = pattern() if kind == "intensity" else np.sqrt(pattern())
    layer = panel.session.viewer.add_image(values if where == "centre" else np.fft.ifftshift(values), name="mine")
    panel.layer.value = layer
    panel.prepare.kind.value, panel.prepare.zero_frequency.value = kind, where
    measurement = use()
    np.testing.assert_allclose(measurement.intensities, pattern(), rtol=1e-5)
    assert measurement.name == "mine"
    assert len(measurement.source["sha256"]) == 64
    assert not layer.visible  # it would lie under the measurement's own picture
    assert layer in panel.session.viewer.layers


def test_what_was_found_and_guessed_is_said(panel):
    values = np.fft.ifftshift(pattern())
    values[3, 4], values[5, 6] = np.nan, -1
    panel.layer.value = panel.session.viewer.add_image(values, name="odd")
    words = panel.found.text()
    for expected in ("72 × 72", "float32", "guessed: corner", "1 pixels NaN", "1 pixels negative"):
        assert expected in words


def test_bad_pixels_are_left_out_when_asked_and_refused_when_not(panel, use, idle, told):
    values = pattern().copy()
    values[3, 4], values[5, 6] = np.nan, -1
    panel.layer.value = panel.session.viewer.add_image(values, name="odd")
    measurement = use()
    assert (~measurement.measured).sum() == 2
    assert panel.session.canvas.find("mask").data.sum() == 2
    for reason in panel.prepare.leave_out.values():
        reason.value = False
    use(succeeds=False)
    idle(lambda: any("2 pixels are NaN" in message for message in told.messages()))
    assert panel.session.measurement is measurement


def test_painted_pixels_are_unmeasured(panel, use):
    viewer = panel.session.viewer
    panel.layer.value = viewer.add_image(pattern(), name="mine")
    stop = np.zeros((72, 72), np.uint8)
    stop[34:39, 34:39] = 3
    panel.mask.value = viewer.add_labels(stop, name="beamstop")
    np.testing.assert_array_equal(use().measured, stop == 0)


def test_a_file_with_frames_threshold_and_crop(panel, use, idle, tmp_path):
    stack = np.stack([np.zeros((80, 90)), np.random.default_rng(0).poisson(3, (80, 90))]).astype(np.uint16)
    stack[1, 30, 50] = 500
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, stack)
    panel.open(path)
    idle(lambda: "2 × 80 × 90" in panel.found.text())
    panel.frame.value = 1
    idle(lambda: panel.found.text().startswith("scan.tif: 80 × 90"))
    panel.prepare.threshold.value, panel.prepare.crop.value = 4, "64"
    measurement = use()
    assert measurement.grid == (64, 64)
    assert measurement.intensities[32, 32] == 500
    assert measurement.intensities[measurement.intensities > 0].min() >= 4
    assert measurement.source["file"] == "scan.tif"
    assert any("cropped" in step for step in measurement.history)


def test_a_mask_file_says_what_was_measured(panel, use, tmp_path):
    panel.layer.value = panel.session.viewer.add_image(pattern(), name="mine")
    measured = np.ones((72, 72), bool)
    measured[:9] = False
    np.save(tmp_path / "mask.npy", measured)
    panel.prepare.mask.value = str(tmp_path / "mask.npy")
    np.testing.assert_array_equal(use().measured, measured)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.ones((2, 3, 40, 40), np.float32), "2 or 3 dimensions"),
        (np.zeros((40, 40), np.float32), "zero"),
        (np.ones((5, 400), np.float32), "at least 16"),
    ],
)
def test_data_that_cannot_be_a_measurement_are_refused_and_nothing_is_lost(loaded, idle, told, values, says):
    session = loaded.session
    measurement, support = session.measurement, session.support
    loaded.measurement.layer.value = session.viewer.add_image(values, name="wrong")
    loaded.measurement.use_button.click()
    idle(lambda: any(says in message for message in told.messages()))
    assert session.measurement is measurement
    np.testing.assert_array_equal(session.support, support)


def test_the_file_asked_for_last_is_the_one_that_is_used(panel, idle, tmp_path, monkeypatch):
    honest = measurement_panel.load_array

    def slow(path, **options):
        time.sleep(0.8 if "slow" in str(path) else 0)
        return honest(path, **options)

    monkeypatch.setattr(measurement_panel, "load_array", slow)
    for name, size in (("slow", 40), ("quick", 50)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random((size, size)))
        panel.open(tmp_path / f"{name}.npy")
    idle(lambda: not panel.session.busy)
    assert panel.found.text().startswith("quick.npy: 50 × 50")


def test_a_frame_that_was_not_read_is_not_used(panel, idle, told, tmp_path):
    stack = np.random.default_rng(0).random((4, 40, 40)) + 1
    np.save(tmp_path / "scan.npy", stack)
    panel.frame.value = 1
    panel.open(tmp_path / "scan.npy")
    idle(lambda: panel.found.text().startswith("scan.npy: 40 × 40"))
    panel.frame.value = 9
    idle(lambda: not panel.session.busy)
    panel.use_button.click()
    assert any("not what was read" in message for message in told.messages())
    assert panel.session.measurement is None


def test_a_mask_file_of_another_size_is_refused_in_words(panel, idle, told, tmp_path):
    panel.layer.value = panel.session.viewer.add_image(pattern(), name="mine")
    np.save(tmp_path / "mask.npy", np.ones((30, 30), bool))
    panel.prepare.mask.value = str(tmp_path / "mask.npy")
    panel.use_button.click()
    idle(lambda: any("(30, 30)" in message and "(72, 72)" in message for message in told.messages()))


def test_files_that_are_none_are_told(panel, idle, told, tmp_path):
    path = tmp_path / "text.tif"
    path.write_text("no picture at all")
    panel.open(path)
    idle(lambda: any("text.tif" in message for message in told.messages()))
    panel.open(tmp_path / "missing.npy")
    idle(lambda: any("missing.npy" in message for message in told.messages()))


def test_a_picture_becomes_its_pattern(panel, idle):
    picture = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    panel.picture.value = panel.session.viewer.add_image(picture, name="holiday")
    panel.photons.value = 1e6
    panel.simulate_button.click()
    idle(lambda: panel.session.measurement is not None)
    measurement = panel.session.measurement
    assert measurement.grid == (80, 100)
    assert measurement.photons_per_unit == 1
    assert measurement.intensities.sum() == pytest.approx(1e6, rel=0.01)
    assert panel.session.truth.shape == (80, 100)


def test_a_colour_picture_is_refused_in_words(panel, told):
    panel.picture.value = panel.session.viewer.add_image(np.zeros((30, 30, 3), np.uint8), rgb=True, name="photo")
    panel.simulate_button.click()
    assert any("colour" in message for message in told.messages())
