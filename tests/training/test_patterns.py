import math

import numpy as np
import pytest
import torch

from napari_dipr.networks.spec import Flaws
from napari_dipr.training.losses import Batch
from napari_dipr.training.patterns import flawed, frequency_radius, measure

grids = pytest.mark.parametrize(("grid", "window"), [((16, 14), (8, 7)), ((10, 8, 12), (5, 4, 6))])


def batch_of(count, grid, window):
    generator = torch.Generator().manual_seed(0)
    return measure(torch.randn(count, *window, generator=generator, dtype=torch.complex64), grid)


def flaws(noisy=0.0, hidden=0.0, dead=0.0, **others):
    """Say which shares of the patterns have which flaws."""
    return Flaws(noisy=noisy, hidden=hidden, dead=dead, **others)


def random(seed=1):
    return torch.Generator().manual_seed(seed)


def within(share, expected, count):
    """Whether a share of a count is within five standard deviations of what it should be."""
    return abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count)


@grids
def test_a_pattern_is_the_squared_modulus_of_the_transform_of_the_object_in_the_middle(grid, window):
    rng = np.random.default_rng(0)
    objects = rng.normal(size=(2, *window)) + 1j * rng.normal(size=(2, *window))
    batch = measure(torch.from_numpy(objects), grid)
    placed = np.zeros((2, *grid), complex)
    middle = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(grid, window, strict=True)]
    placed[(slice(None), *middle)] = objects
    np.testing.assert_allclose(batch.truth, placed, rtol=1e-6)
    expected = np.abs(np.fft.fftn(placed, axes=range(1, len(grid) + 1))) ** 2
    np.testing.assert_allclose(batch.intensities, expected, rtol=1e-3, atol=1e-5 * expected.max())
    assert batch.measured is None
    assert (batch.truth.dtype, batch.intensities.dtype) == (torch.complex64, torch.float32)


@pytest.mark.parametrize("grid", [(4, 5), (6, 3, 8)])
def test_the_frequency_radius_is_that_of_numpys_frequencies(grid):
    axes = np.meshgrid(*[np.fft.fftfreq(n) * n for n in grid], indexing="ij")
    found = frequency_radius(torch.zeros(2, *grid))
    np.testing.assert_allclose(found, np.sqrt(sum(along**2 for along in axes)), rtol=1e-5)


@grids
def test_without_flaws_nothing_changes(grid, window):
    batch = batch_of(5, grid, window)
    found = flawed(batch, flaws(), random())
    assert torch.equal(found.intensities, batch.intensities)
    assert found.measured.all()
    assert torch.equal(found.truth, batch.truth)


@pytest.mark.parametrize("photons", [1e3, 1e5])
def test_counts_have_the_mean_and_the_variance_of_poissons(photons):
    noisy = flaws(noisy=1.0, photons=(photons, photons))
    one, count = batch_of(1, (8, 8), (4, 4)), 4000
    batch = Batch(one.intensities.expand(count, 8, 8), None, one.truth.expand(count, 8, 8))
    scale = photons / one.intensities.double().sum()
    counts, expected = flawed(batch, noisy, random()).intensities.double() * scale, one.intensities[0].double() * scale
    assert (counts - counts.round()).abs().max() < 0.01
    assert ((counts.mean(0) - expected).abs() < 5 * (expected / count).sqrt()).all()
    spread = ((2 * expected**2 + expected) / count).sqrt()  # of a Poisson sample's variance
    assert ((counts.var(0) - expected).abs() < 5 * spread).all()


def test_the_number_of_photons_is_within_its_bounds_and_varies():
    batch = batch_of(300, (8, 8), (4, 4))
    relative = flawed(batch, flaws(noisy=1.0, photons=(1e3, 1e5)), random()).intensities / batch.intensities - 1
    spread = relative.abs().flatten(1).median(1).values
    assert spread.max() > 5 * spread.min()
    # The brighter half of the pixels hold more than a 64th of the photons each; Poisson's median is 2/3 of its rms.
    assert spread.min() > 0.1 * (64 / 1e5) ** 0.5
    assert spread.max() < 3 * (64 / 1e3) ** 0.5


def test_each_flaw_is_in_its_share_of_the_patterns():
    batch, usual = batch_of(2000, (16, 16), (8, 8)), Flaws()
    found = flawed(batch, usual, random())
    changed = ((found.intensities != batch.intensities) & found.measured).flatten(1).any(1)
    hidden = ~found.measured[:, 0, 0]
    dead = (~found.measured & (frequency_radius(batch.intensities) > usual.radius[1])).flatten(1).any(1)
    assert within(float(changed.double().mean()), usual.noisy, 2000)
    # A dead pixel may be the central one too, if seldom, and a pattern with a small share of them may have none.
    assert usual.hidden - 0.05 < float(hidden.double().mean()) < usual.hidden + 0.06
    assert usual.dead - 0.15 < float(dead.double().mean()) < usual.dead + 0.05


@grids
def test_a_missing_centre_is_a_ball_of_a_stated_size(grid, window):
    batch = batch_of(200, grid, window)
    measured = flawed(batch, flaws(hidden=1.0, radius=(0.5, 3.5)), random()).measured
    radius = frequency_radius(batch.intensities)
    sizes = set()
    for mask in measured:
        assert not mask[(0,) * len(grid)]
        assert radius[~mask].max() < radius[mask].min()
        assert radius[~mask].max() < 3.5
        sizes.add(int((~mask).sum()))
    assert min(sizes) == 1
    assert len(sizes) > 4


def test_dead_pixels_lie_anywhere_and_are_few():
    batch = batch_of(2000, (16, 16), (8, 8))
    dead = ~flawed(batch, flaws(dead=1.0, most_dead=0.04), random()).measured
    assert within(float(dead.double().mean()), 0.02, 2000 * 64)  # shares vary, so fewer are independent
    assert dead.flatten(1).double().mean(1).max() < 0.04 + 5 * math.sqrt(0.04 / 256)
    everywhere = dead.double().mean(0)
    assert ((everywhere - 0.02).abs() < 5 * math.sqrt(0.02 / 2000)).all()


@grids
def test_measured_pixels_keep_their_values_and_the_others_are_filled(grid, window):
    batch = batch_of(50, grid, window)
    found = flawed(batch, flaws(hidden=1.0, dead=1.0), random())
    assert not found.measured.all()
    assert torch.equal(found.intensities[found.measured], batch.intensities[found.measured])
    unmeasured = found.intensities[~found.measured]
    assert unmeasured.isfinite().all()
    assert (unmeasured >= 0).all()
    assert (unmeasured > 0).double().mean() > 0.99
    assert not torch.equal(unmeasured, batch.intensities[~found.measured])


def test_the_truth_is_left_alone_and_the_draw_follows_the_generator():
    batch = batch_of(20, (16, 16), (8, 8))
    once, again, other = (flawed(batch, Flaws(), random(seed)) for seed in (1, 1, 2))
    assert torch.equal(once.truth, batch.truth)
    assert torch.equal(once.intensities, again.intensities)
    assert torch.equal(once.measured, again.measured)
    assert not torch.equal(once.intensities, other.intensities)
