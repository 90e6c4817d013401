"""An ensemble: n starts of one measurement run, ranked, aligned, and what they have in common."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.device import is_out_of_memory, release_memory
from napari_dipr.ensembles.alignment import align, align_to_mean
from napari_dipr.ensembles.consensus import Consensus, consensus
from napari_dipr.ensembles.ranking import FEWEST, Criterion, Row, criterion_of, kept, ranked, rows_of
from napari_dipr.ensembles.starts import Given, Starts, batch_size, check_single, seed_of, together
from napari_dipr.errors import SolverError
from napari_dipr.solvers.problem import Errors, Problem
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Iterate, Reconstruction, run

# Of the kept starts, whose supports have a pixel that the mean's has.
MAJORITY = 0.5


@dataclass(frozen=True, eq=False)
class Finished:
    """A start that came to its end: its row, object and support ``[*grid]``, on the CPU."""

    row: Row
    object: Tensor = field(repr=False)
    support: Tensor = field(repr=False)


@dataclass(frozen=True)
class Diverged:
    """A start that did not come to its end, and why in words."""

    number: int
    seed: int
    why: str

    def __str__(self) -> str:
        """Say which it is, as people count, and why it is left out."""
        return f"Start {self.number + 1} (seed {self.seed}) is left out: {self.why}"


Ended = Finished | Diverged


def finished_of(ended: Sequence[Ended]) -> tuple[Finished, ...]:
    """Return those of them that came to their end."""
    return tuple(one for one in ended if isinstance(one, Finished))


def diverged_of(ended: Sequence[Ended]) -> tuple[Diverged, ...]:
    """Return those that did not."""
    return tuple(one for one in ended if isinstance(one, Diverged))


@dataclass(frozen=True)
class Progress:
    """Where an ensemble is.

    Attributes
    ----------
    ended
        The starts that are done or have diverged, in the order of their numbers: as many as there are, from the first.
    running
        The numbers of those that run now, as one batch.
    count
        How many there will be.
    at
        Where the batch is; None between two.
    generation, generations
        Which this is, from 1, and how many there will be; see :mod:`~napari_dipr.ensembles.generations`.
    before
        What ended in the generations before, one after the other.
    """

    ended: tuple[Ended, ...]
    running: tuple[int, ...]
    count: int
    at: Iterate | None
    generation: int = 1
    generations: int = 1
    before: tuple[Ended, ...] = ()

    @property
    def finished(self) -> tuple[Finished, ...]:
        """Those that are done."""
        return finished_of(self.ended)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Starts of one measurement, aligned, and what the kept ones have in common.

    Attributes
    ----------
    problem
        What was solved.
    rows
        Of those that came to their end, ``n`` of them, in the order of their numbers.
    order
        Their places, the best first.
    criterion
        What they are ranked by.
    kept
        Whether each is kept ``[n]``.
    objects
        Complex ``[n, *grid]``, all laid over the best one.
    supports
        Boolean ``[n, *grid]``, moved with the objects by whole pixels.
    consensus
        Of the kept ones.
    independent, basis
        As :func:`combine` was told.
    diverged
        The starts that are left out, for they did not come to their end.
    """

    problem: Problem = field(repr=False)
    rows: tuple[Row, ...]
    order: tuple[int, ...]
    criterion: Criterion
    kept: tuple[bool, ...]
    objects: Tensor = field(repr=False)
    supports: Tensor = field(repr=False)
    consensus: Consensus = field(repr=False)
    independent: bool = True
    basis: NDArray[np.float64] | None = field(default=None, repr=False)
    diverged: tuple[Diverged, ...] = ()

    @property
    def members(self) -> tuple[int, ...]:
        """The places of the kept starts, the best first."""
        return tuple(i for i in self.order if self.kept[i])

    @property
    def support(self) -> Tensor:
        """Where most of the kept starts have their support, boolean ``[*grid]``."""
        return self.supports[list(self.members)].double().mean(0) >= MAJORITY

    @cached_property
    def object(self) -> Tensor:
        """The mean as a result ``[*grid]``: inside :attr:`support`, and real or positive where that is known.

        That of the consensus is not cut, for its curves to tell of the starts and not of the cut.
        """
        problem, mean = self.problem, self.consensus.mean[None]
        x = (mean if problem.dtype.is_complex else mean.real).to(problem.device, problem.dtype)
        return problem.project_object(x, self.support[None].to(problem.device))[0].cpu()

    @cached_property
    def errors(self) -> Errors:
        """How well :attr:`object` explains the measurement: no better than the starts, for phases cancel in a mean."""
        return self.problem.errors(self.object[None].to(self.problem.device))

    @property
    def unit(self) -> str:
        """Of resolutions."""
        return "nm" if self.basis is not None else "voxels" if self.objects.ndim > 3 else "pixels"

    @property
    def dependence(self) -> str | None:
        """Why there is no transfer function and what agreement is worth, in words; None of independent starts."""
        if self.independent:
            return None
        return "begun near one object or bred with one of them, starts agree whatever the data say: there is no PRTF"

    def keeping(self, kept: Sequence[bool]) -> "Ensemble":
        """Return the ensemble with other starts kept, as a person chose them; nothing is run or aligned to the best.

        Raises
        ------
        SolverError
            If fewer than two are.
        """
        known = self.independent, self.basis, self.diverged
        return _of(self.problem, self.rows, self.objects, self.supports, kept, *known)


