"""The workers: short jobs, and the refinement that streams.

Workers are made on the main thread by napari's ``create_worker``, which stops them when the window closes. What they
hand over to the window are copies in numpy. The one thread beside them is that which writes a run's state, see
:class:`~napari_dipr.io.checkpoint.Checkpoints`: it reads live tensors, into which no step writes.
"""

import ctypes
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import FunctionWorker, GeneratorWorker, create_worker
from napari.utils.notifications import notification_manager, show_error
from numpy.typing import NDArray

from napari_dipr.device import is_out_of_memory, release_memory, trim_memory
from napari_dipr.errors import DiprError, SolverError
from napari_dipr.measurement import Measurement
from napari_dipr.ui.memory import setting
from napari_dipr.ui.pictures import brightest, draw

if TYPE_CHECKING:
    from napari_dipr.ui.resume import Keeper

# Seconds between two looks at the controls; also how late Pause, Stop and an edit may come.
INTERVAL = 0.05
# The longest rest between two pictures that showing them can cost, seconds.
REST = 10.0


def load_torch() -> None:
    """Load torch's libraries; for a worker, before it imports torch. The window goes on meanwhile.

    They take up to some seconds from a disk. An import holds Python's lock all along, and with it the window.
    """
    found = None if "torch" in sys.modules else importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    for library in ("torch_cpu", "torch_cuda", "torch_python"):
        for path in Path(found.origin).parent.glob(f"lib/*{library}.*"):
            with suppress(OSError):  # then the import tells
                ctypes.CDLL(str(path))


def in_background(
    job: Callable[[], Any], done: Callable[[Any], None], failed: Callable[[], None], description: str
) -> FunctionWorker:
    """Run a short job off the main thread; ``done`` gets its result, on the main thread. Errors are told."""

    def explained() -> Any:
        try:
            return job()
        except (RuntimeError, MemoryError) as error:
            raise _explain(error) from None

    worker = create_worker(explained, _ignore_errors=True, _progress={"desc": description})
    worker.returned.connect(done)
    worker.errored.connect(tell)
    worker.errored.connect(lambda error: failed())
    worker.start()
    return worker


def tell(error: Exception) -> None:
    """Notify a worker's error (napari relays none of a worker that is not to raise): ours in words, others in full."""
    if isinstance(error, DiprError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)


@dataclass(frozen=True)
class Snapshot:
    """An iterate, copied for the window: ``[*grid]`` arrays of the one object.

    ``limit`` is the end of the amplitude's contrast; ``psf`` is what partially coherent light makes of a point of the
    pattern, ``[*window]``. ``extras`` are pictures that were asked for, see :mod:`~napari_dipr.ui.pictures`; ``ramp``
    is what was taken off the phase by hand, radians per pixel; ``fields`` are what belongs to the object by their
    names, such as the variance of a mean, and are exported with it. ``ended`` and, where the truth is known, ``nmse``
    are those of a run that is over.
    """

    object: NDArray[np.complex64]
    amplitude: NDArray[np.float32]
    phase: NDArray[np.float32]
    support: NDArray[np.bool_]
    iteration: int
    total: int
    stage: str
    seconds: float
    history: tuple[Any, ...]
    taken: int
    limit: float | None = None
    psf: NDArray[np.float32] | None = None
    ended: str | None = None
    nmse: float | None = None
    extras: dict[Any, NDArray[Any]] = field(default_factory=dict)
    ramp: tuple[float, ...] | None = None
    fields: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def with_object(
        self, x: NDArray[np.complex64], support: NDArray[np.bool_], ramp: tuple[float, ...] | None
    ) -> "Snapshot":
        """Return the same of an object that was turned, shifted or levelled."""
        phase = np.where(support, np.angle(x), np.nan).astype(np.float32)
        amplitude = np.abs(x).astype(np.float32)
        pictures: dict[str, Any] = {"object": x, "amplitude": amplitude, "phase": phase, "support": support}
        return replace(self, **pictures, extras={}, ramp=ramp)


@dataclass(frozen=True)
class Wish:
    """What the window asks of a run; as :class:`~napari_dipr.solvers.run.Controls`, which would bring torch along."""

    edit: NDArray[np.int8] | None = None
    pin: bool = True
    unpin: bool = False
    beta: float | None = None
    stop: bool = False


