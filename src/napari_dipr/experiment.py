"""An experiment on an object that is known: what a detector would count, to try it out before the beamtime.

In this order: the object, in the middle of a wider grid, is transformed; partial coherence blurs the intensities; the
photons are shared out among the pixels, and a background comes to them; all are counted, with Poisson noise; and what
the detector does not see is marked as unmeasured: saturated pixels, those behind the beam stop, in the gaps between the
detector's modules, and dead ones.

Of a volume the last two axes are the detector's rows and columns: gaps and dead pixels are the same in each of its
frames. A beam stop hides a ball of it, as where a volume is put together from an object's turns.
"""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from scipy import ndimage

from napari_dipr.errors import MeasurementError
from napari_dipr.measurement import Measurement
from napari_dipr.physics.axes import along, central, from_middle
from napari_dipr.settings import Settings

# Beyond it a pixel's count would not fit into 64 bits, and noise would be far below float32's rounding.
MOST_PHOTONS = 1e18
Ratio = Annotated[float, Field(ge=2, le=16)]
Sigma = Annotated[float, Field(ge=0, le=16)]
Side = Annotated[int, Field(ge=1, le=100_000)]
Index = Annotated[int, Field(ge=0)]


class Gaps(BaseModel):
    """The gaps between a detector's modules, all of which are equal.

    Attributes
    ----------
    module, width
        Pixels of a module, and of the gap to the next, by rows and columns.
    beam
        Pixel of its module that zero frequency is on; None for the module's middle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    module: tuple[Side, Side]
    width: tuple[Index, Index]
    beam: tuple[Index, Index] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """Read what a person wrote: ``256x256+4``, ``195x487+17x7``, ``256+4@20,30``."""
        if not isinstance(given, str):
            return given
        found = re.fullmatch(r"(\d+)(?:x(\d+))?\+(\d+)(?:x(\d+))?(?:@(\d+),(\d+))?", re.sub(r"\s", "", given.lower()))
        if found is None:
            raise ValueError(
                f"{given!r} is no detector: write ROWSxCOLUMNS of a module and the gap's width, 195x487+17x7 or 256+4, "
                "and after an @ the module's pixel that the beam is on, 256+4@20,30"
            )
        rows, columns, high, wide, *beam = found.groups()
        return {
            "module": (rows, columns or rows),
            "width": (high, wide or high),
            "beam": None if beam[0] is None else beam,
        }

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.beam is not None and any(b >= n for b, n in zip(self.beam, self.module, strict=True)):
            raise ValueError(f"the beam is on pixel {self.beam} of modules that have {self.module}")
        return self

    def __str__(self) -> str:
        """Write it as it is read."""
        words = f"{self.module[0]}x{self.module[1]}+{self.width[0]}x{self.width[1]}"
        return words if self.beam is None else f"{words}@{self.beam[0]},{self.beam[1]}"

    def on(self, grid: Sequence[int]) -> NDArray[np.bool_]:
        """Return where the gaps are on the rows and columns of a ``grid``."""
        gaps = np.zeros(tuple(grid[-2:]), bool)
        beam = self.beam or tuple(n // 2 for n in self.module)
        for axis, (n, b, side, width) in enumerate(zip(gaps.shape, beam, self.module, self.width, strict=True)):
            gaps |= along((np.arange(n) - n // 2 + b) % (side + width) >= side, axis, 2)
        return gaps


class Experiment(Settings):
    """How an object is measured. Settings may be text as people write it, such as ``"2, 3"`` for two axes."""

    unfit = "Such an experiment cannot be simulated"

    oversampling: tuple[Ratio, ...] = Field(
        (2.0,), description="side of the pattern over that of the object: one number, or one by axis"
    )
    photons: float | None = Field(
        None, gt=0, le=MOST_PHOTONS, description="in the whole pattern, behind the beam stop too; not given: no noise"
    )
    coherence: tuple[Sigma, ...] = Field(
        (0.0,),
        description="σ of the Gaussian that partly coherent light blurs the pattern with, pixels of the detector: one "
        "number, or one by axis; 0: fully coherent",
    )
    background: float = Field(0, ge=0, le=1e12, description="counts a pixel that come to those of the object")
    subtract: bool = Field(False, description="subtract the background's mean again")
    beamstop: float = Field(0, ge=0, description="radius of the beam stop, pixels; 0: none")
    arm: float = Field(0, ge=0, description="width of the arm that holds the beam stop from above, pixels; 0: none")
    gaps: Gaps | None = Field(
        None, description="detector's modules, ROWSxCOLUMNS+GAP[@ROW,COLUMN of the beam], such as 195x487+17x7"
    )
    saturation: float | None = Field(
        None, gt=0, description="counts from which on a pixel is saturated; not given: none is"
    )
    dead: float = Field(0, ge=0, le=0.5, description="share of the detector's pixels that are dead")
    seed: int = Field(0, ge=0, description="of the noise and of the dead pixels")

    @field_validator("oversampling", "coherence", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if isinstance(given, str):
            return tuple(given.replace("×", ",").split(","))
        return given if isinstance(given, list | tuple) else (given,)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        counted = [name for name in ("background", "saturation") if getattr(self, name)]
        if counted and self.photons is None:
            raise ValueError(f"the {counted[0]} is in counts: say how many photons there are, too")
        if self.arm and not self.beamstop:
            raise ValueError("an arm holds a beam stop: give its radius, too")
        return self

    def measure(
        self, picture: ArrayLike, name: str = "simulated", **known: Any
    ) -> tuple[Measurement, NDArray[np.complex64]]:
        """Measure an object.

        Parameters
        ----------
        picture
            The object, 2-D or 3-D, real or complex.
        name
            Of the measurement.
        **known
            The measurement's other attributes, such as its geometry.

        Returns
        -------
        measurement, truth : tuple
            The truth is the object in the middle of the measurement's grid, complex64, such that the squares of its
            transform are the photons that are expected of it.

        Raises
        ------
        MeasurementError
            If the picture is not one, the settings do not fit it, or nothing would be measured.
        """
        array = np.asarray(picture)
        if array.dtype.kind not in "buifc" or array.ndim not in (2, 3) or not np.isfinite(array).all():
            raise MeasurementError(
                f"An object is a 2-D or 3-D array of finite numbers, this is {array.dtype} of shape {array.shape}."
            )
        if array.ndim == 3 and array.shape[-1] in (3, 4):
            raise MeasurementError(f"This seems to be a colour picture, of shape {array.shape}. Make it grey first.")
        if not array.any():
            raise MeasurementError(f"The object of {array.shape} pixels is zero everywhere. Choose another picture.")
        ratios = _by_axis("oversampling", self.oversampling, array.ndim)
        # Even, and never sampled less than asked for; a ratio's last digits are no reason for two pixels more.
        grid = tuple(2 * math.ceil(n * ratio / 2 - 1e-9) for n, ratio in zip(array.shape, ratios, strict=True))
        sampled = " × ".join(f"{ratio:g}" for ratio in self.oversampling)
        step = f"simulated from an object of {array.shape} pixels, oversampling {sampled}"
        try:
            truth = np.zeros(grid, np.complex64)
            with np.errstate(over="ignore"):
                truth[central(grid, array.shape)] = array
            return self.expose(truth, step, name=name, **known)
        except MemoryError as error:
            raise MeasurementError(
                f"A pattern of {grid} pixels does not fit into memory. Oversample less, or bin the object."
            ) from error

    def expose(
        self, x: NDArray[np.complexfloating], step: str, **known: Any
    ) -> tuple[Measurement, NDArray[np.complex64]]:
        """Measure an object that is in the middle of its whole grid already, as :meth:`measure` does.

        Parameters
        ----------
        x
            ``[*grid]``.
        step
            Where it comes from, for the history.
        **known
            The measurement's other attributes.

        Raises
        ------
        MeasurementError
            If it is not finite or zero, the settings do not fit it, or nothing would be measured.
        """
        if not np.isfinite(x).all() or not x.any():
            raise MeasurementError(
                "The object's values do not fit into complex64: they must be below 3e38, and not all be below 1e-45. "
                "Scale them."
            )
        sigmas = _by_axis("coherence", self.coherence, x.ndim)
        history, scale = [step], 1.0
        intensities = np.abs(np.fft.fftshift(np.fft.fftn(x.astype(np.complex128)))) ** 2
        if any(sigmas):
            # Its transform is the autocorrelation, which the degree of coherence falls off with.
            blurred = np.fft.ifftn(ndimage.fourier_gaussian(np.fft.fftn(intensities), sigmas)).real
            intensities = blurred.clip(0)
            width = " × ".join(f"{sigma:g}" for sigma in sigmas)
            history.append(f"blurred by partly coherent light, a Gaussian of σ {width} pixels")
        if self.photons is not None:
            # Intensities become counts, and the truth keeps its scale to them.
            scale = self.photons / intensities.sum()
            expected = intensities * scale + self.background
            intensities = np.random.default_rng(self.seed).poisson(expected).astype(np.float64)
            known["photons_per_unit"] = 1.0
            besides = f" and of a background of {self.background:g} a pixel" if self.background else ""
            history.append(f"Poisson noise of {self.photons:g} photons in all{besides}, seed {self.seed}")
        measured = np.ones(x.shape, bool)
        for reason, hidden in self._hidden(intensities).items():
            measured &= ~hidden
            history.append(f"left out {int(hidden.sum())} pixels: {reason}")
        if not intensities[measured].any():
            raise MeasurementError(
                f"Nothing would be measured: of {x.size} pixels {int((~measured).sum())} are left out, and the others "
                "count no photon. Give more photons, or hide less."
            )
        measurement = Measurement.of(
            intensities, zero_frequency="centre", measured=measured, history=tuple(history), **known
        )
        if self.subtract and self.background:
            measurement = measurement.without_background(self.background)
        return measurement, (x * np.sqrt(scale)).astype(np.complex64)

    def _hidden(self, intensities: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
        """Return the pixels that are not measured, by reason."""
        grid, found = intensities.shape, {}
        if self.saturation is not None:
            found["saturated"] = intensities >= self.saturation
        if self.beamstop:
            found[f"beam stop of {self.beamstop:g} pixels radius"] = from_middle(grid) < self.beamstop
        if self.arm:
            if len(grid) != 2:
                raise MeasurementError("An arm holds the beam stop of a pattern; a volume has none. Leave it out.")
            rows, columns = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in grid)]
            across = (columns >= -self.arm / 2) & (columns < self.arm / 2)
            found[f"arm of the beam stop, {self.arm:g} pixels wide"] = (rows < 0) & across
        if self.gaps is not None:
            found[f"gap, of modules {self.gaps}"] = np.broadcast_to(self.gaps.on(grid), grid)
        if self.dead:
            # Another stream than the noise, which stays what it is.
            dead = np.random.default_rng([self.seed, 1]).random(grid[-2:]) < self.dead
            found["dead"] = np.broadcast_to(dead, grid)
        return {reason: hidden for reason, hidden in found.items() if hidden.any()}


def simulate(
    picture: ArrayLike, *, name: str = "simulated", **settings: Any
) -> tuple[Measurement, NDArray[np.complex64]]:
    """Measure an object with settings of an :class:`Experiment`, see :meth:`Experiment.measure`."""
    return Experiment.of(**settings).measure(picture, name)


def with_phase(amplitude: ArrayLike, phase: ArrayLike, span: float | None = None) -> NDArray[np.complex64]:
    """Make a complex object of two pictures.

    Parameters
    ----------
    amplitude, phase
        Real, of one shape.
    span
        Radians between the phase's smallest and largest value, 0 between them; None where its values are radians.

    Raises
    ------
    MeasurementError
        If they do not fit each other, or the phase's values can be no radians.
    """
    a, p = np.asarray(amplitude), np.asarray(phase)
    if a.shape != p.shape:
        raise MeasurementError(f"The phase has the shape {p.shape}, the amplitude {a.shape}. They must be equal.")
    if a.dtype.kind not in "buif" or p.dtype.kind not in "buif" or not np.isfinite(p).all():
        raise MeasurementError(f"Amplitude and phase are real, finite numbers, these are {a.dtype} and {p.dtype}.")
    if span is None and p.dtype.kind != "f":
        raise MeasurementError(
            f"The phase is made of {p.dtype}, which are no radians. Say how many radians its values span."
        )
    angle = p.astype(np.float64)
    if span is not None:
        low, high = angle.min(), angle.max()
        angle = (angle - (low + high) / 2) * (span / ((high - low) or 1))
    return (a * np.exp(1j * angle)).astype(np.complex64)


def _by_axis(name: str, values: tuple[float, ...], ndim: int) -> tuple[float, ...]:
    if len(values) not in (1, ndim):
        raise MeasurementError(f"The {name} has {len(values)} numbers, the object {ndim} axes. Give one, or {ndim}.")
    return values * ndim if len(values) == 1 else values
