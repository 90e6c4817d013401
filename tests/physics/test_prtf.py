import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.ensembles.alignment import align
from napari_dipr.physics.fourier import forward
from napari_dipr.physics.prtf import TransferFunction, transfer_function
from napari_dipr.physics.shells import reached
from napari_dipr.physics.symmetry import twin

GRIDS = ((24, 20), (12, 14, 10))


def compact(grid, seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros(grid, np.complex128)
    box = tuple(slice(n // 4, n // 4 + n // 3) for n in grid)
    x[box] = rng.uniform(0.5, 1, x[box].shape) * np.exp(1j * rng.uniform(0, 1, x[box].shape))
    return torch.from_numpy(x)


def spectrum(x):
    return forward(x[None])[0]


def shifted(x, shift):
    """Shift by fractions of a voxel."""
    ramp = sum(
        np.asarray(s) * f for s, f in zip(shift, np.meshgrid(*map(np.fft.fftfreq, x.shape), indexing="ij"), strict=True)
    )
    return torch.fft.ifftn(spectrum(x) * torch.from_numpy(np.exp(-2j * np.pi * ramp)))


def found(values, frequency=None):
    values = np.asarray(values, float)
    frequency = np.arange(len(values)) / 10 if frequency is None else np.asarray(frequency)
    return TransferFunction(frequency, values, np.ones(len(values), int), float(values.mean()), 9)


@pytest.mark.parametrize("grid", GRIDS)
def test_what_was_measured_comes_back_as_1_at_all_frequencies(grid):
    x = compact(grid)
    curve = transfer_function(x.expand(3, *grid), spectrum(x).abs())
    np.testing.assert_allclose(curve.value, 1, atol=1e-10)
    assert curve.mean == pytest.approx(1)
    assert curve.cutoff is None
    assert curve.resolution is None
    assert (np.diff(curve.frequency) > 0).all()
    assert curve.frequency[0] == 0
    assert curve.frequency[-1] <= 0.5


@pytest.mark.parametrize("grid", GRIDS)
def test_what_no_intensity_tells_is_removed_before(grid):
    x = compact(grid)
    moved = torch.roll(twin(x[None])[0], tuple(range(1, len(grid) + 1)), tuple(range(len(grid)))) * np.exp(2.1j)
    objects = torch.stack([x, x * np.exp(-1.3j), moved])
    amplitudes = spectrum(x).abs()
    assert transfer_function(objects, amplitudes).mean < 0.7
    laid, _ = align(objects)
    torch.testing.assert_close(laid, x.expand(3, *grid))
    np.testing.assert_allclose(transfer_function(laid, amplitudes).value, 1, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
def test_so_is_a_shift_by_fractions_of_a_pixel(shift):
    x = compact((25, 21))
    laid, _ = align(torch.stack([shifted(x, shift), x]), reference=1)
    assert float((laid[0] - x).norm() / x.norm()) < 1e-4


@pytest.mark.parametrize("n", [2, 5, 16])
def test_random_objects_agree_as_one_over_the_root_of_their_number(n):
    # |mean| of n phases has the mean √(π/4n) for many, 4/π·1/2 for two.
    generator = torch.Generator().manual_seed(n)
    phases = torch.rand((n, 64, 64), generator=generator, dtype=torch.float64) * 2 * math.pi
    amplitudes = 1 + torch.rand((64, 64), generator=generator, dtype=torch.float64)
    objects = torch.fft.ifftn(torch.polar(amplitudes.expand(n, -1, -1), phases), dim=(1, 2))
    expected = 2 / math.pi if n == 2 else math.sqrt(math.pi / 4 / n)
    assert transfer_function(objects, amplitudes).mean == pytest.approx(expected, rel=0.03)


def test_phases_that_differ_beyond_a_frequency_give_it_as_the_resolution():
    grid = (64, 64)
    rng = np.random.default_rng(1)
    fy, fx = np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")
    outside = np.hypot(fy, fx) > 0.25
    f = [np.exp(2j * np.pi * outside * rng.random(grid)) for _ in range(40)]
    objects = torch.from_numpy(np.fft.ifftn(np.stack(f), axes=(1, 2)))
    curve = transfer_function(objects, torch.ones(grid))
    assert curve.cutoff == pytest.approx(0.25, abs=1 / 64)
    assert curve.resolution == pytest.approx(1 / (2 * curve.cutoff))
    # Voxels of 4 nm: the same in nm.
    metric = transfer_function(objects, torch.ones(grid), basis=4 * np.eye(2))
    assert metric.resolution == pytest.approx(4 * curve.resolution)
    np.testing.assert_allclose(metric.value, curve.value)


def test_frequencies_are_those_of_the_skewed_voxel():
    # A plane wave along each axis of a skewed voxel has the length of the reciprocal vector.
    grid, basis = (16, 16, 16), np.array([[3.0, 1, 0], [0, 2, 0.5], [0, 0, 4]])
    measured = torch.zeros(grid, dtype=torch.bool)
    measured[0, 3, 0] = True
    curve = transfer_function(torch.ones((2, *grid)) + 0j, torch.ones(grid), measured, basis)
    expected = 3 / 16 * np.linalg.norm(np.linalg.inv(basis)[1])
    np.testing.assert_allclose(curve.frequency, expected)
    assert curve.pixels.tolist() == [1]


def test_unmeasured_pixels_and_zeros_do_not_count():
    x = compact((16, 16))
    amplitudes = spectrum(x).abs()
    measured = torch.ones((16, 16), dtype=torch.bool)
    amplitudes[3, 4], measured[3, 4] = math.nan, False
    amplitudes[2, 2] = 0
    curve = transfer_function(x[None], amplitudes, measured)
    np.testing.assert_allclose(curve.value, 1)
    assert np.isfinite(curve.mean)
    whole = transfer_function(x[None], spectrum(x).abs())
    assert curve.pixels.sum() == whole.pixels.sum() - 2


def test_the_crossing_is_between_shells():
    assert found([1, 0.8, 2 / math.e - 0.8, 0]).cutoff == pytest.approx(0.15)
    # The first crossing counts, whatever comes after.
    assert found([1, 0.8, 2 / math.e - 0.8, 1, 0]).cutoff == pytest.approx(0.15)
    assert found([1, 0.5]).cutoff is None
    assert found([0.1, 1]).cutoff == 0
    assert found([0.1, 1]).resolution == math.inf


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="shape"):
        transfer_function(torch.ones((2, 4, 4)), torch.ones((4, 5)))
    with pytest.raises(ValueError, match="No pixel counts"):
        transfer_function(torch.ones((2, 4, 4)), torch.zeros((4, 4)))


@pytest.mark.parametrize(("n", "share"), [(5, 0.0), (2, 0.7), (5, 0.7), (20, 0.7), (5, 1.0)])
def test_beyond_chance_is_what_starts_have_in_common_however_many_there_are(n, share):
    grid = (96, 96)
    generator = torch.Generator().manual_seed(n)
    # Each has the measured modulus, and in a share of the pixels the phase that all have.
    phases = torch.rand(n, *grid, generator=generator, dtype=torch.float64) * 2 * math.pi
    phases[torch.rand(n, *grid, generator=generator) < share] = 0
    objects = torch.fft.ifftn(torch.polar(torch.ones_like(phases), phases), dim=(1, 2))
    curve = transfer_function(objects, torch.ones(grid, dtype=torch.float64))
    assert curve.starts == n
    assert curve.chance == pytest.approx(n**-0.5)
    beyond = np.average(curve.beyond_chance, weights=curve.pixels)
    assert beyond < share + 0.06
    if n > 2:  # the square of a mean of two is well below the mean of the squares: too little is claimed then
        assert beyond == pytest.approx(share, abs=0.06)


def test_of_few_starts_chance_alone_stays_above_the_level():
    assert found([0.5]).starts == 9
    assert found([0.5]).chance < math.exp(-1)
    curve = TransferFunction(np.arange(3) / 10, np.array([1.0, 0.6, 0.42]), np.ones(3, int), 0.6, 5)
    assert curve.resolution is None
    assert (curve.beyond_chance < curve.value)[1:].all()
    assert 2.5 < curve.resolution_beyond_chance < 5  # it falls below between the last two


def test_where_a_curve_falls_is_said_in_words():
    frequency = np.array([0, 0.05, 0.1])
    assert reached(frequency, None, "nm", "1/e") == "above 1/e to the end at 5 nm"
    assert reached(frequency, 12.34, "nm", "1/e") == "1/e at 12.3 nm"
    assert reached(frequency, math.inf, "nm", ".5") == "below .5 from the first shell on"
