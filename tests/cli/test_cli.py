"""The program as people call it."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from napari_dipr.cli import app
from napari_dipr.io.read import load_mask
from napari_dipr.io.record import read_record
from napari_dipr.networks.propose import propose
from napari_dipr.networks.zoo import model_names
from napari_dipr.samples import sample

KEYS = {
    "chi2",
    "r_factor",
    "support_voxels",
    "voxel_size_nm",
    "iterations",
    "seconds",
    "nmse",
    "likelihood",
    "free_chi2",
    "free_likelihood",
    "support_from",
    "outputs",
    "crystal",
}


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def reconstruct(folder, *args, input="sample:fashion-0"):
    result = call("reconstruct", input, "-o", folder, "--json", folder / "figures.json", *args)
    assert result.exit_code == 0, result.stderr
    return json.loads((folder / "figures.json").read_text())


def refused(*args, code=1):
    result = call(*args)
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    if code == 1:
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: "), result.stderr
        return last
    return result.stderr


def test_a_sample_from_its_autocorrelation(tmp_path):
    figures = reconstruct(tmp_path, "--support", "autocorrelation", "--iterations", 60, "--seed", 3)
    assert set(figures) == KEYS
    assert figures["iterations"] == 60
    assert figures["support_from"] == "autocorrelation"
    assert 0 < figures["chi2"] < 0.1
    assert 0 < figures["r_factor"] < 1
    assert 0 < figures["nmse"] < 1
    assert set(figures["outputs"]) == {"tif", "support"}
    assert all(Path(path).is_absolute() for path in figures["outputs"].values())
    assert figures["support_voxels"] == load_mask(figures["outputs"]["support"]).sum()
    told = read_record(figures["outputs"]["tif"]).provenance
    assert told["start"]["seed"] == 3
    assert told["recipe"]["text"] == "hio*54 + er*6; shrinkwrap"
    assert told["errors"]["chi2"] == pytest.approx(figures["chi2"])


def test_a_file_whose_name_no_other_system_takes_is_exported_all_the_same(tmp_path):
    intensities = np.abs(np.fft.fftshift(np.fft.fft2(np.pad(np.ones((7, 9)), 16)))) ** 2
    np.save(tmp_path / "12:30 run?.npy", intensities)
    figures = reconstruct(tmp_path / "out", "--iterations", 10, input=tmp_path / "12:30 run?.npy")
    assert Path(figures["outputs"]["tif"]).name == "12-30-run.tif"


def test_outputs_in_several_formats(tmp_path):
    figures = reconstruct(
        tmp_path, "-o", tmp_path / "x" / "boot.cxi", "-o", tmp_path / "boot.npz", "--support", "autocorrelation",
        "--iterations", 10,
    )  # fmt: skip
    files = {kind: Path(path).relative_to(tmp_path) for kind, path in figures["outputs"].items()}
    assert files == {
        "tif": Path("fashion-0.tif"), "support": Path("fashion-0_support.tif"), "cxi": Path("x/boot.cxi"),
        "npz": Path("boot.npz"),
    }  # fmt: skip
    record = read_record(tmp_path / "x" / "boot.cxi")
    np.testing.assert_array_equal(record.object, read_record(tmp_path / "boot.npz").object)
    np.testing.assert_allclose(record.object, read_record(tmp_path / "fashion-0.tif").object, rtol=1e-6)
    np.testing.assert_array_equal(record.measurement.intensities, sample("fashion-0")[0].intensities)
    # What is in it can be reconstructed once more.
    again = reconstruct(
        tmp_path / "again", "--support", "autocorrelation", "--iterations", 10, input=tmp_path / "x" / "boot.cxi"
    )
    assert again["chi2"] == pytest.approx(figures["chi2"], rel=1e-3)
    # And compared with what was found before.
    figures = reconstruct(
        tmp_path / "again", "--support", tmp_path / "fashion-0_support.tif", "--iterations", 10, "--no-shrink-wrap",
        "--truth", tmp_path / "boot.npz", input=tmp_path / "x" / "boot.cxi",
    )  # fmt: skip
    assert 0 < figures["nmse"] < 1


def test_outputs_that_cannot_be_are_refused_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_dipr.reconstruct.run", None)
    (tmp_path / "a.npz").mkdir()
    assert "is a second file .tif" in refused("reconstruct", "sample:fashion-0", "-o", tmp_path, "-o", "x.tif")
    assert "a.npz: it is a folder" in refused("reconstruct", "sample:fashion-0", "-o", tmp_path / "a.npz")
    monkeypatch.setattr("napari_dipr.extras.find_spec", lambda name: None)
    assert 'pip install "napari-dipr[figures]"' in refused("reconstruct", "sample:fashion-0", "-o", tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_seed_gives_the_same_result_again_and_another_seed_another(tmp_path):
    def amplitude(seed):
        figures = reconstruct(tmp_path, "--support", "autocorrelation", "--iterations", 40, "--seed", seed)
        return np.abs(read_record(figures["outputs"]["tif"]).object)

    first = amplitude(1)
    np.testing.assert_array_equal(first, amplitude(1))
    assert not np.array_equal(first, amplitude(2))


def test_figures_on_stdout_are_all_that_is_there(tmp_path):
    result = call(
        "reconstruct",
        "sample:fashion-1",
        "-o",
        tmp_path,
        "--support",
        "autocorrelation",
        "--iterations",
        20,
        "--json",
        "-",
    )
    assert set(json.loads(result.stdout)) == KEYS
    assert "fashion-1, 72 × 72 pixels" in result.stderr


@pytest.mark.skipif(not model_names(), reason="no trained model is here yet")
def test_a_fitting_model_is_taken_where_nothing_is_said(tmp_path):
    figures = reconstruct(tmp_path)
    assert figures["support_from"] == "model unrolled-fashion"
    assert figures["nmse"] < 0.3
    told = read_record(figures["outputs"]["tif"]).provenance
    assert told["start"]["model"]["name"] == "unrolled-fashion"
    assert len(told["start"]["model"]["sha256"]) == 64
    proposal = propose(sample("fashion-0")[0], "unrolled-fashion", device="cpu")
    assert told["start"]["model"]["threshold"] == pytest.approx(proposal.threshold, rel=1e-4)
    assert told["start"]["seed"] is None
    assert reconstruct(tmp_path, "--model", "unrolled-fashion")["chi2"] == figures["chi2"]


def test_where_no_model_fits_the_autocorrelation_is_taken_and_told(tmp_path):
    result = call("reconstruct", "sample:fashion-0", "-o", tmp_path, "--crop", 24, "--iterations", 20, "--json", "-")
    figures = json.loads(result.stdout)
    assert figures["support_from"] == "autocorrelation"
    assert figures["nmse"] is None
    assert "support from the autocorrelation: " in result.stderr


def pattern_of(truth):
    return np.abs(np.fft.fftshift(np.fft.fftn(truth))) ** 2


def tip(*sides):
    """The corner of a box that its diagonal plane cuts off: no mirror image of itself."""
    return sum(along / side for along, side in zip(np.indices(sides), sides, strict=True)) < 1


@pytest.fixture
def crystal(tmp_path):
    """An object in a triangle of 9 × 7 in 32², its pattern and its support, as files.

    Its twin does not fit into the support, so every start and every computer's rounding leads to the one solution.
    """
    rng = np.random.default_rng(0)
    truth = np.zeros((32, 32), np.complex64)
    truth[12:21, 13:20] = (1 + rng.random((9, 7))) * np.exp(0.5j * rng.random((9, 7))) * tip(9, 7)
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "support.npy", truth != 0)
    np.savez(tmp_path / "data.npz", other=np.ones((16, 16)), data=pattern_of(truth))
    return tmp_path


def test_a_file_with_its_support_and_truth(crystal):
    figures = reconstruct(
        crystal,
        "--support",
        crystal / "support.npy",
        "--truth",
        crystal / "truth.npy",
        "--no-shrink-wrap",
        "--key",
        "data",
        "--intensity",
        "--centered",
        input=crystal / "data.npz",
    )
    assert figures["nmse"] < 1e-3
    assert figures["support_voxels"] == tip(9, 7).sum()
    assert figures["support_from"] == str(crystal / "support.npy")


def test_corner_amplitudes_with_a_mask_give_the_same_object(crystal):
    intensities = np.load(crystal / "data.npz")["data"]
    cornered = np.fft.ifftshift(np.sqrt(intensities))
    mask = np.ones((32, 32), bool)
    mask[5, 9] = mask[27, 23] = False
    cornered[~mask] = np.nan
    np.save(crystal / "amplitudes.npy", cornered)
    np.save(crystal / "mask.npy", mask)
    args = (
        "--support",
        crystal / "support.npy",
        "--truth",
        crystal / "truth.npy",
        "--no-shrink-wrap",
        "--amplitude",
        "--mask",
        crystal / "mask.npy",
    )
    for where in ((), ("--cornered",)):
        assert reconstruct(crystal, *args, *where, input=crystal / "amplitudes.npy")["nmse"] < 1e-3


def test_a_volume_and_a_recipe_in_words(tmp_path):
    truth = np.zeros((16, 20, 18))
    truth[5:9, 6:12, 5:10] = (1 + np.random.default_rng(0).random((4, 6, 5))) * tip(4, 6, 5)
    np.save(tmp_path / "volume.npy", pattern_of(truth))
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "support.npy", truth > 0)
    figures = reconstruct(
        tmp_path,
        "--recipe",
        "hio(beta=0.8)*80 + er*20",
        "--no-shrink-wrap",
        "--positive",
        "--support",
        tmp_path / "support.npy",
        "--truth",
        tmp_path / "truth.npy",
        input=tmp_path / "volume.npy",
    )
    assert figures["nmse"] < 1e-3
    assert read_record(figures["outputs"]["tif"]).object.shape == (16, 20, 18)


def test_a_region_is_read_and_told(tmp_path):
    stack = np.zeros((4, 40, 48))
    stack[2, 4:36, 10:42] = pattern_of(np.pad(tip(12, 12), 10))
    np.save(tmp_path / "scan.npy", stack)
    options = ("--support", "autocorrelation", "--recipe", "er*2")
    framed = reconstruct(
        tmp_path, "--frame", 2, "--region", "4:36, 10:42", *options, input=tmp_path / "scan.npy"
    )  # fmt: skip
    source = read_record(framed["outputs"]["tif"]).provenance["measurement"]["source"]
    assert (source["frame"], source["region"], source["shape"]) == (2, "4:36, 10:42", [4, 40, 48])
    assert len(source["sha256"]) == 64
    whole = reconstruct(tmp_path, "--region", "2, 4:36, 10:42", *options, input=tmp_path / "scan.npy")
    assert whole["chi2"] == framed["chi2"]
    history = read_record(whole["outputs"]["tif"]).provenance["measurement"]["history"]
    assert "took the region 2, 4:36, 10:42 of (4, 40, 48)" in history


def of_its_support(folder, *args, recipe="hio*20"):
    """Reconstruct the crystal's pattern in its support, and return figures and provenance."""
    figures = reconstruct(
        folder, "--support", folder / "support.npy", "--no-shrink-wrap", "--key", "data", "--recipe", recipe, *args,
        input=folder / "data.npz",
    )  # fmt: skip
    return figures, read_record(figures["outputs"]["tif"]).provenance


