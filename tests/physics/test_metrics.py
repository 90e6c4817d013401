import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.physics.metrics import chi2, r_factor

seeds = st.integers(0, 2**32 - 1)


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


@given(seeds, st.floats(0, 3))
def test_a_pattern_of_the_wrong_scale_has_the_closed_form_errors(seed, scale):
    f = draw(seed, 2, 6, 5)
    torch.testing.assert_close(chi2(scale * f, f.abs()), torch.full((2,), (scale - 1) ** 2, dtype=torch.float64))
    torch.testing.assert_close(r_factor(scale * f, f.abs()), torch.full((2,), abs(scale - 1), dtype=torch.float64))


def test_each_sample_has_its_own_error():
    amplitudes = torch.tensor([[[3.0, 4.0]], [[3.0, 4.0]]])
    f = torch.tensor([[[3.0, 4.0]], [[3.0, 0.0]]]).to(torch.complex64)
    torch.testing.assert_close(chi2(f, amplitudes), torch.tensor([0.0, 16 / 25]))
    torch.testing.assert_close(r_factor(f, amplitudes), torch.tensor([0.0, 4 / 7]))


@given(seeds)
def test_unmeasured_pixels_count_neither_above_nor_below_the_line(seed):
    f, amplitudes = draw(seed, 2, 6, 5), draw(seed + 1, 2, 6, 5).abs()
    measured = torch.ones(6, 5, dtype=torch.bool)
    measured[2, 1:4] = False
    left = (f.abs() - amplitudes)[:, measured]
    torch.testing.assert_close(
        chi2(f, amplitudes, measured), left.square().sum(1) / amplitudes[:, measured].square().sum(1)
    )
    torch.testing.assert_close(r_factor(f, amplitudes, measured), left.abs().sum(1) / amplitudes[:, measured].sum(1))
    hidden = torch.where(measured, amplitudes, torch.nan)
    assert torch.equal(chi2(f, hidden, measured), chi2(f, amplitudes, measured))


def test_a_mask_may_differ_from_sample_to_sample():
    f = torch.ones(2, 1, 2, dtype=torch.complex64)
    measured = torch.tensor([[[True, False]], [[True, True]]])
    torch.testing.assert_close(
        chi2(f, torch.tensor([[[1.0, 3.0]], [[1.0, 3.0]]]), measured), torch.tensor([0.0, 4 / 10])
    )
