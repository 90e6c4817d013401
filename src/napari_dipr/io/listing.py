"""What arrays a file holds, from its headers alone."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import naming, opened
from napari_dipr.io.content import NUMERIC, is_picture
from napari_dipr.io.instruments import old_variables
from napari_dipr.io.links import refuse_links_away, refuse_missing_sources
from napari_dipr.io.pictures import npz_headers, pages
from napari_dipr.measurement import SMALLEST

MOST = 10_000
# Attributes that say what numbers are.
TOLD = ("units", "long_name", "interpretation")


class Entry(NamedTuple):
    """One array of a file.

    Attributes
    ----------
    key
        Its name in the file, as :func:`~napari_dipr.io.arrays.load_array` takes it; None where there are no names.
    shape, dtype
        None where they cannot be known, because what it is made of is missing or outside of the folder.
    stored
        Bytes that it takes in the file, compressed as it is; 0 where it lies in others, None where that is not known.
    is_likely
        Whether it could be a measurement: 2-D or 3-D numbers, of a size that a pattern has, and no mask.
    about
        What else is worth knowing, in words: ``units``, where a link leads, that it is virtual; or what is wrong.
    """

    key: str | None
    shape: tuple[int, ...] | None
    dtype: str | None
    stored: int | None
    is_likely: bool
    about: tuple[str, ...] = ()


def listing(path: str | Path) -> list[Entry]:
    """List the arrays of a file, or the stack in a folder; nothing is read but headers.

    At most :data:`MOST` are listed of an HDF5 file. Nothing is opened that lies outside of the file's folder.

    Raises
    ------
    FileError
        If the file is missing, damaged or of a kind that is not read.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".npz":
        with naming(path):
            return [_entry(name, *header, stored) for name, (header, stored) in npz_headers(path).items()]
    if path.is_file() and path.suffix.lower() in HDF5 and h5py.is_hdf5(path):
        with naming(path), h5py.File(path, "r") as file:
            found = [entry for entry, _ in zip(_walked(file, path), range(MOST), strict=False)]
        return [_reversed(entry) for entry in found] if path.suffix.lower() == ".mat" else found
    if path.is_file() and path.suffix.lower() == ".mat":
        with naming(path):
            return [_entry(name, shape, dtype, None) for name, (shape, dtype) in old_variables(path).items()]
    with opened(path) as content:
        stored = sum(page.stat().st_size for page in (pages(path) if path.is_dir() else [path]))
        return [_entry(None, content.shape, content.dtype, stored, content.notes)]


HDF5 = (".h5", ".hdf5", ".cxi", ".nxs", ".nx", ".mat")


def _entry(
    key: str | None, shape: tuple[int, ...], dtype: np.dtype[Any], stored: int | None, about: tuple[str, ...] = ()
) -> Entry:
    sides = [n for n in shape if n > 1][-2:]
    is_likely = dtype.kind in "buif" and is_picture(shape) and min(sides) >= SMALLEST and "mask" not in (key or "")
    return Entry(key, shape, str(dtype) if dtype.kind in NUMERIC else "text or objects", stored, is_likely, about)


def _reversed(entry: Entry) -> Entry:
    return entry if entry.shape is None else entry._replace(shape=entry.shape[::-1])


def _walked(file: h5py.File, path: Path) -> Iterator[Entry]:
    """List datasets group by group; a group that links lead to more than once is listed at its first place."""
    waiting, seen = [("", file)], {_identity(file)}
    while waiting:
        at, group = waiting.pop(0)
        for name in group:
            key = f"{at}/{name}".strip("/")
            link = group.get(name, getlink=True)
            about: tuple[str, ...] = ()
            if isinstance(link, h5py.ExternalLink):
                about = (f"link to {link.filename}:{link.path}",)
            elif isinstance(link, h5py.SoftLink):
                about = (f"link to {link.path}",)
            try:
                refuse_links_away(file, key, path)
                node = file.get(key)
            except (FileError, KeyError, OSError) as error:
                yield Entry(key, None, None, None, False, (*about, str(error.args[0] if error.args else error)))
                continue
            if isinstance(node, h5py.Group):
                if (identity := _identity(node)) not in seen:
                    seen.add(identity)
                    waiting.append((key, node))
            elif isinstance(node, h5py.Dataset):
                yield _dataset(key, node, about)
            elif node is None:
                yield Entry(key, None, None, None, False, (*about, "leads to nothing"))


def _identity(node: h5py.Group) -> tuple[str, Any]:
    return node.file.filename, h5py.h5o.get_info(node.id).addr


def _dataset(key: str, node: h5py.Dataset, about: tuple[str, ...]) -> Entry:
    if node.is_virtual:
        about = (*about, "virtual: made of other datasets")
    elif node.external:
        about = (*about, f"raw numbers in {len(node.external)} other files")
    try:
        refuse_missing_sources(node)
    except FileError as error:
        return Entry(key, None, None, None, False, (*about, str(error)))
    with contextlib.suppress(Exception):  # of attributes in odd types, which are only beside the point
        for name in TOLD:
            if name in node.attrs and isinstance(told := node.attrs[name], str | bytes):
                about = (*about, f"{name} {told.decode() if isinstance(told, bytes) else told}")
    stored = 0 if node.is_virtual or node.external else node.id.get_storage_size()
    return _entry(key, node.shape or (), node.dtype, stored, about)
