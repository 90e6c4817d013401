import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement, guess_zero_frequency

shapes = st.one_of(st.tuples(*[st.integers(16, 24)] * 2), st.tuples(*[st.integers(16, 18)] * 3))


def pattern(shape=(20, 24), seed=0):
    """A pattern that falls off from the centre, as scattering does."""
    r2 = sum((i - n // 2) ** 2 for i, n in zip(np.ogrid[tuple(slice(n) for n in shape)], shape, strict=True))
    return (1 + np.random.default_rng(seed).random(shape)) * np.exp(-r2 / 20)


def of(data, **options):
    return Measurement.of(data, zero_frequency="centre", **options)


@given(shapes, st.sampled_from([np.float64, np.float32, np.float16, np.uint8, np.uint16, np.int32, bool]))
def test_intensities_are_kept_as_float32(shape, dtype):
    data = (100 * pattern(shape)).astype(dtype)
    measurement = of(data)
    assert measurement.intensities.dtype == np.float32
    np.testing.assert_array_equal(measurement.intensities, data.astype(np.float32))
    assert measurement.measured.all()
    assert measurement.grid == shape


def test_amplitudes_are_squared():
    data = pattern()
    np.testing.assert_allclose(of(data, kind="amplitude").intensities, data**2, rtol=1e-6)
    np.testing.assert_allclose(of(data, kind="amplitude").cornered_amplitudes(), np.fft.ifftshift(data), rtol=1e-6)


@given(shapes)
def test_zero_frequency_is_found_in_the_corner_and_in_the_centre(shape):
    data = pattern(shape)
    assert guess_zero_frequency(data) == "centre"
    assert guess_zero_frequency(np.fft.ifftshift(data)) == "corner"
    centred, cornered = Measurement.of(data), Measurement.of(np.fft.ifftshift(data))
    np.testing.assert_array_equal(centred.intensities, cornered.intensities)
    assert np.unravel_index(centred.cornered_amplitudes().argmax(), shape) == np.unravel_index(
        np.fft.ifftshift(data).argmax(), shape
    )


def test_the_guess_looks_past_a_beam_stop_and_bad_pixels():
    data = pattern((64, 64))
    data[30:35, 30:35] = np.nan
    data[0, 0] = np.inf
    data[0, 1] = -1e9
    assert guess_zero_frequency(data) == "centre"


def test_what_a_person_says_of_zero_frequency_overrules_the_guess():
    data = pattern()
    np.testing.assert_array_equal(
        Measurement.of(data, zero_frequency="corner").intensities, np.fft.fftshift(data).astype(np.float32)
    )
    np.testing.assert_array_equal(
        Measurement.of(np.fft.ifftshift(data), zero_frequency="centre").intensities,
        np.fft.ifftshift(data).astype(np.float32),
    )


def test_the_mask_moves_with_the_pattern():
    data, mask = pattern((21, 16)), np.ones((21, 16), bool)
    mask[10, 8] = False
    cornered = Measurement.of(np.fft.ifftshift(data), measured=np.fft.ifftshift(mask), zero_frequency="corner")
    np.testing.assert_array_equal(cornered.measured, mask)
    assert not cornered.cornered_measured()[0, 0]
    assert cornered.cornered_measured().sum() == mask.sum()


def test_unmeasured_pixels_may_hold_anything_and_count_as_zero():
    data, mask = pattern(), np.ones((20, 24), np.uint8)
    data[3, 4:8] = np.nan, np.inf, -np.inf, -5
    mask[3, 4:8] = 0
    measurement = of(data, measured=mask)
    assert not measurement.intensities[3, 4:8].any()
    assert not measurement.measured[3, 4:8].any()
    assert measurement.measured.sum() == 20 * 24 - 4


def test_singleton_dimensions_are_dropped():
    assert of(pattern()[None, :, :, None], measured=np.ones((1, 20, 24, 1))).grid == (20, 24)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.full((20, 20), "a"), {}, "made of real numbers"),
        (np.ones((20, 20), complex), {}, r"real numbers, these are complex128.*\|F\|²"),
        (np.full((20, 20), None), {}, "object"),
        (np.ones(400), {}, r"2 or 3 dimensions.*\(400,\)"),
        (np.ones((17, 18, 19, 20)), {}, r"\(17, 18, 19, 20\). Choose one frame"),
        (np.float64(3), {}, r"2 or 3 dimensions"),
        (np.ones((20, 20, 3)), {}, "at least 16.*colour picture"),
        (np.ones((20, 0)), {}, "at least 16"),
        (np.where(np.eye(20) > 0, np.nan, 1), {}, r"20 pixels are NaN.*Mask them .*\(in Python with measured=\)"),
        (np.where(np.eye(20) > 0, -1, 1), {}, "20 pixels are NaN, infinite or negative, which no intensity"),
        (np.where(np.eye(20) > 0, -1, 1), {"kind": "amplitude"}, "no amplitude can be"),
        (np.where(np.eye(20) > 0, np.inf, 1), {}, "20 pixels"),
        (np.zeros((20, 20)), {}, "are zero.*right dataset or frame"),
        (np.full((20, 20), 1e-30), {"kind": "amplitude"}, r"largest amplitude is 1e-30"),
        (np.full((20, 20), 1e39), {}, r"1e\+39, is beyond float32"),
        (np.full((20, 20), 1e20), {"kind": "amplitude"}, "beyond float32"),
        (np.ones((20, 20)), {"measured": np.ones((20, 21))}, r"mask has the shape \(20, 21\), the data \(20, 20\)"),
        (np.ones((20, 20)), {"measured": np.zeros((20, 20))}, "no measured pixel.*polarity"),
    ],
)
def test_what_cannot_be_a_measurement_is_refused_with_the_reason(data, options, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MeasurementError, match=message):
            Measurement.of(data, **options)


