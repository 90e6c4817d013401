"""Projection algorithms, one step at a time: ER and HIO.

Each is a pydantic model of its options with a ``step``; the loop, shrink-wrap and stopping are in ``recipe``.
Forms are made of these options before anything needs torch, so this module does without importing it.
With ``y = P(x)`` the projection onto the measured magnitudes and S the support.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem, State


class Algorithm(BaseModel):
    """Options of an algorithm and its one step; the names of its fields are those of the recipe's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    searches: ClassVar[bool] = True
    """Whether it can leave a local minimum. Shrink-wrap's smoothing falls while algorithms search."""

    def step(self, problem: "Problem", state: "State") -> "State":
        """Return the next state."""
        raise NotImplementedError


class ER(Algorithm):
    """Error reduction: ``y`` in S, 0 outside. It only descends: use it to finish.

    References
    ----------
    .. [1] J. R. Fienup, "Phase retrieval algorithms: a comparison", Appl. Opt. 21, 2758 (1982).
    """

    searches: ClassVar[bool] = False
    name: Literal["er"] = "er"

    def step(self, problem: "Problem", state: "State") -> "State":
        """Return the next state; two transforms."""
        y = problem.project_magnitude(state.object)
        return state.advance(problem.project_object(y, state.support), ffts=2)


class HIO(Algorithm):
    """Hybrid input–output: ``y`` in S, ``x − βy`` outside (and, where positive, also where ``y < 0``).

    References
    ----------
    .. [1] J. R. Fienup, Appl. Opt. 21, 2758 (1982).
    """

    name: Literal["hio"] = "hio"
    beta: float = Field(0.9, gt=0, le=2, description="feedback of what lies outside the support (0…2, usually 0.9)")

    def step(self, problem: "Problem", state: "State") -> "State":
        """Return the next state; two transforms."""
        y = problem.project_magnitude(state.object)
        outside = problem.breaks_constraint(y, state.support)
        if problem.positive:
            y = y.real.to(y.dtype)
        return state.advance((state.object - self.beta * y).where(outside, y), ffts=2)
