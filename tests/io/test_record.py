"""What goes out comes back, in every format, with what made it; and other programs find what they look for."""

import base64
import json
import struct
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.errors import DiprError, FileError, MeasurementError
from napari_dipr.geometry import Geometry, RockingScan
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import load_mask, read
from napari_dipr.io.record import FORMATS, READABLE, Record, ending_of, files_of, read_record, write_record
from napari_dipr.measurement import Measurement

SHAPES = [(20, 34), (16, 18, 20)]
EXACT = (".cxi", ".npz")
FIELD = "displacement (nm)"


def planted(shape, seed=0):
    """Return an object and its support, of random values in a box."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(shape, bool)
    inside[tuple(slice(n // 4, n // 2 + 2) for n in shape)] = True
    return ((1 + rng.random(shape)) * np.exp(1j * rng.normal(size=shape)) * inside).astype(np.complex64), inside


def measured(x, geometry=None, photons=None):
    """Return the object's pattern, a tenth of it unmeasured."""
    pattern = np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2
    return Measurement.of(
        pattern, measured=np.random.default_rng(1).random(x.shape) < 0.9, zero_frequency="centre",
        name="χ² crystal", photons_per_unit=photons, geometry=geometry, history=("cut", "masked"),
        source={"file": "scan.h5", "key": "data", "frame": None},
    )  # fmt: skip


def full(shape, seed=0, known=True, more=True):
    """Return a record, with all that there can be or with the least."""
    x, inside = planted(shape, seed)
    told = {"program": "napari-dipr", "recipe": {"text": "hio*3", "stages": [1, 2]}, "what": "χ², ρ\n<&>\"'"}
    told["errors"] = {"chi2": 0.0123456, "r_factor": 0.0371, "support_voxels": int(inside.sum()), "free_chi2": None}
    geometry = (
        Geometry(wavelength=0.1543, distance=1.2345, pixel_size=(55.0, 75.3)) if known and len(shape) == 2 else None
    )
    fields = {FIELD: np.where(inside, x.real, np.nan), "σ": x.imag} if more else {}
    return Record.of(
        x, inside, told, measurement=measured(x, geometry, 0.1 if known else None) if more else None,
        voxel_size_nm=(4.0, 2.1, 5.3)[-len(shape) :] if known else None, fields=fields,
    )  # fmt: skip


def assert_same(found, record, *, exact):
    if exact:
        assert found.object.tobytes() == record.object.tobytes()
    np.testing.assert_allclose(found.object, record.object, rtol=1e-6)
    np.testing.assert_array_equal(found.support, record.support)
    assert (found.object.dtype, found.support.dtype) == (np.complex64, bool)
    assert found.provenance == record.provenance
    assert found.voxel_size_nm == record.voxel_size_nm
    assert list(found.fields) == list(record.fields)
    for name, values in record.fields.items():
        np.testing.assert_array_equal(found.fields[name], values)
    if not exact or record.measurement is None:
        assert found.measurement is None
        return
    for name in ("intensities", "measured"):
        np.testing.assert_array_equal(getattr(found.measurement, name), getattr(record.measurement, name))
    for name in ("name", "photons_per_unit", "geometry", "history", "source"):
        assert getattr(found.measurement, name) == getattr(record.measurement, name)


@pytest.mark.parametrize("ending", READABLE)
@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_read_back(tmp_path, ending, more, known, shape):
    record = full(shape, known=known, more=more)
    files = write_record(tmp_path / "new" / f"run{ending}", record)
    assert set((tmp_path / "new").iterdir()) == set(files.values())
    assert_same(read_record(files[ending[1:]]), record, exact=ending in EXACT)


@settings(max_examples=15)
@given(
    st.lists(st.integers(16, 22), min_size=2, max_size=3), st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-30, 30)
)
def test_any_object_comes_back_from_its_own_copy_too(tmp_path_factory, shape, seed, voxel, scale):
    folder = tmp_path_factory.mktemp("record")
    x, inside = planted(shape, seed)
    record = Record.of(x * np.float32(10**scale), inside, {"seed": seed}, voxel_size_nm=(voxel,) * len(shape))
    for ending in READABLE:
        write_record(folder / f"a{ending}", record)
        first = read_record(folder / f"a{ending}")
        assert_same(first, record, exact=ending in EXACT)
        write_record(folder / f"b{ending}", first)
        assert_same(read_record(folder / f"b{ending}"), first, exact=ending in EXACT)