def test_without_photons_and_free_pixels_their_figures_are_not_known(crystal):
    figures, told = of_its_support(crystal)
    assert [figures[key] for key in ("likelihood", "free_chi2", "free_likelihood")] == [None] * 3
    assert told["errors"]["psf_sigma"] is None
    assert (told["real"], told["positive"], told["free_share"]) == (False, False, 0)


@pytest.mark.parametrize(("option", "positive"), [("--real", False), ("--positive", True)])
def test_a_real_object_is_found_from_half_the_spectrum(crystal, monkeypatch, option, positive):
    from napari_dipr import reconstruct as module

    halves, honest = [], module.random_start
    monkeypatch.setattr(
        module, "random_start", lambda problem, *args: halves.append(problem.amplitudes.shape) or honest(problem, *args)
    )
    truth = np.load(crystal / "truth.npy").real
    truth[15, 16] *= 1 if positive else -1
    np.save(crystal / "truth.npy", truth)
    np.savez(crystal / "data.npz", data=pattern_of(truth))
    figures, told = of_its_support(crystal, option, "--truth", crystal / "truth.npy", recipe="hio*200 + er*20")
    assert halves == [(1, 32, 17)]
    assert figures["nmse"] < 1e-3
    assert (told["real"], told["positive"]) == (True, positive)
    record = read_record(figures["outputs"]["tif"])
    assert np.abs(np.sin(np.angle(record.object[record.support]))).max() < 1e-5


