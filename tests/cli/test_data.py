import json

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dipr.benchmarks.bragg import AT_34_ID_C, bragg
from napari_dipr.cli import app
from napari_dipr.geometry import Geometry
from napari_dipr.io.read import read
from napari_dipr.io.record import read_record
from napari_dipr.preparation.steps import Preparation

AT_34_ID_C_READ = Geometry.parse(AT_34_ID_C)


def call(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


def refused(*args):
    return call(*args, code=1).stderr.strip().splitlines()[-1]


@pytest.fixture
def detector(tmp_path):
    """A detector of 90 × 80 pixels, and a frame of it that begins at (10, 20); its folder."""
    rng = np.random.default_rng(0)
    r2 = sum((np.indices((64, 56)) - np.array([30, 26]).reshape(2, 1, 1)) ** 2)
    white = rng.uniform(0.5, 1.5, (90, 80)).astype(np.float32)
    dark = np.full((90, 80), 4, np.uint16)
    bad = np.zeros((90, 80), np.uint8)
    bad[15, 25] = 1
    counts = rng.poisson(3e4 * np.exp(-r2 / 60) * white[10:74, 20:76] / np.median(white)) + 4
    counts[50, 50] = 9000
    np.save(tmp_path / "frame.npy", counts.astype(np.int32))
    for name, field in (("white", white), ("dark", dark), ("bad", bad)):
        tifffile.imwrite(tmp_path / f"{name}.tif", field)
    return tmp_path


def options(folder):
    return [
        *("--dark", folder / "dark.tif", "--white", folder / "white.tif", "--bad-map", folder / "bad.tif"),
        *("--origin", "10,20", "--leave-out", "all", "--threshold", 2, "--crop", "48,44", "--bin", 1),
        *("--geometry", "energy=9, distance=0.5, pixel=55"),
    ]


def test_a_frame_is_prepared_told_and_written(detector):
    done = call(
        "prepare", detector / "frame.npy", *options(detector), "-o", detector / "m.cxi", "--json", detector / "p.json"
    )
    for words in (
        "dark from dark.tif",
        "dark field subtracted, 4 counts in the mean",
        "left out 1 pixels: hot",
        "intensities below 2 set to 0",
        "cropped from (64, 56) to (48, 44) around the peak",
        "the object spans about",
        "the object's voxels are 26.09 × 28.46 nm",
    ):
        assert words in done.stderr
    assert not done.stdout
    prepared = read(detector / "m.cxi")
    settings = json.loads((detector / "p.json").read_text())
    again = read(detector / "frame.npy", preparation=Preparation.of(**settings))
    np.testing.assert_array_equal(prepared.intensities, again.intensities)
    np.testing.assert_array_equal(prepared.measured, again.measured)
    assert prepared.voxel_size == pytest.approx(again.voxel_size)
    call("prepare", detector / "frame.npy", "--prepare", detector / "p.json", "-o", detector / "m.npz")
    np.testing.assert_array_equal(read(detector / "m.npz").measured, again.measured)


def test_what_is_given_beside_settings_counts(detector):
    call("prepare", detector / "frame.npy", *options(detector), "--json", detector / "p.json")
    done = call("prepare", detector / "frame.npy", "--prepare", detector / "p.json", "--crop", 32)
    assert "to (32, 32)" in done.stderr
    assert "dark from dark.tif" in done.stderr


def test_reconstruct_prepares_alike_and_keeps_the_settings(detector):
    call("prepare", detector / "frame.npy", *options(detector), "--json", detector / "p.json")
    call(
        *("reconstruct", detector / "frame.npy", "--prepare", detector / "p.json", "-o", detector / "r.npz"),
        *("--support", "autocorrelation", "--iterations", 10),
    )
    record = read_record(detector / "r.npz")
    source = record.provenance["measurement"]["source"]
    assert source["preparation"] == json.loads((detector / "p.json").read_text())
    assert len(source["dark"]["sha256"]) == 64
    # Its settings can be used again.
    (detector / "told.json").write_text(json.dumps(record.provenance))
    done = call("prepare", detector / "frame.npy", "--prepare", detector / "told.json")
    assert "to (48, 44)" in done.stderr


def test_a_bragg_scan_ends_as_a_crystal_in_nanometres(tmp_path):
    measurement = bragg(grid=(24, 24, 24), starts=1, known_support=True).measurement
    np.save(tmp_path / "scan.npy", measurement.intensities)
    done = call(
        *("reconstruct", tmp_path / "scan.npy", "-o", tmp_path, "-o", tmp_path / "scan.npz", "--geometry", AT_34_ID_C),
        *("--support", "autocorrelation", "--recipe", "hio*40 + er*20", "--json", "-"),
    )
    figures = json.loads(done.stdout)
    crystal = figures["crystal"]
    assert crystal["d_spacing"] == pytest.approx(0.2335, abs=1e-3)
    assert {"crystal_tif", "crystal_support", "crystal_npz"} <= set(figures["outputs"])
    record = read_record(tmp_path / "scan_crystal.npz")
    assert record.voxel_size_nm == pytest.approx((crystal["voxel"],) * 3)
    assert set(record.fields) == {"displacement nm", "strain"}
    for words in ("that the angles are", "crystal of", "Its twin"):
        assert words in done.stderr


def test_look_lists_what_a_file_holds(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = np.zeros((30, 40), np.uint16)
        file["entry/name"] = "gold"
    done = call("look", tmp_path / "a.h5")
    assert "entry/data" in done.stdout
    assert "30 × 40" in done.stdout
    entries = json.loads(call("look", tmp_path / "a.h5", "--json").stdout)
    assert [entry["shape"] for entry in entries if entry["key"] == "entry/data"] == [[30, 40]]
    assert "There is no file" in refused("look", tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--dark", "none.tif"), "There is no file"),
        (("--dark", "dark.tif", "--origin", "60,60"), "does not cover frames"),
        (("--origin", "x"), "origin is 'x': give whole numbers"),
        (("--background", "much"), "background is 'much'"),
        (("--bin", 40), "Bin less"),
        (("--threshold", -3), "threshold"),
        (("--geometry", "energy=9"), "lacks distance and pixel"),
        (("--centre", "900,3"), "is no pixel"),
        (("--prepare", "frame.npy"), "cannot be read as JSON"),
        (("-o", "m.tif"), "written as .cxi or .npz"),
        (("--rocking-axis", 2, "--mask", "white.tif"), "is no mask"),
    ],
)
def test_what_cannot_be_prepared_is_refused_in_one_line(detector, monkeypatch, args, says):
    monkeypatch.chdir(detector)
    before = sorted(detector.iterdir())
    assert says in refused("prepare", "frame.npy", *args)
    assert sorted(detector.iterdir()) == before


@pytest.mark.parametrize("ending", [".cxi", ".npz"])
def test_a_prepared_measurement_is_read_as_it_was(tmp_path, ending):
    measurement = bragg(grid=(24, 24, 24), starts=1, known_support=True).measurement
    data = measurement.intensities.copy()
    data[10:15, 10:15, 10:15] = -1  # nothing in the middle tells where zero frequency is
    np.save(tmp_path / "scan.npy", data)
    call(
        *("prepare", tmp_path / "scan.npy", "-o", tmp_path / f"m{ending}", "--geometry", AT_34_ID_C, "--centered"),
        *("--bin", "1,1,1"),
    )
    first = read(tmp_path / "scan.npy", geometry=AT_34_ID_C_READ, zero_frequency="centre")
    again = read(tmp_path / f"m{ending}")
    np.testing.assert_array_equal(again.intensities, first.intensities)
    np.testing.assert_array_equal(again.measured, first.measured)
    assert again.geometry == first.geometry
    assert again.history[: len(first.history)] == first.history


def test_a_result_stays_whole_where_its_crystal_cannot_be_written(tmp_path):
    measurement = bragg(grid=(24, 24, 24), starts=1, known_support=True).measurement
    np.save(tmp_path / "scan.npy", measurement.intensities)
    (tmp_path / "r_crystal.npz").mkdir()
    (tmp_path / "r.npz").write_text("mine")
    said = refused(
        *("reconstruct", tmp_path / "scan.npy", "-o", tmp_path / "r.npz", "--geometry", AT_34_ID_C),
        *("--support", "autocorrelation", "--iterations", 5),
    )
    assert "r_crystal.npz" in said
    assert (tmp_path / "r.npz").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ['{"measurement": {"source": []}}', '{"cls": 1}', "[" * 20000, '{"measurement": null}']
)
def test_settings_that_are_none_are_refused_in_one_line(detector, text):
    (detector / "p.json").write_text(text)
    assert "p.json" in refused("prepare", detector / "frame.npy", "--prepare", detector / "p.json") or "cls" in text