@pytest.mark.parametrize("ending", EXACT)
def test_a_rocking_scan_comes_back(tmp_path, ending):
    scan = RockingScan(beamline="34-ID-C", motor="theta", step=0.005, detector={"delta": 32.2}, sample={"chi": 90.0})
    geometry = Geometry(wavelength=0.1378, distance=0.5, pixel_size=(55.0, 55.0), scan=scan)
    x, inside = planted((16, 18, 20))
    record = Record.of(x, inside, {}, measurement=measured(x, geometry))
    assert_same(read_record(write_record(tmp_path / f"a{ending}", record)[ending[1:]]), record, exact=True)


def test_the_energy_weighted_mean_phase_is_zero_and_what_was_taken_off_is_told():
    x, inside = planted((32, 32))
    for turn in (0.3, 2.5, -3.0):
        record = Record.of(x * np.exp(1j * turn), inside, {})
        assert abs(np.angle((np.abs(record.object) * record.object).sum())) < 1e-5
        turned_back = record.object * np.exp(1j * record.provenance["global_phase_removed_rad"])
        np.testing.assert_allclose(turned_back, x * np.exp(1j * turn), atol=1e-5)


def test_what_does_not_go_together_is_refused():
    x, inside = planted((32, 32))
    for values in ({"support": inside[:16]}, {"object": x[0], "support": inside[0]}, {"fields": {"a": x.real[1:]}}):
        with pytest.raises(FileError, match="of one shape"):
            Record(**{"object": x, "support": inside, **values})
    for name in ("", "phase", "a/b", "a\nb"):
        with pytest.raises(FileError, match="cannot be called"):
            Record(x, inside, fields={name: x.real})
    for voxel in ((1.0,), (1.0, -1.0), (1.0, np.inf)):
        with pytest.raises(FileError, match="do not fit"):
            Record(x, inside, voxel_size_nm=voxel)
    x[3, 3] = np.nan
    with pytest.raises(FileError, match="1 pixels that are not finite"):
        Record.of(x, inside, {})


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != ".png"])
def test_odd_names_and_settings_are_no_reason_to_lose_a_result(tmp_path, ending):
    x, inside = planted((20, 34))
    odd = "a$b$ \udcff \0 <&"
    told = {"": 1, ".": 2, "a/b": 3, "a_b": 4, odd: odd, "large": 10**30, "errors": {"": odd}, "recipe": None}
    record = Record.of(x, inside, told, measurement=replace(measured(x), name=odd))
    path = write_record(tmp_path / f"a{ending}", record)[ending[1:]]
    if ending in READABLE:
        assert_same(read_record(path), record, exact=ending in EXACT)


# --- what other programs find --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_imagej_gets_axes_channels_voxels_and_settings(tmp_path, shape):
    record = full(shape)
    files = write_record(tmp_path / "a.tif", record)
    channels = ["amplitude", "phase", FIELD, "σ"]
    for kind, path in files.items():
        with tifffile.TiffFile(path) as file:
            assert file.is_imagej
            about = file.imagej_metadata
            assert file.series[0].axes == ("ZCYX" if kind == "tif" else "ZYX")[len(shape) == 2 :]
            assert about["unit"] == "nm"
            assert about.get("spacing") == (4.0 if len(shape) == 3 else None)
            for tag, side in (("XResolution", 5.3), ("YResolution", 2.1)):
                numerator, denominator = file.pages[0].tags[tag].value
                assert denominator / numerator == pytest.approx(side)
            assert json.loads(about["Info"]) == record.provenance
    with tifffile.TiffFile(files["tif"]) as file:
        assert file.imagej_metadata["Labels"] == channels * (shape[0] if len(shape) == 3 else 1)
        assert file.imagej_metadata["Ranges"][:2] == (0, np.abs(record.object).max())
        data = file.asarray()
    np.testing.assert_array_equal(data[..., 0, :, :], np.abs(record.object))
    assert not data[..., 1, :, :][~record.support].any()
    assert set(np.unique(tifffile.imread(files["support"]))) == {0, 255}
    np.testing.assert_array_equal(load_mask(files["support"]), record.support)
    assert load_array(files["support"]).array.dtype == np.uint8


