"""Which starts are the better ones, and which to leave out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_dipr.solvers.problem import Errors
from napari_dipr.solvers.run import Reconstruction

# A start is left out whose error is so many times the best one's: a median would ask that most starts succeed, and in
# hard cases few do.
FACTOR = 1.5
# Below this χ² nothing is left to explain, and one start is as good as another.
EXPLAINED = 1e-4
# Of fewer nothing can be said.
FEWEST = 2


@dataclass(frozen=True)
class Row:
    """What became of a start; None for what is not known.

    The errors are those of :class:`~napari_dipr.solvers.problem.Errors`; those named ``free`` are of the pixels that
    were held back.
    """

    number: int
    seed: int
    chi2: float
    r_factor: float
    support_pixels: int
    likelihood: float | None = None
    free_chi2: float | None = None
    free_r_factor: float | None = None
    free_likelihood: float | None = None
    iterations: int = 0
    seconds: float = 0.0
    ended: str = ""

    @property
    def ordinal(self) -> int:
        """Its number as people count: from 1."""
        return self.number + 1


@dataclass(frozen=True)
class Criterion:
    """What starts are ranked by: the name of a row's attribute, in words, and a warning where it is not free."""

    name: str
    words: str
    warning: str | None = None

    def of(self, row: Row) -> float:
        """Return its value in a row."""
        return float(getattr(row, self.name))


FREE_LIKELIHOOD = Criterion("free_likelihood", "the free likelihood")
FREE_CHI2 = Criterion("free_chi2", "the free χ²")
CHI2 = Criterion(
    "chi2",
    "χ²",
    "χ² is of the pixels that were fitted, and falls with every freedom: a start with too large a support may lead. "
    "Hold pixels back to rank by what was not fitted",
)


def rows_of(result: Reconstruction, numbers: Sequence[int], seeds: Sequence[int]) -> list[Row]:
    """Return the rows of a batch of starts. Each has an equal part of its seconds."""
    pixels, seconds = result.support.flatten(1).sum(1).tolist(), result.seconds / len(numbers)
    rows = []
    for i, (number, seed) in enumerate(zip(numbers, seeds, strict=True)):
        figures: dict[str, Any] = figures_of(result.errors, i)
        figures |= {"iterations": result.iterations, "seconds": seconds, "ended": result.ended}
        rows.append(Row(number=number, seed=seed, support_pixels=pixels[i], **figures))
    return rows


def criterion_of(rows: Sequence[Row]) -> Criterion:
    """Return what starts can be ranked by: by free pixels where there are some, by their counts where they are known.

    References
    ----------
    .. [1] V. Favre-Nicolin, S. Leake, Y. Chushkin, "Free log-likelihood as an unbiased metric for coherent diffraction
       imaging", Sci. Rep. 10, 2664 (2020).
    """
    return next(
        (c for c in (FREE_LIKELIHOOD, FREE_CHI2) if all(getattr(row, c.name) is not None for row in rows)), CHI2
    )


def ranked(rows: Sequence[Row], criterion: Criterion) -> tuple[int, ...]:
    """Return the places of the rows, the best first."""
    return tuple(sorted(range(len(rows)), key=lambda i: criterion.of(rows[i])))


def kept(rows: Sequence[Row], criterion: Criterion, most: int | None = None) -> tuple[bool, ...]:
    """Say of each row whether it is among those to average: within :data:`FACTOR` of the best, at least two.

    Parameters
    ----------
    rows, criterion
        Of an ensemble.
    most
        Of those, how many at most; None for all.
    """
    order = ranked(rows, criterion)
    best = criterion.of(rows[order[0]])
    level = max(FACTOR * best, EXPLAINED)
    good = [i for i in order if criterion.of(rows[i]) <= level]
    good = good[: max(most, FEWEST)] if most is not None else good
    chosen = {*good, *order[:FEWEST]}
    return tuple(i in chosen for i in range(len(rows)))


def figures_of(errors: Errors, i: int = 0, prefix: str = "") -> dict[str, float | None]:
    """Return the errors of sample ``i`` by the names that they have in a row."""
    values = {"chi2": errors.chi2, "r_factor": errors.r_factor, "likelihood": errors.likelihood}
    figures = {prefix + name: None if value is None else float(value[i]) for name, value in values.items()}
    return figures if errors.free is None else figures | figures_of(errors.free, i, "free_")
