"""What became of the starts of an ensemble, kept for when the program or the machine goes down."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dipr.errors import FileError, one_line
from napari_dipr.io.checkpoint import Claim, new_folder
from napari_dipr.io.cutoff import BEGUN, MOST_BYTES, STARTS, Held
from napari_dipr.io.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from napari_dipr.ensembles.ensemble import Ended
    from napari_dipr.measurement import Measurement


class KeptStarts:
    """Keeps each start that ended in a file of its own, once; of one that diverged, that it did so.

    What runs is lost: a batch of starts at most.

    A disk that is full or cannot be written to does not end the starts: it is told once.

    Parameters
    ----------
    measurement
        Of which they are.
    settings
        What whoever goes on will need to know, plain JSON.
    count
        How many there will be at most, in all generations.
    begun
        Tensors and plain values that they begin with, to be kept beside them for whoever cannot know these otherwise.
    tell
        Told in words where they cannot be kept.
    claim
        The ensemble that is gone on with, if it is one that was cut off.

    Attributes
    ----------
    written
        How many are kept.
    """

    def __init__(
        self,
        measurement: "Measurement",
        settings: dict[str, Any],
        count: int,
        *,
        begun: dict[str, Any] | None = None,
        tell: Callable[[str], None] = lambda words: None,
        claim: Claim | None = None,
    ) -> None:
        self.measurement, self.settings, self.count, self._tell = measurement, settings, count, tell
        self._begun = begun
        self._held: Held | None = None if claim is None else claim.held
        self.written, self._failed = 0, False

    def load(self) -> "tuple[Ended, ...]":
        """Return those that were kept, from the first one on, as far as their files are whole."""
        found: list[Any] = []
        while self._held is not None and len(found) < self.count:
            try:
                found.append(read_sealed(_place(self._held.folder, len(found)))["start"])
            except FileError:
                break
        self.written = len(found)
        return tuple(found)

    def keep(self, ended: "Sequence[Ended]") -> None:
        """Keep those that are not yet, of all from the first one on."""
        if self._failed:
            return
        try:
            for number in range(self.written, len(ended)):
                if self._held is None:
                    self._held = new_folder(self.measurement, self.settings, starts=self.count)
                    if self._begun is not None:
                        write_sealed(self._held.folder / BEGUN, self._begun, MOST_BYTES / 3)
                write_sealed(_place(self._held.folder, number), {"start": ended[number]}, self._most(self._held.folder))
                self.written = number + 1
        except (OSError, MemoryError) as error:
            self._failed = True
            self._tell(f"The starts are not kept, and lost if the program ends: {one_line(error)}")

    def _most(self, folder: Path) -> float:
        """Return the bytes that a start may be of: its share of what the rest leaves."""
        rest = sum(file.stat().st_size for file in folder.iterdir() if not file.match(STARTS))
        return (MOST_BYTES - rest) / self.count

    def end(self) -> None:
        """Delete what was kept: the result is safe."""
        if self._held is not None:
            self._held.delete()
            self._held = None

    def leave(self) -> None:
        """Leave what was kept to be offered."""
        if self._held is not None:
            self._held.leave()


def _place(folder: Path, number: int) -> Path:
    return folder / STARTS.replace("*", f"{number:05d}")
