import numpy as np
import pytest

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.lattice import lattice
from napari_dipr.simulation import bragg_scan, ellipsoid

GEOMETRY = Geometry.parse(
    "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=7, chi=90, phi=-5, "
    "rock=theta, step=0.008"
)
Q = GEOMETRY.bragg()
ALONG = Q / np.linalg.norm(Q)
BEND = 4e-7


def egg():
    """Make a crystal that is expanded on the side that Q points to, and compressed on the other."""

    def bent(r):
        return BEND * (r @ ALONG)[..., None] ** 2 * ALONG

    return bragg_scan(GEOMETRY, (32, 32, 32), ellipsoid([230, 200, 250]), bent)[1]


@pytest.mark.parametrize("frame", ["laboratory", "sample"])
def test_the_side_along_q_is_the_expanded_one_in_either_frame(frame):
    truth = egg()
    found = lattice(truth, truth != 0, GEOMETRY, frame=frame)
    assert np.linalg.norm(found.bragg) == pytest.approx(np.linalg.norm(Q))
    np.testing.assert_allclose(found.bragg, Q if frame == "laboratory" else GEOMETRY.to_sample() @ Q)
    known = np.isfinite(found.strain)
    z, y, x = (np.argwhere(known) - np.array(found.strain.shape) // 2).T * found.voxel
    r_along = np.stack([x, y, z], axis=1) @ found.bragg / np.linalg.norm(found.bragg)
    found, core = found.strain[known], np.hypot(np.hypot(x, y), z) < 120
    assert core.sum() > 100
    np.testing.assert_allclose(found[core], 2 * BEND * r_along[core], atol=1e-6)
    # At the edge a voxel's breadth flattens it.
    assert np.std(found - 2 * BEND * r_along) < 0.1 * np.std(found)


def test_a_geometry_without_a_scan_is_refused():
    flat = GEOMETRY.model_copy(update={"scan": None})
    with pytest.raises(MeasurementError, match="nothing is known"):
        lattice(np.ones((16, 16, 16), complex), np.ones((16, 16, 16), bool), flat)
