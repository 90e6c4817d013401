from dataclasses import replace

import numpy as np
import pytest

from napari_dipr.experiment import simulate
from napari_dipr.io.record import is_result, read_record
from napari_dipr.samples import sample
from napari_dipr.ui.app import _load
from napari_dipr.ui.refine_panel import WRITTEN
from napari_dipr.ui.session import session_of

ENDINGS = (".cxi", ".npz", ".tif", ".ome.tif")


@pytest.fixture
def measured(tmp_path):
    """A file of counts, with a crystal's pattern."""
    rng = np.random.default_rng(0)
    counts = simulate(rng.random((24, 20)), oversampling=2.5, photons=1e7)[0].intensities
    np.save(tmp_path / "counts.npy", counts)
    return tmp_path / "counts.npy"


@pytest.fixture
def written(workflow, idle, finished, measured):
    """A session that was prepared, painted, run and exported; its object and support."""
    panel, session = workflow.measurement, workflow.session
    panel.source.open(measured)
    idle(lambda: panel.source.is_chosen)
    panel.prepare.crop.value, panel.prepare.threshold.value = "48", "2"
    panel.prepare.geometry.value = "energy=9, distance=0.5, pixel=55"
    panel.use_button.click()
    idle(lambda: session.measurement is not None)
    support = np.zeros(session.measurement.grid, bool)
    support[14:34, 16:32] = True
    session.show_support(support, "painted")
    workflow.refine.algorithm.value, workflow.refine.text.value = WRITTEN, "hio*30 + er*10; no shrinkwrap"
    workflow.refine.seed.value = 5
    workflow.refine.bar.start.click()
    idle(lambda: bool(session.history.results))
    finished(session)
    paths = [measured.with_name(f"result{ending}") for ending in ENDINGS]
    session.history.results[0].write(paths)
    return workflow, dict(zip(ENDINGS, paths, strict=True))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_results_file_brings_its_session_back(written, make_napari_viewer, idle, ending):
    workflow, paths = written
    before = workflow.session
    assert is_result(paths[ending])
    from napari_dipr.ui.workflow import Workflow

    viewer = make_napari_viewer()
    again = Workflow(viewer)
    session = session_of(viewer)
    again.measurement.source.open(paths[ending])
    idle(lambda: bool(session.history.results))
    old, new = before.history.results[0], session.history.results[0]
    np.testing.assert_array_equal(session.measurement.intensities, before.measurement.intensities)
    np.testing.assert_array_equal(session.measurement.measured, before.measurement.measured)
    assert session.measurement.history == before.measurement.history
    assert session.measurement.voxel_size == before.measurement.voxel_size
    np.testing.assert_array_equal(session.support, old.snapshot.support)
    np.testing.assert_allclose(np.abs(new.snapshot.object), np.abs(old.snapshot.object), rtol=1e-5, atol=1e-6)
    assert [row.chi2 for row in new.snapshot.history] == pytest.approx([row.chi2 for row in old.snapshot.history])
    assert new.recipe == old.recipe
    assert again.refine.text.value == "hio*30 + er*10; no shrinkwrap"
    assert again.refine.seed.value == 5
    assert again.measurement.prepare.preparation == workflow.measurement.prepare.preparation
    assert {"amplitude", "phase", "support", "measurement"} <= {
        layer.metadata["napari-dipr"][1] for layer in viewer.layers
    }
    # It can be gone on from, and written again.
    again.refine.go_on()
    idle(lambda: len(session.history.results) == 2)
    new.write([paths[".npz"].with_name("again.npz")])
    told = read_record(paths[".npz"].with_name("again.npz")).provenance
    assert told["restored_from"] == paths[ending].name
    assert told["recipe"]["text"].startswith("hio")


def test_a_result_comes_back_from_naparis_file_menu_too(written, make_napari_viewer, idle):
    _, paths = written
    viewer = make_napari_viewer()
    session = session_of(viewer)
    viewer.open(paths[".cxi"], plugin="napari-dipr")
    idle(lambda: bool(session.history.results))
    assert session.measurement.grid == (48, 48)


def test_a_tiff_whose_source_is_gone_or_another_is_told_and_nothing_is_lost(written, idle, told, measured):
    workflow, paths = written
    session = workflow.session
    measurement, results = session.measurement, list(session.history.results)
    np.save(measured, np.ones((60, 50)))
    workflow.measurement.source.open(paths[".tif"])
    idle(lambda: any("has changed since" in message for message in told.messages()))
    measured.unlink()
    workflow.measurement.source.open(paths[".ome.tif"])
    idle(lambda: any("is not there" in message for message in told.messages()))
    assert session.measurement is measurement
    assert session.history.results == results


def test_what_is_no_result_is_opened_as_data(measured, written):
    _, paths = written
    assert not is_result(measured)
    assert not is_result(paths[".tif"].with_name("result_support.tif"))
    broken = paths[".cxi"].with_name("broken.cxi")
    broken.write_bytes(paths[".cxi"].read_bytes()[:900])
    assert not is_result(broken)
    (measurement,) = _load(str(measured))
    assert measurement.grid == (60, 50)


def test_a_tiff_does_not_hide_what_was_masked_by_hand(written, idle, told):
    workflow, paths = written
    session = workflow.session
    measured = np.ones(session.measurement.grid, bool)
    measured[3:6, 3:6] = False
    session.history.results[0] = replace(
        session.history.results[0], measurement=session.measurement.with_mask(measured)
    )
    session.history.results[0].write([paths[".tif"], paths[".npz"]])
    workflow.measurement.source.open(paths[".tif"])
    idle(lambda: any("masked by hand" in message for message in told.messages()))
    workflow.measurement.source.open(paths[".npz"])
    idle(lambda: len(session.history.results) == 2)
    assert (~session.measurement.measured).sum() == 9


def test_a_result_of_a_layer_says_that_it_came_from_no_file(loaded, finished, idle, told, tmp_path):
    session, panel = loaded.session, loaded.measurement
    panel.source.layer.value = session.viewer.add_image(sample("fashion-3")[0].intensities, name="mine")
    panel.use_button.click()
    idle(lambda: session.measurement.name == "mine")
    loaded.support.autocorrelation_button.click()
    idle(lambda: session.support_layer is not None)
    loaded.refine.iterations.value = 10
    loaded.refine.bar.start.click()
    idle(lambda: bool(session.history.results))
    session.history.results[0].write([tmp_path / "r.tif"])
    panel.source.open(tmp_path / "r.tif")
    idle(lambda: any("from which file it came" in message for message in told.messages()))
