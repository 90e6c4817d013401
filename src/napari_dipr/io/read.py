"""From a file or a sample to a measurement."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.io.arrays import Loaded, load_array
from napari_dipr.io.region import Region
from napari_dipr.measurement import Kind, Measurement, ZeroFrequency, guess_zero_frequency
from napari_dipr.samples import sample

SAMPLE = "sample:"


def read(
    path: str | Path,
    *,
    kind: Kind | None = None,
    zero_frequency: ZeroFrequency | None = None,
    key: str | None = None,
    frame: int | None = None,
    region: Region | str | None = None,
    mask: str | Path | ArrayLike | None = None,
) -> Measurement:
    """Read a measurement from a file, or take a sample.

    Whoever wants to crop or to cut off low counts does so afterwards: mask, threshold, crop is the order.

    Parameters
    ----------
    path
        A file that :func:`~napari_dipr.io.arrays.load_array` reads, with 2-D or 3-D data, or ``sample:fashion-K``.
    kind
        Whether the data are intensities or amplitudes. None takes intensities.
    zero_frequency
        Where it is. None guesses. The measurement's history says what was taken.
    key, frame, region
        Which array of the file, which frame and which part of it, see :func:`~napari_dipr.io.arrays.load_array`.
    mask
        Measured pixels: a file for :func:`load_mask`, or an array; of the region, or of all that it is a part of.

    Raises
    ------
    FileError
        If a file cannot be read.
    MeasurementError
        If the data cannot be a measurement.
    """
    if str(path).startswith(SAMPLE):
        asked = {"kind": kind, "zero frequency": zero_frequency, "key": key, "frame": frame, "region": region}
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise MeasurementError(f"{path} is a sample, of which all is known: leave out the {', '.join(given)}.")
        measurement, _ = sample(str(path).removeprefix(SAMPLE))
        return measurement if mask is None else measurement.with_mask(mask_for(mask, measurement.grid, None))
    loaded = load_array(path, key=key, frame=frame, region=region)
    measured = None
    if mask is not None:
        given = load_mask(mask) if isinstance(mask, str | Path) else np.asarray(mask) != 0
        measured = mask_for(loaded.cut(given), np.squeeze(loaded.array).shape, frame)
    return as_measurement(loaded, kind=kind, zero_frequency=zero_frequency, measured=measured)


def as_measurement(
    loaded: Loaded,
    *,
    kind: Kind | None = None,
    zero_frequency: ZeroFrequency | None = None,
    measured: NDArray[np.bool_] | None = None,
) -> Measurement:
    """Make a measurement of a loaded array; parameters as in :func:`read`, ``measured`` True where a pixel counts.

    Raises
    ------
    MeasurementError
        If the data cannot be a measurement.
    """
    array, source, notes, good, geometry = loaded
    stem, frame = Path(source["file"]).stem, source["frame"]
    steps = [*notes, f"taken as {'amplitudes' if kind == 'amplitude' else 'intensities'}"]
    if good is not None:
        good = mask_for(good, np.squeeze(array).shape, frame)
        measured = good if measured is None else measured & good
    where = zero_frequency
    if where is None and array.dtype.kind in "buif":
        trusted = np.squeeze(array)
        if measured is not None and measured.shape == trusted.shape:
            trusted = np.where(measured, trusted, 0)
        where = guess_zero_frequency(trusted)
    steps.append(f"zero frequency {'guessed' if zero_frequency is None else 'given'}: {where}")
    if measured is not None:
        steps.append(f"masked {int((~measured).sum())} pixels as unmeasured")
    geometry = geometry if np.squeeze(array).ndim == 2 else None  # of a scan the step between frames is not told
    if geometry is not None:
        sizes = " × ".join(f"{size:g}" for size in geometry.pixel_size)
        steps.append(
            f"geometry from the file: wavelength {geometry.wavelength:.5g} nm, detector at {geometry.distance:g} m, "
            f"its pixels {sizes} µm; that no optics are between is assumed"
        )
    return Measurement.of(
        array,
        kind=kind or "intensity",
        zero_frequency=where,
        measured=measured,
        geometry=geometry,
        name=stem if frame is None else f"{stem}-{frame}",
        history=tuple(steps),
        source={**source, "kind": kind or "intensity"},
    )


def load_mask(path: str | Path, *, key: str | None = None, frame: int | None = None) -> NDArray[np.bool_]:
    """Load a mask or a support: True where the file has true, 1, or the one value that it uses beside 0 (as 255).

    Raises
    ------
    FileError
        If the file cannot be read, or holds more than two values.
    """
    array = load_array(path, key=key, frame=frame, prefer="mask").array
    values = np.unique(array)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        few = ", ".join(f"{v:g}" for v in values[:4].real)
        raise FileError(
            f"{Path(path).name} is no mask: it holds {len(values)} different values ({few}…). A mask has 0 and one "
            "other value, which means measured (inside, for a support)."
        )
    return np.squeeze(array) != 0


def mask_for(mask: str | Path | ArrayLike, shape: tuple[int, ...], frame: int | None) -> NDArray[np.bool_]:
    """Return a file's or an array's mask for data of a shape: True where they were measured.

    One mask serves all frames of a stack; of a stack of masks, the one of the data's frame is taken.

    Raises
    ------
    FileError
        If the file cannot be read.
    MeasurementError
        If the mask does not fit the shape.
    """
    measured = load_mask(mask) if isinstance(mask, str | Path) else np.asarray(mask) != 0
    if measured.ndim == len(shape) + 1 and frame is not None:  # a stack of masks beside a stack of frames
        if frame >= len(measured):
            raise MeasurementError(f"The mask has {len(measured)} frames; there is none for frame {frame}.")
        measured = measured[frame]
    if measured.shape == shape[1:]:  # one detector mask for a whole rocking scan
        measured = np.broadcast_to(measured, shape)
    if measured.shape != shape:
        raise MeasurementError(f"The mask has the shape {measured.shape}, the data {shape}. They must be equal.")
    return measured
