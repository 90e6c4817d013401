import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.physics.fourier import embed_window, forward
from napari_dipr.physics.symmetry import find_alignment, nmse, twin

seeds = st.integers(0, 2**32 - 1)
grids = st.one_of(st.tuples(*[st.integers(5, 9)] * 2), st.tuples(*[st.integers(3, 5)] * 3))
phases = st.floats(-3.1, 3.1)
scales = st.floats(0.05, 20)


def draw(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def planted(x, shift, is_twin, phase, scale):
    """Put symmetries on ``[*grid]``, written out pixel by pixel."""
    if is_twin:
        flipped = torch.empty_like(x)
        for r in itertools.product(*map(range, x.shape)):
            flipped[r] = x[tuple(-i % n for i, n in zip(r, x.shape, strict=True))].conj()
        x = flipped
    return scale * complex(math.cos(phase), math.sin(phase)) * torch.roll(x, shift, tuple(range(x.ndim)))


def brute_force_nmse(estimate, truth, window):
    """Try every shift and both handednesses; phase and scale by least squares."""
    best = best_full = 1.0
    energy, energy_b = float(truth.abs().square().sum()), float(estimate.abs().square().sum())
    for is_twin in (False, True):
        for shift in itertools.product(*map(range, truth.shape)):
            b = planted(estimate, shift, is_twin, 0.0, 1.0)
            patch = b * window
            overlap = float((truth.conj() * patch).sum().abs())
            inside = max(float(patch.abs().square().sum()), 1e-3 * energy_b)
            best = min(best, 1 - overlap**2 / (energy * inside))
            best_full = min(best_full, 1 - overlap**2 / (energy * energy_b))
    return best, best_full


@given(seeds)
@settings(max_examples=8)
def test_nmse_is_the_minimum_over_all_shifts_twin_phase_and_scale(seed):
    for grid, inner in (((6, 5), (3, 3)), ((4, 3, 3), (2, 2, 1))):
        window = embed_window(torch.ones(1, *inner), grid)[0] > 0
        truth, estimate = draw(grid, seed) * window, draw(grid, seed + 1)
        expected, expected_full = brute_force_nmse(estimate, truth, window)
        found, found_full = nmse(estimate[None], truth[None], window)
        assert float(found) == pytest.approx(expected, abs=1e-10)
        assert float(found_full) == pytest.approx(expected_full, abs=1e-10)


def test_nmse_is_the_least_squares_distance_at_the_best_phase_and_scale():
    truth, estimate = draw((6, 6), 1), draw((6, 6), 2)
    lowest = math.inf
    for is_twin in (False, True):
        for shift in itertools.product(range(6), range(6)):
            b = planted(estimate, shift, is_twin, 0.0, 1.0).flatten()
            factor = torch.linalg.lstsq(b[:, None], truth.flatten()[:, None]).solution[0, 0]
            lowest = min(lowest, float((truth.flatten() - factor * b).norm() ** 2 / truth.norm() ** 2))
    assert float(nmse(estimate[None], truth[None])[0]) == pytest.approx(lowest, abs=1e-10)


@given(grids, seeds, st.booleans(), phases, scales, st.data())
def test_nmse_does_not_see_what_no_intensity_tells(grid, seed, is_twin, phase, scale, data):
    shift = data.draw(st.tuples(*[st.integers(0, n - 1) for n in grid]))
    window = embed_window(torch.ones(1, *[(n + 1) // 2 for n in grid]), grid)[0] > 0
    truth, estimate = draw(grid, seed) * window, draw(grid, seed + 1)
    turned = planted(estimate, shift, is_twin, phase, scale)
    for before, after in zip(
        nmse(estimate[None], truth[None], window), nmse(turned[None], truth[None], window), strict=True
    ):
        torch.testing.assert_close(before, after, rtol=1e-8, atol=1e-8)
    exact = planted(truth, shift, is_twin, phase, scale)
    assert max(float(e) for e in nmse(exact[None], truth[None], window)) < 1e-10


@given(grids, seeds)
def test_charging_what_lies_outside_the_window_never_lowers_the_error(grid, seed):
    window = embed_window(torch.ones(1, *[n // 2 for n in grid]), grid)[0] > 0
    truth, estimate = draw((3, *grid), seed) * window, draw((3, *grid), seed + 1)
    inside, full = nmse(estimate, truth, window)
    assert (inside >= 0).all()
    assert (full <= 1).all()
    assert (full >= inside - 1e-12).all()


def test_objects_with_nothing_in_common_have_an_error_of_one():
    # A plane wave and the sum of others: orthogonal at any shift.
    spectrum = torch.zeros(1, 8, 8, dtype=torch.complex128)
    spectrum[0, 1, 2] = 1
    others = torch.ones_like(spectrum)
    others[0, 1, 2] = others[0, -1, -2] = 0
    error, full = nmse(torch.fft.ifft2(spectrum), torch.fft.ifft2(others))
    assert float(error) == pytest.approx(1)
    assert float(full) == pytest.approx(1)


def test_unrelated_noise_is_far_from_explained():
    error, _ = nmse(draw((4, 32, 32), 1), draw((4, 32, 32), 2))
    assert (error > 0.97).all()


def test_an_estimate_of_zeros_has_an_error_of_one():
    assert float(nmse(torch.zeros(1, 6, 6), draw((1, 6, 6), 1))[0]) == 1


@pytest.mark.parametrize(
    ("side", "share"),
    [(9, 1 / 81), (64, 1e-3)],  # one pixel of 81 is above the floor of 1/1000, one of 4096 below
)
def test_a_window_with_next_to_no_energy_does_not_explain_the_truth(side, share):
    window, truth = torch.zeros(side, side, dtype=torch.bool), torch.zeros(1, side, side)
    window[4, 4], truth[0, 4, 4] = True, 1
    error, full = nmse(torch.ones(1, side, side), truth, window)
    assert float(error) == pytest.approx(1 - 1 / (share * side**2))
    assert float(full) == pytest.approx(1 - 1 / side**2)


def test_a_batch_has_the_errors_of_its_samples_and_precision_is_double():
    truth, estimate = draw((3, 7, 6), 1), draw((3, 7, 6), 2)
    together = nmse(estimate, truth)[0]
    assert together.dtype == torch.float64
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], nmse(estimate[k : k + 1], truth[k : k + 1])[0])
    assert float(nmse((1e-12 * truth[:1]).to(torch.complex64), truth[:1])[0]) < 1e-13


@given(grids, seeds)
def test_the_twin_has_the_same_magnitudes_and_is_undone_by_itself(grid, seed):
    x = draw((2, *grid), seed)
    torch.testing.assert_close(twin(x)[1], planted(x[1], (0,) * len(grid), True, 0.0, 1.0))
    torch.testing.assert_close(forward(twin(x)).abs(), forward(x).abs(), rtol=1e-9, atol=1e-9)
    assert torch.equal(twin(twin(x)), x)


@given(grids, seeds, st.booleans(), phases, scales, st.data())
def test_alignment_finds_and_removes_what_was_planted(grid, seed, is_twin, phase, scale, data):
    shift = data.draw(st.tuples(*[st.integers(-((n - 1) // 2), n // 2) for n in grid]))
    reference = draw(grid, seed)
    x = planted(reference, shift, is_twin, phase, scale)
    found = find_alignment(x, reference)
    assert (found.shift, found.twin) == (shift, is_twin)
    assert found.phase == pytest.approx(phase, abs=1e-8)
    assert found.scale == pytest.approx(scale)
    assert found.correlation == pytest.approx(1)
    assert found.correlation <= 1
    torch.testing.assert_close(found.remove(x), reference, rtol=1e-8, atol=1e-8)


def test_an_object_that_is_its_own_twin_is_not_called_one():
    half = draw((8, 8), 3)
    own = (half + planted(half, (0, 0), True, 0.0, 1.0)) / 2
    assert str(find_alignment(own, own)) == "nothing to remove"


def test_alignment_says_in_words_what_it_found():
    reference = draw((8, 9), 4)
    words = str(find_alignment(planted(reference, (-2, 3), True, 0.5, 2.0), reference))
    assert words == "shifted by (-2, 3), twin, phase +0.50 rad, scale 2"
    assert str(find_alignment(3 * reference, reference)) == "scale 3"


def test_half_a_common_object_correlates_by_its_share():
    a, b = torch.zeros(6, 6), torch.zeros(6, 6)
    a[1, 1], b[1, 1], b[4, 2] = 1, 1, 1
    assert find_alignment(b, a).correlation == pytest.approx(1 / math.sqrt(2))


def test_alignment_with_nothing_has_no_correlation_and_removes_nothing():
    x = draw((6, 6), 5)
    found = find_alignment(torch.zeros(6, 6), x)
    assert (found.correlation, found.scale) == (0, 0)
    assert found.remove(x).isfinite().all()


def test_objects_of_different_shapes_cannot_be_aligned():
    with pytest.raises(ValueError, match=r"\(6, 6\) and \(6, 7\)"):
        find_alignment(torch.zeros(6, 6), torch.zeros(6, 7))