def test_photons_and_free_pixels_are_told(crystal):
    counts = np.load(crystal / "data.npz")["data"]
    counts = np.random.default_rng(0).poisson(counts * (1e6 / counts.sum()))
    np.savez(crystal / "data.npz", data=2.5 * counts)
    arguments = ("--photons", 0.4, "--free", 0.05, "--centered")
    figures, told = of_its_support(crystal, *arguments, recipe="hio*200 + er*40 + poisson*20")
    # The mean deviance of counts about the truth is near 1/2, and lower where their noise is fitted.
    assert 0.05 < figures["likelihood"] < 0.7
    assert figures["free_likelihood"] > figures["likelihood"]
    assert figures["free_chi2"] > 0
    assert told["measurement"]["photons_per_unit"] == 0.4
    assert told["free_share"] == 0.05
    for key in ("chi2", "likelihood", "free_chi2", "free_likelihood"):
        assert told["errors"][key] == pytest.approx(figures[key], rel=1e-5)


def test_partial_coherence_explains_a_blurred_pattern(crystal):
    blurred = ndimage.gaussian_filter(np.load(crystal / "data.npz")["data"], 0.6, mode="wrap")
    np.savez(crystal / "data.npz", data=blurred)
    recipe = "hio*200 + er*100"
    coherent, _ = of_its_support(crystal, "--centered", recipe=recipe)
    figures, told = of_its_support(crystal, "--partial-coherence", "--centered", recipe=recipe)
    assert figures["chi2"] < 0.5 * coherent["chi2"]
    assert len(told["errors"]["psf_sigma"]) == 2
    assert all(0.2 < sigma < 1 for sigma in told["errors"]["psf_sigma"])
    assert told["recipe"]["coherence"]["start"] == 100
    assert "does not go with alm" in refused(
        "reconstruct", "sample:fashion-0", "--support", "autocorrelation", "--recipe", "alm", "--partial-coherence",
        "-o", crystal / "out",
    )  # fmt: skip