def test_a_mask_adds_to_the_one_that_is_there():
    first, second = np.ones((20, 24), bool), np.ones((20, 24), bool)
    first[1, 1], second[2, 2] = False, False
    masked = of(pattern(), measured=first).with_mask(second)
    np.testing.assert_array_equal(masked.measured, first & second)
    assert masked.intensities[2, 2] == 0
    assert masked.intensities.dtype == np.float32
    assert masked.history == ("masked 2 pixels as unmeasured",)


def test_a_mask_that_leaves_nothing_is_refused():
    data = pattern()
    with pytest.raises(MeasurementError, match="polarity"):
        of(data).with_mask(np.zeros((20, 24)))
    data[:10] = 0
    with pytest.raises(MeasurementError, match="not zero"):
        of(data).with_mask(data == 0)
    with pytest.raises(MeasurementError, match=r"\(20, 20\), the data \(20, 24\)"):
        of(data).with_mask(np.ones((20, 20)))


def test_a_threshold_zeroes_what_is_below_and_leaves_it_measured():
    data = np.arange(400.0).reshape(20, 20)
    cut = of(data).thresholded(10)
    assert not cut.intensities.flat[:10].any()
    np.testing.assert_array_equal(cut.intensities.flat[10:], np.arange(10.0, 400))
    assert cut.measured.all()
    assert cut.history == ("intensities below 10 set to 0",)


def test_a_threshold_above_everything_is_refused_with_the_largest_value():
    with pytest.raises(MeasurementError, match="threshold 500: the largest is 399"):
        of(np.arange(400.0).reshape(20, 20)).thresholded(500)


