"""Arrays out of other programs' files: MATLAB, MRC, and detectors' EDF, CBF and MarCCD."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.extras import require
from napari_dipr.io.content import NUMERIC, Content, choose, no_key, refuse_too_large
from napari_dipr.io.hdf5 import open_hdf5
from napari_dipr.io.region import Index

# What MATLAB's classes take per value; an integer may be stored in less, and is read as it is stored.
MATLAB = {"double": np.float64, "single": np.float32, "logical": np.uint8} | {
    f"{kind}{bits}": np.dtype(f"{kind}{bits}").type for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


@contextlib.contextmanager
def open_mat(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open a variable of a MATLAB file, of version 7.3 (which is HDF5, its axes reversed) or older."""
    if h5py.is_hdf5(path):
        with open_hdf5(path, key, prefer) as content:
            notes = (*content.notes, "axes reversed, as MATLAB has them")
            take = content.take
            yield Content(content.shape[::-1], content.dtype, lambda index: take(index[::-1]).T, content.key, notes)
        return
    from scipy.io import loadmat

    found = old_variables(path)
    notes = ()
    if key is None:
        key, notes = choose(path, {name: shape for name, (shape, _) in found.items()}, prefer)
    elif key not in found:
        raise FileError(no_key(path, key, list(found)))
    name, (shape, dtype) = key, found[key]

    def load(index: Index) -> NDArray[Any]:
        refuse_too_large(shape, dtype, f"{name!r} in {path.name}")
        array = np.asarray(loadmat(path, variable_names=[name])[name])
        if array.dtype.kind not in NUMERIC or array.shape != shape:
            raise FileError(f"{name!r} in {path.name} holds {array.dtype}, not numbers. Choose another variable.")
        return array[index]

    yield Content(shape, dtype, load, key, notes, in_parts=False)


def old_variables(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of the numbers in a MATLAB file of version 7.2 or older, from its headers."""
    from scipy.io import whosmat

    found = {name: (tuple(shape), MATLAB[kind]) for name, shape, kind in whosmat(path) if kind in MATLAB}
    return {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in found.items()}


@contextlib.contextmanager
def open_mrc(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open a volume or a stack in the MRC format, as a memory map."""
    require("an MRC file", "mrcfile", "formats")
    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that other programs leave incomplete
        file = mrcfile.mmap(path, mode="r", permissive=True)
    with file:
        data = file.data
        if data is None:
            raise FileError(f"{path.name} is not in the MRC format, or damaged.")
        yield Content(data.shape, data.dtype, lambda index: np.array(data[index]))


@contextlib.contextmanager
def open_detector(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open the frames of an EDF, CBF or MarCCD file; each is read as a whole."""
    require(f"a file {path.suffix}", "fabio", "formats")
    if path.suffix.lower() == ".cbf":
        _refuse_endless(path)
    import fabio  # type: ignore[import-untyped, import-not-found, unused-ignore]

    image: Any = fabio.open(str(path))
    try:
        frames, shape, dtype = image.nframes, tuple(image.shape), np.dtype(image.dtype)
        if frames == 1:
            yield Content(shape, dtype, lambda index: np.array(image.data[index]), is_frame=True)
            return

        def take(index: Index) -> NDArray[Any]:
            first, *rest = index
            if isinstance(first, int):
                return np.array(image.get_frame(first).data[tuple(rest)])
            return np.stack([image.get_frame(number).data[tuple(rest)] for number in range(frames)[first]])

        yield Content((frames, *shape), dtype, take)
    finally:
        image.close()


def _refuse_endless(path: Path) -> None:
    # fabio looks for the binary section's start for ever where there is none.
    content = path.read_bytes()
    section = content.find(b"--CIF-BINARY-FORMAT-SECTION--")
    if not 0 <= section < 8192 or content.find(b"\x0c\x1a\x04\xd5", section) < 0:
        raise FileError(f"{path.name} has no binary section: it is not in the CBF format, or damaged.")
