import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_dipr.networks.spec import NetworkSpec
from napari_dipr.networks.unrolled import BETA, ENDING, LEVEL, SHARPNESS, SMOOTHING, folded, iterated
from napari_dipr.physics import fourier
from napari_dipr.physics.fourier import centre_window, embed_window, magnitude_projection

WINDOWS = {2: (12, 10), 3: (8, 6, 7)}
outputs = pytest.mark.parametrize("output", ["non-negative", "complex"])
dimensions = pytest.mark.parametrize("d", [2, 3])
projections = pytest.mark.parametrize("k", [0, 1, 2])


def network(d=2, output="non-negative", k=0, fold=2, iterations=0):
    window = WINDOWS[d]
    grid = tuple(fold * n for n in window)
    torch.manual_seed(0)
    spec = NetworkSpec(grid=grid, window=window, width=4, levels=2, projections=k, output=output, iterations=iterations)
    return spec.build().eval()


def objects(net, seed, batch=2):
    generator = torch.Generator().manual_seed(seed)
    amplitude = torch.rand(batch, *net.spec.window, generator=generator)
    if not net.spec.is_complex:
        return amplitude
    return torch.polar(amplitude, torch.randn(batch, *net.spec.window, generator=generator))


def pattern(net, seed, batch=2):
    x = embed_window(objects(net, seed, batch).to(torch.complex64), net.spec.grid)
    return torch.fft.fftn(x, dim=tuple(range(1, x.ndim))).abs().square()