@pytest.mark.parametrize("size", [16, 17, np.int64(18), (16, 19)])
def test_a_crop_has_the_peak_as_its_middle_pixel(size):
    data = np.ones((40, 42))
    data[18, 24] = 9
    crop = of(data).cropped(size)
    assert crop.intensities[tuple(n // 2 for n in crop.grid)] == 9
    assert crop.cornered_amplitudes()[0, 0] == 3
    assert crop.measured.all()


def test_a_crop_round_the_centre_keeps_zero_frequency_where_it_is():
    data = pattern((41, 40))
    data[3, 3] = 99
    crop = of(data).cropped(20, around="centre")
    np.testing.assert_array_equal(crop.intensities, data[10:30, 10:30].astype(np.float32))


def test_a_crop_over_the_edge_is_filled_with_unmeasured_pixels():
    data = np.ones((20, 24, 20))
    data[1, 2, 18] = 9
    crop = of(data).cropped((16, 16, 16))
    assert crop.intensities[8, 8, 8] == 9
    assert crop.measured.sum() == (1 + 8) * (2 + 8) * (8 + 2)
    np.testing.assert_array_equal(crop.intensities > 0, crop.measured)
    assert crop.history == ("cropped from (20, 24, 20) to (16, 16, 16) around the peak at (1, 2, 18)",)


def test_a_crop_larger_than_the_pattern_pads_it():
    crop = of(pattern()).cropped(32, around="centre")
    assert crop.measured.sum() == 20 * 24
    np.testing.assert_array_equal(crop.cropped((20, 24), around="centre").intensities, of(pattern()).intensities)


def test_a_crop_that_cannot_be_is_refused():
    with pytest.raises(MeasurementError, match=r"Cannot crop \(20, 24\) to \(8, 8\).*at least 16"):
        of(pattern()).cropped(8)
    with pytest.raises(MeasurementError, match="more than twice as large"):
        of(pattern()).cropped(100_000)
    with pytest.raises(MeasurementError, match="give 2 sides"):
        of(pattern()).cropped((16, 16, 16))
    dark = np.zeros((64, 64))
    dark[2, 2] = 1
    with pytest.raises(MeasurementError, match="All intensities are zero"):
        of(dark).cropped(16, around="centre")


def test_changes_keep_what_is_known_and_leave_the_original_alone():
    geometry = Geometry(wavelength=0.15, distance=2.0, pixel_size=(55.0, 55.0))
    original = of(pattern((40, 40)), name="ring", photons_per_unit=2.0, geometry=geometry, source={"frame": 3})
    changed = original.thresholded(1e-3).cropped(20)
    assert (changed.name, changed.photons_per_unit, changed.geometry) == ("ring", 2.0, geometry)
    assert changed.source == {"frame": 3}
    assert len(changed.history) == 2
    assert original.history == ()
    assert original.grid == (40, 40)


def test_the_voxels_edges_are_those_of_the_geometry():
    flat = of(pattern((40, 50)), geometry=Geometry(wavelength=0.15, distance=2.0, pixel_size=(55.0, 110.0)))
    np.testing.assert_allclose(flat.voxel_basis, np.diag(flat.voxel_size))
    scan = Geometry.parse("energy=9, distance=1, pixel=9, beamline=34-ID-C, delta=30, rock=theta, step=.01")
    rocked = of(np.ones((16, 17, 18)), geometry=scan)
    np.testing.assert_allclose(rocked.voxel_basis, scan.basis((16, 17, 18)))
    assert of(np.ones((16, 16))).voxel_basis is None
    assert of(np.ones((16, 17, 18)), geometry=flat.geometry).voxel_basis is None


def test_measurements_can_be_compared_and_kept_in_a_set():
    a, b = of(pattern()), of(pattern())
    assert a != b
    assert len({a, a, b}) == 2


def test_binning_sums_blocks_round_zero_frequency():
    data = pattern((60, 80))
    binned = of(data).binned((3, 5))
    assert binned.grid == (20, 16)
    # Zero frequency, at (30, 40), is in the middle of the block at (10, 8).
    assert binned.intensities[10, 8] == pytest.approx(data[29:32, 38:43].sum(), rel=1e-6)
    even = of(data).binned((2, 4))
    assert even.grid == (30, 20)
    assert even.intensities[15, 10] == pytest.approx(data[30:32, 39:43].sum(), rel=1e-6)
    # The first block of four reaches over the edge.
    assert not even.measured[:, 0].any()
    assert even.measured[:, 1:].all()


@given(shapes)
def test_binning_by_one_changes_nothing(shape):
    measurement = of(pattern(shape))
    binned = measurement.binned((1,) * len(shape))
    np.testing.assert_array_equal(binned.intensities, measurement.intensities)
    assert binned.measured.all()


def test_a_block_counts_where_all_of_it_was_measured():
    measured = np.ones((51, 51), bool)
    measured[25, 25] = False
    binned = of(pattern((51, 51)), measured=measured).binned((3, 3))
    assert np.argwhere(~binned.measured).tolist() == [[8, 8]]
    assert binned.intensities[8, 8] == 0


def test_binning_that_leaves_nothing_is_refused():
    with pytest.raises(MeasurementError, match=r"\(10, 12\).*Bin less"):
        of(pattern()).binned((2, 2))
    with pytest.raises(MeasurementError, match="give 2 factors"):
        of(pattern()).binned((1, 1, 1))
    only = np.zeros((48, 48), bool)
    only[24, 24] = True
    with pytest.raises(MeasurementError, match="no block is left"):
        of(pattern((48, 48)), measured=only).binned((3, 3))


def test_a_background_is_taken_off_and_nothing_is_negative():
    data = pattern() + 3
    rest = of(data).without_background(3.5)
    np.testing.assert_allclose(rest.intensities, np.maximum(data - 3.5, 0), atol=1e-6)
    with pytest.raises(MeasurementError, match="above the background of 1e"):
        of(data).without_background(1e6)
