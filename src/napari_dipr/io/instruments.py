"""Arrays out of other programs' files: MATLAB, MRC, and detectors' EDF and CBF."""

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from napari_dipr.errors import FileError
from napari_dipr.extras import require
from napari_dipr.io.content import NUMERIC, Content, check_frame, choose, framed, no_key
from napari_dipr.io.hdf5 import read_hdf5


def read_mat(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    """Read a variable of a MATLAB file, of version 7.3 (which is HDF5, its axes reversed) or older."""
    if h5py.is_hdf5(path):
        content = read_hdf5(path, key, None, prefer)
        array = framed(content.array.T, frame, f"{content.key!r} in {path.name}")
        return Content(array, content.key, (*content.notes, "axes reversed, as MATLAB has them"))
    from scipy.io import loadmat, whosmat

    shapes = {name: shape for name, shape, kind in whosmat(path) if kind not in ("char", "cell", "struct", "object")}
    notes: tuple[str, ...] = ()
    if key is None:
        key, notes = choose(path, shapes, prefer)
    elif key not in shapes:
        raise FileError(no_key(path, key, list(shapes)))
    array = np.asarray(loadmat(path, variable_names=[key])[key])
    if array.dtype.kind not in NUMERIC:
        raise FileError(f"{key!r} in {path.name} holds {array.dtype}, not numbers. Choose another variable.")
    return Content(framed(array, frame, f"{key!r} in {path.name}"), key, notes)


def read_mrc(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    """Read a volume or a stack in the MRC format."""
    require("an MRC file", "mrcfile", "formats")
    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that other programs leave incomplete
        file = mrcfile.mmap(path, mode="r", permissive=True)
    with file:
        if file.data is None:
            raise FileError(f"{path.name} is not in the MRC format, or damaged.")
        return Content(np.array(framed(file.data, frame, path.name)))


def read_detector(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    """Read the frames of an EDF or CBF file."""
    require(f"a file {path.suffix}", "fabio", "formats")
    if path.suffix.lower() == ".cbf":
        _refuse_endless(path)
    import fabio  # type: ignore[import-untyped, import-not-found, unused-ignore]

    image: Any = fabio.open(str(path))
    try:
        shape = (image.nframes, *image.shape)
        if image.nframes == 1 and frame in (None, 0):
            return Content(np.array(image.data))
        if frame is not None:
            check_frame(frame, shape, path.name)
            return Content(np.array(image.get_frame(frame).data))
        return Content(np.stack([image.get_frame(number).data for number in range(image.nframes)]))
    finally:
        image.close()


def _refuse_endless(path: Path) -> None:
    # fabio looks for the binary section's start for ever where there is none.
    content = path.read_bytes()
    section = content.find(b"--CIF-BINARY-FORMAT-SECTION--")
    if not 0 <= section < 8192 or content.find(b"\x0c\x1a\x04\xd5", section) < 0:
        raise FileError(f"{path.name} has no binary section: it is not in the CBF format, or damaged.")
