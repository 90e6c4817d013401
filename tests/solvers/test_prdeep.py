import pytest
import torch

from napari_dipr.physics.fourier import centre_window, embed_window, forward
from napari_dipr.solvers.prdeep import prdeep
from napari_dipr.solvers.problem import Problem, State

WINDOW, GRID = (8, 8), (16, 16)
INSIDE = embed_window(torch.ones(WINDOW, dtype=torch.bool), GRID)


def drawn(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    return embed_window(torch.randn(count, *WINDOW, dtype=torch.complex64, generator=generator), GRID)


def measured(x, mask=None):
    amplitudes = forward(x).abs()
    return Problem(amplitudes if mask is None else amplitudes * mask, mask)


def near(x, share=0.1):
    return State(x + share * drawn(7, len(x)), INSIDE.expand(x.shape))


def misfit(problem, x):
    return problem.errors(x).chi2


def same(images):
    return images


def objective(problem, x, denoiser, weight):
    """The function that prDeep minimises, written out."""
    parts = torch.stack([x.real, x.imag])
    rest = parts - torch.stack([embed_window(denoiser(centre_window(part, WINDOW)), GRID) for part in parts])
    fit = (forward(x).abs() - problem.amplitudes).square().sum((1, 2)) / x[0].numel()
    return fit / 2 + weight / 2 * (parts * rest).sum((0, 2, 3))


def test_with_a_denoiser_that_changes_nothing_the_amplitudes_are_fitted():
    x = drawn(1)
    problem = measured(x)
    start = near(x)
    found, ffts = prdeep(problem, start, WINDOW, [same], weight=0.1, iterations=300)
    assert (misfit(problem, found) < 1e-3 * misfit(problem, start.object)).all()
    assert not found[:, ~INSIDE].any()
    assert ffts >= 2 + 2 * 300


def test_it_ends_where_it_begins_at_the_solution():
    x = drawn(2)
    found, _ = prdeep(measured(x), State(x, INSIDE.expand(x.shape)), WINDOW, [same], weight=0.1, iterations=20)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_a_shrinking_denoiser_costs_what_the_objective_says(weight):
    def shrinking(images):
        return 0.5 * images

    x = drawn(3)
    problem, start = measured(x), near(x)
    found, _ = prdeep(problem, start, WINDOW, [shrinking], weight=weight, iterations=300)
    best = objective(problem, found, shrinking, weight)
    assert (best < objective(problem, start.object, shrinking, weight)).all()
    for seed in range(5):
        assert (objective(problem, found + 0.02 * drawn(seed), shrinking, weight) > best).all()


def test_both_parts_are_denoised_and_each_denoiser_has_its_turn():
    seen = []

    def denoiser(name):
        def denoise(images):
            seen.append((name, tuple(images.shape)))
            return images

        return denoise

    x = drawn(4)
    prdeep(measured(x), near(x), WINDOW, [denoiser("strong"), denoiser("weak")], weight=0.1, iterations=2)
    names = [name for name, _ in seen]
    assert names == sorted(names)
    assert set(names) == {"strong", "weak"}
    assert seen[0][1] == (6, *WINDOW)


def test_each_sample_is_fitted_as_it_is_alone():
    x = drawn(5)
    problem, start = measured(x), near(x)
    together, _ = prdeep(problem, start, WINDOW, [same], weight=0.1, iterations=20)
    for i in range(len(x)):
        alone, _ = prdeep(
            Problem(problem.amplitudes[i : i + 1]),
            State(start.object[i : i + 1], start.support[i : i + 1]),
            WINDOW,
            [same],
            weight=0.1,
            iterations=20,
        )
        torch.testing.assert_close(together[i], alone[0], rtol=1e-3, atol=1e-3)


def test_what_was_not_measured_does_not_count():
    # Where it did, its amplitudes of 0 would pull the object away from the solution.
    x = drawn(6)
    mask = torch.ones(GRID, dtype=torch.bool)
    mask[:2, :2] = False
    found, _ = prdeep(measured(x, mask), State(x, INSIDE.expand(x.shape)), WINDOW, [same], weight=0.1, iterations=20)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)
