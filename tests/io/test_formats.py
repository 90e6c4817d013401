"""Every format, from a file that another library wrote."""

import os
import struct
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import read

COUNTS = np.random.default_rng(0).poisson(20, (18, 24, 32)).astype(np.int32)
MEASURED = os.environ.get("NAPARI_DIPR_DATA")


def hdf5(path, **datasets):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name.replace("__", "/")] = data
    return path


def cxi(path, energy=8e3 * 1.602176634e-19):
    mask = np.zeros((24, 32), np.uint32)
    mask[3, 4], mask[5, 6], mask[7, 8] = 2, 0x200, 0x10000
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 150
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["mask"] = COUNTS[0], mask
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = 2.0, 55e-6, 75e-6
        file["entry_1/instrument_1/source_1/energy"] = energy
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/result_1/larger"] = np.ones((64, 64))
    return path


def test_cxi_comes_with_its_mask_and_geometry(tmp_path):
    measurement = read(cxi(tmp_path / "shot.cxi"), zero_frequency="centre")
    np.testing.assert_array_equal(
        measurement.measured, [[(y, x) not in ((3, 4), (5, 6)) for x in range(32)] for y in range(24)]
    )
    np.testing.assert_array_equal(measurement.intensities, np.where(measurement.measured, COUNTS[0], 0))
    assert measurement.geometry.wavelength == pytest.approx(0.154980, rel=1e-5)  # 8 keV
    assert (measurement.geometry.distance, measurement.geometry.pixel_size) == (2.0, pytest.approx((75, 55)))
    assert any("'entry_1/data_1/data', (24, 32), where CXI" in line for line in measurement.history)
    assert any("says of 2 pixels" in line for line in measurement.history)
    assert any("wavelength 0.15498 nm, detector at 2 m, its pixels 75 × 55 µm" in line for line in measurement.history)


def test_what_stands_beside_the_data_in_another_form_is_passed_over(tmp_path):
    path = cxi(tmp_path / "shot.cxi")
    with h5py.File(path, "a") as file:
        detector = file["entry_1/instrument_1/detector_1"]
        del detector["mask"], detector["distance"]
        detector["mask/of"], detector["distance"] = 1, "far away"
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, COUNTS[0])
    assert (loaded.measured, loaded.geometry) == (None, None)


def test_any_dataset_is_taken_by_its_path(tmp_path):
    loaded = load_array(cxi(tmp_path / "shot.cxi"), key="entry_1/result_1/larger")
    assert loaded.array.shape == (64, 64)
    assert loaded.measured is None  # the detector's mask is of another size


@pytest.mark.parametrize("key", ["entry/data/data", "entry/instrument/detector/data", "entry/instrument/lambda/data"])
def test_nexus_files_are_known_by_their_paths_and_units(tmp_path, key):
    path = tmp_path / "scan.nxs"
    bad = np.zeros((24, 32), np.uint32)
    bad[0, 1] = 1
    with h5py.File(path, "w") as file:
        file[key] = COUNTS
        file["entry/instrument/detector/pixel_mask"] = bad
        for name, value, unit in (
            ("distance", 1500.0, "mm"),
            ("x_pixel_size", 75.0, "um"),
            ("y_pixel_size", 75e-6, "m"),
        ):
            file[f"entry/instrument/detector/{name}"] = value
            file[f"entry/instrument/detector/{name}"].attrs["units"] = unit
        file["entry/instrument/beam/incident_wavelength"] = 1.24
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
        file["entry/other"] = np.zeros((9, 99, 99))
    where = {"zero_frequency": "centre"}
    volume, frame = read(path, **where), read(path, frame=2, **where)
    assert volume.grid == (18, 24, 32)
    assert not volume.measured[:, 0, 1].any()
    assert int((~volume.measured).sum()) == 18
    assert volume.geometry.voxel_size(volume.grid) is None  # what lies between the frames is not told
    np.testing.assert_array_equal(frame.intensities[1:], COUNTS[2, 1:])
    assert frame.geometry.wavelength == pytest.approx(0.124)
    assert (frame.geometry.distance, frame.geometry.pixel_size) == (1.5, pytest.approx((75, 75)))


