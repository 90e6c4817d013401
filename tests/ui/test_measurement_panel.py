import threading
import time

import dask.array as da
import h5py
import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_dipr.samples import sample
from napari_dipr.ui import source_form
from napari_dipr.ui.array_choice import ArrayChoice


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
    panel.source.layer.value = layer
    panel.prepare.kind.value, panel.prepare.zero_frequency.value = kind, where
    measurement = use()
    np.testing.assert_allclose(measurement.intensities, pattern(), rtol=1e-5)
    assert measurement.name == "mine"
    assert len(measurement.source["sha256_of_values"]) == 64
    assert not layer.visible  # it would lie under the measurement's own picture
    assert layer in panel.session.viewer.layers


def test_what_was_found_and_guessed_is_said(panel):
    values = np.fft.ifftshift(pattern())
    values[3, 4], values[5, 6] = np.nan, -1
    panel.source.layer.value = panel.session.viewer.add_image(values, name="odd")
    words = panel.source.found.text()
    for expected in ("72 × 72", "float32", "guessed: corner", "1 pixels NaN", "1 pixels negative"):
        assert expected in words


def test_bad_pixels_are_left_out_when_asked_and_refused_when_not(panel, use, idle, told):
    values = pattern().copy()
    values[3, 4], values[5, 6] = np.nan, -1
    panel.source.layer.value = panel.session.viewer.add_image(values, name="odd")
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
    panel.source.layer.value = viewer.add_image(pattern(), name="mine")
    stop = np.zeros((72, 72), np.uint8)
    stop[34:39, 34:39] = 3
    panel.mask.value = viewer.add_labels(stop, name="beamstop")
    np.testing.assert_array_equal(use().measured, stop == 0)


def test_a_file_with_frames_threshold_and_crop(panel, use, idle, tmp_path):
    stack = np.stack([np.zeros((80, 90)), np.random.default_rng(0).poisson(3, (80, 90))]).astype(np.uint16)
    stack[1, 30, 50] = 500
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, stack)
    panel.source.open(path)
    idle(lambda: "2 × 80 × 90" in panel.source.found.text())
    panel.source.frame.value = 1
    idle(lambda: panel.source.found.text().startswith("scan.tif: 80 × 90"))
    panel.prepare.threshold.value, panel.prepare.crop.value = "4", "64"
    measurement = use()
    assert measurement.grid == (64, 64)
    assert measurement.intensities[32, 32] == 500
    assert measurement.intensities[measurement.intensities > 0].min() >= 4
    assert measurement.source["file"] == "scan.tif"
    assert any("cropped" in step for step in measurement.history)


def test_a_mask_file_says_what_was_measured(panel, use, tmp_path):
    panel.source.layer.value = panel.session.viewer.add_image(pattern(), name="mine")
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
    loaded.measurement.source.layer.value = session.viewer.add_image(values, name="wrong")
    loaded.measurement.use_button.click()
    idle(lambda: any(says in message for message in told.messages()))
    assert session.measurement is measurement
    np.testing.assert_array_equal(session.support, support)


def test_the_file_asked_for_last_is_the_one_that_is_used(panel, idle, tmp_path, monkeypatch):
    honest = source_form.load_lazily_where_large

    def slow(path, **options):
        time.sleep(0.8 if "slow" in str(path) else 0)
        return honest(path, **options)

    monkeypatch.setattr(source_form, "load_lazily_where_large", slow)
    for name, size in (("slow", 40), ("quick", 50)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random((size, size)))
        panel.source.open(tmp_path / f"{name}.npy")
    idle(lambda: not panel.session.busy)
    assert panel.source.found.text().startswith("quick.npy: 50 × 50")


def test_a_frame_that_was_not_read_is_not_used(panel, idle, told, tmp_path):
    stack = np.random.default_rng(0).random((4, 40, 40)) + 1
    np.save(tmp_path / "scan.npy", stack)
    panel.source.frame.value = 1
    panel.source.open(tmp_path / "scan.npy")
    idle(lambda: panel.source.found.text().startswith("scan.npy: 40 × 40"))
    panel.source.frame.value = 9
    idle(lambda: not panel.session.busy)
    panel.use_button.click()
    assert any("not what was read" in message for message in told.messages())
    assert panel.session.measurement is None


