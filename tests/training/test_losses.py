import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.symmetry import twin
from napari_dipr.training.losses import LOSSES, Batch, aligned, jacobian, naive, symmetry_aware

PASSIVE = ["passive-squared", "passive-absolute", "passive-intensity", "passive-mixed"]
seeds = st.integers(0, 2**32 - 1)
grids = pytest.mark.parametrize("grid", [(6, 5), (3, 4, 2)])
every = pytest.mark.parametrize("name", LOSSES)
passive = pytest.mark.parametrize("name", PASSIVE)
masked = pytest.mark.parametrize("is_masked", [False, True])


def draw(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def complexes(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def pattern(x):
    return torch.fft.fftn(x, dim=tuple(range(1, x.ndim))).abs().square()


def batch_of(truth, measured=None):
    return Batch(pattern(truth), measured, truth)


def moved(x, shift, turned, phase):
    x = torch.roll(x, shift, tuple(range(1, x.ndim)))
    return (twin(x) if turned else x) * np.exp(1j * phase)


def equivalents(truth):
    """Every shift and twin of one truth ``[*grid]``, in numpy."""
    axes = tuple(range(truth.ndim))
    turned = np.roll(np.flip(truth), (1,) * truth.ndim, axes).conj()
    for shift in itertools.product(*map(range, truth.shape)):
        for candidate in (truth, turned):
            yield np.roll(candidate, shift, axes)


def closest(truth, x):
    """The nearest equivalent with the best phase, and its distance, by trying them all."""
    tried = []
    for candidate in equivalents(truth):
        overlap = np.vdot(candidate, x)
        candidate = candidate * (overlap / abs(overlap))
        tried.append((np.sum(np.abs(x - candidate) ** 2), candidate))
    return min(tried, key=lambda pair: pair[0])


@grids
@masked
@given(seed=seeds)
def test_the_passive_losses_are_relative_differences_over_measured_pixels(grid, is_masked, seed):
    x, truth = complexes(seed, 3, *grid), complexes(seed + 1, 3, *grid)
    measured = draw(seed + 2, 3, *grid) < 0.7 if is_masked else None
    batch = batch_of(truth, measured)
    found = {name: LOSSES[name](x, batch) for name in PASSIVE}
    for k in range(3):
        counts = np.ones(grid, bool) if measured is None else measured[k].numpy()
        y, model = batch.intensities[k].numpy()[counts], np.abs(np.fft.fftn(x[k].numpy()))[counts] ** 2
        absolute = np.abs(np.sqrt(model) - np.sqrt(y)).sum() / np.sqrt(y).sum()
        intensity = ((model - y) ** 2).sum() / (y**2).sum()
        expected = {
            "passive-squared": ((np.sqrt(model) - np.sqrt(y)) ** 2).sum() / y.sum(),
            "passive-absolute": absolute,
            "passive-intensity": intensity,
            "passive-mixed": (absolute + intensity) / 2,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][k], value, rtol=1e-9)


@passive
@given(seed=seeds, value=st.sampled_from([0.0, 1e9, float("nan"), float("inf")]))
def test_unmeasured_values_never_matter_to_a_passive_loss(name, seed, value):
    x, truth, measured = complexes(seed, 2, 6, 5), complexes(seed + 1, 2, 6, 5), draw(seed + 2, 2, 6, 5) < 0.7
    filled = Batch(torch.where(measured, pattern(truth), value), measured, truth)
    assert torch.equal(LOSSES[name](x, filled), LOSSES[name](x, batch_of(truth, measured)))


@passive
@given(seed=seeds, shift=st.tuples(st.integers(0, 5), st.integers(0, 4)), phase=st.floats(-4, 4))
def test_a_passive_loss_vanishes_at_the_truth_and_its_equivalents_and_nowhere_near(name, seed, shift, phase):
    x = complexes(seed, 2, 6, 5)
    for turned in (False, True):
        assert float(LOSSES[name](moved(x, shift, turned, phase), batch_of(x)).max()) < 1e-13
    assert float(LOSSES[name](1.1 * x, batch_of(x)).min()) > 0.005


@every
def test_a_loss_does_not_depend_on_the_unit(name):
    x, truth = complexes(1, 2, 6, 5), complexes(2, 2, 6, 5)
    torch.testing.assert_close(LOSSES[name](1e3 * x, batch_of(1e3 * truth)), LOSSES[name](x, batch_of(truth)))


@every
def test_a_loss_is_each_samples_own(name):
    x, truth = complexes(1, 3, 6, 5), complexes(2, 3, 6, 5)
    together = LOSSES[name](x, batch_of(truth))
    assert together.shape == (3,)
    for k in range(3):
        torch.testing.assert_close(LOSSES[name](x[k : k + 1], batch_of(truth[k : k + 1])), together[k : k + 1])


@every
def test_a_loss_can_be_descended_even_where_a_coefficient_is_zero(name):
    x = torch.zeros(1, 6, 5, requires_grad=True)
    truth = draw(3, 1, 6, 5).to(torch.complex64)
    LOSSES[name](x + torch.eye(6, 5)[None] * 0.5, batch_of(truth)).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.any()


@grids
@given(seed=seeds)
def test_the_naive_loss_is_the_relative_squared_distance(grid, seed):
    x, truth = complexes(seed, 3, *grid), complexes(seed + 1, 3, *grid)
    expected = [np.sum(np.abs((x - truth)[k].numpy()) ** 2) / np.sum(np.abs(truth[k].numpy()) ** 2) for k in range(3)]
    np.testing.assert_allclose(naive(x, batch_of(truth)), expected, rtol=1e-9)


@grids
@given(seed=seeds)
def test_the_truth_is_aligned_as_the_best_of_all_shifts_and_twins_with_their_phases(grid, seed):
    x, truth = complexes(seed, 3, *grid), complexes(seed + 1, 3, *grid)
    found, loss = aligned(truth, x), symmetry_aware(x, batch_of(truth))
    for k in range(3):
        distance, candidate = closest(truth[k].numpy(), x[k].numpy())
        np.testing.assert_allclose(found[k], candidate, atol=1e-5)
        np.testing.assert_allclose(loss[k], distance / np.sum(np.abs(truth[k].numpy()) ** 2), rtol=1e-6)


@given(seed=seeds)
def test_no_shift_twin_or_phase_is_closer_than_the_aligned_truth(seed):
    x, truth = complexes(seed, 1, 4, 5), complexes(seed + 1, 1, 4, 5)
    least = float((x - aligned(truth, x)).abs().square().sum())
    for candidate in equivalents(truth[0].numpy()):
        for phase in np.linspace(0, 2 * np.pi, 7):
            assert np.sum(np.abs(x[0].numpy() - candidate * np.exp(1j * phase)) ** 2) > least - 1e-5


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@given(
    seed=seeds,
    shift=st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(0, 6)),
    volume=st.booleans(),
    turned=st.booleans(),
    phase=st.floats(-4, 4),
)
def test_the_symmetry_aware_loss_vanishes_at_every_equivalent_of_the_truth(dtype, seed, shift, volume, turned, phase):
    grid, shift = ((9, 6, 7), shift) if volume else ((9, 6), shift[:2])
    truth = complexes(seed, 2, *grid).to(dtype)
    assert float(symmetry_aware(moved(truth, shift, turned, phase).to(dtype), batch_of(truth)).max()) < 1e-9


