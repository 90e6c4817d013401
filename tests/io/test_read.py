"""Every way a measurement comes in, and every way it can be refused."""

import hashlib

import h5py
import numpy as np
import pytest
import tifffile

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import load_mask, read
from napari_dipr.samples import CLASSES, sample


def pattern(shape=(32, 40), dtype=np.float32):
    """Bright in the middle, so that the guess of zero frequency is clear."""
    squares = sum(
        (np.arange(n) - n // 2).reshape([-1 if d == k else 1 for d in range(len(shape))]) ** 2
        for k, n in enumerate(shape)
    )
    return (1000 * np.exp(-squares / 40) + 1).astype(dtype)


def saved(folder, ending, array):
    path = folder / f"data{ending}"
    if ending in (".tif", ".tiff"):
        tifffile.imwrite(path, array, photometric="minisblack")
    elif ending == ".npy":
        np.save(path, array)
    elif ending == ".npz":
        np.savez(path, data=array)
    else:
        with h5py.File(path, "w") as file:
            file["entry/data"] = array
    return path


ENDINGS = (".tif", ".tiff", ".npy", ".npz", ".h5", ".hdf5")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(32, 40), (16, 20, 24)])
def test_every_format_gives_the_array_that_was_saved(tmp_path, ending, shape):
    array = pattern(shape)
    path = saved(tmp_path, ending, array)
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, array)
    assert loaded.source["file"] == path.name
    assert loaded.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    measurement = read(path)
    np.testing.assert_array_equal(measurement.intensities, array)
    assert measurement.name == "data"


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_frame_of_a_stack(tmp_path, ending):
    array = pattern((20, 32, 40), np.uint16)
    array[7, 0, 0] = 77
    measurement = read(saved(tmp_path, ending, array), frame=7)
    np.testing.assert_array_equal(measurement.intensities, array[7])
    assert measurement.source["frame"] == 7
    assert measurement.name == "data-7"
    with pytest.raises(FileError, match=r"0 to 19; 20 is not"):
        read(saved(tmp_path, ending, array), frame=20)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_picture_has_no_frames(tmp_path, ending):
    with pytest.raises(FileError, match="no frames"):
        read(saved(tmp_path, ending, pattern()), frame=0)


def test_what_was_not_said_is_guessed_and_told(tmp_path):
    cornered = np.fft.ifftshift(pattern())
    measurement = read(saved(tmp_path, ".npy", cornered))
    np.testing.assert_array_equal(measurement.intensities, pattern())
    assert "taken as intensities" in measurement.history
    assert "zero frequency guessed: corner" in measurement.history
    assert read(saved(tmp_path, ".npy", cornered), zero_frequency="centre").intensities[0, 0] == cornered[0, 0]


def test_amplitudes_are_squared(tmp_path):
    measurement = read(saved(tmp_path, ".npy", pattern()), kind="amplitude")
    np.testing.assert_allclose(measurement.intensities, pattern() ** 2)
    assert measurement.source["preparation"] == {"kind": "amplitude"}


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_without_a_key_the_largest_array_is_taken_and_told(tmp_path, ending):
    path = tmp_path / f"many{ending}"
    arrays = {"small": np.ones((16, 16)), "big": pattern(), "table": np.arange(5000.0), "scalar": np.float64(3)}
    if ending == ".npz":
        np.savez(path, text=np.array(["a", "b"]), **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
            file["text"] = "words"
    loaded = load_array(path)
    assert loaded.source["key"] == "big"
    assert loaded.notes[0].startswith("took 'big', (32, 40); also there: ")
    assert load_array(path, key="small").array.shape == (16, 16)
    with pytest.raises(FileError, match=r"no array 'nothing'\. It has: .*big.*small"):
        load_array(path, key="nothing")
    with pytest.raises(FileError, match="not numbers"):
        load_array(path, key="text")


def test_an_hdf5_link_is_followed_and_a_group_is_no_array(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = pattern()
        file["short"] = h5py.SoftLink("/entry/data")
    assert load_array(tmp_path / "a.h5", key="short").array.shape == (32, 40)
    with pytest.raises(FileError, match="no array 'entry'"):
        load_array(tmp_path / "a.h5", key="entry")


def test_a_virtual_dataset_without_its_files_is_refused_rather_than_read_as_zeros(tmp_path):
    layout = h5py.VirtualLayout((32, 40), np.float32)
    layout[:] = h5py.VirtualSource(tmp_path / "gone.h5", "data", (32, 40))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    with pytest.raises(FileError, match=r"missing.*gone\.h5"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_file_is_refused(tmp_path, ending):
    path = tmp_path / f"damaged{ending}"
    for content in (b"", b"these are words, not numbers" * 20):
        path.write_bytes(content)
        with pytest.raises(FileError, match="cannot be read as"):
            read(path)
    content = saved(tmp_path, ending, np.random.default_rng(0).random((64, 64))).read_bytes()
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(FileError, match="cannot be read as"):
        read(path)


def test_paths_that_are_no_such_file(tmp_path):
    with pytest.raises(FileError, match="There is no file"):
        read(tmp_path / "nothing.tif")
    with pytest.raises(FileError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(FileError, match=r"'\.png', which is not read"):
        read(tmp_path / "picture.png")
    (tmp_path / "noending").write_bytes(b"x")
    with pytest.raises(FileError, match="has no ending"):
        read(tmp_path / "noending")
    with pytest.raises(FileError, match="no keys"):
        read(saved(tmp_path, ".npy", pattern()), key="data")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickles_are_never_loaded(tmp_path):
    objects = np.array([Bomb()] * 3, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", data=objects)
    with pytest.raises(FileError, match="never loaded"):
        read(tmp_path / "a.npy")
    with pytest.raises(FileError, match="never loaded"):
        read(tmp_path / "a.npz", key="data")
    with pytest.raises(FileError, match="no 2-D or 3-D array"):
        read(tmp_path / "a.npz")


def test_colour_pictures_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((32, 40, 3), np.uint8), photometric="rgb")
    with pytest.raises(FileError, match="colour"):
        read(tmp_path / "a.tif")
    with pytest.raises(MeasurementError, match="colour"):
        read(saved(tmp_path, ".npy", np.ones((32, 40, 3))))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.log(pattern() / 1e9), "1280 of 1280 pixels are negative.*logarithm"),
        (np.zeros((32, 32)), "zero"),
        (np.ones(300), "2 or 3 dimensions"),
        (np.ones((16, 16, 16, 16)), "2 or 3 dimensions"),
        (np.ones((8, 8)), "at least"),
        (pattern() + 1j, "real numbers"),
    ],
)
def test_data_that_are_no_measurement_are_refused(tmp_path, array, words):
    with pytest.raises(MeasurementError, match=words):
        read(saved(tmp_path, ".npy", array))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1])
