"""From a file or a sample to a measurement."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.io.arrays import Loaded, digest, load_array
from napari_dipr.io.record import Record, told_by
from napari_dipr.io.region import Region
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.bad import PLAIN
from napari_dipr.preparation.steps import FILES, Calibration, Preparation, corrected, placed
from napari_dipr.samples import sample

SAMPLE = "sample:"


def read(
    path: str | Path,
    *,
    key: str | None = None,
    frame: int | None = None,
    region: Region | str | None = None,
    mask: str | Path | ArrayLike | None = None,
    preparation: Preparation | None = None,
    **choices: Any,
) -> Measurement:
    """Read a measurement from a file and prepare it, or take a sample.

    Parameters
    ----------
    path
        A file that :func:`~napari_dipr.io.arrays.load_array` reads, with 2-D or 3-D data, or ``sample:fashion-K``.
    key, frame, region
        Which array of the file, which frame and which part of it, see :func:`~napari_dipr.io.arrays.load_array`. The
        part is taken of masks and fields alike where they are of the whole array's or the detector's size.
    mask
        True where pixels were measured: an array, or a file for :func:`load_mask`.
    preparation
        What is done to the data.
    **choices
        Settings of :class:`~napari_dipr.preparation.steps.Preparation` that are other than in it, such as ``crop``.

    Raises
    ------
    FileError
        If a file cannot be read.
    MeasurementError
        If the data cannot be a measurement.
    """
    p = preparation or Preparation()
    if choices:
        p = Preparation.of(**{**p.model_dump(exclude_unset=True), **choices})
    if isinstance(mask, str | Path):
        p, mask = p.model_copy(update={"mask": Path(mask)}), None
    if not str(path).startswith(SAMPLE):
        return prepared(load_array(path, key=key, frame=frame, region=region), p, mask)
    measurement, _ = sample(str(path).removeprefix(SAMPLE))
    given = [name.replace("_", " ") for name in p.of_the_detector if name != "mask"]
    given += [name for name, value in (("key", key), ("frame", frame), ("region", region)) if value is not None]
    if given:
        raise MeasurementError(f"{path} is a sample, of which all is known: leave out the {', '.join(given)}.")
    if p.mask is not None:
        mask = load_mask(p.mask)
    measurement = measurement if mask is None else measurement.with_mask(mask)
    if p.as_json():
        measurement = replace(measurement, source={**measurement.source, "preparation": p.as_json()})
    return placed(measurement, p)


def prepared(loaded: Loaded, preparation: Preparation, measured: ArrayLike | None = None) -> Measurement:
    """Prepare a loaded array, with the files that the preparation names.

    Parameters
    ----------
    loaded
        What a file holds, and what it says of itself; read now where it was opened lazily.
    preparation
        What is done to it.
    measured
        True where a pixel counts, beside what the files say.

    Raises
    ------
    FileError
        If a file cannot be read.
    MeasurementError
        If the data cannot be a measurement.
    """
    return placed(corrected_from(loaded, preparation, measured), preparation)


def corrected_from(loaded: Loaded, preparation: Preparation, measured: ArrayLike | None = None) -> Measurement:
    """Do the first part of :func:`prepared`; :func:`~napari_dipr.preparation.steps.placed` does the second."""
    loaded = loaded.computed()
    p, frame = preparation, loaded.source["frame"]
    if p.rocking_axis and loaded.source.get("region") is not None:
        raise MeasurementError(
            f"A region and the rocking axis {p.rocking_axis} cannot be chosen together. Read all of it and crop."
        )
    source, steps = {**loaded.source, "preparation": p.as_json()}, list(loaded.notes)
    fields: dict[str, Any] = dict.fromkeys(FILES)
    for what in FILES:
        if (path := getattr(p, what)) is not None:
            field = load_array(path, prefer="mask" if what in ("mask", "bad_map") else "data")
            fields[what], source[what] = loaded.cut(np.squeeze(field.array), p.origin), field.source
            steps.append(f"{what.replace('_', ' ')} from {path.name}")
    masks = [
        None if p.mask is None else as_mask(fields["mask"], p.mask),
        None if fields["bad_map"] is None else fields["bad_map"] == 0,
        loaded.measured,
        None if measured is None else loaded.cut(np.asarray(measured) != 0, p.origin),
    ]
    given = tuple(
        _of_frame(np.squeeze(mask), np.squeeze(loaded.array).ndim, frame) for mask in masks if mask is not None
    )
    stem = Path(source["file"]).stem
    known: dict[str, Any] = {"name": stem if frame is None else f"{stem}-{frame}", "source": source}
    geometry = loaded.geometry
    if ours := _ours(loaded):
        steps = [*ours["history"], *steps]
        known["photons_per_unit"] = ours["photons_per_unit"]
        geometry = None if ours["geometry"] is None else Geometry.of(ours["geometry"])
        if p.zero_frequency is None:
            p = p.model_copy(update={"zero_frequency": "centre"})
        # What is bad was settled then; among few photons, guessing again may find saturated pixels that are none.
        if p.leave_out == PLAIN and p.saturation is None:
            p = p.model_copy(update={"leave_out": ()})
    geometry = p.geometry or geometry
    if geometry is not None:
        geometry = geometry.binned(loaded.steps)  # of a region that leaves pixels out between
        steps.append(f"geometry {'given' if p.geometry else 'from the file'}: {geometry}")
    calibration = Calibration(fields["dark"], fields["white"], given)
    return corrected(loaded.array, p, calibration, geometry=geometry, history=tuple(steps), **known)


def _ours(loaded: Loaded) -> dict[str, Any] | None:
    """Return what a file that this program wrote tells of the whole measurement in it."""
    source = loaded.source
    if source.get("path") is None or source.get("region") is not None or source.get("frame") is not None:
        return None
    told = told_by(source["path"]).get("measurement")
    return told if told and tuple(told.get("grid", ())) == loaded.array.shape else None


def measurement_of(record: Record) -> Measurement:
    """Return a result's measurement: its own, or what its source gives once it is prepared again.

    Raises
    ------
    FileError
        If the result holds none, and its source is not there any more, or another, or gives another measurement, as
        where pixels were masked by hand.
    MeasurementError
        If the source cannot be prepared as it was.
    """
    if record.measurement is not None:
        return record.measurement
    told = record.provenance.get("measurement") or {}
    source = told.get("source") or {}
    p = Preparation.of(**(source.get("preparation") or {}))
    if "sample" in source:
        measurement = read(f"{SAMPLE}{source['sample']}", preparation=p)
    else:
        if source.get("path") is None or "sha256" not in source:
            raise FileError(
                "The result holds no measurement (CXI and NPZ do), nor does it say from which file it came."
            )
        path = Path(source["path"])
        if not path.exists():
            raise FileError(
                f"The result holds no measurement (CXI and NPZ do), and its source {path} is not there. Put it there."
            )
        for what in (source, *(source[name] for name in FILES if name in source)):
            if digest(Path(what["path"])) != what["sha256"]:
                raise FileError(f"{what['path']} has changed since: it is not what the result was made of.")
        loaded = load_array(path, key=source.get("key"), frame=source.get("frame"), region=source.get("region"))
        measurement = prepared(loaded, p)
    unmeasured = int((~measurement.measured).sum())
    if measurement.grid != record.object.shape or unmeasured != told.get("unmeasured_pixels", unmeasured):
        raise FileError(
            f"The result's source gives {measurement.grid} pixels, {unmeasured} of them unmeasured; the result had "
            f"{record.object.shape} and {told.get('unmeasured_pixels')}. What was masked by hand only CXI and NPZ hold."
        )
    return replace(measurement, photons_per_unit=told.get("photons_per_unit"))


def load_mask(path: str | Path, *, key: str | None = None, frame: int | None = None) -> NDArray[np.bool_]:
    """Load a mask or a support: True where the file has true, 1, or the one value that it uses beside 0 (as 255).

    Raises
    ------
    FileError
        If the file cannot be read, or holds more than two values.
    """
    return as_mask(load_array(path, key=key, frame=frame, prefer="mask").array, Path(path))


def as_mask(array: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """Return a file's array as a mask, see :func:`load_mask`."""
    values = np.unique(array)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        few = ", ".join(f"{v:g}" for v in values[:4].real)
        raise FileError(
            f"{path.name} is no mask: it holds {len(values)} different values ({few}…). A mask has 0 and one "
            "other value, which means measured (inside, for a support)."
        )
    return np.squeeze(array) != 0


def _of_frame(mask: NDArray[np.bool_], ndim: int, frame: int | None) -> NDArray[np.bool_]:
    """Return the frame's own mask, of a stack of masks beside a stack of frames; else the mask as it is."""
    if mask.ndim != ndim + 1 or frame is None:
        return mask
    if frame >= len(mask):
        raise MeasurementError(f"The mask has {len(mask)} frames; there is none for frame {frame}.")
    return mask[frame]
