import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.networks.unet import UNet


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=[2, 3])
def network(request):
    torch.manual_seed(0)
    return UNet(3, 8, 3, request.param).eval()


def dimensions(network):
    return network.down[0][0].weight.ndim - 2


@settings(max_examples=12)
@given(st.integers(1, 5), st.integers(4, 24), st.integers(2, 4), st.lists(st.integers(8, 13), min_size=2, max_size=3))
def test_its_features_have_its_width_and_the_size_of_what_it_is_given(inputs, width, levels, window):
    with torch.inference_mode():
        features = UNet(inputs, width, levels, len(window))(noise(2, inputs, *window))
    assert features.shape == (2, width, *window)


def test_each_sample_is_seen_alone(network):
    h = noise(3, 3, *(9, 8, 10)[: dimensions(network)])
    with torch.inference_mode():
        together = network(h)
        for k in range(3):
            torch.testing.assert_close(network(h[k : k + 1]), together[k : k + 1], rtol=1e-4, atol=1e-5)


def test_one_pixel_is_felt_everywhere(network):
    h = noise(1, 3, *(8,) * dimensions(network)).requires_grad_()
    corner = network(h)[(0, slice(None), *(0,) * dimensions(network))]
    (gradient,) = torch.autograd.grad(corner.square().sum(), h)
    assert (gradient.abs().sum(1) > 0).all()


def test_every_weight_is_used(network):
    network(noise(2, 3, *(8,) * dimensions(network))).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
        weight.grad = None