def test_bad_pixels_are_left_out_and_that_is_told_or_refused(tmp_path, value):
    good = pattern() < 900
    path = saved(tmp_path, ".npy", np.where(good, pattern(), value))
    measurement = read(path)
    np.testing.assert_array_equal(measurement.measured, good)
    reason = "negative" if value == -1 else "NaN"
    assert f"left out {(~good).sum()} pixels: {reason}" in measurement.history
    with pytest.raises(MeasurementError, match="NaN, infinite or negative"):
        read(path, leave_out=())
    np.testing.assert_array_equal(read(path, leave_out=(), mask=good).measured, good)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("values", [(False, True), (0, 1), (0, 255)])
def test_masks_of_every_format(tmp_path, ending, values):
    expected = pattern() < 900
    array = np.where(expected, *reversed(values)).astype(np.uint8)
    folder = tmp_path / "mask"
    folder.mkdir()
    mask = saved(folder, ending, array.astype(bool) if values[1] is True and ending != ".tif" else array)
    np.testing.assert_array_equal(load_mask(mask), expected)
    measurement = read(saved(tmp_path, ".npy", pattern()), mask=mask)
    np.testing.assert_array_equal(measurement.measured, expected)
    assert measurement.intensities[~expected].max() == 0


def test_a_mask_belongs_to_the_array_as_it_is_in_the_file(tmp_path):
    expected = pattern() < 900
    np.save(tmp_path / "m.npy", np.fft.ifftshift(expected))
    measurement = read(
        saved(tmp_path, ".npy", np.fft.ifftshift(pattern())), mask=tmp_path / "m.npy", zero_frequency="corner"
    )
    np.testing.assert_array_equal(measurement.measured, expected)


def test_a_mask_of_one_frame_or_of_all_frames_fits_a_scan(tmp_path):
    scan = pattern((20, 32, 40))
    mask = np.ones((32, 40), bool)
    mask[3, 4] = False
    assert read(saved(tmp_path, ".npy", scan), mask=mask).measured[:, 3, 4].sum() == 0
    masks = np.ones(scan.shape, bool)
    masks[5, 3, 4] = False
    np.testing.assert_array_equal(read(saved(tmp_path, ".npy", scan), mask=masks, frame=5).measured, mask)
    with pytest.raises(MeasurementError, match="19"):
        read(saved(tmp_path, ".npy", scan), mask=masks[:10], frame=19)


def test_masks_that_are_none(tmp_path):
    path = saved(tmp_path, ".npy", pattern())
    np.save(tmp_path / "counts.npy", np.arange(32 * 40).reshape(32, 40))
    with pytest.raises(FileError, match="1280 different values"):
        read(path, mask=tmp_path / "counts.npy")
    with pytest.raises(MeasurementError, match=r"\(32, 32\).*\(32, 40\)"):
        read(path, mask=np.ones((32, 32)))
    with pytest.raises(MeasurementError, match="polarity"):
        read(path, mask=np.zeros((32, 40)))


def test_a_sample_is_its_truths_measurement():
    measurement, truth = sample("fashion-255")
    assert truth.shape == measurement.grid == (72, 72)
    assert truth.dtype == np.complex64
    np.testing.assert_allclose(
        np.abs(np.fft.fftshift(np.fft.fft2(truth))) ** 2, measurement.intensities, rtol=1e-3, atol=1e-2
    )
    again = read("sample:fashion-255")
    np.testing.assert_array_equal(again.intensities, measurement.intensities)
    assert again.source == measurement.source
    assert len(measurement.source["sha256"]) == 64
    assert any(name in measurement.source["what"] for name in CLASSES)


def test_a_sample_does_not_depend_on_how_many_are_placed():
    from napari_dipr import samples

    everything = samples.on_grid(samples.place(samples.shipped_images()))
    for k in (0, 17, 255):
        np.testing.assert_array_equal(sample(f"fashion-{k}")[1], everything[k])


@pytest.mark.parametrize("name", ["fashion-256", "fashion-", "fashion", "fashion--1", "other-0", ""])
def test_samples_that_are_not_there(name):
    with pytest.raises(FileError, match=r"fashion-0 to fashion-255"):
        read(f"sample:{name}")


def test_of_a_sample_nothing_may_be_said_anew():
    with pytest.raises(MeasurementError, match="leave out the kind, frame"):
        read("sample:fashion-0", kind="amplitude", frame=0)
    mask = np.ones((72, 72), bool)
    mask[0] = False
    assert read("sample:fashion-0", mask=mask).measured.sum() == 71 * 72
