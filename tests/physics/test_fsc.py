import math

import numpy as np
import pytest
import torch

from napari_dipr.physics.fsc import ShellCorrelation, shell_correlation


def noise(grid, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(grid, generator=generator, dtype=torch.complex128)


@pytest.mark.parametrize("grid", [(24, 20), (12, 14, 10)])
def test_an_object_correlates_with_itself_at_all_frequencies_whatever_its_phase_and_scale(grid):
    x = noise(grid)
    curve = shell_correlation(x, 3 * x * np.exp(0.7j))
    np.testing.assert_allclose(curve.value, 1)
    assert curve.resolution is None
    assert (np.diff(curve.frequency) > 0).all()


def test_noise_correlates_as_one_over_the_root_of_the_pixels():
    curve = shell_correlation(noise((96, 96)), noise((96, 96), 1))
    outer = curve.pixels > 50
    # The mean modulus of a complex mean of n: √(π/4n).
    ratio = curve.value[outer] / np.sqrt(math.pi / 4 / curve.pixels[outer])
    assert ratio.mean() == pytest.approx(1, abs=0.2)
    assert (curve.value[outer] < curve.half_bit[outer]).all()


def test_what_is_the_same_up_to_a_frequency_gives_it_as_the_resolution():
    q = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2, indexing="ij"))
    spectra = [torch.fft.fft2(noise((64, 64), seed)) for seed in range(3)]
    outside = torch.from_numpy(q > 0.25)
    a, b = (torch.fft.ifft2(torch.where(outside, f, spectra[0])) for f in spectra[1:])
    curve = shell_correlation(a, b)
    assert curve.cutoff == pytest.approx(0.25, abs=1 / 64)
    assert curve.half_bit_cutoff == pytest.approx(0.25, abs=1 / 64)
    metric = shell_correlation(a, b, basis=3 * np.eye(2))
    assert metric.resolution == pytest.approx(3 * curve.resolution)
    assert metric.half_bit_resolution == pytest.approx(3 * curve.half_bit_resolution)


def test_the_half_bit_criterion_is_that_of_the_paper():
    curve = shell_correlation(noise((64, 64)), noise((64, 64), 1), filled=0.25)
    root = np.sqrt(np.maximum(curve.pixels / 4, 4))
    expected = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    np.testing.assert_allclose(curve.half_bit, expected, rtol=1e-4)
    assert curve.half_bit.max() < 0.75


def test_the_first_crossing_counts():
    n = np.ones(4, int)
    curve = ShellCorrelation(np.arange(4) / 10, np.array([1, 0.75, 0.25, 1]), n, np.array([0.0, 0, 0.3, 0]))
    assert curve.cutoff == pytest.approx(0.15)
    assert curve.resolution == pytest.approx(1 / 0.3)
    assert 0.1 < curve.half_bit_cutoff < 0.2


def test_objects_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        shell_correlation(noise((8, 8)), noise((8, 9)))
