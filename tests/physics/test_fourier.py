import itertools

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.fourier import (
    autocorrelation,
    backward,
    centre_window,
    embed_window,
    forward,
    gaussian_blur,
    magnitude_projection,
    mirrored,
)

grids = st.one_of(
    st.tuples(*[st.integers(3, 10)] * 2),
    st.tuples(*[st.integers(3, 6)] * 3),
)
seeds = st.integers(0, 2**32 - 1)


def draw(shape, seed, dtype=torch.complex128):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw_mask(shape, seed):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask.view(-1)[0] = True
    return mask


def test_forward_is_the_discrete_fourier_transform_and_keeps_double_precision():
    x = draw((2, 5, 4), 1)
    n, m = np.ogrid[:5, :4]
    k, j = 2, 3
    wave = np.exp(-2j * np.pi * (k * n / 5 + j * m / 4))
    assert forward(x).dtype == torch.complex128
    np.testing.assert_allclose(forward(x)[1, k, j], (x[1].numpy() * wave).sum(), rtol=1e-12)
    torch.testing.assert_close(backward(forward(x)), x, rtol=1e-12, atol=1e-12)


@given(grids, seeds)
def test_projection_has_the_measured_magnitudes_and_doing_it_again_changes_nothing(grid, seed):
    x, amplitudes = draw((2, *grid), seed), draw((2, *grid), seed + 1).abs()
    once = magnitude_projection(x, amplitudes)
    torch.testing.assert_close(forward(once).abs(), amplitudes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(magnitude_projection(once, amplitudes), once, rtol=1e-9, atol=1e-9)
    assert once.dtype == torch.complex128


@given(grids, seeds)
def test_projection_is_the_nearest_object_with_the_measured_magnitudes(grid, seed):
    x, amplitudes = draw((1, *grid), seed), draw((1, *grid), seed + 1).abs()
    nearest = (x - magnitude_projection(x, amplitudes)).norm()
    other = backward(torch.polar(amplitudes, draw((1, *grid), seed + 2, torch.float64)))
    assert nearest <= (x - other).norm() + 1e-9


@given(grids, seeds)
def test_projection_leaves_unmeasured_pixels_free_and_does_not_look_at_their_values(grid, seed):
    x, amplitudes, measured = draw((2, *grid), seed), draw((2, *grid), seed + 1).abs(), draw_mask(grid, seed)
    projected = magnitude_projection(x, amplitudes, measured)
    torch.testing.assert_close(forward(projected)[:, ~measured], forward(x)[:, ~measured], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(forward(projected).abs()[:, measured], amplitudes[:, measured], rtol=1e-9, atol=1e-9)
    for rubbish in (0.0, 1e30, torch.nan, torch.inf):
        changed = torch.where(measured, amplitudes, rubbish)
        assert torch.equal(magnitude_projection(x, changed, measured), projected)


@given(grids, seeds)
def test_a_batch_is_projected_as_its_samples_are(grid, seed):
    x, amplitudes = draw((3, *grid), seed), draw((3, *grid), seed + 1).abs()
    together = magnitude_projection(x, amplitudes)
    for k in range(3):
        torch.testing.assert_close(
            together[k : k + 1], magnitude_projection(x[k : k + 1], amplitudes[k : k + 1]), rtol=1e-10, atol=1e-10
        )


def test_projection_of_nothing_is_finite():
    x = torch.zeros(1, 4, 4, dtype=torch.complex64)
    assert magnitude_projection(x, torch.full((1, 4, 4), 1e6)).isfinite().all()


@given(grids, seeds)
def test_autocorrelation_is_the_sum_over_displaced_products(grid, seed):
    x = draw((1, *grid), seed)
    rho = autocorrelation(forward(x).abs().square())[0]
    dims = tuple(range(len(grid)))
    corners = itertools.product(*[(0, 1, n - 1) for n in grid])
    for shift in corners:
        # Σ conj(x(r))·x(r + s), circular
        direct = (x[0].conj() * torch.roll(x[0], [-s for s in shift], dims)).sum()
        torch.testing.assert_close(rho[shift], direct, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("grid", [(16, 16), (15, 17), (16, 9, 11)])
def test_blur_agrees_with_scipy(grid):
    x = draw((2, *grid), 5, torch.float64)
    wide = np.stack([scipy.ndimage.gaussian_filter(image, 1.6, mode="wrap", truncate=8) for image in x.numpy()])
    np.testing.assert_allclose(gaussian_blur(x, 1.6), wide, atol=2e-5)
    narrow = [np.fft.ifftn(scipy.ndimage.fourier_gaussian(np.fft.fftn(image), 0.7)).real for image in x.numpy()]
    np.testing.assert_allclose(gaussian_blur(x, 0.7), np.stack(narrow), atol=1e-12)


@given(grids, seeds, st.floats(0, 5))
def test_blur_keeps_the_sum(grid, seed, sigma):
    x = draw((2, *grid), seed, torch.float64)
    torch.testing.assert_close(gaussian_blur(x, sigma).flatten(1).sum(1), x.flatten(1).sum(1), rtol=1e-9, atol=1e-9)


def test_no_blur_changes_nothing():
    x = draw((1, 8, 8), 0, torch.float64)
    assert torch.equal(gaussian_blur(x, 0), x)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6)), min_size=2, max_size=3), seeds)
