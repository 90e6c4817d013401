"""The run that carries out a recipe: a two-way generator, which yields iterates by the clock and takes controls."""

import math
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_dipr.device import keep_freed_memory
from napari_dipr.errors import RecipeError, SolverError, SupportError, explained
from napari_dipr.solvers.position import Position, Record
from napari_dipr.solvers.problem import Errors, Problem, State, as_support
from napari_dipr.solvers.recipe import Recipe, Settling, Stage


@dataclass(frozen=True)
class Controls:
    """What a person may ask of a run between two iterations; None leaves a thing as it is.

    Attributes
    ----------
    edit
        What a person changed, ``[*grid]`` or ``[batch, *grid]``: 1 put into the support, −1 taken out, 0 as it is.
    pin
        Whether these pixels are pinned: shrink-wrap will not undo them.
    unpin
        Whether those that were pinned before the edit are given back to shrink-wrap.
    beta
        Feedback of the algorithms that have one, from now on and in later stages; one that it does not fit (HIO takes
        up to 2, RAAR up to 1) keeps its own.
    steps
        Yield after so many iterations too, and not by the clock alone.
    stop
        End the run after this iteration, with what there is.
    then
        What is asked for after all this, before the next iteration.
    """

    edit: ArrayLike | None = None
    pin: bool = True
    unpin: bool = False
    beta: float | None = None
    steps: int | None = None
    stop: bool = False
    then: "Controls | None" = None


@dataclass(frozen=True)
class Iterate:
    """Where a run is; with ``state`` and ``position`` it can go on from here."""

    problem: Problem = field(repr=False)
    state: State
    iteration: int
    total: int
    stage: str
    history: tuple[Record, ...]
    position: Position = field(repr=False)

    @property
    def solution(self) -> Tensor:
        """The object as it is known to be, inside its support; computed when asked for."""
        return self.problem.project_object(self.state.object, self.state.support)


@dataclass(frozen=True)
class Reconstruction:
    """What a run ends with.

    Attributes
    ----------
    object
        Inside the support, complex ``[batch, *grid]``.
    errors
        How well it explains the measurement.
    state
        The solver's state, from which another run can go on.
    ended
        Why the run ended, in words.
    """

    object: Tensor
    support: Tensor
    errors: Errors
    history: tuple[Record, ...]
    state: State = field(repr=False)
    seconds: float
    ended: str

    @property
    def chi2(self) -> Tensor:
        """``Σ(|F|−A)²/ΣA²`` per sample, on measured pixels."""
        return self.errors.chi2

    @property
    def r_factor(self) -> Tensor:
        """``Σ||F|−A|/ΣA`` per sample, on measured pixels."""
        return self.errors.r_factor

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return self.state.iteration

    @property
    def ffts(self) -> int:
        """Transforms spent on each sample by the algorithms (watching the error not counted)."""
        return self.state.ffts


