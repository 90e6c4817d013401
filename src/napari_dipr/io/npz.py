"""Results as NumPy's archive, compressed, with the measurement; nothing in it is pickled."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipr.errors import FileError
from napari_dipr.io.provenance import about_measurement, measurement_from

if TYPE_CHECKING:
    from napari_dipr.io.record import Record
    from napari_dipr.measurement import Measurement

FIELD = "field_"


def write_npz(record: "Record", path: Path) -> None:
    """Write ``object``, ``support``, ``provenance`` (JSON), and what else there is.

    That is ``intensities``, ``measured`` (zero frequency in the middle), ``voxel_size_nm`` and ``field_…``.
    """
    arrays: dict[str, Any] = {}
    if record.measurement is not None:  # first, where whoever looks for a pattern finds it
        arrays |= {"intensities": record.measurement.intensities, "measured": record.measurement.measured}
    arrays |= {"object": record.object, "support": record.support}
    arrays |= {FIELD + name: values for name, values in record.fields.items()}
    if record.voxel_size_nm is not None:
        arrays["voxel_size_nm"] = np.array(record.voxel_size_nm)
    arrays["provenance"] = np.array(json.dumps(record.provenance, allow_nan=False))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_measurement(measurement: "Measurement", path: Path) -> None:
    """Write a measurement alone: ``intensities``, ``measured`` and ``provenance``, as in a result."""
    told = np.array(json.dumps({"measurement": about_measurement(measurement)}, allow_nan=False))
    with path.open("wb") as file:
        np.savez_compressed(file, intensities=measurement.intensities, measured=measurement.measured, provenance=told)


def read_npz(path: Path) -> dict[str, Any]:
    """Return a record's attributes, see :func:`~napari_dipr.io.record.read_record`."""
    with np.load(path, allow_pickle=False) as archive:
        if not {"object", "support", "provenance"} <= set(archive.files):
            there = ", ".join(archive.files)
            raise FileError(
                f"{path.name} is no result of this program: it lacks object, support or provenance ({there})."
            )
        provenance = json.loads(str(archive["provenance"]))
        attributes = {
            "object": archive["object"],
            "support": archive["support"],
            "fields": {name.removeprefix(FIELD): archive[name] for name in archive.files if name.startswith(FIELD)},
            "provenance": provenance,
            "voxel_size_nm": provenance["voxel_size_nm"],
        }
        if "intensities" in archive.files:
            arrays = archive["intensities"], archive["measured"]
            attributes["measurement"] = measurement_from(*arrays, provenance["measurement"])
    return attributes


def told_by_npz(path: Path) -> dict[str, Any]:
    """Return the provenance alone, of a result or a measurement."""
    with np.load(path, allow_pickle=False) as archive:
        return dict(json.loads(str(archive["provenance"])))
