"""Arrays out of TIFF, one file or a folder of them, and NumPy's files."""

import contextlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.io.content import NUMERIC, Content, Measured, choose, no_key, refuse_too_large
from napari_dipr.io.region import Index, taken


def pages(folder: Path) -> list[Path]:
    """Return the TIFF files of a folder in the order of the numbers in their names."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in (".tif", ".tiff")]
    parts = {path: re.split(r"(\d+)", path.stem) for path in found}
    return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in parts[path]])


@contextlib.contextmanager
def open_folder(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open a folder's TIFF files as a stack; those are read that are taken."""
    files = pages(path)
    if not files:
        raise FileError(f"{path} is a folder without TIFF files. Give one with a stack, or a file.")
    with open_tiff(files[0], None, prefer) as first:
        shape, dtype = first.shape, first.dtype

    def frame(number: int, index: Index) -> NDArray[Any]:
        with open_tiff(files[number], None, prefer) as one:
            if (one.shape, one.dtype) != (shape, dtype) or len(shape) != 2:
                raise FileError(
                    f"{files[number].name} is no frame like {files[0].name}, {shape} {dtype}: it is {one.shape} "
                    f"{one.dtype}. All must be 2-D and equal."
                )
            return one.take(index)

    def take(index: Index) -> NDArray[Any]:
        numbers, rest = index[0], index[1:]
        if isinstance(numbers, int):
            return frame(numbers, rest)
        chosen = range(len(files))[numbers]
        stack = np.empty((len(chosen), *taken(shape, rest)), dtype)
        for place, number in enumerate(chosen):
            stack[place] = frame(number, rest)
        return stack

    notes = (f"took {len(files)} TIFF files, {files[0].name} to {files[-1].name}",)
    yield Content((len(files), *shape), dtype, take, notes=notes)


@contextlib.contextmanager
def open_tiff(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open the first image of a TIFF file: as a memory map where it is not compressed, else page by page."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if series.keyframe.photometric.name in ("RGB", "PALETTE", "YCBCR", "CIELAB") or "S" in series.axes:
            raise FileError(f"{path.name} is a colour picture ({series.axes}, {series.shape}). Make it grey first.")
        notes = () if len(file.series) == 1 else (f"took the first of {len(file.series)} images, {series.shape}",)
        shape, dtype = tuple(series.shape), np.dtype(series.dtype)
        # Where pages are not frames (more axes, ImageJ's large stacks) and there is no map, all is read.
        paged = len(series) == (shape[0] if len(shape) == 3 else 1) and all(page is not None for page in series)
        mapped = series.dataoffset is not None

        def take(index: Index) -> NDArray[Any]:
            if mapped:
                stored = np.dtype(file.byteorder + dtype.char)
                whole: Any = np.memmap(path, stored, "r", series.dataoffset, shape)
                return np.array(whole[index], dtype)
            if not paged or len(shape) < 3:
                refuse_too_large(shape, dtype, path.name)
                return np.asarray(series.asarray()[index])
            first, *rest = index
            if isinstance(first, int):
                return np.array(series[first].asarray()[tuple(rest)])
            stack = np.empty((len(range(shape[0])[first]), *taken(shape[1:], tuple(rest))), dtype)
            for place, number in enumerate(range(shape[0])[first]):
                stack[place] = series[number].asarray()[tuple(rest)]
            return stack

        yield Content(shape, dtype, take, notes=notes, in_parts=mapped or paged)


@contextlib.contextmanager
def open_npy(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open an NPY file as a memory map."""
    with path.open("rb") as file:
        _, dtype = npy_header(file)
    if dtype.hasobject:  # which cannot be mapped, and numpy says so in words that do not help
        raise FileError(f"{path.name} holds Python objects (a pickle), which are never loaded. Save plain numbers.")
    if dtype.kind not in NUMERIC:
        raise FileError(f"{path.name} holds {dtype}, not numbers.")
    whole: Any = np.load(path, allow_pickle=False, mmap_mode="r")
    yield Content(whole.shape, whole.dtype, lambda index: np.array(whole[index]))


@contextlib.contextmanager
def open_npz(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open an array of an NPZ file, which is decompressed as a whole once anything of it is read."""
    headers = {name: header for name, (header, _) in npz_headers(path).items()}
    if key is not None and key not in headers:
        raise FileError(no_key(path, key, list(headers)))
    notes: tuple[str, ...] = ()
    if key is None:
        key, notes = choose(path, {name: h[0] for name, h in headers.items() if h[1].kind in NUMERIC}, prefer)
    name, (shape, dtype) = key, headers[key]
    if dtype.kind not in NUMERIC:
        raise FileError(f"{name!r} in {path.name} holds Python objects or text, not numbers. They are never loaded.")

    def load(index: Index) -> NDArray[Any]:
        refuse_too_large(shape, dtype, f"{name!r} in {path.name}")
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name][index])

    def measured(index: Index) -> Measured:
        # Of our own results (io/npz.py).
        if name != "intensities" or headers.get("measured", (None,))[0] != shape:
            return None, ()
        with np.load(path, allow_pickle=False) as archive:
            good = archive["measured"][index] != 0
        return good, (f"'measured' says of {int((~good).sum())} pixels that they are bad",)

    yield Content(shape, dtype, load, key, notes, measured, in_parts=False)


def npz_headers(path: Path) -> dict[str, tuple[tuple[tuple[int, ...], np.dtype[Any]], int]]:
    """Return of every array in an NPZ file its shape and type, and the bytes that it takes there."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            if item.filename.endswith(".npy"):
                with archive.open(item) as file:
                    found[item.filename.removesuffix(".npy")] = npy_header(file), item.compress_size
    return found


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array that an open NPY file begins with."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
