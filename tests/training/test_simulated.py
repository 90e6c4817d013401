import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.networks.spec import Variety
from napari_dipr.training.simulated import CLEAN, clean, draw

HARD = Variety(fine=0)


def like(variety, **changes):
    return variety.model_copy(update=changes)


windows = pytest.mark.parametrize("window", [(36, 36), (24, 31), (16, 16, 16), (14, 12, 18)])
varieties = pytest.mark.parametrize("variety", [HARD, CLEAN], ids=["hard", "clean"])


def drawn(count, window, variety, seed=0):
    return draw(count, window, variety, torch.Generator().manual_seed(seed))


def phases(objects, least=0.5):
    """The phase where an object is bright."""
    return [x[x.abs() > least].angle() for x in objects]


def spans(objects):
    inside = objects != 0
    along = [inside.movedim(d, 1).flatten(2).any(2).sum(1) for d in range(1, inside.ndim)]
    return torch.stack(along).amax(0)


@windows
@varieties
def test_objects_are_complex_finite_and_in_their_window(window, variety):
    objects = drawn(9, window, variety)
    assert objects.shape == (9, *window)
    assert objects.dtype == torch.complex64
    assert objects.isfinite().all()


@windows
@varieties
def test_amplitudes_are_within_their_bounds_and_not_all_of_the_window_is_filled(window, variety):
    objects = drawn(60, window, variety)
    assert objects.abs().max() <= 3 * (1 + 1e-6)
    assert (objects == 0).flatten(1).any(1).double().mean() > 0.9


def test_a_plain_object_is_one_inside_and_nothing_outside():
    amplitude = drawn(60, (36, 36), CLEAN).abs()
    torch.testing.assert_close(amplitude, (amplitude > 0.5).float())


@pytest.mark.parametrize("window", [(36, 36), (24, 24, 24)])
@varieties
def test_no_object_is_empty(window, variety):
    objects = drawn(300, window, variety, seed=3)
    assert (objects.abs().flatten(1).amax(1) > 0.1).all()


