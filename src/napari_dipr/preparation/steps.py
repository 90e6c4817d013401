"""The steps from raw counts to a measurement, as one model that is plain JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator
from scipy import ndimage

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import SMALLEST, Kind, Measurement, ZeroFrequency, guess_zero_frequency
from napari_dipr.preparation.bad import PLAIN, Reason, bad_pixels, suspicious_pixels
from napari_dipr.preparation.centre import Found, find_centre
from napari_dipr.settings import Settings

# Settings that name files.
FILES = ("dark", "white", "bad_map", "mask")
# A flat field below this share of its median says that a pixel does not count as it should.
FAINTEST = 0.1
# The outermost share of each side, of which the median is the background.
RIM = 0.05
WORDS = {"peak": "peak", "centroid": "centroid", "friedel": "centre of symmetry", "array": "array's middle"}

Index = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=SMALLEST)]
Factor = Annotated[int, Field(ge=1, le=64)]


class Preparation(Settings):
    """What is done to a detector's data.

    Files are named here and read by :func:`napari_dipr.io.read.prepared`. Dark field, flat field and bad-pixel map are
    of the data's frames, or of the whole detector, of which the frames begin at ``origin``.
    """

    unfit = "The data cannot be prepared so"

    kind: Kind = Field("intensity", description="what the values are")
    zero_frequency: ZeroFrequency | None = Field(None, description="where it is; null guesses")
    rocking_axis: int = Field(0, ge=0, le=2, description="axis of a scan along which its frames follow")
    origin: tuple[Index, Index] = Field((0, 0), description="row and column of the detector where the data begin")
    dark: Path | None = Field(None, description="dark field, subtracted")
    white: Path | None = Field(
        None, description="flat field, less its own dark counts; the data are divided by it, relative to its median"
    )
    mask: Path | None = Field(None, description="true or 1 where pixels were measured")
    bad_map: Path | None = Field(None, description="not 0 where pixels are bad")
    leave_out: tuple[Reason, ...] = Field(PLAIN, description="reasons for which pixels are found and left out")
    saturation: float | None = Field(None, gt=0, description="value from which on pixels are saturated; null guesses")
    grow: int = Field(0, ge=0, le=32, description="pixels by which what is left out grows")
    background: Annotated[float, Field(ge=0)] | Literal["rim"] | None = Field(
        None, description="subtracted: counts, or rim for the median of the array's outermost twentieth"
    )
    threshold: float = Field(0, ge=0, description="intensities below are set to 0")
    centre: Found | Literal["array"] | tuple[Index, ...] | None = Field(
        None, description="zero frequency; null is the peak where there is a crop, and the array's middle else"
    )
    crop: Literal["inside"] | Side | tuple[Side, ...] | None = Field(
        None, description="sides cut out round the centre; inside is the largest good one that the data fill"
    )
    bin: Factor | tuple[Factor, ...] = Field(1, description="pixels that become one, by axis")
    geometry: Geometry | None = Field(None, description="of the experiment; null takes the file's, where it tells")

    @field_validator(*FILES)
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.absolute()  # of whatever folder it is used from later

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that it names."""
        paths = (getattr(self, name) for name in FILES)
        return tuple(path for path in paths if path is not None)

    @property
    def of_the_detector(self) -> tuple[str, ...]:
        """Names of the settings of :func:`corrected` that are other than by default."""
        fields = type(self).model_fields
        return tuple(name for name in fields if name not in _PLACING and getattr(self, name) != fields[name].default)

    @property
    def first_part(self) -> Self:
        """The settings of :func:`corrected`, the others as they are by default."""
        return self.model_copy(update={name: type(self).model_fields[name].default for name in _PLACING})


_PLACING = ("background", "threshold", "centre", "crop", "bin")


class Calibration(NamedTuple):
    """What was measured or is known of the detector.

    Attributes
    ----------
    dark, white
        Counts without light, and with even light, of a frame's shape or the detector's; None where there are none.
    measured
        Masks, True where a pixel counts, each of the data's shape, a frame's or the detector's.
    """

    dark: NDArray[Any] | None = None
    white: NDArray[Any] | None = None
    measured: tuple[NDArray[np.bool_], ...] = ()


