"""What a simulated experiment gives, in figures to plan a real one by."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dipr.experiment import Experiment
from napari_dipr.measurement import Measurement
from napari_dipr.physics.shells import first_below, half_period, shells, sums_in

BANDS = 8


class Band(NamedTuple):
    """A range of frequencies, all of one width.

    Attributes
    ----------
    resolution
        Half a period of the frequency that it ends at, in the object's pixels or nm.
    photons
        That are expected of the object alone, a pixel in the mean.
    measured
        Share of the pixels that is measured.
    counted
        Share of the measured pixels that are above 0.
    """

    resolution: float
    photons: float
    measured: float
    counted: float


@dataclass(frozen=True)
class Exposure:
    """What an experiment gives.

    Attributes
    ----------
    pixels, unmeasured
        How many the pattern has, and of these were not measured.
    unit
        Of resolutions: ``nm`` where the geometry is known, else ``px``, the object's pixels.
    brightest, counted
        Of the measured pixels: the largest value, and how many are above 0, which is one photon or more, or more than
        the background where that was subtracted. None where the photons are not said, and so are the others.
    resolution
        Half a period of the frequency up to which the object alone gives a photon a pixel and more, in the mean over a
        shell: that of the pattern's end where all do, infinite where none does.
    above_background
        The same where it gives more than the background.
    bands
        From zero frequency to the end of the longest axis.
    """

    pixels: int
    unmeasured: int
    unit: str
    brightest: float | None = None
    counted: int | None = None
    resolution: float | None = None
    above_background: float | None = None
    bands: tuple[Band, ...] = ()

    @classmethod
    def of(cls, experiment: Experiment, measurement: Measurement, truth: NDArray[np.complexfloating]) -> "Exposure":
        """Work it out from what :meth:`~napari_dipr.experiment.Experiment.measure` returns."""
        measured, basis = measurement.measured, measurement.voxel_basis
        known: dict[str, Any] = {
            "pixels": measured.size,
            "unmeasured": int((~measured).sum()),
            "unit": "px" if basis is None else "nm",
        }
        if experiment.photons is None:
            return cls(**known)
        counts = measurement.intensities > 0
        signal = np.abs(np.fft.fftn(truth.astype(np.complex128))) ** 2
        size, shell = shells(measurement.grid, basis)
        pixels, sums = sums_in(shell)
        frequency, mean = sums(size) / pixels, sums(signal) / pixels
        # Rings of zeros are no end: what counts is that nothing further out is above.
        outwards = np.maximum.accumulate(mean[::-1])[::-1]

        def reached(level: float) -> float | None:
            cutoff = first_below(frequency, outwards, level)
            return half_period(float(size[shell >= 0].max()) if cutoff is None else cutoff)

        level = experiment.background
        return cls(
            **known,
            brightest=float(measurement.intensities.max()),
            counted=int(counts.sum()),
            resolution=reached(1.0),
            above_background=reached(level) if level else None,
            bands=_bands(size, shell, signal, np.fft.ifftshift(measured), np.fft.ifftshift(counts)),
        )

    def __str__(self) -> str:
        """Say it in words, one line each."""
        lines = [f"{self.unmeasured} of {self.pixels} pixels are not measured ({self.unmeasured / self.pixels:.1%})"]
        if self.brightest is not None and self.counted is not None:
            seen = self.pixels - self.unmeasured
            lines += [
                f"the brightest has {self.brightest:.6g} counts; {self.counted} are above 0 ({self.counted / seen:.0%} "
                "of those measured)",
                f"a photon a pixel and more from the object {self._up_to(self.resolution)}",
            ]
        if self.above_background is not None:
            lines.append(f"more than the background {self._up_to(self.above_background)}")
        return "\n".join(lines)

    def _up_to(self, resolution: float | None) -> str:
        if resolution is None or np.isinf(resolution):
            return "nowhere, in the mean over a shell"
        return f"up to a half-period of {resolution:.3g} {self.unit}, in the mean over a shell"


def _bands(
    size: NDArray[np.float64],
    shell: NDArray[np.int64],
    signal: NDArray[np.float64],
    measured: NDArray[np.bool_],
    counts: NDArray[np.bool_],
) -> tuple[Band, ...]:
    band = np.where(shell < 0, -1, shell * BANDS // (shell.max() + 1))
    pixels, sums = sums_in(band)
    seen = sums(measured)
    ends = [half_period(float(size[band == number].max())) for number in np.unique(band[band >= 0])]
    columns = ends, sums(signal) / pixels, seen / pixels, sums(counts) / np.maximum(seen, 1)
    return tuple(Band(*map(float, row)) for row in zip(*columns, strict=True))
