import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import RecipeError
from napari_dipr.physics.fourier import coherence_of, corner_window, embed_corner, forward
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers.coherence import PartialCoherence, widths
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.projections import HIO
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import run, solve
from napari_dipr.solvers.shrinkwrap import dilated

GRIDS = [(24, 20), (15, 16), (10, 9, 12)]


def gaussian(sigma, dims, reach=4, batch=1):
    psf = torch.ones(batch, *(1,) * dims, dtype=torch.float64)
    profile = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    for dim in range(1, dims + 1):
        psf = psf * profile.reshape([-1 if d == dim else 1 for d in range(dims + 1)])
    return psf / psf.sum()


def by_sums(power, psf):
    """Convolve by the definition, round the grid's edges."""
    dims = tuple(range(1, power.ndim))
    total = torch.zeros_like(power)
    for where in (psf[0] > 0).nonzero():
        shift = [int(w) - n // 2 for w, n in zip(where, psf.shape[1:], strict=True)]
        total += psf[(0, *where)] * power.roll(shift, dims)
    return total


@pytest.mark.parametrize("grid", GRIDS)
def test_partially_coherent_intensities_are_the_coherent_ones_convolved(grid):
    x = torch.randn(2, *grid, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    psf = gaussian(0.7, len(grid), reach=2)
    problem = Problem(torch.ones(2, *grid, dtype=torch.float64)).seen_with(psf)
    f = problem.forward(x)
    torch.testing.assert_close(problem.blurred(f), by_sums(f.abs().square(), psf))
    assert Problem(problem.amplitudes).blurred(f) is None


@given(st.sampled_from(GRIDS), st.integers(0, 99))
def test_windows_round_the_corner_are_cut_and_laid_adjointly(grid, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 5, 7)[: len(grid)]
    window = torch.randn(2, *shape, generator=generator)
    array = torch.randn(2, *grid, generator=generator)
    assert torch.equal(corner_window(embed_corner(window, grid), shape), window)
    torch.testing.assert_close((embed_corner(window, grid) * array).sum(), (window * corner_window(array, shape)).sum())
    assert embed_corner(gaussian(1, len(grid), 1), grid).flatten(1).argmax() == 0


def test_coherent_light_is_a_point_and_changes_nothing(planted):
    problem, truth, support = planted((16, 18), dtype=torch.complex128)
    point = gaussian(1e-3, 2)
    seen = problem.seen_with(point)
    torch.testing.assert_close(coherence_of(point, problem.grid), torch.ones(1, 16, 10, dtype=torch.float64))
    start = State(random_start(problem, support).object, support)
    torch.testing.assert_close(HIO().step(seen, start).object, HIO().step(problem, start).object)
    torch.testing.assert_close(seen.errors(truth).chi2, problem.errors(truth).chi2, atol=1e-12, rtol=0)


def blurred_problem(planted, sigma, grid=(40, 40), **options):
    problem, truth, support = planted(grid, dtype=torch.complex128, **options)
    power = problem.seen_with(gaussian(sigma, len(grid))).blurred(problem.forward(truth))
    return Problem(power.sqrt(), problem.measured), truth, support


@pytest.mark.parametrize("grid", [(40, 40), (20, 18, 20)])
@pytest.mark.parametrize("sigma", [0.5, 0.8])
def test_the_blur_is_found_from_the_true_object(planted, grid, sigma):
    problem, truth, support = blurred_problem(planted, sigma, grid)
    psf = PartialCoherence(steps=60).estimate(problem, truth, State(truth, support))
    assert psf.min() >= 0
    torch.testing.assert_close(psf.sum(tuple(range(1, psf.ndim))), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(psf, psf.flip(tuple(range(1, psf.ndim))))
    # Steps converge slowly, and the width leans towards that of the first guess.
    true = widths(gaussian(sigma, len(grid)))
    assert widths(psf) == pytest.approx(true, abs=0.01 if sigma == 0.5 else 0.15)
    # and with it the object explains the measurement
    before, after = problem.errors(truth).chi2, problem.seen_with(psf).errors(truth).chi2
    assert float(after) < 0.05 * float(before)


def test_each_sample_has_its_own_blur_and_unmeasured_pixels_count_for_nothing(planted):
    sharp, truth, support = blurred_problem(planted, 0.4)
    wide, _, _ = blurred_problem(planted, 0.9)
    both = Problem(torch.cat([sharp.amplitudes, wide.amplitudes]))
    how = PartialCoherence(steps=40)
    together = how.estimate(both, truth.expand(2, 40, 40), State(truth.expand(2, 40, 40), support.expand(2, 40, 40)))
    for k, problem in enumerate((sharp, wide)):
        torch.testing.assert_close(together[k : k + 1], how.estimate(problem, truth, State(truth, support)))
    assert widths(together[1:])[0] > widths(together[:1])[0] + 0.3
    measured = torch.ones(40, 40, dtype=torch.bool)
    measured[0, :3], measured[7, 9] = False, False
    masked = Problem(wide.amplitudes, measured)
    other = Problem(torch.where(measured, wide.amplitudes, torch.nan), measured)
    found = how.estimate(masked, truth, State(truth, support))
    assert torch.equal(how.estimate(other, truth, State(truth, support)), found)
    assert widths(found) == pytest.approx([0.9, 0.9], abs=0.2)


def test_a_run_that_estimates_coherence_ends_nearer_to_the_object(planted):
    _, _, support = planted((48, 48))
    y, x = torch.meshgrid(*[torch.arange(48, dtype=torch.float64) / n for n in (7, 9)], indexing="ij")
    truth = torch.polar(support.double(), 0.7 * torch.sin(x + 0.5 * y) + 0.5 * torch.cos(y))
    blur = gaussian(0.5, 2)
    power = Problem(torch.ones(1, 48, 48, dtype=torch.float64)).seen_with(blur).blurred(forward(truth))
    problem = Problem(power.sqrt().expand(6, 48, 48))
    inside = dilated(support, 1).expand(6, 48, 48).contiguous()
    start = random_start(problem, inside)
    plain = solve(problem, Recipe.parse("(hio*60 + raar*60)*3 + er*40"), start)
    seen = solve(problem, Recipe.parse("(hio*60 + raar*60)*3 + er*40; coherence"), start)
    assert plain.state.psf is None
    assert widths(seen.state.psf) == pytest.approx(widths(blur), abs=0.15)
    assert float(seen.chi2.median()) < 0.5 * float(plain.chi2.median())
    errors = [float(nmse(end.object, truth.expand(6, 48, 48))[0].median()) for end in (plain, seen)]
    assert errors[1] < 0.7 * errors[0]
    # the error that is told is that of the blurred model, and a run goes on with the blur that was found
    torch.testing.assert_close(problem.seen_with(seen.state.psf).errors(seen.object).chi2, seen.chi2)
    on = solve(problem, Recipe.parse("er*5"), seen.state)
    assert torch.equal(on.state.psf, seen.state.psf)
    assert (on.chi2 < 1.1 * seen.chi2).all()


def test_estimates_come_when_they_are_due():
    how = PartialCoherence(start=100, every=20)
    assert [n for n in range(1, 161) if how.is_due(n)] == [100, 120, 140, 160]
    assert [n for n in range(1, 61) if how.is_due(n, is_known=True)] == [20, 40, 60]
    with pytest.raises(RecipeError, match="first estimated after 100 iterations, and the recipe has 90"):
        Recipe.parse("hio*90; coherence")


def test_what_holds_for_coherent_light_alone_is_refused(planted):
    problem, _, support = planted((12, 12), positive=True)
    with pytest.raises(RecipeError, match="alm"):
        next(run(problem, Recipe.parse("alm*5; coherence"), random_start(problem, support)))
    half = problem.halved()
    with pytest.raises(RecipeError, match="half a spectrum"):
        next(run(half, Recipe.parse("hio*5; coherence(start=2)"), random_start(half, support)))
