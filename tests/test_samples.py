import gzip

import numpy as np
import pytest

from napari_dipr import samples
from napari_dipr.errors import FileError
from napari_dipr.training.objects import DEBIAN, FILES


def test_the_shipped_images_are_the_first_256_of_the_test_set():
    path = DEBIAN / FILES["test"][0]
    if not path.is_file():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    raw = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    np.testing.assert_array_equal(samples.shipped_images(), raw[16:].reshape(-1, 28, 28)[:256])
    labels = np.frombuffer(gzip.decompress((DEBIAN / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
    np.testing.assert_array_equal(samples.shipped_labels(), labels[8:][:256])


def test_every_image_has_a_class_with_a_name():
    assert samples.shipped_images().shape == (256, 28, 28)
    assert samples.shipped_labels().shape == (256,)
    assert samples.shipped_labels().max() < len(samples.CLASSES)


@pytest.mark.parametrize("seed", [samples.SEED, [2020, 7, 1]])
def test_the_first_placements_are_the_same_however_many_follow(seed):
    images = samples.shipped_images()
    everything = samples.place(images, seed)
    for count in (1, 7, 100):
        np.testing.assert_array_equal(samples.place(images[:count], seed), everything[:count])


def test_an_image_is_placed_whole_turned_or_not():
    images = samples.shipped_images()
    fields = samples.place(images)
    assert fields.shape == (256, 36, 36)
    assert fields.dtype == np.float32
    turned, corners = 0, set()
    for image, field in zip(images, fields, strict=True):
        found = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (1, -1)
            if np.array_equal(field[top : top + 28, left : left + 28], image[::flip, ::flip] / np.float32(255))
        ]
        assert found
        assert np.count_nonzero(field) == np.count_nonzero(image)
        turned += found[0][2] == -1
        corners.add(found[0][:2])
    assert 90 < turned < 166
    assert len(corners) > 60  # of 81


def test_another_seed_places_otherwise():
    images = samples.shipped_images()[:16]
    assert (samples.place(images, 1) != samples.place(images, 2)).any()


@pytest.mark.parametrize("grid", [72, 73, 80])
def test_the_field_lies_in_the_window_round_the_grids_middle(grid):
    fields = np.random.default_rng(0).random((2, 36, 36), np.float32) + 1
    full = samples.on_grid(fields, grid)
    assert full.shape == (2, grid, grid)
    np.testing.assert_array_equal(full[1] > 0, samples.field_window(grid))
    assert full[1, grid // 2, grid // 2] == fields[1, 18, 18]


def test_a_sample_is_a_measurement_of_its_truth():
    measurement, truth = samples.sample("fashion-17")
    np.testing.assert_allclose(measurement.cornered_amplitudes(), np.abs(np.fft.fft2(truth)), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(truth.real, samples.on_grid(samples.place(samples.shipped_images()))[17])
    assert not (truth * ~samples.field_window()).any()
    assert measurement.name == "fashion-17"


@pytest.mark.parametrize("name", ["fashion-256", "fashion--1", "fashion-", "ring", "fashion-1.5"])
def test_a_sample_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(FileError, match=f"no sample '{name}'.*fashion-0 to fashion-255"):
        samples.sample(name)
