"""Many starts in their worker: where it is, and what it does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import Canvas
from napari_dipr.ui.starts_outcome import Outcome, picture_of
from napari_dipr.ui.worker import INTERVAL, Mailbox, Snapshot, drawn, load_torch

if TYPE_CHECKING:
    from napari_dipr.ensembles.ensemble import Progress
    from napari_dipr.solvers.problem import Problem
    from napari_dipr.solvers.recipe import Recipe

# A stop gives up the batch that runs: there are so many batches at least.
BATCHES = 5
# Iterations between two entries of the error history, each of which costs a transform.
RECORD_EVERY = 20


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


class Course:
    """Where a worker is. It writes, the window looks; only what follows goes the other way.

    ``stopped`` asks for an average of those that are done, ``left`` says that nobody waits for any; ``worker`` and the
    mailbox are the window's too.

    Attributes
    ----------
    outcome
        The starts that are done so far; None before the problem is made.
    progress, words, snapshot
        Where the starts are, what else is done, and the last iterate that is to be shown.
    """

    def __init__(self, mailbox: Mailbox, outcome: Outcome | None = None) -> None:
        self.mailbox, self.outcome = mailbox, outcome
        self.began = monotonic()
        self.progress: Progress | None = None
        self.words = "starting"
        self.snapshot: Snapshot | None = None
        self.stopped = self.left = False
        self.worker: Any = None

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for it: it was left, or the window is being closed."""
        return self.left or (self.worker is not None and self.worker.abort_requested)

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
        if (share := self.share) > 0.02:
            seconds = (monotonic() - self.began) * (1 / share - 1)
            words += f" · {seconds:.0f} s left" if seconds < 100 else f" · {seconds / 60:.0f} min left"
        return words


def carry_out(order: Order, course: Course) -> Outcome | None:
    """Run starts, and average the better ones; None where fewer than two ended before a stop. For a worker.

    Raises
    ------
    DiprError
        If the support does not do, the recipe cannot be read, or so many starts diverge that fewer than two are left.
    """
    load_torch()
    from torch import from_numpy

    from napari_dipr.device import find_device, trim_memory
    from napari_dipr.ensembles.ensemble import watch
    from napari_dipr.ensembles.starts import Starts, batch_size
    from napari_dipr.solvers.problem import Problem

    place = find_device(order.device)
    known: dict[str, Any] = {"positive": order.positive, "free": order.free, "device": place}
    problem = Problem.of(order.measurement, **known, coherent=order.recipe(None).coherence is None)
    recipe = order.recipe(problem)
    first, pinned = (None if x is None else from_numpy(x) for x in (order.first, order.pinned))
    starts = Starts(from_numpy(order.support), first, order.amount, order.seed, pinned)
    settings = {**order.settings, "start": str(starts), "seed": order.seed, "device": str(place), "recipe": recipe}
    facts = order.measurement, order.truth, order.canvas
    course.outcome = Outcome(*facts, problem, starts, order.count, settings)
    batch = min(batch_size(problem, recipe, order.count), -(-order.count // BATCHES))
    steps = watch(problem, recipe, starts, order.count, batch=batch, interval=INTERVAL, record_every=RECORD_EVERY)
    try:
        progress = next(steps)
        while True:
            _tell(course, progress)
            progress = steps.send(course.stopped or course.is_unwanted)
    except StopIteration:
        pass
    finally:
        trim_memory()
    if course.is_unwanted or (course.stopped and len(course.outcome.rows) < 2):
        return None
    return course.outcome.averaged(None, order.most, course.say)


def _tell(course: Course, progress: "Progress") -> None:
    """Let the window know where the worker is."""
    from napari_dipr.ensembles.ensemble import diverged_of

    outcome = course.outcome
    assert outcome is not None
    finished, diverged = progress.finished, diverged_of(progress.ended)
    if len(progress.ended) > len(outcome.finished) + len(outcome.diverged):
        pictures = tuple(picture_of(one.object, one.support) for one in finished[len(outcome.finished) :])
        pictures = (*outcome.pictures, *pictures)
        course.outcome = replace(outcome, finished=finished, diverged=diverged, pictures=pictures)
        course.words = f"{len(finished)} of {progress.count} done"
    course.progress = progress
    if progress.at is not None and course.mailbox.wants_snapshot():
        course.snapshot = drawn(
            progress.at, course.mailbox, outcome.measurement, before=None, began=course.began, taken=0
        )
