"""How smooth the window stays while a run streams into it, and what that takes from the solver."""

import json
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
from rich.console import Console
from rich.table import Table

from napari_dipr.io.write import writable_folder, write_json
from napari_dipr.ui.app import open_window, wait_until
from napari_dipr.ui.memory import unremembered
from napari_dipr.ui.refine_panel import WRITTEN
from napari_dipr.ui.workflow import Workflow

GRIDS = ((1024, 1024), (128, 128, 128))
RECIPE = "hio*1000000; no shrinkwrap"
TICK = 0.005
STROKES = 10
ROUNDS = 2


def stalls(grids: Sequence[tuple[int, ...]] = GRIDS, seconds: float = 3.0) -> dict[str, Any]:
    """Measure a run that streams amplitude, phase and support, on each grid for so many seconds.

    Returns
    -------
    dict
        ``cases``, each with the ``grid``; ``stall_ms_p95`` and ``stall_ms_max``, by how much ticks of a timer of 5 ms
        came late; ``own_slot_ms_p95``, time in a slot of ours that shows iterates, rendering apart;
        ``headless_it_s`` and ``streaming_it_s``, iterations per second without a window and with it;
        ``stroke_ms_median``, from the brush to the solver; ``stop_ms``, from Stop to the end; ``slots``, how often they
        were timed. Beside them ``opening_s``, seconds that a running napari takes to open the dock, ``torch_early``,
        whether that imported torch, and ``first_stall_ms``, the longest gap while a first run imports it.
    """
    with unremembered():
        return {**_opening(), "cases": [_case(grid, seconds) for grid in grids]}


def _opening() -> dict[str, Any]:
    """Open the dock and start the first run, in a process of its own where neither was loaded before."""
    command = [sys.executable, "-m", "napari_dipr.ui.opening"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]))


def report(console: Console, json_file: Path | None) -> None:
    """Print what :func:`stalls` measures as a table, and write it as JSON where asked."""
    if json_file is not None:
        writable_folder(json_file.parent)
    found = stalls()
    table = Table("", *("×".join(map(str, case["grid"])) for case in found["cases"]))
    for key in [key for key in found["cases"][0] if key != "grid"]:
        table.add_row(key, *(f"{case[key]:.1f}" for case in found["cases"]))
    console.print(table)
    early = "torch with it" if found["torch_early"] else "torch later"
    console.print(f"The dock opened in {found['opening_s']:.2f} s, {early}.")
    console.print(f"The longest stall of a first run: {found['first_stall_ms']:.0f} ms.")
    if json_file is not None:
        write_json(json_file, found)


def _case(grid: tuple[int, ...], seconds: float) -> dict[str, Any]:
    from napari_dipr.benchmarks.headless import ball

    measurement, inside = ball(grid)
    with _headless(grid) as headless_rate:
        viewer, workflow = open_window()
        try:
            workflow.session.use(measurement)
            workflow.session.show_support(inside, "a ball")
            headless_rate(0.1)  # it is ready then
            return {"grid": list(grid), **_streaming(workflow, headless_rate, seconds)}
        finally:
            viewer.close()


@contextmanager
def _headless(grid: tuple[int, ...]) -> Iterator[Callable[[float], float]]:
    """Have the same run in a process of its own, as the command line has it; it works when a rate is asked for."""
    command = [sys.executable, "-m", "napari_dipr.benchmarks.headless", *map(str, grid)]
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def rate(seconds: float) -> float:
            print(seconds, file=asked, flush=True)
            return float(answers.readline())

        yield rate


def _rates(run: Any, headless_rate: Callable[[float], float], seconds: float) -> tuple[float, float]:
    """Return iterations per second with the window and without it, by turns: machines are not always as fast."""
    streaming, headless = [], []
    for _ in range(ROUNDS):
        before = run.snapshot
        wait_until(lambda before=before: run.snapshot is not before, "an iterate")  # type: ignore[misc]
        first = run.snapshot
        _work_for(seconds / ROUNDS)
        last = run.snapshot
        if last is first:
            wait_until(lambda first=first: run.snapshot is not first, "an iterate")  # type: ignore[misc]
            last = run.snapshot
        streaming.append((last.iteration - first.iteration) / (last.seconds - first.seconds))
        run.pause()
        _work_for(0.5)  # what is shown when it is held
        headless.append(headless_rate(seconds / ROUNDS))
        run.pause()
    return float(np.mean(streaming)), float(np.mean(headless))


def _streaming(workflow: Workflow, headless_rate: Callable[[float], float], seconds: float) -> dict[str, Any]:
    session, run = workflow.session, workflow.session.refinement
    workflow.refine.algorithm.value, workflow.refine.text.value = WRITTEN, RECIPE
    workflow.refine.bar.start.click()
    wait_until(lambda: run.snapshot is not None and run.snapshot.seconds > 1, "the first iterates")
    slots: list[float] = []
    with _timed(run, "_arrived", slots), _timed(run, "_show_on", slots):
        # Without the ticks, which disturb the solver.
        streaming, headless = _rates(run, headless_rate, seconds)
        with ticking() as late:
            _work_for(seconds / 2)
    layer, strokes = session.support_layer, []
    assert layer is not None
    layer.brush_size = 3
    middle = [n // 2 for n in layer.data.shape]
    for stroke in range(STROKES):
        taken, began = run.taken, time.monotonic()
        layer.paint((*middle[:-1], middle[-1] - 2 * stroke), 0)
        wait_until(lambda taken=taken: run.taken > taken, "a stroke to be taken")  # type: ignore[misc]
        strokes.append(time.monotonic() - began)
    began = time.monotonic()
    workflow.refine.bar.stop.click()
    wait_until(lambda: run.state == "idle", "the run to end")
    stop = time.monotonic() - began
    shown = [slot for slot in slots if slot > 0]
    return {
        "stall_ms_p95": 1e3 * float(np.quantile(late, 0.95)),
        "stall_ms_max": 1e3 * max(late),
        "own_slot_ms_p95": 1e3 * float(np.quantile(shown, 0.95)),
        "headless_it_s": headless,
        "streaming_it_s": streaming,
        "stroke_ms_median": 1e3 * float(np.median(strokes)),
        "stop_ms": 1e3 * stop,
        "slots": len(shown),
    }


def _work_for(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(round(1e3 * seconds), loop.quit)
    loop.exec()


@contextmanager
def ticking() -> Iterator[list[float]]:
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