@given(seed=seeds)
def test_a_real_objects_truth_is_aligned_too(seed):
    truth = draw(seed, 2, 6, 5).to(torch.complex128)
    x = torch.roll(twin(truth), (2, 3), (1, 2)).real
    assert float(symmetry_aware(x, batch_of(truth)).max()) < 1e-9


@grids
@given(seed=seeds)
def test_nothing_flows_back_through_the_alignment(grid, seed):
    truth = complexes(seed, 2, *grid)
    x = complexes(seed + 1, 2, *grid).requires_grad_()
    (gradient,) = torch.autograd.grad(symmetry_aware(x, batch_of(truth)).sum(), x)
    fixed = aligned(truth, x).clone()
    assert not fixed.requires_grad
    (expected,) = torch.autograd.grad(naive(x, batch_of(fixed)).sum(), x)
    torch.testing.assert_close(gradient, expected)
    by_hand = 2 * (x.detach() - fixed) / truth.abs().square().flatten(1).sum(1).reshape(-1, *(1,) * len(grid))
    torch.testing.assert_close(gradient, by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["naive", "symmetry-aware"])
def test_darkness_is_as_wrong_as_the_truth_is_bright(name):
    truth = complexes(0, 2, 6, 5)
    torch.testing.assert_close(LOSSES[name](torch.zeros_like(truth), batch_of(truth)), torch.ones(2).double())


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_jacobian_term_is_on_average_its_mean_square_per_output(is_complex):
    weights = complexes(0, 4, 3) if is_complex else draw(0, 4, 3)

    def network(inputs):
        return torch.tanh(inputs.to(weights.dtype) @ weights.T) + inputs[..., :1] ** 2

    def parts(inputs):
        x = network(inputs)
        return torch.view_as_real(x).flatten() if is_complex else x

    at = draw(1, 3) - 0.5
    exact = torch.autograd.functional.jacobian(parts, at)
    expected = exact.square().sum() / len(exact)
    assert len(exact) == (8 if is_complex else 4)
    inputs = at.expand(20_000, 3).clone().requires_grad_()
    estimates = jacobian(network(inputs), inputs, torch.Generator().manual_seed(2))
    assert estimates.shape == (20_000,)
    error = float(estimates.detach().std()) / 20_000**0.5
    assert error < 0.02 * expected
    assert abs(float(estimates.detach().mean() - expected)) < 4 * error


def test_the_jacobian_term_of_a_single_output_is_exact_and_can_be_descended():
    weights = draw(0, 1, 5).requires_grad_()
    inputs = draw(1, 2, 5).requires_grad_()
    term = jacobian(inputs**2 @ weights.T, inputs)
    torch.testing.assert_close(term, (4 * inputs**2 * weights**2).sum(1))
    (gradient,) = torch.autograd.grad(term.sum(), weights)
    torch.testing.assert_close(gradient, (8 * inputs**2 * weights).sum(0, keepdim=True))


def test_a_generator_fixes_the_jacobians_direction():
    inputs = draw(1, 2, 5).requires_grad_()
    weights = draw(0, 3, 5)
    once, again, other = (
        jacobian(inputs @ weights.T, inputs, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
