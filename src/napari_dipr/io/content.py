"""What a reader finds in a file, and how it chooses among several arrays."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.geometry import Geometry
from napari_dipr.io.region import Index

NUMERIC = "buifc"
# Where the system does not say what memory there is.
MEMORY = 16 << 30

Measured = tuple[NDArray[np.bool_] | None, tuple[str, ...]]


class Content(NamedTuple):
    """An array in an open file, of which nothing but the header was read, and what its file says of it.

    Attributes
    ----------
    shape, dtype
        Those of the array; the type is one of numbers.
    take
        Reads what an index takes of it: one frame's number, or slice with start, stop and step, per axis.
    key
        Its name in the file; None where it has none.
    notes
        What was chosen where the caller did not, in words.
    measured
        Reads where the file says that pixels are good, cut by the same index; None where it says nothing.
    geometry
        None where the file does not tell.
    in_parts
        Whether ``take`` reads no more than it takes; if not, the whole array is read first.
    is_frame
        Whether the array is the only frame of what could have more, so that it may be asked for as frame 0.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    take: Callable[[Index], NDArray[Any]]
    key: str | None = None
    notes: tuple[str, ...] = ()
    measured: Callable[[Index], Measured] = lambda index: (None, ())
    geometry: Geometry | None = None
    in_parts: bool = True
    is_frame: bool = False


# Opens a file: path, key or None, name that wins among equals.
Reader = Callable[[Path, str | None, str], AbstractContextManager[Content]]


def choose(path: Path, shapes: dict[str, tuple[int, ...]], prefer: str) -> tuple[str, tuple[str, ...]]:
    """Choose the largest 2-D or 3-D array, and say so where there was a choice; ``prefer`` wins among equals.

    Raises
    ------
    FileError
        If there is none.
    """
    fitting = {name: shape for name, shape in shapes.items() if is_picture(shape)}
    if not fitting:
        there = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no numbers at all"
        raise FileError(f"{path.name} holds no 2-D or 3-D array of numbers. It has: {there}.")
    size = {name: int(np.prod(shape)) for name, shape in fitting.items()}
    last = {name: name.rsplit("/", 1)[-1].lower() for name in fitting}
    # Of arrays of one size the one with the name that is looked for, and a mask last where it is not.
    name = min(fitting, key=lambda n: (-size[n], last[n] != prefer, "mask" in last[n] and prefer != "mask"))
    others = ", ".join(other for other in shapes if other != name)
    return name, (f"took {name!r}, {fitting[name]}" + (f"; also there: {others}" if others else ""),)


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether an array of the shape is 2-D or 3-D, sides of 1 left out."""
    return sum(n > 1 for n in shape) in (2, 3)


def no_key(path: Path, key: str, names: list[str]) -> str:
    """Say that there is no array of that name, and which there are."""
    return f"{path.name} has no array {key!r}. It has: {', '.join(sorted(names)) or 'none'}."


def check_frame(frame: int, shape: tuple[int, ...], what: str) -> None:
    """Raise FileError where there is no such frame."""
    if len(shape) < 3:
        raise FileError(f"{what} has the shape {shape} and no frames: leave out the frame ({frame}).")
    if not 0 <= frame < shape[0]:
        raise FileError(f"{what} has the frames 0 to {shape[0] - 1}; {frame} is not among them.")


def refuse_too_large(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """Raise FileError where an array would not fit into the memory that is free: headers can announce anything."""
    size, free = int(np.prod(shape, dtype=object)) * dtype.itemsize, _free_memory()
    if size > free:
        raise FileError(
            f"{what}, {shape} {dtype}, is {size / 1e9:.3g} GB, and {free / 1e9:.3g} GB of memory are free. Choose a "
            "region or a frame of it."
        )


def _free_memory() -> int:
    try:
        told = Path("/proc/meminfo").read_text()
        return int(told.partition("MemAvailable:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):  # not Linux: the whole memory
        names = getattr(os, "sysconf_names", {})
        known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else MEMORY
