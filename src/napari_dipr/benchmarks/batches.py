"""A batch over worker processes beside the same in one: the same bits, also where a worker is killed, and how fast.

FashionMNIST samples, HIO with shrink-wrap from the autocorrelation's support, one thread each; what is timed takes
turns.
"""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipr.batch.inputs import patterns_of
from napari_dipr.batch.job import DONE, Job, Row
from napari_dipr.batch.run import carry_out, chunk_size, chunks_of
from napari_dipr.errors import DiprError
from napari_dipr.preparation.steps import Preparation
from napari_dipr.reconstruct import AUTOCORRELATION, Request

# Rows that are there when a worker is killed.
KILLED_AFTER = 20


def batches(
    patterns: int = 200,
    several: int = 24,
    *,
    workers: int = 2,
    starts: int = 8,
    rounds: int = 1,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Solve samples in this process, over workers, and over workers of which one is killed; and time them.

    Parameters
    ----------
    patterns
        Of one start, at most 256 samples.
    several, starts
        How many of them are timed with how many starts each.
    workers
        Processes.
    rounds
        Of the timing.
    seed
        Of the starts.
    progress
        Told what comes, what is done, and of how many.

    Returns
    -------
    dict
        ``same`` and ``same_killed``, results whose arrays are those of this process to the last bit; ``failed``, of the
        batch with the kill; ``times`` of each round: patterns a second, ``whole`` and ``after`` the first rows, which
        leaves the workers' start out.
    """
    ways = {"this process": 0, "one worker": 1, f"{workers} workers": workers}
    total, done = 3 + 2 * rounds * len(ways), 0

    def tell(what: str) -> None:
        nonlocal done
        if progress is not None:
            progress(what, done, total)
        done += 1

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tell("one process")
        serial = _job(root / "serial", 1, seed)
        for _ in _solved(serial, patterns, 0):
            pass
        tell(f"{workers} workers")
        spread = _job(root / "spread", 1, seed)
        for _ in _solved(spread, patterns, workers):
            pass
        tell("one of them killed")
        killed = _job(root / "killed", 1, seed)
        rows: list[Row] = []
        victim: int | None = None
        for part in _solved(killed, patterns, workers):
            rows += part
            if victim is None and len(rows) >= min(KILLED_AFTER, patterns // 4):
                victim = int(part[-1]["process"])
                os.kill(victim, signal.SIGKILL)
        if victim is None:
            raise DiprError(f"{patterns} patterns were done before a worker could be killed. Take more.")
        times = []
        for _ in range(rounds):
            for count, each in ((patterns, 1), (several, starts)):
                for name, processes in ways.items():
                    tell(f"{name}, {each} starts" if each > 1 else name)
                    with tempfile.TemporaryDirectory(dir=root) as place:
                        times.append(
                            {"way": name, "starts": each, **_timed(_job(Path(place), each, seed), count, processes)}
                        )
        return {
            "patterns": patterns,
            "several": several,
            "workers": workers,
            "seed": seed,
            "same": _alike(serial, spread, patterns),
            "same_killed": _alike(serial, killed, patterns),
            "failed": sum(row["state"] != DONE for row in rows),
            "processes": len({row["process"] for row in rows if row["state"] == DONE}),
            "rows_when_killed": min(KILLED_AFTER, patterns // 4),
            "times": times,
        }


def _job(folder: Path, starts: int, seed: int) -> Job:
    request = Request("hio", None, True, False, False, False, None, AUTOCORRELATION, seed)
    folder.mkdir(exist_ok=True)
    return Job(request, Preparation(), folder, starts=starts, ending=".npz")


def _solved(job: Job, count: int, workers: int) -> Generator[list[Row], None, None]:
    patterns = patterns_of([f"sample:fashion-0..{count - 1}"])
    yield from carry_out(job, chunks_of(patterns, chunk_size(job, patterns)), workers=workers)


def _timed(job: Job, count: int, workers: int) -> dict[str, float]:
    began = time.monotonic()
    ends: list[tuple[float, int]] = []
    for rows in _solved(job, count, workers):
        ends.append((time.monotonic(), len(rows)))
    # Each worker's first chunk has its start in it.
    first = min(max(1, workers), len(ends) - 1)
    rest = sum(number for _, number in ends[first:])
    with contextlib.suppress(ZeroDivisionError):
        return {"whole": count / (ends[-1][0] - began), "after": rest / (ends[-1][0] - ends[first - 1][0])}
    raise DiprError(f"{count} patterns are too few to be timed. Take more.")


def _alike(job: Job, other: Job, count: int) -> int:
    """Return how many results have the same arrays, to the last bit."""
    same = 0
    for pattern in patterns_of([f"sample:fashion-0..{count - 1}"]):
        with np.load(job.result(pattern)) as a, np.load(other.result(pattern)) as b:
            # Texts hold dates and seconds.
            names = [name for name in a.files if a[name].dtype.kind in "fcbui"]
            same += bool(names) and all(a[name].tobytes() == b[name].tobytes() for name in names)
    return same