def test_a_region_and_another_rocking_axis_do_not_go_together(tmp_path):
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).poisson(9, (30, 40, 50)))
    assert "cannot be chosen together" in refused(
        "prepare", tmp_path / "scan.npy", "--region", "0:20", "--rocking-axis", 2
    )


def test_a_mask_among_several_arrays_is_found_by_its_name(tmp_path):
    data = np.random.default_rng(0).poisson(9, (30, 40))
    mask = np.ones((30, 40), np.uint8)
    mask[3, 4] = 0
    np.savez(tmp_path / "both.npz", data=data, mask=mask)
    np.save(tmp_path / "data.npy", data)
    done = call("prepare", tmp_path / "data.npy", "--mask", tmp_path / "both.npz")
    assert "masked 1 pixels as unmeasured" in done.stderr


def test_a_flat_field_that_is_none_is_refused(detector):
    tifffile.imwrite(detector / "peak.tif", np.exp(-sum((np.indices((90, 80)) - 40) ** 2) / 4).astype(np.float32))
    said = refused("prepare", detector / "frame.npy", "--white", detector / "peak.tif")
    assert "Is it the right file, and the right origin?" in said


def test_a_folder_with_a_result_and_its_crystal_is_one_result(tmp_path):
    measurement = bragg(grid=(24, 24, 24), starts=1, known_support=True).measurement
    np.save(tmp_path / "scan.npy", measurement.intensities)
    for seed in (0, 1):
        call(
            *("reconstruct", tmp_path / "scan.npy", "-o", tmp_path / str(seed), "--geometry", AT_34_ID_C),
            *("--support", "autocorrelation", "--iterations", 20, "--seed", seed),
        )
    assert "correlate" in call("compare", tmp_path / "0", tmp_path / "1").stderr
