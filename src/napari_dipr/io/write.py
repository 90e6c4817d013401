"""Files that appear whole or not at all, together."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from napari_dipr.errors import FileError
from napari_dipr.io.provenance import as_json

# What some system does not take in a file's name.
FORBIDDEN = set('<>:"/\\|?*')


def file_name(name: str) -> str:
    """Return what files may be called after a name that people gave: anything unusual becomes a hyphen."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "reconstruction"


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """Write a JSON file beside its place and rename it.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with replacing(Path(path)) as (new,):
        new.write_text(json.dumps(as_json(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def writable_folder(folder: str | Path) -> Path:
    """Make a folder where it is missing, and try whether it can be written to; return its absolute path.

    Raises
    ------
    FileError
        If it cannot.
    """
    folder = Path(folder).absolute()
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    return folder


def check_apart(written: Iterable[str | Path], reads: Iterable[str | Path | None] = ()) -> None:
    """Find out before the work whether it would replace what it reads, by whatever names.

    Parameters
    ----------
    written
        Files that will be there.
    reads
        The measurement, and what is read beside it; of a folder the files in it. What is no file, as None or a
        sample, cannot be lost.

    Raises
    ------
    FileError
        If a file is both, or is written twice.
    """
    kept: set[tuple[int, int] | None] = set()
    for path in reads:
        if path is None:
            continue
        for file in Path(path).iterdir() if Path(path).is_dir() else [Path(path)]:
            # What a link leads to is lost by its own name, the link by its.
            for follow in (True, False):
                kept.add(_identity(file, follow))
    kept.discard(None)
    places: set[str] = set()
    for place in map(Path, written):
        if _identity(place, follow=False) in kept:
            raise FileError(
                f"{place} would replace the measurement itself, or what is read with it: choose another folder or name."
            )
        if (name := os.path.abspath(place)) in places:
            raise FileError(f"{place} would be written twice: choose another name.")
        places.add(name)


def _identity(file: Path, follow: bool) -> tuple[int, int] | None:
    """Return what a file is to the system; None where there is none."""
    try:
        state = file.stat(follow_symlinks=follow)
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


@contextlib.contextmanager
def replacing(*places: Path) -> Iterator[list[Path]]:
    """Have files written beside their places, with the same names, and rename them all once the block is done.

    Files that are there stay whole until then. Where anything fails, in the block or in between, they are all as they
    were, and nothing else is left.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    folders = {place: writable_folder(place.parent) for place in places}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told(*dict.fromkeys(folders.values())))
        hidden = {
            folder: Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".napari-dipr-")))
            for folder in folders.values()
        }
        new = {hidden[folders[place]] / place.name: place for place in places}
        yield list(new)
        _put_in_place(new)


def _put_in_place(files: dict[Path, Path]) -> None:
    """Rename each new file to its place; where one fails, put back all that were there."""
    for place in files.values():
        if place.is_dir():
            raise IsADirectoryError(f"{place.name} is a folder")
    kept = {place: new.with_name(f"old-{place.name}") for new, place in files.items() if place.exists()}
    for place, copy in kept.items():
        shutil.copy2(place, copy)
    try:
        for new, place in files.items():
            os.replace(new, place)
    except BaseException:
        for new, place in files.items():
            if new.exists():  # it is not in its place yet
                continue
            if place in kept:
                os.replace(kept[place], place)
            else:
                place.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _told(*folders: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError) as error:
        if isinstance(error, FileError):
            raise
        if isinstance(error, MemoryError):
            reason = "the memory is full"
        else:  # NumPy only says how much of an array was not written
            reason = error.strerror or f"{error} (is the disk full?)"
        where = " and ".join(map(str, folders))
        raise FileError(f"Cannot write to {where}: {reason}. Nothing was changed; choose another folder.") from error
