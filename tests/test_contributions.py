import hashlib

import h5py
import numpy as np
import pytest

napari = pytest.importorskip("napari")

from napari.utils.notifications import notification_manager  # noqa: E402
from npe2 import PluginManifest  # noqa: E402

from napari_dipr import contributions  # noqa: E402
from napari_dipr.errors import FileError  # noqa: E402
from napari_dipr.io.arrays import READERS  # noqa: E402
from napari_dipr.io.record import read_record  # noqa: E402
from napari_dipr.ui.canvas import TAG  # noqa: E402
from napari_dipr.ui.session import FILE_TAG, session_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("settings_of_its_own")


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def manifest():
    return PluginManifest.from_distribution("napari-dipr")


def test_every_command_of_the_manifest_can_be_imported():
    assert manifest().contributions.commands
    manifest().validate_imports()


def test_no_reader_stands_in_the_way_of_naparis_own():
    (ours,) = manifest().contributions.readers
    patterns = {pattern.removeprefix("*") for pattern in ours.filename_patterns}
    assert patterns == set(READERS) - {".tif", ".tiff", ".npy", ".npz", ".h5", ".hdf5"}


@pytest.mark.parametrize("title", [widget.display_name for widget in manifest().contributions.widgets])
def test_every_widget_opens_from_the_menu_and_shares_the_session(viewer, title):
    _, widget = viewer.window.add_plugin_dock_widget("napari-dipr", title)
    assert widget.session is session_of(viewer)


@pytest.mark.parametrize("key", [data.key for data in manifest().contributions.sample_data])
def test_a_sample_from_the_menu_becomes_the_measurement_with_its_truth(viewer, key):
    session = session_of(viewer)
    (layer,) = viewer.open_sample("napari-dipr", key)
    assert session.measurement.name == key
    assert session.canvas.find("measurement") is layer
    assert np.abs(session.truth).max() > 0
    np.testing.assert_allclose(
        np.abs(np.fft.fftshift(np.fft.fft2(session.truth))) ** 2, session.measurement.intensities, rtol=1e-3, atol=1e-3
    )


def test_the_same_sample_twice_is_shown_twice(viewer):
    session = session_of(viewer)
    for name in ("fashion-0", "fashion-0 (2)"):
        (layer,) = viewer.open_sample("napari-dipr", "fashion-0")
        assert session.measurement.name == name
        assert layer.visible
        assert layer.name.startswith(f"{name} · ")


def test_a_sample_opened_before_the_dock_is_taken_too(viewer):
    viewer.open_sample("napari-dipr", "fashion-1")
    assert session_of(viewer).measurement.name == "fashion-1"


def test_layers_are_written_with_their_support(viewer, tmp_path):
    viewer.open_sample("napari-dipr", "fashion-0")
    session = session_of(viewer)
    truth = session.truth
    session.pictures.show_object(np.abs(truth), np.angle(truth), np.abs(truth) > 0)
    session.show_support(np.abs(truth) > 0, "test")
    chosen = [session.canvas.find(role) for role in ("amplitude", "phase", "support")]
    viewer.layers.selection = set(chosen)
    for name, count in (("boot.tif", 2), ("boot.ome.tif", 1), ("boot.cxi", 1), ("boot.npz", 1)):
        written = viewer.layers.save(str(tmp_path / name), selected=True, plugin="napari-dipr")
        assert len(written) == count
        record = read_record(tmp_path / name)
        np.testing.assert_allclose(np.abs(record.object), np.abs(truth), rtol=1e-5)
        np.testing.assert_array_equal(record.support, np.abs(truth) > 0)
        assert record.provenance["measurement"]["name"] == "fashion-0"


def test_layers_that_make_no_object_are_refused(tmp_path):
    picture = (np.ones((20, 20)), {"metadata": {TAG: ("x", "measurement")}}, "image")
    with pytest.raises(FileError, match="amplitude and phase"):
        contributions.write_layers(str(tmp_path / "x.tif"), [picture, picture])


def test_amplitude_and_phase_of_different_objects_are_not_mixed(tmp_path):
    layers = [
        (np.ones((20, 20)), {"metadata": {TAG: (name, role)}}, "image")
        for name, role in (("a", "amplitude"), ("b", "phase"))
    ]
    with pytest.raises(FileError, match="different objects"):
        contributions.write_layers(str(tmp_path / "x.tif"), layers)
    assert not list(tmp_path.iterdir())


