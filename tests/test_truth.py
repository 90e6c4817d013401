import numpy as np
import pytest

from napari_dipr.errors import FileError
from napari_dipr.experiment import simulate
from napari_dipr.samples import sample
from napari_dipr.truth import compared, known_object


@pytest.fixture
def measurement():
    return simulate(1 + np.random.default_rng(0).random((12, 14)), oversampling=2.5)[0]


def test_the_truth_of_a_sample_is_known_unless_it_is_cropped(measurement):
    whole, truth = sample("fashion-3")
    known, window, remark = known_object("sample:fashion-3", None, whole)
    np.testing.assert_array_equal(known, truth)
    assert window.shape == truth.shape
    assert remark == ""
    assert known_object("sample:fashion-3", None, whole.cropped(64, "centre"))[::2] == (
        None,
        "cropped, the sample has another pixel size than its truth: not compared",
    )
    assert known_object("mine.npy", None, measurement) == (None, None, "")


@pytest.mark.parametrize("bad", [np.ones((4, 4)), np.zeros((30, 36)), np.full((30, 36), np.nan)])
def test_a_truth_that_is_none_is_refused(tmp_path, measurement, bad):
    assert measurement.grid == (30, 36)
    np.save(tmp_path / "truth.npy", bad)
    with pytest.raises(FileError, match=r"truth\.npy is no truth for this measurement"):
        known_object("mine.npy", tmp_path / "truth.npy", measurement)


def test_what_is_compared_is_free_of_symmetries():
    truth = np.zeros((24, 24), np.complex64)
    truth[5:9, 6:12] = np.random.default_rng(0).normal(size=(4, 6)) + 2j
    assert compared(1j * np.roll(truth, 4, 1), truth, None) < 1e-6
    assert compared(np.ones_like(truth), truth, None) > 0.1
