"""What is to be solved, and how far a solver has come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_dipr.errors import MeasurementError, SupportError
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import backward_unscaled, batchwise, coherence_of, forward, grid_dims, mirrored
from napari_dipr.solvers import magnitudes
from napari_dipr.solvers.free import FreePixels
from napari_dipr.solvers.passes import impose_magnitude, misfits

# A complex object has two unknowns a pixel inside, the pattern one number a pixel: half the grid is the most that the
# counting of equations allows (an oversampling ratio of 2 in all).
MAX_FRACTION = 0.5
# Of a blurred pattern's brightest pixel: transforms round by about as much.
BLUR_FLOOR = 1e-8


@dataclass(frozen=True, eq=False)
class Problem:
    """Measured amplitudes and what is known of the object; batch first.

    Attributes
    ----------
    amplitudes
        ``[batch, *spectrum]`` real, zero frequency at the corner; set to 0 where nothing was measured. The spectrum is
        the grid, or its half (see :meth:`halved`).
    measured
        Boolean, ``[*spectrum]`` or ``[batch, *spectrum]``, True where ``amplitudes`` counts; None where all of it does.
    positive
        Whether the object is known to be real and not negative.
    real
        Whether it is known to be real; what is positive is.
    photons
        Photons that one unit of intensity stands for; None where it is not known.
    free
        Pixels that are held back to judge by, see :meth:`holding_out`.
    coherence
        Degree of coherence between points of the object, by their distance (see
        :mod:`~napari_dipr.solvers.coherence`); None where the light is fully coherent.
    whole
        The grid of the object, where the spectrum is its half.
    """

    amplitudes: Tensor
    measured: Tensor | None = None
    positive: bool = False
    real: bool = False
    photons: float | None = None
    free: FreePixels | None = None
    coherence: Tensor | None = field(default=None, repr=False)
    whole: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        # Starts, errors and autocorrelation sum over the whole grid: what was not measured must not enter.
        if self.measured is not None:
            object.__setattr__(self, "amplitudes", torch.where(self.measured, self.amplitudes, 0))
        if self.positive:
            object.__setattr__(self, "real", True)

    @classmethod
    def of(
        cls,
        measurements: Measurement | Sequence[Measurement],
        *,
        positive: bool = False,
        real: bool = False,
        free: float = 0.0,
        coherent: bool = True,
        device: torch.device | str = "cpu",
    ) -> "Problem":
        """Build the problem of one measurement, or of several of one shape as a batch.

        Parameters
        ----------
        measurements
            All of one shape.
        positive, real
            What is known of the object. Its spectrum is halved then.
        free
            Share of the pixels to hold back; 0 for none.
        coherent
            Whether the light is; where it may not be, the spectrum is not halved.
        device
            Where to put it.

        Raises
        ------
        MeasurementError
            If their shapes differ, or there is none; or as :meth:`halved` and :meth:`holding_out` do.
        """
        batch = [measurements] if isinstance(measurements, Measurement) else list(measurements)
        if len({m.grid for m in batch}) != 1:
            shapes = ", ".join(str(m.grid) for m in batch) or "none"
            raise MeasurementError(f"A batch is made of measurements of one shape, these have: {shapes}.")
        amplitudes = torch.from_numpy(np.stack([m.cornered_amplitudes() for m in batch]))
        measured = torch.from_numpy(np.stack([m.cornered_measured() for m in batch]))
        mask = None if bool(measured.all()) else measured.to(device)
        units = {m.photons_per_unit for m in batch}
        photons = units.pop() if len(units) == 1 else None
        problem = cls(amplitudes.to(device), mask, positive, real, photons)
        if problem.real and coherent:
            problem = problem.halved()
        return problem.holding_out(free) if free else problem

    def halved(self) -> "Problem":
        """Return the problem of a real object: half the spectrum of Friedel-averaged data, about half the work.

        The far field of a real object is the same at q and −q but for its phase's sign, so the intensities there are
        averaged, or taken from the one that was measured.

        Raises
        ------
        MeasurementError
            If the pattern is symmetric about a point that is not its zero frequency.
        """
        if self.whole:
            return self
        if self.free is not None:
            raise ValueError("Halve a problem before pixels of it are held back: they are those of one spectrum.")
        a, grid = self.amplitudes, self.grid
        known = torch.ones_like(a, dtype=torch.bool) if self.measured is None else self.measured.expand(a.shape)
        # Where −q was not measured, q has nothing to be compared with.
        offset = _off_centre(a * mirrored(known))
        if any(abs(s) > 0.5 for s in offset):
            raise MeasurementError(
                f"The pattern is symmetric about a point ({', '.join(f'{s:+g}' for s in offset)}) pixels from its zero "
                "frequency. A real object needs it centred: crop it around its centre, or leave the object complex."
            )
        both = known.to(a.dtype) + mirrored(known).to(a.dtype)
        power = (a.square() + mirrored(a).square()) / both.clamp_min(1)
        half = (..., slice(grid[-1] // 2 + 1))
        mask = None if self.measured is None else (both > 0)[half].contiguous()
        return replace(self, amplitudes=power.sqrt()[half].contiguous(), measured=mask, real=True, whole=grid)

    def holding_out(self, fraction: float = 0.05, radius: int = 3, seed: int = 0) -> "Problem":
        """Return the problem with some pixels taken out of what is measured, to judge the result by.

        See :meth:`napari_dipr.solvers.free.FreePixels.choose` for the arguments.
        """
        free = FreePixels.choose(self.amplitudes, self.measured, self.whole, fraction, radius, seed)
        held = torch.zeros(math.prod(self.amplitudes.shape[1:]), dtype=torch.bool, device=self.device)
        held[free.index] = True
        held = held.reshape(self.amplitudes.shape[1:])
        rest = held.logical_not()
        measured = rest if self.measured is None else self.measured & rest
        return replace(self, measured=measured, free=free)

    @property
    def device(self) -> torch.device:
        """The device that all of it is on."""
        return self.amplitudes.device

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of one object."""
        return self.whole or tuple(self.amplitudes.shape[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the objects, ``(batch, *grid)``."""
        return (len(self.amplitudes), *self.grid)

    @property
    def dtype(self) -> torch.dtype:
        """What the objects are made of: real numbers where the spectrum is halved, complex ones elsewhere."""
        return self.amplitudes.dtype if self.whole else torch.promote_types(self.amplitudes.dtype, torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        """Propagate objects to the far field: their spectrum, or its half."""
        return torch.fft.rfftn(x, dim=grid_dims(x)) if self.whole else forward(x)

    def backward(self, f: Tensor) -> Tensor:
        """Invert :meth:`forward`."""
        return self._backward_unscaled(f).mul_(self._scale)

    def _backward_unscaled(self, f: Tensor) -> Tensor:
        return (
            torch.fft.irfftn(f, s=self.whole, dim=grid_dims(f), norm="forward") if self.whole else backward_unscaled(f)
        )

    @property
    def _scale(self) -> float:
        return 1 / math.prod(self.grid)

    def blurred(self, f: Tensor) -> Tensor | None:
        """Return the intensities that partially coherent light has where coherent light has ``|f|²``; None if it is."""
        if self.coherence is None:
            return None
        return self.blur(f.abs().square_())

    def blur(self, power: Tensor) -> Tensor:
        """Convolve a pattern ``[batch, *grid]`` as partial coherence does; what is coherent stays."""
        if self.coherence is None:
            return power
        dims = grid_dims(power)
        return torch.fft.irfftn(torch.fft.rfftn(power, dim=dims).mul_(self.coherence), s=self.grid, dim=dims)

    def project_magnitude(self, x: Tensor) -> Tensor:
        """Project objects onto the measured magnitudes, leaving unmeasured pixels free; a tensor of its own.

        With partial coherence the factor is ``A/√(|F|² ⊗ PSF)``.
        """
        if (y := magnitudes.project_magnitude(self, x)) is not None:
            return y
        f = self.forward(x)
        model = self.blurred(f)
        if model is not None:  # below what rounding leaves there is no intensity to divide by
            model = torch.maximum(model, BLUR_FLOOR * model.amax(grid_dims(f), True))
        f = impose_magnitude(f, self.amplitudes, self.measured, model, scale=self._scale)
        return self._backward_unscaled(f)

    @cached_property
    def by_columns(self) -> tuple[Tensor, Tensor | None]:
        """Amplitudes and what is measured as ``[batch or 1, columns, n]``, n the grid's first side."""
        n, columns = self.amplitudes.shape[1], self.amplitudes[0, 0].numel()
        laid_out = [
            None if values is None else values.reshape(-1, n, columns).transpose(1, 2).contiguous()
            for values in (self.amplitudes, self.measured)
        ]
        assert laid_out[0] is not None
        return laid_out[0], laid_out[1]

    @property
    def projection_ffts(self) -> int:
        """Transforms of a projection onto the magnitudes: the light's coherence asks for two more."""
        return 2 if self.coherence is None else 4

    def project_object(self, x: Tensor, support: Tensor) -> Tensor:
        """Project objects onto what is known of them: the support, and reality and positivity where they hold."""
        if self.real:
            x = (x.real.clamp_min(0) if self.positive else x.real).to(x.dtype)
        return x * support

    def seen_with(self, psf: Tensor | None) -> "Problem":
        """Return the problem in light whose coherence makes of a point of the pattern ``[batch, *window]``, or None."""
        return replace(self, coherence=None if psf is None else coherence_of(psf, self.grid))

    def errors(self, x: Tensor, f: Tensor | None = None) -> "Errors":
        """Return how well objects inside their support explain the measurement.

        One forward transform, or none where the far field ``f`` is at hand.
        """
        f = self.forward(x) if f is None else f
        model = self.blurred(f)
        sums = misfits(f, self.amplitudes, self.measured, model, photons=self.photons, weights=self.weights)
        power, size, pixels = self.norms
        square, absolute, deviance = sums.unbind(1)
        likelihood = None if self.photons is None else deviance / pixels
        free = None if self.free is None else self.free.errors(f, model, self.photons)
        return Errors(square / power, absolute / size, likelihood, free)

    @cached_property
    def weights(self) -> Tensor | None:
        """For how many pixels a column of the half-spectrum stands."""
        if self.whole is None:
            return None
        column = torch.arange(self.amplitudes.shape[-1], device=self.device)
        alone = (column == 0) | (2 * column == self.whole[-1])
        return torch.where(alone, 1.0, 2.0).to(self.amplitudes.dtype)

    @cached_property
    def norms(self) -> tuple[Tensor, Tensor, Tensor]:
        """``ΣA²``, ``ΣA`` and the number of measured pixels, per sample."""
        known = torch.ones_like(self.amplitudes) if self.measured is None else self.measured.to(self.amplitudes)
        sums = []
        for values in (self.amplitudes.square(), self.amplitudes, known.expand_as(self.amplitudes)):
            values = values if self.weights is None else values * self.weights
            sums.append(values.sum(grid_dims(values), dtype=_wide(values)))
        return sums[0], sums[1], sums[2]

    def scaled(self, x: Tensor) -> Tensor:
        """Bring objects to the measured energy."""
        # Compared on measured pixels alone: a beam stop may hide most of the object's energy.
        f = self.forward(x)
        power = f.abs().square_() if self.coherence is None else self.blurred(f)
        assert power is not None
        del f
        power = power if self.measured is None else torch.where(self.measured, power, 0)
        power = power if self.weights is None else power * self.weights
        have = power.sum(grid_dims(power), dtype=_wide(power))
        del power
        return x * batchwise((self.norms[0] / have.clamp_min(1e-30)).sqrt().to(x.real.dtype), x)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def _off_centre(amplitudes: Tensor) -> tuple[float, ...]:
    """Return how far from zero frequency the point lies that a pattern is most symmetric about, in pixels, at worst."""
    dims, grid = grid_dims(amplitudes), amplitudes.shape[1:]
    spectrum = torch.fft.rfftn(amplitudes, dim=dims)
    alike = torch.fft.irfftn(spectrum.square(), s=grid, dim=dims).flatten(1)
    offsets = []
    for where in alike.argmax(1).tolist():
        place = np.unravel_index(where, grid)
        offsets.append(tuple((int(s) - n if s > n // 2 else int(s)) / 2 for s, n in zip(place, grid, strict=True)))
    return max(offsets, key=lambda offset: max(abs(s) for s in offset))


@dataclass(frozen=True)
class Errors:
    """How well objects explain a measurement; ``[batch]`` each.

    Attributes
    ----------
    chi2, r_factor
        ``Σ(|F|−A)²/ΣA²`` and ``Σ||F|−A|/ΣA``.
    likelihood
        Negative Poisson log-likelihood per pixel, less that of the counts themselves; None where counts are not known.
    free
        The same of the pixels that were held back; None where none were.
    """

    chi2: Tensor
    r_factor: Tensor
    likelihood: Tensor | None = None
    free: "Errors | None" = None


@dataclass(frozen=True, eq=False)
class State:
    """How far a solver has come; a run goes on from it.

    Attributes
    ----------
    object
        The iterate, ``[batch, *grid]``. It may have values outside the support (HIO does).
    support
        Boolean ``[batch, *grid]``.
    pinned
        Boolean ``[batch, *grid]`` or None: pixels a person decided on. Shrink-wrap leaves them as they are.
    iteration, ffts
        Steps done, and transforms spent on each sample, forward and inverse ones counted alike.
    psf
        Where the light is partially coherent: what it makes of a point of the pattern, ``[batch, *window]``.
    memory
        What the algorithm keeps between steps (ALM: multipliers, curvature pairs). None: it starts afresh.
    by
        The algorithm that a run ended with, whose memory it is.
    """

    object: Tensor
    support: Tensor
    pinned: Tensor | None = None
    iteration: int = 0
    ffts: int = 0
    psf: Tensor | None = field(default=None, repr=False)
    memory: Any = field(default=None, repr=False)
    by: Any = field(default=None, repr=False)

    def advance(self, x: Tensor, ffts: int, memory: Any = None) -> "State":
        """Return the state one step on."""
        return replace(self, object=x, iteration=self.iteration + 1, ffts=self.ffts + ffts, memory=memory)


def as_support(support: ArrayLike, problem: Problem) -> Tensor:
    """Check a support and bring it to the problem's batch and device.

    Parameters
    ----------
    support
        ``[*grid]`` (the same for all samples) or ``[batch, *grid]``; non-zero inside. Labels are taken as one support.

    Raises
    ------
    SupportError
        If it is of another shape, empty, or so large that the measurement cannot determine the object.
    """
    inside = torch.as_tensor(np.asarray(support) != 0) if not isinstance(support, Tensor) else support != 0
    if tuple(inside.shape) not in (problem.grid, (1, *problem.grid), problem.shape):
        raise SupportError(
            f"The support has the shape {tuple(inside.shape)}, the measurement {problem.grid}. They must be equal."
        )
    inside = inside.to(problem.device).expand(problem.shape).contiguous()
    fractions = inside.sum(grid_dims(inside)) / math.prod(problem.grid)
    if not bool((fractions > 0).all()):
        raise SupportError("The support is empty. Paint it, propose one, or take the autocorrelation's.")
    if bool((fractions > MAX_FRACTION).any()):
        raise SupportError(
            f"The support fills {float(fractions.max()):.0%} of the grid, more than {MAX_FRACTION:.0%}: there are more "
            "unknowns than measured amplitudes. Erase some of it."
        )
    return inside


def random_start(problem: Problem, support: Tensor, seed: int | None = 0) -> State:
    """Start from the measured amplitudes with random Fourier phases, cut to the support.

    The draw is made on the CPU, so that a seed gives the same start on every device.
    """
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    phases = torch.rand(problem.amplitudes.shape, generator=generator).mul_(2 * torch.pi).to(problem.device)
    x = torch.polar(problem.amplitudes, phases.to(problem.amplitudes.dtype))
    del phases  # a start shall not need more memory at once than the steps do
    x = problem.backward(x)
    x = problem.project_object(x, support)
    return State(problem.scaled(x), support)


def start_from(problem: Problem, x: Tensor, support: Tensor) -> State:
    """Start from an object ``[batch, *grid]``, brought to the measurement's energy.

    Raises
    ------
    SupportError
        If nothing of the object is inside the support: solvers could not leave zero.
    """
    x = x.to(problem.device)
    x = (x.real if problem.whole else x).to(problem.dtype)
    x = problem.project_object(x.expand(problem.shape), support)
    if not bool((x != 0).flatten(1).any(1).all()):
        raise SupportError(
            "Nothing of the start is inside the support. Paint the support over the object, or start at random."
        )
    return State(problem.scaled(x), support)