def test_every_menu_entry_is_in_a_menu_that_takes_it():
    from napari._app_model.constants._menus import is_menu_contributable

    menus = manifest().contributions.menus
    assert {item.command for items in menus.values() for item in items} >= {"napari-dipr.propose", "napari-dipr.twin"}
    assert all(is_menu_contributable(menu) for menu in menus)


def test_the_menus_commands_do_what_the_buttons_do(viewer, qtbot):
    session = session_of(viewer)
    contributions.propose_support(viewer)
    assert "Propose is not possible now: there is no measurement" in str(notification_manager.records[-1].message)
    viewer.open_sample("napari-dipr", "fashion-0")
    contributions.support_from_autocorrelation(viewer)
    qtbot.waitUntil(lambda: session.support is not None and not session.busy, timeout=60_000)
    contributions.propose_support(viewer)
    qtbot.waitUntil(lambda: session.proposal is not None and not session.busy, timeout=60_000)
    contributions.twin(viewer)
    assert "No run is shown" in str(notification_manager.records[-1].message)
    contributions.start_refinement(viewer)
    qtbot.waitUntil(lambda: len(session.history.results) == 1, timeout=60_000)
    contributions.twin(viewer)
    contributions.recentre(viewer)
    contributions.remove_ramp(viewer)
    words = session.history.shown.settings["settled_by_hand"]
    assert words[0] == "twin"
    assert words[1].startswith("shifted by")
    assert words[2].startswith("phase ramp of")


def test_a_cxi_file_that_is_dropped_comes_with_its_mask_and_geometry(make_napari_viewer, qtbot, tmp_path):
    path = tmp_path / "shot.cxi"
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"] = np.random.default_rng(0).poisson(9, (3, 24, 32))
        detector["mask"] = np.eye(24, 32, dtype=np.uint32)
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 2.0, 55e-6, 55e-6
        file["entry_1/instrument_1/beam_1/incident_wavelength"] = 1e-10
    viewer = make_napari_viewer()
    (layer,) = viewer.open(path, plugin=None)  # nothing else claims it
    _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    panel = workflow.measurement
    panel.source.layer.value = layer
    panel.source.frame.value = 1
    panel.use_button.click()
    qtbot.waitUntil(lambda: workflow.session.measurement is not None, timeout=20_000)
    measurement = workflow.session.measurement
    assert measurement.grid == (24, 32)
    assert int((~measurement.measured).sum()) == 24
    assert measurement.geometry.wavelength == pytest.approx(0.1)
    assert measurement.source["key"] == "entry_1/instrument_1/detector_1/data"
    assert measurement.source["frame"] == 1


def test_a_large_file_is_shown_without_being_read_and_known_by_its_digest_once_it_is_used(
    make_napari_viewer, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_dipr.io.arrays.LARGE", 1000)
    counts, path = np.random.default_rng(0).poisson(9, (20, 24, 32)), tmp_path / "scan.cxi"
    counts[:, 8:16, 12:20] += 90  # zero frequency is where it is bright
    counts[6:14] *= 2
    counts[:, 12, 15] = 999 + np.arange(20)
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["mask"] = counts, np.eye(24, 32, dtype=np.uint32)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(path, plugin=None)
    read = layer.metadata[FILE_TAG]
    assert read.is_lazy
    assert layer.data is read.array
    assert "sha256" not in read.source
    viewer.dims.set_point(0, 7)
    np.testing.assert_array_equal(layer._slice.image.raw, counts[7])
    _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    panel, session = workflow.measurement, workflow.session
    panel.source.layer.value = layer
    assert "read when it is used" in panel.source.found.text()
    for frame, expected in ((3, counts[3]), (-1, counts)):
        panel.source.frame.value = frame
        panel.use_button.click()
        qtbot.waitUntil(
            lambda grid=expected.shape: session.measurement is not None and session.measurement.grid == grid,
            timeout=20_000,
        )
        measured = ~np.eye(24, 32, dtype=bool) & np.ones(expected.shape, bool)
        np.testing.assert_array_equal(session.measurement.measured, measured)
        np.testing.assert_array_equal(session.measurement.intensities, np.where(measured, expected, 0))
        assert session.measurement.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        qtbot.waitUntil(lambda: not session.busy, timeout=20_000)
