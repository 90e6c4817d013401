import torch

from napari_dipr.networks.dncnn import DnCNN
from napari_dipr.networks.spec import Strengths


def test_what_is_predicted_as_noise_is_subtracted():
    network = DnCNN(layers=4, width=8).eval()
    images = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network.noise[-1].weight.zero_()
        network.noise[-1].bias.fill_(0.25)
        torch.testing.assert_close(network(images), images - 0.25)
        # Each convolution hands on its first channel, the last a third of it.
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.zero_()
                part.weight[0, 0, 1, 1] = 1
                if part.bias is not None:
                    part.bias.zero_()
        network.noise[-1].weight /= 3
        torch.testing.assert_close(network(images), images * 2 / 3, rtol=1e-4, atol=1e-5)


def test_there_are_as_many_convolutions_as_asked_for():
    network = DnCNN(layers=6, width=8)
    convolutions = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    assert [(part.in_channels, part.out_channels) for part in convolutions] == [(1, 8), *[(8, 8)] * 4, (8, 1)]


def test_denoisers_are_one_for_each_strength():
    denoisers = Strengths(name="tiny", purpose="tests", sigmas=(51, 25.5), layers=3, width=4).build()
    assert denoisers.strengths == (0.2, 0.1)
    assert len(denoisers.networks) == 2
