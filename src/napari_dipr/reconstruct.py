"""A reconstruction from a measurement to its result, as it is asked for without a window."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from napari_dipr.device import find_device, is_out_of_memory, release_memory
from napari_dipr.errors import MeasurementError, SolverError
from napari_dipr.io.checkpoint import Checkpoints, Claim, Kept
from napari_dipr.io.cutoff import INTERVAL
from napari_dipr.io.kept_starts import KeptStarts
from napari_dipr.io.provenance import provenance
from napari_dipr.io.read import load_mask
from napari_dipr.io.record import Record
from napari_dipr.lattice import Lattice, crystal_of
from napari_dipr.networks.propose import propose, suited_shrinkwrap
from napari_dipr.networks.zoo import describe_model, fit, fitting_model, model_names
from napari_dipr.solvers.coherence import PartialCoherence
from napari_dipr.solvers.problem import Problem, State, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Iterate, Reconstruction, run
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

if TYPE_CHECKING:
    from napari_dipr.measurement import Measurement

AUTOCORRELATION = "autocorrelation"
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What is to be done with a measurement.

    Attributes
    ----------
    recipe, iterations
        Of :meth:`~napari_dipr.solvers.recipe.Recipe.parse`.
    shrink_wrap, partial_coherence
        Whether the support follows the object (as suits the model), and whether the light's coherence is estimated.
    positive, real
        What is known of the object.
    model, support
        The network that proposes, or ``autocorrelation`` or a mask file; neither means the autocorrelation.
    seed
        Of a random start.
    free
        Share of the pixels that is held back; None for what is usual, nothing of one start and :data:`FREE` of many.
    photons
        Per unit of intensity; None for what the measurement says.
    device
        ``auto``, or the name of one.
    """

    recipe: str
    iterations: int | None
    shrink_wrap: bool
    partial_coherence: bool
    positive: bool
    real: bool
    model: str | None
    support: str | None
    seed: int
    free: float | None = None
    photons: float | None = None
    device: str = "auto"

    @property
    def support_from(self) -> str:
        """Where the first support comes from, in words."""
        return f"model {self.model}" if self.model is not None else self.support or AUTOCORRELATION

    def check(self) -> None:
        """Find out what is wrong with it before anything is read.

        Raises
        ------
        DiprError
            If the recipe cannot be read, the device is not there, or the number of photons is not one.
        """
        find_device(self.device)
        self.plan()
        if self.photons is not None and not 0 < self.photons < float("inf"):
            raise MeasurementError(
                f"{self.photons:g} photons per unit of intensity were given; it must be a number above 0."
            )

    def suited(self, measurement: "Measurement") -> "tuple[Request, Measurement, str]":
        """Return what suits a measurement: a model where none and no support was asked for, the photons, and words."""
        if self.photons is not None:
            measurement = replace(measurement, photons_per_unit=self.photons)
        if self.model is not None or self.support is not None:
            return self, measurement, ""
        model, why = fitting(measurement)
        return replace(self, model=model), measurement, why

    def told(self, asked: "Asked") -> dict[str, Any]:
        """Return what of it belongs into the provenance of any result."""
        return {
            "support_from": self.support_from,
            "model": self.model,
            "threshold": asked.threshold,
            "device": str(asked.problem.device),
            "positive": self.positive,
            "real": self.real or self.positive,
            "free_share": self.free or 0.0,
        }

    def plan(self, problem: Problem | None = None) -> Recipe:
        """Return the recipe; without a problem, that of ``auto`` is what it does where nothing is known.

        Raises
        ------
        RecipeError
            If it cannot be read.
        """
        return Recipe.parse(
            self.recipe,
            iterations=self.iterations,
            shrinkwrap=suited_shrinkwrap(self.model) if self.shrink_wrap else None,
            coherence=PartialCoherence() if self.partial_coherence else None,
            problem=problem,
        )

    def carry_out(self, measurement: "Measurement", console: Console, keeping: "Keeping | None" = None) -> "Carried":
        """Carry it out: where an accelerator's memory is full, on the CPU.

        With ``keeping`` its state is kept on the way, and a run that was cut off is gone on with.
        """

        def say(words: str) -> None:
            console.print(f"  {escape(words)}")

        def on(device: str) -> Carried:
            kept = None if keeping is None else keeping.load(device)
            if kept is None:
                asked = self.asked(measurement, device)
                start, at = asked.start(), None
            else:
                problem, threshold = self._problem(measurement, device), kept.more["threshold"]
                asked = Asked(problem, kept.recipe, kept.position.first, None, threshold, self.seed)
                start, at = kept.state, kept.position
            checkpoints = None if keeping is None else keeping.begin(measurement, asked.recipe, say)
            steps = run(asked.problem, asked.recipe, start, at=at)
            return Carried(_watched(steps, asked, console, checkpoints), asked)

        return with_enough_memory(self.device, on, say)

    def asked(self, measurement: "Measurement", device: str) -> "Asked":
        """Return the problem, how to solve it, and from where."""
        problem = self._problem(measurement, device)
        recipe = self.plan(problem)
        if self.model is not None:
            proposal = propose(measurement, self.model, device=device)
            first, support = torch.from_numpy(proposal.object)[None], as_support(proposal.support, problem)
            return Asked(problem, recipe, support, first, proposal.threshold, self.seed)
        if self.support in (None, AUTOCORRELATION):
            support = autocorrelation_support(problem)
        else:
            support = as_support(load_mask(str(self.support)), problem)
        return Asked(problem, recipe, support, None, None, self.seed)

    def _problem(self, measurement: "Measurement", device: str) -> Problem:
        return Problem.of(
            measurement,
            positive=self.positive,
            real=self.real,
            free=self.free or 0.0,
            coherent=self.plan().coherence is None,
            device=device,
        )


