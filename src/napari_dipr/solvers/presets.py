"""Recipes with a name.

``napari-dipr benchmark recipes`` compares searches: none is best for all. With noise, HIO and RAAR in turn are ahead of
either alone; without, HIO is.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from napari_dipr.errors import RecipeError
from napari_dipr.solvers import ITERATIONS
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.likelihood import Gaussian, Poisson
from napari_dipr.solvers.projections import ER, HIO, RAAR
from napari_dipr.solvers.recipe import Recipe, Settling, Stage

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem

# Above this share of measured pixels without a photon, noise decides how good a reconstruction can be.
EMPTY = 0.01
# χ² of objects that explain a pattern without noise all but for their support's edge, nmse .002 and less.
EXPLAINED = 1e-4


def _of(*stages: tuple[Any, int], **beside: Any) -> Recipe:
    """Make a recipe of the stages that have iterations at all."""
    return Recipe(stages=tuple(Stage(algorithm=a, iterations=n) for a, n in stages if n > 0), **beside)


def hio(iterations: int = ITERATIONS, problem: "Problem | None" = None, **options: float) -> Recipe:
    """HIO, and ER for the last tenth."""
    last = iterations // 10
    return _of((HIO(**options), iterations - last), (ER(), last))


def raar(iterations: int = ITERATIONS, problem: "Problem | None" = None, **options: float) -> Recipe:
    """RAAR, and ER for the last tenth."""
    last = iterations // 10
    return _of((RAAR(**options), iterations - last), (ER(), last))


def alm(iterations: int = ITERATIONS, problem: "Problem | None" = None, **options: float) -> Recipe:
    """ALM alone: it polishes by itself."""
    return _of((ALM(**options), iterations))


def thorough(iterations: int = 600, problem: "Problem | None" = None, **options: float) -> Recipe:
    """HIO and RAAR in turn three times, ER, and the likelihood for the last twentieth."""
    turn, last = 3 * iterations // 20, iterations // 20
    search = ((HIO(**options), turn), (RAAR(**options), turn))
    rest = iterations - 6 * turn - last
    return _of(*search * 3, (ER(), rest), (_likelihood(problem), last))


def auto(iterations: int = 1000, problem: "Problem | None" = None, **options: float) -> Recipe:
    """Choose by the measurement; what searches ends when nothing improves, at the latest after these iterations.

    HIO for real objects and without noise; else HIO and RAAR in turn, and the likelihood at the end.
    """
    if options:
        raise RecipeError(f"auto chooses by itself: leave out {', '.join(options)}.")
    noisy = problem is None or _is_noisy(problem)
    if problem is not None and (problem.real or not noisy):
        # HIO may rest for long before it finds its way; where noise is no excuse, χ² tells whether it has.
        settling = Settling(patience=200, hopeful=1 if noisy else EXPLAINED)
        return hio(iterations).model_copy(update={"settling": settling})
    polish = min(30, iterations // 10)
    turn = (iterations - 2 * polish) // 4
    search = ((HIO(), turn), (RAAR(), turn))
    rest = iterations - 4 * turn - polish
    return _of(*search * 2, (ER(), rest), (_likelihood(problem), polish), settling=Settling())


def _likelihood(problem: "Problem | None") -> Poisson | Gaussian:
    return Gaussian() if problem is None or problem.photons is None else Poisson()


def _is_noisy(problem: "Problem") -> bool:
    if problem.photons is not None:
        return True
    empty = problem.amplitudes == 0
    known = torch.ones_like(empty) if problem.measured is None else problem.measured.expand_as(empty)
    return bool((empty & known).sum() > EMPTY * known.sum())


PRESETS: dict[str, Callable[..., Recipe]] = {"hio": hio, "raar": raar, "alm": alm, "thorough": thorough, "auto": auto}
