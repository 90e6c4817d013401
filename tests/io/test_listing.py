"""What a file holds is told from its headers."""

import fabio
import h5py
import numpy as np
import pytest
import scipy.io
import tifffile

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.listing import listing

STACK = np.random.default_rng(0).poisson(20, (5, 24, 32)).astype(np.int32)


def by_key(path):
    return {entry.key: entry for entry in listing(path)}


@pytest.fixture
def scan(tmp_path):
    """A file with one of everything: a mask, a link, other files, and what leads nowhere or away."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for place in (tmp_path / "outside.h5", folder / "beside.h5"):
        with h5py.File(place, "w") as file:
            file["entry/data"] = STACK
            file["entry/again"] = h5py.ExternalLink("scan.h5", "/entry")
    with h5py.File(folder / "scan.h5", "w") as file:
        data = file.create_dataset(
            "entry/data", data=np.zeros((50, 64, 64), np.uint16), chunks=(1, 64, 64), compression=4
        )
        data.attrs["units"] = "counts"
        file["entry/pixel_mask"], file["entry/energy"], file["title"] = np.ones((64, 64), np.uint8), 8.0, "a scan"
        file["entry/complex"] = np.ones((20, 20), np.complex64)
        file["entry/empty"] = h5py.Empty("f4")
        file["short"], file["entry/round"] = h5py.SoftLink("/entry/data"), h5py.SoftLink("/")
        file["nowhere"], file["gone"] = h5py.SoftLink("/none"), h5py.ExternalLink("gone.h5", "/entry/data")
        file["away"], file["beside"] = (
            h5py.ExternalLink("../outside.h5", "/entry"),
            h5py.ExternalLink("beside.h5", "/entry"),
        )
        for name in ("beside.h5", "missing.h5", "../outside.h5"):
            layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
            layout[:] = h5py.VirtualSource(name, "entry/data", STACK.shape)
            file.create_virtual_dataset(f"virtual/{name.replace('../', '').partition('.')[0]}", layout)
    return folder / "scan.h5"


def test_every_dataset_is_listed_with_what_it_is(scan):
    found = by_key(scan)
    data = found["entry/data"]
    assert (data.shape, data.dtype, data.is_likely, data.about) == ((50, 64, 64), "uint16", True, ("units counts",))
    assert 0 < data.stored < 50 * 64 * 64  # as it is compressed
    assert found["short"] == data._replace(key="short", about=("link to /entry/data", "units counts"))
    assert {key for key, entry in found.items() if entry.is_likely} == {
        "short",
        "entry/data",
        "virtual/beside",
        "beside/data",
    }
    assert (found["entry/energy"].shape, found["title"].dtype) == ((), "text or objects")
    assert found["entry/empty"].shape == ()
    virtual = found["virtual/beside"]
    assert (virtual.shape, virtual.stored, virtual.about) == (STACK.shape, 0, ("virtual: made of other datasets",))
    assert len(found) == len(listing(scan))


def test_what_is_missing_or_away_has_words_for_a_shape(scan):
    found = by_key(scan)
    for key, words in (
        ("nowhere", "leads to nothing"),
        ("gone", "missing (first: gone.h5)"),
        ("away", "outside of its folder (first: ../outside.h5)"),
        ("virtual/missing", "missing (first: missing.h5)"),
        ("virtual/outside", "outside of its folder"),
    ):
        assert (found[key].shape, found[key].dtype, found[key].is_likely) == (None, None, False)
        assert words in found[key].about[-1]
    assert "link to gone.h5:/entry/data" in found["gone"].about
    assert not any(key.startswith("away/") for key in found)


def test_what_is_listed_is_what_is_loaded(scan):
    for key, entry in by_key(scan).items():
        if entry.shape and entry.dtype != "text or objects":
            array = load_array(scan, key=key).array
            assert (array.shape, str(array.dtype)) == (entry.shape, entry.dtype)
        elif entry.shape is None:
            with pytest.raises(FileError):
                load_array(scan, key=key)


def test_other_formats_are_listed_too(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", data=STACK, mask=np.ones((24, 32)), words=np.array(["a"]))
    found = by_key(tmp_path / "a.npz")
    assert (found["data"].shape, found["data"].dtype, found["data"].is_likely) == (STACK.shape, "int32", True)
    assert 0 < found["data"].stored < STACK.nbytes
    assert not found["mask"].is_likely
    assert found["words"].dtype == "text or objects"
    scipy.io.savemat(tmp_path / "old.mat", {"pattern": STACK, "energy": 8.0})
    assert by_key(tmp_path / "old.mat")["pattern"][1:3] == (STACK.shape, "int32")
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file["pattern"] = STACK.T
    assert by_key(tmp_path / "new.mat")["pattern"].shape == STACK.shape
    np.save(tmp_path / "a.npy", STACK)
    fabio.edfimage.EdfImage(data=STACK[0]).write(str(tmp_path / "a.edf"))
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    for name, shape in (("a.npy", STACK.shape), ("a.edf", (24, 32)), ("a.tif", STACK.shape)):
        (entry,) = listing(tmp_path / name)
        assert (entry.key, entry.shape, entry.dtype, entry.is_likely) == (None, shape, "int32", True)
        assert entry.stored == (tmp_path / name).stat().st_size
    (entry,) = listing(tmp_path)
    assert entry.shape == (1, *STACK.shape)


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path):
    for name in ("a.h5", "a.npz", "a.mat", "a.tif", "a.xyz"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 20)
        with pytest.raises(FileError, match=name):
            listing(tmp_path / name)
    with pytest.raises(FileError, match="no file"):
        listing(tmp_path / "none.h5")
