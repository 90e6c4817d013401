"""Free errors by shrink-wrap's threshold: where the support is as tight as the measurement asks for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from napari_dipr.ensembles.ensemble import Diverged, Progress, diverged_of, drained, finished_of, watch
from napari_dipr.ensembles.ranking import Criterion, Row, criterion_of, ranked
from napari_dipr.ensembles.starts import Starts
from napari_dipr.errors import RecipeError
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe


@dataclass(frozen=True)
class Point:
    """The starts with one threshold.

    Attributes
    ----------
    threshold
        Share of the reference that is inside.
    rows
        The starts that came to their end, the best first; there may be none.
    criterion
        What they are ranked by.
    diverged
        Those that did not.
    """

    threshold: float
    rows: tuple[Row, ...]
    criterion: Criterion
    diverged: tuple[Diverged, ...] = ()

    @property
    def best(self) -> Row:
        """The best start of one or more."""
        return self.rows[0]


def threshold_curve(
    problem: Problem,
    recipe: Recipe,
    starts: Starts,
    count: int,
    thresholds: Sequence[float],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Point]:
    """Run the same starts with one threshold after the other.

    The error of the pixels that are fitted falls with every pixel of the support. That of pixels that were held back is
    least where the support is right: a tighter one cuts the object, a looser one fits the noise [1]_.

    Parameters
    ----------
    problem
        Of one measurement, with free pixels.
    recipe
        With shrink-wrap, whose threshold is replaced.
    starts, count
        As of :func:`~napari_dipr.ensembles.ensemble.watch`.
    thresholds
        Between 0 and 1.
    progress
        Told the number of the threshold and how many starts have ended.

    Yields
    ------
    Point
        Of each threshold, in their order.

    Raises
    ------
    RecipeError
        If the recipe has no shrink-wrap, or a threshold is none.
    SolverError
        As :func:`~napari_dipr.ensembles.ensemble.watch`.

    References
    ----------
    .. [1] V. Favre-Nicolin, S. Leake, Y. Chushkin, "Free log-likelihood as an unbiased metric for coherent diffraction
       imaging", Sci. Rep. 10, 2664 (2020).
    """
    wrap = recipe.shrinkwrap
    if wrap is None:
        raise RecipeError("Without shrink-wrap there is no threshold to choose.")
    if bad := [t for t in thresholds if not 0 < t < 1]:
        raise RecipeError(f"A threshold is between 0 and 1, these are not: {', '.join(map(str, bad))}.")
    for number, threshold in enumerate(thresholds):
        changed = recipe.model_copy(update={"shrinkwrap": wrap.model_copy(update={"threshold": threshold})})

        def tell(at: Progress, number: int = number) -> None:
            if progress is not None:
                progress(number, len(at.ended))

        ended = drained(watch(problem, changed, starts, count, interval=1.0), tell)
        rows = [f.row for f in finished_of(ended)]
        criterion = criterion_of(rows)
        yield Point(threshold, tuple(rows[i] for i in ranked(rows, criterion)), criterion, diverged_of(ended))
