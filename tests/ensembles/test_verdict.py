from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dipr.ensembles.ensemble import Finished, combine
from napari_dipr.ensembles.ranking import rows_of
from napari_dipr.ensembles.starts import together
from napari_dipr.ensembles.verdict import AGREE, FAMILIES, NONE, TWIN, verdict
from napari_dipr.measurement import Measurement
from napari_dipr.physics.registration import register
from napari_dipr.physics.symmetry import twin
from napari_dipr.solvers.problem import Problem, State
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve


def rough(seed=0, side=12, grid=36):
    """Make a triangle with a rough amplitude and phase: not its own twin."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    picture = rng.uniform(0.3, 1, (side, side)) * np.exp(1j * rng.uniform(0, 2, (side, side))) * (rows + columns < side)
    x = torch.zeros(grid, grid, dtype=torch.complex64)
    start = grid // 2 - side // 2
    x[start : start + side, start : start + side] = torch.from_numpy(picture)
    return x


def measured(x, **known):
    intensities = torch.fft.fft2(x.to(torch.complex128)).abs().square().numpy()
    return Measurement.of(intensities, zero_frequency="corner", **known)


def judged(objects, truth, measurement=None):
    """Judge objects as if solvers had ended with them."""
    measurement = measurement or measured(truth)
    problem = Problem.of(measurement)
    stack = torch.stack([problem.scaled(x[None])[0] for x in objects])
    support = torch.ones_like(stack, dtype=torch.bool) & (stack.abs().amax(0) > 0)
    whole, _ = together(problem, [State(x[None], s[None]) for x, s in zip(stack, support, strict=True)])
    ended = solve(whole, Recipe.parse("er*1; no shrinkwrap"), State(stack, support))
    ended = replace(ended, object=stack, errors=whole.errors(stack), support=support)
    rows = rows_of(ended, range(len(stack)), range(len(stack)))
    finished = [Finished(*parts) for parts in zip(rows, stack, support, strict=True)]
    return verdict(combine(problem, finished), measurement)


def noisy(x, amount, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) * (x != 0)
    return x + amount * x.norm() / noise.norm() * noise


def test_starts_that_came_to_the_same_agree_wherever_they_lie_and_whichever_twin():
    x = rough()
    others = [x, x.roll(3, 0) * 1j, twin(x[None])[0], noisy(x, 0.005, 1)]
    found = judged(others, x)
    assert found.kind == AGREE
    assert found.cause == ""
    assert found.figures["families"] == [4]
    assert found.figures["agreement"] > 0.99


def test_it_is_told_how_many_are_not_good_enough_to_judge_by():
    x = rough()
    good = [x, x.roll(3, 0)]
    found = judged([*good, *(noisy(x, 0.5, seed) for seed in range(3))], x)
    assert found.words.startswith("agree: 2 starts")
    assert found.words.endswith("in one family; the error of the other 3 is more than 3 times the best one's")
    assert judged(good * 6, x).words.endswith("in one family")  # the best eight are enough


def test_twins_on_each_other_are_told_from_an_object_that_is_its_own_twin():
    x = rough()
    both = x + twin(x[None])[0].roll((1, 1), (0, 1))
    mixtures = [noisy(both, 0.02, seed) for seed in range(4)]
    found = judged(mixtures, x)
    assert found.kind == TWIN
    assert found.figures["twin"] > 0.9
    assert found.figures["chi2"] > found.figures["limit"]
    assert "its own twin" in found.cause
    # The same objects, where they are what was measured.
    assert judged(mixtures, both).kind == AGREE


def test_an_object_that_is_its_own_twin_may_have_a_flawed_measurement():
    x = rough()
    both = x + twin(x[None])[0].roll((1, 1), (0, 1))
    flawed = measured(both)
    wrong = flawed.intensities * np.random.default_rng(0).uniform(0.5, 1.5, flawed.grid).astype(np.float32)
    found = judged([noisy(both, 0.02, seed) for seed in range(4)], both, replace(flawed, intensities=wrong))
    assert found.figures["unexplained"]
    assert found.figures["twin"] > 0.9
    assert found.kind == AGREE
    assert "do not explain" in found.words
    assert found.cause


def test_two_objects_of_one_pattern_are_families():
    # Convolutions a⊗b and a⊗twin(b) have one pattern.
    a, b = (torch.fft.fft2(noisy(rough(seed, 7), 3, seed)) for seed in (1, 2))
    first, second = torch.fft.ifft2(a * b), torch.fft.ifft2(a * b.conj())
    assert register(second, first).correlation < 0.8
    found = judged([noisy(first, 0.005, 1), first, second, noisy(second, 0.005, 2)], first)
    assert found.kind == FAMILIES
    assert found.figures["families"] == [2, 2]


def test_objects_of_which_none_is_like_another_do_not_agree():
    x = rough()
    found = judged([rough(seed).roll(seed, 0) * torch.exp(1j * 3 * rough(seed + 9).real) for seed in range(1, 6)], x)
    assert found.kind == NONE
    assert found.cause


def test_agreement_on_what_was_not_measured_is_none():
    found = judged([noisy(rough(5), 0.01, seed) for seed in range(4)], rough())
    assert found.figures["largest"] == 1
    assert found.kind == NONE


@pytest.mark.parametrize(
    ("cause", "known"),
    [
        ("oversampling", {"side": 30}),
        ("missing centre", {"hidden": True}),
        ("few photons", {"photons": 1e-6}),
    ],
)
def test_the_cause_is_looked_for_in_the_measurement(cause, known):
    truth = rough(side=known.get("side", 12))
    mask = torch.ones(36, 36, dtype=torch.bool)
    mask[:2, :2] = not known.get("hidden", False)
    measurement = measured(truth, measured=mask.numpy(), photons_per_unit=known.get("photons"))
    others = [rough(seed, known.get("side", 12)) * torch.exp(4j * rough(seed + 9).real) for seed in range(1, 6)]
    found = judged(others, truth, measurement)
    assert cause in found.cause