def test_the_blocks_of_an_eiger_are_joined(tmp_path):
    hdf5(tmp_path / "series_data_000001.h5", entry__data__data=COUNTS[:3])
    hdf5(tmp_path / "series_data_000002.h5", entry__data__data=COUNTS[3:])
    master = tmp_path / "series_master.h5"
    with h5py.File(master, "w") as file:
        for number in (1, 2):
            source = f"series_data_{number:06d}.h5"
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(source, "/entry/data/data")
    whole = load_array(master)
    np.testing.assert_array_equal(whole.array, COUNTS)
    assert "joined 2 blocks" in whole.notes[0]
    np.testing.assert_array_equal(load_array(master, frame=4).array, COUNTS[4])
    with pytest.raises(FileError, match="frames 0 to 17; 18 is not"):
        load_array(master, frame=18)
    (tmp_path / "series_data_000002.h5").unlink()
    with pytest.raises(FileError, match="missing"):
        load_array(master)


@pytest.mark.parametrize("codec", [hdf5plugin.Bitshuffle(), hdf5plugin.LZ4(), hdf5plugin.Zstd()])
def test_detectors_compression_is_read(tmp_path, codec):
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry_0000/measurement/eiger/data", data=COUNTS, compression=codec)
    np.testing.assert_array_equal(load_array(path).array, COUNTS)


@pytest.mark.parametrize("where", ["link", "virtual", "external"])
def test_files_outside_of_the_folder_are_refused(tmp_path, where):
    outside, folder = tmp_path / "outside.h5", tmp_path / "folder"
    folder.mkdir()
    hdf5(outside, data=COUNTS)
    path = folder / "inside.h5"
    with h5py.File(path, "w") as file:
        if where == "link":
            file["entry/data/data"] = h5py.ExternalLink("../outside.h5", "/data")
        elif where == "virtual":
            layout = h5py.VirtualLayout(COUNTS.shape, COUNTS.dtype)
            layout[:] = h5py.VirtualSource("../outside.h5", "data", COUNTS.shape)
            file.create_virtual_dataset("entry/data/data", layout)
        else:
            file.create_dataset(
                "entry/data/data", COUNTS.shape, COUNTS.dtype, external=[("../outside.bin", 0, COUNTS.nbytes)]
            )
    with pytest.raises(FileError, match="outside of its folder"):
        load_array(path)
    with pytest.raises(FileError, match="outside of its folder"):
        load_array(path, key="entry/data/data")


def test_what_is_made_of_missing_files_is_not_read_as_zeros(tmp_path):
    path = tmp_path / "raw.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", COUNTS.shape, COUNTS.dtype, external=[("gone.bin", 0, COUNTS.nbytes)])
    with pytest.raises(FileError, match=r"missing \(first: gone.bin\)"):
        load_array(path)


@pytest.mark.parametrize(("ending", "image"), [("edf", fabio.edfimage.EdfImage), ("cbf", fabio.cbfimage.CbfImage)])
def test_detectors_files_are_read(tmp_path, ending, image):
    path = tmp_path / f"frame.{ending}"
    image(data=COUNTS[0]).write(str(path))
    np.testing.assert_array_equal(load_array(path).array, COUNTS[0])
    with pytest.raises(FileError, match="frames 0 to 0; 3 is not"):
        load_array(path, frame=3)


def marccd(path, frame, order="<"):
    """Write a frame as MarCCD has it: TIFF's head, 3072 bytes of Mar's own header from byte 1024, pixels at 4096."""
    rows, columns = frame.shape
    tags = [
        (256, 4, columns), (257, 4, rows), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 4096), (274, 3, 1),
        (277, 3, 1), (278, 4, rows), (279, 4, 2 * rows * columns),
    ]  # fmt: skip
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, kind, value in tags:
        head += struct.pack(f"{order}HHIHH" if kind == 3 else f"{order}HHII", tag, kind, 1, value, *[0] * (kind == 3))
    head += struct.pack(f"{order}I", 0)
    own = bytearray(3072)
    struct.pack_into(f"{order}I16s", own, 0, 2, b"MMX")  # kind of header, its name
    struct.pack_into(f"{order}II", own, 28, 1234 if order == "<" else 4321, 3072)  # order of the pixels, header's size
    struct.pack_into(f"{order}III", own, 80, columns, rows, 2)  # after 20 numbers: sides, bytes a pixel
    path.write_bytes(head.ljust(1024, b"\0") + own + frame.astype(f"{order}u2").tobytes())


