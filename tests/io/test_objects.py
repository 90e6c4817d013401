import numpy as np
import pytest
from skimage.io import imsave

from napari_dipr.errors import FileError
from napari_dipr.io.objects import load_object
from napari_dipr.io.record import Record, write_record
from napari_dipr.samples import field_window, sample


def test_a_sample_is_its_field(tmp_path):
    x, name, source = load_object("sample:fashion-5")
    assert x.shape == (36, 36)
    np.testing.assert_array_equal(x.ravel(), sample("fashion-5")[1][field_window()])
    assert (name, source["sample"]) == ("fashion-5", "fashion-5")


@pytest.mark.parametrize("ending", [".npz", ".cxi", ".tif", ".ome.tif"])
def test_of_a_result_the_object_in_its_support_is_taken(tmp_path, ending):
    rng = np.random.default_rng(0)
    x = rng.random((20, 24)) * np.exp(1j * rng.random((20, 24)))
    inside = np.zeros((20, 24), bool)
    inside[4:11, 6:15] = True
    inside[4, 6] = False
    write_record(tmp_path / f"r{ending}", Record(x, inside, {"program": "napari-dipr"}))
    found, name, source = load_object(tmp_path / f"r{ending}")
    np.testing.assert_allclose(found, np.where(inside, x, 0)[4:11, 6:15], atol=1e-6)
    assert name == f"r{ending}".rsplit(".", 1)[0]
    assert len(source["sha256"]) == 64


def test_grey_pictures_are_read_and_colour_is_refused(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
    imsave(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(load_object(tmp_path / "grey.png")[0], grey)
    imsave(tmp_path / "colour.png", np.stack([grey] * 3, -1))
    with pytest.raises(FileError, match=r"colour.png is a colour picture, \(20, 24, 3\). Make it grey"):
        load_object(tmp_path / "colour.png")


def test_a_part_of_an_array_is_taken(tmp_path):
    stack = np.random.default_rng(0).random((4, 30, 20))
    np.savez(tmp_path / "stack.npz", big=np.zeros((9, 60, 60)), stack=stack)
    x, _, source = load_object(tmp_path / "stack.npz", key="stack", frame=2, region="5:25, :")
    np.testing.assert_array_equal(x, stack[2, 5:25])
    assert source["frame"] == 2


def test_what_is_no_object_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(FileError, match=r"text\.png cannot be read as PNG"):
        load_object(tmp_path / "text.png")
    for name in ("missing.png", "missing.npz"):
        with pytest.raises(FileError, match=f"There is no file .*{name}"):
            load_object(tmp_path / name)
    with pytest.raises(FileError, match="leave out the frame"):
        load_object("sample:fashion-0", frame=1)
    write_record(tmp_path / "none.npz", Record(np.ones((20, 20)), np.zeros((20, 20)), {}))
    with pytest.raises(FileError, match="support is empty"):
        load_object(tmp_path / "none.npz")
