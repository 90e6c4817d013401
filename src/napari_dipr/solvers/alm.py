"""The augmented Lagrangian method (ALM): the constraint enters through multipliers, L-BFGS does the descent.

Minimise ``½‖Z − P(Z)‖²`` subject to Z in C, the objects inside the support (and real and ≥ 0 where that is known). With
multipliers λ and a penalty ρ the augmented Lagrangian is

    G(Z) = ½‖Z − P(Z)‖² + (ρ/2)·dist²(Z + λ/ρ, C),    ∇G = Z − P(Z) + ρ(V − P_C V),  V = Z + λ/ρ.

For the support alone this is the text-book ``(ρ/2)‖(1−S)Z + λ/ρ‖²``. Each step is one iteration of L-BFGS; after
``inner`` of them ``λ ← ρ(V − P_C V)``, and ρ doubles, up to a bound, where the infeasibility fell by less than half.
Everything is per sample: curvature pairs, step lengths, penalties. One evaluation of G and ∇G costs two transforms.

References
----------
.. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., algorithms 7.4 (L-BFGS) and 17.4 (augmented
   Lagrangian).
.. [2] R. Manekar et al., "Deep Learning Initialized Phase Retrieval", NeurIPS 2020 workshop, sec. 2 and its [27], whose
   text was not at hand: this is the reading that agrees with the paper's figures.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from napari_dipr.physics.fourier import batchwise, grid_dims
from napari_dipr.solvers.problem import Problem, State
from napari_dipr.solvers.projections import Algorithm

# Sufficient decrease (Armijo) as a share of the slope, and how often a step is shortened before it is given up.
ARMIJO = 1e-4
TRIALS = 6


@dataclass
class _Pair:
    """One curvature pair of L-BFGS; ``weight`` is 1/⟨s, y⟩ per sample, 0 where the pair does not count."""

    s: Tensor
    y: Tensor
    weight: Tensor


@dataclass
class _Memory:
    residual: Tensor  # Z − P(Z), which does not depend on λ and ρ
    multiplier: Tensor
    penalty: Tensor
    infeasibility: Tensor
    pairs: list[_Pair]
    inner: int = 0


class ALM(Algorithm):
    """Augmented Lagrangian method; one step is one L-BFGS iteration. See the module."""

    name: Literal["alm"] = "alm"
    penalty: float = Field(1e-2, gt=0, le=10, description="first penalty ρ, relative to the magnitude term's curvature")
    penalty_max: float = Field(10.0, gt=0, le=1e4, description="largest penalty ρ")
    inner: int = Field(80, ge=1, le=1000, description="L-BFGS iterations between two updates of the multipliers")
    history: int = Field(20, ge=1, le=50, description="curvature pairs kept, each as large as two objects")

    def step(self, problem: Problem, state: State) -> State:
        """Return the next state; two transforms an evaluation, one evaluation for most steps."""
        z, ffts = state.object, 0
        memory = state.memory
        if not isinstance(memory, _Memory):
            memory, ffts = self._start(problem, state), 2
        if memory.inner == self.inner:
            self._update_multipliers(problem, state, memory)
        value, gradient = _lagrangian(problem, state.support, z, memory)
        direction = -_inverse_hessian(gradient, memory.pairs)
        slope = _inner(gradient, direction)
        # Where the quadratic model has no descent, fall back on the gradient.
        uphill = slope >= 0
        direction = torch.where(batchwise(uphill, z), -gradient, direction)
        slope = torch.where(uphill, -_inner(gradient, gradient), slope)

        length = torch.ones_like(slope)
        accepted = torch.zeros_like(uphill)
        new, residual = z, memory.residual
        for _ in range(TRIALS):
            trial = torch.where(batchwise(accepted, z), new, z + batchwise(length, z) * direction)
            trial_residual = trial - problem.project_magnitude(trial)
            ffts += 2
            trial_value = _value(problem, state.support, trial, trial_residual, memory)
            # In float32 G is known to 1e-6 of itself: without that slack no step near the optimum would pass.
            good = trial_value <= value + ARMIJO * length * slope + 1e-6 * value.abs()
            fresh = batchwise(good & ~accepted, z)
            new, residual = torch.where(fresh, trial, new), torch.where(fresh, trial_residual, residual)
            accepted |= good
            if bool(accepted.all()):
                break
            # Minimum of the parabola through G(0), G'(0) and G(length), kept within a tenth and a half of the length.
            shorter = -slope * length**2 / (2 * (trial_value - value - length * slope)).clamp_min(1e-30)
            length = torch.where(accepted, length, shorter.clamp(0.1 * length, 0.5 * length))

        old_gradient, memory.residual = gradient, residual
        _, gradient = _lagrangian(problem, state.support, new, memory)
        s, y = new - z, gradient - old_gradient
        curvature, size = _inner(s, y), _inner(y, y)
        counts = curvature > 1e-8 * (size * _inner(s, s)).sqrt()
        weight = torch.where(counts, 1 / curvature.where(counts, torch.ones_like(curvature)), 0.0)
        memory.pairs = (
            [*memory.pairs[-(self.history - 1) :], _Pair(s, y, weight)] if self.history > 1 else [_Pair(s, y, weight)]
        )
        memory.inner += 1
        return state.advance(new, ffts, memory)

    def _start(self, problem: Problem, state: State) -> _Memory:
        z = state.object
        penalty = torch.full(z.shape[:1], self.penalty, dtype=z.real.dtype, device=z.device)
        infeasibility = torch.full_like(penalty, torch.inf)
        return _Memory(z - problem.project_magnitude(z), torch.zeros_like(z), penalty, infeasibility, [])

    def _update_multipliers(self, problem: Problem, state: State, memory: _Memory) -> None:
        z = state.object
        memory.multiplier = _violation(problem, state.support, z, memory)
        infeasibility = (z - problem.project_object(z, state.support)).abs().square().sum(grid_dims(z)).sqrt()
        slow = infeasibility > 0.5 * memory.infeasibility
        memory.infeasibility = infeasibility
        penalty = torch.where(slow, (2 * memory.penalty).clamp_max(self.penalty_max), memory.penalty)
        changed = penalty != memory.penalty
        memory.penalty = penalty
        for pair in memory.pairs:  # they measured the curvature under the former penalty
            pair.weight = pair.weight.masked_fill(changed, 0.0)
        memory.inner = 0


def _violation(problem: Problem, support: Tensor, z: Tensor, memory: _Memory) -> Tensor:
    """Return ``ρ(V − P_C V)`` with ``V = Z + λ/ρ``: the penalty's gradient, and the next multiplier."""
    rho = batchwise(memory.penalty, z)
    v = z + memory.multiplier / rho
    return rho * (v - problem.project_object(v, support))


