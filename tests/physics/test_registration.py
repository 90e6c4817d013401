import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.physics.fourier import backward, forward
from napari_dipr.physics.registration import register
from napari_dipr.physics.symmetry import twin


def compact(grid, seed=0):
    """Make an object of a third of the grid, rough and complex, that is not its own twin."""
    rng = np.random.default_rng(seed)
    x = np.zeros(grid, np.complex128)
    box = tuple(slice(n // 3, n // 3 + n // 3) for n in grid)
    x[box] = rng.uniform(0.2, 1, x[box].shape) * np.exp(1j * rng.uniform(0, 2, x[box].shape))
    return torch.from_numpy(x)


def moved(x, shift, phase=0.0, ramp=None, is_twin=False):
    """Put on what registration takes off, written with whole meshes."""
    x = twin(x[None])[0] if is_twin else x
    q = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in x.shape), indexing="ij")
    x = backward(forward(x[None]) * torch.exp(-2j * math.pi * sum(s * k for s, k in zip(shift, q, strict=True))))[0]
    r = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in x.shape), indexing="ij")
    slope = sum(s * k for s, k in zip(ramp or (0.0,) * x.ndim, r, strict=True))
    return x * torch.exp(1j * (phase + slope))


def error(x, y):
    return float((x - y).norm() / y.norm())


shifts = st.tuples(*[st.floats(-9, 9)] * 2)
angles = st.floats(-math.pi, math.pi)


@given(shifts, angles, st.booleans(), st.integers(0, 5))
def test_shift_twin_and_phase_are_undone_to_a_small_part_of_a_pixel(shift, phase, is_twin, seed):
    x = compact((25, 24), seed)
    y = moved(x, shift, phase, is_twin=is_twin)
    found = register(y, x)
    assert found.twin == is_twin
    assert found.correlation == pytest.approx(1, abs=1e-6)
    assert error(found.remove(y), x) < 1e-3
    off = [(a - b + n / 2) % n - n / 2 for a, b, n in zip(found.shift, shift, x.shape, strict=True)]
    assert max(map(abs, off)) < 1e-3


@settings(max_examples=20)
@given(shifts, angles, st.tuples(*[st.floats(-0.4, 0.4)] * 2), st.booleans(), st.integers(0, 5))
def test_so_is_a_ramp_where_one_may_be(shift, phase, ramp, is_twin, seed):
    x = compact((32, 30), seed)
    y = moved(x, [s / 3 for s in shift], phase, ramp, is_twin)
    found = register(y, x, ramp=True)
    assert found.twin == is_twin
    np.testing.assert_allclose(found.ramp, ramp, atol=2e-3)
    assert error(found.remove(y), x) < 0.01


def test_a_ramp_that_is_not_asked_for_is_left():
    x = compact((24, 24))
    y = moved(x, (0, 0), 0, (0.3, -0.2))
    assert register(y, x).ramp == (0, 0)
    assert register(y, x).correlation < 0.95


@pytest.mark.parametrize("is_twin", [False, True])
def test_volumes_are_laid_over_each_other_too(is_twin):
    x = compact((12, 14, 10))
    y = moved(x, (1.3, -2.75, 0.5), 1.1, is_twin=is_twin)
    assert error(register(y, x).remove(y.to(torch.complex128)), x) < 1e-3


def test_a_shift_by_whole_pixels_is_undone_exactly():
    x = compact((24, 20))
    y = torch.roll(x, (3, -5), (0, 1))
    found = register(y, x)
    assert found.shift == (3, -5)
    assert torch.equal(found.remove(y) != 0, x != 0)
    assert torch.equal(found.remove_from_support(y != 0), x != 0)


@pytest.mark.parametrize("is_twin", [False, True])
def test_a_support_goes_with_its_object(is_twin):
    x = compact((24, 21))
    x[8, 7] = 0
    y = torch.roll(twin(x[None])[0] if is_twin else x, (2, 4), (0, 1))
    assert torch.equal(register(y, x).remove_from_support(y != 0), x != 0)


def test_an_object_that_is_its_own_twin_has_no_handedness():
    x = compact((24, 24)).abs().to(torch.complex128)
    x = x + twin(x[None])[0]
    found = register(x * cmath.exp(0.4j), x)
    assert not found.twin
    assert found.phase == pytest.approx(0.4)


def test_nothing_has_nothing_in_common():
    x = compact((16, 16))
    assert register(torch.zeros_like(x), x).correlation == 0
    with pytest.raises(ValueError, match="different shapes"):
        register(x, x[:8])
