import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.ensembles.consensus import consensus, find_modes, whole_pattern
from napari_dipr.measurement import Measurement
from napari_dipr.solvers.problem import Problem


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def test_identical_objects_agree_in_everything(simulated):
    problem, truth, support = simulated()
    found = consensus(problem, truth.expand(5, -1, -1), support.expand(5, -1, -1))
    torch.testing.assert_close(found.mean, truth)
    torch.testing.assert_close(found.amplitude, truth.abs())
    assert float(found.variance.max()) < 1e-10
    assert found.spread < 1e-10
    np.testing.assert_allclose(found.prtf.value, 1, atol=1e-4)
    np.testing.assert_allclose(found.fsc.value, 1, atol=1e-6)
    np.testing.assert_allclose(found.modes.shares, [1, 0, 0, 0, 0], atol=1e-6)
    assert found.prtf.resolution is None
    assert found.fsc.half_bit_resolution is None


def test_the_spread_of_objects_with_noise_is_the_error_of_each(simulated):
    problem, truth, support = simulated()
    sigma = 0.1 * float(truth.abs().square().mean().sqrt())
    objects = torch.stack([truth + sigma * noise(*truth.shape, seed=k) for k in range(40)])
    found = consensus(problem, objects, support.expand(40, -1, -1))
    error = float((objects - truth).abs().square().sum((1, 2)).mean() / truth.abs().square().sum())
    assert found.spread == pytest.approx(error, rel=0.05)
    # Relative to the typical amplitude, it is the same everywhere.
    flat = found.variance.double()
    assert float(flat.std() / flat.mean()) == pytest.approx(1 / math.sqrt(39), rel=0.2)
    assert found.modes.shares[0] == pytest.approx(1 / (1 + error), abs=0.01)


def test_phases_that_differ_lower_the_mean_and_not_the_amplitude(simulated):
    problem, truth, support = simulated()
    found = consensus(problem, torch.stack([truth, truth * 1j]), support.expand(2, -1, -1))
    torch.testing.assert_close(found.mean.abs(), truth.abs() / math.sqrt(2))
    torch.testing.assert_close(found.amplitude, truth.abs())
    np.testing.assert_allclose(found.prtf.value, 1 / math.sqrt(2), atol=1e-4)


def test_starts_that_are_not_independent_have_no_transfer_function(simulated):
    problem, truth, support = simulated()
    found = consensus(problem, truth.expand(2, -1, -1), support.expand(2, -1, -1), independent=False)
    assert found.prtf is None


@given(st.integers(2, 6), st.integers(0, 100))
def test_modes_make_up_the_objects_and_are_orthogonal(n, seed):
    objects = noise(n, 6, 5, seed=seed)
    found = find_modes(objects, most=n)
    assert found.shares.sum() == pytest.approx(1)
    assert (np.diff(found.shares) <= 1e-12).all()
    flat = found.objects.flatten(1)
    products = (flat.conj() @ flat.T).numpy()
    np.testing.assert_allclose(products, np.diag(found.shares * float(objects.norm() ** 2) / n), atol=1e-9)
    mixed = math.sqrt(n) * np.tensordot(found.weights, found.objects.numpy(), 1)
    np.testing.assert_allclose(mixed, objects.numpy(), atol=1e-9)


def test_one_object_at_several_strengths_is_one_mode():
    x = noise(8, 8)
    found = find_modes(torch.stack([x, 2 * x, 1j * x, -0.5 * x]))
    np.testing.assert_allclose(found.shares, [1, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("grid", [(18, 20), (17, 19), (16, 18, 17)])
def test_a_pattern_comes_back_from_its_half(grid):
    rng = np.random.default_rng(0)
    intensities = np.abs(np.fft.fftn(rng.normal(size=grid))) ** 2
    measured = rng.random(grid) > 0.2
    measurement = Measurement.of(intensities, zero_frequency="corner", measured=measured)
    amplitudes, mask = whole_pattern(Problem.of(measurement, real=True))
    reverse = np.roll(np.flip(measured), (1,) * len(grid), tuple(range(len(grid))))
    np.testing.assert_array_equal(mask.numpy(), measured | reverse)
    np.testing.assert_allclose(amplitudes.numpy(), np.where(mask, np.sqrt(intensities), 0), rtol=1e-4)
