"""Results as CXI, which is HDF5, laid out as PyNX does it, with the measurement and all settings.

Names, types and units are those of the CXI file format (Maia, Nature Methods 9, 854, 2012), and of results that PyNX
writes (Favre-Nicolin et al., J. Appl. Cryst. 53, 1404, 2020). PyNX takes a file for a measurement where ``entry_1`` has
a detector with data: so the measurement is ``entry_2``.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_dipr import __version__
from napari_dipr.errors import FileError
from napari_dipr.geometry import HC_JOULE
from napari_dipr.io.hdf5 import dataset_at
from napari_dipr.io.provenance import about_measurement, measurement_from

if TYPE_CHECKING:
    from napari_dipr.geometry import Geometry
    from napari_dipr.io.record import Record
    from napari_dipr.measurement import Measurement

VERSION = 150
# Of a CXI mask: the bit of a pixel that is not to be trusted.
INVALID = np.uint32(1)
IMAGE, DETECTOR, NOTE = "entry_1/image_1", "entry_2/instrument_1/detector_1", "entry_1/note_1/data"


def write_cxi(record: "Record", path: Path) -> None:
    """Write object and support as ``entry_1/image_1``, fields as ``image_2`` …, the measurement as ``entry_2``."""
    with _written(path, record.provenance) as file:
        entry = file["entry_1"]
        file["entry_last"] = h5py.SoftLink("/entry_1")
        image = _image(entry, 1, record, record.object, "electron density")
        _dataset(image, "mask", record.support.astype(np.uint8))
        image["support"] = h5py.SoftLink(f"/{IMAGE}/mask")
        instrument = _group(image, "instrument_1", "NXinstrument")
        detector = _group(instrument, "detector_1", "NXdetector")
        if record.measurement is not None and record.measurement.geometry is not None:
            _tell_geometry(record.measurement.geometry, instrument, detector)
        _tell_process(image, record.provenance)
        for number, (name, values) in enumerate(record.fields.items(), 2):
            _image(entry, number, record, values, name)
        _link(entry, f"/{IMAGE}/data", record.object.ndim)
        if record.measurement is not None:
            _measurement(_entry(file, "entry_2"), record.measurement)


def write_measurement(measurement: "Measurement", path: Path) -> None:
    """Write a measurement alone, as ``entry_1``: so CXI files and PyNX have it."""
    with _written(path, {"measurement": about_measurement(measurement)}) as file:
        _measurement(file["entry_1"], measurement)


@contextlib.contextmanager
def _written(path: Path, provenance: dict[str, Any]) -> Iterator[h5py.File]:
    """Open a file with ``entry_1`` and the provenance in it, to be written once all is there."""
    # In memory first: where the disk is full HDF5 cannot close its file any more, and a plain write just fails.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["default"], file.attrs["creator"] = "entry_1", "napari-dipr"
        file["cxi_version"] = VERSION
        note = _group(_entry(file, "entry_1"), "note_1", "NXnote")
        note["description"], note["type"] = "provenance", "application/json"
        _text(note, "data", json.dumps(provenance, allow_nan=False))
        yield file
    path.write_bytes(content.getbuffer())


def read_cxi(path: Path) -> dict[str, Any]:
    """Return a record's attributes, see :func:`~napari_dipr.io.record.read_record`."""
    with h5py.File(path, "r") as file:
        x, inside = dataset_at(file, f"{IMAGE}/data", "c", path), dataset_at(file, f"{IMAGE}/mask", "bui", path)
        if x is None or inside is None:
            raise FileError(f"{path.name} is no result: it has no complex {IMAGE}/data, or no mask beside.")
        attributes = {"object": x[()], "support": inside[()]}
        size = dataset_at(file, f"{IMAGE}/image_size", "f", path)
        if size is not None and size.size == x.ndim:
            attributes["voxel_size_nm"] = tuple((1e9 * size[()] / x.shape).tolist())
        note = dataset_at(file, NOTE, "S", path)
        if note is None:  # PyNX's
            return attributes
        told = attributes["provenance"] = json.loads(note[()])
        attributes |= {"voxel_size_nm": told["voxel_size_nm"], "fields": {}}
        number = 2
        while (values := dataset_at(file, f"entry_1/image_{number}/data", "f", path)) is not None:
            name = dataset_at(file, f"entry_1/image_{number}/data_type", "S", path)
            if name is None:
                raise FileError(f"{path.name}: the field entry_1/image_{number} has no data_type.")
            attributes["fields"][name[()].decode()] = values[()]
            number += 1
        data, mask = dataset_at(file, f"{DETECTOR}/data", "f", path), dataset_at(file, f"{DETECTOR}/mask", "u", path)
        if data is not None and mask is not None:
            attributes["measurement"] = measurement_from(data[()], mask[()] == 0, told["measurement"])
    return attributes


