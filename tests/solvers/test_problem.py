import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError, SupportError
from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import forward, mirrored
from napari_dipr.solvers.problem import MAX_FRACTION, Problem, State, as_support, random_start, start_from
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR


def measurement(shape=(16, 18), seed=0, **options):
    pattern = np.random.default_rng(seed).random(shape) + 0.1
    return Measurement.of(pattern, zero_frequency="centre", **options)


def some_support(problem, side=6):
    support = torch.zeros(problem.grid, dtype=torch.bool)
    support[(slice(3, 3 + side),) * len(problem.grid)] = True
    return as_support(support, problem)


def test_a_problem_holds_the_cornered_amplitudes_of_its_measurement():
    pattern = np.zeros((17, 16))
    pattern[8, 8], pattern[8, 9] = 9, 4
    problem = Problem.of(Measurement.of(pattern, zero_frequency="centre"))
    assert problem.grid == (17, 16)
    assert problem.measured is None
    assert (float(problem.amplitudes[0, 0, 0]), float(problem.amplitudes[0, 0, 1])) == (3, 2)


def test_a_batch_of_measurements_keeps_each_ones_mask():
    mask = np.ones((16, 18), bool)
    mask[8, 9] = False
    problem = Problem.of([measurement(), measurement(seed=1, measured=mask)])
    assert problem.amplitudes.shape == (2, 16, 18)
    assert bool(problem.measured[0].all())
    assert not bool(problem.measured[1, 0, 0])


def test_measurements_of_different_shapes_are_no_batch():
    with pytest.raises(MeasurementError, match=r"\(16, 18\), \(18, 16\)"):
        Problem.of([measurement(), measurement((18, 16))])
    with pytest.raises(MeasurementError, match="none"):
        Problem.of([])


@pytest.mark.parametrize("rubbish", [7.0, 1e30, torch.nan])
def test_values_of_unmeasured_pixels_influence_no_start_and_no_step(rubbish):
    measured = torch.ones(16, 18, dtype=torch.bool)
    measured[0, :3], measured[5, 5] = False, False
    amplitudes = Problem.of(measurement()).amplitudes
    clean = Problem(amplitudes, measured)
    other = Problem(torch.where(measured, amplitudes, rubbish), measured)
    support = some_support(clean)
    start = random_start(clean, support)
    assert torch.equal(random_start(other, support).object, start.object)
    assert torch.equal(other.project_magnitude(start.object), clean.project_magnitude(start.object))
    assert torch.equal(start_from(other, start.object, support).object, start_from(clean, start.object, support).object)


def test_labels_are_taken_as_one_support_for_all_samples():
    problem = Problem.of([measurement(), measurement()])
    labels = np.zeros(problem.grid, np.uint8)
    labels[2:4, 2:4], labels[5, 5] = 1, 7
    support = as_support(labels, problem)
    assert support.dtype == torch.bool
    assert torch.equal(support[0], torch.from_numpy(labels > 0))
    assert torch.equal(support[0], support[1])


def test_each_sample_may_have_its_own_support():
    problem = Problem.of([measurement(), measurement()])
    each = np.zeros((2, *problem.grid), bool)
    each[0, 2, 2], each[1, 3, 3] = True, True
    assert torch.equal(as_support(each, problem), torch.from_numpy(each))


def test_a_support_is_a_copy_that_later_painting_does_not_change():
    problem = Problem.of(measurement())
    labels = np.zeros(problem.grid, np.uint8)
    labels[2, 2] = 1
    support = as_support(labels, problem)
    labels[3, 3] = 1
    assert int(support.sum()) == 1


@pytest.mark.parametrize("shape", [(16,), (18, 16), (1, 1), (3, 16, 18), (1, 1, 16, 18), ()])
def test_a_support_of_another_shape_is_refused_with_both_shapes(shape):
    problem = Problem.of([measurement(), measurement()])
    with pytest.raises(SupportError, match=r"the measurement \(16, 18\)"):
        as_support(np.ones(shape), problem)


def test_an_empty_support_is_refused():
    problem = Problem.of([measurement(), measurement()])
    one_empty = np.zeros((2, *problem.grid))
    one_empty[0, 2, 2] = 1
    for empty in (np.zeros(problem.grid), one_empty):
        with pytest.raises(SupportError, match="empty"):
            as_support(empty, problem)