@windows
@given(seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_objects_and_another_others(window, seed):
    first = drawn(2, window, HARD, seed)
    assert torch.equal(first, drawn(2, window, HARD, seed))
    assert not torch.equal(first, drawn(2, window, HARD, seed + 1))
    assert not torch.equal(first[0], first[1])


def test_one_generator_goes_on_to_other_objects():
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(draw(2, (16, 16), HARD, generator), draw(2, (16, 16), HARD, generator))


@pytest.mark.parametrize("window", [(36, 36), (18, 24, 20)])
def test_clean_objects_span_a_third_to_five_sixths_of_the_window(window):
    objects = clean(40, window, 5)
    assert objects.shape == (40, *window)
    assert (spans(objects) >= min(window) / 3).all()
    assert (spans(objects) <= 5 * min(window) / 6).all()
    assert spans(objects).max() > 1.5 * spans(objects).min()
    assert torch.equal(clean(40, window, 5), objects)
    assert not torch.equal(clean(40, window, 6), objects)
    assert torch.equal(clean(3, window, 5), objects[:3])


def test_phases_are_flat_where_that_is_asked_for():
    assert all(not phase.any() for phase in phases(drawn(40, (24, 24), like(HARD, flat=1.0))))
    flat = sum(not phase.any() for phase in phases(drawn(400, (24, 24), HARD)))
    assert 0.1 < flat / 400 < 0.3
    curved = like(HARD, flat=0.0, phase=(0.5, 1.5))
    assert all(phase.std() > 0.01 for phase in phases(drawn(40, (24, 24), curved)))


def test_phases_vary_as_much_as_is_asked_for():
    def spread(low, high, strong=0.0):
        variety = like(CLEAN, extent=(1.2, 1.2), flat=0.0, phase=(low, high), strong=strong)
        objects = drawn(200, (36, 36), variety)
        # A field is smooth over much of the object: only over many does its spread show.
        return float(torch.cat(phases(objects)).square().mean().sqrt())

    assert spread(0.3, 0.3) == pytest.approx(0.3, rel=0.15)
    assert spread(0.6, 0.6) == pytest.approx(0.6, rel=0.15)
    assert spread(0.3, 0.3, strong=1.0) == pytest.approx(0.3 * 7**0.5 / 3**0.5, rel=0.15)  # once to twice, uniform


def test_phases_are_smooth():
    """Neighbouring pixels differ by far less than the phase varies."""
    x = drawn(100, (36, 36), like(CLEAN, phase=(0.8, 0.8)))
    step = (x[:, 1:] * x[:, :-1].conj()).angle()[(x[:, 1:] * x[:, :-1]) != 0]
    assert step.square().mean().sqrt() < 0.3 * 0.8


def test_texture_and_soft_edges_are_there_only_where_they_are_asked_for():
    def levels(variety):
        return [len(x.abs()[x != 0].mul(1e4).round().unique()) for x in drawn(60, (24, 24), variety)]

    assert max(levels(CLEAN)) == 1
    textured, soft = levels(like(CLEAN, texture=0.5)), levels(like(CLEAN, soft=1.5))
    for found in (textured, soft):
        assert sum(n > 20 for n in found) / 60 > 0.25
    assert 0.25 < sum(n == 1 for n in textured) / 60 < 0.75


def test_objects_are_as_large_as_is_asked_for():
    def mean(extent):
        return float(spans(drawn(100, (36, 36), like(CLEAN, extent=(extent, extent)))).double().mean())

    small, large = mean(0.3), mean(0.9)
    assert small <= 0.3 * 36 + 1
    assert large <= 0.9 * 36 + 1
    assert large == pytest.approx(3 * small, rel=0.2)


@pytest.mark.parametrize("kind", range(3))
def test_every_shape_alone_can_be_drawn(kind):
    shapes = tuple(float(k == kind) for k in range(3))
    variety = like(CLEAN, shapes=shapes, phase=(0, 0), extent=(1.0, 1.0))
    filled = drawn(100, (36, 36), variety).abs().double().mean((1, 2))
    assert 0.02 < filled.min() < filled.max() < 0.8
    others = [drawn(100, (36, 36), like(variety, shapes=tuple(float(k == j) for k in range(3)))) for j in range(3)]
    assert sum(torch.equal(other, drawn(100, (36, 36), variety)) for other in others) == 1


def test_a_ball_is_cut_out_of_hollow_objects():
    plain, hollow = (drawn(100, (36, 36), like(CLEAN, phase=(0, 0), hollow=share)) for share in (0.0, 1.0))
    filled, left = (x.abs().flatten(1).sum(1) for x in (plain, hollow))
    assert (left <= filled + 16).all()  # the core that is left of every object may fill a gap
    assert (left < 0.9 * filled).double().mean() > 0.6


@pytest.mark.parametrize("window", [(36, 36), (12, 14, 16)])
def test_half_of_the_objects_have_the_middle_of_a_finer_ones_spectrum(window):
    half = drawn(6, window, like(HARD, fine=0.5), seed=4)
    generator = torch.Generator().manual_seed(4)
    plain = draw(3, window, HARD, generator)
    finer = draw(3, tuple(2 * n for n in window), HARD, generator)
    torch.testing.assert_close(half[:3], plain)
    dims = tuple(range(1, len(window) + 1))
    middle = torch.fft.fftshift(torch.fft.fftn(finer, dim=dims), dims)
    middle = middle[(slice(None), *(slice(n // 2, n // 2 + n) for n in window))]
    expected = torch.fft.ifftshift(middle, dims) / 2 ** len(window)
    torch.testing.assert_close(torch.fft.fftn(half[3:], dim=dims), expected, atol=1e-3, rtol=1e-3)
