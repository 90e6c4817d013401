"""Checkpoints: what a run needs to go on after the program or the machine went down, in the user's cache.

Each run has a folder of its own: its measurement, ``run.json``, and its state twice, the newer one always written over
the older. The program holds a lock on the folder as long as it lives, and the system takes that back whatever ends the
program: a folder that nobody holds is that of a run that was cut off.
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from napari_dipr import __version__
from napari_dipr.errors import FileError
from napari_dipr.io.provenance import about_measurement, as_json, measurement_from
from napari_dipr.io.sealed import glance, read_sealed, write_sealed
from napari_dipr.io.write import write_json
from napari_dipr.solvers.recipe import Recipe

if TYPE_CHECKING:
    from napari_dipr.measurement import Measurement
    from napari_dipr.solvers.position import Position
    from napari_dipr.solvers.problem import State
    from napari_dipr.solvers.run import Iterate

# Names the folder instead of the user's cache.
VARIABLE = "NAPARI_DIPR_CACHE"
# Seconds between two checkpoints.
INTERVAL = 20.0
# What may lie in the cache: runs that were cut off, bytes of them, and days.
MOST_RUNS, MOST_BYTES, MOST_DAYS = 10, 8 << 30, 30

RUN, LOCK, MEASUREMENT = "run.json", "lock", "measurement.safetensors"
STATES = ("state-0.safetensors", "state-1.safetensors")


def runs_folder() -> Path:
    """Return where runs are kept; it need not be there."""
    import pooch

    named = os.environ.get(VARIABLE)
    return (Path(named) if named else Path(pooch.os_cache("napari-dipr"))).absolute() / "runs"


@dataclass(frozen=True, eq=False)
class Kept:
    """What a checkpoint holds.

    Attributes
    ----------
    state, position, recipe
        With which :func:`~napari_dipr.solvers.run.run` goes on.
    more
        Tensors and plain values that were kept beside them.
    """

    state: "State"
    position: "Position"
    recipe: Recipe
    more: dict[str, Any]


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
        How far it had come, of how many.
    written
        When its state was written, seconds since 1970.
    """

    folder: Path
    settings: dict[str, Any]
    measurement: str
    iteration: int
    total: int
    written: float

    @property
    def name(self) -> str:
        """What people call it."""
        return self.folder.name

    def __str__(self) -> str:
        """Say what it is."""
        when = datetime.fromtimestamp(self.written).strftime("%d %b %H:%M")
        return f"{self.measurement}, cut off at iteration {self.iteration} of {self.total} ({when})"


class Claim:
    """A run that was cut off, in the hands of this program: no other one is offered it.

    Raises
    ------
    FileError
        If another program has it, or it is gone.
    """

    def __init__(self, run: CutOff) -> None:
        self.run, self.folder = run, run.folder
        held = _hold(run.folder, 0.5)
        if held is None:
            raise FileError(f"The run {run.name} is in the hands of another program, or gone.")
        self.lock = held

    def measurement(self) -> "Measurement":
        """Return what the run is of.

        Raises
        ------
        FileError
            If it is damaged.
        """
        values = read_sealed(self.folder / MEASUREMENT)
        arrays = values["intensities"].numpy(), values["measured"].numpy()
        return measurement_from(*arrays, json.loads(values["about"]))

    def load(self, device: torch.device | str = "cpu") -> Kept:
        """Return the newest state that is whole.

        Raises
        ------
        FileError
            If none is.
        """
        trouble = None
        for path in _states(self.folder):
            try:
                found = read_sealed(path, device)
                recipe = Recipe.model_validate_json(found["recipe"])
                return Kept(found["state"], found["position"], recipe, found["more"])
            except (FileError, KeyError, ValueError) as error:
                trouble = trouble or error
        raise FileError(f"The run {self.run.name} cannot be gone on with: {trouble or 'it has no state'}")

    def discard(self) -> None:
        """Delete it."""
        _delete(self.folder, self.lock)

    def leave(self) -> None:
        """Leave it to be offered again."""
        self.lock.release()


