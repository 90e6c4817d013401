"""Recipes with a name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.projections import ER, HIO, RAAR
from napari_dipr.solvers.recipe import Recipe, Stage

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem


def _of(*stages: tuple[Any, int], **beside: Any) -> Recipe:
    """Make a recipe of the stages that have iterations at all."""
    return Recipe(stages=tuple(Stage(algorithm=a, iterations=n) for a, n in stages if n), **beside)


def hio(iterations: int, problem: "Problem | None" = None, **options: float) -> Recipe:
    """HIO, and ER for the last tenth."""
    last = iterations // 10
    return _of((HIO(**options), iterations - last), (ER(), last))


def raar(iterations: int, problem: "Problem | None" = None, **options: float) -> Recipe:
    """RAAR, and ER for the last tenth."""
    last = iterations // 10
    return _of((RAAR(**options), iterations - last), (ER(), last))


def alm(iterations: int, problem: "Problem | None" = None, **options: float) -> Recipe:
    """ALM alone: it polishes by itself."""
    return _of((ALM(**options), iterations))


PRESETS: dict[str, Callable[..., Recipe]] = {"hio": hio, "raar": raar, "alm": alm}
