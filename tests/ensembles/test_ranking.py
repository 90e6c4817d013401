import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.ensembles.ranking import (
    CHI2,
    EXPLAINED,
    FACTOR,
    FREE_CHI2,
    FREE_LIKELIHOOD,
    Row,
    criterion_of,
    kept,
    ranked,
    rows_of,
)
from napari_dipr.ensembles.starts import Starts, together
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve


def rows(values):
    return [Row(i, i, value, value, 10) for i, value in enumerate(values)]


def test_free_pixels_rank_before_fitted_ones_and_counts_before_amplitudes():
    assert criterion_of([Row(0, 0, 1, 1, 9, 2, 3, 4, 5)]) is FREE_LIKELIHOOD
    assert criterion_of([Row(0, 0, 1, 1, 9, None, 3, 4)]) is FREE_CHI2
    assert FREE_CHI2.warning is None
    fitted = criterion_of([Row(0, 0, 1, 1, 9, 2)])
    assert fitted is CHI2
    assert "too large a support" in fitted.warning


@given(st.lists(st.floats(1e-9, 10), min_size=2, max_size=12), st.integers(1, 12) | st.none())
def test_those_near_the_best_are_kept_and_never_fewer_than_two(values, most):
    chosen = kept(rows(values), CHI2, most)
    order = ranked(rows(values), CHI2)
    assert [values[i] for i in order] == sorted(values)
    count = sum(chosen)
    assert count >= 2
    assert all(chosen[i] for i in order[:count])  # the best ones
    if most is not None:
        assert count <= max(most, 2)
    elif count < len(values):
        assert values[order[count]] > max(FACTOR * min(values), EXPLAINED)


def test_a_few_that_succeed_leave_out_the_many_that_do_not():
    assert kept(rows([0.5, 0.01, 0.4, 0.011, 0.5, 0.6, 0.45]), CHI2) == (False, True, False, True, False, False, False)


def test_what_explains_the_measurement_is_kept_however_much_better_another_is():
    assert kept(rows([1e-9, EXPLAINED / 2, 1e-7, 0.1]), CHI2) == (True, True, True, False)


@pytest.mark.parametrize(("photons", "free"), [(1e5, 0.05), (None, 0.05), (1e5, 0.0)])
def test_a_row_has_the_figures_of_its_start(simulated, photons, free):
    problem, _, support = simulated(photons, free)
    result = solve(*_ordered(*together(problem, [Starts(support).start(problem, k) for k in range(3)])))
    for i, row in enumerate(rows_of(result, [5, 6, 7], [50, 60, 70])):
        assert (row.number, row.seed) == (5 + i, 50 + 10 * i)
        assert row.chi2 == pytest.approx(float(result.chi2[i]))
        assert row.support_pixels == int(support.sum())
        assert (row.likelihood is None) == (photons is None)
        assert (row.free_chi2 is None) == (free == 0)
        assert (row.free_likelihood is None) == (photons is None or free == 0)
        if free:
            assert row.free_chi2 == pytest.approx(float(result.errors.free.chi2[i]))
    assert torch.isfinite(result.chi2).all()


def _ordered(problem, state):
    return problem, Recipe.parse("er*3; no shrinkwrap"), state
