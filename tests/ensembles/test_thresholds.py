import pytest

from napari_dipr.ensembles.starts import Starts
from napari_dipr.ensembles.thresholds import threshold_curve
from napari_dipr.errors import RecipeError
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.shrinkwrap import autocorrelation_support


def test_a_higher_threshold_leaves_a_smaller_support_and_the_best_comes_first(simulated):
    problem, _, _ = simulated(photons=1e6)
    told = []
    points = list(
        threshold_curve(
            problem,
            Recipe.parse("(hio*40 + er*20)*2; shrinkwrap(growth=10)"),
            Starts(autocorrelation_support(problem)[0]),
            3,
            (0.05, 0.5),
            progress=lambda number, done: told.append((number, done)),
        )
    )
    assert [point.threshold for point in points] == [0.05, 0.5]
    assert points[0].best.support_pixels > points[1].best.support_pixels
    for point in points:
        values = [point.criterion.of(row) for row in point.rows]
        assert values == sorted(values)
        assert {row.number for row in point.rows} == {0, 1, 2}
    assert (0, 3) in told
    assert (1, 3) in told


@pytest.mark.parametrize(("recipe", "values", "words"), [
    ("hio*20; no shrinkwrap", (0.1,), "no threshold to choose"),
    ("hio*20; shrinkwrap", (0.1, 1.0), r"these are not: 1\.0"),
])  # fmt: skip
def test_what_is_no_threshold_is_refused(simulated, recipe, values, words):
    problem, _, support = simulated()
    with pytest.raises(RecipeError, match=words):
        list(threshold_curve(problem, Recipe.parse(recipe), Starts(support), 2, values))


def test_starts_that_diverge_are_left_out_of_the_curve(simulated, diverging):
    problem, _, support = simulated()
    asked = problem, Recipe.parse("hio*6; shrinkwrap(every=3)"), Starts(support)
    diverging(1)
    (point,) = threshold_curve(*asked, 3, (0.1,))
    assert {row.number for row in point.rows} == {0, 2}
    assert [one.number for one in point.diverged] == [1]
    diverging(0)
    (none,) = threshold_curve(*asked, 2, (0.1,))
    assert none.rows == ()
    assert len(none.diverged) == 2