def test_what_stands_after_the_stages_counts_instead_of_the_options(crystal):
    _, told = of_its_support(crystal, recipe="hio*20; shrinkwrap(threshold=0.1)")
    assert told["recipe"]["shrinkwrap"]["threshold"] == 0.1
    _, told = of_its_support(crystal)
    assert told["recipe"]["shrinkwrap"] is None


def test_auto_ends_on_its_own_and_says_why(crystal):
    figures, told = of_its_support(crystal, recipe="auto")
    assert figures["iterations"] < 1000
    assert told["errors"]["ended"].startswith("hio ended after ")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("hio*20; shrink(threshold=0.1)", "After the stages may stand shrinkwrap, coherence, settling"),
        ("hio*20; shrinkwrap(threshold=2)", "less than 1"),
        ("(hio*20 + er*5", "was not understood"),
        ("auto*20", "was not understood"),
    ],
)
def test_a_bad_recipe_is_refused_before_anything_is_read(tmp_path, recipe, says):
    assert says in refused("reconstruct", tmp_path / "none.npy", "--recipe", recipe, "-o", tmp_path)


def test_two_results_beside_each_other(crystal):
    for seed in (0, 1):
        reconstruct(
            crystal / str(seed), "--support", crystal / "support.npy", "--no-shrink-wrap", "--key", "data",
            "--seed", seed, input=crystal / "data.npz",
        )  # fmt: skip
    done = call("compare", crystal / "0", crystal / "1", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"amplitude_correlation", "complex_correlation", "removed"}
    assert found["complex_correlation"] > 0.99
    done = call("compare", crystal / "0", crystal / "1" / "data.tif")
    assert f"complex objects at {found['complex_correlation']:.3f}" in done.stderr
    assert not done.stdout
    assert "data.npz is no result" in refused("compare", crystal / "0", crystal)


