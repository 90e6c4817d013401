"""Many starts in their worker: where it is, and what it does."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_dipr.errors import SolverError
from napari_dipr.io.provenance import as_json
from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import Canvas
from napari_dipr.ui.resume import KIND
from napari_dipr.ui.starts_outcome import Outcome, picture_of
from napari_dipr.ui.worker import INTERVAL, Mailbox, Snapshot, drawn, load_torch

if TYPE_CHECKING:
    from napari_dipr.ensembles.ensemble import Ended, Progress
    from napari_dipr.io.checkpoint import Claim
    from napari_dipr.io.kept_starts import KeptStarts
    from napari_dipr.solvers.problem import Problem
    from napari_dipr.solvers.recipe import Recipe

# A stop gives up the batch that runs: there are so many batches at least.
BATCHES = 5
# Iterations between two entries of the error history, each of which costs a transform.
RECORD_EVERY = 20
# Of an order, what is kept as it is.
KEPT = ("support", "pinned", "first", "amount", "seed", "most")


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be run.

    Attributes
    ----------
    measurement, truth, canvas
        As of an :class:`~napari_dipr.ui.starts_outcome.Outcome`.
    recipe, device, positive, free
        As of :meth:`~napari_dipr.ui.refinement.Refinement.start`.
    support, pinned, first, settings
        As :meth:`~napari_dipr.ui.refinement.Refinement.beginning` returns them.
    amount, seed
        As of :class:`~napari_dipr.ensembles.starts.Starts`.
    count, most
        How many starts, and how many of them to average at most.
    claim
        The hold on those of them that are done, if they were cut off.
    """

    measurement: Measurement
    truth: NDArray[Any] | None
    canvas: Canvas
    recipe: "Callable[[Problem | None], Recipe]"
    device: str
    positive: bool
    free: float
    support: NDArray[Any]
    pinned: NDArray[Any] | None
    first: NDArray[Any] | None
    settings: dict[str, Any]
    amount: float
    seed: int
    count: int
    most: int | None
    claim: "Claim | None" = None

    def begun(self, recipe: "Recipe") -> dict[str, Any]:
        """Return what has to be kept of it beside the measurement and the starts, with the recipe that was made."""
        return {
            **{name: getattr(self, name) for name in KEPT},
            "recipe": recipe.model_dump_json(),
            "settings": json.dumps(as_json({**self.settings, "device": self.device})),
        }


class Course:
    """Where a worker is. It writes, the window looks; only what follows goes the other way.

    ``stopped`` asks for an average of those that are done, ``left`` says that nobody waits for any; ``worker`` and the
    mailbox are the window's too.

    Attributes
    ----------
    outcome
        The starts that are done so far; None before the problem is made.
    share_before
        How much of all iterations was done when it began, 0…1.
    progress, words, snapshot
        Where the starts are, what else is done, and the last iterate that is to be shown.
    """

    def __init__(self, mailbox: Mailbox, outcome: Outcome | None = None) -> None:
        self.mailbox, self.outcome = mailbox, outcome
        self.began, self.share_before = monotonic(), 0.0
        self.progress: Progress | None = None
        self.words = "starting"
        self.snapshot: Snapshot | None = None
        self.stopped = self.left = False
        self.worker: Any = None

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for it: it was left, or the window is being closed."""
        return self.left or self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether the window is being closed, and they had not been left before."""
        return not self.left and self.worker is not None and self.worker.abort_requested

    def say(self, words: str) -> None:
        """Tell what is done now."""
        self.words, self.progress = words, None

    @property
    def share(self) -> float:
        """How much of all iterations is done, 0…1."""
        at = self.progress
        if at is None:
            return 0.0
        running = 0.0 if at.at is None else len(at.running) * at.at.iteration / at.at.total
        return (len(at.ended) + running) / at.count

    def __str__(self) -> str:
        """Say in words where it is, and what the starts that run have come to."""
        at = self.progress
        if at is None or at.at is None:
            return f"{self.words} …".capitalize()
        first, last = at.running[0] + 1, at.running[-1] + 1
        words = f"Start {first}" if first == last else f"Starts {first} to {last}"
        words += f" of {at.count} · {at.at.iteration} of {at.at.total}"
        if at.at.history:
            words += f" · χ² {at.at.history[-1].chi2:.2e}"
        if (share := self.share - self.share_before) > 0.02:
            seconds = (monotonic() - self.began) * (1 - self.share) / share
            words += f" · {seconds:.0f} s left" if seconds < 100 else f" · {seconds / 60:.0f} min left"
        return words