@pytest.mark.parametrize("shape", SHAPES)
def test_skimage_reads_both_kinds_of_tiff(tmp_path, shape):
    import skimage.io

    record = full(shape, more=False)
    for ending in (".tif", ".ome.tif"):
        data = skimage.io.imread(write_record(tmp_path / f"a{ending}", record)[ending[1:]])
        (channels,) = (axis for axis, size in enumerate(data.shape) if size == 2)
        np.testing.assert_array_equal(np.take(data, 0, channels), np.abs(record.object))


@pytest.mark.parametrize("shape", SHAPES)
def test_ome_xml_names_images_channels_and_sides(tmp_path, shape):
    record = full(shape)
    with tifffile.TiffFile(write_record(tmp_path / "a.ome.tif", record)["ome.tif"]) as file:
        assert file.is_ome
        assert [(s.axes, s.shape) for s in file.series] == [
            ("C" + "ZYX"[-len(shape) :], (4, *shape)),
            ("ZYX"[-len(shape) :], shape),
        ]
        xml = file.ome_metadata
    object_, support = ElementTree.fromstring(xml).findall("{*}Image")
    assert (object_.get("Name"), support.get("Name")) == ("object", "support")
    assert json.loads(object_.findtext("{*}Description")) == record.provenance
    assert [c.get("Name") for c in object_.iter() if c.tag.endswith("}Channel")] == ["amplitude", "phase", FIELD, "σ"]
    for image, kind in ((object_, "float"), (support, "uint8")):
        pixels = image.find("{*}Pixels")
        assert pixels.get("Type") == kind
        for axis, side in zip("ZYX"[-len(shape) :], record.voxel_size_nm, strict=True):
            assert float(pixels.get(f"PhysicalSize{axis}")) == side
            assert pixels.get(f"PhysicalSize{axis}Unit") == "nm"


