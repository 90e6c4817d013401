from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.fourier import forward, mirrored
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.free import CENTRE
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, dilated

GRIDS = [(64, 48), (45, 63), (20, 24, 22)]


def noise_of(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def real_problem(grid, batch=1, seed=0, **known):
    x = noise_of((batch, *grid), seed)
    x[..., grid[-1] // 2 :] = 0
    return Problem(forward(x).abs(), real=True, **known), x


def held(problem):
    """Return where pixels are free, ``[*spectrum]``."""
    mask = torch.zeros(problem.amplitudes[0].numel(), dtype=torch.bool)
    mask[problem.free.index] = True
    return mask.reshape(problem.amplitudes.shape[1:])


def unfolded(half, grid):
    """Return a mask of the whole spectrum from that of its half."""
    whole = torch.zeros(grid, dtype=torch.bool)
    whole[..., : half.shape[-1]] = half
    return whole | mirrored(whole[None])[0]


@pytest.mark.parametrize("fraction", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("halved", [False, True])
def test_as_many_pixels_are_free_as_were_asked_for(halved, grid, fraction):
    problem, _ = real_problem(grid)
    problem = problem.halved() if halved else problem
    mask = held(problem.holding_out(fraction, radius=2))
    mask = unfolded(mask, grid) if halved else mask
    ball = (5**2 if len(grid) == 2 else 5**3) * (2 if halved else 1)  # no island is larger, and the last may be over
    assert 0.85 * fraction * mask.numel() <= int(mask.sum()) <= fraction * mask.numel() + ball


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_free_pixels_are_islands(grid, radius):
    mask = held(Problem(noise_of((1, *grid))).holding_out(0.05, radius))[None]
    near = sum(mask.roll(step, dim).int() for dim in range(1, mask.ndim) for step in (1, -1))
    # one pixel of an island may be left alone where the centre cuts it off
    assert float((near[mask] > 0).float().mean()) > 0.99
    # drawn one by one, next to none would be without a neighbour that is fitted
    inner = ~dilated(~mask, 1)
    assert float(inner.sum() / mask.sum()) > {1: 0.1, 3: 0.2}[radius]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("halved", [False, True])
def test_zero_frequency_and_what_is_round_it_are_never_held_back(halved, grid):
    problem, _ = real_problem(grid)
    problem = problem.halved() if halved else problem
    q = np.meshgrid(*[np.fft.fftfreq(n) for n in grid], indexing="ij")
    centre = torch.from_numpy(sum(axis**2 for axis in q) <= CENTRE**2)
    assert centre.sum() > 1
    for seed in range(10):
        mask = held(problem.holding_out(0.3, 3, seed))
        assert not (mask & centre[..., : mask.shape[-1]]).any()


def test_a_seed_holds_back_the_same_pixels_and_another_seed_others():
    problem, _ = real_problem((64, 48))
    first = problem.holding_out(seed=4).free.index
    assert torch.equal(problem.holding_out(seed=4).free.index, first)
    assert not torch.equal(problem.holding_out(seed=5).free.index, first)


@pytest.mark.parametrize("grid", GRIDS)
def test_of_a_real_object_q_is_free_where_minus_q_is(grid):
    half = real_problem(grid)[0].halved().holding_out(0.1)
    mask = held(half)
    whole = torch.zeros(1, *grid, dtype=torch.bool)
    whole[..., : mask.shape[-1]] = mask
    for column in (0, grid[-1] // 2) if grid[-1] % 2 == 0 else (0,):  # the columns that hold both
        assert torch.equal(mirrored(whole)[..., column], whole[..., column])
    assert torch.equal(half.measured, ~mask)


ALGORITHMS = [ER(), HIO(), RAAR(), DM(), RRR(), ALM(inner=2)]


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_the_values_of_free_pixels_change_no_step_but_the_free_errors(algorithm, halved):
    problem, _ = real_problem((16, 18), 2, photons=10.0)
    problem = problem.halved() if halved else problem
    support = torch.zeros(problem.shape, dtype=torch.bool)
    support[:, 3:11, 4:11] = True
    mask = held(problem.holding_out(0.1, 1))
    other = replace(problem, amplitudes=torch.where(mask, 7 * problem.amplitudes + 3, problem.amplitudes))
    ends = []
    for given in (problem, other):
        given = given.holding_out(0.1, 1)
        state = random_start(given, support)
        for _ in range(8):
            state = algorithm.step(given, state)
        wrap = ShrinkWrap().update(given, state, support, 0.5)
        ends.append((state.object, wrap, given.errors(given.project_object(state.object, support))))
    (x, wrap, errors), (y, wrap_y, errors_y) = ends
    assert torch.equal(x, y)
    assert torch.equal(wrap, wrap_y)
    for name in ("chi2", "r_factor", "likelihood"):
        assert torch.equal(getattr(errors, name), getattr(errors_y, name))
        assert not torch.isclose(getattr(errors.free, name), getattr(errors_y.free, name)).any()


@pytest.mark.parametrize("photons", [None, 20.0])
@pytest.mark.parametrize("masked", [None, "one", "each"])
@pytest.mark.parametrize("halved", [False, True])
def test_free_errors_are_those_of_the_free_pixels_alone(halved, masked, photons):
    problem, x = real_problem((40, 44), 3, photons=photons)
    measured = torch.rand((3, 40, 44), generator=torch.Generator().manual_seed(2)) < 0.7
    measured = {None: None, "one": measured[0], "each": measured}[masked]
    problem = Problem(problem.amplitudes, measured, real=True, photons=photons)
    problem = problem.halved() if halved else problem
    given = problem.holding_out(0.1, 2)
    mask = held(given).expand(problem.amplitudes.shape)
    known = mask if problem.measured is None else mask & problem.measured
    wrong = (x + 0.2 * noise_of(x.shape, 9)).to(given.dtype)
    size, a = given.forward(wrong).abs().double(), problem.amplitudes.double()

    def total(values):
        return torch.where(known, values, 0).flatten(1).sum(1)

    errors = given.errors(wrong)
    torch.testing.assert_close(errors.free.chi2, total((size - a) ** 2) / total(a**2), rtol=1e-5, atol=0)
    torch.testing.assert_close(errors.free.r_factor, total((size - a).abs()) / total(a), rtol=1e-5, atol=0)
    if photons is None:
        assert errors.free.likelihood is None
    else:
        counts, expected = photons * a**2, photons * size**2 + 1e-3
        deviance = total(expected - counts + torch.xlogy(counts, counts / expected)) / total(torch.ones_like(a))
        torch.testing.assert_close(errors.free.likelihood, deviance, rtol=1e-4, atol=0)
    # and the others are of the rest
    left = problem.errors(wrong).chi2
    assert not torch.isclose(errors.chi2, left, rtol=1e-4).all()
    assert (given.measured & held(given)).sum() == 0
    assert errors.free.free is None


@pytest.mark.parametrize("fraction", [0, -0.1, 0.51, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused_with_its_value(fraction):
    problem, _ = real_problem((16, 18))
    with pytest.raises(MeasurementError, match=f"A share of {fraction:g} of the pixels cannot be held back"):
        problem.holding_out(fraction)


def test_a_share_that_leaves_no_pixel_free_is_refused():
    problem, _ = real_problem((16, 18), 2)
    with pytest.raises(MeasurementError, match=r"No measured pixel is left free at a share of 0\.001"):
        problem.holding_out(0.001)
    measured = torch.ones(2, 16, 18, dtype=torch.bool)
    measured[1] = held(problem.holding_out(0.1)).logical_not()
    with pytest.raises(MeasurementError, match="No measured pixel"):  # of the second sample
        Problem(problem.amplitudes, measured).holding_out(0.1)


def test_free_errors_rise_where_a_support_is_too_large_and_the_others_fall():
    """The support is made wider step by step; what it lets in beyond the object is noise."""
    generator = np.random.default_rng(3)
    grid, batch = (48, 48), 6
    inside = torch.zeros(1, *grid, dtype=torch.bool)
    inside[0, 16:30, 16:28] = True
    inside[0, 16:22, 16:20] = False
    truth = torch.from_numpy(generator.random((1, *grid)) + 0.2) * inside
    intensities = forward(truth).abs().square()
    scale = 3e4 / float(intensities.sum())
    counts = torch.from_numpy(generator.poisson((intensities * scale).expand(batch, *grid).numpy())).double()
    problem = Problem(counts.sqrt(), photons=1.0).holding_out(0.05, 2)
    chi2, free = [], []
    for wider in (0, 3, 6):
        support = dilated(inside, wider).expand(batch, *grid).contiguous()
        state = State((truth * scale**0.5).expand(batch, *grid).to(problem.dtype), support)
        for _ in range(60):
            state = ER().step(problem, state)
        errors = problem.errors(state.object)
        chi2.append(float(errors.chi2.mean()))
        free.append((float(errors.free.chi2.mean()), float(errors.free.likelihood.mean())))
    for narrow, wide in ((0, 1), (1, 2)):
        assert chi2[wide] < 0.9 * chi2[narrow]
        assert free[wide][0] > 1.1 * free[narrow][0]
        assert free[wide][1] > 1.1 * free[narrow][1]