def carry_out(order: Order, course: Course) -> Outcome | None:
    """Run starts, and average the better ones; None where fewer than two ended before a stop. For a worker.

    Each start that comes to its end is kept until all are averaged, or given up by a person. Those of a window that is
    closed, or that an error of the machine ends, are left to be offered.

    Raises
    ------
    DiprError
        If the support does not do, the recipe cannot be read, or so many starts diverge that fewer than two are left.
    """
    load_torch()
    from napari_dipr.device import find_device, trim_memory
    from napari_dipr.io.kept_starts import KeptStarts
    from napari_dipr.solvers.problem import Problem

    kept, over = None, False
    try:
        place = find_device(order.device)
        known: dict[str, Any] = {"positive": order.positive, "free": order.free, "device": place}
        problem = Problem.of(order.measurement, **known, coherent=order.recipe(None).coherence is None)
        recipe = order.recipe(problem)
        order = replace(order, device=str(place))
        begun, told = order.begun(recipe), {"kind": KIND}
        kept = KeptStarts(order.measurement, told, order.count, begun=begun, tell=show_warning, claim=order.claim)
        outcome = _averaged(order, course, problem, recipe, kept)
        over = not course.is_closed
        return outcome
    except SolverError:  # too many diverged: going on would end in the same
        over = True
        raise
    finally:
        if kept is not None:
            (kept.end if over else kept.leave)()
        elif order.claim is not None:
            order.claim.leave()
        trim_memory()


def _averaged(order: Order, course: Course, problem: "Problem", recipe: "Recipe", kept: "KeptStarts") -> Outcome | None:
    """Run the starts that are not kept yet, and average the better ones of all."""
    from torch import from_numpy

    from napari_dipr.ensembles.ensemble import watch
    from napari_dipr.ensembles.starts import Starts, batch_size

    # A file knows nothing of another order of the axes in memory, by which sums are rounded.
    first, pinned = (None if x is None else from_numpy(np.ascontiguousarray(x)) for x in (order.first, order.pinned))
    starts = Starts(from_numpy(order.support), first, order.amount, order.seed, pinned)
    made = {"start": str(starts), "seed": order.seed, "device": order.device, "recipe": recipe}
    settings = {**order.settings, **made}
    course.outcome = Outcome(order.measurement, order.truth, order.canvas, problem, starts, order.count, settings)
    done = kept.load()
    course.share_before = len(done) / order.count
    _add(course, done)
    batch = min(batch_size(problem, recipe, order.count), -(-order.count // BATCHES))
    options: dict[str, Any] = {"done": done, "batch": batch, "interval": INTERVAL, "record_every": RECORD_EVERY}
    steps = watch(problem, recipe, starts, order.count, **options)
    try:
        progress = next(steps)
        while True:
            kept.keep(progress.ended)
            _tell(course, progress)
            progress = steps.send(course.stopped or course.is_unwanted)
    except StopIteration:
        pass
    if course.is_unwanted or (course.stopped and len(course.outcome.rows) < 2):
        return None
    return course.outcome.averaged(None, order.most, course.say)


def _add(course: Course, ended: "tuple[Ended, ...]") -> None:
    """Let the window know of the starts that are done, or have diverged."""
    from napari_dipr.ensembles.ensemble import diverged_of, finished_of

    outcome, finished = course.outcome, finished_of(ended)
    assert outcome is not None
    pictures = tuple(picture_of(one.object, one.support) for one in finished[len(outcome.finished) :])
    pictures = (*outcome.pictures, *pictures)
    course.outcome = replace(outcome, finished=finished, diverged=diverged_of(ended), pictures=pictures)


def _tell(course: Course, progress: "Progress") -> None:
    """Let the window know where the worker is."""
    outcome = course.outcome
    assert outcome is not None
    if len(progress.ended) > len(outcome.finished) + len(outcome.diverged):
        _add(course, progress.ended)
        course.words = f"{len(progress.finished)} of {progress.count} done"
    course.progress = progress
    if progress.at is not None and course.mailbox.wants_snapshot():
        course.snapshot = drawn(
            progress.at, course.mailbox, outcome.measurement, before=None, began=course.began, taken=0
        )
