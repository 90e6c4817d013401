"""Arrays out of HDF5: CXI, NeXus and its kin, and any dataset by its path.

Paths, masks and units are those of the CXI file format (Maia, Nature Methods 9, 854, 2012) and of NeXus's NXdetector.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.io.content import NUMERIC, Content, check_frame, choose, no_key
from napari_dipr.measurement import Geometry

with contextlib.suppress(ImportError):
    import hdf5plugin  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: F401  (registers detectors' filters)

# Where CXI and NeXus have the data, likeliest first; entry_2 is the measurement's in results (io/cxi.py).
DATA = (
    "entry_1/data_1/data",
    "entry_1/instrument_1/detector_1/data",
    "entry_1/image_1/data",
    "entry/data/data",
    "entry/instrument/detector/data",
    "entry/instrument/eiger/data",
    "entry/instrument/lambda/data",
    "entry_2/data_1/data",
)
# All below are relative to the entry.
DETECTORS = ("instrument_1/detector_1", "instrument/detector", "instrument/eiger")
MASKS = ("pixel_mask", "detectorSpecific/pixel_mask", "mask")
WAVELENGTHS = (
    "instrument_1/beam_1/incident_wavelength",
    "instrument_1/source_1/wavelength",
    "instrument/beam/incident_wavelength",
    "instrument/monochromator/wavelength",
)
ENERGIES = ("instrument_1/source_1/energy", "instrument_1/beam_1/incident_energy")
# Of a CXI mask: the one bit that speaks of no fault (inside the support).
INSIDE_SUPPORT = 0x10000
METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "a": 1e-10, "å": 1e-10, "angstrom": 1e-10}
JOULES = {"j": 1.0, "ev": 1.602176634e-19, "kev": 1.602176634e-16}
# Planck's constant times the speed of light, J m.
HC = 6.62607015e-34 * 299792458.0


def read_hdf5(path: Path, key: str | None, frame: int | None, prefer: str) -> Content:
    """Read a dataset: that of the key, where CXI or NeXus have it, or the largest 2-D or 3-D one.

    What a CXI or NeXus file says of its detector's bad pixels, wavelength, distance and pixel size comes with it.
    """
    with h5py.File(path, "r") as file:
        notes: tuple[str, ...] = ()
        blocks: list[str] = []
        found: dict[str, Any] = {}
        if key is None:
            # A complex array is a result, which the measurement may be beside.
            kinds = (NUMERIC.replace("c", ""), "c")
            key = next((name for kind in kinds for name in DATA if _is_array(file, name, kind, path)), None)
            if key is not None:
                notes = (f"took {key!r}, {file[key].shape}, where {_kind(key)} has its data",)
            elif blocks := _blocks(file):
                key = blocks[0]
        if key is None:
            file.visititems(lambda name, node: found.update({name: node}) if isinstance(node, h5py.Dataset) else None)
            key, notes = choose(path, {name: d.shape for name, d in found.items() if d.dtype.kind in NUMERIC}, prefer)
        dataset = _dataset(file, key, path)
        if len(blocks) > 1:
            array, notes = _joined(file, blocks, frame, path)
        elif frame is None:
            array = dataset[()]
        else:
            check_frame(frame, dataset.shape, f"{key!r} in {path.name}")
            array = dataset[frame]
        measured, told = _measured(file, key, array.shape[-2:], path)
        return Content(array, key, (*notes, *told), measured, _geometry(file, key, path))


def _dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """Return a dataset of numbers that has all of its sources at hand."""
    _refuse_links_away(file, key, path)
    try:
        node = file.get(key)  # links too, which a visit leaves out
    except (KeyError, OSError) as error:
        raise FileError(f"{key!r} in {path.name} leads to what cannot be opened: {error}") from error
    if not isinstance(node, h5py.Dataset):
        names: list[str] = []
        file.visititems(lambda name, other: names.append(name) if isinstance(other, h5py.Dataset) else None)
        raise FileError(no_key(path, key, names))
    _refuse_missing_sources(node, path)
    if node.dtype.kind not in NUMERIC:
        raise FileError(f"{key!r} in {path.name} holds {node.dtype}, not numbers. Choose another dataset.")
    return node


def _is_array(file: h5py.File, key: str, kinds: str, path: Path) -> bool:
    dataset = dataset_at(file, key, kinds, path)
    return dataset is not None and len([n for n in dataset.shape if n > 1]) in (2, 3)


def dataset_at(file: h5py.File, name: str, kinds: str, path: Path) -> h5py.Dataset | None:
    """Return a dataset that has all of its sources at hand; None where there is none of that name and these kinds."""
    _refuse_links_away(file, name, path)  # before anything is opened
    node = file.get(name) if name in file else None
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in kinds:
        return None
    _refuse_missing_sources(node, path)
    return node


def _kind(key: str) -> str:
    return "NeXus" if key.startswith("entry/") else "CXI"


def _blocks(file: h5py.File) -> list[str]:
    """Return the blocks that an Eiger's master file links to, in their order."""
    group = file.get("entry/data")
    names = list(group) if isinstance(group, h5py.Group) else []
    return [f"entry/data/{name}" for name in sorted(names) if re.fullmatch(r"data_\d+", name)]