def distance(a, b):
    """The largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


@dimensions
@outputs
@projections
def test_there_is_an_object_in_the_window_after_every_unet(d, output, k):
    net = network(d, output, k)
    with torch.inference_mode():
        found = net.objects(pattern(net, 1))
        last = net(pattern(net, 1))
    assert len(found) == k + 1
    for x in found:
        assert x.shape == (2, *WINDOWS[d])
        assert x.dtype == (torch.complex64 if output == "complex" else torch.float32)
        assert x.isfinite().all()
    assert torch.equal(found[-1], last)


@settings(max_examples=12)
@given(
    st.integers(4, 30), st.integers(2, 4), st.integers(1, 3), st.integers(0, 2), st.tuples(*[st.integers(8, 13)] * 2)
)
def test_every_network_that_is_not_refused_gives_an_object_in_its_window(width, levels, fold, k, window):
    grid = tuple(fold * n for n in window)
    spec = NetworkSpec(grid=grid, window=window, width=width, levels=levels, projections=k)
    with torch.inference_mode():
        assert spec.build()(torch.rand(2, *spec.grid)).shape == (2, *window)


@dimensions
@outputs
@projections
@pytest.mark.parametrize("scale", [2.0**-26, 2.0**20])  # rounding stays the same
def test_a_brighter_measurement_gives_the_same_object_brighter_by_the_root(d, output, k, scale):
    net = network(d, output, k)
    y = pattern(net, 1)
    with torch.inference_mode():
        assert distance(net(scale * y), scale**0.5 * net(y)) < 1e-4


@dimensions
@projections
def test_an_object_described_as_non_negative_is(d, k):
    net = network(d, k=k)
    for parameter in net.heads.parameters():
        torch.nn.init.normal_(parameter, std=3)
    with torch.inference_mode():
        for x in net.objects(pattern(net, 1)):
            assert (x >= 0).all()


def test_the_energy_of_a_fresh_networks_object_is_of_the_measured_size():
    net = network()
    y = pattern(net, 1)
    with torch.inference_mode():
        found = net(y)
    energy = found.square().flatten(1).sum(1) / (y.flatten(1).sum(1) / y[0].numel())
    assert ((energy > 0.05) & (energy < 20)).all()


@dimensions
@outputs
def test_the_scale_of_the_output_is_the_objects_root_mean_square(d, output):
    net = network(d, output)
    x = objects(net, 1)
    torch.testing.assert_close(net.rms(pattern(net, 1)).flatten(), x.abs().square().flatten(1).mean(1).sqrt())


@dimensions
def test_the_features_of_a_real_object_are_the_folded_root_of_the_autocorrelation(d):
    net = network(d)
    y = pattern(net, 3)
    axes = tuple(range(1, d + 1))
    rho = np.fft.fftshift(np.fft.ifftn(y.double().numpy(), axes=axes).real, axes=axes)
    expected = np.sqrt(np.abs(rho) / rho.max(axes, keepdims=True)) * np.sign(rho)
    features = net.features(y)
    assert features.shape == (2, 2**d, *WINDOWS[d])
    for channel, offset in enumerate(np.ndindex(*(2,) * d)):
        part = expected[(slice(None), *(slice(o, None, 2) for o in offset))]
        np.testing.assert_allclose(features[:, channel], part, atol=2e-3)


@dimensions
def test_the_features_of_a_complex_object_keep_the_phase_of_the_autocorrelation(d):
    net = network(d, "complex")
    y = pattern(net, 3)
    axes = tuple(range(1, d + 1))
    rho = np.fft.fftshift(np.fft.ifftn(y.double().numpy(), axes=axes), axes=axes)
    expected = np.sqrt(np.abs(rho) / np.abs(rho).max(axes, keepdims=True)) * np.exp(1j * np.angle(rho))
    features = net.features(y)
    assert features.shape == (2, 2 * 2**d, *WINDOWS[d])
    for channel, offset in enumerate(np.ndindex(*(2,) * d)):
        part = expected[(slice(None), *(slice(o, None, 2) for o in offset))]
        np.testing.assert_allclose(features[:, channel], part.real, atol=2e-3)
        np.testing.assert_allclose(features[:, channel + 2**d], part.imag, atol=2e-3)


@outputs
@projections
def test_each_sample_is_seen_alone(output, k):
    net = network(output=output, k=k)
    y = pattern(net, 4, batch=3)
    with torch.inference_mode():
        together = net(y)
        for i in range(3):
            assert distance(net(y[i : i + 1]), together[i : i + 1]) < 0.01


@dimensions
def test_on_the_grid_the_object_lies_in_the_middle_and_nothing_outside(d):
    net = network(d, k=1)
    with torch.inference_mode():
        full, window = net.on_grid(pattern(net, 5)), net(pattern(net, 5))
    assert full.shape == (2, *net.spec.grid)
    assert torch.equal(centre_window(full, WINDOWS[d]), window)
    assert torch.count_nonzero(full) == torch.count_nonzero(window)


@outputs
def test_a_dark_measurement_gives_finite_darkness(output):
    net = network(output=output)
    with torch.inference_mode():
        assert not net(torch.zeros(1, *net.spec.grid)).any()


def answering(d, output, *, added, kept, iterations=0):
    """A network that adds and keeps the same everywhere after its projection."""
    net = network(d, output, k=1, iterations=iterations)
    head = net.heads[1]
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias[:-1] = added
        head.bias[-1] = kept
    return net


@dimensions
@outputs
def test_a_projection_kept_whole_with_nothing_added_is_the_magnitude_projection(d, output):
    # Softplus of −1000 adds nothing, its sigmoid keeps nothing, and that of 1000 everything.
    net = answering(d, output, added=0 if output == "complex" else -1e3, kept=1e3)
    y = 9 * pattern(net, 6)
    measured = torch.rand(y.shape, generator=torch.Generator().manual_seed(7)) < 0.8
    with torch.inference_mode():
        before, after = net.objects(y, measured)
    axes = tuple(range(1, d + 1))
    f = np.fft.fftn(embed_window(before, net.spec.grid).numpy(), axes=axes)
    f = np.where(measured, np.sqrt(y.numpy()) * np.exp(1j * np.angle(f)), f)
    expected = centre_window(torch.from_numpy(np.fft.ifftn(f, axes=axes)), WINDOWS[d]).numpy()
    expected = expected if output == "complex" else np.maximum(expected.real, 0)
    np.testing.assert_allclose(after, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@dimensions
@outputs
def test_a_projection_that_is_not_kept_has_no_say(d, output):
    net = answering(d, output, added=0.5, kept=-1e3)
    y = pattern(net, 6)
    with torch.inference_mode():
        found = net(y) / net.rms(y)
    only = complex(0.5, 0.5) if output == "complex" else float(functional.softplus(torch.tensor(0.5)))
    torch.testing.assert_close(found, torch.full_like(found, only))


@dimensions
@outputs
def test_magnitude_projections_leave_unmeasured_pixels_free(d, output):
    net = network(d, output, k=2)
    y = pattern(net, 8)
    measured = torch.ones_like(y, dtype=torch.bool)
    one, other = (0, *(3,) * d), (0, *(2,) * d)
    measured[one] = measured[other] = False
    y[one], y[other] = 100 * y.mean(), 0
    swapped = y.clone()  # neither the features that are given nor the energy tell the two apart
    swapped[one], swapped[other] = y[other], y[one]
    features = net.features(y)
    with torch.inference_mode():
        free, used = (
            [
                distance(a, b)
                for a, b in zip(net.objects(swapped, m, features), net.objects(y, m, features), strict=True)
            ]
            for m in (measured, None)
        )
    assert max(free) < 1e-4
    assert min(used[1:]) > 1e-3


def test_a_mask_that_hides_nothing_changes_nothing():
    net = network(k=2)
    y = pattern(net, 8)
    with torch.inference_mode():
        assert torch.equal(net(y, torch.ones_like(y, dtype=torch.bool)), net(y))


def test_without_projections_a_mask_has_no_say():
    net = network()
    y = pattern(net, 8)
    with torch.inference_mode():
        assert torch.equal(net(y, torch.zeros_like(y, dtype=torch.bool)), net(y))


def block(d):
    """A complex object of one amplitude on its grid, its far field's amplitudes, and an object near it."""
    net = network(d, "complex")
    truth = torch.zeros(1, *net.spec.window, dtype=torch.complex64)
    truth[(slice(None), *(slice(2, -2),) * d)] = 1
    truth = truth * torch.exp(0.5j * objects(net, 9, 1).abs())
    truth = embed_window(truth, net.spec.grid)
    axes = tuple(range(1, d + 1))
    near = truth + 0.3 * embed_window(objects(net, 10, 1), net.spec.grid) * (truth != 0)
    return net.spec.window, truth, torch.fft.fftn(truth, dim=axes).abs(), near, axes


