import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import data

from napari_dipr.physics.fourier import forward
from napari_dipr.physics.symmetry import nmse, twin
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve

GRIDS = [(12, 15), (8, 7, 6)]
PROJECTIONS = [ER(), HIO(), RAAR(), DM(), RRR()]
ALGORITHMS = [*PROJECTIONS, HIO(beta=0.5), RAAR(beta=0.6), DM(beta=0.5), RRR(beta=1.3), ALM()]


def iterate(algorithm, problem, state, steps):
    for _ in range(steps):
        state = algorithm.step(problem, state)
    return state


def residual(problem, state):
    x = problem.project_object(state.object, state.support)
    return problem.errors(x).chi2.sqrt()


def scaled_noise(like, size, seed=1):
    noise = torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))
    return size * noise * like.abs().square().mean().sqrt()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@given(grid=st.sampled_from(GRIDS), is_twin=st.booleans(), phase=st.floats(-3, 3), positive=st.booleans(), more=data())
@settings(max_examples=10)
def test_a_solution_stays_and_so_do_its_shifts_and_its_twin(planted, algorithm, grid, is_twin, phase, positive, more):
    problem, truth, support = planted(grid, dtype=torch.complex128, positive=positive)
    shift = more.draw(st.tuples(*[st.integers(0, n - 1) for n in grid]))
    dims = tuple(range(1, truth.ndim))
    if is_twin:
        truth, support = twin(truth), twin(support.to(truth.dtype)).real > 0.5
    truth, support = torch.roll(truth, shift, dims), torch.roll(support, shift, dims)
    if not positive:
        truth = truth * torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(phase, dtype=torch.float64))
    state = iterate(algorithm, problem, State(truth, support), 3)
    torch.testing.assert_close(state.object, truth, rtol=1e-8, atol=1e-8)
    assert state.iteration == 3


