import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.networks.view import View, extents
from napari_dipr.physics.fourier import centre_window, embed_window, forward

seeds = st.integers(0, 2**32 - 1)


def filled(seed, window, batch=1):
    """A full window: its pattern is as wide as can be."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, *window, generator=generator) + 0.5
    return torch.polar(x, 2 * torch.rand(batch, *window, generator=generator))


def pattern(x, grid):
    return forward(embed_window(x, grid)).abs().square()


@settings(max_examples=20)
@given(seeds, st.tuples(st.integers(8, 20), st.integers(8, 20)), st.sampled_from([2.2, 3, 4]))
def test_an_objects_extent_is_half_its_autocorrelations(seed, window, oversampling):
    grid = tuple(round(oversampling * n) for n in window)
    for found, n in zip(extents(pattern(filled(seed, window), grid)), window, strict=True):
        assert n - 2 <= found <= n


def test_noise_does_not_reach_as_far_as_the_array():
    intensities = pattern(filled(1, (16, 16)), (64, 64)).double()
    counts = torch.poisson(intensities * (1e5 / intensities.sum()), torch.Generator().manual_seed(1)).float()
    assert all(12 <= found <= 17 for found in extents(counts))


def test_a_pattern_of_the_networks_size_whose_object_fits_is_left_as_it_is():
    intensities = pattern(filled(1, (14, 13)), (32, 32))
    view = View.of(intensities, (32, 32), (16, 16))
    assert view.kept == (32, 32)
    found, measured = view.narrow(intensities)
    assert found is intensities
    assert measured is None
    x = embed_window(filled(2, (16, 16)), (32, 32))
    assert view.widen(x) is x
    assert view.coarseness == 1


@pytest.mark.parametrize("factor", [2, 3])
def test_more_room_round_the_object_is_cut_off(factor):
    x, grid = filled(3, (13, 14), batch=2), (32 * factor, 32 * factor)
    view = View.of(pattern(x, grid), (32, 32), (16, 16))
    assert view.kept == grid
    found, _ = view.narrow(pattern(x, grid))
    torch.testing.assert_close(found, pattern(x, (32, 32)), rtol=1e-3, atol=0.05)
    torch.testing.assert_close(view.widen(embed_window(x, (32, 32))), embed_window(x, grid), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("window", "grid"), [((40, 40), (96, 96)), ((40, 24), (128, 64)), ((30, 30, 14), (64, 72, 48))]
)
def test_a_larger_object_is_seen_with_coarser_pixels_within_the_window(window, grid):
    target, room = (32,) * len(grid), (16,) * len(grid)
    view = View.of(pattern(filled(4, window), grid), target, room)
    for n, kept, extent in zip(grid, view.kept, window, strict=True):
        assert kept % 2 == 0
        assert min(extent, 11) - 2 <= extent * kept / n <= 14
    assert view.coarseness > 1
    assert view.narrow(pattern(filled(4, window), grid))[0].shape == (1, *target)


def test_an_object_that_fills_the_window_along_an_axis_is_seen_with_room_around_it():
    view = View.of(pattern(filled(4, (16, 13)), (32, 32)), (32, 32), (16, 16))
    assert 10 <= 16 * view.kept[0] / 32 <= 13
    assert view.kept[1] == 32


def test_cropping_the_pattern_leaves_its_middle():
    intensities = pattern(filled(5, (30, 30)), (64, 64))
    found, _ = View((64, 64), (32, 32), (32, 32)).narrow(intensities)
    middle = centre_window(torch.fft.fftshift(intensities, (1, 2)), (32, 32))
    torch.testing.assert_close(torch.fft.fftshift(found, (1, 2)), middle, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("grid", [(64, 64), (65, 70), (33, 48, 40)])
def test_an_object_seen_coarsely_has_its_pattern_back_on_the_measurements_grid(grid):
    kept = tuple(2 * (n // 4) for n in grid)
    view = View(grid, kept, kept)
    x = embed_window(filled(6, tuple(n // 3 for n in kept)), kept)
    wide = view.widen(x)
    assert wide.shape == (1, *grid)
    dims = tuple(range(1, x.ndim))
    middle = centre_window(torch.fft.fftshift(forward(wide), dims), kept)
    # The outermost frequency of an even side has no partner.
    inside = (slice(None), *(slice(1, None),) * len(grid))
    expected = torch.fft.fftshift(forward(x), dims)
    torch.testing.assert_close(middle.abs()[inside], expected.abs()[inside], rtol=1e-3, atol=1e-3)
    centre = wide.abs().square()
    for d in dims:  # and it is still in the middle
        n = wide.shape[d]
        weights = centre.movedim(d, 0).flatten(1).sum(1)
        assert float((weights * torch.arange(n)).sum() / weights.sum()) == pytest.approx(n / 2, abs=1.5)


def test_of_a_pattern_with_gaps_an_autocorrelation_that_never_ends_tells_nothing():
    intensities = pattern(filled(4, (16, 13)), (32, 32))
    assert extents(intensities)[0] == 16
    assert View.of(intensities, (32, 32), (16, 16), complete=False).kept == (32, 32)
    wide = pattern(filled(4, (30, 13)), (64, 32))
    assert View.of(wide, (32, 32), (16, 16), complete=False) == View.of(wide, (32, 32), (16, 16))


def test_small_objects_are_enlarged():
    view = View.of(pattern(filled(7, (3, 3)), (32, 32)), (32, 32), (16, 16))
    assert view.kept[0] > 32
    assert view.coarseness < 1


def test_a_pixel_was_measured_where_most_of_what_it_is_made_of_was():
    measured = torch.ones(1, 64, 64, dtype=torch.bool)
    measured[:, :6, :6] = False
    intensities = pattern(filled(8, (16, 16)), (64, 64))
    _, found = View((64, 64), (64, 64), (32, 32)).narrow(intensities, measured)
    assert not found[0, 0, 0]
    assert found[0, 10:, 10:].all()
    assert found.double().mean() > 0.95
    _, everything = View((64, 64), (64, 64), (32, 32)).narrow(intensities, torch.ones_like(measured))
    assert everything.all()
    _, everything = View((64, 64), (80, 80), (32, 32)).narrow(intensities, torch.ones_like(measured))
    assert everything[0, :10, :10].all()


def test_a_dead_pixel_hides_none_of_what_was_padded():
    measured = torch.ones(1, 64, 64, dtype=torch.bool)
    measured[:, 20, 20] = False
    intensities = pattern(filled(8, (6, 6)), (64, 64))
    view = View.of(intensities, (64, 64), (32, 32))
    assert view.kept[0] > 64
    _, found = view.narrow(intensities, measured)
    assert found.double().mean() > 0.99


@pytest.mark.parametrize("side", [32, 512])
def test_a_pattern_that_shows_nothing_is_not_blown_up(side):
    view = View.of(torch.ones(1, side, side), (72, 72), (36, 36))
    assert all(kept <= max(side, 144) for kept in view.kept)
    assert all(kept >= 36 for kept in view.kept)
