"""A part of an array is what NumPy would take of it, from every format, eagerly and lazily."""

import re

import fabio
import h5py
import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import read
from napari_dipr.io.region import Region

STACK = np.random.default_rng(0).poisson(20, (18, 24, 32)).astype(np.int32)


def tiff(path):
    tifffile.imwrite(path, STACK, photometric="minisblack")


def packed_tiff(path):
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib")


def swapped_tiff(path):
    tifffile.imwrite(path, STACK, photometric="minisblack", byteorder=">")


def imagej_tiff(path):
    tifffile.imwrite(path, STACK.astype(np.float32), imagej=True, metadata={"axes": "ZYX"})


def columns_npy(path):
    np.save(path, np.asfortranarray(STACK))


def packed_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("scan/data", data=STACK, chunks=(4, 8, 8), compression="gzip")


def new_mat(path):
    with h5py.File(path, "w") as file:
        file["pattern"] = STACK.T


def mrc(path):
    with mrcfile.new(path) as file:
        file.set_data(STACK.astype(np.float32))


def edf(path):
    image = fabio.edfimage.EdfImage(data=STACK[0])
    for frame in STACK[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


def folder(path):
    path.mkdir()
    for number, frame in enumerate(STACK):
        tifffile.imwrite(path / f"{number}.tif", frame)


def eiger(path):
    with h5py.File(path, "w") as master:
        for number, block in enumerate(np.split(STACK, [5, 6, 13])):
            name = f"{path.stem}_data_{number:06d}.h5"
            with h5py.File(path.with_name(name), "w") as file:
                file["entry/data/data"] = block
            master[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")


LAZY = {
    "a.tif": tiff,
    "b.tif": packed_tiff,
    "c.tif": swapped_tiff,
    "d.tif": imagej_tiff,
    "a.npy": lambda path: np.save(path, STACK),
    "b.npy": columns_npy,
    "a.h5": packed_hdf5,
    "master.h5": eiger,
    "new.mat": new_mat,
    "a.mrc": mrc,
    "a.edf": edf,
    "folder": folder,
}
WHOLE = {
    "a.npz": lambda p: np.savez_compressed(p, data=STACK),
    "old.mat": lambda p: scipy.io.savemat(p, {"pattern": STACK}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    there = tmp_path_factory.mktemp("files")
    for name, write in {**LAZY, **WHOLE}.items():
        write(there / name)
    return there


REGIONS = [
    ("3:9, 2:20, 5:7", np.s_[3:9, 2:20, 5:7]),
    ("1:17:5", np.s_[1:17:5]),
    ("::3, -10:, ::2", np.s_[::3, -10:, ::2]),
    ("7, :, :30", np.s_[7, :, :30]),
    ("-1", np.s_[-1]),
]


@pytest.mark.parametrize("name", [*LAZY, *WHOLE])
def test_a_region_is_what_numpy_takes(files, name):
    for text, index in REGIONS:
        loaded = load_array(files / name, region=text)
        np.testing.assert_array_equal(loaded.array, STACK[index], err_msg=text)
        assert loaded.source["region"] == str(Region.parse(text))
        assert f"took the region {Region.parse(text)} of (18, 24, 32)" in loaded.notes
    loaded = load_array(files / name, frame=8, region="2:20, 5:7")
    np.testing.assert_array_equal(loaded.array, STACK[8, 2:20, 5:7])
    assert (loaded.source["frame"], loaded.source["shape"]) == (8, [18, 24, 32])


@pytest.mark.parametrize("name", [*LAZY, *WHOLE])
def test_an_array_is_lazy_where_its_format_is_read_in_parts(files, name):
    loaded = load_array(files / name, lazy=True)
    assert loaded.is_lazy == (name in LAZY)
    assert ("sha256" in loaded.source) == (name in WHOLE)
    assert loaded.array.shape == STACK.shape
    for index in (np.s_[:], np.s_[4], np.s_[::-1, 3:9], np.s_[[6, 2], 1], np.s_[2:12:3, ..., -1]):
        np.testing.assert_array_equal(np.asarray(loaded.array[index]), STACK[index])
    eager = load_array(files / name)
    assert loaded.computed().source == eager.source
    np.testing.assert_array_equal(loaded.computed().array, eager.array)
    part = load_array(files / name, frame=5, region=":, 3:19", lazy=True)
    np.testing.assert_array_equal(np.asarray(part.array), STACK[5, :, 3:19])
    assert part.computed().source == load_array(files / name, frame=5, region=":, 3:19").source
    assert set(part.computed().notes) >= set(part.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read at ''"),
        ("1:2:0", "cannot be read at '1:2:0'"),
        ("1:2:-1", "cannot be read"),
        ("a:b", "cannot be read at 'a:b'"),
        ("1.5:3", "cannot be read"),
        ("9:3", r"takes nothing, or what is not there, of axis 0: .*shape \(18, 24, 32\). Choose within 0:18"),
        (":, 0:25", r"of axis 1: .*Choose within 0:24"),
        ("-19:", "of axis 0"),
        ("18", "of axis 0"),
        (":, 3", "takes one line of axis 1"),
        (":, :, :, :", r"has 4 axes, a\.npy has 3: \(18, 24, 32\)"),
    ],
)
def test_a_region_that_is_none_is_told_with_the_shape(files, text, says):
    with pytest.raises(FileError, match=says):
        load_array(files / "a.npy", region=text)


AXES = st.tuples(*[st.none() | st.integers(-9, 9)] * 2, st.none() | st.integers(1, 4)).map(lambda t: slice(*t))


@given(st.lists(st.integers(-9, 9) | AXES, min_size=1, max_size=4), st.tuples(*[st.integers(1, 9)] * 4))
def test_text_and_region_are_the_same_and_never_take_what_is_not_there(axes, shape):
    region = Region(tuple(axes))
    assert str(Region.parse(str(region))) == str(region)
    array = np.arange(np.prod(shape)).reshape(shape)
    whole = [axis if isinstance(axis, slice) else slice(axis, axis + 1 or None) for axis in axes]
    beyond = any(
        abs(bound) > n
        for axis, n in zip(axes, shape, strict=False)
        if isinstance(axis, slice)
        for bound in (axis.start, axis.stop)
        if bound is not None
    )
    if beyond or array[tuple(whole)].size == 0 or any(isinstance(axis, int) for axis in axes[2:]):
        with pytest.raises(FileError, match=re.escape(str(shape))):
            Region.parse(str(region)).index(shape, "it")
    else:
        np.testing.assert_array_equal(array[Region.parse(str(region)).index(shape, "it")], array[tuple(axes)])


def cxi(path):
    mask = np.zeros((24, 32), np.uint32)
    mask[3, 4], mask[20, 30] = 2, 2
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["mask"] = STACK, mask
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 2.0, 55e-6, 75e-6
        file["entry_1/instrument_1/beam_1/incident_wavelength"] = 1e-10
    return path


def test_the_files_own_mask_is_cut_alike(tmp_path):
    path = cxi(tmp_path / "scan.cxi")
    for options in ({"region": "2, 2:20, 4:24"}, {"frame": 2, "region": "2:20, 4:24"}):
        measurement = read(path, zero_frequency="centre", leave_out=(), **options)
        np.testing.assert_array_equal(np.argwhere(~measurement.measured), [[1, 0]])
        np.testing.assert_array_equal(measurement.intensities[2:], STACK[2, 4:20, 4:24])
        assert any("took the region" in line for line in measurement.history)
        assert measurement.source["sha256"]
    with h5py.File(path, "a") as file:  # a mask for every frame
        detector = file["entry_1/instrument_1/detector_1"]
        del detector["mask"]
        detector["mask"] = (STACK > 25).astype(np.uint32)
    loaded = load_array(path, region="3:9, :, 5:25")
    np.testing.assert_array_equal(loaded.measured, STACK[3:9, :, 5:25] <= 25)
    np.testing.assert_array_equal(load_array(path, frame=4, region=":, 5:25").measured, STACK[4, :, 5:25] <= 25)


def test_masks_and_fields_of_the_whole_detector_are_cut_alike(tmp_path):
    np.save(tmp_path / "scan.npy", STACK)
    detector = np.ones((40, 50), bool)
    detector[10 + 5, 7 + 6] = False  # the data begin at row 10 and column 7
    np.save(tmp_path / "frame.npy", detector[10:34, 7:39])
    np.save(tmp_path / "detector.npy", detector)
    options = {"zero_frequency": "centre", "frame": 3, "region": "4:24, 2:30", "leave_out": ()}
    whole = read(tmp_path / "scan.npy", mask=tmp_path / "frame.npy", **options)
    np.testing.assert_array_equal(np.argwhere(~whole.measured), [[1, 4]])
    placed = read(tmp_path / "scan.npy", mask=tmp_path / "detector.npy", origin=(10, 7), **options)
    np.testing.assert_array_equal(placed.measured, whole.measured)
    own = read(tmp_path / "scan.npy", mask=whole.measured, **options)
    np.testing.assert_array_equal(own.measured, whole.measured)


def test_a_picture_of_a_format_of_frames_is_frame_0_and_its_region_is_of_rows_and_columns(tmp_path):
    fabio.edfimage.EdfImage(data=STACK[0]).write(str(tmp_path / "a.edf"))
    bad = np.ones((24, 32), bool)
    bad[5, 6] = False
    for options in ({}, {"frame": 0}):
        loaded = load_array(tmp_path / "a.edf", region="4:, :20", **options)
        np.testing.assert_array_equal(loaded.array, STACK[0, 4:, :20])
        assert loaded.notes == ("took the region 4:, :20 of (24, 32)",)
        measurement = read(tmp_path / "a.edf", region="4:, :20", mask=bad, zero_frequency="centre", **options)
        assert not measurement.measured[1, 6]
        assert np.asarray(load_array(tmp_path / "a.edf", lazy=True, **options).array).shape == (24, 32)


def test_pixels_left_out_between_make_the_pixels_larger(tmp_path):
    path = cxi(tmp_path / "scan.cxi")
    measurement = read(path, frame=1, region=":, ::2", zero_frequency="centre")
    assert measurement.geometry.pixel_size == pytest.approx((75, 110))
    assert load_array(path, frame=1, region=":, ::2").geometry.pixel_size == pytest.approx((75, 55))


def test_a_sample_has_no_region():
    with pytest.raises(MeasurementError, match="leave out the region"):
        read("sample:fashion-0", region="0:9")


def test_a_lazily_opened_array_becomes_a_measurement_with_its_digest(tmp_path):
    from napari_dipr.io.read import prepared
    from napari_dipr.preparation.steps import Preparation

    loaded = load_array(cxi(tmp_path / "scan.cxi"), frame=2, lazy=True)
    assert loaded.is_lazy
    assert loaded.measured is None
    measurement = prepared(loaded, Preparation.of(leave_out=()))
    assert int((~measurement.measured).sum()) == 2
    assert re.fullmatch("[0-9a-f]{64}", measurement.source["sha256"])