def test_mask_threshold_and_crop_in_that_order(tmp_path):
    counts = np.random.default_rng(0).poisson(3, (64, 64))
    counts[40:47, 30:37] += 50
    counts[0, 0] = 60_000  # a hot pixel, to be masked
    np.save(tmp_path / "counts.npy", counts)
    mask = np.ones(counts.shape, np.uint8)
    mask[0, 0] = 0
    np.save(tmp_path / "mask.npy", mask)
    counts[43, 33] = 900
    np.save(tmp_path / "counts.npy", counts)
    figures = reconstruct(
        tmp_path,
        "--mask",
        tmp_path / "mask.npy",
        "--threshold",
        20,
        "--crop",
        32,
        "--iterations",
        10,
        "--centered",
        "--support",
        "autocorrelation",
        input=tmp_path / "counts.npy",
    )
    history = read_record(figures["outputs"]["tif"]).provenance["measurement"]["history"]
    assert history[-4:] == [
        "masked 1 pixels as unmeasured",
        "zero frequency given: centre",
        "intensities below 20 set to 0",
        "cropped from (64, 64) to (32, 32) around the peak at (43, 33)",
    ]


def test_refusals_of_input(tmp_path, crystal):
    np.save(crystal / "nan.npy", np.full((32, 32), np.nan))
    np.save(crystal / "negative.npy", -np.ones((32, 32)))
    np.save(crystal / "line.npy", np.ones(900))
    np.save(crystal / "empty.npy", np.zeros((32, 32)))
    np.save(crystal / "full.npy", np.ones((32, 32)))
    (crystal / "words.tif").write_text("no picture")
    data, out = crystal / "data.npz", ("-o", crystal / "out")
    assert "There is no file" in refused("reconstruct", crystal / "none.npy", *out)
    assert "cannot be read as TIF" in refused("reconstruct", crystal / "words.tif", *out)
    assert "no array 'x'. It has: data, other" in refused("reconstruct", data, "--key", "x", *out)
    assert "No pixel is left: 1024 NaN" in refused("reconstruct", crystal / "nan.npy", *out)
    assert "1024 of 1024 pixels are negative" in refused("reconstruct", crystal / "negative.npy", *out)
    assert "2 or 3 dimensions" in refused("reconstruct", crystal / "line.npy", *out)
    assert "support is empty" in refused("reconstruct", data, "--support", crystal / "empty.npy", *out)
    assert "fills 100%" in refused("reconstruct", data, "--support", crystal / "full.npy", *out)
    assert "No intensity reaches" in refused("reconstruct", data, "--threshold", 1e9, *out)
    assert "no truth" in refused("reconstruct", data, "--truth", crystal / "empty.npy", *out)
    assert "no model called 'none'" in refused("reconstruct", data, "--model", "none", *out)
    assert "dncnn-fashion are denoisers" in refused("reconstruct", data, "--model", "dncnn-fashion", *out)
    assert "not understood" in refused("reconstruct", data, "--recipe", "magic*3", *out)
    assert "leave out" in refused("reconstruct", data, "--recipe", "hio*3", "--iterations", 4, *out)
    assert "no device 'abacus'" in refused("reconstruct", data, "--device", "abacus", *out)
    assert "fashion-0 to fashion-255" in refused("reconstruct", "sample:fashion-256", *out)
    assert list((crystal / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_found_before_the_run(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "Cannot write to" in refused("reconstruct", "sample:fashion-0", "-o", tmp_path / "file" / "below")
    assert "Cannot write to" in refused(
        "reconstruct", "sample:fashion-0", "-o", tmp_path, "--json", tmp_path / "file" / "f.json"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bad_usage(tmp_path):
    out = ("-o", tmp_path)
    assert "not both" in refused("reconstruct", "sample:fashion-0", "--model", "a", "--support", "b", *out, code=2)
    refused("reconstruct", "sample:fashion-0", code=2)
    assert "crop" in refused("reconstruct", "sample:fashion-0", "--crop", 3, *out)
    assert "centre is 'here': give whole numbers" in refused(
        "reconstruct", "sample:fashion-0", "--centre", "here", *out
    )
    refused("reconstruct", "sample:fashion-0", "--frame", -1, *out, code=2)
    assert "region 'a:b' cannot be read" in refused("reconstruct", __file__, "--region", "a:b", *out)
    assert "leave out the region" in refused("models", "sample:fashion-0", "--region", "0:9")
    refused("dance", code=2)


def test_a_training_that_cannot_be_is_told_in_one_line(tmp_path):
    pytest.importorskip("lightning")
    assert "is a folder. Give the path of the model.toml" in refused("train", tmp_path)
    (tmp_path / "model.toml").write_text("[model]\nname = 'x'\npurposes = 'y'\n")
    assert "model: there is no purposes; the keys are name, purpose, rank, resampled" in refused(
        "train", tmp_path / "model.toml"
    )


def test_a_full_memory_is_told(tmp_path, monkeypatch):
    from napari_dipr.solvers.projections import HIO

    def full(*args):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(HIO, "step", full)
    assert "memory is full" in refused(
        "reconstruct", "sample:fashion-0", "--support", "autocorrelation", "-o", tmp_path
    )


@pytest.mark.parametrize(("command", "missing"), [("gui", "napari"), ("demo", "napari"), ("train", "lightning")])
def test_a_missing_extra_is_named(monkeypatch, command, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "train" if command == "train" else "all"
    assert f'pip install "napari-dipr[{extra}]"' in refused(command, *(("x.toml",) if command == "train" else ()))


def test_help_and_version_need_neither_torch_nor_qt():
    code = (
        "import sys; from typer.testing import CliRunner; from napari_dipr.cli import app; r = CliRunner();"
        "assert r.invoke(app, ['--help']).exit_code == 0;"
        "assert r.invoke(app, ['reconstruct', '--help']).exit_code == 0;"
        "assert r.invoke(app, ['--version']).stdout.startswith('napari-dipr ');"
        "heavy = {'torch', 'scipy', 'napari', 'qtpy', 'h5py', 'lightning', 'skimage'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_program_is_installed():
    done = subprocess.run([sys.executable, "-m", "napari_dipr.cli", "--version"], check=True, capture_output=True)
    assert done.stdout.startswith(b"napari-dipr ")


def test_a_measured_crystal_is_compact_and_the_same_from_two_seeds(tmp_path, measured_data):
    import torch

    from napari_dipr.physics.symmetry import find_alignment

    objects = []
    for seed in (0, 1):
        figures = reconstruct(
            tmp_path, "--key", "data", "--frame", 99, "--crop", 128, "--threshold", 3, "--support", "autocorrelation",
            "--seed", seed, input=measured_data / "scan54" / "stack_raw_counts.npz",
        )  # fmt: skip
        # Measured: χ² .021, 685 to 718 pixels in one piece for eight seeds, of a first support of 1433.
        assert figures["chi2"] < 0.04
        assert 500 < figures["support_voxels"] < 1000
        support = load_mask(figures["outputs"]["support"])
        pieces, _ = ndimage.label(np.tile(support, (2, 2)))  # one that lies across the grid's edge is one piece
        assert np.bincount(pieces.ravel())[1:].max() > 0.9 * support.sum()
        objects.append(torch.from_numpy(read_record(figures["outputs"]["tif"]).object))
    # Measured: .981 and .970 at least between any two of eight seeds.
    assert find_alignment(objects[0].abs(), objects[1].abs()).correlation > 0.95
    assert find_alignment(objects[0], objects[1]).correlation > 0.92


def test_a_file_that_tells_its_geometry_gives_voxels_in_nanometres(tmp_path):
    measurement, _ = sample("fashion-0")
    path = tmp_path / "shot.cxi"
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["distance"] = measurement.intensities, 1.0
        detector["x_pixel_size"], detector["y_pixel_size"] = 55e-6, 110e-6
        file["entry_1/instrument_1/beam_1/incident_wavelength"] = 1e-10
    figures = reconstruct(tmp_path, "--iterations", 20, "--support", "autocorrelation", input=path)
    # λz/(Np)
    assert figures["voxel_size_nm"] == pytest.approx([1e9 * 1e-10 / (72 * 110e-6), 1e9 * 1e-10 / (72 * 55e-6)])
    assert list(read_record(tmp_path / "shot.tif").voxel_size_nm) == figures["voxel_size_nm"]
