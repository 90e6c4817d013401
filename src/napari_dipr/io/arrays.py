"""Numbers out of files, without asking yet what they mean: TIFF and NumPy's here, the others by their own readers."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dipr.errors import DiprError, FileError
from napari_dipr.io.content import NUMERIC, Content, check_frame, choose, framed, no_key
from napari_dipr.io.hdf5 import read_hdf5
from napari_dipr.io.instruments import read_detector, read_mat, read_mrc
from napari_dipr.measurement import Geometry


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
    measured, geometry
        What the file says of bad pixels and of the experiment, see :class:`~napari_dipr.io.content.Content`.
    """

    array: NDArray[Any]
    source: dict[str, Any]
    notes: tuple[str, ...]
    measured: NDArray[np.bool_] | None = None
    geometry: Geometry | None = None


def load_array(path: str | Path, *, key: str | None = None, frame: int | None = None, prefer: str = "data") -> Loaded:
    """Load an array from a file, or a stack from a folder of TIFF files.

    Parameters
    ----------
    path
        A file, whose ending says what it is; or a folder, whose TIFF files are frames in the order of their numbers.
    key
        The array's name in an NPZ or MAT file, the dataset's path in an HDF5 file. None takes what CXI and NeXus have
        for data, else the largest 2-D or 3-D one.
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
    if not path.exists():
        raise FileError(f"There is no file {path}.")
    reader = _folder if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"has the ending {path.suffix!r}" if path.suffix else "has no ending"
        raise FileError(f"{path.name} {ending}, which is not read. These are: {', '.join(sorted(READERS))}.")
    if key is not None and reader not in (_npz, read_hdf5, read_mat):
        raise FileError(f"{path.name} holds one array and has no keys: leave out {key!r}.")
    try:
        content = reader(path, key, frame, prefer)
        digest = _digest([path] if path.is_file() else _pages(path))
    except DiprError:
        raise
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory. Choose one frame, or crop it first.") from error
    except Exception as error:  # of a damaged file, decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise FileError(f"{path.name} cannot be read as {path.suffix[1:].upper()}: {reason}") from error
    source = {"file": path.name, "path": str(path), "key": content.key, "frame": frame, "sha256": digest}
    return Loaded(content.array, source, content.notes, content.measured, content.geometry)


def _digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: total)
    return total.hexdigest()


def _pages(folder: Path) -> list[Path]:
    """Return the TIFF files of a folder in the order of the numbers in their names."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in (".tif", ".tiff")]
    parts = {path: re.split(r"(\d+)", path.stem) for path in found}
    return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in parts[path]])


def _folder(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    pages = _pages(path)
    if not pages:
        raise FileError(f"{path} is a folder without TIFF files. Give one with a stack, or a file.")
    if frame is not None:
        check_frame(frame, (len(pages), 0, 0), path.name)
        return Content(tifffile.imread(pages[frame]))
    frames = [tifffile.imread(page) for page in pages]
    odd = [page.name for page, one in zip(pages, frames, strict=True) if one.shape != frames[0].shape or one.ndim != 2]
    if odd:
        raise FileError(f"{odd[0]} is no frame like {pages[0].name}, {frames[0].shape}: all must be 2-D and equal.")
    return Content(np.stack(frames), notes=(f"took {len(pages)} TIFF files, {pages[0].name} to {pages[-1].name}",))


def _tiff(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if series.keyframe.photometric.name in ("RGB", "PALETTE", "YCBCR", "CIELAB") or "S" in series.axes:
            raise FileError(f"{path.name} is a colour picture ({series.axes}, {series.shape}). Make it grey first.")
        notes = () if len(file.series) == 1 else (f"took the first of {len(file.series)} images, {series.shape}",)
        # One page of many spares reading the rest; where pages are not frames (ImageJ's large stacks), all is read.
        if frame is not None and series.ndim == 3 and len(series.pages) == len(series):
            check_frame(frame, series.shape, path.name)
            page = series.pages[frame]
            if page is not None:
                return Content(page.asarray(), notes=notes)
        return Content(framed(series.asarray(), frame, path.name), notes=notes)


def _npy(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    _refuse_objects(path, path.name)
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    return Content(np.array(framed(_numeric(array, path.name), frame, path.name)))


def _npz(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is not None and key not in names:
            raise FileError(no_key(path, key, names))
        notes: tuple[str, ...] = ()
        if key is None:
            shapes = {name: array.shape for name in names if (array := _if_numeric(archive, name)) is not None}
            key, notes = choose(path, shapes, prefer)
        array = _if_numeric(archive, key)
        if array is None:
            raise FileError(f"{key!r} in {path.name} holds Python objects or text, not numbers. They are never loaded.")
        what = f"{key!r} in {path.name}"
        # Of our own results (io/npz.py).
        good = _if_numeric(archive, "measured") if key == "intensities" and "measured" in names else None
        measured = None if good is None or good.shape != array.shape else framed(good != 0, frame, what)
        return Content(framed(array, frame, what), key, notes, measured)


_Reader = Callable[[Path, str | None, int | None, str], Content]
READERS: dict[str, _Reader] = {
    ".tif": _tiff,
    ".tiff": _tiff,
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".h5", ".hdf5", ".cxi", ".nxs", ".nx"), read_hdf5),
    ".mat": read_mat,
    **dict.fromkeys((".mrc", ".map", ".rec"), read_mrc),
    **dict.fromkeys((".edf", ".cbf"), read_detector),
}


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
