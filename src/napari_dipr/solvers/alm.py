"""The augmented Lagrangian method (ALM): the constraint enters through multipliers, L-BFGS does the descent.

Minimise ``½‖Z − P(Z)‖²`` subject to Z in C, the objects inside the support (and real and ≥ 0 where that is known). With
multipliers λ and a penalty ρ the augmented Lagrangian is

    G(Z) = ½‖Z − P(Z)‖² + (ρ/2)·dist²(Z + λ/ρ, C),    ∇G = Z − P(Z) + ρ(V − P_C V),  V = Z + λ/ρ.

For the support alone this is the text-book ``(ρ/2)‖(1−S)Z + λ/ρ‖²``. Each step is one iteration of L-BFGS with one
evaluation of G and ∇G, which costs two transforms: as many as a step of HIO. After ``inner`` of them
``λ ← ρ(V − P_C V)``; ρ doubles, up to a bound, where the infeasibility has not halved in ``patience`` such updates.

Everything is per sample: curvature pairs, step lengths, penalties. A sample whose trial does not lower G enough stays
where it is and tries a shorter one in the next step, so that no sample of a batch waits, or pays, for another's line
search, and the device is never asked for a decision.

Inner problems solved far, and a penalty that doubles whenever one of them did not halve the infeasibility, are the
text-book's choice. Here they freeze the first local minimum: it is the multipliers' pull that leads out of it, as
HIO's feedback does. On the first 32 FashionMNIST test patterns with the exact support, seed 0, ``alm*600`` ends at a
mean nmse of .011 (28 below .01), ``alm(inner=80,penalty=0.01,patience=1)*600`` at .034 (17 below .01).

References
----------
.. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., algorithms 7.4 (L-BFGS) and 17.4 (augmented
   Lagrangian).
.. [2] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, sec. 2 and its [27], whose
   text was not at hand: this is the reading that agrees with the paper's figures.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from napari_dipr.physics.fourier import batchwise, grid_dims
from napari_dipr.solvers.problem import Problem, State
from napari_dipr.solvers.projections import Algorithm

# Sufficient decrease (Armijo) as a share of the slope.
ARMIJO = 1e-4
# In float32 G is known to about this share of itself: without the slack no step near the optimum would pass.
ROUNDING = 1e-6


@dataclass(frozen=True)
class _Pair:
    """One curvature pair of L-BFGS, real ``[batch, 2·pixels]`` each.

    ``weight`` is 1/⟨s, y⟩ per sample, and 0 where the pair does not count; ``scale`` is ⟨s, y⟩/⟨y, y⟩.
    """

    s: Tensor
    y: Tensor
    weight: Tensor
    scale: Tensor

    @classmethod
    def of(cls, s: Tensor, y: Tensor, wanted: Tensor) -> "_Pair":
        s, y = _real(s), _real(y)
        curvature, size = _dot(s, y), _dot(y, y)
        counts = wanted & (curvature > 1e-8 * (size * _dot(s, s)).sqrt())
        safe = curvature.where(counts, 1.0)
        return cls(s, y, torch.where(counts, 1 / safe, 0.0), safe / size.where(counts, 1.0))


@dataclass(frozen=True)
class _Memory:
    residual: Tensor  # Z − P(Z), which does not depend on λ and ρ
    multiplier: Tensor
    penalty: Tensor
    infeasibility: Tensor  # at the last look at the penalty
    pairs: tuple[_Pair, ...] = ()
    length: Tensor | None = None  # of the next trial, in units of the quasi-Newton step; None for 1
    inner: int = 0
    updates: int = 0


class ALM(Algorithm):
    """Augmented Lagrangian method; one step is one L-BFGS iteration of one evaluation. See the module."""

    coherent: ClassVar[bool] = True
    name: Literal["alm"] = "alm"
    penalty: float = Field(5e-2, gt=0, le=10, description="first penalty ρ, relative to the magnitude term's curvature")
    penalty_max: float = Field(10.0, gt=0, le=1e4, description="largest penalty ρ")
    inner: int = Field(5, ge=1, le=1000, description="L-BFGS iterations between two updates of the multipliers")
    patience: int = Field(40, ge=1, le=1000, description="updates of the multipliers between two looks at the penalty")
    history: int = Field(3, ge=1, le=50, description="curvature pairs kept, each as large as two objects")

    def step(self, problem: Problem, state: State) -> State:
        """Return the next state; two transforms, and two more for the first."""
        z, ffts = state.object, 2
        memory = state.memory
        if not isinstance(memory, _Memory):
            memory, ffts = self._start(problem, state), 4
        if memory.inner >= self.inner:
            memory = self._update_multipliers(problem, state, memory)
        value, gradient = _lagrangian(problem, state.support, z, memory)
        direction = -_inverse_hessian(gradient, memory.pairs)
        slope = _inner(gradient, direction)
        # Where rounding leaves the quadratic model no descent, fall back on the gradient.
        uphill = slope >= 0
        direction = torch.where(batchwise(uphill, z), -gradient, direction)
        slope = torch.where(uphill, -_inner(gradient, gradient), slope)
        length = torch.ones_like(slope) if memory.length is None else memory.length

        trial = z + batchwise(length, z) * direction
        residual = trial - problem.project_magnitude(trial)
        there = replace(memory, residual=residual)
        trial_value, trial_gradient = _lagrangian(problem, state.support, trial, there)
        good = trial_value <= value + ARMIJO * length * slope + ROUNDING * value
        # Minimum of the parabola through G(0), G'(0) and G(length), kept within a tenth and a half of the length.
        shorter = -slope * length.square() / (2 * (trial_value - value - length * slope)).clamp_min(1e-30)
        shorter = torch.minimum(torch.maximum(shorter, 0.1 * length), 0.5 * length)

        # A refused trial takes the oldest pair's place without counting: after ``history`` of them, what remains is
        # the gradient.
        pair = _Pair.of(trial - z, trial_gradient - gradient, good)
        memory = replace(
            memory,
            residual=torch.where(batchwise(good, z), residual, memory.residual),
            pairs=(*memory.pairs, pair)[-self.history :],
            length=torch.where(good, 1.0, shorter),
            inner=memory.inner + 1,
        )
        return state.advance(torch.where(batchwise(good, z), trial, z), ffts, memory)

    def _start(self, problem: Problem, state: State) -> _Memory:
        z = state.object
        penalty = torch.full(z.shape[:1], self.penalty, dtype=z.real.dtype, device=z.device)
        infeasibility = torch.full_like(penalty, torch.inf)
        return _Memory(z - problem.project_magnitude(z), torch.zeros_like(z), penalty, infeasibility)

    def _update_multipliers(self, problem: Problem, state: State, memory: _Memory) -> _Memory:
        z, updates = state.object, memory.updates + 1
        memory = replace(
            memory, multiplier=_violation(problem, state.support, z, memory), length=None, inner=0, updates=updates
        )
        if updates % self.patience:
            return memory
        infeasibility = (z - problem.project_object(z, state.support)).abs().square().sum(grid_dims(z)).sqrt()
        slow = infeasibility > 0.5 * memory.infeasibility
        penalty = torch.where(slow, (2 * memory.penalty).clamp_max(self.penalty_max), memory.penalty)
        return replace(memory, penalty=penalty, infeasibility=infeasibility)


def _violation(problem: Problem, support: Tensor, z: Tensor, memory: _Memory) -> Tensor:
    """Return ``ρ(V − P_C V)`` with ``V = Z + λ/ρ``: the penalty's gradient, and the next multiplier."""
    rho = batchwise(memory.penalty, z)
    v = z + memory.multiplier * (1 / rho)
    return rho * (v - problem.project_object(v, support))


