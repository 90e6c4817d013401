"""What is to be solved, and how far a solver has come."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_dipr.errors import MeasurementError, SupportError
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import batchwise, forward, grid_dims, magnitude_projection

# A complex object has two unknowns a pixel inside, the pattern one number a pixel: half the grid is the most that the
# counting of equations allows (an oversampling ratio of 2 in all).
MAX_FRACTION = 0.5


@dataclass(frozen=True, eq=False)
class Problem:
    """Measured amplitudes and what is known of the object; batch first.

    Attributes
    ----------
    amplitudes
        ``[batch, *grid]`` real, zero frequency at the corner; set to 0 where nothing was measured.
    measured
        Boolean, ``[*grid]`` or ``[batch, *grid]``, True where ``amplitudes`` counts; None where all of it does.
    positive
        Whether the object is known to be real and not negative.
    """

    amplitudes: Tensor
    measured: Tensor | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        # Starts, errors and autocorrelation sum over the whole grid: what was not measured must not enter.
        if self.measured is not None:
            object.__setattr__(self, "amplitudes", torch.where(self.measured, self.amplitudes, 0))

    @classmethod
    def of(
        cls,
        measurements: Measurement | Sequence[Measurement],
        *,
        positive: bool = False,
        device: torch.device | str = "cpu",
    ) -> "Problem":
        """Build the problem of one measurement, or of several of one shape as a batch.

        Raises
        ------
        MeasurementError
            If their shapes differ, or there is none.
        """
        batch = [measurements] if isinstance(measurements, Measurement) else list(measurements)
        if len({m.grid for m in batch}) != 1:
            shapes = ", ".join(str(m.grid) for m in batch) or "none"
            raise MeasurementError(f"A batch is made of measurements of one shape, these have: {shapes}.")
        amplitudes = torch.from_numpy(np.stack([m.cornered_amplitudes() for m in batch]))
        measured = torch.from_numpy(np.stack([m.cornered_measured() for m in batch]))
        mask = None if bool(measured.all()) else measured.to(device)
        return cls(amplitudes.to(device), mask, positive)

    @property
    def device(self) -> torch.device:
        """The device that all of it is on."""
        return self.amplitudes.device

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of one pattern."""
        return tuple(self.amplitudes.shape[1:])

    def project_magnitude(self, x: Tensor) -> Tensor:
        """Project objects onto the measured magnitudes, leaving unmeasured pixels free."""
        return magnitude_projection(x, self.amplitudes, self.measured)

    def project_object(self, x: Tensor, support: Tensor) -> Tensor:
        """Project objects onto what is known of them: the support, and positivity where it holds."""
        if self.positive:
            x = x.real.clamp_min(0).to(x.dtype)
        return x * support

    def breaks_constraint(self, x: Tensor, support: Tensor) -> Tensor:
        """Return where an object is not as it must be: outside the support or, where positive, below zero."""
        return ~support | (x.real < 0) if self.positive else ~support


@dataclass(frozen=True, eq=False)
class State:
    """How far a solver has come; a run goes on from it.

    Attributes
    ----------
    object
        The iterate, complex ``[batch, *grid]``. It may have values outside the support (HIO does).
    support
        Boolean ``[batch, *grid]``.
    pinned
        Boolean ``[batch, *grid]`` or None: pixels a person decided on. Shrink-wrap leaves them as they are.
    iteration, ffts
        Steps done, and transforms spent on each sample, forward and inverse ones counted alike.
    memory
        What the algorithm keeps between steps (ALM: multipliers, curvature pairs). None: it starts afresh.
    """

    object: Tensor
    support: Tensor
    pinned: Tensor | None = None
    iteration: int = 0
    ffts: int = 0
    memory: Any = field(default=None, repr=False)

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
    one_for_all, one_each = problem.grid, tuple(problem.amplitudes.shape)
    if tuple(inside.shape) not in (one_for_all, (1, *one_for_all), one_each):
        raise SupportError(
            f"The support has the shape {tuple(inside.shape)}, the measurement {problem.grid}. They must be equal."
        )
    inside = inside.to(problem.device).expand(problem.amplitudes.shape).contiguous()
    fractions = inside.float().mean(grid_dims(inside))
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
    phases = torch.rand(problem.amplitudes.shape, generator=generator).to(problem.device) * (2 * torch.pi)
    f = torch.polar(problem.amplitudes, phases.to(problem.amplitudes.dtype))
    x = problem.project_object(torch.fft.ifftn(f, dim=grid_dims(f)), support)
    return State(_scaled(problem, x), support)


def start_from(problem: Problem, x: Tensor, support: Tensor) -> State:
    """Start from an object ``[batch, *grid]``, brought to the measurement's energy.

    Raises
    ------
    SupportError
        If nothing of the object is inside the support: solvers could not leave zero.
    """
    x = x.to(device=problem.device, dtype=torch.promote_types(problem.amplitudes.dtype, torch.complex64))
    x = problem.project_object(x.expand(problem.amplitudes.shape), support)
    if not bool((x != 0).flatten(1).any(1).all()):
        raise SupportError(
            "Nothing of the start is inside the support. Paint the support over the object, or start at random."
        )
    return State(_scaled(problem, x), support)


def _scaled(problem: Problem, x: Tensor) -> Tensor:
    # Compared on measured pixels alone: a beam stop may hide most of the object's energy.
    f = forward(x) if problem.measured is None else torch.where(problem.measured, forward(x), 0)
    dims = grid_dims(x)
    wanted, have = problem.amplitudes.square().sum(dims), f.abs().square().sum(dims)
    return x * batchwise((wanted / have.clamp_min(1e-30)).sqrt(), x)
