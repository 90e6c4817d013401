"""Where in its recipe a run is: beside the state, all that it takes to go on as if it had never been cut off."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dipr.solvers.recipe import Recipe


@dataclass(frozen=True)
class Record:
    """One row of the error history, means over the batch; None for what is not known.

    See :class:`~napari_dipr.solvers.problem.Errors`; those named ``free`` are of the pixels that are held back.
    ``stage`` is the algorithm's name, ``edits`` how often a person had changed the support before.
    """

    iteration: int
    chi2: float
    r_factor: float
    support_pixels: float
    likelihood: float | None = None
    free_chi2: float | None = None
    free_r_factor: float | None = None
    free_likelihood: float | None = None
    stage: str = ""
    edits: int = 0


@dataclass(frozen=True, eq=False)
class Position:
    """Where in its recipe a run is.

    Attributes
    ----------
    first
        The support that the run began with, boolean ``[batch, *grid]``: shrink-wrap's growth is a multiple of it.
    stage, iterations
        Which stage, from 0, and the iterations done in it.
    skipped, ended
        Iterations that stages before it left undone because they settled, and what was said of each.
    settled
        Why this stage ends here; None where it goes on.
    best, idle
        The smallest χ² of the stage's looks, and the iterations since then.
    beta
        What a person set; None: the recipe's.
    edits
        How often a person changed the support.
    history
        The error history so far.
    seconds
        That the run took so far.
    """

    first: "Tensor" = field(repr=False)
    stage: int = 0
    iterations: int = 0
    skipped: int = 0
    ended: tuple[str, ...] = ()
    settled: str | None = None
    best: float = math.inf
    idle: int = 0
    beta: float | None = None
    edits: int = 0
    history: tuple[Record, ...] = field(default=(), repr=False)
    seconds: float = 0.0

    def done(self, recipe: "Recipe") -> int:
        """Return the iterations done in all."""
        return sum(stage.iterations for stage in recipe.stages[: self.stage]) + self.iterations - self.skipped
