"""Guided generations: the best start of each guides the others in the next one, as in a genetic algorithm.

Each start is laid over the best one and bred with it, and the next generation begins from the children: what both have
found is kept, what only one has found fades. The starts are then no longer independent of each other: that they agree
says nothing, and there is no transfer function.

References
----------
.. [1] C.-C. Chen, J. Miao, C. W. Wang, T. K. Lee, "Application of optimization technique to noncrystalline x-ray
   diffraction microscopy: Guided hybrid input-output method", Phys. Rev. B 76, 064113 (2007).
.. [2] A. Ulvestad, Y. Nashed, G. Beutier, M. Verdier, S. O. Hruszkewycz, M. Dupraz, "Identifying defects with guided
   algorithms in Bragg coherent diffractive imaging", Sci. Rep. 7, 9920 (2017).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.ensembles.alignment import align
from napari_dipr.ensembles.ensemble import (
    Diverged,
    Ended,
    Ensemble,
    Finished,
    Progress,
    combine,
    diverged_of,
    drained,
    enough_of,
    finished_of,
    watch,
)
from napari_dipr.ensembles.ranking import criterion_of, ranked
from napari_dipr.ensembles.starts import Given, Starts
from napari_dipr.errors import SolverError
from napari_dipr.solvers.problem import Problem, start_from
from napari_dipr.solvers.recipe import Recipe

Breed = Literal["root", "mean"]


def guided(
    problem: Problem,
    recipe: Recipe,
    starts: Starts,
    count: int,
    generations: int = 4,
    *,
    most: int | None = None,
    basis: NDArray[np.float64] | None = None,
    progress: Callable[[Progress], bool | None] | None = None,
    **options: Any,
) -> Ensemble:
    """Run generations of starts of one measurement, and combine the last one.

    Parameters
    ----------
    problem, recipe, starts, count, generations
        As in :func:`evolve`, as are the ``options``.
    most, basis
        As in :func:`~napari_dipr.ensembles.ensemble.combine`.
    progress
        Told where it is; where it returns True, it ends with what there is.

    Returns
    -------
    Ensemble
        Not independent, unless there was but one generation: its consensus has no PRTF.

    Raises
    ------
    SolverError
        As :func:`evolve` and :func:`~napari_dipr.ensembles.ensemble.combine`.
    """
    ended = drained(evolve(problem, recipe, starts, count, generations, **options), progress)
    independent = starts.independent and generations == 1
    return combine(problem, ended, most=most, basis=basis, independent=independent)


def evolve(
    problem: Problem,
    recipe: Recipe,
    starts: Starts,
    count: int,
    generations: int = 4,
    *,
    later: Recipe | None = None,
    breed: Breed = "root",
    done: Sequence[Ended] = (),
    **options: Any,
) -> Generator[Progress, bool | None, tuple[Ended, ...]]:
    """Run generations of starts of one measurement, yielding where they are.

    The best start is not bred, but goes on as it is, and keeps its place where that made it worse: a generation's best
    is never worse than that of the one before. A start that diverges is left out for good in the first generation; in a
    later one its parent stays.

    Parameters
    ----------
    problem, recipe, starts, count
        As in :func:`~napari_dipr.ensembles.ensemble.watch`, as are the ``options``.
    generations
        How many, the first one included.
    later
        The recipe of those after the first; None for the same.
    breed
        How, see :func:`bred`.
    done
        What became of the first ones of all generations, one after the other, where that is known already: those of
        ``before`` and ``ended`` of a :class:`~napari_dipr.ensembles.ensemble.Progress`.

    Yields
    ------
    Progress
        To be answered by True to stop: those that had not come to their end stay as they were a generation before.

    Returns
    -------
    tuple of Finished or Diverged
        The last generation, in the order of their numbers, and those that diverged in the first; rows count the
        iterations and seconds of all generations.

    Raises
    ------
    SolverError
        If there are no generations or no such way to breed, fewer than two starts are left to breed, or as
        :func:`~napari_dipr.ensembles.ensemble.watch`.
    """
    if generations < 1 or breed not in get_args(Breed):
        raise SolverError(f"{generations} generations bred by {breed!r}: take 1 or more, by 'root' or 'mean'.")
    population: tuple[Finished, ...] = ()
    diverged: tuple[Diverged, ...] = ()
    before: tuple[Ended, ...] = ()
    begun: Starts | Given = starts
    for generation in range(1, generations + 1):
        plan = recipe if generation == 1 or later is None else later
        size = count if generation == 1 else len(population)
        steps = watch(problem, plan, begun, size, done=done[len(before) : len(before) + size], **options)
        stop: bool | None = None
        try:
            at = next(steps)
            while True:
                answer = yield replace(at, generation=generation, generations=generations, before=before)
                stop = stop or answer
                at = steps.send(answer)
        except StopIteration as end:
            ended = end.value
        if generation == 1:
            population, diverged = finished_of(ended), diverged_of(ended)
        else:
            population = _succeeded(population, ended)
        if stop or generation == generations:
            break
        before += ended
        begun = children(problem, plan, enough_of((*population, *diverged)), breed, starts.seed)
    return *population, *diverged


def children(
    problem: Problem, recipe: Recipe, population: Sequence[Finished], breed: Breed = "root", seed: int = 0
) -> Given:
    """Breed a population with its best one.

    Parameters
    ----------
    problem
        That all are of.
    recipe
        Whose shrink-wrap says where a child's support is, from those of its parents; without, each has the best one's.
    population
        Starts that came to their end.
    breed
        How.
    seed
        Of the first generation's starts.
    """
    rows = [f.row for f in population]
    best = ranked(rows, criterion_of(rows))[0]
    objects, found = align(torch.stack([f.object for f in population]), best)
    supports = torch.stack([r.remove_from_support(f.support) for r, f in zip(found, population, strict=True)])
    bred_objects = torch.stack([x if i == best else bred(x, objects[best], breed) for i, x in enumerate(objects)])
    if recipe.shrinkwrap is None:
        return Given(bred_objects, supports[best].expand(supports.shape), seed)
    inside = []
    for i, (x, support) in enumerate(zip(bred_objects, supports, strict=True)):
        if i != best:
            both = (support | supports[best])[None].to(problem.device)
            support = recipe.shrinkwrap.update(problem, start_from(problem, x[None], both), both, 1.0)[0].cpu()
        inside.append(support)
    return Given(bred_objects, torch.stack(inside), seed)


def bred(a: Tensor, b: Tensor, breed: Breed = "root") -> Tensor:
    """Return the child of objects that lie over each other.

    ``root`` is ``√(|a|·|b|)`` with the phase halfway between: dark where one of them is, as in [1]; ``mean`` is
    ``(a + b)/2``, dark where they contradict each other. Cohere calls them ``sqrt_ab`` and ``avg_ab``.
    """
    if breed == "mean":
        return (a + b) / 2
    halfway = torch.sgn(torch.sgn(a) + torch.sgn(b))
    return (a.abs() * b.abs()).sqrt() * halfway


def _succeeded(before: Sequence[Finished], after: Sequence[Ended]) -> tuple[Finished, ...]:
    """Return the next population: children in their parents' places, as far as there are some, the best one kept."""
    rows = [f.row for f in before]
    criterion = criterion_of(rows)
    best = ranked(rows, criterion)[0]
    population = list(before)
    for i, (parent, child) in enumerate(zip(before, after, strict=False)):
        if isinstance(child, Diverged):
            population[i] = replace(parent, row=replace(parent.row, ended=f"as a generation before: {child.why}"))
            continue
        told = {name: getattr(parent.row, name) + getattr(child.row, name) for name in ("iterations", "seconds")}
        told |= {"number": parent.row.number, "seed": parent.row.seed}
        kept = parent if i == best and criterion.of(child.row) > criterion.of(parent.row) else child
        population[i] = replace(kept, row=replace(kept.row, **told))
    return tuple(population)
