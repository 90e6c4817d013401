import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError, SupportError
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import forward
from napari_dipr.solvers.problem import MAX_FRACTION, Problem, as_support, random_start, start_from


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
    problem = Problem.of([measurement(measured=mask), measurement(seed=1)], positive=positive)
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
