import numpy as np
import pytest

from napari_dipr.benchmarks.bragg import AT_34_ID_C
from napari_dipr.geometry import Geometry
from napari_dipr.io.record import read_record
from napari_dipr.lattice import lattice
from napari_dipr.samples import sample
from napari_dipr.simulation import bragg_scan, ellipsoid
from napari_dipr.solvers.position import Record
from napari_dipr.ui.worker import Snapshot

GEOMETRY = Geometry.parse(AT_34_ID_C)
GRID = (24, 24, 24)


@pytest.fixture
def crystal(workflow, idle):
    """A session that shows the exact object of a simulated strained crystal."""
    basis, q = GEOMETRY.basis(GRID), GEOMETRY.bragg()
    radius = 0.2 * float(np.linalg.norm(basis @ np.asarray(GRID) / 3))
    measurement, truth = bragg_scan(
        GEOMETRY,
        GRID,
        ellipsoid((radius, 0.8 * radius, 0.7 * radius)),
        lambda r: 0.02 * (r[..., :1] / radius) ** 2 * q / np.linalg.norm(q),
    )
    session = workflow.session
    session.use(measurement, truth)
    support = truth != 0
    session.show_support(support, "the truth")
    phase = np.where(support, np.angle(truth), np.nan).astype(np.float32)
    pictures = (np.roll(picture, 3, 0) for picture in (truth, np.abs(truth), phase, support))
    row = Record(iteration=1, chi2=0.0, r_factor=0.0, support_pixels=float(support.sum()))
    snapshot = Snapshot(*pictures, iteration=1, total=1, stage="", seconds=0.0, history=(row,), taken=0)
    session.refinement.take_up(snapshot, {"recipe": None})
    session.pictures.show_snapshot(snapshot)
    idle(lambda: not session.busy)  # its sections are drawn
    return workflow, truth


def test_layers_are_in_nanometres_where_the_geometry_is_known(crystal):
    workflow, _ = crystal
    canvas = workflow.session.canvas
    for role in ("measurement", "amplitude", "phase", "support"):
        layer = canvas.find(role)
        np.testing.assert_allclose(layer.scale, GEOMETRY.voxel_size(GRID))
        assert {str(unit) for unit in layer.units} == {"nanometer"}


def test_the_crystal_is_worked_out_and_shown_on_cubes(crystal, idle):
    workflow, truth = crystal
    session, form = workflow.session, workflow.runs.crystal
    assert form.work_out_button.isEnabled()
    assert not form.surface_button.isEnabled()
    form.work_out_button.click()
    idle(lambda: session.crystal.lattice is not None)
    found, expected = session.crystal.lattice, lattice(truth, truth != 0, GEOMETRY)
    # Of the object that lies three frames off, as of the one in the middle.
    assert found.figures["size_zyx"] == pytest.approx(expected.figures["size_zyx"], abs=found.voxel)
    assert found.figures["displacement_rms"] == pytest.approx(expected.figures["displacement_rms"], rel=0.05)
    for role, values in (("displacement", found.displacement), ("strain", found.strain)):
        layer = session.canvas.find(role)
        np.testing.assert_allclose(layer.data, values, rtol=1e-6)
        np.testing.assert_allclose(layer.scale, found.voxel)
    words = form.words.text()
    for expected_words in ("nm (z, y, x in the laboratory frame)", "Its twin", "34-ID-C", "is assumed"):
        assert expected_words in words
    form.frame.value = "sample"
    form.work_out_button.click()
    idle(lambda: session.crystal.lattice.frame == "sample")


def test_the_surface_stands_in_for_the_pictures_until_it_is_left(crystal, idle):
    workflow, _ = crystal
    session, form = workflow.session, workflow.runs.crystal
    form.work_out_button.click()
    idle(lambda: session.crystal.lattice is not None and not session.busy)
    form.colour.value = "strain"
    form.surface_button.click()
    idle(lambda: session.crystal.is_surface_shown)
    surface = session.canvas.find("surface")
    assert session.viewer.dims.ndisplay == 3
    assert [layer for layer in session.canvas.layers if layer.visible] == [surface]
    vertices, _, values = surface.data
    assert np.isfinite(values).all()
    # In nanometres, as wide as the crystal.
    size = np.ptp(vertices, axis=0) * session.crystal.lattice.voxel
    np.testing.assert_allclose(size, session.crystal.lattice.figures["size_zyx"], rtol=0.35)
    form.surface_button.click()
    assert session.viewer.dims.ndisplay == 2
    assert not surface.visible
    assert session.canvas.find("amplitude").visible


def test_a_phase_is_unwrapped(crystal, idle):
    workflow, _ = crystal
    workflow.runs.crystal.unwrap_button.click()
    idle(lambda: workflow.session.canvas.find("unwrapped") is not None)
    shown = workflow.session.canvas.find("unwrapped").data
    snapshot = workflow.session.refinement.snapshot
    inside = np.isfinite(shown)
    np.testing.assert_array_equal(inside, snapshot.support)
    ratio = np.exp(1j * (shown - np.angle(snapshot.object)))[inside]
    np.testing.assert_allclose(ratio, ratio[0], atol=1e-4)


def test_the_crystal_is_written_beside(crystal, idle, tmp_path):
    workflow, _ = crystal
    panel = workflow.export
    panel.folder.value, panel.name.value = tmp_path, "scan"
    panel.formats[".npz"].value, panel.formats[".tif"].value = True, False
    panel.export_button.click()
    idle(lambda: (tmp_path / "scan_crystal.npz").exists() and not workflow.session.busy)
    record = read_record(tmp_path / "scan_crystal.npz")
    assert set(record.fields) == {"displacement nm", "strain"}
    assert len(set(record.voxel_size_nm)) == 1
    assert record.provenance["crystal"]["d_spacing"] == pytest.approx(0.2335, abs=1e-3)
    assert "scan_crystal.npz" in panel.state.text()
    panel.name.changed.emit("scan")
    assert panel.export_button.text() == "Replace"


def test_without_a_scans_geometry_there_are_no_nanometres(loaded):
    form = loaded.runs.crystal
    assert not form.work_out_button.isEnabled()
    assert "rocking scan's geometry" in form.words.text()


def test_what_the_surface_hid_comes_back_with_its_measurement(crystal, idle):
    workflow, _ = crystal
    session, form = workflow.session, workflow.runs.crystal
    name = session.measurement.name
    form.work_out_button.click()
    idle(lambda: session.crystal.lattice is not None and not session.busy)
    form.surface_button.click()
    idle(lambda: session.crystal.is_surface_shown)
    session.use(*sample("fashion-0"))
    assert session.viewer.dims.ndisplay == 2
    session.take_up(name)
    assert session.canvas.is_seen("amplitude")
    assert not session.crystal.is_surface_shown


def test_the_crystal_of_another_object_is_not_left_standing(crystal, idle):
    workflow, _ = crystal
    session, form = workflow.session, workflow.runs.crystal
    session.history.keep("over")
    form.work_out_button.click()
    idle(lambda: session.crystal.lattice is not None and not session.busy)
    form.surface_button.click()
    idle(lambda: session.crystal.is_surface_shown)
    session.history.settle("twin")
    assert not session.crystal.is_surface_shown
    assert session.canvas.is_seen("amplitude")
    for role in ("crystal", "displacement", "strain", "surface"):
        assert session.canvas.find(role) is None
    idle(lambda: form.work_out_button.isEnabled())
