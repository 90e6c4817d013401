"""Recipes beside each other at equal cost: one start each, on simulated sets, the support found along the way.

What the presets are chosen by. Every search begins at random in the autocorrelation's support, and shrink-wrap follows
at its defaults. The objects of a set are solved as one batch; one by one where a search ends on its own (``auto``): it
would watch the batch's mean and end for all at once.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.benchmarks.score import SOLVED
from napari_dipr.benchmarks.table1 import batch_of, first_objects
from napari_dipr.device import find_device
from napari_dipr.errors import DiprError
from napari_dipr.physics.fourier import forward, grid_dims
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers.presets import PRESETS
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, autocorrelation_support

# Of a preset; of auto, at most.
ITERATIONS = 600
# An iteration of DM costs four transforms, one of the others two.
RECIPES = (
    "hio*540 + er*60",
    "raar*540 + er*60",
    "dm*270 + er*60",
    "rrr*540 + er*60",
    "detwin*20 + hio*520 + er*60",
    "thorough",
    "auto",
)


@dataclass(frozen=True)
class Set:
    """Objects of one kind.

    Attributes
    ----------
    grid
        Of a crystal; None for FashionMNIST images, which have their own.
    objects
        How many.
    strain
        Standard deviation of a crystal's phase, radians.
    photons
        In each pattern, Poisson distributed; None for no noise.
    """

    grid: tuple[int, ...] | None
    objects: int
    strain: float = 0.0
    photons: float | None = None

    def measured(self, device: torch.device) -> tuple[Problem, Tensor]:
        """Return the problem and the truth, ``[objects, *grid]``, the same each time."""
        if self.grid is None:
            batch = batch_of(first_objects(self.objects), 0, device)
            return batch.problem, batch.truth
        truth = torch.from_numpy(np.stack([crystal(self.grid, self.strain, seed) for seed in range(self.objects)]))
        power = forward(truth.to(torch.complex128)).abs().square()
        if self.photons is None:
            return Problem(power.sqrt().float().to(device)), truth.to(device)
        mean = (power * (self.photons / power.sum(grid_dims(power), True))).float()
        counts = torch.poisson(mean, generator=torch.Generator().manual_seed(0))
        return Problem(counts.sqrt().to(device), photons=1.0), truth.to(device)


SETS = {
    "crystals, .4 rad": Set((64, 64), 24, strain=0.4, photons=1e6),
    "crystals, 1.2 rad": Set((64, 64), 24, strain=1.2, photons=1e6),
    "FashionMNIST": Set(None, 24),
    "3-D crystals, .8 rad": Set((32, 32, 32), 12, strain=0.8, photons=1e6),
}


def crystal(grid: Sequence[int], strain: float, seed: int) -> NDArray[np.complex64]:
    """Make a crystal: a convex polyhedron, or polygon, of amplitude 1 with a smooth phase.

    Its faces lie at .1 to .2 of the grid from the middle; its phase is a sum of four plane waves, of which none has a
    whole period within it, with mean 0 and the standard deviation ``strain`` in radians.
    """
    rng, dims = np.random.default_rng(seed), len(grid)
    r = np.stack(np.meshgrid(*((np.arange(n) - n // 2) / n for n in grid), indexing="ij"))
    if dims == 2:
        angles = np.arange(6) * np.pi / 3 + rng.uniform(-0.3, 0.3, 6)
        normals = np.stack((np.sin(angles), np.cos(angles)), 1)
    else:  # a truncated octahedron's faces: six of the cube, eight of the octahedron
        cube = [n for n in product((-1.0, 0.0, 1.0), repeat=3) if np.count_nonzero(n) in (1, 3)]
        normals = np.array(cube) + rng.uniform(-0.2, 0.2, (len(cube), 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    inside = np.ones(tuple(grid), bool)
    for normal in normals:
        inside &= np.tensordot(normal, r, 1) < rng.uniform(0.1, 0.2)
    phase = np.zeros(tuple(grid))
    for _ in range(4):
        wave = np.tensordot(rng.normal(size=dims) * 6.4, r, 1)
        phase += rng.normal() * np.cos(wave + rng.uniform(0, 2 * np.pi))
    phase -= phase[inside].mean()
    phase *= strain / phase[inside].std()
    return (inside * np.exp(1j * phase)).astype(np.complex64)


def compare(
    texts: Sequence[str] = RECIPES,
    sets: dict[str, Set] | None = None,
    *,
    iterations: int = ITERATIONS,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[str, str], None] = lambda name, text: None,
) -> dict[str, Any]:
    """Solve every set with every recipe.

    Parameters
    ----------
    texts
        Recipes, of :meth:`~napari_dipr.solvers.recipe.Recipe.parse`.
    sets
        What to solve; None for :data:`SETS`.
    iterations
        Of a preset; a recipe that is written out states its own.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    seed
        Of the random starts. The sets are the same for every seed.
    progress
        Told the set and the recipe before each.

    Returns
    -------
    dict
        ``seed`` and ``rows``, one for each set and recipe: ``nmse_mean`` and ``nmse_median``; ``solved``, the share
        below ``SOLVED``; means over the objects of ``chi2``, of ``size``, the support's pixels over the true one's, of
        ``iterations`` and of ``ffts``; ``ended``, why stages ended before all their iterations, and for how many
        objects; ``seconds`` for all of them.

    Raises
    ------
    RecipeError, DiprError
        If a recipe cannot be read or there is none, or there is no such device; before anything is computed.
    """
    if not texts:
        raise DiprError("There is no recipe to compare.")
    for text in texts:
        _recipe(text, iterations)
    where = find_device(device)
    rows = []
    for name, made in (SETS if sets is None else sets).items():
        problem, truth = made.measured(where)
        start = random_start(problem, autocorrelation_support(problem), seed)
        true_size = (truth != 0).flatten(1).sum(1)
        for text in texts:
            progress(name, text)
            began = time.perf_counter()
            ends = _solved(problem, _recipe(text, iterations, problem), start)
            x, support = (torch.cat([getattr(end, what) for end in ends]) for what in ("object", "support"))
            error = nmse(x, truth)[0].cpu()
            rows.append(
                {
                    "set": name,
                    "recipe": text,
                    "objects": len(truth),
                    "nmse_mean": float(error.mean()),
                    "nmse_median": float(error.quantile(0.5)),
                    "solved": float((error < SOLVED).double().mean()),
                    "chi2": float(torch.cat([end.chi2 for end in ends]).mean()),
                    "size": float((support.flatten(1).sum(1) / true_size).mean()),
                    "iterations": float(np.mean([end.iterations for end in ends])),
                    "ffts": float(np.mean([end.ffts for end in ends])),
                    "ended": _reasons(ends),
                    "seconds": time.perf_counter() - began,
                }
            )
    return {"seed": seed, "rows": rows}


def _recipe(text: str, iterations: int, problem: Problem | None = None) -> Recipe:
    own = text.split(";")[0].strip().lower() not in PRESETS
    return Recipe.parse(text, iterations=None if own else iterations, shrinkwrap=ShrinkWrap(), problem=problem)


def _solved(problem: Problem, recipe: Recipe, start: State) -> list[Reconstruction]:
    if recipe.settling is None:
        return [solve(problem, recipe, start)]
    ends = []
    for i in range(len(problem.amplitudes)):
        alone = replace(start, object=start.object[i : i + 1], support=start.support[i : i + 1])
        ends.append(solve(replace(problem, amplitudes=problem.amplitudes[i : i + 1]), recipe, alone))
    return ends


def _reasons(ends: Sequence[Reconstruction]) -> dict[str, int]:
    """Count the words, whatever the numbers in them, without those of a run that went to its end."""
    words = Counter(re.sub(r"\d+", "…", part) for end in ends for part in end.ended.split("; "))
    del words["all iterations done"]
    return dict(words.most_common())
