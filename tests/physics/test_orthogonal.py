import numpy as np
import pytest

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.orthogonal import Cubes, finest, positions

# Skewed, left-handed, of edges as different as those of a rocking scan: nm.
BASIS = np.array([[12.0, 0.5, 9.0], [5.0, -10.0, 0.5], [19.0, 0.0, -4.0]])
GRID = (30, 40, 41)
WIDTHS = np.array([35.0, 28.0, 40.0])
SLOPE = np.array([0.11, -0.08, 0.05])


def gaussian(r):
    """Return a blob off the middle with a ramp and a bend of its phase, of points in nm."""
    s = (r - [8, -5, 6]) / WIDTHS
    return np.exp(-(s**2).sum(-1) / 2 + 1j * (r @ SLOPE + 0.4 * s[..., 0] * s[..., 2]))


def test_a_gaussian_on_a_ramp_becomes_itself_on_cubes():
    x = gaussian(positions(GRID, BASIS))
    cubes = Cubes.holding(np.abs(x) > 0.02, BASIS)
    found = cubes.object(x)
    expected = gaussian(positions(found.shape, cubes.basis))
    assert cubes.voxel == finest(BASIS)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    # Without taking the ramp off, 0.14 rad/nm of it, the amplitude between the skewed voxels would be lost.
    assert np.abs(found).max() == pytest.approx(np.abs(expected).max(), rel=0.02)


@pytest.mark.parametrize("voxel", [None, 6.0, 12.0])
def test_the_energy_per_volume_is_kept(voxel):
    x = gaussian(positions(GRID, BASIS))
    cubes = Cubes.holding(np.abs(x) > 0.01, BASIS, voxel)
    before = np.square(np.abs(x)).sum() * abs(np.linalg.det(BASIS))
    after = np.square(np.abs(cubes.object(x))).sum() * cubes.voxel**3
    assert after == pytest.approx(before, rel=0.01)
    assert before == pytest.approx(np.pi**1.5 * WIDTHS.prod(), rel=0.01)


def test_z_y_and_x_are_the_axes_of_the_frame():
    r = positions(GRID, BASIS)
    cubes = Cubes.holding(np.linalg.norm(r, axis=-1) < 60, BASIS, 10.0)
    axes = positions(cubes.shape, cubes.basis)
    for axis in range(3):
        found = cubes.field(r[..., axis])
        inside = np.isfinite(found)
        np.testing.assert_allclose(found[inside], axes[inside][:, axis], atol=1e-9)
    z, y, x = (n // 2 for n in cubes.shape)
    np.testing.assert_allclose(axes[z + 1, y + 2, x + 3], [30, 20, 10])


def test_a_field_keeps_its_support_and_its_values_to_the_edge():
    r = positions(GRID, BASIS)
    inside = np.linalg.norm(r, axis=-1) < 70
    cubes = Cubes.holding(inside, BASIS)
    found = cubes.field(np.where(inside, 7.0, np.nan))
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], 7)
    assert known.sum() * cubes.voxel**3 == pytest.approx(inside.sum() * abs(np.linalg.det(BASIS)), rel=0.05)


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(MeasurementError, match="support is empty"):
        Cubes.holding(np.zeros(GRID, bool), BASIS)
    with pytest.raises(MeasurementError, match=r"voxels of 0.01 nm there would be .* Take larger ones"):
        Cubes.holding(np.ones(GRID, bool), BASIS, 0.01)
