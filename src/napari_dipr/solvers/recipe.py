"""Recipes, and the run that carries one out.

A recipe is data: stages, each an algorithm for a number of iterations, and a shrink-wrap that works beside
them. :func:`run` is a two-way generator: it yields iterates by the clock, and takes controls at every yield.
"""

import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from napari_dipr.errors import RecipeError, SolverError, SupportError, in_words
from napari_dipr.solvers import ITERATIONS
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.problem import Problem, State, as_support
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR
from napari_dipr.solvers.shrinkwrap import ShrinkWrap

MOST_ITERATIONS = 1_000_000

AnyAlgorithm = Annotated[ER | HIO | RAAR | DM | RRR | ALM, Field(discriminator="name")]
ALGORITHMS: dict[str, type[ER] | type[HIO] | type[RAAR] | type[DM] | type[RRR] | type[ALM]] = {
    "er": ER,
    "hio": HIO,
    "raar": RAAR,
    "dm": DM,
    "rrr": RRR,
    "alm": ALM,
}


class Stage(BaseModel):
    """One algorithm for a number of iterations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: AnyAlgorithm
    iterations: int = Field(ge=1, le=MOST_ITERATIONS)

    def __str__(self) -> str:
        """Return the compact text, such as ``hio(beta=0.8)*300``."""
        changed = self.algorithm.model_dump(exclude={"name"}, exclude_defaults=True)
        options = ",".join(f"{key}={value}" for key, value in changed.items())
        return f"{self.algorithm.name}{f'({options})' if options else ''}*{self.iterations}"


class Recipe(BaseModel):
    """Stages, and the shrink-wrap that works beside them (None: the support stays as it is)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: tuple[Stage, ...] = Field(min_length=1)
    shrinkwrap: ShrinkWrap | None = ShrinkWrap()

    @property
    def iterations(self) -> int:
        """Iterations of all stages together."""
        return sum(stage.iterations for stage in self.stages)

    def __str__(self) -> str:
        """Return the compact text, such as ``hio*300 + er*50``."""
        return " + ".join(str(stage) for stage in self.stages)

    @classmethod
    def parse(
        cls, text: str, *, iterations: int | None = None, shrinkwrap: ShrinkWrap | None = None, **options: float
    ) -> "Recipe":
        """Read a preset's name (``hio``, ``raar``, ``alm``) or the compact text.

        Parameters
        ----------
        text
            A preset, or stages joined by ``+``: ``name*iterations`` with options in brackets where they are not the
            defaults, such as ``hio(beta=0.8)*300 + er*50``.
        iterations
            Iterations of a preset in all, of which the last tenth of ``hio`` and ``raar`` are ER. The text states its
            own.
        shrinkwrap
            As in :class:`Recipe`.
        **options
            Of a preset's algorithm, such as ``beta``.

        Raises
        ------
        RecipeError
            If the text cannot be read, with the part that was not understood.
        """
        text = text.strip().lower()
        if text in PRESETS:
            iterations = ITERATIONS if iterations is None else iterations
            if not 1 <= iterations <= MOST_ITERATIONS:
                raise RecipeError(f"{iterations} iterations were asked for; it must be 1 to {MOST_ITERATIONS}.")
            return cls(stages=PRESETS[text](iterations, **options), shrinkwrap=shrinkwrap)
        if iterations is not None or options:
            given = [
                f"{key}={value:g}" for key, value in {"iterations": iterations, **options}.items() if value is not None
            ]
            raise RecipeError(
                f"The recipe {text!r} states its own iterations and options: leave out {', '.join(given)}."
            )
        return cls(stages=tuple(_stage(part) for part in text.split("+")), shrinkwrap=shrinkwrap)


def _finished(algorithm: AnyAlgorithm, iterations: int) -> tuple[Stage, ...]:
    last = iterations // 10
    stages = [Stage(algorithm=algorithm, iterations=iterations - last)]
    return (*stages, Stage(algorithm=ER(), iterations=last)) if last else tuple(stages)


PRESETS: dict[str, Callable[..., tuple[Stage, ...]]] = {
    "hio": lambda n, **options: _finished(HIO(**options), n),
    "raar": lambda n, **options: _finished(RAAR(**options), n),
    "alm": lambda n, **options: (Stage(algorithm=ALM(**options), iterations=n),),
}

_STAGE = re.compile(r"\s*(?P<name>\w+)\s*(\((?P<options>[^()]*)\))?\s*\*\s*(?P<iterations>\d+)\s*")


def _stage(text: str) -> Stage:
    known = f"Write stages as NAME*ITERATIONS, joined by +, NAME one of {', '.join(ALGORITHMS)}; or a preset: "
    known += f"{', '.join(PRESETS)}."
    match = _STAGE.fullmatch(text)
    if match is None or match["name"] not in ALGORITHMS:
        raise RecipeError(f"The recipe's part {text.strip()!r} was not understood. {known}")
    options = {}
    for pair in (match["options"] or "").replace(" ", "").split(","):
        key, equals, value = pair.partition("=")
        if pair and not (key and equals and value):
            raise RecipeError(f"The recipe's part {text.strip()!r} has {pair!r} where OPTION=VALUE is expected.")
        if pair:
            options[key] = value
    try:
        return Stage(algorithm=ALGORITHMS[match["name"]](**options), iterations=int(match["iterations"]))
    except ValidationError as error:
        raise RecipeError(
            f"The recipe's part {text.strip()!r} has options that do not fit: {in_words(error)}."
        ) from error


@dataclass(frozen=True)
class Record:
    """One row of the error history; the worst of the batch would hide the rest, so they are means over it."""

    iteration: int
    chi2: float
    r_factor: float
    support_pixels: float


