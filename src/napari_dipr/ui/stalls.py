"""How smooth the window stays while a run streams into it, and what that takes from the solver."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication
from rich.console import Console
from rich.table import Table

from napari_dipr.errors import DiprError
from napari_dipr.io.write import writable_folder, write_json
from napari_dipr.ui.app import open_window
from napari_dipr.ui.refine_panel import WRITTEN
from napari_dipr.ui.workflow import Workflow

GRIDS = ((1024, 1024), (128, 128, 128))
RECIPE = "hio*1000000; no shrinkwrap"
TICK = 0.005
STROKES = 10
PATIENCE = 60.0


def stalls(grids: Sequence[tuple[int, ...]] = GRIDS, seconds: float = 6.0) -> dict[str, Any]:
    """Measure a run that streams amplitude, phase and support, on each grid for so many seconds.

    Returns
    -------
    dict
        ``cases``, each with the ``grid``; ``stall_ms_p95`` and ``stall_ms_max``, by how much ticks of a timer of 5 ms
        came late; ``own_slot_ms_p95``, time in a slot of ours that shows iterates, rendering apart;
        ``headless_it_s`` and ``streaming_it_s``, iterations per second without a window and with it;
        ``stroke_ms_median``, from the brush to the solver; ``stop_ms``, from Stop to the end; ``slots``, how often they
        were timed.
    """
    return {"cases": [_case(grid, seconds) for grid in grids]}


def report(console: Console, json_file: Path | None) -> None:
    """Print what :func:`stalls` measures as a table, and write it as JSON where asked."""
    if json_file is not None:
        writable_folder(json_file.parent)
    found = stalls()
    table = Table("", *("×".join(map(str, case["grid"])) for case in found["cases"]))
    for key in [key for key in found["cases"][0] if key != "grid"]:
        table.add_row(key, *(f"{case[key]:.1f}" for case in found["cases"]))
    console.print(table)
    if json_file is not None:
        write_json(json_file, found)


def _case(grid: tuple[int, ...], seconds: float) -> dict[str, Any]:
    from napari_dipr.benchmarks.headless import ball

    headless = _headless(grid)
    measurement, inside = ball(grid)
    viewer, workflow = open_window()
    try:
        workflow.reset_forms()
        workflow.session.use(measurement)
        workflow.session.show_support(inside, "a ball")
        found = _streaming(workflow, seconds)
    finally:
        viewer.close()
    return {"grid": list(grid), **found, "headless_it_s": headless}


def _headless(grid: tuple[int, ...]) -> float:
    """Return the iterations per second of the same run in a process of its own, as the command line has it."""
    command = [sys.executable, "-m", "napari_dipr.benchmarks.headless", *map(str, grid)]
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _streaming(workflow: Workflow, seconds: float) -> dict[str, Any]:
    session, run = workflow.session, workflow.session.refinement
    workflow.refine.algorithm.value, workflow.refine.text.value = WRITTEN, RECIPE
    workflow.refine.bar.start.click()
    _until(lambda: run.snapshot is not None and run.snapshot.seconds > 1)
    slots: list[float] = []
    first = run.snapshot
    with _timed(run, "_arrived", slots), _timed(run, "_show_on", slots):
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
        "slots": len(shown),
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
def _timed(owner: Any, method: str, seconds: list[float]) -> Iterator[None]:
    """Collect the seconds that each call of an object's slot for iterates takes; 0 where it brought none."""
    honest = getattr(owner, method)

    def timed(mailbox: Any, snapshot: Any, *others: Any) -> None:
        began = time.monotonic()
        honest(mailbox, snapshot, *others)
        seconds.append(0.0 if snapshot is None else time.monotonic() - began)

    setattr(owner, method, timed)
    yield
    delattr(owner, method)