def test_the_solution_under_a_foreign_support_does_not_stay(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    elsewhere = torch.roll(support, 2, 1)
    for algorithm in ALGORITHMS:
        moved = iterate(algorithm, problem, State(truth, elsewhere), 1).object
        assert float((moved - truth).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("text", "side", "ffts"),
    [("hio*600", 24, 1200), ("raar*400", 24, 800), ("dm*400", 24, 1600), ("rrr*400", 24, 800), ("alm*800", 20, 1602)],
)
def test_what_searches_and_then_er_recover_a_complex_object_from_random_starts(planted, text, side, ffts):
    problem, truth, support = planted((side, side), batch=20)
    end = solve(problem, Recipe.parse(f"{text} + er*50"), random_start(problem, support))
    solved = end.chi2.sqrt() < 1e-4
    assert int(solved.sum()) >= 18
    assert end.ffts == ffts + 100
    error, _ = nmse(end.object[solved], truth[solved])
    assert float(error.max()) < 1e-4


@pytest.mark.parametrize("text", ["hio*200", "raar*200", "dm*200", "rrr*200"])
def test_a_real_positive_object_is_recovered_in_three_dimensions(planted, text):
    problem, truth, support = planted((10, 12, 10), batch=4, positive=True)
    end = solve(problem, Recipe.parse(f"{text} + er*30"), random_start(problem, support))
    assert float(end.chi2.max().sqrt()) < 1e-4
    assert float(nmse(end.object, truth)[0].max()) < 1e-4
    assert (end.object.real >= 0).all()
    assert not end.object.imag.any()


def test_hio_recovers_what_a_beam_stop_hides(planted):
    measured = torch.ones(24, 24, dtype=torch.bool)
    measured[[0, 0, 1, -1, 0], [0, 1, 0, 0, -1]] = False
    problem, truth, support = planted((24, 24), batch=8, measured=measured)
    state = iterate(ER(), problem, iterate(HIO(), problem, random_start(problem, support), 600), 50)
    solved = residual(problem, state) < 1e-3
    assert int(solved.sum()) >= 6
    hidden = forward(state.object)[solved][:, ~measured].abs()
    torch.testing.assert_close(hidden, forward(truth)[solved][:, ~measured].abs(), rtol=0.05, atol=1.0)


@given(st.integers(0, 1000), st.sampled_from(GRIDS), st.booleans())
@settings(max_examples=15)
def test_er_never_raises_the_distance_to_the_measured_magnitudes(planted, seed, grid, positive):
    problem, _, support = planted(grid, dtype=torch.complex128, positive=positive)
    state = random_start(problem, support, seed)
    before = torch.inf
    for _ in range(8):
        after = float((state.object - problem.project_magnitude(state.object)).norm())
        assert after <= before * (1 + 1e-9)
        before, state = after, ER().step(problem, state)


def test_hio_is_its_formula_inside_and_outside(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = truth + scaled_noise(truth, 0.5)
    y = problem.project_magnitude(x)
    after = HIO(beta=0.7).step(problem, State(x, support)).object
    torch.testing.assert_close(after[support], y[support])
    torch.testing.assert_close(after[~support], (x - 0.7 * y)[~support])


def test_positive_hio_takes_negative_pixels_for_outside(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128, positive=True)
    x = scaled_noise(truth, 1.0).real.to(truth.dtype)
    y = problem.project_magnitude(x).real.to(truth.dtype)
    negative = support & (y.real < 0)
    assert negative.any()
    after = HIO(beta=0.7).step(problem, State(x, support)).object
    torch.testing.assert_close(after[negative], (x - 0.7 * y)[negative])
    torch.testing.assert_close(after[support & ~negative], y[support & ~negative])


def test_raar_is_its_formula_inside_and_outside(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = truth + scaled_noise(truth, 0.5)
    y = problem.project_magnitude(x)
    after = RAAR(beta=0.7).step(problem, State(x, support)).object
    torch.testing.assert_close(after[support], y[support])
    torch.testing.assert_close(after[~support], (0.7 * x - 0.4 * y)[~support])


def test_raar_is_the_relaxed_average_of_x_and_its_two_reflections(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = truth + scaled_noise(truth, 0.5)
    mirrored = 2 * problem.project_magnitude(x) - x
    twice = 2 * mirrored * support - mirrored
    expected = 0.8 * (twice + x) / 2 + 0.2 * problem.project_magnitude(x)
    torch.testing.assert_close(RAAR(beta=0.8).step(problem, State(x, support)).object, expected)


def test_the_difference_map_with_a_beta_of_one_is_hio(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    start = State(truth + scaled_noise(truth, 0.5), support)
    hio, dm = (iterate(a, problem, start, 5).object for a in (HIO(beta=1.0), DM(beta=1.0)))
    torch.testing.assert_close(dm, hio)


def test_rrr_with_a_beta_of_one_is_douglas_and_rachford_s_average_of_x_and_its_two_reflections(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = truth + scaled_noise(truth, 0.5)
    mirrored = 2 * x * support - x
    twice = 2 * problem.project_magnitude(mirrored) - mirrored
    torch.testing.assert_close(RRR(beta=1.0).step(problem, State(x, support)).object, 0.5 * (x + twice))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_values_of_unmeasured_pixels_change_nothing(planted, algorithm):
    measured = torch.ones(12, 15, dtype=torch.bool)
    measured[[0, 0, 1, 5], [0, 1, 0, 9]] = False
    problem, _, support = planted((12, 15), measured=measured)
    start = random_start(problem, support)
    other = Problem(torch.where(measured, problem.amplitudes, torch.nan), measured)
    ends = [iterate(algorithm, p, start, 5).object for p in (problem, other)]
    assert torch.equal(*ends)
    # and they stay free: the step is another one where they are taken for measured zeros
    assert not torch.equal(ends[0], iterate(algorithm, Problem(problem.amplitudes), start, 5).object)


@pytest.mark.parametrize("algorithm", PROJECTIONS, ids=str)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_batch_goes_as_its_samples_go(planted, algorithm, grid):
    problem, _, support = planted(grid, batch=3)
    start = random_start(problem, support)
    together = iterate(algorithm, problem, start, 20).object
    for k in range(3):
        alone = Problem(problem.amplitudes[k : k + 1])
        one = iterate(algorithm, alone, State(start.object[k : k + 1], support[k : k + 1]), 20).object
        assert float((one - together[k : k + 1]).norm() / one.norm()) < 1e-4


@pytest.mark.parametrize("algorithm", PROJECTIONS, ids=str)
def test_single_precision_follows_double_precision(planted, algorithm):
    problem, truth, support = planted((24, 24), batch=4, dtype=torch.complex128)
    start = truth + scaled_noise(truth, 0.3)
    double = iterate(algorithm, problem, State(start, support), 20).object
    coarse = Problem(problem.amplitudes.float())
    single = iterate(algorithm, coarse, State(start.to(torch.complex64), support), 20).object
    assert single.dtype == torch.complex64
    assert float(((single - double).norm() / double.norm()).max()) < 1e-4


@pytest.mark.parametrize("algorithm", PROJECTIONS, ids=str)
def test_a_step_counts_the_transforms_it_makes(planted, transforms, algorithm):
    problem, _, support = planted()
    state = random_start(problem, support)
    transforms.clear()
    each = 4 if algorithm.name == "dm" else 2
    assert iterate(algorithm, problem, state, 3).ffts == len(transforms) == 3 * each


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_a_step_leaves_the_state_it_was_given_as_it_was(planted, algorithm):
    problem, _, support = planted((12, 15))
    start = random_start(problem, support)
    before = start.object.clone()
    first = algorithm.step(problem, start).object
    assert torch.equal(start.object, before)
    assert torch.equal(algorithm.step(problem, start).object, first)


def test_scaling_the_measurement_scales_the_iterates(planted):
    problem, truth, support = planted((12, 15), dtype=torch.complex128)
    x = truth + scaled_noise(truth, 0.5)
    brighter = Problem(problem.amplitudes * 1e3)
    for algorithm in ALGORITHMS:
        once = iterate(algorithm, problem, State(x, support), 5).object
        bright = iterate(algorithm, brighter, State(x * 1e3, support), 5).object
        torch.testing.assert_close(bright, once * 1e3, rtol=1e-6, atol=1e-6)
