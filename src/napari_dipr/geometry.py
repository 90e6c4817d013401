"""The experiment's geometry, and the nanometres that follow from it.

The laboratory's frame is right-handed: x across, y up, z along the beam (x points left for who looks downstream). A
circle ``y+`` turns by the right hand about +y as its angle grows, ``y-`` by the left hand. Circles are listed from the
outermost, which carries the others: the sample's rotation is the product of their matrices in that order, and so is the
detector's, which stands across the beam at +z when its angles are 0.

The array's axes are (frame, row, column) of a rocking scan and (row, column) of one pattern. ``q = kf − ki`` with
``|k| = 2π/λ``, and light of the wave ``exp(ik·r)`` scatters with ``exp(−iq·r)``: so do the package's transforms. While
the sample rocks it is the pattern that is thought to turn the other way, in the frame of the laboratory in which the
sample stands still as it did at the scan's middle.

What is small: the steps are those at the pattern's middle, the same everywhere. That leaves out the Ewald sphere's
curvature, ``q²/2k`` at a distance q from the middle, and the rocking arc's, ``|Q|Δθ²/2`` at an angle Δθ: at the edge
of 128 pixels of 55 µm at 0.5 m and 9 keV a fifth of a pixel, of 128 frames of 0.005° at |Q| = 27 nm⁻¹ a fifth of a
frame's step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from napari_dipr.errors import MeasurementError, explained

# Planck's constant times the speed of light, J m; an eV in J; and the first in keV nm.
HC_JOULE = 6.62607015e-34 * 299792458.0
EV = 1.602176634e-19
HC = HC_JOULE / EV * 1e6
# Sine of the angle at which rocking must lead out of the detector's plane, for there to be a third dimension.
FLATTEST = 1e-3
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Beamline:
    """Circles and detector of a beamline.

    Attributes
    ----------
    sample, detector
        Axis of each circle by the motor's name, the outermost first.
    rows, columns
        Where the detector's rows and columns run, all angles at 0: the direction in which the index grows.
    """

    sample: dict[str, str]
    detector: dict[str, str]
    rows: str
    columns: str


# As cohere-ui 4 (34-ID-C) and cdiutils (ID01) have them, of frames as their files hold them. Of ID01's Maxipix
# with GaAs cohere-ui has the columns along x−: a frame that is mirrored gives the crystal's mirror image.
BEAMLINES = {
    "34-ID-C": Beamline({"theta": "y+", "chi": "z-", "phi": "y+"}, {"delta": "y+", "gamma": "x-"}, "y-", "x+"),
    "ID01": Beamline({"mu": "y-", "eta": "x-", "phi": "y-"}, {"nu": "y-", "delta": "x-"}, "y-", "x+"),
}

UNKNOWN = f"beamline {{!r}} is not known; these are: {', '.join(BEAMLINES)}"


class RockingScan(BaseModel):
    """A rocking scan of a Bragg peak: one circle of the sample turns by the same step from frame to frame.

    Attributes
    ----------
    beamline
        One of :data:`BEAMLINES`.
    motor
        The circle that rocks.
    step
        From one frame to the next, in degrees, with its sign.
    detector, sample
        Angles by motor, in degrees, at the pattern's middle pixel and the scan's middle frame; 0 where not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    beamline: str
    motor: str
    step: FiniteFloat
    detector: dict[str, FiniteFloat] = {}
    sample: dict[str, FiniteFloat] = {}

    @field_validator("beamline")
    @classmethod
    def _known(cls, name: str) -> str:
        found = _beamline(name)
        if found is None:
            raise ValueError(UNKNOWN.format(name))
        return found

    @model_validator(mode="after")
    def _fits(self) -> Self:
        line = BEAMLINES[self.beamline]
        for circles, named in ((line.sample, [self.motor, *self.sample]), (line.detector, list(self.detector))):
            if strange := [name for name in named if name not in circles]:
                what = "sample" if circles is line.sample else "detector"
                raise ValueError(
                    f"{strange[0]!r} is no circle of the {what} at {self.beamline}, which has {', '.join(circles)}"
                )
        steps = self.steps((1.0, 1.0))
        sizes = np.linalg.norm(steps, axis=0)
        if not sizes[0] or abs(np.linalg.det(steps / sizes)) < FLATTEST:
            raise ValueError(
                f"rocking {self.motor} by {self.step:g}° does not lead out of the detector's plane at these angles"
            )
        return self

    def detector_rotation(self) -> NDArray[np.float64]:
        """Return the matrix ``[3, 3]`` that turns the detector from angles of 0 to where it is."""
        return _turned(BEAMLINES[self.beamline].detector, self.detector)

    def sample_rotation(self) -> NDArray[np.float64]:
        """Return the matrix ``[3, 3]`` that takes the sample's frame into the laboratory's, at the scan's middle."""
        return _turned(BEAMLINES[self.beamline].sample, self.sample)

    def bragg(self) -> NDArray[np.float64]:
        """Return ``(kf − ki)/k`` of the middle pixel, ``[3]``."""
        beam = np.array([0.0, 0.0, 1.0])
        return self.detector_rotation() @ beam - beam

    def steps(self, pixel: tuple[float, float]) -> NDArray[np.float64]:
        """Return the steps of ``q/k`` along the array's axes as columns ``[3, 3]``.

        Parameters
        ----------
        pixel
            Angle that the detector's pixel is seen under, radians, by rows and columns.
        """
        line = BEAMLINES[self.beamline]
        outer = list(line.sample)[: list(line.sample).index(self.motor)]
        axis = _turned({name: line.sample[name] for name in outer}, self.sample) @ _direction(line.sample[self.motor])
        # The crystal turns by +step about the axis; seen from it, q turns by −step.
        frame = -np.deg2rad(self.step) * np.cross(axis, self.bragg())
        seen = self.detector_rotation()
        rows, columns = (seen @ _direction(name) for name in (line.rows, line.columns))
        return np.stack([frame, pixel[0] * rows, pixel[1] * columns], axis=1)

    def __str__(self) -> str:
        """Say in words what was done."""
        line, given = BEAMLINES[self.beamline], {**self.detector, **self.sample}
        angles = ", ".join(f"{name} {given.get(name, 0.0):g}°" for name in (*line.detector, *line.sample))
        zero = [name for name in (*line.detector, *line.sample) if name not in given]
        taken = f" ({', '.join(zero)} not given: taken as 0)" if zero else ""
        return (
            f"{self.beamline} at {angles}{taken}, {self.motor} rocked by {self.step:+g}° a frame; that the angles are "
            "those of the pattern's middle pixel and frame is assumed"
        )