def ensemble(
    problem: Problem,
    recipe: Recipe,
    starts: Starts,
    count: int,
    *,
    most: int | None = None,
    basis: NDArray[np.float64] | None = None,
    progress: Callable[[Progress], bool | None] | None = None,
    **options: Any,
) -> Ensemble:
    """Run starts of one measurement, and combine them.

    Parameters
    ----------
    problem, recipe, starts, count
        As in :func:`watch`, as are the ``options``.
    most, basis
        As in :func:`combine`.
    progress
        Told where it is; where it returns True, the ensemble ends with the starts that are done.

    Raises
    ------
    SolverError
        As :func:`watch` and :func:`combine`.
    """
    ended = drained(watch(problem, recipe, starts, count, **options), progress)
    return combine(problem, ended, most=most, basis=basis, independent=starts.independent)


def drained(
    steps: Generator[Progress, bool | None, tuple[Ended, ...]], progress: Callable[[Progress], bool | None] | None
) -> tuple[Ended, ...]:
    """Run starts to their end, telling where they are; what is returned answers them."""
    try:
        at = next(steps)
        while True:
            at = steps.send(None if progress is None else progress(at))
    except StopIteration as end:
        return end.value


def watch(
    problem: Problem,
    recipe: Recipe,
    starts: Starts | Given,
    count: int,
    *,
    done: Sequence[Ended] = (),
    batch: int | None = None,
    interval: float = 0.1,
    record_every: int = 0,
) -> Generator[Progress, bool | None, tuple[Ended, ...]]:
    """Run starts of one measurement in batches, yielding where it is by the clock and after each batch.

    Where an accelerator's memory is full, batches of half the size are taken. A batch that diverges is run again start
    by start: the one that does so is left out, and the others come out as they would have, but for rounding.

    Parameters
    ----------
    problem
        Of one measurement.
    recipe
        How to solve it; not one whose stages end by themselves, if a start shall come out as it does alone.
    starts, count
        From where, and how many.
    done
        What became of the first ones, where that is known already.
    batch
        How many at once; None for what :func:`~napari_dipr.ensembles.starts.batch_size` says.
    interval, record_every
        As in :func:`~napari_dipr.solvers.run.run`; histories are means over a batch.

    Yields
    ------
    Progress
        To be answered by True to stop: the batch that runs is given up.

    Returns
    -------
    tuple of Finished or Diverged
        In the order of their numbers.

    Raises
    ------
    SolverError
        If the problem is a batch, or there are fewer than two starts.
    """
    check_single(problem)
    if count < FEWEST:
        raise SolverError(f"An ensemble of {count} says nothing of agreement: take {FEWEST} starts or more.")
    size = batch_size(problem, recipe, count) if batch is None else batch
    ended = list(done[:count])
    alone = 0  # up to this number start by start
    while (first := len(ended)) < count:
        # Batches begin at multiples of the size wherever one goes on: they are the same ones.
        numbers = tuple(range(first, min(first + (1 if first < alone else size - first % size), count)))
        seeds = [seed_of(starts.seed, number) for number in numbers]
        here = Progress(tuple(ended), numbers, count, None)
        try:
            result = yield from _run_batch(problem, recipe, starts, here, interval, record_every)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(numbers) == 1:
                raise
            result, size = None, max(1, size // 2)
            release_memory()
            continue
        except SolverError as error:
            if len(numbers) > 1:
                alone = numbers[-1] + 1
                continue
            ended.append(Diverged(first, seeds[0], str(error)))
        else:
            if result is None:
                break
            objects, supports = result.object.cpu(), result.support.cpu()
            ended += map(Finished, rows_of(result, numbers, seeds), objects, supports)
        if (yield Progress(tuple(ended), (), count, None)):
            break
    return tuple(ended)


def combine(
    problem: Problem,
    ended: Sequence[Ended],
    *,
    most: int | None = None,
    basis: NDArray[np.float64] | None = None,
    independent: bool = True,
) -> Ensemble:
    """Rank starts, lay them over the best one, and work out what the kept ones have in common.

    Parameters
    ----------
    problem
        That they are of.
    ended
        At least two that came to their end.
    most
        How many to keep at most, see :func:`~napari_dipr.ensembles.ranking.kept`.
    basis
        The voxel's edges, for resolutions in nm; see :func:`~napari_dipr.physics.shells.shells`.
    independent
        Whether the starts had nothing in common but the support: else there is no PRTF.

    Raises
    ------
    SolverError
        If there are fewer than two.
    """
    check_single(problem)
    finished = enough_of(ended)
    rows = tuple(f.row for f in finished)
    criterion = criterion_of(rows)
    best = ranked(rows, criterion)[0]
    objects, found = align(torch.stack([f.object for f in finished]), best)
    supports = torch.stack([r.remove_from_support(f.support) for r, f in zip(found, finished, strict=True)])
    return _of(problem, rows, objects, supports, kept(rows, criterion, most), independent, basis, diverged_of(ended))


def enough_of(ended: Sequence[Ended]) -> tuple[Finished, ...]:
    """Return the starts that came to their end.

    Raises
    ------
    SolverError
        If there are fewer than two.
    """
    finished = finished_of(ended)
    if len(finished) < FEWEST:
        few = "1 start came to its" if len(finished) == 1 else f"{len(finished)} starts came to their"
        words = f"{few} end; of fewer than {FEWEST} nothing can be said."
        raise SolverError(" ".join([words, *map(str, diverged_of(ended)[:1])]))
    return finished


def _of(
    problem: Problem,
    rows: tuple[Row, ...],
    objects: Tensor,
    supports: Tensor,
    chosen: Sequence[bool],
    independent: bool,
    basis: NDArray[np.float64] | None,
    diverged: tuple[Diverged, ...],
) -> Ensemble:
    if len(chosen) != len(rows) or sum(chosen) < FEWEST:
        raise SolverError(f"{sum(chosen)} of {len(rows)} starts are kept; keep {FEWEST} or more of them.")
    criterion = criterion_of(rows)
    order = ranked(rows, criterion)
    members = [i for i in order if chosen[i]]
    laid = align_to_mean(objects, members=members)
    common = consensus(problem, laid[members], supports[members], independent=independent, basis=basis)
    flags = tuple(map(bool, chosen))
    return Ensemble(problem, rows, order, criterion, flags, laid, supports, common, independent, basis, diverged)


def _run_batch(
    problem: Problem,
    recipe: Recipe,
    starts: Starts | Given,
    here: Progress,
    interval: float,
    record_every: int,
) -> Generator[Progress, bool | None, Reconstruction | None]:
    """Run some starts as one batch; None where it was stopped."""
    whole, state = together(problem, [starts.start(problem, number) for number in here.running])
    steps = run(whole, recipe, state, interval=interval, record_every=record_every)
    while True:
        try:
            at = next(steps)
        except StopIteration as end:
            return end.value
        if (yield replace(here, at=at)):
            return None
