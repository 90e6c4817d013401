"""What a killed run leaves: runs in processes of their own are killed at random moments, and gone on with.

What is read back must be what an uninterrupted run had at that iteration, to the last bit, and so must what comes of it
some iterations later. What is lost reaches from the iterate that is read back to the kill; of that, finished iterations
reach to the last iterate, for nothing can be kept within one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from napari_dipr.benchmarks.checkpoints import ellipsoid
from napari_dipr.errors import FileError
from napari_dipr.io.checkpoint import Checkpoints, Claim
from napari_dipr.io.cutoff import STATES, VARIABLE, cut_off, runs_folder
from napari_dipr.io.sealed import read_sealed, seal_of
from napari_dipr.measurement import Measurement
from napari_dipr.solvers.position import Position
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import run
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

# Seconds of a run within which it is killed, in intervals.
SPAN = 8
# Iterations that are compared after what is read back.
MORE = 3


def kills(
    times: int = 50,
    *,
    interval: float = 1.0,
    side: int = 64,
    recipe: str = "alm*100000",
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Kill runs, and compare what they leave with a run that was left alone.

    Parameters
    ----------
    times
        How many.
    interval
        Seconds between two checkpoints.
    side
        Of the volume, pixels: the larger, the longer a state is being written.
    recipe
        Its text.
    seed
        Of the moments, which are uniform over eight intervals.
    progress
        Called after each.

    Returns
    -------
    dict
        Plain JSON: the figures, and a row for each kill.
    """
    rng = np.random.default_rng(seed)
    case = {"side": side, "recipe": recipe, "interval": interval, "threads": torch.get_num_threads()}
    rows = []
    for _ in range(times):
        rows.append(_kill(case, SPAN * interval * float(rng.random())))
        progress()
    _compare(rows, case)
    lost = [row["lost"] for row in rows]
    return {
        "kills": times,
        "interval": interval,
        "side": side,
        "recipe": recipe,
        "seed": seed,
        "threads": case["threads"],
        "while_writing": sum(row["writing"] for row in rows),
        "before_the_first": sum(row["iteration"] is None for row in rows),
        "lost_most": max(lost),
        "lost_median": float(np.median(lost)),
        "late": sum(value > interval for value in lost),
        "finished_most": max(row["lost_finished"] for row in rows),
        "unlike": sum(row["same"] is False for row in rows),
        "unlike_later": sum(row["same_later"] is False for row in rows),
        "damaged": sum(row["damaged"] for row in rows),
        "megabytes": max(row["bytes"] for row in rows) / 1e6,
        "rows": rows,
    }


def _kill(case: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Start a run, kill it some seconds after its first iteration, and read what it has left."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {VARIABLE: folder}):
        log = Path(folder) / "log"
        words = [sys.executable, "-m", "napari_dipr.benchmarks.kills", json.dumps(case), str(log)]
        process = subprocess.Popen(words, stderr=subprocess.PIPE)
        try:
            while not log.exists() or not log.read_bytes().count(b"\n"):
                if process.poll() is not None:
                    raise RuntimeError(f"the run ended by itself: {process.communicate()[1].decode()}")
                time.sleep(0.01)
            time.sleep(seconds)
        finally:
            killed = time.time()
            process.kill()
            process.communicate()
        times = _times(log)
        states = [path for path in runs_folder().glob("*/*") if path.name in STATES]
        row: dict[str, Any] = {
            "after": seconds,
            "reached": max(times),
            "iteration": None,
            "lost": killed - min(times.values()),
            "lost_finished": max(times.values()) - min(times.values()),
            "writing": any(runs_folder().glob("*/*.part")),
            "damaged": sum(_is_damaged(path) for path in states),
            "bytes": max((path.stat().st_size for path in states), default=0),
            "same": None,
            "same_later": None,
        }
        for found in cut_off():
            kept = Claim(found).load()
            problem = Problem.of(ellipsoid((case["side"],) * 3))
            since = times[kept.state.iteration]
            row |= {"iteration": kept.state.iteration, "lost": killed - since}
            row["lost_finished"] = max(times.values()) - since
            row["seal"] = _seal(kept.state, kept.position)
            steps = run(problem, kept.recipe, kept.state, at=kept.position, interval=0)
            *_, last = islice(steps, MORE)
            row["seal_later"] = _seal(last.state, last.position)
        return row


def _times(log: Path) -> dict[int, float]:
    """Return when each iterate was there; the last line may be cut off."""
    lines = log.read_text().split("\n")[:-1]
    return {int(iteration): float(when) for iteration, when in (line.split() for line in lines)}


def _is_damaged(path: Path) -> bool:
    try:
        read_sealed(path)
    except FileError:
        return True
    return False


def _seal(state: State, position: Position) -> str:
    values = vars(position) | {"seconds": 0.0, "history": ()}  # the history has rows for each look of the clock
    return seal_of({"state": state, **values})


def _compare(rows: list[dict[str, Any]], case: dict[str, Any]) -> None:
    """Run once without a kill, and say of each row whether it is the same."""
    wanted: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for row in rows:
        if row["iteration"] is not None:
            wanted.setdefault(row["iteration"], []).append((row, "same"))
            wanted.setdefault(row["iteration"] + MORE, []).append((row, "same_later"))
    if not wanted:
        return
    problem, recipe, start, _ = _begin(case)
    for iterate in run(problem, recipe, start, interval=0):
        for row, key in wanted.get(iterate.iteration, ()):
            seal = row.pop("seal" if key == "same" else "seal_later")
            row[key] = _seal(iterate.state, iterate.position) == seal
        if iterate.iteration >= max(wanted):
            break


def _begin(case: dict[str, Any]) -> tuple[Problem, Recipe, State, Measurement]:
    measurement = ellipsoid((case["side"],) * 3)
    problem = Problem.of(measurement)
    start = random_start(problem, autocorrelation_support(problem))
    return problem, Recipe.parse(case["recipe"], problem=problem), start, measurement


def _live(case: dict[str, Any], log: Path) -> None:
    """Run until killed, writing down when each iterate is there."""
    torch.set_num_threads(case["threads"])
    problem, recipe, start, measurement = _begin(case)
    kept = Checkpoints(measurement, recipe, {}, interval=case["interval"])
    with log.open("wb", buffering=0) as file:
        for iterate in run(problem, recipe, start):
            file.write(f"{iterate.iteration} {time.time()}\n".encode())
            kept.look(iterate)


if __name__ == "__main__":
    _live(json.loads(sys.argv[1]), Path(sys.argv[2]))
