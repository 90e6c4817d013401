"""The run as the window sees it: start, hold, stop, and the strokes that reach the solver while it works."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from psygnal import Signal

from napari_dipr.errors import DiprError
from napari_dipr.physics.placement import with_ramp
from napari_dipr.ui.pictures import one_a_pass
from napari_dipr.ui.resume import Keeper
from napari_dipr.ui.worker import Mailbox, Snapshot, Wish, refinement_worker

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.ui.session import Session

RunState = Literal["idle", "running", "paused", "stopping"]
Start = Literal["guess", "last", "random"]
WORDS: dict[Start, str] = {"guess": "the network's object", "last": "the object shown", "random": "random phases"}
# Snapshots over which the rate is told.
LATELY = 8


class Refinement:
    """The refinement of a session: at most one run at a time.

    Attributes
    ----------
    state
        ``idle``, ``running``, ``paused`` or ``stopping``.
    snapshot
        The last iterate that was shown, and what Export writes; a run that fails leaves the last good one.
    settings
        What the snapshot's run was started with and what was changed on the way, for the provenance.
    """

    changed = Signal()
    advanced = Signal()
    failed = Signal()

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.state: RunState = "idle"
        self.snapshot: Snapshot | None = None
        self.settings: dict[str, Any] = {}
        self._run_settings: dict[str, Any] = {}
        self._worker: Any = None
        self._mailbox = Mailbox()
        self._strokes: list[tuple[int, NDArray[np.int8]]] = []
        self._lately: deque[tuple[int, float]] = deque(maxlen=LATELY)
        self._refused: NDArray[np.bool_] | None = None

    def available_starts(self) -> tuple[Start, ...]:
        """Return what a run can start from now."""
        starts: dict[Start, bool] = {
            "guess": self.session.proposal is not None,
            "last": self.snapshot is not None,
            "random": True,
        }
        return tuple(start for start, there in starts.items() if there)

    def start(
        self,
        recipe: "Callable[[Problem | None], Recipe]",
        *,
        start: Start,
        seed: int,
        device: str,
        positive: bool = False,
        free: float = 0.0,
    ) -> None:
        """Start a run in its worker.

        Parameters
        ----------
        recipe
            Makes of the problem, or of None, what is to be done; called in the worker, the first to need torch.
        start
            From the network's object (``guess``), that of the run that is shown (``last``), or random phases.
        seed, device
            Of the random phases; where to run.
        positive, free
            Of :meth:`~napari_dipr.solvers.problem.Problem.of`.

        Raises
        ------
        DiprError
            If measurement, support or start are missing. A support that does not do is told by the worker.
        """
        if self.state != "idle":
            return
        session = self.session
        session.starts.must_be_idle()
        support, pinned, first, settings = self.beginning(start, seed=seed, positive=positive, free_share=free)
        measurement, known = session.need_measurement(), {"positive": positive, "free": free}
        psf = self.snapshot.psf if start == "last" and self.snapshot is not None else None
        prepare = _preparation(measurement, recipe, support, pinned, first, psf, seed, device, known, settings)
        self._begin(prepare, settings, Keeper(measurement, settings))

    def go_on(
        self, prepare: Callable[[], tuple[Any, ...]], settings: dict[str, Any], keeper: Keeper, wishes: Sequence[Wish]
    ) -> None:
        """Go on with a run that was cut off, see :mod:`~napari_dipr.ui.resume`; it takes the wishes first."""
        self._begin(prepare, settings, keeper, wishes)

    def _begin(
        self,
        prepare: Callable[[], tuple[Any, ...]],
        settings: dict[str, Any],
        keeper: Keeper,
        wishes: Sequence[Wish] = (),
    ) -> None:
        mailbox = self._mailbox = Mailbox.as_preferred()
        numbers = [(mailbox.post(wish), wish.edit) for wish in wishes]
        self._strokes = [(number, edit) for number, edit in numbers if edit is not None]
        self._run_settings, self._refused = settings, None
        mailbox.extras = self.session.pictures.wanted()
        self._lately.clear()
        self._worker = refinement_worker(mailbox, prepare, self.session.need_measurement(), self.session.truth, keeper)
        # Each signal carries its run's mailbox: those of an abandoned run may still be under way.
        self._worker.yielded.connect(lambda snapshot: self._arrived(mailbox, snapshot))
        self._worker.returned.connect(lambda snapshot: self._arrived(mailbox, snapshot))
        self._worker.errored.connect(lambda error: self.failed.emit())
        self._worker.finished.connect(lambda: self._set(mailbox, "idle"))
        self._worker.start()
        self._set(mailbox, "running")

    def beginning(
        self, start: Start, *, seed: int, **known: Any
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None, NDArray[np.complex64] | None, dict[str, Any]]:
        """Return what begins now: support, what is pinned of it, the first object or None, and all this in words.

        Raises
        ------
        DiprError
            As :meth:`start`.
        """
        session = self.session
        session.need_measurement()
        if (support := session.support) is None:
            raise DiprError("There is no support yet. Propose one in the Support panel, or take the autocorrelation's.")
        if start not in self.available_starts():
            raise DiprError(f"There is no {WORDS[start]} to start from. Start from random phases, or propose first.")
        first = None
        settings: dict[str, Any] = {
            "start": WORDS[start],
            "seed": seed if start == "random" else None,
            **known,
            "support_from": session.support_from,
            "support_edited_by_hand": session.is_edited,
            "model": None,
        }
        if session.proposal is not None:
            settings |= {"model": session.proposal.model, "threshold": session.proposal.threshold}
        if start == "guess":
            first = session.proposal.object
        elif start == "last" and self.snapshot is not None:
            first = self.snapshot.object
            if self.snapshot.ramp is not None:  # the measurement asks for it
                first = with_ramp(first, self.snapshot.ramp)
            settings["continues"] = self.settings
        session.agree(support)
        if self.snapshot is None or (support != self.snapshot.support).any():  # else the last run left it so
            session.begun_with = support.copy()
        return support, None if session.strokes is None else session.strokes != 0, first, settings

    def pause(self) -> None:
        """Hold the run, or let it go on."""
        self._lately.clear()
        if self.state == "running":
            self._mailbox.hold(True)
            self._set(self._mailbox, "paused")
        elif self.state == "paused":
            self.pass_edits_on()
            self._mailbox.hold(False)
            self._set(self._mailbox, "running")

    def step(self, iterations: int = 1) -> None:
        """Let a held run do some iterations, and hold again."""
        if self.state == "paused":
            self.pass_edits_on()
            self._mailbox.step(iterations)

    def set_beta(self, beta: float) -> None:
        """Give the running algorithm another β."""
        if self.state in ("running", "paused"):
            self._mailbox.post(Wish(beta=beta))
            at = 0 if self.snapshot is None else self.snapshot.iteration
            self._run_settings.setdefault("beta_changes", []).append({"after_iteration": at, "beta": beta})

    def stop(self) -> None:
        """End the run after its iteration, with what there is."""
        if self.state in ("running", "paused"):
            self.pass_edits_on()
            self._mailbox.post(Wish(stop=True))
            self._set(self._mailbox, "stopping")

    def abandon(self) -> None:
        """End the run without waiting for it; nothing of it is shown any more."""
        if self._worker is not None:
            self._mailbox.abandoned = True
            self._worker.quit()
            self._show_whole()
            self._keep("left for another measurement")
        self._mailbox, self._worker, self.snapshot, self.settings = Mailbox(), None, None, {}
        self._set(self._mailbox, "idle")

    def take_up(self, snapshot: Snapshot | None, settings: dict[str, Any]) -> None:
        """Have an earlier run's outcome, or none, as the one from which a run can go on."""
        self.snapshot, self.settings = snapshot, settings
        self.advanced.emit()
        self.changed.emit()

    def must_be_idle(self) -> None:
        """Refuse what cannot be done during a run, or many.

        Raises
        ------
        DiprError
            If one is under way.
        """
        if self.state != "idle":
            raise DiprError("A run is under way. Stop it first: what it has come to is kept.")
        self.session.starts.must_be_idle()

    def _keep(self, ended: str) -> None:
        # A run that has shown nothing has come to nothing: what is shown is the one before.
        if self.snapshot is not None and self.settings is self._run_settings:
            self.session.history.keep(self.snapshot.ended or ended)

    def _show_whole(self) -> None:
        """Show all voxels of the last iterate of a run that ended without one to be looked at."""
        viewer = self.session.viewer
        if self.snapshot is not None and not self.snapshot.ended and viewer is not None and viewer.dims.ndisplay == 3:
            for step in self.session.pictures.steps(self.snapshot):
                step()

    @property
    def taken(self) -> int:
        """How many wishes the solver has taken in this run."""
        return self._mailbox.taken

    @property
    def rate(self) -> float | None:
        """Iterations per second lately; None where it is not known yet."""
        if len(self._lately) < 2:
            return None
        (first, began), (last, ended) = self._lately[0], self._lately[-1]
        return (last - first) / (ended - began) if ended > began else None

    def _set(self, mailbox: Mailbox, state: RunState) -> None:
        if mailbox is not self._mailbox:
            return
        self.state = state
        if state == "idle" and self._worker is not None:
            closed, self._worker = self._worker.abort_requested, None
            if not closed:
                self._show_whole()
            self._keep("ended by an error")
        self.changed.emit()

    def _arrived(self, mailbox: Mailbox, snapshot: Snapshot | None) -> None:
        if mailbox is not self._mailbox or snapshot is None or self.session.viewer is None:
            return
        worker, began = self._worker, monotonic()
        if worker is None or worker.abort_requested:  # the window was closed
            return
        steps: list[Callable[[], None]] = []

        def goes_on() -> bool:  # unless another is shown now or the window was closed
            return self.snapshot is snapshot and self.session.viewer is not None and not worker.abort_requested

        try:
            self.snapshot, self.settings = snapshot, self._run_settings
            self._lately.append((snapshot.iteration, snapshot.seconds))
            self._follow_support(snapshot)
            if snapshot.ended:
                self.session.pictures.show_snapshot(snapshot)
                self.advanced.emit()
            else:
                streaming = self.state == "running"
                steps = [*self.session.pictures.steps(snapshot, streaming), self.advanced.emit]
        finally:  # whatever went wrong in showing it, the next one must come
            mailbox.extras = self.session.pictures.wanted()
            one_a_pass(steps, goes_on, lambda: mailbox.shown(monotonic() - began))

    def pass_edits_on(self) -> None:
        """Let the solver have what was painted since the layer last agreed with it; undo and redo are seen here too."""
        support, known = self.session.support, self.session.known_support
        if support is None or known is None or np.array_equal(support, known):
            return
        if self.state != "idle" and self._is_impossible(support):
            return
        self.session.agree(support)
        self.pass_on(support.astype(np.int8) - known.astype(np.int8))
        self.pass_pins_on()

    def pass_on(self, edit: NDArray[np.int8]) -> None:
        """Let the solver, where one runs, have a change of the support: 1 put in, −1 taken out; none of it pinned."""
        if self.state != "idle" and edit.any():
            self._strokes.append((self._mailbox.post(Wish(edit, pin=False)), edit))
            self._run_settings["support_edited_by_hand"] = True

    def pass_pins_on(self) -> None:
        """Let the solver, where one runs, pin what is pinned in the session, and nothing else."""
        if self.state != "idle":
            self._mailbox.post(Wish(self.session.strokes, unpin=True))

    def check(self, support: NDArray[np.bool_]) -> None:
        """Refuse a support that the solver, where one runs, cannot use.

        Raises
        ------
        DiprError
            If it is too large.
        """
        if self.state != "idle" and (excess := _excess(support)):
            raise DiprError(f"The support would fill {excess}: it stays as it is.")

    def _is_impossible(self, support: NDArray[np.bool_]) -> bool:
        """Say whether no solver can use a support, and tell why, once; the run goes on with the last one that did."""
        excess = _excess(support)
        if support.any() and excess is None:
            self._refused = None
            return False
        if self._refused is None or (support != self._refused).any():
            what = f"fills {excess}" if excess else "is empty"
            show_info(f"The support {what}: the run goes on with the last one that did not.")
        self._refused = support
        return True

    def _follow_support(self, snapshot: Snapshot) -> None:
        """Bring shrink-wrap's changes into the layer, round the strokes that the solver has not seen yet."""
        self.pass_edits_on()
        self._strokes = [(number, edit) for number, edit in self._strokes if number > snapshot.taken]
        wanted = snapshot.support.copy()
        for _, edit in self._strokes:
            wanted[edit > 0], wanted[edit < 0] = True, False
        self.session.follow(wanted)


