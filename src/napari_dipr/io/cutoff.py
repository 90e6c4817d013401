"""Runs that were cut off: what lies of them in the user's cache, and who may have it.

Each run has a folder of its own: its measurement, ``run.json``, and its state twice, the newer one always written over
the older; of many starts, instead of a state, each that came to its end. The program holds a lock on the folder as long
as it lives, and the system takes that back whatever ends the program: a folder that nobody holds is that of a run that
was cut off.

What is here needs no torch, so that the window can ask as it opens.
"""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout
from safetensors import SafetensorError, safe_open

# Names the folder instead of the user's cache.
VARIABLE = "NAPARI_DIPR_CACHE"
# Seconds between two checkpoints.
INTERVAL = 20.0
# What may lie in the cache: runs that were cut off, bytes of them, and days.
MOST_RUNS, MOST_BYTES, MOST_DAYS = 10, 8 << 30, 30

RUN, LOCK, MEASUREMENT = "run.json", "lock", "measurement.safetensors"
STATES = ("state-0.safetensors", "state-1.safetensors")
# Of an ensemble, each start that came to its end.
STARTS = "start-*.safetensors"
# And what they begin with, where nothing else says so.
BEGUN = "begun.safetensors"


def runs_folder() -> Path:
    """Return where runs are kept; it need not be there."""
    import platformdirs

    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("napari-dipr")).absolute() / "runs"


@dataclass(frozen=True, eq=False)
class CutOff:
    """A run that was cut off.

    Attributes
    ----------
    folder
        Its own.
    settings
        What whoever started it wanted to be kept, plain JSON.
    measurement
        The measurement's name.
    iteration, total
        How far it had come, of how many; of an ensemble, starts.
    written
        When its state was written, seconds since 1970.
    version
        Of the program that ran it.
    unit
        Of the iterations.
    """

    folder: Path
    settings: dict[str, Any]
    measurement: str
    iteration: int
    total: int
    written: float
    version: str
    unit: str = "iteration"

    @property
    def name(self) -> str:
        """What people call it."""
        return self.folder.name

    @property
    def of_starts(self) -> bool:
        """Whether it is many starts, and not one run."""
        return self.unit == "start"

    def __str__(self) -> str:
        """Say what it is."""
        when = datetime.fromtimestamp(self.written).strftime("%d %b %H:%M")
        return f"{self.measurement}, cut off at {self.unit} {self.iteration} of {self.total} ({when})"


@dataclass(frozen=True, eq=False)
class Held:
    """A run's folder in the hands of this program.

    Attributes
    ----------
    folder, lock
        The folder, and what holds it.
    """

    folder: Path
    lock: BaseFileLock

    def leave(self) -> None:
        """Let others have it."""
        self.lock.release()

    def delete(self) -> None:
        """Delete it."""
        # What the lock is of goes first, for Windows deletes no file that is open.
        for name in (RUN, *STATES, MEASUREMENT):
            with suppress(OSError):
                (self.folder / name).unlink()
        self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def cut_off() -> list[CutOff]:
    """Return the runs that were cut off, the newest first; those of programs that live are not among them."""
    found = []
    for folder in _folders():
        held = hold(folder)
        if held is None:
            continue
        try:
            if (run := _run_in(folder)) is not None:
                found.append(run)
        finally:
            held.leave()
    return sorted(found, key=lambda run: -run.written)


def clean() -> None:
    """Delete what was left unfinished, runs that were cut off long ago, and the oldest where there are too many."""
    runs = cut_off()
    known = {run.folder for run in runs}
    size, oldest = 0, time.time() - MOST_DAYS * 86400
    # A folder is a moment old before its owner holds it; it is called by the time. What cannot be read, by this version
    # say, may be whole: it goes when it is old.
    lately, long_ago = stamp(datetime.now() - timedelta(hours=1)), stamp(datetime.fromtimestamp(oldest))
    others = [folder for folder in _folders() if folder not in known]
    stray = [f for f in others if f.name < (long_ago if states(f) or list(f.glob(STARTS)) else lately)]
    for number, run in enumerate(runs):
        with suppress(OSError):  # another program may have taken it up
            size += sum(path.stat().st_size for path in run.folder.iterdir())
        # What each run may keep is bounded where it is written.
        if number >= MOST_RUNS or (number and size > MOST_BYTES) or run.written < oldest:
            stray.append(run.folder)
    for folder in stray:
        if (held := hold(folder)) is not None:
            held.delete()


def stamp(time: datetime) -> str:
    """Write a moment as folders are called by it."""
    return f"{time:%Y%m%d-%H%M%S}"


def _folders() -> list[Path]:
    with suppress(OSError):
        return sorted(folder for folder in runs_folder().iterdir() if folder.is_dir())
    return []


def _run_in(folder: Path) -> CutOff | None:
    """Return what was cut off in a folder that is held; None where no state of it was written."""
    try:
        told = json.loads((folder / RUN).read_text(encoding="utf-8"))
        if starts := sorted(folder.glob(STARTS)):
            return CutOff(
                folder,
                told["settings"],
                told["measurement"],
                len(starts),
                told["starts"],
                starts[-1].stat().st_mtime,
                told["version"],
                "start",
            )
        for _, at in _states(folder):
            if at is not None:
                return CutOff(
                    folder,
                    told["settings"],
                    told["measurement"],
                    at["iteration"],
                    at["total"],
                    at["written"],
                    told["version"],
                )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _header(path: Path) -> dict[str, Any] | None:
    """Return what a state says of itself, no seal checked; None where it is damaged."""
    with (
        suppress(SafetensorError, OSError, ValueError, KeyError, TypeError),
        safe_open(path, "np") as file,
    ):
        at = json.loads(file.metadata()["values"])["dict"]
        return {"iteration": int(at["iteration"]), "total": int(at["total"]), "written": float(at["written"])}
    return None


def states(folder: Path) -> list[Path]:
    """Return the states in a folder, those of the later iterations first, damaged ones last.

    Not the clock says which is newer, for it may be set back; but of two of one iteration.
    """
    return [path for path, _ in _states(folder)]


def _states(folder: Path) -> list[tuple[Path, dict[str, Any] | None]]:
    """Return what :func:`states` does, each with its header; None of a damaged one."""

    def age(state: tuple[Path, dict[str, Any] | None]) -> tuple[float, float, Path]:
        path, at = state
        return (-1, 0, path) if at is None else (at["iteration"], at["written"], path)

    there = [(path, _header(path)) for name in STATES if (path := folder / name).is_file()]
    return sorted(there, key=age, reverse=True)


def hold(folder: Path, seconds: float = 0) -> Held | None:
    """Take a folder in hand; None where another holds it for so long, or the folder is gone."""
    if not folder.is_dir():
        return None
    lock = FileLock(folder / LOCK, timeout=seconds, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):  # the last where the disk knows no locks
        return None
    return Held(folder, lock)
