import json

import numpy as np
import pytest
import tifffile
from skimage.io import imsave
from typer.testing import CliRunner

from napari_dipr.cli import app
from napari_dipr.experiment import Experiment, with_phase
from napari_dipr.io.read import read
from napari_dipr.io.record import read_record
from napari_dipr.preparation.bad import bad_pixels
from napari_dipr.samples import sample


def call(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def picture(tmp_path):
    """A triangle, which no twin is like, in a picture, as its file."""
    rows, columns = np.indices((24, 30))
    grey = 150 + 100 * np.random.default_rng(0).random((24, 30))
    grey = np.where(rows / 22 + columns / 28 < 1, grey, 0).astype(np.uint8)
    imsave(tmp_path / "triangle.png", grey, check_contrast=False)
    return tmp_path / "triangle.png", grey


def test_a_picture_becomes_a_measurement_that_is_reconstructed_and_compared_with_the_truth(picture, tmp_path):
    path, grey = picture
    done = call(
        *("simulate", path, "-o", tmp_path / "pattern.cxi", "--truth", tmp_path / "truth.npz", "--photons", "1e7"),
        *("--beamstop", 1.5, "--gaps", "40x50+1", "--seed", 3, "--json", tmp_path / "figures.json"),
        *("--geometry", "energy=9, distance=0.5, pixel=55"),
    )
    experiment = Experiment.of(photons=1e7, beamstop=1.5, gaps="40x50+1", seed=3)
    expected, truth = experiment.measure(grey)
    measurement = read(tmp_path / "pattern.cxi")
    np.testing.assert_array_equal(measurement.intensities, expected.intensities)
    np.testing.assert_array_equal(measurement.measured, expected.measured)
    assert measurement.photons_per_unit == 1
    assert measurement.history[: len(expected.history)] == expected.history
    record = read_record(tmp_path / "truth.npz")
    np.testing.assert_array_equal(record.object, truth)
    assert record.voxel_size_nm == pytest.approx(measurement.voxel_size)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["pixels"] == 48 * 60
    assert figures["unmeasured"] == (~expected.measured).sum()
    assert figures["brightest"] == expected.intensities.max()
    assert figures["unit"] == "nm"
    assert len(figures["bands"]) == 8
    assert f"{figures['unmeasured']} of 2880 pixels are not measured" in done.stderr
    assert "photons a pixel" in done.stderr
    told = call(
        *("reconstruct", tmp_path / "pattern.cxi", "-o", tmp_path / "out.npz", "--truth", tmp_path / "truth.npz"),
        *("--support", "autocorrelation", "--iterations", 150, "--json", "-"),
    )
    assert json.loads(told.stdout)["nmse"] < 0.2


def test_a_sample_is_taken_as_the_object_that_it_is(tmp_path):
    call("simulate", "sample:fashion-3", "-o", tmp_path / "m.npz", "--truth", tmp_path / "t.tif")
    measurement, truth = sample("fashion-3")
    again = read(tmp_path / "m.npz")
    np.testing.assert_allclose(again.intensities, measurement.intensities, rtol=1e-4, atol=1e-3)
    assert again.photons_per_unit is None
    np.testing.assert_allclose(read_record(tmp_path / "t.tif").object, truth, atol=1e-6)


def test_few_photons_that_look_like_saturated_pixels_come_back_as_they_were(tmp_path):
    # The brightest three of them count alike.
    call("simulate", "sample:fashion-8", "-o", tmp_path / "m.cxi", "--photons", 1e3, "--seed", 8)
    measurement = read(tmp_path / "m.cxi")
    assert "saturated" in bad_pixels(measurement.intensities)
    assert measurement.measured.all()
    assert not read(tmp_path / "m.cxi", saturation=17).measured.all()


def test_a_volume_and_its_phase_and_settings_by_axis(tmp_path):
    rng = np.random.default_rng(0)
    volume, phase = rng.random((9, 10, 11)).astype(np.float32), rng.random((9, 10, 11))
    tifffile.imwrite(tmp_path / "volume.tif", volume)
    np.save(tmp_path / "phase.npy", phase)
    done = call(
        *("simulate", tmp_path / "volume.tif", "-o", tmp_path / "m.cxi", "--phase", tmp_path / "phase.npy"),
        *("--phase-span", 2, "--oversampling", "2,2,3", "--coherence", "0.5,0.2,0", "--json", "-"),
    )
    expected, _ = Experiment.of(oversampling=(2, 2, 3), coherence=(0.5, 0.2, 0)).measure(with_phase(volume, phase, 2))
    np.testing.assert_array_equal(read(tmp_path / "m.cxi").intensities, expected.intensities)
    assert json.loads(done.stdout)["brightest"] is None


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--gaps", "wide"), "'wide' is no detector"),
        (("--background", 2), "say how many photons"),
        (("--photons", -1), "photons: Input should be greater than 0"),
        (("--oversampling", "1"), "greater than or equal to 2"),
        (("--beamstop", 500), "Nothing would be measured"),
        (("--geometry", "energy=9"), "geometry lacks distance and pixel"),
        (("--phase", "sample:fashion-0"), "phase has the shape (36, 36), the amplitude (20, 20)"),
        (("--truth", "truth.bmp"), "no ending that results are written with"),
        (("--key", "a"), "leave out 'a'"),
    ],
)
def test_what_cannot_be_simulated_is_refused_and_nothing_is_written(tmp_path, args, says):
    np.save(tmp_path / "object.npy", np.ones((20, 20)))
    refused = call("simulate", tmp_path / "object.npy", "-o", tmp_path / "m.cxi", *args, code=1)
    assert says in refused.stderr
    assert not (tmp_path / "m.cxi").exists()


def test_neither_object_nor_pattern_is_replaced(tmp_path):
    np.savez(tmp_path / "object.npz", np.ones((20, 20)))
    before = (tmp_path / "object.npz").read_bytes()
    both = tmp_path / "both.npz"
    assert "would be written twice" in call("simulate", "sample:fashion-0", "-o", both, "--truth", both, code=1).stderr
    assert not both.exists()
    for words in (
        ("simulate", tmp_path / "object.npz", "-o", tmp_path / "object.npz"),
        (
            "simulate",
            "sample:fashion-0",
            "-o",
            both,
            "--phase",
            tmp_path / "object.npz",
            "--json",
            tmp_path / "object.npz",
        ),
        ("prepare", tmp_path / "object.npz", "-o", tmp_path / "object.npz"),
    ):
        assert "object.npz would replace the measurement itself" in " ".join(call(*words, code=1).stderr.split())
    assert (tmp_path / "object.npz").read_bytes() == before


def test_a_span_without_a_phase_and_another_ending_are_refused(tmp_path):
    np.save(tmp_path / "object.npy", np.ones((20, 20)))
    assert "give --phase" in call(
        "simulate", tmp_path / "object.npy", "-o", tmp_path / "m.cxi", "--phase-span", 2, code=2
    ).stderr.replace("\n", " ")
    refused = call("simulate", tmp_path / "object.npy", "-o", tmp_path / "m.tif", code=1)
    assert "measurements are written as .cxi or .npz" in refused.stderr
