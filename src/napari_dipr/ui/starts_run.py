"""Many starts as the window sees them: run, stop, average, look at one."""

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dipr.errors import DiprError
from napari_dipr.ui.history import Result
from napari_dipr.ui.pictures import one_a_pass
from napari_dipr.ui.starts_course import Course, Order, carry_out
from napari_dipr.ui.starts_outcome import Outcome
from napari_dipr.ui.worker import Mailbox, Snapshot

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.ui.refinement import Start
    from napari_dipr.ui.session import Session

# Milliseconds between two looks at where the worker is.
LOOK = 100


class StartsRun:
    """The starts of a session: those that run, and of each measurement those that came to their end last.

    Attributes
    ----------
    course
        Where those are that run; None where none do.
    """

    changed = Signal()
    advanced = Signal()

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.course: Course | None = None
        self._shown: Snapshot | None = None  # of the start that was looked at last
        self._support_before: NDArray[np.bool_] | None = None  # and what its support took the place of
        self._followed: Snapshot | None = None
        self._pictured: NDArray[np.float32] | None = None  # what the variance's layer shows
        self._streamed = False  # whether the object's layers show one that is nobody's

    @property
    def outcome(self) -> Outcome | None:
        """What the starts of the measurement at hand came to; None before."""
        return self.session.outcome_of_starts

    def must_be_idle(self) -> None:
        """Refuse what cannot be done while starts run.

        Raises
        ------
        DiprError
            If they do.
        """
        if self.course is not None:
            raise DiprError("Many starts are under way. Stop them first: those that are done are kept.")

    def start(
        self,
        recipe: "Callable[[Problem | None], Recipe]",
        *,
        count: int,
        most: int | None,
        begin: "Start",
        amount: float,
        seed: int,
        device: str,
        positive: bool = False,
        free: float = 0.0,
    ) -> None:
        """Run starts in a worker, and average the better ones.

        Parameters
        ----------
        recipe, device, positive, free
            As in :meth:`~napari_dipr.ui.refinement.Refinement.start`.
        count, most
            How many, and how many of them to keep at most.
        begin, amount, seed
            Random phases, or the object that all begin near, disturbed by ``amount`` of its amplitude.

        Raises
        ------
        DiprError
            If something is under way, or measurement, support or object are missing.
        """
        session = self.session
        self.must_be_free()
        support, pinned, first, settings = session.refinement.beginning(
            begin, seed=seed, positive=positive, free_share=free
        )
        order = Order(
            measurement=session.need_measurement(),
            truth=session.truth,
            canvas=session.need_canvas(),
            recipe=recipe,
            device=device,
            positive=positive,
            free=free,
            support=support,
            pinned=pinned,
            first=first,
            settings=settings,
            amount=amount,
            seed=seed,
            count=count,
            most=most,
        )
        self.carry_out(order)

    def carry_out(self, order: Order) -> None:
        """Run starts of the measurement at hand in a worker, or the missing ones of those that were cut off.

        Raises
        ------
        DiprError
            If something is under way.
        """
        self.must_be_free()
        course = Course(Mailbox.as_preferred())
        course.mailbox.extras = self.session.pictures.wanted()
        self._under_way(course, lambda: carry_out(order, course), f"Running {order.count} starts")

    def must_be_free(self) -> None:
        """Refuse what cannot be begun during anything that takes long.

        Raises
        ------
        DiprError
            If something is under way.
        """
        self.session.refinement.must_be_idle()
        if self.session.busy:
            raise DiprError(f"{self.session.busy[-1]} is under way. Wait for it.")

    def average(self, kept: Sequence[bool]) -> None:
        """Average those that are kept, and no other, off the main thread.

        Raises
        ------
        DiprError
            If something is under way, there are no starts, or fewer than two are kept.
        """
        self.session.refinement.must_be_idle()
        outcome = self._need_outcome()
        if sum(kept) < 2:
            raise DiprError(f"{sum(kept)} of {len(kept)} starts are kept; keep two or more to average them.")
        course = Course(Mailbox(), outcome)
        self._under_way(course, lambda: outcome.averaged(kept, None, course.say), "Averaging starts")

    def stop(self) -> None:
        """End the starts that run; those that are done are averaged."""
        if self.course is not None:
            self.course.stopped = True
            self.changed.emit()

    def abandon(self) -> None:
        """End the starts that run without waiting for them; those that are done are kept."""
        if (course := self.course) is not None:
            self._leave(course)
            course.left = True
            if self.session.viewer is not None and course.outcome is not None:
                done, count = len(course.outcome.rows), course.outcome.count
                show_info(f"The starts of {course.outcome.measurement.name} were given up: {done} of {count} are done.")

    def show(self, place: int) -> None:
        """Show a start's object and support; a run can then go on from it, and it can be exported.

        The support that a person had before the first of them is one step of Undo away, however many are looked at.

        Raises
        ------
        DiprError
            If something is under way.
        """
        self.session.refinement.must_be_idle()
        outcome = self._need_outcome()
        snapshot = outcome.start(place)
        self._take_support_back()
        before = self.session.support
        self._shown = snapshot
        self._show(outcome, snapshot, outcome.settings_of(place))
        changed = before is not None and bool((before != snapshot.support).any())
        self._support_before = before if changed else None

    def show_mean(self) -> None:
        """Show the mean again.

        Raises
        ------
        DiprError
            If something is under way, or nothing was averaged.
        """
        self.session.refinement.must_be_idle()
        outcome = self._need_outcome()
        if outcome.mean is None:
            raise DiprError("The starts are not averaged yet.")
        self._take_support_back()
        self._show(outcome, outcome.mean, outcome.mean_settings)

    def keep_shown(self) -> None:
        """Keep the start that is shown among the runs.

        Raises
        ------
        DiprError
            If none is shown that is not among them.
        """
        if self._shown is None or not self.is_start_shown or self.session.history.shown is not None:
            raise DiprError("Click a start first: the one that is shown is kept.")
        self.session.history.keep(self._shown.ended or "")

    @property
    def is_start_shown(self) -> bool:
        """Whether the object that is shown is a start's."""
        return self._shown is not None and self.session.refinement.snapshot is self._shown

    def follow(self) -> None:
        """Show the variance with the mean that has it and with the starts that it is of, and with no other object."""
        snapshot, canvas, outcome = self.session.refinement.snapshot, self.session.canvas, self.outcome
        if snapshot is self._followed or canvas is None:
            return
        self._followed = snapshot
        layer, title = canvas.find("variance"), self.session.refinement.settings.get("title", "mean of starts")
        if self.is_start_shown and outcome is not None:
            snapshot, title = outcome.mean, outcome.title
        variance = None if snapshot is None else snapshot.fields.get("variance")
        if snapshot is None or variance is None:
            if layer is not None:
                canvas.viewer.layers.remove(layer)
        elif layer is None or self._pictured is not variance:
            self._pictured = variance
            self.session.pictures.show_variance(variance, snapshot.support, title.replace("mean", "variance", 1))

    def _under_way(self, course: Course, job: Callable[[], Outcome | None], description: str) -> None:
        self.course = course
        done, over = partial(self._done, course), partial(self._leave, course)
        course.worker = self.session.do(job, done, description, over=over)
        self.changed.emit()
        self._look(course)

    def _look(self, course: Course) -> None:
        """Show where the worker is, every now and then."""
        if not self._is_shown(course):
            return
        try:
            self.advanced.emit()
            if (snapshot := course.snapshot) is not None:
                course.snapshot, self._streamed = None, True
                steps = self.session.pictures.steps(snapshot, streaming=True)
                one_a_pass(steps, partial(self._is_shown, course), partial(self._drawn, course, monotonic()))
        finally:
            QTimer.singleShot(LOOK, partial(self._look, course))

    def _drawn(self, course: Course, began: float) -> None:
        course.mailbox.extras = self.session.pictures.wanted() if self._is_shown(course) else ()
        course.mailbox.shown(monotonic() - began)

    def _done(self, course: Course, outcome: Outcome | None) -> None:
        if not self._is_shown(course) or outcome is None:
            return
        self._end(outcome)
        assert outcome.mean is not None
        self._show(outcome, outcome.mean, outcome.mean_settings)
        self.session.history.keep(outcome.mean.ended or "")

    def _leave(self, course: Course) -> None:
        """End it without a mean: what was shown before is shown again, and the starts that are done are kept."""
        if self._is_shown(course):
            self._end(course.outcome)
            self._show_as_before()

    def _is_shown(self, course: Course) -> bool:
        """Say whether a course is that of now, and the window is not closed."""
        return self.course is course and self.session.viewer is not None and not course.is_unwanted

    def _end(self, outcome: Outcome | None) -> None:
        self.course = None
        # A single one says less than those before.
        if outcome is not None and (len(outcome.rows) >= 2 or (outcome.rows and self.outcome is None)):
            self.session.outcome_of_starts = outcome
        self.changed.emit()

    def _show_as_before(self) -> None:
        if not self._streamed:
            return
        self._streamed = False
        session, canvas = self.session, self.session.need_canvas()
        if (snapshot := session.refinement.snapshot) is not None:
            session.pictures.show_snapshot(snapshot)
            return
        session.pictures.remove_extras()
        if session.proposal is not None:
            session.proposer.show_object()
        else:
            for layer in [layer for role in ("amplitude", "phase") if (layer := canvas.find(role)) is not None]:
                canvas.viewer.layers.remove(layer)

    def _need_outcome(self) -> Outcome:
        if (outcome := self.outcome) is None:
            raise DiprError("There are no starts yet. Run them in the Starts panel.")
        return outcome

    def _show(self, outcome: Outcome, snapshot: Snapshot, settings: dict[str, Any]) -> None:
        self._streamed, self._support_before = False, None
        kept = (result for result in self.session.history.results if result.snapshot is snapshot)
        facts = outcome.measurement, outcome.truth, outcome.canvas
        result = next(kept, Result(0, *facts, snapshot, settings, snapshot.ended or ""))
        # The mean lies as what was painted; a start need not.
        self.session.history.show(result, outcome.strokes if snapshot is outcome.mean else None)

    def _take_support_back(self) -> None:
        """Undo the support of the start that is shown, unless a person has changed it since."""
        session, before = self.session, self._support_before
        self._support_before = None
        layer, shown, support = session.support_layer, self._shown, session.support
        if before is None or layer is None or shown is None or support is None:
            return
        if self.is_start_shown and session.strokes is None and np.array_equal(support, shown.support):
            layer.undo()
            session.refinement.pass_edits_on()