NOTHING = Calibration()


def prepare(data: ArrayLike, preparation: Preparation, calibration: Calibration = NOTHING, **known: Any) -> Measurement:
    """Make a measurement of a detector's data.

    Parameters
    ----------
    data
        2-D or 3-D real numbers as they were written.
    preparation
        What is done; its files are not read here.
    calibration
        What is in the files.
    **known
        The measurement's other attributes; its history is gone on with.

    Raises
    ------
    MeasurementError
        If data, settings and calibration do not fit each other, or nothing is left.
    """
    return placed(corrected(data, preparation, calibration, **known), preparation)


def corrected(
    data: ArrayLike, preparation: Preparation, calibration: Calibration = NOTHING, **known: Any
) -> Measurement:
    """Do the first part: dark and flat field, and what is left out; parameters as in :func:`prepare`."""
    p, (dark, white, masks) = preparation, calibration
    array = np.squeeze(np.asarray(data))
    steps = [*known.pop("history", ()), f"taken as {'amplitudes' if p.kind == 'amplitude' else 'intensities'}"]
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        return Measurement.of(array, kind=p.kind)  # says what is wrong
    if p.kind == "amplitude" and (dark is not None or white is not None):
        raise MeasurementError(
            "Dark and flat field are of counts, the data amplitudes. Square them, or leave these out."
        )

    def fitted(values: NDArray[Any], what: str) -> NDArray[Any]:
        values = np.squeeze(values)
        if values.dtype.kind not in "buif":
            raise MeasurementError(f"The {what} is made of {values.dtype}, not of real numbers. Is it the right file?")
        values = np.moveaxis(values, p.rocking_axis, 0) if values.ndim == 3 else values
        return _fitted(values, array.shape, p.origin, what)

    if p.rocking_axis and array.ndim == 3:
        array = np.moveaxis(array, p.rocking_axis, 0)
        steps.append(f"axis {p.rocking_axis} is the rocking axis, and comes first")
    measured = np.ones(array.shape, bool)
    for mask in masks:
        measured &= fitted(mask, "mask")
    if masks:
        steps.append(f"masked {int((~measured).sum())} pixels as unmeasured")
    for reason, bad in bad_pixels(np.where(measured, array, 0), p.saturation).items():
        if reason == "negative" and 2 * bad.sum() > bad.size:
            raise MeasurementError(
                f"{int(bad.sum())} of {bad.size} pixels are negative, which no {p.kind} can be. Is it the logarithm?"
            )
        if reason in p.leave_out:
            measured &= ~bad
            steps.append(f"left out {int(bad.sum())} pixels: {reason}")
    if set(p.leave_out) - set(PLAIN):
        for reason, bad in suspicious_pixels(np.where(measured, array, 0), measured).items():
            if reason in p.leave_out:
                measured &= ~bad
                steps.append(f"left out {int(bad.sum())} pixels: {reason}")
    if not measured.any():
        why = ", ".join(f"{int(bad.sum())} {reason}" for reason, bad in bad_pixels(array, p.saturation).items())
        raise MeasurementError(
            f"No pixel is left: {why or 'all are masked'}. Is it the right dataset, and the mask's polarity right?"
        )
    where = p.zero_frequency or guess_zero_frequency(np.where(measured, array, 0))
    steps.append(f"zero frequency {'given' if p.zero_frequency else 'guessed'}: {where}")
    if dark is not None:
        dark = fitted(dark, "dark field")
        measured &= np.isfinite(dark)
        array = np.where(measured, np.maximum(array.astype(np.float64) - dark, 0), array)
        steps.append(f"dark field subtracted, {float(np.nanmean(dark)):.4g} counts in the mean")
    if white is not None:
        array, good = _flattened(array, fitted(white, "flat field"))
        if 2 * int((measured & ~good).sum()) > int(measured.sum()):
            raise MeasurementError(
                f"The flat field is below {FAINTEST:g} of its median at {int((measured & ~good).sum())} of "
                f"{int(measured.sum())} pixels. Is it the right file, and the right origin?"
            )
        steps.append(
            f"divided by the flat field; left out {int((measured & ~good).sum())} pixels: below {FAINTEST:g} of its "
            "median"
        )
        measured &= good
    if p.grow:
        measured = ~ndimage.binary_dilation(~measured, iterations=p.grow)
        steps.append(f"what is left out grown by {p.grow} pixels")
    return Measurement.of(array, kind=p.kind, zero_frequency=where, measured=measured, history=tuple(steps), **known)


