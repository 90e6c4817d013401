"""How a call of ``reconstruct`` keeps its run, and finds the one of the same words that was cut off."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.markup import escape

from napari_dipr import __version__
from napari_dipr.cli.data import console
from napari_dipr.cli.resume import KIND, NAME, WORDS
from napari_dipr.errors import FileError
from napari_dipr.io.checkpoint import Claim
from napari_dipr.io.cutoff import INTERVAL, CutOff, cut_off
from napari_dipr.reconstruct import Keeping

if TYPE_CHECKING:
    from napari_dipr.measurement import Measurement


class KeptRun:
    """A call's run, and what was cut off of earlier ones.

    Attributes
    ----------
    keeping
        How its state is kept; None where it is not.
    """

    def __init__(self, settings: dict[str, Any], resume: bool, every: float) -> None:
        here = [run for run in cut_off() if all(run.settings.get(w) == settings[w] for w in ("kind", "folder"))]
        self._earlier = [run for run in here if run.settings.get("words") == settings["words"]]
        self._claim: Claim | None = None
        if self._earlier and resume:
            chosen = [run for run in self._earlier if NAME.get() in (None, run.name)]
            if not chosen:
                raise FileError(f"The run {NAME.get()} is in the hands of another program, or gone.")
            run = chosen[0]
            # What had come further stays: nobody asked for it to go.
            self._earlier = [other for other in self._earlier if other.iteration <= run.iteration and other is not run]
            self._claim = Claim(run)
            console.print(f"going on with {escape(str(run))}")
            self._warn(run, settings)
        elif self._earlier:
            console.print(f"[bold]{escape(str(self._earlier[0]))}: add --resume to go on with it[/]")
        elif resume:
            console.print("nothing of this call was cut off: from the beginning")
            for run in here:
                if run.settings.get("words", [])[:1] == settings["words"][:1]:
                    console.print(f"  of other words: {escape(str(run))}; to go on: napari-dipr resume {run.name}")
        # One that is gone on with is deleted at its end, though nothing more of it is kept.
        self.keeping = Keeping(settings, every or math.inf, self._claim) if every or self._claim else None

    def _warn(self, run: CutOff, settings: dict[str, Any]) -> None:
        if run.version != __version__:
            console.print(f"  then by version {run.version}, now by {__version__}: it may go on otherwise")
        if (before := run.settings.get("threads")) != settings["threads"]:
            console.print(f"  then on {before} threads, now on {settings['threads']}: sums may round otherwise")

    def measurement(self) -> "Measurement | None":
        """Return the measurement of the run that is gone on with, as it was read then."""
        return None if self._claim is None else self._claim.measurement()

    @property
    def starts(self) -> int:
        """How many starts of an ensemble are kept."""
        return 0 if self.keeping is None else self.keeping.starts

    def end(self) -> None:
        """Delete what was kept of this call: its result is written."""
        if self.keeping is not None:
            self.keeping.end()
        for run in self._earlier:
            try:
                Claim(run).discard()
            except FileError:  # another program has taken it up
                continue


def kept_run(resume: bool, every: float = INTERVAL) -> KeptRun:
    """Return how this call's run is kept, with the one that was cut off if it shall go on with that."""
    settings = {
        "kind": KIND,
        "words": [word for word in WORDS.get() if word != "--resume"],
        "folder": str(Path.cwd()),
        "threads": torch.get_num_threads(),
    }
    return KeptRun(settings, resume, every)