def told_by_cxi(path: Path) -> dict[str, Any]:
    """Return the provenance alone, of a result or a measurement."""
    with h5py.File(path, "r") as file:
        note = dataset_at(file, NOTE, "S", path)
        return {} if note is None else dict(json.loads(note[()]))


def _entry(file: h5py.File, name: str) -> h5py.Group:
    entry = _group(file, name, "NXentry")
    entry.attrs["default"] = "data_1"
    entry["program_name"] = f"napari-dipr {__version__}"
    return entry


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _dataset(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    group.create_dataset(name, data=values, chunks=True, shuffle=True, compression="gzip")


def _text(group: h5py.Group, name: str, text: str) -> None:
    """Write text that is read again: of a fixed length, since HDF5 does not survive damage to the others' heap."""
    content = text.encode(errors="replace")
    group.create_dataset(name, data=content, dtype=h5py.string_dtype("utf-8", len(content) or 1))


def _quantity(group: h5py.Group, name: str, value: float | NDArray[Any], unit: str) -> None:
    group[name] = value
    group[name].attrs["units"] = unit


def _image(entry: h5py.Group, number: int, record: "Record", values: NDArray[Any], kind: str) -> h5py.Group:
    image = _group(entry, f"image_{number}", "NXdata")
    image.attrs["signal"], image.attrs["interpretation"] = "data", _interpretation(values.ndim)
    _dataset(image, "data", values)
    _text(image, "data_type", kind)
    image["data_space"], image["is_fft_shifted"] = "real", 0
    # In pixels, x first.
    image["image_center"] = np.array([*(n // 2 for n in values.shape[::-1]), 0.0])[:3]
    if record.voxel_size_nm is not None:
        _quantity(image, "image_size", 1e-9 * np.array(record.voxel_size_nm) * values.shape, "m")
    return image


def _tell_process(image: h5py.Group, told: dict[str, Any]) -> None:
    """Tell settings and figures one by one, beside the JSON, for those who look into the file."""
    process = _group(image, "process_1", "NXprocess")
    process["program"], process["version"] = "napari-dipr", __version__
    _text(process, "command", str((told.get("recipe") or {}).get("text", "")))
    configuration, results = (_group(process, name, "NXcollection") for name in ("configuration", "results"))
    settings = {key: value for key, value in told.items() if key not in ("measurement", "errors", "versions")}
    _tell(configuration, settings)
    figures = told.get("errors") or {}
    _tell(results, {**figures, "nb_point_support": figures.get("support_voxels")})  # as PyNX calls it


def _tell(group: h5py.Group, values: dict[str, Any]) -> None:
    for key, value in values.items():
        name = key.replace("/", "_")
        with contextlib.suppress(ValueError, TypeError, OSError):  # no name or value for HDF5: the JSON has it
            if isinstance(value, dict):
                _tell(_group(group, name, "NXcollection"), value)
            elif isinstance(value, list):
                group[name] = json.dumps(value)
            elif value is not None:
                group[name] = value


def _link(entry: h5py.Group, target: str, dimensions: int) -> None:
    data = _group(entry, "data_1", "NXdata")
    data.attrs["signal"], data.attrs["interpretation"] = "data", _interpretation(dimensions)
    data["data"] = h5py.SoftLink(target)


def _interpretation(dimensions: int) -> str:
    return "image" if dimensions == 2 else "scalar"


def _measurement(entry: h5py.Group, measurement: "Measurement") -> None:
    _text(entry, "title", measurement.name)
    instrument = _group(entry, "instrument_1", "NXinstrument")
    detector = _group(instrument, "detector_1", "NXdetector")
    _dataset(detector, "data", measurement.intensities)
    _dataset(detector, "mask", np.where(measurement.measured, np.uint32(0), INVALID))
    if measurement.geometry is not None:
        _tell_geometry(measurement.geometry, instrument, detector)
    _link(entry, f"{detector.name}/data", measurement.intensities.ndim)


def _tell_geometry(geometry: "Geometry", instrument: h5py.Group, detector: h5py.Group) -> None:
    """Tell what CXI has names for, in its units; the rest is in the provenance."""
    wavelength = 1e-9 * geometry.wavelength
    source, beam = _group(instrument, "source_1", "NXsource"), _group(instrument, "beam_1", "NXbeam")
    _quantity(source, "energy", HC_JOULE / wavelength, "J")
    _quantity(beam, "incident_energy", HC_JOULE / wavelength, "J")
    _quantity(beam, "incident_wavelength", wavelength, "m")
    _quantity(detector, "distance", geometry.distance, "m")
    for name, size in zip(("x_pixel_size", "y_pixel_size"), geometry.pixel_size[::-1], strict=False):
        _quantity(detector, name, 1e-6 * size, "m")