def _excess(support: NDArray[np.bool_]) -> str | None:
    """Say of a support that is too large for a solver what it fills."""
    from napari_dipr.solvers.problem import MAX_FRACTION

    return f"more than {MAX_FRACTION:.0%} of the grid" if support.mean() > MAX_FRACTION else None


def _preparation(
    measurement: Any,
    recipe: "Callable[[Problem | None], Recipe]",
    support: NDArray[np.bool_],
    pinned: NDArray[np.bool_] | None,
    first: NDArray[np.complex64] | None,
    psf: NDArray[np.float32] | None,
    seed: int,
    device: str,
    known: dict[str, Any],
    settings: dict[str, Any],
) -> Callable[[], tuple[Any, ...]]:
    """Return what builds problem, recipe and start, to be called in the worker: it is the first to need torch."""

    def prepare() -> tuple[Any, ...]:
        import torch

        from napari_dipr.device import find_device
        from napari_dipr.solvers.problem import Problem, as_support, random_start, start_from

        place = find_device(device)
        settings["device"] = str(place)
        coherent = psf is None and recipe(None).coherence is None
        problem = Problem.of(measurement, **known, coherent=coherent, device=place)
        inside = as_support(support, problem)
        settings["recipe"] = recipe(problem)
        if first is None:
            begin = random_start(problem, inside, seed)
        else:
            begin = start_from(problem, torch.from_numpy(first)[None], inside)
        if pinned is not None:
            begin = replace(begin, pinned=torch.from_numpy(pinned)[None].to(place))
        if psf is not None:
            begin = replace(begin, psf=torch.from_numpy(psf)[None].to(place))
        return problem, settings["recipe"], begin

    return prepare