class Mailbox:
    """What the window asks of a run, and whether it has shown the last snapshot. Both threads use it.

    Making and showing iterates may take a share ``showing`` of the time from window and solver, and ``interval``
    seconds at least lie between two of them. ``posted`` and ``taken`` count wishes; ``extras`` are the pictures to be
    drawn of each. ``abandoned`` says that nobody wants the run any more.
    """

    def __init__(self, interval: float = 0.1, showing: float = 0.06) -> None:
        self._interval, self._showing = interval, showing
        self._lock = threading.Lock()
        self._wishes: list[Wish] = []
        self._given: list[Wish] = []
        self.posted = self.taken = 0
        self._held, self._steps = False, 0
        self._until: int | None = None
        self.extras: tuple[Any, ...] = ()
        self.shown_at, self.showing = 0.0, False
        self.cost = self.making = 0.0
        self.abandoned = False

    @classmethod
    def as_preferred(cls) -> "Mailbox":
        """Return one that shows as much as a person prefers, by the settings page."""
        return cls(setting("running", "interval"), setting("running", "showing") / 100)

    def pending(self) -> list[dict[str, Any]]:
        """Return the wishes that were not taken yet, but for those to stop."""
        with self._lock:
            return [{key: value for key, value in vars(w).items() if key != "stop"} for w in self._wishes if not w.stop]

    def post(self, wish: Wish) -> int:
        """Leave a wish, to be done after those before it. Returns its number."""
        with self._lock:
            self._wishes.append(wish)
            self.posted += 1
            return self.posted

    def hold(self, held: bool) -> None:
        """Let the run wait, or go on."""
        with self._lock:
            self._held, self._steps, self._until = held, 0, None

    def step(self, iterations: int) -> None:
        """Let a held run do so many iterations, and wait again."""
        with self._lock:
            self._steps += iterations

    def take(self, iteration: int) -> Any:
        """Return the wishes as one :class:`~napari_dipr.solvers.run.Controls`; None where the run is to wait."""
        from napari_dipr.solvers.run import Controls

        with self._lock:
            if self._steps:
                self._until = (iteration if self._until is None else self._until) + self._steps
                self._steps = 0
            left = 0 if self._until is None else self._until - iteration
            if self._held and left <= 0 and not any(wish.stop for wish in self._wishes):
                self._until = None
                return None
            controls = Controls(steps=left or None)
            for wish in reversed(self._wishes):
                controls = Controls(**vars(wish), then=controls)
            self._given, self._wishes, self.taken = self._wishes, [], self.posted
            return controls

    def take_back(self) -> None:
        """Have the wishes that were taken last among those that were not: they came to nobody."""
        with self._lock:
            self._wishes, self._given = self._given + self._wishes, []

    def shown(self, seconds: float) -> None:
        """Say that the last snapshot is on the screen, and how long that took."""
        with self._lock:
            # The first picture says nothing of the next ones: its layers had to be made.
            cost = 0.0 if self.shown_at == 0 else self.making + seconds
            self.showing, self.cost, self.shown_at = False, cost, time.monotonic()

    def wants_snapshot(self) -> bool:
        """Say whether the next snapshot is due: the last one is shown, and the window had time to breathe."""
        with self._lock:
            rest = max(min(self.cost * (1 / self._showing - 1), REST), self._interval)
            return not self.showing and time.monotonic() - self.shown_at >= rest


class _Refining(GeneratorWorker):
    """Closes its generator in its own thread, where it is told to stop: superqt only leaves it, and it stays."""

    def work(self) -> Any:
        try:
            return super().work()
        finally:
            self._gen.close()


def refinement_worker(
    mailbox: Mailbox,
    prepare: Callable[[], tuple[Any, ...]],
    measurement: Measurement,
    truth: NDArray[np.complex64] | None = None,
    keeper: "Keeper | None" = None,
) -> GeneratorWorker:
    """Make (not start) the worker of a refinement.

    ``prepare`` is called in the worker and returns problem, recipe and start, and of a run that is gone on with its
    position. ``keeper`` keeps its state on the way, and at the end deletes it; of a run that is cut off by the window's
    closing, or by an error of the machine, it is left. The worker yields a :class:`Snapshot`, or None where none is
    due, and returns the last one, compared with the truth where there is one. A run that is held shows where it is,
    and waits.
    """
    arguments = mailbox, prepare, measurement, truth, keeper
    worker = create_worker(_refine, *arguments, _worker_class=_Refining, _ignore_errors=True)
    worker.errored.connect(tell)
    return worker