def placed(measurement: Measurement, preparation: Preparation) -> Measurement:
    """Do the second part: background, threshold, centre, crop, bin; parameters as in :func:`prepare`."""
    p, ndim = preparation, len(measurement.grid)
    factors = (p.bin,) * ndim if isinstance(p.bin, int) else p.bin
    if p.background is not None:
        level = _rim(measurement) if p.background == "rim" else p.background
        measurement = measurement.without_background(level)
    if p.threshold > 0:
        measurement = measurement.thresholded(p.threshold)
    if p.centre is not None or p.crop is not None:
        how = p.centre or "peak"
        if isinstance(how, tuple):
            if len(how) != ndim or any(i >= n for i, n in zip(how, measurement.grid, strict=False)):
                raise MeasurementError(f"The centre {how} is no pixel of the {measurement.grid} that there are.")
            middle, why = how, "given pixel"
        elif how == "array":
            middle, why = tuple(n // 2 for n in measurement.grid), WORDS[how]
        else:
            middle, why = find_centre(measurement, how), WORDS[how]
        crop = _inside(measurement.grid, middle, factors) if p.crop == "inside" else p.crop or measurement.grid
        measurement = measurement.cropped(crop, around=middle, why=why)
    return measurement if set(factors) == {1} else measurement.binned(factors)


def _fitted(values: NDArray[Any], shape: tuple[int, ...], origin: tuple[int, int], what: str) -> NDArray[Any]:
    """Return what is known of a detector for data of a shape: one value a pixel, broadcast over the frames."""
    if values.shape == shape:
        return values
    if values.ndim != 2:
        raise MeasurementError(f"The {what} has the shape {values.shape}, the data {shape}. They must fit each other.")
    rows, columns = shape[-2:]
    cut = values[origin[0] : origin[0] + rows, origin[1] : origin[1] + columns]
    if cut.shape != (rows, columns):
        raise MeasurementError(
            f"The {what} has the shape {values.shape}: from the origin {origin} it does not cover frames of "
            f"{(rows, columns)}. Give the row and column of the detector where the data begin."
        )
    return np.broadcast_to(cut, shape)


def _flattened(array: NDArray[Any], white: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    positive = white[np.isfinite(white) & (white > 0)]
    if positive.size == 0:
        raise MeasurementError("The flat field has no value above 0. Is it the right file?")
    relative = np.where(np.isfinite(white), white, 0) / np.median(positive)
    good = relative >= FAINTEST
    return array / np.where(good, relative, 1), good


def _rim(measurement: Measurement) -> float:
    """Return the median of the measured intensities in the array's rim."""
    inner = tuple(slice(max(1, int(n * RIM)), n - max(1, int(n * RIM))) for n in measurement.grid)
    rim = measurement.measured.copy()
    rim[inner] = False
    if not rim.any():
        raise MeasurementError("No pixel of the array's rim is measured: give the background in counts.")
    return float(np.median(measurement.intensities[rim]))


def _inside(grid: tuple[int, ...], middle: tuple[int, ...], factors: Sequence[int]) -> tuple[int, ...]:
    """Return the largest sides round a pixel that the grid fills, even and of small prime factors once binned."""
    sides = []
    for n, m, factor in zip(grid, middle, factors, strict=False):
        side = 2 * min(m, n - m) // factor
        while side > SMALLEST and (side % 2 or not _smooth(side)):
            side -= 1
        sides.append(max(side, SMALLEST) * factor)
    return tuple(sides)


def _smooth(n: int) -> bool:
    """Say whether a number has no prime factor above 7."""
    for factor in (2, 3, 5, 7):
        while n % factor == 0:
            n //= factor
    return n == 1
