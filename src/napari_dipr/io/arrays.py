"""Numbers out of files, without asking yet what they mean; each format has its own reader."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import DiprError, FileError
from napari_dipr.geometry import Geometry
from napari_dipr.io.content import Content, Reader, check_frame, refuse_too_large
from napari_dipr.io.hdf5 import open_hdf5
from napari_dipr.io.instruments import open_detector, open_mat, open_mrc
from napari_dipr.io.pictures import open_folder, open_npy, open_npz, open_tiff, pages
from napari_dipr.io.region import Index, Region, cut, taken

# Bytes of an array from which on a window shows it without reading more than it shows.
LARGE = 256 << 20

READERS: dict[str, Reader] = {
    **dict.fromkeys((".tif", ".tiff"), open_tiff),
    ".npy": open_npy,
    ".npz": open_npz,
    **dict.fromkeys((".h5", ".hdf5", ".cxi", ".nxs", ".nx"), open_hdf5),
    ".mat": open_mat,
    **dict.fromkeys((".mrc", ".map", ".rec"), open_mrc),
    **dict.fromkeys((".edf", ".cbf", ".mccd", ".marccd"), open_detector),
}


class Loaded(NamedTuple):
    """An array as its file has it.

    Attributes
    ----------
    array
        NumPy array of any numbers, bad pixels included; a dask array where it was opened lazily.
    source
        For the provenance: file name, path, key, the whole array's shape, frame, region and, unless the array was
        opened lazily, the file's SHA-256; plain JSON types.
    notes
        What was chosen where the caller did not, in words.
    measured
        Where the file says that pixels are good, see :class:`~napari_dipr.io.content.Content`; None where it says
        nothing, and of a lazily opened array.
    geometry
        As the file tells it, of its own pixels and frames; None where it does not.
    """

    array: Any
    source: dict[str, Any]
    notes: tuple[str, ...]
    measured: NDArray[np.bool_] | None = None
    geometry: Geometry | None = None

    @property
    def is_lazy(self) -> bool:
        """Whether the array's numbers are still in the file."""
        return not isinstance(self.array, np.ndarray)

    def computed(self) -> "Loaded":
        """Return what the source says of a lazily opened file (its key, frame and region), loaded; else itself.

        Raises
        ------
        FileError
            As of :func:`load_array`.
        """
        if not self.is_lazy:
            return self
        source = self.source
        loaded = load_array(source["path"], key=source["key"], frame=source["frame"], region=source["region"])
        notes = dict.fromkeys((*self.notes, *loaded.notes))
        return loaded._replace(notes=tuple(notes))

    @property
    def steps(self) -> tuple[int, ...]:
        """Rows and columns, and frames before them, from one that was loaded to the next: 1 where none is left out."""
        if self.source.get("region") is None:
            return (1, 1)
        return tuple(axis.step for axis in self._index() if isinstance(axis, slice))[-3:]

    def cut(self, field: NDArray[Any], origin: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Return of a mask or another field what the region takes of the array, which lies at ``origin`` in it.

        A field that does not cover the whole array, or its frames, comes back as it is.
        """
        if self.source.get("region") is None:
            return field
        shape, index = tuple(self.source["shape"]), self._index()
        if field.ndim == 2:
            rows, columns = (slice(at, at + n) for at, n in zip(origin, shape[-2:], strict=False))
            field = part if (part := field[rows, columns]).shape == shape[-2:] else field
        return cut(field, shape, index)

    def _index(self) -> Index:
        source = self.source
        return _index(tuple(source["shape"]), source["frame"], Region.parse(source["region"]), source["file"])


def load_lazily_where_large(path: str | Path, **what: Any) -> Loaded:
    """Load as :func:`load_array` does, and what is larger than :data:`LARGE` lazily."""
    return load_array(path, lazy=True, lazy_beyond=LARGE, **what)


def load_array(
    path: str | Path,
    *,
    key: str | None = None,
    frame: int | None = None,
    region: Region | str | None = None,
    prefer: str = "data",
    lazy: bool = False,
    lazy_beyond: int = 0,
) -> Loaded:
    """Load an array, or a part of one, from a file, or from a folder of TIFF files.

    No more than the frame and the region are read, save that compressed pages and blocks are read whole, and NPZ files
    and MATLAB files before 7.3 are decompressed array by array.

    Parameters
    ----------
    path
        A file, whose ending says what it is; or a folder, whose TIFF files are frames in the order of their numbers.
    key
        The array's name in an NPZ or MAT file, the dataset's path in an HDF5 file. None takes the default that NeXus
        names, what CXI, NeXus, Lima and BLISS have for data, else the largest 2-D or 3-D one.
    frame
        One frame of a stack: index along the first axis, from 0. None takes all of it.
    region
        The part that is wanted, as ``"10:150, :, 30:286"``; of the frame where one is given.
    prefer
        Name that wins among arrays of one size where no key is given.
    lazy
        Leave the numbers in the file and give a dask array, where the format is read in parts. The file's SHA-256
        and its own mask come with :meth:`Loaded.computed`.
    lazy_beyond
        Bytes up to which an array is loaded all the same.

    Returns
    -------
    Loaded
        Array, source and notes.

    Raises
    ------
    FileError
        If the file is missing, damaged, of another kind, does not have that key, frame or region, or if that does not
        fit into memory.
    """
    path = Path(path)
    region = Region.parse(region) if isinstance(region, str) else region
    with opened(path, key, prefer) as content:
        shape = tuple(int(n) for n in content.shape)
        what = path.name if content.key is None else f"{content.key!r} in {path.name}"
        if frame is not None and content.is_frame:
            shape = (1, *shape)
        whole = _index(shape, frame, region, what)
        index = whole[len(shape) - len(content.shape) :]
        notes = content.notes
        if region is not None:
            notes = (*notes, f"took the region {region} of {shape if frame is None else (*shape[1:],)}")
        source = {
            "file": path.name,
            "path": str(path.absolute()),
            "key": content.key,
            "shape": list(shape),
            "frame": frame,
        }
        source["region"] = None if region is None else str(region)
        size = math.prod(taken(content.shape, index)) * content.dtype.itemsize
        if lazy and content.in_parts and size > lazy_beyond:
            return Loaded(_lazy(path, content)[index], source, notes, None, content.geometry)
        refuse_too_large(taken(content.shape, index), content.dtype, what)
        array = _take(content, index, what)
        measured, told = content.measured(index)
        source["sha256"] = digest(path)
        return Loaded(array, source, (*notes, *told), measured, content.geometry)


@contextlib.contextmanager
def opened(path: Path, key: str | None = None, prefer: str = "data") -> Iterator[Content]:
    """Open the file with the reader of its ending; what goes wrong meanwhile is a FileError that names the file."""
    if not path.exists():
        raise FileError(f"There is no file {path}.")
    reader = open_folder if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"has the ending {path.suffix!r}" if path.suffix else "has no ending"
        raise FileError(f"{path.name} {ending}, which is not read. These are: {', '.join(sorted(READERS))}.")
    if key is not None and reader not in (open_npz, open_hdf5, open_mat):
        raise FileError(f"{path.name} holds one array and has no keys: leave out {key!r}.")
    with naming(path), reader(path, key, prefer) as content:
        yield content


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its decoder raise into a FileError that names the file."""
    try:
        yield
    except DiprError:
        raise
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory. Choose a frame or a region of it.") from error
    except Exception as error:  # of a damaged file, decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise FileError(f"{path.name} cannot be read as {path.suffix[1:].upper()}: {reason}") from error


def _index(shape: tuple[int, ...], frame: int | None, region: Region | None, what: str) -> Index:
    whole = Region(()) if region is None else region
    if frame is None:
        return whole.index(shape, what)
    check_frame(frame, shape, what)
    return (frame, *whole.index(shape[1:], f"frame {frame} of {what}"))


class _Closed:
    """An array in a file that is opened anew for every part of it, so that no file stays open."""

    def __init__(self, path: Path, content: Content) -> None:
        self.path, self.key = path.absolute(), content.key
        self.shape, self.dtype, self.ndim = content.shape, content.dtype, len(content.shape)

    def __getitem__(self, asked: Any) -> NDArray[Any]:
        axes = asked if isinstance(asked, tuple) else (asked,)
        index = tuple(
            slice(*axis.indices(n)) if isinstance(axis, slice) else int(axis)
            for axis, n in zip(axes, self.shape, strict=True)
        )
        with opened(self.path, self.key) as content:
            return _take(content, index, self.path.name)


def _take(content: Content, index: Index, what: str) -> NDArray[Any]:
    array, shape = content.take(index), taken(content.shape, index)
    if array.shape != shape:  # of a file whose frames are not as its header says
        raise FileError(f"{what} was to give {shape}, and gave {array.shape}: it is damaged, or its frames differ.")
    return array


def _lazy(path: Path, content: Content) -> Any:
    import dask.array as da

    # A chunk is a frame, as napari shows it; of pictures beyond dask's limit a part.
    ndim = len(content.shape)
    chunks = (1,) * (ndim - 2) + ("auto",) * min(ndim, 2)
    meta = np.empty((0,) * ndim, content.dtype)
    return da.from_array(_Closed(path, content), chunks, name=False, fancy=False, meta=meta)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's TIFF files in their order."""
    total = hashlib.sha256()
    for page in pages(path) if path.is_dir() else [path]:
        with page.open("rb") as file:
            hashlib.file_digest(file, lambda: total)
    return total.hexdigest()