def _value(problem: Problem, support: Tensor, z: Tensor, residual: Tensor, memory: _Memory) -> Tensor:
    violation = _violation(problem, support, z, memory)
    return 0.5 * _inner(residual, residual) + 0.5 * _inner(violation, violation) / memory.penalty


def _lagrangian(problem: Problem, support: Tensor, z: Tensor, memory: _Memory) -> tuple[Tensor, Tensor]:
    """Return ``G`` per sample and ``∇G``, from the residual that is at hand."""
    violation = _violation(problem, support, z, memory)
    value = 0.5 * _inner(memory.residual, memory.residual) + 0.5 * _inner(violation, violation) / memory.penalty
    return value, memory.residual + violation


def _inverse_hessian(gradient: Tensor, pairs: list[_Pair]) -> Tensor:
    """Apply the L-BFGS inverse Hessian to a gradient by the two-loop recursion, per sample."""
    q, shares = gradient, []
    for pair in reversed(pairs):
        share = pair.weight * _inner(pair.s, q)
        q = q - batchwise(share, q) * pair.y
        shares.append(share)
    if pairs:
        latest = pairs[-1]
        curvature = latest.weight * _inner(latest.y, latest.y)
        q = q / batchwise(torch.where(curvature > 0, curvature, 1.0), q)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        q = q + batchwise(share - pair.weight * _inner(pair.y, q), q) * pair.s
    return q


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the real inner product ``Re⟨a, b⟩`` per sample."""
    return (torch.view_as_real(a) * torch.view_as_real(b)).flatten(1).sum(1)
