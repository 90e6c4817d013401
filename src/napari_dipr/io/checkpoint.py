"""Checkpoints: what a run needs to go on after the program or the machine went down."""

import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch

from napari_dipr import __version__
from napari_dipr.errors import FileError, one_line
from napari_dipr.io.cutoff import (
    BEGUN,
    INTERVAL,
    MEASUREMENT,
    MOST_BYTES,
    RUN,
    STATES,
    CutOff,
    Held,
    clean,
    hold,
    runs_folder,
    stamp,
    states,
)
from napari_dipr.io.provenance import about_measurement, as_json, measurement_from
from napari_dipr.io.sealed import read_sealed, write_sealed
from napari_dipr.io.write import write_json
from napari_dipr.solvers.recipe import Recipe

if TYPE_CHECKING:
    from napari_dipr.measurement import Measurement
    from napari_dipr.solvers.position import Position
    from napari_dipr.solvers.problem import State
    from napari_dipr.solvers.run import Iterate


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


class Claim:
    """A run that was cut off, in the hands of this program: no other one is offered it.

    Attributes
    ----------
    run, held
        The run, and its folder.
    slot
        Which of its states to write over next: never the one that was loaded.

    Raises
    ------
    FileError
        If another program has it, or it is gone.
    """

    def __init__(self, run: CutOff) -> None:
        held = hold(run.folder, 0.5)
        if held is None:
            raise FileError(f"The run {run.name} is in the hands of another program, or gone.")
        self.run, self.held, self.slot = run, held, 0

    def measurement(self) -> "Measurement":
        """Return what the run is of.

        Raises
        ------
        FileError
            If it is damaged.
        """
        values = self._read(MEASUREMENT)
        arrays = values["intensities"].numpy(), values["measured"].numpy()
        return measurement_from(*arrays, json.loads(values["about"]))

    def begun(self) -> dict[str, Any]:
        """Return what starts begin with, as :class:`~napari_dipr.io.kept_starts.KeptStarts` was given it.

        Raises
        ------
        FileError
            If it is damaged, or nothing was given.
        """
        return self._read(BEGUN)

    def load(self, device: torch.device | str = "cpu") -> Kept:
        """Return the newest state that is whole.

        Raises
        ------
        FileError
            If none is.
        """
        trouble: Exception | None = None
        for path in states(self.run.folder):
            try:
                found = read_sealed(path, device)
                recipe = Recipe.of(json.loads(found["recipe"]))
                kept = Kept(found["state"], found["position"], recipe, found["more"])
            except (FileError, KeyError, ValueError) as error:
                trouble = trouble or error
            else:
                self.slot = 1 - STATES.index(path.name)
                return kept
        raise self.useless(trouble or "it has no state.") from trouble

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return read_sealed(self.run.folder / name)
        except FileError as error:
            raise self.useless(error) from error

    def useless(self, why: object) -> FileError:
        """Return the error that says why nothing can be gone on with."""
        return FileError(f"The run {self.run.name} cannot be gone on with: {why} Discard it.")

    def discard(self) -> None:
        """Delete it."""
        self.held.delete()

    def leave(self) -> None:
        """Leave it to be offered again."""
        self.held.leave()


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
        The run that is gone on with, loaded, if it is one that was cut off.
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
        self._held: Held | None = None
        self._slot = 0
        if claim is not None:
            self._held, self._slot = claim.held, claim.slot
        # The first one writes the measurement too, and nothing is kept before it.
        self._looked, self._gap = time.monotonic(), 0.0
        self._due = self._looked + interval / 2
        self._writer: Thread | None = None
        self._trouble: str | None = None
        self._told = False

    @property
    def name(self) -> str | None:
        """What people call the run; None while nothing of it is kept."""
        return None if self._held is None or not states(self._held.folder) else self._held.folder.name

    @property
    def size(self) -> int:
        """Bytes of the newest state."""
        newest = [] if self._held is None else states(self._held.folder)[:1]
        return sum(path.stat().st_size for path in newest)

    def look(self, iterate: "Iterate", more: Callable[[], dict[str, Any]] = dict) -> bool:
        """Keep an iterate if it is time to, and say so; called as often as the run yields.

        ``more`` returns tensors and plain values to be kept beside it.
        """
        if self._trouble is not None and not self._told:
            self._told = True
            self._tell(f"The run's state is not kept, and lost if the program ends: {self._trouble}")
        now = time.monotonic()
        self._looked, self._gap = now, max(now - self._looked, self._gap / 2)
        if now < self._due or (self._writer is not None and self._writer.is_alive()):
            return False
        # No step writes into the tensors of a state; an accelerator's are brought over before the next one begins.
        state, position = iterate.state, iterate.position
        if state.object.device.type != "cpu":
            state, position = _on_cpu(state), _on_cpu(position)
        self._writer = Thread(target=self._write, args=(iterate, state, position, more()), daemon=True)
        self._writer.start()
        return True

    def keep(self, iterate: "Iterate", more: Callable[[], dict[str, Any]] = dict) -> None:
        """Keep an iterate now, and wait for it."""
        self.wait()
        self._write(iterate, iterate.state, iterate.position, more())

    def end(self) -> None:
        """Delete what was kept: the run is over."""
        self.wait()
        if self._held is not None:
            self._held.delete()
            self._held = None

    def leave(self) -> None:
        """Leave what was kept to be offered."""
        self.wait()
        if self._held is not None:
            self._held.leave()

    def wait(self) -> None:
        """Wait until what is being written is."""
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
            self._trouble = one_line(error)
        # The next one shall be done, and not begun, within the interval.
        ended = time.monotonic()
        self._due = max(began + self.interval - 2 * (ended - began) - 2 * self._gap, ended)

    def _open(self) -> Path:
        """Return the folder, with the measurement in it."""
        if self._held is None:
            self._held = new_folder(self.measurement, self.settings)
        return self._held.folder


def new_folder(measurement: "Measurement", settings: dict[str, Any], **told: Any) -> Held:
    """Make a folder for a run, with its measurement in it, and hold it; ``told`` goes beside.

    Raises
    ------
    OSError
        If it cannot be written or held; nothing is left of it then.
    """
    root = runs_folder()
    root.mkdir(parents=True, exist_ok=True)
    clean()
    folder = root / f"{stamp(datetime.now())}-{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    held = hold(folder, 5)  # whoever lists the folders holds each for a moment
    if held is None:
        shutil.rmtree(folder, ignore_errors=True)
        raise OSError(f"{folder} cannot be locked")
    about = json.dumps(about_measurement(measurement), allow_nan=False)
    arrays = {"intensities": measurement.intensities, "measured": measurement.measured}
    try:
        write_sealed(folder / MEASUREMENT, {**arrays, "about": about}, MOST_BYTES / 3)
        more = {"version": __version__, "measurement": measurement.name, **told}
        write_json(folder / RUN, {**more, "settings": as_json(settings)})
    except BaseException:
        held.delete()
        raise
    return held


def _on_cpu(value: Any) -> Any:
    """Return a dataclass with its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, tuple):
        return tuple(_on_cpu(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _on_cpu(getattr(value, name)) for name in value.__dataclass_fields__})
    return value