class Asked(NamedTuple):
    """What a request asks for on a device.

    Attributes
    ----------
    problem, recipe, support
        What to solve, how, and the first support.
    object, threshold
        The network's object ``[1, *grid]`` and what made its support, share of the largest amplitude; None where none
        proposed.
    seed
        Of a random start.
    """

    problem: Problem
    recipe: Recipe
    support: Tensor
    object: Tensor | None
    threshold: float | None
    seed: int

    def start(self) -> State:
        """Return the start: the network's object, or phases at random."""
        if self.object is None:
            return random_start(self.problem, self.support, self.seed)
        return start_from(self.problem, self.object, self.support)


class Carried(NamedTuple):
    """What came of a request."""

    result: Reconstruction
    asked: Asked


class Outcome(NamedTuple):
    """A result as it is kept: its record, the crystal where it is one, and its figures."""

    record: Record
    crystal: Lattice | None
    figures: dict[str, Any]


def outcome(
    request: Request, measurement: "Measurement", carried: Carried, nmse: float | None = None, **more: Any
) -> Outcome:
    """Return what is kept of a request that was carried out; ``nmse`` and ``more`` are told in its provenance."""
    result, asked = carried
    x, inside = result.object[0].cpu().numpy(), result.support[0].cpu().numpy()
    told = provenance(
        measurement,
        asked.recipe,
        result,
        start="random phases" if request.model is None else "the network's object",
        seed=request.seed if request.model is None else None,
        nmse=nmse,
        **request.told(asked),
        **more,
    )
    voxel, last = measurement.voxel_size, result.history[-1]
    crystal = crystal_of(measurement, x, inside)
    figures = {
        "chi2": float(result.chi2[0]),
        "r_factor": float(result.r_factor[0]),
        "support_voxels": int(inside.sum()),
        "voxel_size_nm": voxel,
        "iterations": result.iterations,
        "seconds": round(result.seconds, 3),
        "nmse": nmse,
        "likelihood": last.likelihood,
        "free_chi2": last.free_chi2,
        "free_likelihood": last.free_likelihood,
        "support_from": request.support_from,
        "crystal": None if crystal is None else crystal.figures,
    }
    return Outcome(Record.of(x, inside, told, measurement=measurement, voxel_size_nm=voxel), crystal, figures)