def _joined(file: h5py.File, blocks: list[str], frame: int | None, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    datasets = [_dataset(file, block, path) for block in blocks]
    frames = sum(len(dataset) for dataset in datasets)
    notes = (f"joined {len(blocks)} blocks of entry/data, {frames} frames",)
    if frame is None:
        return np.concatenate([dataset[()] for dataset in datasets]), notes
    check_frame(frame, (frames, *datasets[0].shape[1:]), f"entry/data in {path.name}")
    for dataset in datasets:
        if frame < len(dataset):
            break
        frame -= len(dataset)
    return np.asarray(dataset[frame]), notes


def _detectors(key: str) -> list[str]:
    entry = key.split("/")[0]
    there = (f"{entry}/{detector}" for detector in DETECTORS)
    return [key.rpartition("/")[0], *there] if re.fullmatch(r"entry(_\d+)?", entry) else []


def _measured(
    file: h5py.File, key: str, shape: tuple[int, ...], path: Path
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Return where the file's own mask says that pixels are good, and what was made of it."""
    for name in (f"{group}/{mask}" for group in _detectors(key) for mask in MASKS):
        dataset = dataset_at(file, name, "iub", path)
        if dataset is None or dataset.shape[-2:] != shape:
            continue
        bits = np.asarray(dataset[()])
        bad = bits if bits.dtype == bool else bits & ~np.array(INSIDE_SUPPORT).astype(bits.dtype)
        measured = bad == 0
        if measured.ndim > 2 and (measured == measured[:1]).all():
            measured = measured[0]
        return measured, (f"{name!r} says of {int((~measured).sum())} pixels that they are bad",)
    return None, ()


def _geometry(file: h5py.File, key: str, path: Path) -> Geometry | None:
    """Return the geometry where the file tells all of it; lengths without a unit are metres, energies joules."""
    if not (groups := _detectors(key)):
        return None
    entry = key.split("/")[0]
    wavelength = next((w for name in WAVELENGTHS if (w := _number(file, f"{entry}/{name}", METRES, path))), None)
    if wavelength is None:
        energy = next((e for name in ENERGIES if (e := _number(file, f"{entry}/{name}", JOULES, path))), None)
        wavelength = HC / energy if energy else None
    for group in groups:
        distance, *sizes = [
            _number(file, f"{group}/{name}", METRES, path) for name in ("distance", "y_pixel_size", "x_pixel_size")
        ]
        if wavelength and distance and all(sizes):
            return Geometry(1e9 * wavelength, distance, tuple(1e6 * size for size in sizes if size))
    return None


def _number(file: h5py.File, name: str, units: Mapping[str, float], path: Path) -> float | None:
    dataset = dataset_at(file, name, "iuf", path)
    if dataset is None or dataset.size != 1:
        return None
    unit = dataset.attrs.get("units", next(iter(units)))
    factor = units.get((unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower())
    value = float(np.asarray(dataset[()]).ravel()[0])
    return value * factor if factor is not None and np.isfinite(value) and value > 0 else None


# --- what lies in other files --------------------------------------------------------------------------------------


def _refuse_links_away(file: h5py.File, key: str, path: Path) -> None:
    """Refuse a path that leads through another file, unless this one is in the same folder, or below it."""
    parts = [part for part in key.split("/") if part]
    for count in range(1, len(parts) + 1):
        try:
            link = file.get("/".join(parts[:count]), getlink=True)
        except (KeyError, OSError):  # nothing there, which is told by whoever looks for it
            return
        if isinstance(link, h5py.ExternalLink):
            _refuse_away([link.filename], f"{key!r} in {path.name}", path)


def _refuse_missing_sources(dataset: h5py.Dataset, path: Path) -> None:
    # HDF5 reads a dataset whose other files are gone as zeros, without an error.
    names = [name for name, *_ in dataset.external or ()]
    names += [name for name in _sources(dataset) if name != "."] if dataset.is_virtual else []
    _refuse_away(names, f"{dataset.name} in {path.name}", path)


def _refuse_away(names: list[str], what: str, path: Path) -> None:
    folder = path.resolve().parent
    away = [name for name in names if not (folder / name).resolve().is_relative_to(folder)]
    if away:
        raise FileError(f"{what} is made of files outside of its folder (first: {away[0]}). Put them beside it.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileError(
            f"{what} is made of other files, of which {len(missing)} are missing (first: {missing[0]}). "
            "Put them beside it."
        )


def _sources(dataset: h5py.Dataset) -> Iterator[str]:
    return (source.file_name for source in dataset.virtual_sources())
