"""Arrays out of HDF5: CXI, NeXus and its kin, and any dataset by its path.

Paths, masks and units are those of the CXI file format (Maia, Nature Methods 9, 854, 2012), of NeXus's NXdata and
NXdetector, and of the ESRF's Lima and BLISS.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_dipr.errors import FileError
from napari_dipr.geometry import EV, HC_JOULE, Geometry
from napari_dipr.io.content import NUMERIC, Content, Measured, choose, is_picture, no_key, refuse_too_large
from napari_dipr.io.links import refuse_links_away, refuse_missing_sources
from napari_dipr.io.region import Index, cut, taken

with contextlib.suppress(ImportError):
    import hdf5plugin  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: F401  (registers detectors' filters)

# Where CXI, NeXus, Lima and BLISS have the data, likeliest first; * stands for any one name.
DATA = (
    "entry_1/data_1/data",
    "entry_1/instrument_1/detector_1/data",
    "entry_1/image_1/data",
    "entry/data/data",
    "entry/instrument/detector/data",
    "entry/instrument/eiger/data",
    "entry/instrument/lambda/data",
    "entry_*/measurement/data",
    "entry_*/ESRF-*/*/data",
    "*.1/measurement/*",
    "entry_2/data_1/data",  # the measurement's place in a result (io/cxi.py)
)
# Below, all is within the entry.
BLOCKS = "entry/data"
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
JOULES = {"j": 1.0, "ev": EV, "kev": 1e3 * EV}


@contextlib.contextmanager
def open_hdf5(path: Path, key: str | None, prefer: str) -> Iterator[Content]:
    """Open a dataset: that of the key; or the default that NeXus names, that of a known path, or the largest one.

    What a CXI or NeXus file says of its detector's bad pixels, wavelength, distance and pixel size comes with it.
    """
    with h5py.File(path, "r") as file:
        notes: tuple[str, ...] = ()
        if key is None:
            key, notes = _by_itself(file, path, prefer)
        data: Any
        if blocks := _blocks(file, key, path):
            data = _Joined([_dataset(file, block, path) for block in blocks], f"{key!r} in {path.name}")
            notes = (f"joined {len(blocks)} block{'s' * (len(blocks) > 1)} of {key}, {data.shape[0]} frames",)
        else:
            data = _dataset(file, key, path)
        shape = data.shape

        def measured(index: Index) -> Measured:
            return _measured(file, key, shape, index, path)

        def take(index: Index) -> NDArray[Any]:
            return np.asarray(data[index])

        yield Content(shape, data.dtype, take, key, notes, measured, _geometry(file, key, path))


def _by_itself(file: h5py.File, path: Path, prefer: str) -> tuple[str, tuple[str, ...]]:
    """Return the dataset that is taken where none is named, and why."""
    for kinds in (NUMERIC.replace("c", ""), "c"):  # a complex array is a result, which the measurement may be beside
        if (key := _default(file, kinds, path)) is not None:
            return key, (f"took {key!r}, {file[key].shape}, the file's default",)
        for pattern in DATA:
            names = _like(file, pattern, path)
            found = {name: file[name].shape for name in names if _is_array(file, name, kinds, path)}
            if found:
                key, (words,) = choose(path, found, prefer)
                return key, (words.replace(f"{found[key]}", f"{found[key]}, where {_kind(key)} has its data", 1),)
    if _blocks(file, BLOCKS, path):
        return BLOCKS, ()
    shapes: dict[str, tuple[int, ...]] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind in NUMERIC and node.shape is not None:
            shapes[name] = node.shape

    file.visititems(visit)
    return choose(path, shapes, prefer)


def _default(file: h5py.File, kinds: str, path: Path) -> str | None:
    """Follow NeXus's ``default`` attributes to the array that ``signal`` names; None where they lead to none."""
    own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    for at in [""] if "default" in file.attrs else own:
        for _ in range(8):  # root, entry, data; a file may lead round in a circle
            told = _attributes(file, at, path)
            step = told.get("signal", told.get("default"))
            if not isinstance(step, str | bytes) or not step:
                break
            at = (text if (text := _text(step)).startswith("/") else f"{at}/{text}").strip("/")
            if "signal" in told:
                if _is_array(file, at, kinds, path):
                    return at
                break
    return None


def _attributes(file: h5py.File, at: str, path: Path) -> Mapping[str, Any]:
    group = _group(file, at, path)
    return {} if group is None else group.attrs


def _group(file: h5py.File, at: str, path: Path) -> h5py.Group | None:
    if not at:
        return file
    refuse_links_away(file, at, path)  # before anything is opened
    node = file.get(at) if at in file else None
    return node if isinstance(node, h5py.Group) else None


def _like(file: h5py.File, pattern: str, path: Path) -> list[str]:
    """Return the paths that a pattern stands for: some may not be there where it has no ``*``."""
    found = [""]
    for part in pattern.split("/"):
        if "*" in part:
            groups = {at: group for at in found if (group := _group(file, at, path)) is not None}
            found = [f"{at}/{name}" for at, group in groups.items() for name in group if fnmatchcase(name, part)]
        else:
            found = [f"{at}/{part}" for at in found]
    return [name.strip("/") for name in found]


