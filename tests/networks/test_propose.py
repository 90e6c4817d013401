import doctest
import json

import numpy as np
import pytest
import scipy.ndimage
import torch

from napari_dipr import samples
from napari_dipr.errors import ModelError, SupportError
from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import (
    answer_to,
    mirrors,
    predict,
    propose,
    propose_all,
    rethreshold,
    suited_threshold,
    support_of,
)
from napari_dipr.networks.spec import ProposalDefaults
from napari_dipr.networks.view import View
from napari_dipr.networks.zoo import describe_model, find_model, load_model, model_names
from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.physics.fourier import embed_window, forward
from napari_dipr.physics.metrics import chi2
from napari_dipr.physics.symmetry import nmse

PLAIN = ProposalDefaults(median=1, sigma=0)


def spot(brightness=1.0):
    """A block of 4 × 4, and one pixel of some brightness far from it."""
    x = torch.zeros(1, 20, 20, dtype=torch.complex64)
    x[0, 8:12, 8:12] = 1j
    x[0, 2, 3] = brightness
    return x


def test_the_support_is_where_the_amplitude_exceeds_a_share_of_its_maximum():
    x = torch.tensor([[[0.1, 0.5, -1.0], [0.25j, 0.0, 0.3]], [[10, 50, 100], [25, 0, 30]]])
    expected = torch.tensor([[False, True, True], [False, False, True]])
    found = support_of(x, PLAIN, 0.26)
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)


def test_a_median_takes_out_the_one_bright_pixel():
    assert int(support_of(spot(100.0), PLAIN, 0.1).sum()) == 1
    found = support_of(spot(100.0), ProposalDefaults(median=3, sigma=0), 0.1)[0]
    assert not found[2, 3]
    assert found[8:12, 8:12].sum() == 12  # a median takes a square's corners


@pytest.mark.parametrize("side", [3, 5])
def test_the_median_agrees_with_scipy(side):
    x = torch.rand(2, 20, 21, generator=torch.Generator().manual_seed(1))
    filtered = np.stack([scipy.ndimage.median_filter(image, side, mode="mirror") for image in x.numpy()])
    expected = filtered > 0.7 * filtered.max((1, 2), keepdims=True)
    np.testing.assert_array_equal(support_of(x, ProposalDefaults(median=side, sigma=0), 0.7), expected)


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_the_threshold_that_suits_is_a_share_of_the_amplitude_that_holds_the_energy(level):
    how = ProposalDefaults(sigma=0, level=level)
    # A flat object's amplitude is its largest, whatever is round it and however large it is.
    x = torch.zeros(3, 20, 20, dtype=torch.complex64)
    x[0, 8:12, 8:12], x[1, 2:18, 2:18], x[2, 8:12, 8:12] = 3j, 3j, 3j
    x[2, 15, 15] = 6  # one pixel of twice the amplitude
    thresholds = suited_threshold(x, how)
    torch.testing.assert_close(thresholds[:2], torch.tensor([level, level]))
    # 16 pixels of 1 and one of 2, cubes by squares, relative to 2.
    assert float(thresholds[2]) == pytest.approx(level * (16 + 8) / (16 + 4) / 2)
    assert torch.equal(support_of(x, how), x != 0)
    assert torch.equal(support_of(5 * x, how), x != 0)


def test_nothing_is_inside_where_there_is_no_object():
    assert not support_of(torch.zeros(1, 8, 8), PLAIN).any()


def test_smoothing_closes_a_hole():
    x = spot(0.0)
    x[0, 9, 9] = 0
    assert not support_of(x, PLAIN, 0.1)[0, 9, 9]
    assert support_of(x, ProposalDefaults(sigma=0.7), 0.1)[0, 9, 9]


def test_a_proposal_has_the_measured_energy_and_its_support(models):
    picture = np.random.default_rng(1).random((18, 18))
    measurement, _ = simulate(picture)
    proposal = propose(measurement, "tiny", device="cpu")
    objects, how = torch.from_numpy(proposal.object)[None], describe_model("tiny").proposal
    assert proposal.model == "tiny"
    assert proposal.threshold == pytest.approx(float(suited_threshold(objects, how)[0]))
    assert proposal.object.dtype == np.complex64
    assert (np.abs(proposal.object) ** 2).sum() == pytest.approx((picture**2).sum(), rel=1e-4)
    np.testing.assert_array_equal(proposal.support, support_of(objects, how)[0])
    higher = propose(measurement, "tiny", device="cpu", threshold=0.6)
    np.testing.assert_array_equal(rethreshold(proposal, 0.6).support, higher.support)
    assert higher.support.sum() < proposal.support.sum()