def test_a_support_of_half_the_grid_is_the_largest():
    problem = Problem.of(measurement())
    half = np.zeros(problem.grid)
    half[:8] = 1
    assert MAX_FRACTION == 0.5
    assert float(as_support(half, problem).float().mean()) == 0.5
    half[8, 0] = 1
    with pytest.raises(SupportError, match=r"more than 50%.*Erase"):
        as_support(half, problem)


def test_a_seed_gives_the_same_start_and_another_seed_another_one():
    problem = Problem.of(measurement())
    support = some_support(problem)
    first = random_start(problem, support, seed=3).object
    assert torch.equal(random_start(problem, support, seed=3).object, first)
    assert not torch.allclose(random_start(problem, support, seed=4).object, first)


def test_the_starts_of_a_batch_differ():
    problem = Problem.of([measurement(), measurement()])
    start = random_start(problem, some_support(problem)).object
    assert not torch.allclose(start[0], start[1])


@given(st.booleans(), st.booleans(), st.integers(0, 1000))
def test_starts_lie_in_the_support_and_have_the_energy_that_was_measured(positive, masked, seed):
    mask = np.ones((16, 18), bool)
    mask[6:11, 7:12] = not masked  # a beam stop
    problem = Problem.of([measurement(measured=mask), measurement(seed=1)])
    problem = Problem(problem.amplitudes, problem.measured, positive)
    support = some_support(problem)
    guess = torch.rand(16, 18, generator=torch.Generator().manual_seed(seed))
    for start in (random_start(problem, support, seed), start_from(problem, guess, support)):
        x = start.object
        assert not (x * ~support).any()
        if positive:
            assert (x.real >= 0).all()
            assert not x.imag.any()
        measured = torch.ones(16, 18, dtype=torch.bool) if problem.measured is None else problem.measured
        energy = (forward(x).abs().square() * measured).flatten(1).sum(1)
        torch.testing.assert_close(energy, problem.amplitudes.square().flatten(1).sum(1))


def test_a_start_keeps_the_object_but_for_its_scale():
    problem = Problem.of(measurement())
    support = some_support(problem)
    x = torch.randn(1, 16, 18, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)) * support
    start = start_from(problem, 1e-3 * x, support).object
    torch.testing.assert_close(start / start.abs().max(), x / x.abs().max())


def test_a_start_with_nothing_inside_the_support_is_refused():
    problem = Problem.of(measurement())
    x = torch.zeros(1, 16, 18)
    x[0, 0, 0] = 1
    with pytest.raises(SupportError, match="Nothing of the start is inside"):
        start_from(problem, x, some_support(problem))


def test_the_problem_takes_double_precision():
    problem = Problem(Problem.of(measurement()).amplitudes.double())
    assert random_start(problem, some_support(problem)).object.dtype == torch.complex128
    assert problem.project_magnitude(random_start(problem, some_support(problem)).object).dtype == torch.complex128


GRIDS = [(12, 14), (13, 15), (8, 6, 10), (7, 8, 9)]


def draw_mask(shape, seed=3, share=0.8):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    mask[(..., *(0,) * (len(shape) - 1))] = True
    return mask