def with_enough_memory(device: str, on: Callable[[str], T], say: Callable[[str], None]) -> T:
    """Do something on a device: where an accelerator's memory is full, on the CPU, and say so.

    Raises
    ------
    SolverError
        If the CPU's is full, too.
    """
    place = str(find_device(device))
    try:
        return on(place)
    except (RuntimeError, MemoryError) as error:  # torch has a kind of its own for CUDA alone
        if not is_out_of_memory(error):
            raise
        if place == "cpu":
            raise SolverError(f"The memory is full ({error}). Crop the measurement or take one frame.") from error
    say(f"the memory of {place} is full: again on the cpu")
    release_memory()
    return on("cpu")


class Keeping:
    """How the state of a run is kept, for one that is cut off.

    Parameters
    ----------
    settings
        What whoever goes on with it will need to know, plain JSON.
    interval
        Seconds of work that may be lost at most.
    claim
        The run that is gone on with; None for a new one.
    """

    def __init__(self, settings: dict[str, Any], interval: float = INTERVAL, claim: Claim | None = None) -> None:
        self.settings, self.interval, self.claim = settings, interval, claim
        self._checkpoints: Checkpoints | None = None
        self._starts: KeptStarts | None = None

    def load(self, device: str) -> Kept | None:
        """Return the state of the run that is gone on with, tensors on a device; None for a new one."""
        return None if self.claim is None else self.claim.load(device)

    def begin(self, measurement: "Measurement", recipe: Recipe, tell: Callable[[str], None]) -> Checkpoints:
        """Return what keeps a run; where it begins again on another device, the same."""
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(
                measurement,
                recipe,
                self.settings,
                interval=self.interval,
                tell=tell,
                claim=self.claim,
            )
        return self._checkpoints

    def begin_starts(self, measurement: "Measurement", count: int, tell: Callable[[str], None]) -> KeptStarts:
        """Return what keeps the starts of an ensemble; where it begins again on another device, the same."""
        if self._starts is None:
            self._starts = KeptStarts(measurement, self.settings, count, tell=tell, claim=self.claim)
        return self._starts

    @property
    def starts(self) -> int:
        """How many starts are kept."""
        return 0 if self._starts is None else self._starts.written

    def end(self) -> None:
        """Delete what was kept: the result is safe."""
        for kept in (self._checkpoints, self._starts):
            if kept is not None:
                kept.end()


def _watched(
    steps: Generator[Iterate, Any, Reconstruction],
    asked: Asked,
    console: Console,
    checkpoints: Checkpoints | None,
) -> Reconstruction:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    at: Iterate | None = None

    def more() -> dict[str, Any]:
        return {"threshold": asked.threshold}

    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=asked.recipe.iterations)
            while True:
                try:
                    at = next(steps)
                except StopIteration as end:
                    return end.value
                words = f"{at.stage}  χ² {at.history[-1].chi2:.3g}" if at.history else at.stage
                progress.update(task, completed=at.iteration, total=at.total, description=escape(words))
                if checkpoints is not None:
                    checkpoints.look(at, more)
    except KeyboardInterrupt:
        if checkpoints is not None and at is not None:
            checkpoints.keep(at, more)
            checkpoints.leave()
            if checkpoints.name is not None:
                console.print(f"  cut off at iteration {at.iteration}; to go on: napari-dipr resume {checkpoints.name}")
        raise
    except SolverError:  # going on would end in the same
        if checkpoints is not None:
            checkpoints.end()
        raise


def fitting(measurement: "Measurement") -> tuple[str | None, str]:
    """Return the model that fits a measurement, or None, and the choice in words."""
    model = fitting_model(measurement)
    if model is not None:
        return model, f"support and start from the model {model}: {fit(measurement, describe_model(model))}"
    there = ", ".join(model_names())
    why = f"none of the models ({there}) fits" if there else "there are no models"
    return None, f"support from the autocorrelation: {why}"