class Geometry(BaseModel):
    """The experiment's geometry, where it is known.

    Attributes
    ----------
    wavelength
        In nanometres.
    distance
        Sample to detector, in metres.
    pixel_size
        Of the detector, by rows and columns, in micrometres.
    scan
        How a 3-D Bragg pattern was rocked through; None for one pattern, or where it is not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wavelength: Length
    distance: Length
    pixel_size: tuple[Length, Length]
    scan: RockingScan | None = None

    @classmethod
    def of(cls, values: Any) -> "Geometry":
        """Check a geometry's values, as its JSON has them.

        Raises
        ------
        MeasurementError
            If one is missing, or out of its range.
        """
        with explained(MeasurementError, "The geometry does not fit"):
            return cls.model_validate(values)

    @classmethod
    def parse(cls, text: str) -> "Geometry":
        """Read a geometry that a person wrote.

        Parameters
        ----------
        text
            Words ``name=value`` joined by commas: ``energy`` (keV) or ``wavelength`` (nm), ``distance`` (m) and
            ``pixel`` (µm, one number or ``55x75`` for rows and columns); and for a rocking scan ``beamline``, ``rock``
            (the motor), ``step`` (degrees a frame) and angles by motor, in degrees: ``energy=9, distance=0.5, pixel=55,
            beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.22, chi=90, phi=-5, rock=theta, step=0.005``.

        Raises
        ------
        MeasurementError
            If it cannot be read, with the word that was not understood and those that are known.
        """
        words = _words(text)
        asked = words.pop("beamline", None)
        name = None if asked is None else _beamline(asked)
        if asked is not None and name is None:
            raise MeasurementError(f"The geometry's {UNKNOWN.format(asked)}.")
        line = Beamline({}, {}, "", "") if name is None else BEAMLINES[name]
        scan = [] if name is None else ["rock", "step"]
        known = ["energy", "wavelength", "distance", "pixel", "beamline", *scan, *line.detector, *line.sample]
        if strange := [f"{word}={value}" for word, value in words.items() if word not in known]:
            more = "" if name else f"; and with a beamline ({', '.join(BEAMLINES)}) rock, step and its circles' angles"
            raise MeasurementError(
                f"The geometry's {strange[0]!r} was not understood. Known are {', '.join(known)}{more}."
            )
        if ("energy" in words) == ("wavelength" in words):
            raise MeasurementError("The geometry needs the energy (keV) or the wavelength (nm). Give one of them.")
        if missing := [word for word in ("distance", "pixel", *scan) if word not in words]:
            raise MeasurementError(f"The geometry lacks {' and '.join(missing)}. Write {missing[0]}=VALUE too.")
        pixel = [_number("pixel", side) for side in words.pop("pixel").lower().replace("×", "x").split("x")]
        motor = words.pop("rock", "").lower()
        numbers = {word: _number(word, value) for word, value in words.items()}
        energy = numbers.get("energy")
        known_scan = name and {
            "beamline": name,
            "motor": motor,
            "step": numbers["step"],
            "detector": {circle: numbers[circle] for circle in line.detector if circle in numbers},
            "sample": {circle: numbers[circle] for circle in line.sample if circle in numbers},
        }
        return cls.of(
            {
                "wavelength": HC / energy if energy else numbers.get("wavelength", energy),
                "distance": numbers["distance"],
                "pixel_size": pixel if len(pixel) > 1 else pixel * 2,
                "scan": known_scan,
            }
        )

    def __str__(self) -> str:
        """Say in words what is known, and what is assumed."""
        sizes = " × ".join(f"{size:g}" for size in self.pixel_size)
        words = (
            f"wavelength {self.wavelength:.5g} nm, detector at {self.distance:g} m, its pixels {sizes} µm; that no "
            "optics are between is assumed"
        )
        return words if self.scan is None else f"{words}; {self.scan}"

    def written(self) -> str:
        """Return the text that :meth:`parse` reads as this geometry."""
        words: dict[str, Any] = {
            "wavelength": self.wavelength,
            "distance": self.distance,
            "pixel": "x".join(f"{size!r}" for size in self.pixel_size),
        }
        if (scan := self.scan) is not None:
            words |= {"beamline": scan.beamline, **scan.detector, **scan.sample, "rock": scan.motor, "step": scan.step}
        return ", ".join(f"{word}={value}" for word, value in words.items())

    def binned(self, factors: Sequence[int]) -> "Geometry":
        """Return the geometry of a pattern whose pixels were added up by ``factors``: 2 (rows, columns), or 3."""
        if len(factors) not in (2, 3) or min(factors) < 1:
            raise MeasurementError(f"Cannot bin by {tuple(factors)}: give 2 or 3 factors of at least 1.")
        *frames, rows, columns = factors
        scan = self.scan
        if scan is not None and frames:
            scan = scan.model_copy(update={"step": scan.step * frames[0]})
        height, width = self.pixel_size
        return self.model_copy(update={"pixel_size": (height * rows, width * columns), "scan": scan})

    def voxel_size(self, grid: Sequence[int]) -> tuple[float, ...] | None:
        """Return the lengths of the voxel's edges along the array's axes, nm, for a pattern of ``grid`` pixels.

        ``λz/(Np)`` of a 2-D pattern. A Bragg pattern's voxel is skewed, see :meth:`basis`. None for a 3-D pattern of
        which no scan is known.
        """
        if len(grid) == 2:
            return tuple(
                self.wavelength * self.distance / (n * size * 1e-6)
                for n, size in zip(grid, self.pixel_size, strict=True)
            )
        return None if self.scan is None else tuple(np.linalg.norm(self.basis(grid), axis=0).tolist())

    def steps(self) -> NDArray[np.float64]:
        """Return the steps of q along the array's axes as columns ``[3, 3]``, 1/nm (2π included), at the middle.

        Raises
        ------
        MeasurementError
            If no scan is known.
        """
        height, width = (size * 1e-6 / self.distance for size in self.pixel_size)
        return 2 * np.pi / self.wavelength * self._scanned().steps((height, width))

    def basis(self, grid: Sequence[int]) -> NDArray[np.float64]:
        """Return the object's voxel in the laboratory's frame at the scan's middle: columns ``[3, 3]``, nm.

        Column i is the step of one voxel along axis i of the array. With the steps of q as columns of B it is
        ``A = 2π B⁻ᵀ diag(1/N)``, such that ``q·r = 2π Σ mᵢnᵢ/Nᵢ`` as in the discrete transform.

        Raises
        ------
        MeasurementError
            If no scan is known, or the grid is not 3-D.
        """
        if len(grid) != 3:
            raise MeasurementError(f"A rocking scan's grid has 3 dimensions, {tuple(grid)} has {len(grid)}.")
        return 2 * np.pi * np.linalg.inv(self.steps()).T / np.asarray(grid)

    def bragg(self) -> NDArray[np.float64]:
        """Return ``Q = kf − ki`` of the middle pixel in the laboratory's frame, ``[3]``, 1/nm (2π included).

        Raises
        ------
        MeasurementError
            If no scan is known.
        """
        return 2 * np.pi / self.wavelength * self._scanned().bragg()

    def to_sample(self) -> NDArray[np.float64]:
        """Return the rotation ``[3, 3]`` of vectors in the laboratory's frame into the sample's, at the scan's middle.

        The sample's frame is fixed to what the innermost circle carries, and is the laboratory's where all angles are
        0. As columns it takes a whole basis: ``geometry.to_sample() @ geometry.basis(grid)``.

        Raises
        ------
        MeasurementError
            If no scan is known.
        """
        return self._scanned().sample_rotation().T

    def _scanned(self) -> RockingScan:
        if self.scan is None:
            raise MeasurementError("Of the rocking scan nothing is known: give the geometry a beamline and angles.")
        return self.scan


def _direction(axis: str) -> NDArray[np.float64]:
    return np.eye(3)["xyz".index(axis[0])] * (1 if axis[1] == "+" else -1)


def _turned(circles: dict[str, str], angles: dict[str, float]) -> NDArray[np.float64]:
    turned = np.eye(3)
    for name, axis in circles.items():
        angle = np.deg2rad(angles.get(name, 0.0))
        across = np.cross(np.eye(3), _direction(axis))  # times a vector, the axis' product with it
        turned = turned @ (np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * across @ across)
    return turned


def _beamline(name: str) -> str | None:
    return {known.casefold(): known for known in BEAMLINES}.get(name.casefold())


def _words(text: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise MeasurementError(
                f"The geometry has {part.strip()!r} where NAME=VALUE is expected, such as distance=0.5."
            )
        if name.lower() in words:
            raise MeasurementError(f"The geometry says {name.lower()} twice. Leave one of them out.")
        words[name.lower()] = value
    return words


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MeasurementError(f"The geometry's {name}={text} is no number.") from None