@pytest.mark.parametrize("ending", ["mccd", "marccd"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_marccd_frames_are_read(tmp_path, ending, order):
    path = tmp_path / f"frame.{ending}"
    counts = np.random.default_rng(1).integers(0, 2**16, (24, 32)).astype(np.uint16)
    marccd(path, counts, order)
    own, published = path.read_bytes()[1024:4096], fabio.marccdimage
    header = published.interpret_header(own, order + published.HEADER_FORMAT, published.HEADER_NAMES)
    assert (header["nfast"], header["nslow"], header["depth"]) == (32, 24, 2)
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, counts)
    np.testing.assert_array_equal(load_array(path, frame=0, region="3:9, 20:").array, counts[3:9, 20:])
    assert loaded.array.dtype.kind == "u"


def nexus(path, default="entry", data="detector"):
    """Write a file whose default attributes lead to what its entry's data group calls its signal."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = default
        file["entry/data/detector"], file["entry/larger"] = COUNTS[:3], np.zeros((40, 50, 60))
        file["entry/curve"] = np.arange(9.0)
        file["entry"].attrs["default"], file["entry/data"].attrs["signal"] = "data", data
    return path


def test_nexus_default_attributes_lead(tmp_path):
    loaded = load_array(nexus(tmp_path / "scan.nxs"))
    np.testing.assert_array_equal(loaded.array, COUNTS[:3])
    assert loaded.notes[0] == "took 'entry/data/detector', (3, 24, 32), the file's default"
    for name, options in (("round", {"default": "."}), ("gone", {"data": "gone"}), ("curve", {"data": "../curve"})):
        assert load_array(nexus(tmp_path / f"{name}.nxs", **options)).source["key"] == "entry/larger"
    with h5py.File(tmp_path / "scan.nxs", "a") as file:
        del file.attrs["default"]  # an entry's own will do
    assert load_array(tmp_path / "scan.nxs").source["key"] == "entry/data/detector"
    with h5py.File(tmp_path / "scan.nxs", "a") as file:
        file["entry/data"].attrs["signal"] = 1  # as before NeXus named them
    assert load_array(tmp_path / "scan.nxs").source["key"] == "entry/larger"


@pytest.mark.parametrize(
    "key",
    [
        "entry_0000/measurement/data",
        "entry_0000/ESRF-ID01/mpx1x4/data",
        "7.1/measurement/eiger2M",
        "entry/instrument/detector/data",
    ],
)
def test_what_beamlines_write_is_found_by_its_path(tmp_path, key):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file[key] = COUNTS
        file["processed/larger"] = np.zeros((40, 50, 60))
        if "measurement" in key:
            file[key.rpartition("/")[0] + "/spectra"] = np.zeros((18, 99))
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, COUNTS)
    who = "NeXus" if key.startswith("entry/") else "the ESRF"
    assert f"took '{key}', (18, 24, 32), where {who} has its data" in loaded.notes[0]


def test_a_scan_of_bliss_is_read_through_its_links(tmp_path):
    visit = tmp_path / "visit"
    visit.mkdir()
    hdf5(visit / "scan0001" / "lima.h5", entry_0000__measurement__data=COUNTS[:9])
    hdf5(visit / "scan0001" / "more.h5", entry_0000__measurement__data=COUNTS[9:])
    with h5py.File(visit / "sample.h5", "w") as file:
        layout = h5py.VirtualLayout(COUNTS.shape, COUNTS.dtype)
        for name, part in (("lima", np.s_[:9]), ("more", np.s_[9:])):
            source = h5py.VirtualSource(f"scan0001/{name}.h5", "entry_0000/measurement/data", COUNTS[part].shape)
            layout[part] = source
        file.create_group("1.1/instrument/eiger").create_virtual_dataset("data", layout)
        file["1.1/measurement/eiger"] = h5py.SoftLink("/1.1/instrument/eiger/data")
        file["1.1/measurement/diode"] = np.arange(18.0)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["sample_1.1"] = h5py.ExternalLink("visit/sample.h5", "/1.1")
    for name, key in (("visit/sample", "1.1/measurement/eiger"), ("all", "sample_1.1/measurement/eiger")):
        loaded = load_array(tmp_path / f"{name}.h5", region="8:11, :, 3:20")
        assert loaded.source["key"] == key
        np.testing.assert_array_equal(loaded.array, COUNTS[8:11, :, 3:20])
    (visit / "scan0001" / "more.h5").unlink()
    with pytest.raises(FileError, match="missing"):
        load_array(tmp_path / "all.h5")


@pytest.mark.parametrize("way", ["through a soft link", "through another file", "round in a circle"])
def test_links_that_lead_outside_by_a_detour_are_refused_too(tmp_path, way):
    folder = tmp_path / "folder"
    folder.mkdir()
    hdf5(tmp_path / "outside.h5", data=COUNTS)
    with h5py.File(folder / "other.h5", "w") as file:
        file["data"] = h5py.ExternalLink("../outside.h5", "/data")
    with h5py.File(folder / "inside.h5", "w") as file:
        if way == "through a soft link":
            file["away"] = h5py.ExternalLink("../outside.h5", "/")
            file["short"] = h5py.SoftLink("/away")
            file["entry/data/data"] = h5py.SoftLink("/short/data")
        elif way == "through another file":
            file["entry/data/data"] = h5py.ExternalLink("other.h5", "/data")
        else:
            file["entry/data/data"] = h5py.SoftLink("/entry/data/data")
    with pytest.raises(FileError, match="more than 16 links" if "circle" in way else "outside of its folder"):
        load_array(folder / "inside.h5")


def test_the_frames_of_an_edf_are_a_stack(tmp_path):
    path = tmp_path / "scan.edf"
    image = fabio.edfimage.EdfImage(data=COUNTS[0])
    for frame in COUNTS[1:]:
        image.append_frame(data=frame)
    image.write(str(path))
    np.testing.assert_array_equal(load_array(path).array, COUNTS)
    np.testing.assert_array_equal(load_array(path, frame=3).array, COUNTS[3])
    with pytest.raises(FileError, match="frames 0 to 17; 18 is not"):
        load_array(path, frame=18)


def test_mrc_volumes_are_read(tmp_path):
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path) as file:
        file.set_data(COUNTS.astype(np.float32))
    np.testing.assert_array_equal(load_array(path).array, COUNTS)
    np.testing.assert_array_equal(load_array(path, frame=1).array, COUNTS[1])


def test_old_matlab_files_are_read(tmp_path):
    path = tmp_path / "old.mat"
    scipy.io.savemat(path, {"pattern": COUNTS, "energy": 8.0, "title": "a scan"})
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, COUNTS)
    assert loaded.source["key"] == "pattern"
    np.testing.assert_array_equal(load_array(path, key="pattern", frame=1).array, COUNTS[1])
    with pytest.raises(FileError, match=r"no array 'gone'\. It has: energy, pattern"):
        load_array(path, key="gone")


def test_newer_matlab_files_are_hdf5_with_axes_reversed(tmp_path):
    path = hdf5(tmp_path / "new.mat", pattern=COUNTS.T)
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, COUNTS)
    assert "axes reversed" in loaded.notes[-1]
    np.testing.assert_array_equal(load_array(path, frame=2).array, COUNTS[2])


def test_a_folder_of_tiffs_is_a_stack_in_the_order_of_their_numbers(tmp_path):
    for number, frame in zip((1, 2, 10, 9, 100), COUNTS[[0, 1, 3, 2, 4]], strict=True):
        tifffile.imwrite(tmp_path / f"scan_{number}.tif", frame)
    (tmp_path / "notes.txt").write_text("no frame")
    loaded = load_array(tmp_path)
    np.testing.assert_array_equal(loaded.array, COUNTS[:5])
    assert "took 5 TIFF files, scan_1.tif to scan_100.tif" in loaded.notes[0]
    np.testing.assert_array_equal(load_array(tmp_path, frame=3).array, COUNTS[3])
    digest = loaded.source["sha256"]
    tifffile.imwrite(tmp_path / "scan_3.tif", COUNTS[0, :5])
    with pytest.raises(FileError, match=r"scan_3\.tif is no frame like scan_1.tif"):
        load_array(tmp_path)
    tifffile.imwrite(tmp_path / "scan_3.tif", COUNTS[0])
    assert load_array(tmp_path).source["sha256"] != digest


@pytest.mark.parametrize("ending", ["cxi", "nxs", "mat", "mrc", "edf", "cbf"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"nothing of the kind" * 200])
def test_a_damaged_file_is_one_clear_error(tmp_path, ending, content):
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"damaged\.{ending}"):
        load_array(path)


@pytest.mark.skipif(MEASURED is None, reason="NAPARI_DIPR_DATA does not name a folder of measured patterns")
def test_measured_files_are_read():
    folder = Path(MEASURED)
    assert load_array(folder / "vesicle" / "vesicle.mrc").array.shape == (64, 64, 64)
    assert load_array(folder / "ring" / "ring.h5").array.shape == (98, 98, 1)
