import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_dipr.physics.fourier import forward
from napari_dipr.solvers.problem import Problem, State, as_support
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, autocorrelation_support, dilated

seeds = st.integers(0, 2**32 - 1)


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


def exactly(x):
    """Return the problem that ``x`` solves: its magnitude projection is ``x`` itself."""
    return Problem(forward(x).abs())


def disc(side, radius, centre=None):
    centre = centre or (side // 2, side // 2)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)[None]


pictures = st.one_of(
    seeds.map(lambda seed: draw(seed, 2, 16, 16)),  # noise
    st.integers(1, 60).map(lambda r: (disc(16, r / 8) * torch.ones(2, 1, 1)).to(torch.complex64)),  # ties
    st.integers(0, 255).map(lambda k: torch.zeros(2, 256).index_fill(1, torch.tensor(k), 1.0).reshape(2, 16, 16) + 0j),
    st.floats(-6, 6).map(lambda e: draw(1, 2, 16, 16) * 10**e),
)


@given(pictures, st.floats(0.01, 0.9), st.floats(0, 0.1), st.floats(0.11, 0.5), st.floats(0, 3), st.booleans())
def test_the_support_never_exceeds_its_bounds_and_is_never_empty(x, threshold, smallest, largest, sigma, rms):
    first = disc(16, 5).expand(2, 16, 16)
    wrap = ShrinkWrap(
        threshold=threshold,
        smallest=smallest,
        largest=largest,
        sigma=sigma,
        sigma_end=sigma,
        reference="rms" if rms else "maximum",
        growth=1.5,
    )
    support = wrap.update(exactly(x), State(x, first), first, 0.5)
    pixels = support.flatten(1).sum(1)
    stays = (support == first).flatten(1).all(1)  # where all pixels tie
    assert ((pixels <= largest * 256) | stays).all()
    assert ((pixels <= 1.5 * first[0].sum()) | stays).all()
    assert (pixels > 0).all()


@given(seeds, st.floats(0.01, 0.9), st.floats(0, 0.1), st.floats(0, 3))
def test_the_support_of_an_object_without_ties_is_never_below_its_bound(seed, threshold, smallest, sigma):
    x = draw(seed, 2, 16, 16)
    first = disc(16, 5).expand(2, 16, 16)
    wrap = ShrinkWrap(threshold=threshold, smallest=smallest, sigma=sigma, sigma_end=sigma)
    support = wrap.update(exactly(x), State(x, first), first, 0.5)
    assert (support.flatten(1).sum(1) >= max(1, int(smallest * 256))).all()


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_a_featureless_object_does_not_empty_the_support(value):
    x = torch.full((1, 16, 16), value, dtype=torch.complex64)
    first = disc(16, 4)
    support = ShrinkWrap(sigma=0, sigma_end=0).update(exactly(x), State(x, first), first, 0.5)
    assert support.any()


def test_the_support_closes_in_on_the_object():
    inside, first = disc(32, 4, (14, 17)), disc(32, 9)
    x = inside.to(torch.complex64)
    support = ShrinkWrap(sigma=0.7, sigma_end=0.7).update(exactly(x), State(x, first), first, 1.0)
    assert (support & inside).sum() == inside.sum()
    assert int(support.sum()) < 1.6 * int(inside.sum())


def test_each_sample_gets_the_support_of_its_own_object():
    small, large = disc(32, 3).to(torch.complex64), disc(32, 6, (13, 17)).to(torch.complex64)
    both, first = torch.cat([small, 100 * large]), disc(32, 9).expand(2, 32, 32)
    wrap = ShrinkWrap()
    together = wrap.update(exactly(both), State(both, first), first, 0.5)
    for k, x in enumerate((small, 100 * large)):
        alone = wrap.update(exactly(x), State(x, first[:1]), first[:1], 0.5)
        assert torch.equal(together[k], alone[0])


def test_a_higher_threshold_gives_a_support_inside_that_of_a_lower_one():
    x = draw(3, 1, 16, 16) * disc(16, 5)
    first = disc(16, 6)
    before = None
    for threshold in (0.05, 0.2, 0.5, 0.8):
        wrap = ShrinkWrap(threshold=threshold, smallest=0, largest=0.5)
        support = wrap.update(exactly(x), State(x, first), first, 0.5)
        assert before is None or not (support & ~before).any()
        before = support


@given(seeds, seeds)
def test_pinned_pixels_stay_as_they_are_both_in_and_out(seed, other):
    x = draw(seed, 2, 16, 16) * disc(16, 4)
    first = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(other)) < 0.3
    pinned = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(other + 1)) < 0.3
    wrap = ShrinkWrap()
    support = wrap.update(exactly(x), State(x, first, pinned), first, 0.5)
    assert torch.equal(support[pinned], first[pinned])
    free = wrap.update(exactly(x), State(x, first), first, 0.5)
    assert torch.equal(support[~pinned], free[~pinned])