def test_what_is_not_measured_does_not_influence_a_proposal(models):
    measurement, _ = simulate(np.random.default_rng(1).random((18, 18)))
    mask = np.ones(measurement.grid, bool)
    mask[3:6, 20:25] = False
    data = measurement.intensities.copy()
    data[~mask] = np.nan
    proposals = [
        propose(m, "tiny", device="cpu")
        for m in (measurement.with_mask(mask), Measurement.of(data, measured=mask, zero_frequency="centre"))
    ]
    np.testing.assert_array_equal(proposals[0].object, proposals[1].object)


@pytest.mark.parametrize("shape", [(20, 20), (33, 64), (100, 50)])
def test_a_proposal_is_on_the_measurements_own_grid_and_has_its_energy(models, shape):
    picture = np.random.default_rng(1).random(shape)
    measurement, _ = simulate(picture)
    proposal = propose(measurement, "tiny", device="cpu")
    assert proposal.object.shape == proposal.support.shape == measurement.grid
    assert (np.abs(proposal.object) ** 2).sum() == pytest.approx((picture**2).sum(), rel=1e-4)
    assert proposal.support.any()
    assert 0 < proposal.agreement <= 1 + 1e-6
    assert proposal.chi2 > 0


def test_the_answer_that_explains_the_measurement_best_is_kept(models):
    network, measured = load_model("tiny"), torch.rand(3, 36, 36, generator=torch.Generator().manual_seed(2)) < 0.9
    pictures = torch.rand(3, 18, 18, generator=torch.Generator().manual_seed(1))
    intensities = forward(embed_window(pictures, (36, 36))).abs().square()
    best, straight = (
        propose_all(network, intensities, measured, mirrored=flag, resampled=False) for flag in (True, False)
    )
    assert (best.chi2 <= straight.chi2).all()
    assert (best.chi2 < straight.chi2).any()
    filled = fill_unmeasured(intensities, measured)
    expected = predict(network, filled, measured)
    torch.testing.assert_close(straight.objects, expected, rtol=1e-4, atol=1e-5)
    errors = chi2(forward(torch.fft.ifftshift(expected, (1, 2))), filled.sqrt(), measured)
    torch.testing.assert_close(straight.chi2, errors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_each_measurement_of_a_batch_is_answered_as_it_is_alone(models, masked):
    generator = torch.Generator().manual_seed(3)
    pictures = torch.zeros(4, 40, 40)
    for picture, side in zip(pictures, (40, 3, 18, 40), strict=True):
        picture[:side, :side] = torch.rand(side, side, generator=generator)
    intensities = forward(embed_window(pictures, (96, 96))).abs().square()
    measured = torch.rand(4, 96, 96, generator=generator) < 0.95 if masked else None
    network = load_model("tiny")
    together = propose_all(network, intensities, measured, mirrored=False)
    assert len(set(together.coarseness.tolist())) > 1
    for i in range(4):
        mask = None if measured is None else measured[i : i + 1]
        alone = propose_all(network, intensities[i : i + 1], mask, mirrored=False)
        for name in ("objects", "chi2", "agreement", "coarseness"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0], rtol=1e-3, atol=1e-3)


def test_a_missing_centre_does_not_change_how_large_an_object_is_seen(models):
    generator = torch.Generator().manual_seed(3)
    pictures = torch.zeros(2, 48, 48)
    for picture, side in zip(pictures, (30, 44), strict=True):
        picture[:side, :side] = 0.5 + torch.rand(side, side, generator=generator)
    intensities = forward(embed_window(pictures, (144, 144))).abs().square()
    measured = torch.ones(144, 144, dtype=torch.bool)
    measured[[0, 0, 0, 1, -1], [0, 1, -1, 0, 0]] = False
    network = load_model("tiny")
    complete = propose_all(network, intensities, mirrored=False).coarseness
    found = propose_all(network, intensities, measured, mirrored=False).coarseness
    torch.testing.assert_close(found, complete, rtol=0.05, atol=0)
    of_the_fill = View.of(fill_unmeasured(intensities, measured)[1:], (36, 36), (18, 18), complete=False).coarseness
    assert abs(of_the_fill / float(complete[1]) - 1) > 0.1  # what the fill alone would have told


