"""Results as TIFF: an ImageJ hyperstack with the support beside it, or one OME-TIFF.

Amplitude and phase are channels, and so are further fields. No TIFF holds the measurement.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dipr.errors import FileError

if TYPE_CHECKING:
    from napari_dipr.io.record import Record

PARTS = ("amplitude", "phase")
# An ImageJ TIFF counts its bytes in 32 bits; some are the header's.
MOST_BYTES = 2**32 - 2**22
INSIDE = np.uint8(255)


def support_beside(path: Path) -> Path:
    """Return where the support of an ImageJ TIFF is."""
    return path.with_name(f"{path.stem}_support{path.suffix}")


def write_imagej(record: "Record", path: Path, support: Path) -> None:
    """Write a hyperstack of the axes ZCYX or CYX, float32, and the support, uint8, 255 inside.

    Raises
    ------
    FileError
        If that is more than ImageJ can read.
    """
    channels = _channels(record)
    data = np.stack(list(channels.values()), axis=-3)
    if data.nbytes > MOST_BYTES:
        raise FileError(
            f"{path.name} would have {data.nbytes / 1e9:.1f} GB, and ImageJ's TIFF takes 4. Write .ome.tif or .cxi."
        )
    planes = data.shape[0] if data.ndim == 4 else 1
    options = {
        "mode": "grayscale",
        "Labels": [*channels] * planes,
        # Else ImageJ shows the range of its file format, and all channels in one.
        "Ranges": tuple(bound for values in channels.values() for bound in _range(values)),
    }
    for place, array, more in ((path, data, options), (support, record.support * INSIDE, {})):
        about: dict[str, Any] = {"axes": "ZCYX"[-array.ndim :] if array is data else "ZYX"[-array.ndim :], **more}
        about["Info"] = json.dumps(record.provenance, indent=1, allow_nan=False)
        resolution = None
        if (voxel := record.voxel_size_nm) is not None:
            about["unit"] = "nm"
            resolution = (1 / voxel[-1], 1 / voxel[-2])
            if len(voxel) == 3:
                about["spacing"] = voxel[0]
        tifffile.imwrite(place, array, imagej=True, metadata=about, resolution=resolution)


def read_imagej(path: Path) -> dict[str, Any]:
    """Return a record's attributes, see :func:`~napari_dipr.io.record.read_record`."""
    with tifffile.TiffFile(path) as file:
        about = file.imagej_metadata or {}
        data = file.series[0].asarray()
    labels = about.get("Labels") or []
    count = about.get("channels", 1)
    if "Info" not in about or tuple(labels[:2]) != PARTS or data.ndim not in (3, 4) or data.shape[-3] != count:
        raise FileError(f"{path.name} is no result of this program: name its TIFF with amplitude and phase.")
    support = support_beside(path)
    if not support.is_file():
        raise FileError(f"The support {support.name} is not beside {path.name}. Put it there.")
    values = {label: data[..., i, :, :] for i, label in enumerate(labels[:count])}
    return _attributes(values, tifffile.imread(support), json.loads(about["Info"]))


def told_by_imagej(path: Path) -> dict[str, Any]:
    """Return the provenance alone; nothing where the file holds no object."""
    with tifffile.TiffFile(path) as file:
        about = file.imagej_metadata or {}
    return dict(json.loads(about["Info"])) if tuple((about.get("Labels") or ())[:2]) == PARTS else {}


def told_by_ome(path: Path) -> dict[str, Any]:
    """Return the provenance alone."""
    with tifffile.TiffFile(path) as file:
        return dict(json.loads(_from_ome(file.ome_metadata or "<OME/>")[0] or "{}"))


def write_ome(record: "Record", path: Path) -> None:
    """Write the object's channels, and the support as a second image; the provenance is the first's description."""
    channels = _channels(record)
    axes = "ZYX"[-record.object.ndim :]
    about: dict[str, Any] = {}
    if record.voxel_size_nm is not None:
        for axis, side in zip(axes, record.voxel_size_nm, strict=True):
            about |= {f"PhysicalSize{axis}": side, f"PhysicalSize{axis}Unit": "nm"}
    told = {
        "Name": "object",
        "axes": f"C{axes}",
        "Channel": {"Name": [*channels]},
        "Description": json.dumps(record.provenance, allow_nan=False),
    }
    size = record.object.size * (4 * len(channels) + 1)
    with tifffile.TiffWriter(path, ome=True, bigtiff=size > MOST_BYTES) as file:
        file.write(np.stack(list(channels.values())), photometric="minisblack", metadata={**about, **told})
        file.write(
            record.support * INSIDE, photometric="minisblack", metadata={**about, "Name": "support", "axes": axes}
        )


def read_ome(path: Path) -> dict[str, Any]:
    """Return a record's attributes, see :func:`~napari_dipr.io.record.read_record`."""
    with tifffile.TiffFile(path) as file:
        told, names = _from_ome(file.ome_metadata or "<OME/>")
        if tuple(names[:2]) != PARTS or len(file.series) != 2 or told is None:
            raise FileError(f"{path.name} is no result of this program: it lacks amplitude, phase or support.")
        data, support = (series.asarray() for series in file.series)
    return _attributes(dict(zip(names, data, strict=True)), support, json.loads(told))


def _from_ome(xml: str) -> tuple[str | None, list[str]]:
    """Return the first image's description and its channels' names."""
    image = ElementTree.fromstring(xml).find("{*}Image")
    if image is None:
        return None, []
    return image.findtext("{*}Description"), [c.get("Name", "") for c in image.iterfind("{*}Pixels/{*}Channel")]


def _channels(record: "Record") -> dict[str, NDArray[np.float32]]:
    amplitude = np.abs(record.object)
    # Where there is nothing, signed zeros would have phases too.
    phase = np.where(amplitude > 0, np.angle(record.object), np.float32(0))
    return dict(zip(PARTS, (amplitude, phase), strict=True)) | record.fields


def _attributes(channels: dict[str, Any], support: NDArray[Any], provenance: dict[str, Any]) -> dict[str, Any]:
    amplitude, phase = (np.asarray(channels.pop(part)) for part in PARTS)
    return {
        "object": (amplitude * np.exp(1j * phase.astype(np.float64))).astype(np.complex64),
        "support": support,
        "fields": channels,
        "provenance": provenance,
        "voxel_size_nm": provenance["voxel_size_nm"],
    }


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