def test_a_mask_file_of_another_size_is_refused_in_words(panel, idle, told, tmp_path):
    panel.source.layer.value = panel.session.viewer.add_image(pattern(), name="mine")
    np.save(tmp_path / "mask.npy", np.ones((30, 30), bool))
    panel.prepare.mask.value = str(tmp_path / "mask.npy")
    panel.use_button.click()
    idle(lambda: any("(30, 30)" in message and "(72, 72)" in message for message in told.messages()))


def test_files_that_are_none_are_told(panel, idle, told, tmp_path):
    path = tmp_path / "text.tif"
    path.write_text("no picture at all")
    panel.source.open(path)
    idle(lambda: any("text.tif" in message for message in told.messages()))
    panel.source.open(tmp_path / "missing.npy")
    idle(lambda: any("missing.npy" in message for message in told.messages()))


def test_an_array_is_chosen_in_the_tree_of_a_files_arrays(panel, use, idle, tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["big/data"] = rng.poisson(3, (64, 80, 70))
        file["small/deep/data"] = rng.poisson(3, (50, 40))
        file["small/name"] = "gold"
    panel.source.open(tmp_path / "scan.h5")
    idle(lambda: "64 × 80 × 70" in panel.source.found.text())
    panel.source.list_button.click()
    idle(lambda: panel.source.findChild(ArrayChoice) is not None)
    tree = panel.source.findChild(ArrayChoice)
    (item,) = tree.tree.findItems("50 × 40", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive, 1)
    assert item.parent().text(0) == "deep"
    (group,) = tree.tree.findItems("deep", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive, 0)
    tree.tree.setCurrentItem(group)
    assert tree.key is None
    tree.tree.setCurrentItem(item)
    tree.accept()
    idle(lambda: "50 × 40" in panel.source.found.text())
    assert panel.source.key.value == "small/deep/data"
    assert use().grid == (50, 40)


def test_a_region_is_read_and_told(panel, use, idle, told, tmp_path):
    data = np.random.default_rng(0).poisson(9, (4, 60, 70))
    np.save(tmp_path / "scan.npy", data)
    panel.source.open(tmp_path / "scan.npy")
    idle(lambda: "4 × 60 × 70" in panel.source.found.text())
    panel.source.region.value = "1, 10:50, 20:"
    panel.source.region.native.editingFinished.emit()
    idle(lambda: "40 × 50" in panel.source.found.text())
    measurement = use()
    np.testing.assert_array_equal(measurement.intensities, data[1, 10:50, 20:])
    assert measurement.source["region"] == "1, 10:50, 20:"
    panel.source.region.value = "1, 10:90"
    panel.source.region.native.editingFinished.emit()
    idle(lambda: any("scan.npy" in message and "60" in message for message in told.messages()))
    panel.source.region.value = "one"
    panel.source.region.native.editingFinished.emit()
    idle(lambda: any("one" in message for message in told.messages()))
    assert panel.session.measurement is measurement


def test_a_large_file_is_not_read_until_it_is_used(panel, use, idle, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_dipr.io.arrays.LARGE", 1000)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = np.random.default_rng(0).poisson(9, (40, 50))
    panel.source.open(tmp_path / "scan.h5")
    idle(lambda: "read when it is used" in panel.source.found.text())
    measurement = use()
    assert measurement.grid == (40, 50)
    assert len(measurement.source["sha256"]) == 64


def test_a_lazy_layer_is_not_computed_before_it_is_used(panel, use):
    reads = []

    def block(block_info=None):
        reads.append(threading.current_thread() is threading.main_thread())
        return np.random.default_rng(0).poisson(9, (1, 40, 50))

    lazy = da.map_blocks(block, chunks=((1,) * 20, (40,), (50,)), dtype=np.int64)
    layer = panel.session.viewer.add_image(lazy, name="lazy", contrast_limits=(0, 20))
    before = len(reads)
    panel.source.layer.value = layer
    assert len(reads) == before
    panel.source.frame.value = 7
    measurement = use()
    assert measurement.grid == (40, 50)
    assert not any(reads[before:])  # in a worker


def test_a_layer_that_was_changed_is_not_taken_for_its_file(panel, use, idle, tmp_path):
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["entry_1/data_1/data"] = np.random.default_rng(0).poisson(9, (40, 50))
    viewer = panel.session.viewer
    (layer,) = viewer.open(tmp_path / "a.cxi", plugin="napari-dipr")
    panel.source.layer.value = layer
    assert len(use().source["sha256"]) == 64
    layer.data = layer.data * 2
    changed = use()
    assert changed.intensities.max() == layer.data.max()
    assert "sha256" not in changed.source
