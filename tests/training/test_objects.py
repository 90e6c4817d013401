import gzip

import numpy as np
import pytest
import torch

from napari_dipr import samples
from napari_dipr.errors import FileError
from napari_dipr.networks.spec import ModelSpec
from napari_dipr.training import objects
from napari_dipr.training.objects import FILES, fashion_mnist, source, unseen_objects

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


CPU = torch.device("cpu")


def spec(kind="fashion-mnist", seed=5, window=(36, 36)):
    return ModelSpec.model_validate(
        {
            "model": {"name": "tiny", "purpose": "tests"},
            "network": {"grid": [2 * n for n in window], "window": window, "levels": 2},
            "training": {
                "objects": kind, "losses": {"naive": 1.0}, "batch_size": 3, "steps": 6, "learning_rate": 1e-3,
                "seed": seed,
            },
        }
    )  # fmt: skip


@pytest.fixture
def shipped(monkeypatch):
    """FashionMNIST's training set is the shipped images."""
    monkeypatch.setattr(objects, "fashion_mnist", lambda split, folder: samples.shipped_images())


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    ("kind", "window"), [("fashion-mnist", (36, 36)), ("simulated", (20, 18)), ("simulated", (10, 12, 14))]
)
def test_a_batch_depends_on_the_seed_and_its_number_alone(kind, window):
    draw = source(spec(kind, window=window))
    batches = [draw(k, CPU) for k in range(6)]
    assert batches[0][0].shape == (3, *window)
    again = source(spec(kind, window=window))
    torch.manual_seed(99)
    for k in (4, 2, 5):
        fields, generator = again(k, CPU)
        assert torch.equal(fields, batches[k][0])
        # What is drawn afterwards, noise and masks, is the same too.
        assert torch.equal(generator.get_state(), batches[k][1].get_state())
    assert not torch.equal(batches[0][0], batches[1][0])
    assert not torch.equal(batches[0][1].get_state(), batches[1][1].get_state())
    other, generator = source(spec(kind, seed=6, window=window))(0, CPU)
    assert not torch.equal(other, batches[0][0])
    assert not torch.equal(generator.get_state(), batches[0][1].get_state())


@pytest.mark.usefixtures("shipped")
def test_placements_hold_images_of_the_set():
    sums = {int(image.sum()) for image in samples.shipped_images()}
    for field in source(spec())(0, CPU)[0]:
        assert round(float(field.double().sum() * 255)) in sums


def test_the_folder_of_the_images_is_the_one_that_is_given(tmp_path, images):
    (tmp_path / NAME).write_bytes(gzip.compress(idx(images)))
    sums = {int(image.sum()) for image in images}
    for field in source(spec(), tmp_path)(0, CPU)[0]:
        assert round(float(field.double().sum() * 255)) in sums


def test_simulated_objects_need_no_images(monkeypatch):
    def missing(*args):
        raise FileError("no images")

    monkeypatch.setattr(objects, "fashion_mnist", missing)
    assert source(spec("simulated"))(0, CPU)[0].is_complex()
    with pytest.raises(FileError, match="no images"):
        source(spec())


def test_unseen_objects_are_the_shipped_images_or_plain_simulated_ones():
    expected = torch.from_numpy(samples.place(samples.shipped_images()[:7]))
    assert torch.equal(unseen_objects(spec(), 7), expected)
    plain = unseen_objects(spec("simulated", window=(20, 18)), 7)
    assert plain.shape == (7, 20, 18)
    torch.testing.assert_close(plain.abs(), (plain != 0).float())


@pytest.mark.parametrize("kind", ["fashion-mnist", "simulated"])
def test_unseen_objects_are_the_same_whatever_the_training(kind):
    assert torch.equal(unseen_objects(spec(kind, seed=5), 4), unseen_objects(spec(kind, seed=2021), 4))
