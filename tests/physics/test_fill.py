import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.physics.fourier import mirrored

grids = pytest.mark.parametrize("grid", [(24, 18), (12, 10, 14)])
seeds = st.integers(0, 2**32 - 1)


def random(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def hole(grid, centre, radius):
    """False in a ball round a pixel of the cornered pattern."""
    axes = [(torch.arange(n) - c + n // 2) % n - n // 2 for n, c in zip(grid, centre, strict=True)]
    return (sum(along.square() for along in torch.meshgrid(*axes, indexing="ij")) > radius**2)[None]


@grids
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_measured_pixels_stay_as_they_were_and_all_becomes_finite(grid, seed, share):
    y, measured = 1e6 * random(seed, 2, *grid), random(seed + 1, 2, *grid) < share
    found = fill_unmeasured(torch.where(measured, y, torch.nan), measured)
    assert torch.equal(found[measured], y[measured])
    assert found.isfinite().all()
    assert (found >= 0).all()


@given(seed=seeds)
def test_what_stands_in_unmeasured_pixels_does_not_count(seed):
    y, measured = random(seed, 2, 8, 10), random(seed + 1, 2, 8, 10) < 0.5
    expected = fill_unmeasured(y, measured)
    for nothing in (0.0, torch.nan, -1.0, 1e30):
        assert torch.equal(fill_unmeasured(torch.where(measured, y, nothing), measured), expected)


@grids
@given(seed=seeds)
def test_a_pixel_is_filled_with_its_friedel_mate_where_that_was_measured(grid, seed):
    y, measured = random(seed, 2, *grid), random(seed + 1, 2, *grid) < 0.6
    mated = ~measured & mirrored(measured)
    torch.testing.assert_close(fill_unmeasured(y, measured)[mated], mirrored(y)[mated])


@grids
def test_a_real_objects_pattern_with_a_hole_beside_the_centre_is_restored(grid):
    y = torch.from_numpy(np.abs(np.fft.fftn(np.random.default_rng(0).random(grid))) ** 2)[None]
    measured = hole(grid, (4,) * len(grid), 2.5)
    assert (~measured).sum() > 15
    torch.testing.assert_close(fill_unmeasured(torch.where(measured, y, 0), measured), y)


@grids
@pytest.mark.parametrize("radius", [0.5, 2.5, 4.5])
def test_a_hole_in_a_flat_pattern_is_filled_flat(grid, radius):
    measured = hole(grid, (0,) * len(grid), radius)
    found = fill_unmeasured(torch.where(measured, 9.0, torch.nan).expand(1, *grid), measured)
    torch.testing.assert_close(found, torch.full((1, *grid), 9.0), rtol=1e-3, atol=0)


@grids
@given(seed=seeds, radius=st.floats(0.5, 4.5))
def test_a_missing_centre_is_filled_with_nothing_beyond_what_lies_around(grid, seed, radius):
    y, measured = 1 + 9 * random(seed, 1, *grid), hole(grid, (0,) * len(grid), radius)
    filled = fill_unmeasured(y, measured)[~measured]
    assert filled.min() > 0.9 * y[measured].min()
    assert filled.max() < 1.1 * y[measured].max()


def test_the_fill_follows_its_own_side():
    y = torch.full((1, 32, 32), 1.0)
    y[0, 10:23] = 100.0  # high frequencies of the rows
    measured = torch.ones_like(y, dtype=torch.bool)
    measured[0, 4, 4] = measured[0, -4, -4] = measured[0, 16, 6] = measured[0, -16, -6] = False
    found = fill_unmeasured(y, measured)
    torch.testing.assert_close(found[0, [4, -4], [4, -4]], torch.tensor([1.0, 1.0]), rtol=0.05, atol=0)
    torch.testing.assert_close(found[0, [16, -16], [6, -6]], torch.tensor([100.0, 100.0]), rtol=0.05, atol=0)


def test_where_everything_was_measured_nothing_is_done():
    y = random(0, 2, 6, 5)
    assert fill_unmeasured(y, None) is y
    assert torch.equal(fill_unmeasured(y, torch.ones(6, 5, dtype=torch.bool)), y)


def test_where_nothing_was_measured_all_is_dark():
    y = random(0, 2, 6, 5)
    assert torch.equal(fill_unmeasured(y, torch.zeros_like(y, dtype=torch.bool)), torch.zeros_like(y))


def test_one_mask_does_for_all_patterns():
    y, measured = random(0, 3, 8, 8), random(1, 8, 8) < 0.7
    assert torch.equal(fill_unmeasured(y, measured), fill_unmeasured(y, measured.expand(3, 8, 8)))


def test_each_pattern_is_filled_alone():
    y, measured = random(0, 3, 8, 8), random(1, 3, 8, 8) < 0.4
    measured[1, 2:, 2:] = False
    together = fill_unmeasured(y, measured)
    for k in range(3):
        torch.testing.assert_close(fill_unmeasured(y[k : k + 1], measured[k : k + 1]), together[k : k + 1])
