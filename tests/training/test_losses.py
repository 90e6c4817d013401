import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.symmetry import twin
from napari_dipr.training.losses import LOSSES, passive_absolute, passive_squared

seeds = st.integers(0, 2**32 - 1)


def draw(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pattern(x):
    return torch.fft.fft2(x).abs().square()


@given(seeds)
def test_the_passive_losses_are_relative_differences_of_amplitudes(seed):
    x, y = draw(seed, 3, 6, 5), pattern(draw(seed + 1, 3, 6, 5))
    squared, absolute = passive_squared(x, y), passive_absolute(x, y)
    for k in range(3):
        misfit, measured = np.abs(np.fft.fft2(x[k].numpy())) - np.sqrt(y[k].numpy()), np.sqrt(y[k].numpy())
        np.testing.assert_allclose(squared[k], (misfit**2).sum() / (measured**2).sum(), rtol=1e-10)
        np.testing.assert_allclose(absolute[k], np.abs(misfit).sum() / measured.sum(), rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@given(seed=seeds, shift=st.tuples(st.integers(0, 5), st.integers(0, 4)))
def test_a_passive_loss_vanishes_at_the_truth_its_twin_and_its_shifts(loss, seed, shift):
    x = draw(seed, 2, 6, 5)
    for solution in (x, twin(x), torch.roll(x, shift, (1, 2)), -x):
        assert float(loss(solution, pattern(x)).max()) < 1e-13


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_passive_loss_does_not_depend_on_the_unit(loss):
    x, y = draw(1, 2, 6, 5), pattern(draw(2, 2, 6, 5))
    torch.testing.assert_close(loss(1e3 * x, 1e6 * y), loss(x, y))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_passive_loss_can_be_descended_even_where_a_coefficient_is_zero(loss):
    x = torch.zeros(1, 6, 5, requires_grad=True)
    loss(x + torch.eye(6, 5)[None] * 0.5, pattern(draw(3, 1, 6, 5)).float()).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.any()
