"""Numbers out of files: TIFF, NPY, NPZ and HDF5, without asking yet what they mean."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dipr.errors import DiprError, FileError

with contextlib.suppress(ImportError):
    import hdf5plugin  # type: ignore[import-not-found, unused-ignore]  # noqa: F401  (registers detectors' filters)

NUMERIC = "buifc"


class Loaded(NamedTuple):
    """An array as its file has it.

    Attributes
    ----------
    array
        Numbers of any type, bad pixels included.
    source
        For the provenance: file name, path, key, frame and the file's SHA-256; plain JSON types.
    notes
        What was chosen where the caller did not, in words.
    """

    array: NDArray[Any]
    source: dict[str, Any]
    notes: tuple[str, ...]


def load_array(path: str | Path, *, key: str | None = None, frame: int | None = None, prefer: str = "data") -> Loaded:
    """Load an array from a TIFF, NPY, NPZ or HDF5 file.

    Parameters
    ----------
    path
        The file; its ending says what it is.
    key
        The array's name in an NPZ file, the dataset's path in an HDF5 file. None takes the largest 2-D or 3-D one.
    frame
        One frame of a stack: index along the first axis, from 0. None takes all of it.
    prefer
        Name that wins among arrays of one size where no key is given.

    Returns
    -------
    Loaded
        Array, source and notes.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another kind, or does not have that key or frame.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder. Give a file: {', '.join(sorted(READERS))}.")
    if not path.is_file():
        raise FileError(f"There is no file {path}.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"has the ending {path.suffix!r}" if path.suffix else "has no ending"
        raise FileError(f"{path.name} {ending}, which is not read. These are: {', '.join(sorted(READERS))}.")
    if key is not None and reader not in (_npz, _hdf5):
        raise FileError(f"{path.name} holds one array and has no keys: leave out {key!r}.")
    try:
        array, key, notes = reader(path, key, frame, prefer)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except DiprError:
        raise
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory. Choose one frame, or crop it first.") from error
    except Exception as error:  # of a damaged file, decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise FileError(f"{path.name} cannot be read as {path.suffix[1:].upper()}: {reason}") from error
    source = {"file": path.name, "path": str(path), "key": key, "frame": frame, "sha256": digest}
    return Loaded(array, source, notes)


def _tiff(path: Path, key: str | None, frame: int | None, prefer: str) -> tuple[NDArray[Any], str | None, Any]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if series.keyframe.photometric.name in ("RGB", "PALETTE", "YCBCR", "CIELAB") or "S" in series.axes:
            raise FileError(f"{path.name} is a colour picture ({series.axes}, {series.shape}). Make it grey first.")
        notes = () if len(file.series) == 1 else (f"took the first of {len(file.series)} images, {series.shape}",)
        # One page of many spares reading the rest; where pages are not frames (ImageJ's large stacks), all is read.
        if frame is not None and series.ndim == 3 and len(series.pages) == len(series):
            _check_frame(frame, series.shape, path.name)
            page = series.pages[frame]
            if page is not None:
                return page.asarray(), None, notes
        return _framed(series.asarray(), frame, path.name), None, notes


def _npy(path: Path, key: str | None, frame: int | None, prefer: str) -> tuple[NDArray[Any], str | None, Any]:
    _refuse_objects(path, path.name)
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    return np.array(_framed(_numeric(array, path.name), frame, path.name)), None, ()


def _npz(path: Path, key: str | None, frame: int | None, prefer: str) -> tuple[NDArray[Any], str | None, Any]:
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is not None and key not in names:
            raise FileError(_no_key(path, key, names))
        notes: tuple[str, ...] = ()
        if key is None:
            shapes = {name: array.shape for name in names if (array := _if_numeric(archive, name)) is not None}
            key, notes = _choose(path, shapes, prefer)
        array = _if_numeric(archive, key)
        if array is None:
            raise FileError(f"{key!r} in {path.name} holds Python objects or text, not numbers. They are never loaded.")
        return _framed(array, frame, f"{key!r} in {path.name}"), key, notes


def _hdf5(path: Path, key: str | None, frame: int | None, prefer: str) -> tuple[NDArray[Any], str | None, Any]:
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, node: found.update({name: node}) if isinstance(node, h5py.Dataset) else None)
        notes: tuple[str, ...] = ()
        if key is None:
            numeric = {name: node.shape for name, node in found.items() if node.dtype.kind in NUMERIC}
            key, notes = _choose(path, numeric, prefer)
        dataset = file.get(key)  # links too, which the visit leaves out
        if not isinstance(dataset, h5py.Dataset):
            raise FileError(_no_key(path, key, list(found)))
        what = f"{key!r} in {path.name}"
        _refuse_missing_sources(dataset, path)
        if dataset.dtype.kind not in NUMERIC:
            raise FileError(f"{what} holds {dataset.dtype}, not numbers. Choose another dataset.")
        if frame is None:
            return dataset[()], key, notes
        _check_frame(frame, dataset.shape, what)
        return dataset[frame], key, notes


_Reader = Callable[[Path, str | None, int | None, str], tuple[NDArray[Any], str | None, Any]]
READERS: dict[str, _Reader] = {
    ".tif": _tiff,
    ".tiff": _tiff,
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}


def _choose(path: Path, shapes: dict[str, tuple[int, ...]], prefer: str) -> tuple[str, tuple[str, ...]]:
    """Choose the largest 2-D or 3-D array, and say so where there was a choice."""
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


def _no_key(path: Path, key: str, names: list[str]) -> str:
    return f"{path.name} has no array {key!r}. It has: {', '.join(sorted(names)) or 'none'}."


def _if_numeric(archive: Any, name: str) -> NDArray[Any] | None:
    try:
        array = archive[name]
    except ValueError as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            return None
        raise
    return array if isinstance(array, np.ndarray) and array.dtype.kind in NUMERIC else None


def _numeric(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind not in NUMERIC:
        raise FileError(f"{what} holds {array.dtype}, not numbers.")
    return array


def _refuse_objects(path: Path, what: str) -> None:
    # np.load cannot map object arrays and says so in words that do not help.
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if header(file)[2].hasobject:
            raise FileError(f"{what} holds Python objects (a pickle), which are never loaded. Save plain numbers.")


def _refuse_missing_sources(dataset: Any, path: Path) -> None:
    # HDF5 reads a virtual dataset whose files are gone as zeros, without an error.
    if not dataset.is_virtual:
        return
    missing = [name for name in _source_files(dataset) if name != "." and not (path.parent / name).is_file()]
    if missing:
        raise FileError(
            f"{dataset.name} in {path.name} is made of other files, of which {len(missing)} are missing (first: "
            f"{missing[0]}). Put them beside it."
        )


def _source_files(dataset: Any) -> Iterator[str]:
    return (source.file_name for source in dataset.virtual_sources())


def _framed(array: NDArray[Any], frame: int | None, what: str) -> NDArray[Any]:
    if frame is None:
        return array
    _check_frame(frame, array.shape, what)
    return array[frame]


def _check_frame(frame: int, shape: tuple[int, ...], what: str) -> None:
    if len(shape) < 3:
        raise FileError(f"{what} has the shape {shape} and no frames: leave out the frame ({frame}).")
    if not 0 <= frame < shape[0]:
        raise FileError(f"{what} has the frames 0 to {shape[0] - 1}; {frame} is not among them.")
