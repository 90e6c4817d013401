"""A reconstruction as TIFF files that ImageJ opens, with what made it inside."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import FileError
from napari_dipr.io.provenance import as_json

QUANTITIES = {
    "amplitude": "amplitude of the object, in the square root of the intensities' unit",
    "phase": "phase of the object, radians, -pi to pi; 0 outside the support",
    "support": "support: 255 inside, 0 outside",
}


def export(
    folder: str | Path,
    name: str,
    object: ArrayLike,
    support: ArrayLike,
    provenance: dict[str, Any],
    voxel_size_nm: Sequence[float] | None = None,
) -> dict[str, Path]:
    """Write amplitude, phase and support as ``<name>_amplitude.tif``, ``<name>_phase.tif``, ``<name>_support.tif``.

    The files appear together once all are written in full; those of an earlier export stay whole until then, and are
    put back where something fails in between.

    Parameters
    ----------
    folder
        Made where it is missing.
    name
        What the files' names begin with.
    object
        Complex ``[*grid]``, 2-D or 3-D. Its global phase, which no intensity tells, is set so that the energy-weighted
        mean phase is 0; what was taken off is in the file.
    support
        Boolean ``[*grid]``.
    provenance
        Plain JSON, see :func:`~napari_dipr.io.provenance.provenance`; kept in every file (ImageJ: *Show Info*).
    voxel_size_nm
        One per axis in the array's order, nanometres; None where the geometry is not known.

    Returns
    -------
    dict of str to Path
        Absolute paths of ``amplitude``, ``phase`` and ``support``.

    Raises
    ------
    FileError
        If the files cannot be written.
    """
    x, inside = np.asarray(object), np.asarray(support) != 0
    if x.shape != inside.shape or x.ndim not in (2, 3):
        raise FileError(f"Object {x.shape} and support {inside.shape} must be 2-D or 3-D and of one shape.")
    if not np.isfinite(x).all():
        raise FileError(f"The object has {int((~np.isfinite(x)).sum())} pixels that are not finite. Run it again.")
    if not name or name != Path(name).name or set(name) & set('<>:"/\\|?*'):
        raise FileError(f"{name!r} cannot begin a file's name. Use letters, digits, dots, hyphens and underscores.")
    mean = complex((np.abs(x) * x).sum(dtype=np.complex128))
    removed = float(np.angle(mean))
    phase = np.where(inside, np.angle(x * np.exp(-1j * removed)), 0)
    arrays = {"amplitude": np.abs(x).astype(np.float32), "phase": phase.astype(np.float32)}
    arrays["support"] = inside.astype(np.uint8) * np.uint8(255)
    told = {**as_json(provenance), "global_phase_removed_rad": removed, "voxel_size_nm": as_json(voxel_size_nm)}
    folder = writable_folder(folder)
    paths = result_paths(folder, name)
    with _told(folder), tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as hidden:
        for quantity, array in arrays.items():
            info = {"quantity": QUANTITIES[quantity], **told}
            _write_tiff(Path(hidden) / quantity, array, info, voxel_size_nm)
        _put_in_place({Path(hidden) / quantity: path for quantity, path in paths.items()}, Path(hidden))
    return paths


def result_paths(folder: Path, name: str) -> dict[str, Path]:
    """Return where :func:`export` writes each quantity."""
    return {quantity: folder / f"{name}_{quantity}.tif" for quantity in QUANTITIES}


def file_name(name: str) -> str:
    """Return what files may be called after a name that people gave: anything unusual becomes a hyphen."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "reconstruction"


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Return what :func:`export` wrote into a file beside the picture.

    Raises
    ------
    FileError
        If the file has none.
    """
    try:
        with tifffile.TiffFile(path) as file:
            told = json.loads((file.imagej_metadata or {})["Info"])
        if isinstance(told, dict):
            return told
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} holds no record of what made it: {error}") from error
    raise FileError(f"{path} holds no record of what made it.")


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """Write a JSON file beside its place and rename it.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    path = Path(path)
    folder = writable_folder(path.parent)
    with _told(folder), tempfile.TemporaryDirectory(dir=folder, prefix=f".{path.name}-") as hidden:
        new = Path(hidden) / "new"
        new.write_text(json.dumps(as_json(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _put_in_place({new: path}, Path(hidden))


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


def _write_tiff(path: Path, array: NDArray[Any], info: dict[str, Any], voxel: Sequence[float] | None) -> None:
    about: dict[str, Any] = {"axes": "ZYX"[-array.ndim :], "Info": json.dumps(info, indent=1, allow_nan=False)}
    resolution = None
    if voxel is not None:
        about["unit"] = "nm"
        resolution = (1 / voxel[-1], 1 / voxel[-2])
        if array.ndim == 3:
            about["spacing"] = voxel[0]
    if array.dtype == np.float32:
        # Else ImageJ shows the range of its file format, not of the picture.
        about |= {"min": float(array.min()), "max": float(array.max())}
    tifffile.imwrite(path, array, imagej=True, metadata=about, resolution=resolution)


def _put_in_place(files: dict[Path, Path], hidden: Path) -> None:
    """Rename each new file to its place; where one fails, put back all that were there."""
    for place in files.values():
        if place.is_dir():
            raise IsADirectoryError(f"{place.name} is a folder")
    kept = {place: hidden / f"old-{place.name}" for place in files.values() if place.exists()}
    for place, copy in kept.items():
        shutil.copy2(place, copy)
    placed: list[Path] = []
    try:
        for new, place in files.items():
            os.replace(new, place)
            placed.append(place)
    except BaseException:
        for place in placed:
            if place in kept:
                os.replace(kept[place], place)
            else:
                place.unlink()
        raise


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError):
            raise
        reason = error.strerror or str(error)
        raise FileError(f"Cannot write to {folder}: {reason}. Nothing was changed; choose another folder.") from error