class Checkpoints:
    """Keeps the state of one run every so often, in a thread of its own.

    A disk that is full or cannot be written to does not end the run: it is told once.

    Parameters
    ----------
    measurement, recipe
        What is solved, and how.
    settings
        What whoever goes on with the run will need to know, plain JSON.
    interval
        Seconds of work that may be lost at most.
    tell
        Told in words where the state cannot be kept, in the thread of the run.
    claim
        The run that is gone on with, if it is one that was cut off.
    """

    def __init__(
        self,
        measurement: "Measurement",
        recipe: Recipe,
        settings: dict[str, Any],
        *,
        interval: float = INTERVAL,
        tell: Callable[[str], None] = lambda words: None,
        claim: Claim | None = None,
    ) -> None:
        self.measurement, self.recipe, self.settings = measurement, recipe, settings
        self.interval, self._tell = interval, tell
        self._folder, self._lock, self._slot = None, None, 0
        if claim is not None:
            self._folder, self._lock = claim.folder, claim.lock
            newest = _states(claim.folder)[:1]
            self._slot = 1 - STATES.index(newest[0].name) if newest else 0
        # The first one writes the measurement too, and nothing is kept before it.
        self._looked, self._gap = time.monotonic(), 0.0
        self._due = self._looked + interval / 2
        self._writer: Thread | None = None
        self._trouble: str | None = None
        self._told = False

    @property
    def name(self) -> str | None:
        """What people call the run; None while nothing of it is kept."""
        return None if self._folder is None or not _states(self._folder) else self._folder.name

    def look(self, iterate: "Iterate", more: dict[str, Any] | None = None) -> None:
        """Keep an iterate if it is time to; called as often as the run yields."""
        if self._trouble is not None and not self._told:
            self._told = True
            self._tell(f"The run's state is not kept, and lost if the program ends: {self._trouble}")
        now = time.monotonic()
        self._looked, self._gap = now, max(now - self._looked, self._gap / 2)
        if now < self._due or (self._writer is not None and self._writer.is_alive()):
            return
        # No step writes into the tensors of a state; an accelerator's are brought over before the next one begins.
        state, position = iterate.state, iterate.position
        if state.object.device.type != "cpu":
            state, position = _on_cpu(state), _on_cpu(position)
        self._writer = Thread(target=self._write, args=(iterate, state, position, more or {}), daemon=True)
        self._writer.start()

    def keep(self, iterate: "Iterate", more: dict[str, Any] | None = None) -> None:
        """Keep an iterate now, and wait for it."""
        self._wait()
        self._write(iterate, iterate.state, iterate.position, more or {})

    def end(self) -> None:
        """Delete what was kept: the run is over."""
        self._wait()
        if self._folder is not None and self._lock is not None:
            _delete(self._folder, self._lock)
            self._folder = self._lock = None

    def leave(self) -> None:
        """Leave what was kept to be offered."""
        self._wait()
        if self._lock is not None:
            self._lock.release()

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.join()

    def _write(self, iterate: "Iterate", state: "State", position: "Position", more: dict[str, Any]) -> None:
        began = time.monotonic()
        try:
            folder = self._open()
            values = {
                "iteration": iterate.iteration,
                "total": iterate.total,
                "written": time.time(),
                "recipe": self.recipe.model_dump_json(),
                "state": replace(state, by=None),
                "position": position,
                "more": more,
            }
            write_sealed(folder / STATES[self._slot], values, MOST_BYTES / 3)
            self._slot = 1 - self._slot
            self._trouble = None
        except (OSError, MemoryError, TypeError) as error:
            self._trouble = " ".join(str(error).split()) or type(error).__name__
        # The next one shall be done, and not begun, within the interval.
        ended = time.monotonic()
        self._due = max(began + self.interval - 2 * (ended - began) - 2 * self._gap, ended)

    def _open(self) -> Path:
        """Return the folder, with the measurement in it."""
        if self._folder is None:
            root = runs_folder()
            root.mkdir(parents=True, exist_ok=True)
            clean()
            folder = root / f"{_stamp(datetime.now())}-{uuid.uuid4().hex[:6]}"
            folder.mkdir()
            self._lock = _hold(folder, 5)  # whoever lists the folders holds each for a moment
            about = json.dumps(about_measurement(self.measurement), allow_nan=False)
            arrays = {"intensities": self.measurement.intensities, "measured": self.measurement.measured}
            try:
                write_sealed(folder / MEASUREMENT, {**arrays, "about": about})
                told = {"version": __version__, "measurement": self.measurement.name, "pid": os.getpid()}
                write_json(folder / RUN, {**told, "settings": as_json(self.settings)})
            except BaseException:
                if self._lock is not None:
                    _delete(folder, self._lock)
                raise
            self._folder = folder
        return self._folder


