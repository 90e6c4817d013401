import gzip

import numpy as np
import pytest

from napari_dipr.errors import FileError
from napari_dipr.training import objects
from napari_dipr.training.objects import FILES, fashion_mnist

NAME = FILES["train"][0]


def idx(images, magic=(0, 0, 8, 3)):
    sizes = np.array(images.shape, ">i4").tobytes()
    return bytes(magic) + sizes + images.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)


def test_images_are_read_from_the_folder_that_is_given(tmp_path, images):
    (tmp_path / NAME).write_bytes(gzip.compress(idx(images)))
    np.testing.assert_array_equal(fashion_mnist("train", tmp_path), images)


def test_a_folder_without_them_is_refused_with_the_names(tmp_path):
    with pytest.raises(FileError, match=f"no {NAME} in {tmp_path}"):
        fashion_mnist("train", tmp_path)


@pytest.mark.parametrize("kind", ["not gzip", "cut short", "labels", "cut image", "no image"])
def test_a_file_of_something_else_is_refused(tmp_path, images, kind):
    content = {
        "not gzip": b"hello",
        "cut short": gzip.compress(idx(images))[:-200],
        "labels": gzip.compress(idx(images, (0, 0, 8, 1))),
        "cut image": gzip.compress(idx(images)[:-5]),
        "no image": gzip.compress(idx(images)[:16]),
    }[kind]
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(FileError, match=f"{tmp_path / NAME} (cannot be unpacked|is not a file of 28 × 28 images)"):
        fashion_mnist("train", tmp_path)


def test_without_a_folder_a_package_or_a_network_the_message_says_what_helps(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(objects, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(FileError, match=r"no network.*dataset-fashion-mnist, or give a folder"):
        fashion_mnist("test")


def test_debians_package_holds_both_splits():
    if not objects.DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    assert fashion_mnist("train").shape == (60_000, 28, 28)
    assert fashion_mnist("test").shape == (10_000, 28, 28)
