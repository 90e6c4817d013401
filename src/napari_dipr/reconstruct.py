"""A reconstruction from a measurement to its result, as it is asked for without a window."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_dipr.device import find_device, is_out_of_memory, release_memory
from napari_dipr.errors import FileError, SolverError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import SAMPLE, load_mask
from napari_dipr.io.record import read_record
from napari_dipr.networks.propose import propose, suited_shrinkwrap
from napari_dipr.networks.zoo import describe_model, fit, fitting_model, model_names
from napari_dipr.physics.symmetry import nmse
from napari_dipr.samples import field_window, sample
from napari_dipr.solvers.coherence import PartialCoherence
from napari_dipr.solvers.problem import Problem, State, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, run
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

    def carry_out(self, measurement: "Measurement", device: str, console: Console) -> "Carried":
        """Carry it out: where an accelerator's memory is full, on the CPU."""
        place = str(find_device(device))
        try:
            return self._on(measurement, place, console)
        except (RuntimeError, MemoryError) as error:  # torch has a kind of its own for CUDA alone
            if not is_out_of_memory(error):
                raise
            if place == "cpu":
                raise SolverError(f"The memory is full ({error}). Crop the measurement or take one frame.") from error
        console.print(f"  the memory of {place} is full: again on the cpu")
        release_memory()
        return self._on(measurement, "cpu", console)

    def _on(self, measurement: "Measurement", device: str, console: Console) -> "Carried":
        problem = Problem.of(
            measurement,
            positive=self.positive,
            real=self.real,
            free=self.free,
            coherent=self.plan().coherence is None,
            device=device,
        )
        recipe = self.plan(problem)
        threshold = None
        if self.model is not None:
            proposal = propose(measurement, self.model, device=device)
            first, threshold = torch.from_numpy(proposal.object)[None], proposal.threshold
            start = start_from(problem, first, as_support(proposal.support, problem))
        else:
            start = self._start(problem)
        return Carried(_watched(problem, recipe, start, console), recipe, device, threshold)

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


def _watched(problem: Problem, recipe: Recipe, start: State, console: Console) -> Reconstruction:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    steps = run(problem, recipe, start)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=recipe.iterations)
        while True:
            try:
                at = next(steps)
            except StopIteration as end:
                return end.value
            words = f"{at.stage}  χ² {at.history[-1].chi2:.3g}" if at.history else at.stage
            progress.update(task, completed=at.iteration, total=at.total, description=escape(words))


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