def test_cutting_a_window_and_laying_it_down_are_adjoint(sides, seed):
    window, grid = tuple(w for w, _ in sides), tuple(w + more for w, more in sides)
    x, y = draw((2, *grid), seed), draw((2, *window), seed + 1)
    torch.testing.assert_close(
        torch.vdot(centre_window(x, window).flatten(), y.flatten()),
        torch.vdot(x.flatten(), embed_window(y, grid).flatten()),
    )
    assert torch.equal(centre_window(embed_window(y, grid), window), y)


@pytest.mark.parametrize("window", [4, 5])
@pytest.mark.parametrize("grid", [8, 9])
def test_the_windows_middle_is_the_grids_middle(window, grid):
    full = embed_window(torch.arange(window**2).reshape(1, window, window) + 1, (grid, grid))
    assert full[0, grid // 2, grid // 2] == window // 2 * window + window // 2 + 1


def test_a_window_is_cut_out_of_every_channel():
    x = draw((2, 3, 6, 6), 0)
    assert torch.equal(centre_window(x, (4, 4)), x[:, :, 1:5, 1:5])


def test_a_window_larger_than_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(6, 4\) does not fit into a grid of \(5, 5\)"):
        centre_window(torch.zeros(1, 5, 5), (6, 4))
    with pytest.raises(ValueError, match="does not fit"):
        embed_window(torch.zeros(1, 6, 4), (5, 5))


@given(grids, seeds)
def test_a_mirrored_pattern_has_minus_q_in_the_place_of_q(grid, seed):
    pattern = draw((2, *grid), seed, torch.float64)
    there = mirrored(pattern)
    for q in itertools.product(*[range(n) for n in grid]):
        minus = tuple(-k % n for k, n in zip(q, grid, strict=True))
        assert torch.equal(there[(slice(None), *q)], pattern[(slice(None), *minus)])
    assert torch.equal(mirrored(there), pattern)


@given(grids, seeds)
def test_the_pattern_of_a_real_object_is_its_own_mirror_image_and_a_complex_one_s_is_not(grid, seed):
    real, other = draw((1, *grid), seed, torch.float64), draw((1, *grid), seed)
    pattern = forward(real).abs()
    torch.testing.assert_close(mirrored(pattern), pattern, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(mirrored(forward(other).abs()), forward(other).abs())


def test_masks_are_mirrored_too():
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1, 2] = True
    assert mirrored(mask).nonzero().tolist() == [[0, 3, 3]]


@pytest.mark.parametrize("shape", [(1, 2048, 2048), (2, 64, 48)])
def test_the_inverse_transform_is_scaled_once_on_two_threads(shape):
    # torch 2.13 scales the one of 2048² twice when asked to scale it.
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = torch.ones(shape, dtype=torch.complex64)
        assert float((backward(forward(x)) - x).abs().max()) < 1e-3
    finally:
        torch.set_num_threads(before)
