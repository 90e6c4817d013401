import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.extent import find_extent


@given(st.integers(8, 24), st.integers(8, 24), st.floats(2.2, 4), st.sampled_from([None, 1e6]))
def test_a_boxs_sides_are_found(height, width, oversampling, photons):
    measurement, _ = simulate(np.ones((height, width)), oversampling=oversampling, photons=photons)
    extent = find_extent(measurement)
    # A box's autocorrelation is a triangle: 4% are lost at its ends, and rounding.
    assert np.abs(np.subtract(extent.pixels, (height, width))).max() <= 2
    assert extent.is_cut == (False, False)
    assert "reaches" not in str(extent)


def test_an_object_that_is_too_large_for_the_sampling_is_warned_of_along_its_axis():
    truth = np.zeros((64, 64))
    truth[12:20, 5:50] = 1  # 45 of 64 columns: an oversampling of 1.4
    intensities = np.abs(np.fft.fftshift(np.fft.fft2(truth))) ** 2
    extent = find_extent(Measurement.of(intensities, zero_frequency="centre"))
    assert extent.is_cut == (False, True)
    assert extent.oversampling[1] <= 2
    assert "edge along axis 1: the oversampling may be 2 or less" in str(extent)
    assert "× ≥ 32 of" in str(extent)


def test_volumes():
    ball = sum((np.indices((16, 20, 24)) - np.array([8, 10, 12]).reshape(3, 1, 1, 1)) ** 2) < 49
    measurement, _ = simulate(ball, oversampling=2.5)
    assert find_extent(measurement).pixels == pytest.approx((13, 13, 13), abs=3)


@pytest.mark.parametrize("missing", [2, 5, 8])
def test_a_missing_centre_does_not_hide_the_objects_size(missing):
    rows, columns = np.indices((40, 30)) - np.array([20, 15]).reshape(2, 1, 1)
    ring = (np.hypot(rows, columns * 4 / 3) < 18) & (np.hypot(rows - 2, columns + 3) > 6)
    measurement, _ = simulate(ring, oversampling=4, photons=1e8)
    distance = np.hypot(*(np.indices(measurement.grid) - np.array(measurement.grid).reshape(2, 1, 1) // 2))
    extent = find_extent(measurement.with_mask(distance > missing))
    assert extent.pixels == pytest.approx((35, 27), rel=0.3)
    assert extent.is_cut == (False, False)
