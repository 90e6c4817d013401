"""What was done to a support, so that napari's Undo is known for what it is: it says nothing of itself."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Changes that are remembered.
MANY = 20


@dataclass(frozen=True)
class Change:
    """Pixels that were changed at once: where, and what they and their pins were before."""

    where: tuple[NDArray[np.intp], ...]
    support: NDArray[np.bool_]
    pins: NDArray[np.int8] | None


class Changes:
    """The last changes of a support, by a person's strokes and by the program alike."""

    def __init__(self) -> None:
        self._last: deque[Change] = deque(maxlen=MANY)

    def add(self, before: NDArray[np.bool_], after: NDArray[np.bool_], pins: NDArray[np.int8] | None) -> None:
        """Remember a change, and the pins before it (None: there were none)."""
        where: Any = np.nonzero(before != after)
        if len(where[0]):
            self._last.append(Change(where, before[where], None if pins is None else pins[where]))

    def undone(
        self, known: NDArray[np.bool_], support: NDArray[np.bool_], pins: NDArray[np.int8] | None
    ) -> tuple[NDArray[np.int8] | None] | None:
        """Say whether a support is the known one but for the last changes, and forget these.

        Returns
        -------
        tuple or None
            The pins as they were before these changes, int8 ``[*grid]`` or None for no pins, in a tuple; None where the
            support is something new.
        """
        expected, before = known.copy(), np.zeros(known.shape, np.int8) if pins is None else pins.copy()
        for count, change in enumerate(reversed(self._last), 1):
            expected[change.where] = change.support
            before[change.where] = 0 if change.pins is None else change.pins
            if np.array_equal(expected, support):
                for _ in range(count):
                    self._last.pop()
                return (before if before.any() else None,)
        return None
