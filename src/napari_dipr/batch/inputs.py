"""The patterns of a batch: which files, samples and frames are meant, and what their results are called."""

import glob
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import READERS, opened
from napari_dipr.io.read import SAMPLE
from napari_dipr.io.record import told_by
from napari_dipr.io.write import file_name

# Endings of files that are written beside a result.
BESIDE = ("_support", "_crystal", "_crystal_support")


class Pattern(NamedTuple):
    """A pattern to solve.

    Attributes
    ----------
    number
        Its place in the batch, from 0.
    name
        What its files are called; of one batch all differ.
    input
        A file's absolute path, or ``sample:fashion-K``.
    frame
        Which one of a stack; None for all that the file holds.
    """

    number: int
    name: str
    input: str
    frame: int | None = None


def patterns_of(
    inputs: Sequence[str],
    *,
    frame: int | None = None,
    each_frame: bool = False,
    key: str | None = None,
    leave_out: Path | None = None,
) -> list[Pattern]:
    """Return the patterns that inputs mean, each once, in their order.

    Parameters
    ----------
    inputs
        Files; folders, of which each file is meant that is read; names with ``*`` (``scans/*.npy``, ``**`` for any
        folders); samples, ``sample:fashion-3`` or ``sample:fashion-0..199``.
    frame
        Of each stack this frame.
    each_frame
        Of each stack every frame, as a pattern of its own.
    key
        The array's name in the files.
    leave_out
        A folder whose results are not meant, nor what is beside them.

    Raises
    ------
    FileError
        If there is no such file, or none in a folder.
    """
    found: dict[tuple[str, int | None], None] = {}
    for text in inputs:
        for one in _meant(text, leave_out):
            frames: Sequence[int | None] = _frames(one, key) if each_frame else [frame]
            found.update(dict.fromkeys((one, number) for number in frames))
    names = _names(list(found))
    return [Pattern(number, names[where], *where) for number, where in enumerate(found)]


def _meant(text: str, leave_out: Path | None) -> Iterator[str]:
    if text.startswith(SAMPLE):
        span = re.fullmatch(r"(.*-)(\d+)\.\.(\d+)", text)
        numbers = range(0) if span is None else range(int(span[2]), int(span[3]) + 1)
        if span is not None and not numbers:
            raise FileError(f"{text} is a range without samples: give the smaller number first.")
        yield from [text] if span is None else [f"{span[1]}{number}" for number in numbers]
        return
    path = Path(text)
    if path.is_file():
        yield str(path.absolute())
        return
    if path.is_dir():
        among, what = sorted(path.iterdir()), f"{text} is a folder without files that are read"
    elif glob.has_magic(text):
        among, what = sorted(map(Path, glob.glob(text, recursive=True))), f"No file is called like {text}"
    else:
        raise FileError(f"There is no file {text}. Name files, folders, samples, or names with *.")
    files = [file.absolute() for file in among if file.suffix.lower() in READERS and not file.name.startswith(".")]
    files = [file for file in files if file.is_file()]
    if files and leave_out is not None:
        there = {folder for folder in {file.parent for file in files} if folder.resolve() == leave_out.resolve()}
        files = [file for file in files if file.parent not in there or not _is_result(file)]
        if not files:
            raise FileError(f"{text} has nothing but results of this program. Name the patterns that they came of.")
    if not files:
        raise FileError(f"{what}. These endings are: {', '.join(sorted(READERS))}.")
    yield from map(str, files)


def _is_result(file: Path) -> bool:
    """Say whether a file is a result or a crystal of this program, or the support of one."""
    main = file.with_name(file.stem.removesuffix("_support") + file.suffix)
    return told_by(main).get("program") == "napari-dipr"


def _frames(input: str, key: str | None) -> Sequence[int | None]:
    """Return the numbers of a stack's frames; None alone for what is none, or cannot be read: that is told later."""
    if input.startswith(SAMPLE):
        return [None]
    try:
        with opened(Path(input), key) as content:
            return range(content.shape[0]) if len(content.shape) == 3 else [None]
    except FileError:
        return [None]


def _names(found: Sequence[tuple[str, int | None]]) -> dict[tuple[str, int | None], str]:
    """Return of each pattern a name that no other one has, nor any file beside another one's result.

    That is the file's name without its ending; where this is not enough with its folder's before, and then with a part
    of its path's SHA-256 behind. So a name does not depend on the order of the inputs.
    """
    names: dict[tuple[str, int | None], str] = {}
    open_ = list(found)
    for way in (_stem, _with_folder, _with_digest):
        names.update({where: way(*where) for where in open_})
        taken = Counter(name.lower() for name in names.values())
        open_ = [
            where
            for where in found  # a name that was free may lie beside one that is new
            if taken[(name := names[where].lower())] > 1
            or any(name.endswith(end) and name.removesuffix(end) in taken for end in BESIDE)
        ]
        if not open_:
            break
    return names


def _stem(input: str, frame: int | None) -> str:
    stem = input.removeprefix(SAMPLE) if input.startswith(SAMPLE) else Path(input).stem
    return file_name(stem if frame is None else f"{stem}-{frame}")


def _with_folder(input: str, frame: int | None) -> str:
    return (
        _stem(input, frame)
        if input.startswith(SAMPLE)
        else f"{file_name(Path(input).parent.name)}-{_stem(input, frame)}"
    )


def _with_digest(input: str, frame: int | None) -> str:
    return f"{_stem(input, frame)}-{hashlib.sha256(input.encode()).hexdigest()[:8]}"
