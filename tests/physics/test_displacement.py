import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.displacement import displacement, strain, unwrapped, without_ramp
from napari_dipr.physics.orthogonal import positions
from napari_dipr.physics.placement import phase_ramp, twinned

BASIS = np.array([[12.0, 0.5, 9.0], [5.0, -10.0, 0.5], [19.0, 0.0, -4.0]])
GRID = (15, 17, 16)
Q = np.array([23.7, 10.0, -7.9])
LENGTH = float(np.linalg.norm(Q))
R = positions(GRID, BASIS)
BALL = np.linalg.norm(R, axis=-1) < 75


def bent(scale=1e-5):
    """Return the closed form of a displacement along Q (nm) and of its strain, in a ball."""
    x, y, z = np.moveaxis(R, -1, 0)
    gradient = np.stack([2 * x - z, 0 * y, -x + 0 * z], axis=-1)
    return scale * (x**2 - x * z), scale * gradient @ Q / LENGTH


def crystal(u):
    return np.where(BALL, np.exp(-1j * LENGTH * u), 0).astype(np.complex64)


def test_displacement_and_strain_of_a_bent_crystal_come_back():
    u, along = bent(4e-5)
    phase = unwrapped(crystal(u), BALL)
    assert np.ptp(phase[BALL]) > 2 * np.pi  # there is something to unwrap
    found = displacement(phase, LENGTH)
    np.testing.assert_allclose(found[BALL], (u - u[BALL].mean())[BALL], atol=1e-6)
    assert np.isnan(found[~BALL]).all()
    # Central differences are exact on a quadratic.
    strained = strain(found, BASIS, Q)
    inside = np.isfinite(strained)
    np.testing.assert_allclose(strained[inside], along[inside], atol=1e-7)
    assert np.abs(along[inside]).max() > 1e-3


def test_the_strain_is_known_just_where_all_six_neighbours_are():
    neighbours = BALL.copy()
    for axis in range(3):
        for step in (-1, 1):
            neighbours &= np.roll(BALL, step, axis)
    found = np.isfinite(strain(np.where(BALL, 0.0, np.nan), BASIS, Q))
    np.testing.assert_array_equal(found, neighbours)
    # Along one axis, the others' neighbours are not asked.
    along_x = np.isfinite(strain(np.where(BALL, 0.0, np.nan), np.eye(3)[:, ::-1], np.array([5.0, 0, 0])))
    np.testing.assert_array_equal(along_x, BALL & np.roll(BALL, 1, 2) & np.roll(BALL, -1, 2))


def test_the_strain_stops_at_the_arrays_edge():
    assert np.isfinite(strain(np.zeros((5, 5, 5)), np.eye(3), np.ones(3))).sum() == 27


@given(st.floats(-2e-3, 2e-3))
def test_an_expanded_lattice_has_a_positive_strain(share):
    u = share * R @ Q / LENGTH
    found = strain(np.where(BALL, u, np.nan), BASIS, Q)
    np.testing.assert_allclose(found[np.isfinite(found)], share, atol=1e-12)


def test_the_twin_turns_the_displacement_and_keeps_the_strains_sign():
    odd = np.s_[:15, :15, :15]
    u, ball = bent()[0][odd], BALL[odd].copy()
    ball[:, :, :5] = False
    x = np.where(ball, np.exp(-1j * LENGTH * u), 0).astype(np.complex64)
    one, two = (displacement(unwrapped(y, y != 0), LENGTH) for y in (x, twinned(x)))
    np.testing.assert_allclose(np.flip(two), -one, atol=1e-6)
    np.testing.assert_allclose(np.flip(strain(two, BASIS, Q)), strain(one, BASIS, Q), atol=1e-7)


def test_without_its_ramp_a_crystal_has_the_same_bend():
    u, _ = bent()
    flat, steep = (without_ramp(crystal(u + ramp)) for ramp in (0, 1e-3 * R @ Q / LENGTH))
    assert phase_ramp(steep) == pytest.approx((0, 0, 0), abs=1e-5)
    np.testing.assert_allclose(unwrapped(steep, BALL)[BALL], unwrapped(flat, BALL)[BALL], atol=1e-4)


def test_a_flat_pattern_is_unwrapped_too_and_the_same_each_time():
    y, x = np.mgrid[:40, :30] - 15
    phase = 0.03 * (x**2 + y**2)
    support = np.hypot(y, x) < 13
    found = unwrapped(np.exp(1j * phase), support)
    np.testing.assert_allclose(found[support], (phase - phase[support].mean())[support], atol=1e-9)
    np.testing.assert_array_equal(found, unwrapped(np.exp(1j * phase), support))
    with pytest.raises(MeasurementError, match="support is empty"):
        unwrapped(np.ones((5, 5), complex), np.zeros((5, 5), bool))
