import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_dipr.networks.spec import NetworkSpec
from napari_dipr.physics.fourier import centre_window, embed_window

SMALL = NetworkSpec(grid=(24, 24), window=(12, 12), width=4, levels=3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SMALL.build().eval()


def intensities(seed, batch=2, grid=(24, 24)):
    window = tuple(n // 2 for n in grid)
    x = torch.rand(batch, *window, generator=torch.Generator().manual_seed(seed))
    return torch.fft.fft2(embed_window(x, grid)).abs().square()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"grid": (72, 70)}, "must be one whole multiple of the window"),
        ({"grid": (72, 36)}, "whole multiple"),
        ({"grid": (54, 54)}, "whole multiple"),
        ({"window": (0, 0)}, "greater than or equal to 1"),
        ({"grid": (72,)}, "grid"),
        ({"grid": (8, 8), "window": (4, 4)}, "cannot be halved 3 times"),
        ({"width": 2}, "greater than or equal to 4"),
        ({"levels": 1}, "greater than or equal to 2"),
        ({"architecture": "transformer"}, "unet"),
        ({"output": "complex"}, "non-negative"),
        ({"depth": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(table, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSpec(**table)


@settings(max_examples=12)
@given(st.integers(4, 30), st.integers(2, 4), st.integers(1, 3), st.tuples(*[st.integers(8, 13)] * 2))
def test_every_network_that_is_not_refused_gives_an_object_in_its_window(width, levels, fold, window):
    spec = NetworkSpec(grid=tuple(fold * n for n in window), window=window, width=width, levels=levels)
    with torch.inference_mode():
        assert spec.build()(torch.rand(2, *spec.grid)).shape == (2, *window)


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_a_brighter_measurement_gives_the_same_object_brighter_by_the_root(network, scale):
    y = intensities(1)
    with torch.inference_mode():
        torch.testing.assert_close(network(scale * y), scale**0.5 * network(y), rtol=1e-3, atol=0)


def test_the_object_is_not_negative_and_its_energy_is_of_the_measured_size(network):
    y = intensities(1)
    with torch.inference_mode():
        objects = network(y)
    assert (objects >= 0).all()
    energy = objects.square().flatten(1).sum(1) / (y.flatten(1).sum(1) / 24**2)
    assert ((energy > 0.05) & (energy < 20)).all()


def test_the_scale_of_the_output_is_the_objects_root_mean_square(network):
    x = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(1))
    y = torch.fft.fft2(embed_window(x, (24, 24))).abs().square()
    torch.testing.assert_close(network.rms(y)[:, 0, 0], x.square().mean((1, 2)).sqrt())


def test_the_features_are_the_folded_root_of_the_autocorrelation(network):
    y = intensities(3)
    rho = np.fft.fftshift(np.fft.ifft2(y.numpy()).real, axes=(1, 2))
    expected = np.sqrt(np.abs(rho) / rho.max((1, 2), keepdims=True)) * np.sign(rho)
    features = network.features(y)
    assert features.shape == (2, 4, 12, 12)
    for channel, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        np.testing.assert_allclose(features[:, channel], expected[:, row::2, column::2], atol=2e-3)


def test_each_sample_is_seen_alone(network):
    y = intensities(4, batch=3)
    with torch.inference_mode():
        together = network(y)
        for k in range(3):
            torch.testing.assert_close(network(y[k : k + 1]), together[k : k + 1], rtol=1e-4, atol=1e-6)


def test_on_the_grid_the_object_lies_in_the_middle_and_nothing_outside(network):
    with torch.inference_mode():
        full, window = network.on_grid(intensities(5)), network(intensities(5))
    assert full.shape == (2, 24, 24)
    assert torch.equal(centre_window(full, (12, 12)), window)
    assert torch.count_nonzero(full) == torch.count_nonzero(window)


def test_a_dark_measurement_gives_finite_darkness(network):
    with torch.inference_mode():
        assert not network(torch.zeros(1, 24, 24)).any()
