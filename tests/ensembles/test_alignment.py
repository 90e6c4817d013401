import math

import numpy as np
import pytest
import torch

from napari_dipr.ensembles.alignment import align, align_to_mean, correlations
from napari_dipr.physics.fourier import backward, forward
from napari_dipr.physics.symmetry import twin


@pytest.fixture
def rough():
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(24, 21, dtype=torch.complex128)
    x[8:15, 7:13] = torch.randn(7, 6, generator=generator, dtype=torch.complex128)
    return x


def shifted(x, shift):
    q = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in x.shape), indexing="ij")
    phase = sum(s * k for s, k in zip(shift, q, strict=True))
    return backward(forward(x[None]) * torch.exp(-2j * math.pi * phase))[0]


def test_all_come_to_lie_over_the_one_that_stays(rough):
    others = [shifted(rough, (1.25, -3.5)), twin(rough[None])[0] * 1j, rough.roll(2, 0)]
    laid, found = align(torch.stack([*others, rough]), 3)
    for x in laid:
        assert float((x - rough).norm() / rough.norm()) < 1e-3
    assert [r.twin for r in found] == [False, True, False, False]
    assert torch.equal(laid[3], rough)


def test_the_mean_lies_where_the_members_lay_and_others_stay(rough):
    shifts = (-0.4, 0.0, 0.4)
    objects = torch.stack([*(shifted(rough, (s, 0)) for s in shifts), rough.roll(5, 0)])
    laid = align_to_mean(objects, 5, members=[0, 1, 2])
    for x in laid[:3]:
        assert float((x - rough).norm() / rough.norm()) < 2e-3
    assert torch.equal(laid[3], objects[3])


def test_correlations_are_of_each_two_laid_over_each_other(rough):
    generator = torch.Generator().manual_seed(5)
    other = rough * torch.exp(2j * math.pi * torch.rand(rough.shape, generator=generator, dtype=torch.float64))
    found = correlations(torch.stack([rough, other, twin(rough[None])[0], shifted(other, (0.5, 0.5))]))
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1)
    assert found[0, 2] == pytest.approx(1, abs=1e-6)
    assert found[1, 3] == pytest.approx(1, abs=1e-6)
    assert found[0, 1] < 0.8
    # The twin of the one and the other moved by parts of a pixel have as little in common.
    assert found[2, 3] == pytest.approx(found[0, 1], abs=0.1)