@dimensions
@pytest.mark.parametrize("iterations", [1, 4, 7, 12])
def test_iterations_are_hio_then_er_with_a_share_for_a_support(d, iterations):
    window, _, amplitudes, x, axes = block(d)
    measured = torch.rand(amplitudes.shape, generator=torch.Generator().manual_seed(7)) < 0.9
    found = iterated(x, amplitudes, measured, window, iterations)

    size = np.abs(x.numpy()).astype(float)
    q = np.meshgrid(*(np.fft.fftfreq(n) for n in x.shape[1:]), indexing="ij")
    blur = np.exp(-2 * (np.pi * SMOOTHING) ** 2 * sum(k**2 for k in q))
    size = np.fft.ifftn(np.fft.fftn(size, axes=axes) * blur, axes=axes).real
    inside = embed_window(torch.ones(1, *window), tuple(x.shape[1:])).numpy()
    size = size.clip(0) * inside
    r = size / (LEVEL * (size**3).sum() / (size**2).sum())
    share = r**SHARPNESS / (1 + r**SHARPNESS)
    expected = x.numpy().astype(complex)
    for number in range(iterations):
        f = np.fft.fftn(expected, axes=axes)
        f = np.where(measured, amplitudes.numpy() * np.exp(1j * np.angle(f)), f)
        projected = np.fft.ifftn(f, axes=axes)
        ending = number >= iterations - iterations // ENDING
        outside = 0 if ending else expected - BETA * projected
        expected = share * projected + (1 - share) * outside
    np.testing.assert_allclose(found, expected, atol=2e-3)


@dimensions
def test_iterations_bring_an_object_closer_to_what_was_measured(d):
    window, truth, amplitudes, near, axes = block(d)

    def misfit(x):
        return float((torch.fft.fftn(x, dim=axes).abs() - amplitudes).square().sum() / amplitudes.square().sum())

    after = iterated(near, amplitudes, None, window, 30)
    assert misfit(after) < misfit(near) / 5
    outside = after * (embed_window(torch.ones(1, *window), tuple(truth.shape[1:])) == 0)
    assert not outside.any()


@outputs
def test_a_network_with_iterations_projects_what_they_end_with(output):
    net = answering(2, output, added=0 if output == "complex" else -1e3, kept=1e3, iterations=6)
    y = pattern(net, 6)
    with torch.inference_mode():
        before, after = net.objects(y)
    unit = net.rms(y)
    x = iterated(
        embed_window(before / unit, net.spec.grid).to(torch.complex64), y.sqrt() / unit, None, net.spec.window, 6
    )
    expected = centre_window(magnitude_projection(x, y.sqrt()), net.spec.window)
    torch.testing.assert_close(
        after, expected if output == "complex" else expected.real.clamp_min(0), rtol=1e-3, atol=1e-3
    )


def test_iterations_have_no_weights_and_pass_no_gradient():
    net, plain = network(k=1, iterations=5), network(k=1)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    net.objects(pattern(net, 1))[-1].sum().backward()
    assert all(p.grad is not None for p in net.stages[1].parameters())


def test_the_transforms_of_an_answer_are_counted(monkeypatch):
    net = network(output="complex", k=2, iterations=5)
    count = 0

    def counted(transform):
        def call(*args, **keywords):
            nonlocal count
            count += 1
            return transform(*args, **keywords)

        return call

    monkeypatch.setattr(fourier, "forward", counted(fourier.forward))
    monkeypatch.setattr(fourier, "backward", counted(fourier.backward))
    with torch.inference_mode():
        net(pattern(net, 1))
    assert count == net.spec.ffts


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_folding_a_picture_is_pixel_unshuffle(fold, channels, height, width):
    array = torch.arange(2 * channels * fold**2 * height * width).reshape(2, channels, fold * height, fold * width)
    assert torch.equal(folded(array, fold), functional.pixel_unshuffle(array, fold))


@given(st.integers(1, 3), st.integers(1, 2), st.tuples(*[st.integers(1, 3)] * 3))
def test_folding_a_volume_keeps_every_voxel_in_its_block(fold, channels, window):
    array = torch.arange(channels * fold**3 * int(np.prod(window)))
    array = array.reshape(1, channels, *(fold * n for n in window))
    found = folded(array, fold)
    assert found.shape == (1, channels * fold**3, *window)
    assert torch.equal(found.flatten().sort().values, array.flatten())
    for block in np.ndindex(*window):
        slices = [slice(fold * i, fold * (i + 1)) for i in block]
        assert torch.equal(found[(0, slice(None), *block)], array[(0, slice(None), *slices)].flatten())