def cut_off() -> list[CutOff]:
    """Return the runs that were cut off, the newest first; those of programs that live are not among them."""
    found = []
    for folder in _folders():
        held = _hold(folder)
        if held is None:
            continue
        try:
            if (run := _run_in(folder)) is not None:
                found.append(run)
        finally:
            held.release()
    return sorted(found, key=lambda run: -run.written)


def clean() -> None:
    """Delete what was left unfinished, runs that were cut off long ago, and the oldest where there are too many."""
    runs = cut_off()
    known = {run.folder for run in runs}
    size, oldest = 0, time.time() - MOST_DAYS * 86400
    # A folder is a moment old before its owner holds it; it is called by the time.
    lately = _stamp(datetime.now() - timedelta(hours=1))
    stray = [folder for folder in _folders() if folder not in known and folder.name < lately]
    for number, run in enumerate(runs):
        size += sum(path.stat().st_size for path in run.folder.iterdir())
        if number >= MOST_RUNS or size > MOST_BYTES or run.written < oldest:
            stray.append(run.folder)
    for folder in stray:
        if (held := _hold(folder)) is not None:
            _delete(folder, held)


def _stamp(time: datetime) -> str:
    return f"{time:%Y%m%d-%H%M%S}"


def _folders() -> list[Path]:
    with suppress(OSError):
        return sorted(folder for folder in runs_folder().iterdir() if folder.is_dir())
    return []


def _run_in(folder: Path) -> CutOff | None:
    """Return what was cut off in a folder that is held; None where no state of it was written."""
    try:
        told = json.loads((folder / RUN).read_text(encoding="utf-8"))
        for path in _states(folder):
            with suppress(FileError):
                at = glance(path)
                return CutOff(
                    folder, told["settings"], told["measurement"], at["iteration"], at["total"], at["written"]
                )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _states(folder: Path) -> list[Path]:
    """Return the states in a folder, the newest first."""
    there = []
    for name in STATES:
        with suppress(OSError):
            there.append(((folder / name).stat().st_mtime_ns, folder / name))
    return [path for _, path in sorted(there, reverse=True)]


def _hold(folder: Path, seconds: float = 0) -> Any:
    """Return the lock of a folder, held; None where another holds it for so long, or the folder is gone."""
    if not folder.is_dir():
        return None
    lock = FileLock(folder / LOCK, timeout=seconds, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return None
    return lock


def _delete(folder: Path, lock: Any) -> None:
    # What the lock is of goes first, for Windows deletes no file that is open.
    for name in (RUN, *STATES, MEASUREMENT):
        with suppress(OSError):
            (folder / name).unlink()
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def _on_cpu(value: Any) -> Any:
    """Return a dataclass with its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, tuple):
        return tuple(_on_cpu(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _on_cpu(getattr(value, name)) for name in value.__dataclass_fields__})
    return value
