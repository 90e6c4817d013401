"""A reconstruction from a measurement to its result, as it is asked for without a window."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_dipr.device import find_device, is_out_of_memory, release_memory
from napari_dipr.errors import FileError, SolverError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.checkpoint import Checkpoints, Claim
from napari_dipr.io.cutoff import INTERVAL
from napari_dipr.io.read import SAMPLE, load_mask
from napari_dipr.io.record import read_record
from napari_dipr.networks.propose import propose, suited_shrinkwrap
from napari_dipr.networks.zoo import describe_model, fit, fitting_model, model_names
from napari_dipr.physics.symmetry import nmse
from napari_dipr.samples import field_window, sample
from napari_dipr.solvers.coherence import PartialCoherence
from napari_dipr.solvers.problem import Problem, State, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Iterate, Reconstruction, run
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dipr.measurement import Measurement

AUTOCORRELATION = "autocorrelation"


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
    free
        Share of the pixels that is held back.
    model, support
        The network that proposes, or ``autocorrelation`` or a mask file; neither means the autocorrelation.
    seed
        Of a random start.
    """

    recipe: str
    iterations: int | None
    shrink_wrap: bool
    partial_coherence: bool
    positive: bool
    real: bool
    free: float
    model: str | None
    support: str | None
    seed: int

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

    def carry_out(
        self, measurement: "Measurement", device: str, console: Console, keeping: "Keeping | None" = None
    ) -> "Carried":
        """Carry it out: where an accelerator's memory is full, on the CPU.

        With ``keeping`` its state is kept on the way, and a run that was cut off is gone on with.
        """
        place = str(find_device(device))
        try:
            return self._on(measurement, place, console, keeping)
        except (RuntimeError, MemoryError) as error:  # torch has a kind of its own for CUDA alone
            if not is_out_of_memory(error):
                raise
            if place == "cpu":
                raise SolverError(f"The memory is full ({error}). Crop the measurement or take one frame.") from error
        console.print(f"  the memory of {place} is full: again on the cpu")
        release_memory()
        return self._on(measurement, "cpu", console, keeping)

    def _on(self, measurement: "Measurement", device: str, console: Console, keeping: "Keeping | None") -> "Carried":
        problem = Problem.of(
            measurement,
            positive=self.positive,
            real=self.real,
            free=self.free,
            coherent=self.plan().coherence is None,
            device=device,
        )
        kept = None if keeping is None or keeping.claim is None else keeping.claim.load(device)
        recipe = self.plan(problem) if kept is None else kept.recipe
        threshold, at = None, None
        if kept is not None:
            start, at, threshold = kept.state, kept.position, kept.more.get("threshold")
        elif self.model is not None:
            proposal = propose(measurement, self.model, device=device)
            first, threshold = torch.from_numpy(proposal.object)[None], proposal.threshold
            start = start_from(problem, first, as_support(proposal.support, problem))
        else:
            start = self._start(problem)
        checkpoints = None if keeping is None else keeping.begin(measurement, recipe, console)
        steps = run(problem, recipe, start, at=at)
        return Carried(_watched(steps, recipe, console, checkpoints, threshold), recipe, device, threshold)

    def _start(self, problem: Problem) -> State:
        if self.support in (None, AUTOCORRELATION):
            return random_start(problem, autocorrelation_support(problem), self.seed)
        return random_start(problem, as_support(load_mask(str(self.support)), problem), self.seed)


class Carried(NamedTuple):
    """What came of a request.

    Attributes
    ----------
    result, recipe, device
        The outcome, how it was come by, and the device it was on.
    threshold
        Of the network's support, share of the largest amplitude; None where no network proposed.
    """

    result: Reconstruction
    recipe: Recipe
    device: str
    threshold: float | None


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

    def begin(self, measurement: "Measurement", recipe: Recipe, console: Console) -> Checkpoints:
        """Return what keeps a run; where it begins again on another device, the same."""
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(
                measurement,
                recipe,
                self.settings,
                interval=self.interval,
                tell=lambda words: console.print(f"  {escape(words)}"),
                claim=self.claim,
            )
        return self._checkpoints

    def end(self) -> None:
        """Delete what was kept: the result is safe."""
        if self._checkpoints is not None:
            self._checkpoints.end()


def _watched(
    steps: Generator[Iterate, Any, Reconstruction],
    recipe: Recipe,
    console: Console,
    checkpoints: Checkpoints | None,
    threshold: float | None,
) -> Reconstruction:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    at: Iterate | None = None

    def more() -> dict[str, Any]:
        return {"threshold": threshold}

    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=recipe.iterations)
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


def known_object(
    input: str, file: Path | None, measurement: "Measurement"
) -> "tuple[NDArray[np.generic] | None, NDArray[np.bool_] | None, str]":
    """Return the true object where it is known, the window it is in (None: anywhere), and a remark or nothing.

    Raises
    ------
    FileError
        If the file does not hold one for this measurement.
    """
    if file is not None:
        try:
            known: NDArray[np.generic] = read_record(file).object
        except FileError:  # an array, then
            known = np.squeeze(load_array(file).array)
        if known.shape != measurement.grid or not np.isfinite(known).all() or not known.any():
            raise FileError(
                f"{file.name} is no truth for this measurement: it must have the shape {measurement.grid}, this is "
                f"{known.shape}, and finite values that are not all zero."
            )
        return known, None, ""
    if not input.startswith(SAMPLE):
        return None, None, ""
    _, known = sample(input.removeprefix(SAMPLE))
    if known.shape != measurement.grid:
        return None, None, "cropped, the sample has another pixel size than its truth: not compared"
    return known, field_window(), ""


def compared(
    estimate: "NDArray[np.generic]", truth: "NDArray[np.generic]", window: "NDArray[np.bool_] | None"
) -> float:
    """Return the symmetry-adjusted error of a ``[*grid]`` object."""
    inside = None if window is None else torch.from_numpy(window)
    return float(nmse(torch.from_numpy(estimate)[None], torch.from_numpy(truth)[None], inside)[0])
