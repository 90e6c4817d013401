import numpy as np
import pytest

from napari_dipr.preparation.bad import bad_pixels, suspicious_pixels


def suspicious(counts, measured=None):
    return suspicious_pixels(np.asarray(counts), np.ones(counts.shape, bool) if measured is None else measured)


def test_bad_pixels_are_found_by_reason():
    data = np.linspace(1, 2, 16).reshape(4, 4)
    data[0, 0], data[0, 1], data[1, 1] = np.nan, np.inf, -3
    data[2, :3] = 7
    data = np.round(8 * data)
    found = bad_pixels(data)
    assert {reason: int(mask.sum()) for reason, mask in found.items()} == {
        "NaN": 2,
        "negative": 1,
        "saturated": 3,
    }
    assert found["NaN"][0, :2].all()


def test_an_integer_at_its_types_limit_is_saturated_even_alone():
    data = np.arange(16, dtype=np.uint16).reshape(4, 4)
    assert bad_pixels(data) == {}
    data[3, 3] = 65535
    assert bad_pixels(data)["saturated"].sum() == 1


@pytest.mark.parametrize("rate", [0.02, 0.3, 2.0])
def test_the_brightest_of_few_counts_are_not_saturated(rate):
    counts = np.random.default_rng(0).poisson(rate, (72, 72))
    assert (counts == counts.max()).sum() >= 3 or rate > 0.1
    assert bad_pixels(counts) == {}


def test_a_friedel_pair_at_the_largest_value_is_not_saturated():
    data = np.zeros((4, 4))
    data[1, 2] = data[3, 2] = 5.0
    assert bad_pixels(data) == {}
    assert bad_pixels(np.zeros((4, 4))) == {}


def test_a_ccds_pile_at_the_top_is_saturated_though_no_two_values_need_be_equal():
    rng = np.random.default_rng(0)
    counts = rng.exponential(1e3, (200, 200))
    counts[:10, :10] = 65535 - rng.uniform(0, 100, (10, 10))
    found = bad_pixels(counts)["saturated"]
    assert found[:10, :10].all()
    assert found.sum() == 100


def test_the_top_of_a_smooth_peak_is_not_saturated():
    r2 = sum((np.indices((200, 200)) - 100) ** 2)
    assert bad_pixels(np.exp(-r2 / 1e4)) == {}


def test_a_gap_at_an_integers_limit_is_found_in_floats_too_and_what_is_saturated_below_it():
    counts = np.random.default_rng(0).poisson(10, (64, 64)).astype(np.float32)
    counts[3], counts[5, :7] = 2**32 - 1, 900
    found = bad_pixels(counts)["saturated"]
    assert found[3].all()
    assert found[5, :7].all()
    assert found.sum() == 71


def test_a_given_saturation_counts():
    assert (bad_pixels(np.arange(100.0), saturation=90)["saturated"] == (np.arange(100) >= 90)).all()


def test_a_pixel_that_never_counts_in_a_scan_is_silent():
    scan = np.random.default_rng(0).poisson(2, (20, 24, 24))
    scan[:, 5, 6] = 0
    found = suspicious(scan)
    assert set(found) == {"silent"}
    assert found["silent"][:, 5, 6].all()
    assert found["silent"].sum() == 20
    # Where next to nothing comes, a pixel without a count is nothing special.
    assert "silent" not in suspicious(np.random.default_rng(0).poisson(0.05, (20, 24, 24)))


def speckles(peak=3e5, shape=(64, 64)):
    """Counts of a simulated object."""
    x = np.zeros(shape)
    x[20:41, 22:37] = 1 + np.random.default_rng(1).random((21, 15))
    power = np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2
    return np.random.default_rng(0).poisson(power / power.max() * peak).astype(float)


@pytest.mark.parametrize("peak", [1e3, 1e5, 1e8])
def test_a_clean_pattern_has_no_suspicious_pixels(peak):
    assert suspicious(speckles(peak)) == {}


def test_what_the_detector_did_is_found_by_reason():
    counts = speckles(1e8)
    counts[30:33] = 0
    counts[34, 33] = 0
    counts[5, 60] = 1e6
    expected = {"gap": {(r, c) for r in (30, 31, 32) for c in range(64)}, "dead": {(34, 33)}, "hot": {(5, 60)}}
    found = suspicious(counts)
    assert {name: set(map(tuple, np.argwhere(mask).tolist())) for name, mask in found.items()} == expected


def test_what_is_unmeasured_is_not_suspected_again():
    counts = speckles(1e8)
    counts[34, 33] = 0
    measured = np.ones(counts.shape, bool)
    measured[34, 33] = False
    assert suspicious(np.where(measured, counts, 0), measured) == {}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
def test_a_hot_pixel_is_found_in_numbers_of_any_type(kind):
    r2 = sum((np.indices((64, 64)) - 32) ** 2)
    counts = np.random.default_rng(0).poisson(100 * np.exp(-r2 / 300) + 1).astype(kind)
    counts[5, 6] = 120
    assert {reason: np.argwhere(mask).tolist() for reason, mask in suspicious(counts).items()} == {"hot": [[5, 6]]}
