import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.symmetry import twin
from napari_dipr.training.losses import passive

seeds = st.integers(0, 2**32 - 1)


def draw(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pattern(x):
    return torch.fft.fft2(x).abs().square()


@given(seeds)
def test_the_passive_loss_is_the_relative_squared_difference_of_amplitudes(seed):
    x, y = draw(seed, 3, 6, 5), pattern(draw(seed + 1, 3, 6, 5))
    loss = passive(x, y)
    for k in range(3):
        amplitudes = np.abs(np.fft.fft2(x[k].numpy()))
        expected = ((amplitudes - np.sqrt(y[k].numpy())) ** 2).sum() / y[k].numpy().sum()
        np.testing.assert_allclose(loss[k], expected, rtol=1e-10)


@given(seeds, st.tuples(st.integers(0, 5), st.integers(0, 4)))
def test_the_passive_loss_vanishes_at_the_truth_its_twin_and_its_shifts(seed, shift):
    x = draw(seed, 2, 6, 5)
    for solution in (x, twin(x), torch.roll(x, shift, (1, 2)), -x):
        assert float(passive(solution, pattern(x)).max()) < 1e-20


def test_the_passive_loss_does_not_depend_on_the_unit():
    x, y = draw(1, 2, 6, 5), pattern(draw(2, 2, 6, 5))
    torch.testing.assert_close(passive(1e3 * x, 1e6 * y), passive(x, y))


def test_the_passive_loss_can_be_descended_even_where_a_coefficient_is_zero():
    x = torch.zeros(1, 6, 5, requires_grad=True)
    passive(x + torch.eye(6, 5)[None] * 0.5, pattern(draw(3, 1, 6, 5)).float()).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.any()
