"""What goes out comes back, says what made it, and an export that fails leaves what was there."""

import errno
import json
import os

import numpy as np
import pytest
import tifffile

from napari_dipr import samples
from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.provenance import as_json, provenance
from napari_dipr.io.read import load_mask, read
from napari_dipr.io.write import export, read_provenance, write_json
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, autocorrelation_support


def planted(shape):
    rng = np.random.default_rng(0)
    support = rng.random(shape) < 0.4
    x = (rng.random(shape) + 1j * rng.normal(size=shape)).astype(np.complex64) * support
    return x, support


@pytest.mark.parametrize("shape", [(32, 40), (16, 20, 24)])
def test_what_is_written_is_read_back(tmp_path, shape):
    x, support = planted(shape)
    paths = export(tmp_path / "new" / "folder", "crystal", x, support, {"seed": 3})
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "crystal_amplitude.tif", "crystal_phase.tif", "crystal_support.tif"
    }  # fmt: skip
    assert all(path.is_absolute() for path in paths.values())
    amplitude, phase, inside = (load_array(paths[q]).array for q in ("amplitude", "phase", "support"))
    assert amplitude.dtype == phase.dtype == np.float32
    assert inside.dtype == np.uint8
    np.testing.assert_array_equal(amplitude, np.abs(x))
    np.testing.assert_array_equal(load_mask(paths["support"]), support)
    assert not phase[~support].any()
    told = read_provenance(paths["phase"])
    back = amplitude * np.exp(1j * (phase + told["global_phase_removed_rad"]))
    np.testing.assert_allclose(back, x, atol=1e-5)


def test_the_energy_weighted_mean_phase_is_zero_whatever_the_global_phase(tmp_path):
    x, support = planted((32, 32))
    first = load_array(export(tmp_path, "a", x, support, {})["phase"]).array
    second = load_array(export(tmp_path, "b", x * np.exp(2.5j), support, {})["phase"]).array
    np.testing.assert_allclose(np.exp(1j * first), np.exp(1j * second), atol=1e-4)
    assert abs(np.angle((np.abs(x) ** 2 * np.exp(1j * first)).sum())) < 1e-5


@pytest.mark.parametrize("shape", [(32, 40), (16, 20, 24)])
def test_imagej_gets_axes_voxel_size_and_settings(tmp_path, shape):
    x, support = planted(shape)
    voxel = (4.0, 2.0, 5.0)[-len(shape) :]
    paths = export(tmp_path, "a", x, support, {"what": "χ², ρ"}, voxel)
    for path in paths.values():
        with tifffile.TiffFile(path) as file:
            assert file.is_imagej
            assert file.series[0].axes == "ZYX"[-len(shape) :]
            assert file.series[0].shape == shape
            meta = file.imagej_metadata
            assert meta["unit"] == "nm"
            assert meta.get("spacing") == (4.0 if len(shape) == 3 else None)
            numerator, denominator = file.pages[0].tags["XResolution"].value
            assert numerator / denominator == pytest.approx(0.2)
            numerator, denominator = file.pages[0].tags["YResolution"].value
            assert numerator / denominator == pytest.approx(0.5)
            assert json.loads(meta["Info"])["what"] == "χ², ρ"
        assert read_provenance(path)["voxel_size_nm"] == list(voxel)


def litter(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["write", "replace"])
def test_a_failed_export_leaves_the_old_files_whole_and_nothing_else(tmp_path, monkeypatch, step, error, where):
    x, support = planted((32, 32))
    export(tmp_path, "a", x, support, {"number": 1})
    before, calls = litter(tmp_path), []
    owner, name = (tifffile, "imwrite") if where == "write" else (os, "replace")
    original = getattr(owner, name)

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == step + 1:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FileError) as caught:
        export(tmp_path, "a", 2 * x, support, {"number": 2})
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
    assert litter(tmp_path) == before
    monkeypatch.undo()
    export(tmp_path, "a", 2 * x, support, {"number": 2})
    assert read_provenance(tmp_path / "a_phase.tif")["number"] == 2


def test_a_failed_first_export_leaves_nothing(tmp_path, monkeypatch):
    x, support = planted((32, 32))
    original, calls = os.replace, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(*args)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(FileError, match="Permission denied"):
        export(tmp_path, "a", x, support, {})
    assert litter(tmp_path) == {}


def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch):
    x, support = planted((32, 32))
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match="Cannot write to"):
            export(folder, "a", x, support, {})
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "a_phase.tif").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        export(tmp_path, "a", x, support, {})
    assert {path.name for path in tmp_path.iterdir()} == {"file", "a_phase.tif"}


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".", "a:b", "a\\b"])
def test_names_that_cannot_be_files(tmp_path, name):
    with pytest.raises(FileError, match="cannot begin a file's name"):
        export(tmp_path, name, *planted((32, 32)), {})


def test_objects_that_cannot_be_written(tmp_path):
    x, support = planted((32, 32))
    with pytest.raises(FileError, match="of one shape"):
        export(tmp_path, "a", x, support[:16], {})
    x[3, 3] = np.nan
    with pytest.raises(FileError, match="not finite"):
        export(tmp_path, "a", x, support, {})
    assert litter(tmp_path) == {}


def test_a_file_that_says_nothing_of_itself(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16)))
    with pytest.raises(FileError, match="no record"):
        read_provenance(tmp_path / "a.tif")
    with pytest.raises(FileError, match="no record"):
        read_provenance(tmp_path / "none.tif")


def test_provenance_holds_all_that_made_a_result(tmp_path):
    measurement = read("sample:fashion-0").thresholded(0.01)
    problem = Problem.of(measurement)
    recipe = Recipe.parse("hio(beta=0.8)*20 + er*5", shrinkwrap=ShrinkWrap(every=10))
    result = solve(problem, recipe, random_start(problem, autocorrelation_support(problem), 7))
    told = provenance(
        measurement, recipe, result, support_from="autocorrelation", start="random phases", seed=7, device="cpu",
        edits=np.int64(3), odd=float("nan"),
    )  # fmt: skip
    paths = export(tmp_path, "a", result.object[0], result.support[0], told)
    told = read_provenance(paths["amplitude"])
    assert told["measurement"]["source"] == measurement.source
    assert told["measurement"]["history"] == list(measurement.history)
    assert told["recipe"]["text"] == "hio(beta=0.8)*20 + er*5; shrinkwrap(every=10)"
    assert Recipe.parse(told["recipe"]["text"]) == recipe
    read_back = {key: told["recipe"][key] for key in ("stages", "shrinkwrap")}
    assert Recipe.model_validate(read_back) == recipe
    assert told["start"] == {
        "support_from": "autocorrelation", "object": "random phases", "seed": 7, "model": None
    }  # fmt: skip
    assert told["errors"]["chi2"] == pytest.approx(float(result.chi2[0]))
    assert told["errors"]["iterations"] == 25
    assert told["edits"] == 3
    assert told["odd"] is None
    assert set(told["versions"]) == {"napari-dipr", "torch", "numpy", "tifffile", "python"}
    assert told["date"].endswith("+00:00")


def test_as_json_leaves_plain_types_only():
    odd = {"a": np.float32(1), 2: (np.arange(2), {"b": float("inf")}), "c": None, "d": True, "e": samples}
    plain = as_json(odd)
    assert plain["2"] == [[0, 1], {"b": None}]
    assert plain["d"] is True
    json.dumps(plain, allow_nan=False)


def test_json_replaces_only_when_it_is_whole(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None}

    def failing(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(FileError, match="Input/output error"):
        write_json(tmp_path / "a.json", {"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None}
