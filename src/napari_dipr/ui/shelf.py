"""The measurements of a session that are loaded and not worked on, each as it was left."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import Canvas
from napari_dipr.ui.changes import Changes
from napari_dipr.ui.outline import BY_HAND

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session

# What a session has of the measurement at hand.
MADE = ("proposal", "support_from", "strokes", "outcome_of_starts", "_edited", "_changes")


class Left(NamedTuple):
    """A measurement, what was made of it, and the run that was shown: its snapshot and settings."""

    measurement: Measurement
    truth: NDArray[np.complex64] | None
    canvas: Canvas
    made: dict[str, Any]
    outcome: tuple[Any, dict[str, Any]]


class Shelf(dict[str, Left]):
    """What was left, by the measurements' names."""

    changed = Signal()

    def put(self, session: "Session", outcome: tuple[Any, dict[str, Any]]) -> None:
        """Keep the measurement at hand, where there is one, and what was made of it."""
        if session.measurement is not None and session.canvas is not None:
            made = {name: getattr(session, name) for name in MADE}
            self[session.measurement.name] = Left(session.measurement, session.truth, session.canvas, made, outcome)

    def take(self, session: "Session", name: str) -> tuple[Any, dict[str, Any]]:
        """Give a session back what was made of a measurement, or nothing where it is new; return its outcome."""
        left = self.pop(name, None)
        nothing: tuple[Any, ...] = (None, BY_HAND, None, None, False, Changes())
        for key, value in (dict(zip(MADE, nothing, strict=True)) if left is None else left.made).items():
            setattr(session, key, value)
        return (None, {}) if left is None else left.outcome

    def look_through(self) -> None:
        """Forget those of which nothing is left to look at; their runs are in the history."""
        gone = [name for name, left in self.items() if not left.canvas.layers]
        for name in gone:
            del self[name]
        if gone:
            self.changed.emit()