def _lagrangian(problem: Problem, support: Tensor, z: Tensor, memory: _Memory) -> tuple[Tensor, Tensor]:
    """Return ``G`` per sample and ``∇G``, from the residual that is at hand."""
    violation = _violation(problem, support, z, memory)
    value = 0.5 * _inner(memory.residual, memory.residual) + 0.5 * _inner(violation, violation) / memory.penalty
    return value, memory.residual + violation


def _inverse_hessian(gradient: Tensor, pairs: tuple[_Pair, ...]) -> Tensor:
    """Apply the L-BFGS inverse Hessian to a gradient by the two-loop recursion, per sample."""
    q = _real(gradient).clone()
    scale, shares = torch.ones_like(q.select(1, 0)), []
    for pair in reversed(pairs):
        shares.append(pair.weight * _dot(pair.s, q))
        q.addcmul_(shares[-1].unsqueeze(1), pair.y, value=-1)
    for pair in pairs:  # the latest one that counts
        scale = torch.where(pair.weight > 0, pair.scale, scale)
    q *= scale.unsqueeze(1)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        q.addcmul_((share - pair.weight * _dot(pair.y, q)).unsqueeze(1), pair.s)
    return torch.view_as_complex(q.reshape(*gradient.shape, 2)) if gradient.is_complex() else q.reshape(gradient.shape)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the real inner product ``Re⟨a, b⟩`` per sample."""
    return _dot(_real(a), _real(b))


def _real(x: Tensor) -> Tensor:
    """See complex ``[batch, *grid]`` as real ``[batch, 2·pixels]``; real ones as ``[batch, pixels]``."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)