def _refine(
    mailbox: Mailbox,
    prepare: Callable[[], tuple[Any, ...]],
    measurement: Measurement,
    truth: NDArray[np.complex64] | None,
    keeper: "Keeper | None" = None,
) -> Generator[Snapshot | None, None, Snapshot]:
    # napari's generator workers swallow RuntimeError, which most of torch's errors are: out of memory would leave the
    # window waiting for ever.
    problem = recipe = start = steps = iterate = controls = None
    over = False
    try:
        load_torch()
        from napari_dipr.solvers.run import run

        problem, recipe, start, *position = prepare()
        at = position[0] if position else None
        before, shown, began = None, 0, time.monotonic() - (0.0 if at is None else at.seconds)
        if keeper is not None:
            keeper.begin(recipe)
        steps = run(problem, recipe, start, at=at, interval=INTERVAL)
        iterate = next(steps)
        while True:
            if keeper is not None:
                keeper.look(iterate, mailbox)
            done, snapshot = mailbox.taken, None
            controls = mailbox.take(iterate.iteration)
            held = controls is None and not mailbox.showing
            if iterate.iteration != shown and (held or mailbox.wants_snapshot()):
                snapshot = drawn(iterate, mailbox, measurement, before=before, began=began, taken=done)
                before, shown = snapshot.object, iterate.iteration
            yield snapshot
            if controls is None:
                time.sleep(INTERVAL)
                continue
            try:
                iterate = steps.send(controls)
            except StopIteration as end:
                last = _last(end.value, iterate.total, before, mailbox.taken, truth)
                last = _with_extras(last, mailbox, measurement)
                over = True
                return last
    except GeneratorExit:
        over = mailbox.abandoned  # else the window was closed
        if keeper is not None and iterate is not None and not over:
            if controls is not None:
                mailbox.take_back()
            keeper.keep(iterate, mailbox)
        raise
    except SolverError:  # it diverged
        over = True
        raise
    except (RuntimeError, MemoryError, StopIteration) as error:
        problem = recipe = start = steps = iterate = None  # what they hold is what the memory is full of
        raise _explain(error) from None
    finally:
        problem = recipe = start = steps = iterate = None
        if keeper is not None:
            keeper.close(cut_off=not over)
        trim_memory()


def _explain(error: Exception) -> DiprError:
    """Turn an error of the machine into one in words; drops the traceback, which holds the tensors."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    error.__traceback__ = None
    with suppress(RuntimeError):  # a device that has failed may refuse this too
        release_memory()
    if is_out_of_memory(error):
        return SolverError(f"The device ran out of memory ({text}). Choose the device cpu, or crop the measurement.")
    return SolverError(f"It failed on the device: {text}")


def drawn(
    iterate: Any,
    mailbox: Mailbox,
    measurement: Measurement,
    *,
    before: NDArray[np.complex64] | None,
    began: float,
    taken: int,
) -> Snapshot:
    """Draw where a run is (of a batch, its first), with the extra pictures that are asked for, to be shown now."""
    mailbox.showing, now = True, time.monotonic()
    snapshot = Snapshot(
        **pictures_of(iterate.solution, iterate.state.support, before),
        iteration=iterate.iteration,
        total=iterate.total,
        stage=iterate.stage,
        seconds=now - began,
        history=iterate.history,
        taken=taken,
        psf=_psf(iterate.state),
    )
    snapshot = _with_extras(snapshot, mailbox, measurement)
    mailbox.making = time.monotonic() - now
    return snapshot


def _last(
    end: Any, total: int, before: NDArray[np.complex64] | None, taken: int, truth: NDArray[np.complex64] | None
) -> Snapshot:
    from torch import from_numpy

    from napari_dipr.physics.symmetry import nmse

    error = None if truth is None else float(nmse(end.object[:1].cpu(), from_numpy(truth)[None])[0])
    return Snapshot(
        **pictures_of(end.object, end.support, before),
        iteration=end.iterations,
        total=total,
        stage="",
        seconds=end.seconds,
        history=end.history,
        taken=taken,
        psf=_psf(end.state),
        ended=end.ended,
        nmse=error,
    )


def _with_extras(snapshot: Snapshot, mailbox: Mailbox, measurement: Measurement) -> Snapshot:
    s = snapshot
    return replace(s, extras={what: draw(what, measurement, s.object, s.support, s.psf) for what in mailbox.extras})


def _psf(state: Any) -> NDArray[np.float32] | None:
    return None if state.psf is None else state.psf[0].cpu().numpy().copy()


def pictures_of(solution: Any, support: Any, before: NDArray[np.complex64] | None) -> dict[str, Any]:
    """Copy one object to the CPU, its global phase held still between frames, its phase NaN outside the support."""
    x = solution[0].detach().cpu().numpy()
    inside = support[0].cpu().numpy().copy()
    still = np.sum(x * np.abs(x)) if before is None else np.vdot(before, x)
    x = x * np.exp(-1j * np.angle(still)).astype(np.complex64)
    phase, amplitude = np.full(x.shape, np.nan, np.float32), np.abs(x)
    phase[inside] = np.angle(x[inside])
    limit = brightest(amplitude, inside)
    return {"object": x, "amplitude": amplitude, "phase": phase, "support": inside, "limit": limit}
