"""What a reader finds in a file, and how it chooses among several arrays."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.geometry import Geometry

NUMERIC = "buifc"


class Content(NamedTuple):
    """An array, and what its file says of it.

    Attributes
    ----------
    array
        Numbers of any type.
    key
        Its name in the file; None where it has none.
    notes
        What was chosen where the caller did not, in words.
    measured
        ``[*frame]`` or ``[*grid]``, False where the file says that a pixel is bad; None where it says nothing.
    geometry
        None where the file does not tell.
    """

    array: NDArray[Any]
    key: str | None = None
    notes: tuple[str, ...] = ()
    measured: NDArray[np.bool_] | None = None
    geometry: Geometry | None = None


def choose(path: Path, shapes: dict[str, tuple[int, ...]], prefer: str) -> tuple[str, tuple[str, ...]]:
    """Choose the largest 2-D or 3-D array, and say so where there was a choice; ``prefer`` wins among equals.

    Raises
    ------
    FileError
        If there is none.
    """
    fitting = {name: shape for name, shape in shapes.items() if len([n for n in shape if n > 1]) in (2, 3)}
    if not fitting:
        there = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no numbers at all"
        raise FileError(f"{path.name} holds no 2-D or 3-D array of numbers. It has: {there}.")
    size = {name: int(np.prod(shape)) for name, shape in fitting.items()}
    last = {name: name.rsplit("/", 1)[-1].lower() for name in fitting}
    # Of arrays of one size the one with the name that is looked for, and a mask last where it is not.
    name = min(fitting, key=lambda n: (-size[n], last[n] != prefer, "mask" in last[n] and prefer != "mask"))
    others = ", ".join(other for other in shapes if other != name)
    return name, (f"took {name!r}, {fitting[name]}" + (f"; also there: {others}" if others else ""),)


def no_key(path: Path, key: str, names: list[str]) -> str:
    """Say that there is no array of that name, and which there are."""
    return f"{path.name} has no array {key!r}. It has: {', '.join(sorted(names)) or 'none'}."


def framed(array: NDArray[Any], frame: int | None, what: str) -> NDArray[Any]:
    """Return a frame of a stack, or all of it. Raises FileError where there is no such frame."""
    if frame is None:
        return array
    check_frame(frame, array.shape, what)
    return array[frame]


def check_frame(frame: int, shape: tuple[int, ...], what: str) -> None:
    """Raise FileError where there is no such frame."""
    if len(shape) < 3:
        raise FileError(f"{what} has the shape {shape} and no frames: leave out the frame ({frame}).")
    if not 0 <= frame < shape[0]:
        raise FileError(f"{what} has the frames 0 to {shape[0] - 1}; {frame} is not among them.")