@dataclass(frozen=True)
class Controls:
    """What a person may ask of a run between two iterations; None leaves a thing as it is.

    Attributes
    ----------
    edit
        What a person painted, ``[*grid]`` or ``[batch, *grid]``: 1 put into the support, −1 taken out, 0 as it is.
        These pixels are pinned: shrink-wrap will not undo them.
    beta
        Feedback of the algorithms that have one, from now on and in later stages.
    stop
        End the run after this iteration, with what there is.
    """

    edit: ArrayLike | None = None
    beta: float | None = None
    stop: bool = False


@dataclass(frozen=True)
class Iterate:
    """Where a run is. ``state`` holds the live tensors: copy what outlives the next iteration."""

    state: State
    solution: Tensor
    iteration: int
    total: int
    stage: str
    history: tuple[Record, ...]


@dataclass(frozen=True)
class Reconstruction:
    """What a run ends with.

    Attributes
    ----------
    object
        Inside the support, complex ``[batch, *grid]``.
    chi2, r_factor
        Per sample, ``[batch]``, on measured pixels.
    state
        The solver's state, from which another run can go on.
    ended
        Why the run ended, in words.
    """

    object: Tensor
    support: Tensor
    chi2: Tensor
    r_factor: Tensor
    history: tuple[Record, ...]
    state: State = field(repr=False)
    seconds: float
    ended: str

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
    interval: float = 0.1,
    record_every: int = 10,
) -> Generator[Iterate, Controls | None, Reconstruction]:
    """Carry out a recipe, yielding where it is and taking controls.

    Parameters
    ----------
    problem, recipe, start
        What to solve, how, and from where: a start, or the state of an earlier run of the same problem. Where the
        algorithm is the same too, it goes on as if it had never ended; another one goes on from the iterate as it is
        (after RRR, start from the earlier run's object instead).
    interval
        Seconds between two yields, at least. The first comes after the first iteration.
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
    state, ended = start, "all iterations done"
    history: list[Record] = []
    began = yielded = time.monotonic()
    beta: float | None = None
    total, done, stopped = recipe.iterations, 0, False
    searching = sum(stage.iterations for stage in recipe.stages if stage.algorithm.searches)

    def look() -> tuple[Record, Tensor, Tensor, Tensor]:
        solution = problem.project_object(state.object, state.support)
        errors = problem.errors(solution)
        chi2, r = errors.chi2, errors.r_factor
        if not bool(chi2.isfinite().all()):
            raise SolverError(
                f"The iterate is no longer finite at iteration {state.iteration}: the run diverged. Check the "
                "measurement for absurd values, or take a smaller β."
            )
        pixels = float(state.support.sum()) / len(state.support)
        return Record(state.iteration, float(chi2.mean()), float(r.mean()), pixels), solution, chi2, r

    before = None
    for stage in recipe.stages:
        if before is not None:  # a memory is of one algorithm with its options, an iterate of one algorithm
            same = type(before) is type(stage.algorithm)
            state = replace(state, object=state.object if same else before.estimate(problem, state), memory=None)
        before, stage = stage.algorithm, _with_beta(stage, beta)
        for _ in range(stage.iterations):
            state = stage.algorithm.step(problem, state)
            done += 1
            wrap = recipe.shrinkwrap
            if wrap is not None and done % wrap.every == 0 and done < total:
                seen = replace(state, object=stage.algorithm.estimate(problem, state))
                support = wrap.update(problem, seen, start.support, min(1.0, done / max(searching, 1)))
                state = _with_support(replace(state, ffts=state.ffts + 2), support, state.pinned)
            if record_every and (done % record_every == 0 or done == 1):
                history.append(look()[0])
            now = time.monotonic()
            if done == 1 or now - yielded >= interval:
                yielded = now
                solution = problem.project_object(state.object, state.support)
                controls = yield Iterate(state, solution, done, total, str(stage), tuple(history))
                if controls is not None:
                    if controls.edit is not None:
                        state = _edited(problem, state, controls.edit)
                    beta = controls.beta if controls.beta is not None else beta
                    stage = _with_beta(stage, beta)
                    stopped = controls.stop
            if stopped:
                break
        if stopped:
            ended = f"stopped after {done} of {total} iterations"
            break

    last, solution, chi2, r = look()
    # An edit after the last iteration makes what was recorded of it untrue.
    past = (h for h in history if h.iteration != last.iteration)
    return Reconstruction(solution, state.support, chi2, r, (*past, last), state, time.monotonic() - began, ended)


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
    try:
        changed = type(stage.algorithm).model_validate({**stage.algorithm.model_dump(), "beta": beta})
        return stage.model_copy(update={"algorithm": changed})
    except ValidationError as error:
        raise RecipeError(f"The feedback β does not fit: {in_words(error)}.") from error


def _edited(problem: Problem, state: State, edit: ArrayLike) -> State:
    strokes = torch.as_tensor(np.asarray(edit)).to(problem.device)
    if tuple(strokes.shape[-len(problem.grid) :]) != problem.grid:
        raise SupportError(f"The edit has the shape {tuple(strokes.shape)}, the measurement {problem.grid}.")
    strokes = strokes.expand(state.support.shape)
    support = as_support((state.support | (strokes > 0)) & ~(strokes < 0), problem)
    painted = strokes != 0
    return _with_support(state, support, painted if state.pinned is None else state.pinned | painted)


def _with_support(state: State, support: Tensor, pinned: Tensor | None) -> State:
    # Multipliers and curvature belong to the constraint they were found under.
    if not torch.equal(support, state.support):
        state = replace(state, support=support, memory=None)
    return replace(state, pinned=pinned)
