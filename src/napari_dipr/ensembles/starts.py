"""Starts of one measurement, each its own draw, and as many of them in a batch as pays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from napari_dipr.errors import SolverError
from napari_dipr.solvers.problem import Problem, State, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe

# Between the seeds of two starts of a measurement; those of batches are as far apart as their first measurements.
APART = 1_000_003
# Bytes that a start takes for each pixel of a batch: the iterate, its spectrum, the amplitudes, what a step needs.
BYTES_PER_PIXEL = 80
# Share of an accelerator's free memory that a batch may take.
SHARE = 0.7
# Pixels that are worked on together on the CPU: more are out of its cache, and one start alone keeps all cores busy.
TOGETHER = 1 << 17


@dataclass(frozen=True, eq=False)
class Starts:
    """Where runs of one measurement begin: start k is the same however many there are, and on every device.

    Attributes
    ----------
    support
        First support of all, ``[*grid]`` or ``[1, *grid]``.
    object
        What all begin near, of the same shape; None: each begins with phases at random, and they are independent.
    amount
        Of what is added to the object at random: its amplitude relative to the object's.
    seed
        Start 0 is the random start of this seed, the others' are :data:`APART`.
    pinned
        Boolean, of the same shape: pixels a person decided on, which shrink-wrap leaves; None for none.
    """

    support: Tensor
    object: Tensor | None = field(default=None, repr=False)
    amount: float = 0.5
    seed: int = 0
    pinned: Tensor | None = field(default=None, repr=False)

    @property
    def independent(self) -> bool:
        """Whether they have nothing in common but the support."""
        return self.object is None

    def start(self, problem: Problem, number: int) -> State:
        """Return start ``number`` of a problem of one measurement.

        Raises
        ------
        SupportError
            If the support does not suit the problem, or nothing of the object is inside.
        """
        support, seed = as_support(self.support, problem), seed_of(self.seed, number)
        if self.object is None:
            begun = random_start(problem, support, seed)
        else:
            x = start_from(problem, self.object.expand(problem.shape), support).object
            begun = start_from(problem, disturbed(problem, x, support, self.amount, seed), support)
        if self.pinned is None:
            return begun
        return replace(begun, pinned=self.pinned.to(problem.device).expand(problem.shape))

    def __str__(self) -> str:
        """Say in words what they are."""
        if self.independent:
            return f"phases at random, seed {self.seed}"
        return f"one object disturbed by {self.amount:g} of its amplitude, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Given:
    """Starts from objects of their own, each in its support: as :class:`Starts`, but not independent.

    Attributes
    ----------
    objects, supports
        ``[n, *grid]``, the object of start k and its support.
    seed
        Of the starts that they come from.
    """

    objects: Tensor = field(repr=False)
    supports: Tensor = field(repr=False)
    seed: int = 0

    def start(self, problem: Problem, number: int) -> State:
        """Return start ``number``, see :meth:`Starts.start`."""
        return start_from(problem, self.objects[number][None], as_support(self.supports[number], problem))


def seed_of(seed: int, number: int) -> int:
    """Return the seed of start ``number``, far from those of the next seeds' first starts."""
    return seed + APART * number


def disturbed(problem: Problem, x: Tensor, support: Tensor, amount: float, seed: int) -> Tensor:
    """Add a random start in the support to objects ``[batch, *grid]``, ``amount`` times as large as the measurement."""
    return x + amount * random_start(problem, support, seed).object


def together(problem: Problem, states: Sequence[State]) -> tuple[Problem, State]:
    """Return starts of a problem of one measurement as one batch: its problem, and their states."""
    batch = len(states)
    if batch == 1:
        return problem, states[0]
    free, measured, coherence = problem.free, problem.measured, problem.coherence
    if free is not None:
        known = None if free.measured is None else _repeated(free.measured, batch)
        free = replace(free, amplitudes=_repeated(free.amplitudes, batch), measured=known)
    if measured is not None and measured.ndim == problem.amplitudes.ndim:
        measured = measured[0]  # the same for all
    if coherence is not None:
        coherence = _repeated(coherence, batch)
    amplitudes = _repeated(problem.amplitudes, batch)
    whole = replace(problem, amplitudes=amplitudes, measured=measured, free=free, coherence=coherence)
    pinned = [s.pinned for s in states if s.pinned is not None]  # all have some, or none has
    return whole, State(
        torch.cat([s.object for s in states]),
        torch.cat([s.support for s in states]),
        torch.cat(pinned) if pinned else None,
    )


def batch_size(problem: Problem, recipe: Recipe, count: int) -> int:
    """Return how many starts to run as one batch.

    On an accelerator as many as fit into its free memory. On the CPU small ones, which leave it idle one by one; large
    ones gain nothing from each other. One by one where a stage ends when nothing improves: that is told from the mean
    of a batch, and a start's end would depend on the others.
    """
    pixels = math.prod(problem.grid)
    if recipe.settling is not None:
        return 1
    if problem.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(problem.device)
        return max(1, min(count, int(SHARE * free / (BYTES_PER_PIXEL * pixels))))
    return max(1, min(count, TOGETHER // pixels))


def check_single(problem: Problem) -> None:
    """Refuse a problem of several measurements.

    Raises
    ------
    SolverError
        If it is one.
    """
    if problem.shape[0] != 1:
        raise SolverError(
            f"An ensemble is of one measurement, this is a batch of {problem.shape[0]}. Take them in turn."
        )


def _repeated(x: Tensor, batch: int) -> Tensor:
    return x.expand(batch, *x.shape[1:]).contiguous()