def asymmetric(grid, batch, dtype, seed=0):
    """Return real objects that are not their own mirror images, some of their values negative, and a support."""
    x = torch.zeros(batch, *grid, dtype=dtype)
    support = torch.zeros(batch, *grid, dtype=torch.bool)
    inside = (slice(None), *(slice(2, 2 + n // 2) for n in grid))
    support[inside] = True
    x[inside] = torch.randn(x[inside].shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.5
    return x, support


def real_problem(grid, batch, dtype, positive=False, measured=None, **known):
    x, support = asymmetric(grid, batch, dtype)
    x = x.abs() if positive else x
    problem = Problem(forward(x).abs(), measured, positive, True, **known)
    return problem, x, support


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("algorithm", [ER(), HIO(), RAAR(), DM(), RRR()], ids=lambda a: a.name)
def test_half_the_spectrum_of_a_real_object_gives_the_iterates_of_the_whole(algorithm, grid, positive):
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        whole, truth, support = real_problem(grid, 2, dtype, positive)
        half = whole.halved()
        assert half.amplitudes.shape == (2, *grid[:-1], grid[-1] // 2 + 1)
        assert (half.grid, half.shape, half.dtype) == (grid, (2, *grid), dtype)
        x = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
        a, b = State(x, support), State(x.to(whole.dtype), support)
        for _ in range(20):
            a, b = algorithm.step(half, a), algorithm.step(whole, b)
        assert a.object.dtype == dtype
        assert a.ffts == b.ffts
        assert float((a.object - b.object).norm() / b.object.norm()) < tolerance
        assert float((b.object - x).norm() / x.norm()) > 0.01  # they have gone somewhere


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_errors_of_half_the_spectrum_are_those_of_the_whole(grid, masked):
    measured = None
    if masked:
        measured = draw_mask((2, *grid))
        measured = measured & mirrored(measured)
    whole, truth, _ = real_problem(grid, 2, torch.float64, measured=measured, photons=50.0)
    x = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=truth.dtype)
    a, b = whole.halved().errors(x), whole.errors(x.to(whole.dtype))
    for name in ("chi2", "r_factor", "likelihood"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=0)
        assert (getattr(a, name) > 0).all()
    direct = forward(x).abs()
    known = torch.ones_like(direct) if measured is None else measured.to(direct)
    dims = tuple(range(1, direct.ndim))
    power = (whole.amplitudes.square() * known).sum(dims)
    torch.testing.assert_close(b.chi2, ((direct - whole.amplitudes).square() * known).sum(dims) / power)
    counts, expected = 50 * whole.amplitudes.square(), 50 * direct.square() + 1e-3
    terms = expected - counts + torch.xlogy(counts, counts / expected)
    torch.testing.assert_close(b.likelihood, (terms * known).sum(dims) / known.sum(dims))


@pytest.mark.parametrize("grid", GRIDS)
def test_noisy_intensities_at_q_and_minus_q_are_averaged_or_taken_from_the_one_that_was_measured(grid):
    x, _ = asymmetric(grid, 2, torch.float64)
    intensities = forward(x).abs().square()
    noise = torch.rand(intensities.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    intensities = intensities * (0.5 + noise)
    measured = draw_mask(grid, 4, 0.6)
    half = Problem(intensities.sqrt(), measured).halved()
    for where in torch.cartesian_prod(*[torch.arange(n) for n in half.amplitudes.shape[1:]]).tolist():
        other = tuple(-q % n for q, n in zip(where, grid, strict=True))
        values = [intensities[(slice(None), *q)] for q in (tuple(where), other) if measured[tuple(q)]]
        at = (slice(None), *where)
        assert bool(half.measured[at].all()) == bool(half.measured[at].any()) == bool(values)
        expected = sum(values) / len(values) if values else torch.zeros(2, dtype=torch.float64)
        torch.testing.assert_close(half.amplitudes[at].square(), expected)


def test_a_real_object_keeps_the_mask_of_each_sample():
    whole, _, _ = real_problem((12, 14), 2, torch.float32)
    measured = torch.ones(2, 12, 14, dtype=torch.bool)
    measured[1, 2, 3], measured[1, -2, -3] = False, False
    half = Problem(whole.amplitudes, measured).halved()
    assert half.measured[0].all()
    assert not half.measured[1, 2, 3]
    assert int((~half.measured).sum()) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("photons", [500, 1e4, 1e7, None])
@pytest.mark.parametrize("shape", [(9, 12), (7, 8, 7)])
def test_a_centred_pattern_is_taken_whatever_its_noise(shape, photons, seed):
    picture = np.random.default_rng(seed).random(shape)
    pattern, truth = simulate(picture, photons=photons, seed=seed, oversampling=2.5)
    half = Problem.of(pattern, positive=True)
    assert half.whole == truth.shape
    # and so is one of which a person has masked a part that is not symmetric
    mask = np.ones(pattern.grid, bool)
    mask[..., : pattern.grid[-1] // 2 - 1] = False
    assert Problem.of(pattern.with_mask(mask), positive=True).whole == truth.shape


@pytest.mark.parametrize("photons", [1e4, None])
@pytest.mark.parametrize(
    ("offset", "words"), [((3, 0), r"\(\+3, \+0\)"), ((-2, 5), r"\(-2, \+5\)"), ((0, 1), r"\+1\)")]
)
def test_a_pattern_off_its_centre_is_refused_with_how_far_it_is_off(offset, words, photons):
    pattern, _ = simulate(np.random.default_rng(1).random((9, 12)), photons=photons, oversampling=2.5)
    moved = Measurement.of(np.roll(pattern.intensities, offset, (0, 1)), zero_frequency="centre")
    with pytest.raises(MeasurementError, match=rf"{words} pixels from its zero frequency.*crop it"):
        Problem.of(moved, positive=True)
    # in company, and where some of it was not measured
    mask = np.ones(pattern.grid, bool)
    mask[2:5, 3:9] = False
    with pytest.raises(MeasurementError, match="pixels from its zero frequency"):
        Problem.of([pattern, moved.with_mask(mask)], real=True)
    assert Problem.of(moved).whole is None


def test_one_measured_pixel_is_no_sign_of_a_pattern_off_its_centre():
    measured = torch.zeros(12, 14, dtype=torch.bool)
    measured[3, 11] = True
    whole, _, support = real_problem((12, 14), 2, torch.float32, measured=measured)
    half = whole.halved()
    assert half.measured.nonzero()[:, 1:].tolist() == [[9, 3]] * 2  # −q of it, which is in the half that is kept
    for problem in (whole, half):
        start = random_start(problem, support)
        state = HIO().step(problem, ER().step(problem, start))
        assert state.object.isfinite().all()
        torch.testing.assert_close(problem.errors(start.object).chi2, torch.zeros(2, dtype=torch.float64))


def test_a_halved_problem_is_halved_once_and_before_pixels_are_held_back():
    whole, _, _ = real_problem((12, 14), 1, torch.float32)
    half = whole.halved()
    assert half.halved() is half
    with pytest.raises(ValueError, match="before pixels"):
        whole.holding_out(0.1).halved()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_starts_of_half_a_spectrum_lie_in_the_support_and_have_the_energy_that_was_measured(grid, positive, masked):
    whole, truth, support = real_problem(grid, 2, torch.float32, positive, draw_mask((2, *grid)) if masked else None)
    half = whole.halved()
    guess = np.random.default_rng(0).random(grid) * (1 + 2j)
    for start in (random_start(half, support, 3), start_from(half, torch.from_numpy(guess), support)):
        x = start.object
        assert x.dtype == torch.float32
        assert x.shape == truth.shape
        assert not (x * ~support).any()
        assert not positive or (x >= 0).all()
        known = torch.ones(half.shape, dtype=torch.bool)
        if masked:
            known = whole.measured | mirrored(whole.measured)
        power = (forward(x).abs().square() * known).flatten(1).sum(1)
        pairs = torch.where(known, _averaged(whole), 0).flatten(1).sum(1)
        torch.testing.assert_close(power, pairs, rtol=1e-4, atol=0)
    assert torch.equal(random_start(half, support, 3).object, random_start(half, support, 3).object)
    assert not torch.equal(random_start(half, support, 3).object, random_start(half, support, 4).object)


def _averaged(problem):
    """Return intensities averaged over those of q and −q that were measured."""
    intensities, known = problem.amplitudes.square(), problem.measured
    known = torch.ones_like(intensities) if known is None else known.to(intensities)
    return (intensities + mirrored(intensities)) / (known + mirrored(known)).clamp_min(1)


def test_an_imaginary_guess_is_no_start_for_a_real_object():
    whole, _, support = real_problem((12, 14), 1, torch.float32)
    with pytest.raises(SupportError, match="Nothing of the start"):
        start_from(whole.halved(), torch.ones(12, 14) * 1j, support)


@pytest.mark.parametrize("grid", GRIDS)
def test_errors_vanish_at_the_truth_and_take_a_far_field_that_is_at_hand(grid):
    whole, truth, _ = real_problem(grid, 3, torch.float64, photons=2.0)
    for problem, x in ((whole, truth.to(whole.dtype)), (whole.halved(), truth)):
        exact = problem.errors(x)
        assert float(exact.chi2.max()) < 1e-20
        assert float(exact.r_factor.max()) < 1e-10
        assert float(exact.likelihood.abs().max()) < 1e-3
        assert exact.free is None
        wrong = x + 0.1
        one, other = problem.errors(wrong), problem.errors(wrong, problem.forward(wrong))
        assert torch.equal(one.chi2, other.chi2)
        assert (one.chi2 > 1e-6).all()