def test_a_volume_beyond_imagej_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_dipr.io.tiff.MOST_BYTES", 1000)
    record = full((20, 34))
    with pytest.raises(FileError, match=r"ImageJ's TIFF takes 4\. Write \.ome\.tif or \.cxi"):
        write_record(tmp_path / "a.tif", record)
    assert not list(tmp_path.iterdir())
    with tifffile.TiffFile(write_record(tmp_path / "a.ome.tif", record)["ome.tif"]) as file:
        assert file.is_bigtiff
    assert_same(read_record(tmp_path / "a.ome.tif"), record, exact=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cxi_file_is_a_result_of_pynx_with_the_measurement_beside(tmp_path, shape):
    record = full(shape)
    with h5py.File(write_record(tmp_path / "a.cxi", record)["cxi"]) as file:
        assert file["cxi_version"][()] == 150
        np.testing.assert_array_equal(file["entry_1/data_1/data"], record.object)
        np.testing.assert_array_equal(file["entry_last/image_1/support"], record.support)
        assert "instrument_1" not in file["entry_1"]  # by which PyNX takes a file for a measurement
        image = file["entry_1/image_1"]
        assert [image[name].asstr()[()] for name in ("data_type", "data_space")] == ["electron density", "real"]
        assert image["is_fft_shifted"][()] == 0
        assert list(image["image_center"]) == [*(n // 2 for n in shape[::-1]), *[0] * (3 - len(shape))]
        np.testing.assert_allclose(image["image_size"], 1e-9 * np.array(record.voxel_size_nm) * shape)
        process = image["process_1"]
        assert process["configuration/recipe/text"].asstr()[()] == "hio*3"
        assert process["results/chi2"][()] == 0.0123456
        assert process["results/nb_point_support"][()] == record.support.sum()
        assert json.loads(file["entry_1/note_1/data"][()]) == record.provenance
        assert file["entry_1/image_2/data_type"].asstr()[()] == FIELD
        detector = file["entry_2/instrument_1/detector_1"]
        np.testing.assert_array_equal(detector["mask"][()] & 1, ~record.measurement.measured)
        assert (detector["data"].compression, detector["data"].shuffle) == ("gzip", True)
        if len(shape) == 2:
            sides = {"distance": 1.2345, "x_pixel_size": 75.3e-6, "y_pixel_size": 55e-6}
            for name, value in sides.items():
                assert detector[name][()] == pytest.approx(value)
                assert detector[name].attrs["units"] == "m"
            beam = file["entry_2/instrument_1/beam_1"]
            assert beam["incident_wavelength"][()] == pytest.approx(0.1543e-9)
            assert beam["incident_energy"][()] == pytest.approx(8035 * 1.602176634e-19, rel=1e-3)


@pytest.mark.parametrize("ending", EXACT)
def test_asked_for_a_measurement_a_result_gives_its_own(tmp_path, ending):
    record = full((20, 34))
    path = write_record(tmp_path / f"a{ending}", record)[ending[1:]]
    loaded = load_array(path)
    np.testing.assert_array_equal(loaded.array, record.measurement.intensities)
    np.testing.assert_array_equal(loaded.measured, record.measurement.measured)
    if ending == ".cxi":
        measurement = read(path)
        assert measurement.geometry.wavelength == pytest.approx(0.1543)
        assert (measurement.geometry.distance, measurement.geometry.pixel_size) == (1.2345, pytest.approx((55, 75.3)))
    measurement = read(path)
    np.testing.assert_array_equal(measurement.measured, record.measurement.measured)
    write_record(path, replace(record, measurement=None))
    with pytest.raises(MeasurementError, match="complex64"):
        read(path)


def test_a_result_of_pynx_is_read_as_far_as_it_goes(tmp_path):
    x, inside = planted((20, 34))
    with h5py.File(tmp_path / "pynx.cxi", "w") as file:
        image = file.create_group("entry_1/image_1")
        image.create_dataset("data", data=x, chunks=True, shuffle=True, compression="gzip")
        image["mask"], image["image_size"] = inside.astype(np.int8), np.array([20, 34]) * 5e-9
        image["support"] = h5py.SoftLink("/entry_1/image_1/mask")
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/image_1/data")
    record = read_record(tmp_path / "pynx.cxi")
    np.testing.assert_array_equal(record.object, x)
    np.testing.assert_array_equal(record.support, inside)
    assert record.voxel_size_nm == pytest.approx((5, 5))


def decoded(text, kind):
    """Return an array of a VTK file: count of blocks, their size, that of the last one, compressed sizes, blocks."""
    head = struct.unpack("<Q", base64.b64decode(text[:12])[:8])[0] + 3
    length = -(-8 * head // 3) * 4
    count, size, last, *lengths = struct.unpack(f"<{head}Q", base64.b64decode(text[:length]))
    content, blocks = base64.b64decode(text[length:]), []
    for each in lengths:
        blocks.append(zlib.decompress(content[:each]))
        content = content[each:]
    assert [len(block) for block in blocks] == [size] * (count - 1) + [last or size]
    assert not content
    return np.frombuffer(b"".join(blocks), {"Float32": "<f4", "UInt8": "u1"}[kind])


@pytest.mark.parametrize("block", [1 << 20, 1024, 20 * 34])
@pytest.mark.parametrize("shape", SHAPES)
def test_paraview_gets_a_grid_in_nanometres(tmp_path, monkeypatch, shape, block):
    monkeypatch.setattr("napari_dipr.io.vti.BLOCK", block)
    record = full(shape)
    root = ElementTree.parse(write_record(tmp_path / "a.vti", record)["vti"]).getroot()
    assert root.attrib.items() >= {"type": "ImageData", "compressor": "vtkZLibDataCompressor"}.items()
    image = root.find("ImageData")
    extent = " ".join(f"0 {n - 1}" for n in (*shape[::-1], 1)[:3])
    assert image.get("WholeExtent") == image.find("Piece").get("Extent") == extent
    assert image.get("Spacing") == ("5.3 2.1 1.0" if len(shape) == 2 else "5.3 2.1 4.0")
    *codes, end = image.findtext("FieldData/DataArray").split()
    assert end == "0"
    assert json.loads("".join(chr(int(code)) for code in codes)) == record.provenance
    arrays = {a.get("Name"): decoded(a.text, a.get("type")).reshape(shape) for a in image.find("Piece/PointData")}
    assert list(arrays) == ["amplitude", "phase", "support", FIELD, "σ"]
    np.testing.assert_array_equal(arrays["amplitude"], np.abs(record.object))
    np.testing.assert_array_equal(arrays["phase"][record.support], np.angle(record.object)[record.support])
    np.testing.assert_array_equal(arrays["support"], record.support)
    np.testing.assert_array_equal(arrays[FIELD], record.fields[FIELD])


# --- what cannot be written or read --------------------------------------------------------------------------------


def test_the_ending_says_what_a_file_is():
    assert [ending_of(name) for name in ("a.tif", "A.OME.TIFF", "b.c.tiff", "a.tif.cxi", "a.txt", "tif", ".tif")] == [
        ".tif", ".ome.tif", ".tif", ".cxi", None, None, None
    ]  # fmt: skip
    assert [path.name for path in files_of("x/b.c.tiff").values()] == ["b.c.tiff", "b.c_support.tiff"]
    with pytest.raises(FileError, match=r"no ending that results are written with.*\.tif, \.ome\.tif, \.cxi"):
        files_of("a.jpg")


@pytest.mark.parametrize("name", ["a:b.tif", "a\\b.cxi", "a\nb.npz"])
def test_names_that_cannot_be_files(tmp_path, name):
    with pytest.raises(FileError, match="cannot be a file's name"):
        write_record(tmp_path / name, full((20, 34), more=False))


def test_files_that_are_no_results(tmp_path):
    tifffile.imwrite(tmp_path / "foreign.tif", np.zeros((16, 16), np.float32))
    tifffile.imwrite(tmp_path / "imagej.tif", np.zeros((2, 16, 16), np.float32), imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "foreign.ome.tif", np.zeros((2, 16, 16), np.float32))
    tifffile.imwrite(tmp_path / "plain.ome.tif", np.zeros((16, 16), np.float32), ome=False)
    np.savez(tmp_path / "foreign.npz", data=np.ones((16, 16)))
    np.savez(tmp_path / "pickle.npz", object=np.array([{}], object), support=1, provenance="{}")
    with h5py.File(tmp_path / "foreign.cxi", "w") as file:
        file["entry_1/data_1/data"] = np.ones((16, 16))
    for name in ("text.cxi", "text.npz", "text.tif", "text.ome.tif"):
        (tmp_path / name).write_text("no result")
    write_record(tmp_path / "a.vti", full((20, 34)))
    for path in [*tmp_path.iterdir(), tmp_path / "none.cxi", tmp_path]:
        with pytest.raises(FileError):
            read_record(path)
    with pytest.raises(FileError, match=r"a\.vti is not read as a result\. These are: \.tif, \.ome\.tif, \.cxi, \.npz"):
        read_record(tmp_path / "a.vti")


@pytest.mark.parametrize("ending", READABLE)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending, share):
    path = write_record(tmp_path / f"a{ending}", full((20, 34)))[ending[1:]]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match=r"a\."):
        read_record(path)


def test_a_measurement_that_does_not_hold_together_is_refused(tmp_path):
    path = write_record(tmp_path / "a.cxi", full((20, 34)))["cxi"]
    with h5py.File(path, "a") as file:
        file["entry_2/instrument_1/detector_1/data"][...] = -1
    with pytest.raises(FileError, match="negative"):
        read_record(path)


@pytest.mark.parametrize("ending", [ending for ending, kind in FORMATS.items() if kind.needs])
def test_a_package_that_is_missing_is_named_before_anything_is_written(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("napari_dipr.extras.find_spec", lambda name: None)
    with pytest.raises(DiprError, match=r'pip install "napari-dipr\[figures\]"'):
        write_record(tmp_path / f"a{ending}", full((20, 34)))
    assert not list(tmp_path.iterdir())