def run(
    problem: Problem,
    recipe: Recipe,
    start: State,
    *,
    at: Position | None = None,
    interval: float = 0.1,
    record_every: int = 10,
) -> Generator[Iterate, Controls | None, Reconstruction]:
    """Carry out a recipe, yielding where it is and taking controls.

    Parameters
    ----------
    problem, recipe, start
        What to solve, how, and from where: a start, or the state of an earlier run of the same problem. Where the
        algorithm is the same too, it goes on as if it had never ended; another one goes on from the iterate as it is
        (after RRR, start from the earlier run's object instead). What works beside the stages begins anew: σ of
        shrink-wrap is that of a beginning, and its growth is counted from the support at hand. On the CPU, memory is
        kept from then on, see :func:`~napari_dipr.device.keep_freed_memory`.
    at
        Where in the recipe ``start`` is, both of one iterate of a run that was cut off: it goes on as if it had never
        been, bit for bit on the same device with as many threads. None: at the recipe's beginning.
    interval
        Seconds between two yields, at least. The first comes after the first iteration, or, where a run that was cut
        off has none left, at once.
    record_every
        Iterations between two entries of the error history; 0 for none but the last. Each costs one transform.

    Yields
    ------
    Iterate
        To be answered by :class:`Controls` or nothing.

    Returns
    -------
    Reconstruction

    Raises
    ------
    SolverError
        If the iterate is no longer finite.
    SupportError, RecipeError
        If an edit leaves no support or too large a one, or β is out of bounds. The run is over then; the state of the
        last iterate is whole, and another run can go on from it.
    """
    recipe.check()
    if problem.whole and (recipe.coherence is not None or start.psf is not None):
        raise RecipeError("Partial coherence is not known to half a spectrum: take the problem of the whole.")

    if problem.device.type == "cpu":
        keep_freed_memory()
    # A memory is of one algorithm with its options, an iterate of one algorithm.
    keeps = at is not None or start.by in (None, recipe.stages[0].algorithm)
    state = start if keeps else replace(start, memory=None)
    if state.psf is not None:
        problem = problem.seen_with(state.psf)
    goes_on, at = at is not None, Position(start.support) if at is None else at
    history, first = _History(at.history), at.first
    yielded = time.monotonic()
    began = yielded - at.seconds
    beta, edits, skipped, ended, stopped = at.beta, at.edits, at.skipped, list(at.ended), False
    total, done = recipe.iterations - skipped, at.done(recipe)
    wanted = done + 1  # the iteration to yield after, whatever the clock says
    searching = sum(stage.iterations for stage in recipe.stages if stage.algorithm.searches) - skipped

    stage = recipe.stages[at.stage]
    watch: _Watch | None = None

    def look() -> tuple[Tensor, Errors]:
        solution = problem.project_object(state.object, state.support)
        errors = problem.errors(solution, stage.algorithm.spectrum(state))
        history.add(state, errors, stage.algorithm.name, edits)
        return solution, errors

    def here() -> Iterate:
        nonlocal yielded
        yielded, rows = time.monotonic(), history.read()
        position = Position(
            first=first,
            stage=index,
            iterations=stage.iterations - left,
            skipped=skipped,
            ended=tuple(ended),
            settled=settled,
            best=math.inf if watch is None else watch.best,
            idle=0 if watch is None else watch.idle,
            beta=beta,
            edits=edits,
            history=rows,
            seconds=yielded - began,
        )
        return Iterate(problem, state, done, total, str(stage), rows, position)

    def obey(controls: Controls | None) -> None:
        nonlocal state, stage, watch, edits, beta, wanted, stopped
        while controls is not None:
            if watch is not None and (controls.edit is not None or controls.beta is not None):
                watch = _Watch(recipe, first)  # what was best before says nothing now
            if controls.unpin:
                state = replace(state, pinned=None)
            if controls.edit is not None:
                edited = _edited(problem, state, controls.edit, controls.pin)
                edits += not torch.equal(edited.support, state.support)
                state = edited
            if controls.beta is not None:
                beta = controls.beta
                stage = _with_beta(stage, beta)
            wanted = wanted if controls.steps is None else done + controls.steps
            stopped |= controls.stop
            controls = controls.then

    before = None
    for index, stage in enumerate(recipe.stages[at.stage :], at.stage):
        if before is not None:
            same = type(before) is type(stage.algorithm)
            state = replace(state, object=state.object if same else before.estimate(problem, state), memory=None)
        before = stage.algorithm
        # Nobody asked this algorithm for it: its bounds are no reason to end the run.
        with suppress(RecipeError):
            stage = _with_beta(stage, beta)
        watch = None if recipe.settling is None or not before.searches else _Watch(recipe, first)
        left, settled = stage.iterations, None
        if index == at.stage:
            left, settled = left - at.iterations, at.settled
            if watch is not None:
                watch.best, watch.idle = at.best, at.idle
        if goes_on and index == len(recipe.stages) - 1 and (settled is not None or not left):
            obey((yield here()))  # held at its end, with wishes that nobody has taken yet
        while left and settled is None and not stopped:
            state = stage.algorithm.step(problem, state)
            left, done = left - 1, done + 1
            wrap = recipe.shrinkwrap
            if wrap is not None and done % wrap.every == 0 and done < total and stage.algorithm.shrinks:
                seen = replace(state, object=stage.algorithm.estimate(problem, state))
                support = wrap.update(problem, seen, first, min(1.0, done / max(searching, 1)))
                state = _with_support(state, support, state.pinned)
                state = replace(state, ffts=state.ffts + problem.projection_ffts)
            estimated = recipe.coherence
            if estimated is not None and estimated.is_due(done, state.psf is not None) and done < total:
                psf = estimated.estimate(problem, stage.algorithm.estimate(problem, state), state)
                state, problem = replace(state, psf=psf, memory=None), problem.seen_with(psf)
            recorded = bool(record_every) and (done % record_every == 0 or done == 1)
            if recorded or (watch is not None and watch.is_due(stage.iterations - left)):
                look()
            if watch is not None and watch.is_due(stage.iterations - left):
                settled = watch.ended(history)
            if done == wanted or time.monotonic() - yielded >= interval:
                obey((yield here()))
        if stopped:
            ended.append(f"stopped after {done} of {total} iterations")
            break
        if settled is not None:
            ended.append(f"{stage.algorithm.name} ended after {stage.iterations - left} iterations: {settled}")
            total, searching, skipped = total - left, searching - left, skipped + left

    # An edit after the last iteration makes what was recorded of it untrue.
    history.forget(state.iteration)
    solution, errors = look()
    words, state = "; ".join(ended or ["all iterations done"]), replace(state, by=stage.algorithm)
    return Reconstruction(solution, state.support, errors, history.read(), state, time.monotonic() - began, words)