def test_a_model_for_one_size_sees_small_objects_as_they_are(models):
    picture = np.zeros((18, 18))
    picture[8:11, 6:13] = 1
    measurement, _ = simulate(picture)
    path = models / "tiny" / "model.toml"
    assert propose(measurement, "tiny", device="cpu").coarseness < 1
    path.write_text(path.read_text().replace("[network]", "resampled = false\n\n[network]", 1))
    found = propose(measurement, "tiny", device="cpu")
    assert found.coarseness == 1
    intensities = torch.from_numpy(np.square(measurement.cornered_amplitudes()))[None]
    expected = predict(load_model("tiny"), intensities)[0].numpy()
    np.testing.assert_allclose(found.object, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(6, 6), (6, 5), (4, 6, 5)])
def test_the_mirror_images_are_all_different_and_each_leads_back(grid):
    x = torch.rand(2, *grid, generator=torch.Generator().manual_seed(1))
    images = [mirror(x) for mirror in mirrors(x)]
    assert len(images) == 2 ** len(grid) * (2 if grid == (6, 6) else 1)
    for k, (mirror, image) in enumerate(zip(mirrors(x), images, strict=True)):
        assert torch.equal(mirror(image, back=True), x)
        assert not any(torch.equal(image, other) for other in images[:k] if other.shape == image.shape)


@pytest.mark.parametrize("grid", [(6, 6), (6, 5), (4, 6, 5)])
def test_an_object_mirrored_has_its_pattern_mirrored(grid):
    x = torch.randn(2, *grid, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    for mirror in mirrors(x):
        torch.testing.assert_close(forward(mirror(x)).abs(), mirror(forward(x).abs()), rtol=1e-4, atol=1e-4)


def test_a_measurement_that_does_not_fit_is_refused_with_the_reason_and_a_way_out(models):
    measurement, _ = simulate(np.ones((18, 18, 18)))
    with pytest.raises(ModelError, match=r"2 dimensions; this measurement has 3\. Take another model, or start from"):
        propose(measurement, "tiny")


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0, -1.0, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(models, threshold):
    measurement, _ = simulate(np.ones((18, 18)))
    with pytest.raises(SupportError, match="must be between 0 and 1"):
        propose(measurement, "tiny", threshold=threshold)
    with pytest.raises(SupportError, match=f"is {threshold:g}; .* must be between 0 and 1"):
        rethreshold(propose(measurement, "tiny", device="cpu"), threshold)


@pytest.mark.skipif("unrolled-objects-2d" not in model_names(), reason="its weights are not there")
def test_the_example_holds():
    found = doctest.DocTestFinder().find(propose, "propose")
    assert sum(len(test.examples) for test in found) > 5
    for test in found:
        assert doctest.DocTestRunner().run(test).failed == 0


def test_a_model_is_named_by_its_folders_path_too(models):
    measurement, _ = simulate(np.random.default_rng(1).random((18, 18)))
    found, expected = (propose(measurement, name, device="cpu") for name in (str(models / "tiny"), "tiny"))
    np.testing.assert_array_equal(found.object, expected.object)


def test_the_shipped_passive_network_beats_the_papers_on_images_it_was_never_trained_on():
    if "passive-fashion" not in model_names():
        pytest.skip("models/passive-fashion has no weights yet")
    truth = torch.from_numpy(samples.on_grid(samples.place(samples.shipped_images())))
    intensities = torch.fft.fft2(truth).abs().square()
    network = load_model("passive-fashion")
    spec = describe_model("passive-fashion")
    objects = torch.cat([answer_to(spec, network, part).objects for part in intensities.split(64)])
    error, _ = nmse(objects, truth, torch.from_numpy(samples.field_window()))
    assert float(error.mean()) < 0.266
    stated = json.loads((find_model("passive-fashion") / "trained.json").read_text()).get("nmse")
    if stated is not None:
        assert float(error.mean()) == pytest.approx(stated, abs=0.005)