def _dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """Return a dataset of numbers that has all of its sources at hand."""
    refuse_links_away(file, key, path)
    try:
        node = file.get(key)  # links too, which a visit leaves out
    except (KeyError, OSError) as error:
        raise FileError(f"{key!r} in {path.name} leads to what cannot be opened: {error}") from error
    if not isinstance(node, h5py.Dataset):
        names: list[str] = []
        file.visititems(lambda name, other: names.append(name) if isinstance(other, h5py.Dataset) else None)
        raise FileError(no_key(path, key, names))
    refuse_missing_sources(node)
    if node.dtype.kind not in NUMERIC:
        raise FileError(f"{key!r} in {path.name} holds {node.dtype}, not numbers. Choose another dataset.")
    return node


def _is_array(file: h5py.File, key: str, kinds: str, path: Path) -> bool:
    dataset = dataset_at(file, key, kinds, path)
    return dataset is not None and dataset.shape is not None and is_picture(dataset.shape)


def dataset_at(file: h5py.File, name: str, kinds: str, path: Path) -> h5py.Dataset | None:
    """Return a dataset that has all of its sources at hand; None where there is none of that name and these kinds."""
    refuse_links_away(file, name, path)  # before anything is opened
    node = file.get(name) if name in file else None
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in kinds:
        return None
    refuse_missing_sources(node)
    return node


def _kind(key: str) -> str:
    if key.startswith(("entry_1/", "entry_2/")):
        return "CXI"
    return "the ESRF" if key.startswith("entry_") or ".1/" in key else "NeXus"


def _blocks(file: h5py.File, key: str, path: Path) -> list[str]:
    """Return the blocks that an Eiger's master file links to in a group, in their order; none of anything else."""
    group = _group(file, key, path)
    return [] if group is None else [f"{key}/{name}" for name in sorted(group) if re.fullmatch(r"data_\d+", name)]


class _Joined:
    """Datasets one after the other, as one array of which parts can be read."""

    def __init__(self, datasets: Sequence[h5py.Dataset], what: str) -> None:
        kinds = {(dataset.shape[1:], dataset.dtype) for dataset in datasets}
        if len(kinds) > 1:
            raise FileError(f"{what} has blocks of different shapes or types, {kinds}. Choose one by its path.")
        self.datasets, self.dtype = datasets, datasets[0].dtype
        self.shape = (sum(len(dataset) for dataset in datasets), *datasets[0].shape[1:])

    def __getitem__(self, index: Index) -> NDArray[Any]:
        first, *rest = index
        frames = range(first, first + 1) if isinstance(first, int) else range(self.shape[0])[first]
        joined = np.empty((len(frames), *taken(self.shape[1:], tuple(rest))), self.dtype)
        begin, done = 0, 0
        for dataset in self.datasets:
            end = begin + len(dataset)
            # Those of the frames, which are in order, that lie in this block.
            inside = range(frames.start + done * frames.step, min(end, frames.stop), frames.step)
            if len(inside):
                part = slice(inside[0] - begin, inside[-1] - begin + 1, frames.step)
                dataset.read_direct(joined, (part, *rest), np.s_[done : done + len(inside)])
            begin, done = end, done + len(inside)
        return joined[0] if isinstance(first, int) else joined


def _detectors(key: str) -> list[str]:
    entry = key.split("/")[0]
    there = (f"{entry}/{detector}" for detector in DETECTORS)
    return [key.rpartition("/")[0], *there] if entry in ("entry", "entry_1", "entry_2") else []


def _measured(file: h5py.File, key: str, shape: tuple[int, ...], index: Index, path: Path) -> Measured:
    """Return where the file's own mask says that pixels are good, cut as the data, and what was made of it."""
    for name in (f"{group}/{mask}" for group in _detectors(key) for mask in MASKS):
        dataset = dataset_at(file, name, "iub", path)
        if dataset is None or dataset.shape[-2:] != shape[-2:]:
            continue
        frames = len(dataset.shape) > 2 and dataset.shape != shape
        part = (..., *index[-2:]) if frames else index
        refuse_too_large(dataset.shape if frames else taken(shape, index), dataset.dtype, f"{name!r} in {path.name}")
        bits = np.asarray(dataset[part] if frames else cut(dataset, shape, index))
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
        wavelength = HC_JOULE / energy if energy else None
    for group in groups:
        distance, height, width = [
            _number(file, f"{group}/{name}", METRES, path) for name in ("distance", "y_pixel_size", "x_pixel_size")
        ]
        if wavelength and distance and height and width:
            with contextlib.suppress(ValidationError):  # of numbers so large that their units take them out of range
                pixel = (1e6 * height, 1e6 * width)
                return Geometry(wavelength=1e9 * wavelength, distance=distance, pixel_size=pixel)
    return None


def _number(file: h5py.File, name: str, units: Mapping[str, float], path: Path) -> float | None:
    dataset = dataset_at(file, name, "iuf", path)
    if dataset is None or dataset.size != 1:
        return None
    factor = units.get(_text(dataset.attrs.get("units", next(iter(units)))).strip().lower())
    value = float(np.asarray(dataset[()]).ravel()[0])
    return value * factor if factor is not None and np.isfinite(value) and value > 0 else None


def _text(told: Any) -> str:
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