class _History:
    """The records so far. A device is not waited for until they are read."""

    def __init__(self, read: tuple[Record, ...]) -> None:
        self._read = list(read)
        self._coming: list[tuple[int, Tensor, str, int]] = []

    def add(self, state: State, errors: Errors, stage: str, edits: int) -> None:
        free = errors.free
        values = [errors.chi2, errors.r_factor, state.support.flatten(1).sum(1), errors.likelihood]
        values += [None] * 3 if free is None else [free.chi2, free.r_factor, free.likelihood]
        nothing = torch.full_like(errors.chi2, torch.nan)
        row = torch.stack([nothing if value is None else value.to(errors.chi2.dtype) for value in values]).mean(1)
        self._coming.append((state.iteration, row, stage, edits))

    def forget(self, iteration: int) -> None:
        self._coming = [coming for coming in self._coming if coming[0] != iteration]
        self._read = [record for record in self._read if record.iteration != iteration]

    def read(self) -> tuple[Record, ...]:
        for iteration, row, stage, edits in self._coming:
            chi2, *values = row.tolist()
            if not math.isfinite(chi2):
                raise SolverError(
                    f"The iterate is no longer finite at iteration {iteration}: the run diverged. Check the "
                    "measurement for absurd values, or take a smaller β."
                )
            means: Any = (chi2, *(value if math.isfinite(value) else None for value in values))
            self._read.append(replace(Record(iteration, *means), stage=stage, edits=edits))
        self._coming = []
        return tuple(self._read)


class _Watch:
    """Says when a stage that searches has come to its end."""

    def __init__(self, recipe: Recipe, first: Tensor) -> None:
        assert recipe.settling is not None
        self.how: Settling = recipe.settling
        self.best, self.idle = math.inf, 0
        wrap = recipe.shrinkwrap
        self.most = math.inf if wrap is None else float(wrap.most(first).mean())

    def is_due(self, iterations: int) -> bool:
        return iterations % self.how.every == 0

    def ended(self, history: _History) -> str | None:
        last = history.read()[-1]
        value = last.chi2 if last.free_chi2 is None else last.free_chi2
        improved = value < self.best * (1 - self.how.gain)
        self.idle = 0 if improved else self.idle + self.how.every
        self.best = min(self.best, value)
        if value < self.how.solved:
            return "the measurement is explained"
        if self.idle < self.how.patience:
            return None
        if last.support_pixels > 0.98 * self.most:
            return f"the support ran away, only its bound holds it at {last.support_pixels:.0f} pixels"
        if self.best > self.how.hopeful:
            return None
        return f"χ² has not improved for {self.idle} iterations"


def solve(problem: Problem, recipe: Recipe, start: State, **options: Any) -> Reconstruction:
    """Run a recipe to its end without watching; the options are those of :func:`run`."""
    steps = run(problem, recipe, start, **{"interval": float("inf"), "record_every": 0, **options})
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _with_beta(stage: Stage, beta: float | None) -> Stage:
    if beta is None or "beta" not in type(stage.algorithm).model_fields:
        return stage
    with explained(RecipeError, "The feedback β does not fit"):
        changed = type(stage.algorithm).model_validate({**stage.algorithm.model_dump(), "beta": beta})
    return stage.model_copy(update={"algorithm": changed})


def _edited(problem: Problem, state: State, edit: ArrayLike, pin: bool) -> State:
    strokes = torch.as_tensor(np.asarray(edit)).to(problem.device)
    if tuple(strokes.shape[-len(problem.grid) :]) != problem.grid:
        raise SupportError(f"The edit has the shape {tuple(strokes.shape)}, the measurement {problem.grid}.")
    strokes = strokes.expand(state.support.shape)
    support = as_support((state.support | (strokes > 0)) & (strokes >= 0), problem)
    if not pin:
        return _with_support(state, support, state.pinned)
    painted = strokes != 0
    return _with_support(state, support, painted if state.pinned is None else state.pinned | painted)


def _with_support(state: State, support: Tensor, pinned: Tensor | None) -> State:
    # Multipliers and curvature belong to the constraint they were found under.
    if state.memory is not None and not torch.equal(support, state.support):
        state = replace(state, memory=None)
    return replace(state, support=support, pinned=pinned)
