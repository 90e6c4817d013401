import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.placement import offset_from_centre, phase_ramp, twinned, with_ramp
from napari_dipr.physics.symmetry import twin

GRIDS = st.lists(st.integers(4, 9), min_size=2, max_size=3).map(tuple)


def blob(grid, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=grid) + 1j * rng.normal(size=grid)).astype(np.complex64)


@given(GRIDS, st.integers(0, 99))
def test_the_twin_about_the_centre_is_the_twin_about_the_corner_shifted(grid, seed):
    x = blob(grid, seed)
    about_the_corner = twin(torch.from_numpy(x)[None])[0].numpy()
    centred = np.roll(about_the_corner, [2 * (n // 2) for n in grid], tuple(range(len(grid))))
    np.testing.assert_array_equal(twinned(x), centred)
    np.testing.assert_array_equal(twinned(twinned(x)), x)
    centre = tuple(n // 2 for n in grid)
    assert twinned(x)[centre] == np.conj(x[centre])
    assert twinned(x.real > 0).dtype == bool
    np.testing.assert_array_equal(twinned(x.real > 0), twinned(x).real > 0)


@given(GRIDS, st.integers(0, 99))
def test_the_twin_has_the_same_intensities(grid, seed):
    x = blob(grid, seed)
    np.testing.assert_allclose(np.abs(np.fft.fftn(twinned(x))), np.abs(np.fft.fftn(x)), rtol=1e-4, atol=1e-3)


@given(st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
def test_the_offset_of_a_support_is_how_far_it_was_shifted_over_the_edge_too(shift):
    support = np.zeros((40, 41), bool)
    support[17:24, 15:26] = True
    moved = np.roll(support, shift, (0, 1))
    found = offset_from_centre(moved)
    assert all((f - s) % n == 0 for f, s, n in zip(found, shift, support.shape, strict=True))
    back = np.roll(moved, [-f for f in found], (0, 1))
    np.testing.assert_array_equal(back, support)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_a_ramp_is_found_exactly_and_taken_off(slopes):
    x = np.zeros((24, 24), np.complex64)
    x[6:15, 8:17] = 1 + np.random.default_rng(0).random((9, 9))
    assert phase_ramp(with_ramp(x, tuple(slopes))) == pytest.approx(slopes, abs=1e-4)
    ramped = with_ramp(x, tuple(slopes))
    np.testing.assert_allclose(with_ramp(ramped, tuple(-s for s in slopes)), x, atol=1e-4)


def test_nothing_has_no_ramp_and_lies_in_the_centre():
    assert phase_ramp(np.zeros((8, 8), np.complex64)) == (0, 0)
    assert offset_from_centre(np.zeros((8, 8), bool)) == (0, 0)