def test_sigma_falls_linearly_from_the_first_to_the_last():
    wrap = ShrinkWrap(sigma=3, sigma_end=1)
    assert [wrap.sigma_at(p) for p in (-1, 0, 0.25, 1, 7)] == [3, 3, 2.5, 1, 1]


def test_a_coarser_smoothing_gives_a_rounder_support():
    x = (disc(32, 5) & (torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(1)) < 0.6)).to(torch.complex64)
    first = disc(32, 7)
    wrap = ShrinkWrap(sigma=2, sigma_end=0)
    early, late = (wrap.update(exactly(x), State(x, first), first, progress) for progress in (0.0, 1.0))
    assert torch.equal(late, x.abs() > 0.5)
    assert (disc(32, 3) & ~early).sum() == 0


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValidationError, match=r"smallest \(0.3\) must be below largest \(0.2\)"):
        ShrinkWrap(smallest=0.3, largest=0.2)


@pytest.mark.parametrize("shape", [(40, 40), (41, 36), (20, 22, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_autocorrelations_support_holds_a_convex_object_and_lies_in_the_middle(shape, dtype):
    sides = [n // 4 for n in shape]
    x = torch.zeros(1, *shape)
    x[(0, *(slice(3, 3 + side) for side in sides))] = 1
    problem = Problem(forward(x).abs().to(dtype))
    support = autocorrelation_support(problem)
    assert as_support(support, problem).shape == support.shape  # one that solvers take
    where = support[0].nonzero()
    for axis, (n, side) in enumerate(zip(shape, sides, strict=True)):
        low, high = int(where[:, axis].min()), int(where[:, axis].max())
        assert (low + high) / 2 == n // 2
        assert side <= high - low + 1 <= 1.6 * side + 2
    middle = tuple(slice(n // 2 - s // 2, n // 2 - s // 2 + s) for n, s in zip(shape, sides, strict=True))
    assert support[0][middle].float().mean() >= 0.97


def test_the_autocorrelations_support_does_not_depend_on_scale_place_or_unmeasured_values():
    x = torch.zeros(1, 32, 32)
    x[0, 4:12, 5:11] = torch.rand(8, 6, generator=torch.Generator().manual_seed(1))
    amplitudes = forward(x).abs()
    support = autocorrelation_support(Problem(amplitudes))
    assert torch.equal(autocorrelation_support(Problem(1e4 * amplitudes)), support)
    assert torch.equal(autocorrelation_support(Problem(forward(torch.roll(x, (9, 3), (1, 2))).abs())), support)
    measured = torch.ones(32, 32, dtype=torch.bool)
    measured[4, 4] = False
    rubbish = torch.where(measured, amplitudes, torch.nan)
    expected = autocorrelation_support(Problem(torch.where(measured, amplitudes, 0)))
    assert torch.equal(autocorrelation_support(Problem(rubbish, measured)), expected)


def test_the_autocorrelations_support_of_noise_stays_within_bounds():
    problem = Problem(draw(1, 3, 32, 32).abs())
    fraction = autocorrelation_support(problem, threshold=1e-6).float().mean((1, 2))
    assert (fraction <= ShrinkWrap().largest).all()
    assert (fraction > 0).all()


def counts(x, wrap, first=None):
    """Return how many pixels of each sample an update takes."""
    first = disc(16, 7).expand(len(x), 16, 16) if first is None else first
    return wrap.update(exactly(x), State(x, first), first, 0.5).flatten(1).sum(1).tolist()


def sharp(**options):
    return ShrinkWrap(**{"sigma": 0, "sigma_end": 0, "growth": 100, **options})


def ranked(batch=3, dtype=torch.complex64):
    """Return objects of 256 pixels whose values are all different and as far apart as they can be."""
    order = [torch.randperm(256, generator=torch.Generator().manual_seed(k)) for k in range(batch)]
    return torch.stack([(o + 1) / 256 for o in order]).reshape(batch, 16, 16).to(dtype)


@pytest.mark.parametrize("pixels", [1, 2, 17, 64, 127])
def test_where_too_many_pixels_are_above_the_threshold_just_as_many_as_may_be_are_taken(pixels):
    x = ranked()
    wrap = sharp(threshold=0.001, smallest=0, largest=pixels / 256)
    assert counts(x, wrap) == [pixels] * 3
    support = wrap.update(exactly(x), State(x, disc(16, 7).expand(3, 16, 16)), disc(16, 7).expand(3, 16, 16), 0.5)
    assert float(x.real[support].min()) > float(x.real[~support].max())  # and they are the brightest


@pytest.mark.parametrize("pixels", [1, 2, 17, 64, 100])
def test_where_too_few_pixels_are_above_the_threshold_just_as_many_as_must_be_are_taken(pixels):
    assert counts(ranked(), sharp(threshold=0.999, smallest=pixels / 256, largest=0.5)) == [pixels] * 3


def test_growth_bounds_the_support_by_the_first_one_s_size_of_each_sample():
    first = torch.zeros(3, 16, 16, dtype=torch.bool)
    for k, pixels in enumerate((10, 20, 40)):
        first[k].view(-1)[:pixels] = True
    assert counts(ranked(), sharp(threshold=0.001, growth=1.5, largest=0.5), first) == [15, 30, 60]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_bounds_do_not_depend_on_the_objects_scale(scale):
    assert counts(scale * ranked(), sharp(threshold=0.001, smallest=0, largest=40 / 256)) == [40] * 3


def test_of_equal_pixels_at_the_upper_bound_none_is_taken():
    """Rather too few than too many: 12 pixels at 2, 100 at 1, room for 50."""
    x = torch.zeros(1, 256, dtype=torch.complex128)
    x[:, :12], x[:, 12:112] = 2, 1
    assert counts(x.reshape(1, 16, 16), sharp(threshold=0.1, largest=50 / 256)) == [12]


def test_of_equal_pixels_at_the_lower_bound_all_are_taken_where_there_is_room():
    x = torch.zeros(1, 256, dtype=torch.complex128)
    x[:, :12], x[:, 12:60] = 2, 1
    assert counts(x.reshape(1, 16, 16), sharp(threshold=0.9, smallest=30 / 256, largest=0.5)) == [60]
    # and none of them where there is not: the upper bound comes first
    assert counts(x.reshape(1, 16, 16), sharp(threshold=0.9, smallest=30 / 256, largest=50 / 256)) == [12]


def test_a_dilated_pixel_is_a_diamond_that_goes_round_the_edges():
    mask = torch.zeros(2, 9, 11, dtype=torch.bool)
    mask[0, 0, 5], mask[1, 4, 0] = True, True
    y, x = torch.meshgrid(torch.arange(9), torch.arange(11), indexing="ij")
    for pixels in (0, 1, 3):
        wide = dilated(mask, pixels)
        near = torch.minimum(y, 9 - y) + (x - 5).abs() <= pixels
        assert torch.equal(wide[0], near)
        assert torch.equal(wide[1], (y - 4).abs() + torch.minimum(x, 11 - x) <= pixels)
    assert int(dilated(mask[..., None].expand(2, 9, 11, 7), 0).sum()) == 14


def test_a_volume_is_dilated_along_every_axis():
    mask = torch.zeros(1, 7, 7, 7, dtype=torch.bool)
    mask[0, 3, 3, 3] = True
    assert [int(dilated(mask, n).sum()) for n in (1, 2)] == [7, 25]
    assert int(mask.sum()) == 1  # what was given is as it was


def test_the_dilated_support_is_the_thresholds_made_wider():
    x = disc(32, 4).to(torch.complex64)
    first = disc(32, 9)
    narrow, wide = (sharp(dilate=n).update(exactly(x), State(x, first), first, 0.5) for n in (0, 2))
    assert torch.equal(narrow, disc(32, 4))
    assert torch.equal(wide, dilated(narrow, 2))


def test_a_support_is_not_dilated_where_that_would_break_its_bounds_each_sample_for_itself():
    x = torch.cat([disc(32, 3), disc(32, 6)]).to(torch.complex64)
    first = disc(32, 9).expand(2, 32, 32)
    wrap = sharp(dilate=2, largest=150 / 1024)
    support = wrap.update(exactly(x), State(x, first), first, 0.5)
    assert torch.equal(support[0], dilated(disc(32, 3), 2)[0])
    assert int(dilated(disc(32, 6), 2).sum()) > 150
    assert torch.equal(support[1], disc(32, 6)[0])


def test_dilation_comes_on_top_of_what_growth_allows():
    x, first = disc(32, 5).to(torch.complex64), disc(32, 5)
    support = sharp(dilate=1, growth=1.0).update(exactly(x), State(x, first), first, 0.5)
    assert torch.equal(support, dilated(first, 1))


def test_pinned_pixels_stay_out_of_a_dilated_support():
    x, first = disc(32, 4).to(torch.complex64), disc(32, 4)
    pinned = torch.zeros_like(first)
    pinned[:, 16, 21] = True
    state = State(x, first, pinned)
    support = sharp(dilate=2).update(exactly(x), state, first, 0.5)
    assert not support[0, 16, 21]
    assert support[0, 16, 11]


@pytest.mark.parametrize("grid", [(16, 18), (15, 17), (9, 8, 11)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_real_objects_support_is_the_same_from_half_the_spectrum(grid, dtype):
    x = torch.rand(2, *grid, generator=torch.Generator().manual_seed(3), dtype=dtype)
    x[..., grid[-1] // 2 :] = 0
    first = torch.zeros(2, *grid, dtype=torch.bool)
    first[..., : grid[-1] // 2] = True
    whole = Problem(forward(x).abs(), positive=True)
    half = whole.halved()
    wrap = ShrinkWrap(threshold=0.4, dilate=1)
    supports = [
        wrap.update(half, State(x, first), first, 0.5),
        wrap.update(whole, State(x.to(whole.dtype), first), first, 0.5),
    ]
    assert float((supports[0] ^ supports[1]).float().mean()) < 0.01  # rounding at the threshold
    assert float(supports[0].float().mean()) > 0.05
    both = autocorrelation_support(half), autocorrelation_support(whole)
    assert float((both[0] ^ both[1]).float().mean()) < 0.01
    assert both[0].any()


def test_an_iterate_that_is_not_finite_leaves_the_support_as_it_was():
    x = draw(1, 2, 16, 16)
    problem = exactly(x)
    x[1, 3, 3] = torch.nan
    first = disc(16, 5).expand(2, 16, 16)
    support = ShrinkWrap().update(problem, State(x, first), first, 0.5)
    assert torch.equal(support[1], first[1])
    assert support[0].any()


def test_pins_that_leave_nothing_leave_the_support_as_it_was():
    x, first = disc(32, 3).to(torch.complex64), disc(32, 5)
    pinned = disc(32, 4)
    state = State(x, first & ~pinned, pinned)
    support = ShrinkWrap(sigma=0, sigma_end=0).update(exactly(x), state, first, 0.5)
    assert torch.equal(support, state.support)
