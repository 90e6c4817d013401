"""How smooth the window stays while a run streams into it, and what that takes from the solver."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.ui.app import open_window
from napari_dipr.ui.refine_panel import WRITTEN
from napari_dipr.ui.workflow import Workflow

GRIDS = ((1024, 1024), (128, 128, 128))
RECIPE = "hio*1000000"
TICK = 0.005
STROKES = 10
SEED = 0
PATIENCE = 60.0


def stalls(grids: Sequence[tuple[int, ...]] = GRIDS, seconds: float = 6.0) -> dict[str, Any]:
    """Measure a run that streams amplitude, phase and support, on each grid for so many seconds.

    Returns
    -------
    dict
        ``cases``, each with the ``grid``; ``stall_ms_p95`` and ``stall_ms_max``, by how much ticks of a timer of 5 ms
        came late; ``own_slot_ms_p95``, time in our own slot for an iterate, rendering apart; ``headless_it_s`` and
        ``streaming_it_s``, iterations per second without a window and with it; ``stroke_ms_median``, from the brush to
        the solver; ``stop_ms``, from Stop to the end; ``snapshots``, the iterates that were shown.
    """
    return {"cases": [_case(grid, seconds) for grid in grids]}


def _case(grid: tuple[int, ...], seconds: float) -> dict[str, Any]:
    measurement, inside = _ball(grid)
    viewer, workflow = open_window()
    try:
        workflow.session.use(measurement)
        workflow.session.show_support(inside, "a ball")
        headless = _headless(measurement, inside, seconds / 2)
        found = _streaming(workflow, seconds)
    finally:
        viewer.close()
    return {"grid": list(grid), **found, "headless_it_s": headless}


def _ball(grid: tuple[int, ...]) -> tuple[Measurement, NDArray[np.bool_]]:
    """Return the measurement of a ball with some texture and phase, and where the ball is."""
    radius = np.sqrt(sum((x - n / 2) ** 2 for x, n in zip(np.indices(grid), grid, strict=True)))
    inside = radius < min(grid) / 6
    texture = 1 + 0.3 * np.random.default_rng(SEED).random(grid)
    x = inside * texture * np.exp(1j * np.cos(20 * radius / min(grid)))
    power = np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2
    return Measurement.of(power, zero_frequency="centre", name="ball"), inside


def _headless(measurement: Measurement, inside: NDArray[np.bool_], seconds: float) -> float:
    """Return the iterations per second of the same run in this thread, after a second to warm up."""
    from napari_dipr.solvers.problem import Problem, as_support, random_start
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.solvers.run import run

    problem = Problem.of(measurement)
    steps = run(problem, Recipe.parse(RECIPE), random_start(problem, as_support(inside, problem), SEED), interval=0.2)

    def go_on_for(duration: float) -> tuple[int, float]:
        iterate, until = next(steps), time.monotonic() + duration
        while time.monotonic() < until:
            iterate = next(steps)
        return iterate.iteration, time.monotonic()

    first, began = go_on_for(1.0)
    last, ended = go_on_for(seconds)
    steps.close()
    return (last - first) / (ended - began)


def _streaming(workflow: Workflow, seconds: float) -> dict[str, Any]:
    session, run = workflow.session, workflow.session.refinement
    workflow.refine.algorithm.value, workflow.refine.text.value = WRITTEN, RECIPE
    workflow.refine.shrink_wrap.value = False
    workflow.refine.bar.start.click()
    _until(lambda: run.snapshot is not None and run.snapshot.seconds > 1)
    first = run.snapshot
    with _timed(run, "_arrived") as slots:
        _work_for(seconds)  # without the ticks, which disturb the solver
        last = run.snapshot
        with _ticking() as late:
            _work_for(seconds)
    assert first is not None
    assert last is not None
    layer, strokes = session.support_layer, []
    assert layer is not None
    layer.brush_size = 3
    middle = [n // 2 for n in layer.data.shape]
    for stroke in range(STROKES):
        taken, began = run.taken, time.monotonic()
        layer.paint((*middle[:-1], middle[-1] - 2 * stroke), 0)
        _until(lambda taken=taken: run.taken > taken)  # type: ignore[misc]
        strokes.append(time.monotonic() - began)
    began = time.monotonic()
    workflow.refine.bar.stop.click()
    _until(lambda: run.state == "idle")
    stop = time.monotonic() - began
    shown = [slot for slot in slots if slot > 0]
    return {
        "stall_ms_p95": 1e3 * float(np.quantile(late, 0.95)),
        "stall_ms_max": 1e3 * max(late),
        "own_slot_ms_p95": 1e3 * float(np.quantile(shown, 0.95)),
        "streaming_it_s": (last.iteration - first.iteration) / (last.seconds - first.seconds),
        "stroke_ms_median": 1e3 * float(np.median(strokes)),
        "stop_ms": 1e3 * stop,
        "snapshots": len(shown),
    }


def _work_for(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(round(1e3 * seconds), loop.quit)
    loop.exec()


def _until(done: Callable[[], bool]) -> None:
    """Let the window work until a condition holds."""
    until = time.monotonic() + PATIENCE
    while not done():
        QApplication.processEvents()
        time.sleep(0.001)
        if time.monotonic() > until:
            raise DiprError(f"The benchmark waited {PATIENCE:.0f} s in vain. The notifications tell more.")


@contextmanager
def _ticking() -> Iterator[list[float]]:
    """Collect by how many seconds the ticks of a timer come late."""
    late: list[float] = []
    timer, last = QTimer(), [time.monotonic()]
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def tick() -> None:
        now = time.monotonic()
        late.append(max(now - last[0] - TICK, 0.0))
        last[0] = now

    timer.timeout.connect(tick)
    timer.start(round(1e3 * TICK))
    yield late
    timer.stop()


@contextmanager
def _timed(owner: Any, method: str) -> Iterator[list[float]]:
    """Collect the seconds that each call of an object's slot for iterates takes; 0 where it brought none."""
    seconds: list[float] = []
    honest = getattr(owner, method)

    def timed(mailbox: Any, snapshot: Any) -> None:
        began = time.monotonic()
        honest(mailbox, snapshot)
        seconds.append(0.0 if snapshot is None else time.monotonic() - began)

    setattr(owner, method, timed)
    yield seconds
    delattr(owner, method)
