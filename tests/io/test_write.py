"""Files appear whole and together, and where writing fails what was there stays; a result says what made it."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from napari_dipr import samples
from napari_dipr.errors import FileError
from napari_dipr.io.provenance import as_json, provenance
from napari_dipr.io.read import read
from napari_dipr.io.record import FORMATS, READABLE, Record, check_writable, read_record, write_record, write_records
from napari_dipr.io.write import check_apart, file_name, replacing, write_json
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
from napari_dipr.solvers.shrinkwrap import ShrinkWrap, autocorrelation_support

ENDINGS = [ending for ending in FORMATS if ending != ".png"]  # whose package may be missing
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def planted(number, shape=(64, 64)):
    rng = np.random.default_rng(number)
    x = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return Record.of(x, np.ones(shape, bool), {"number": number})


def places(folder):
    return [folder / f"a{ending}" for ending in ENDINGS]


def litter(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing(monkeypatch, owner, name, error, calls_before):
    """Make a function fail once, after so many calls that are carried out."""
    original, calls = getattr(owner, name), []

    def called(*args, **options):
        calls.append(args)
        if len(calls) == calls_before + 1:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(owner, name, called)


def test_all_formats_of_one_write_appear(tmp_path):
    files = write_records(places(tmp_path / "new" / "folder"), planted(1))
    assert set(files) == {"tif", "support", "ome.tif", "cxi", "npz", "vti"}
    assert {path.name for path in files.values()} == set(litter(tmp_path / "new" / "folder"))
    assert all(path.is_absolute() for path in files.values())


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("error", [NO_SPACE, KeyboardInterrupt()])
def test_a_failed_replacement_leaves_the_old_files_whole_and_nothing_else(tmp_path, monkeypatch, step, error):
    for folder in (tmp_path / "old", tmp_path / "empty"):
        folder.mkdir()
    write_records(places(tmp_path / "old"), planted(1))
    for folder in (tmp_path / "old", tmp_path / "empty"):
        before = litter(folder)
        failing(monkeypatch, os, "replace", error, step)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FileError):
            write_records(places(folder), planted(2))
        monkeypatch.undo()
        assert litter(folder) == before
        write_records(places(folder), planted(2))
        assert [read_record(folder / f"a{ending}").provenance["number"] for ending in READABLE] == [2] * 4


@pytest.mark.parametrize("error", [NO_SPACE, KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize(
    ("owner", "name", "before"),
    [("tifffile", "imwrite", 0), ("tifffile", "imwrite", 1), ("tifffile.TiffWriter", "write", 3),
     ("numpy", "savez_compressed", 0), ("pathlib.Path", "write_bytes", 0), ("zlib", "compress", 0)],
)  # fmt: skip
def test_a_failed_write_leaves_the_old_files_whole_and_nothing_else(tmp_path, monkeypatch, owner, name, before, error):
    import pkgutil

    write_records(places(tmp_path), planted(1))
    there = litter(tmp_path)
    failing(monkeypatch, pkgutil.resolve_name(owner), name, error, before)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FileError) as caught:
        write_records(places(tmp_path), planted(2))
    if error is NO_SPACE:
        assert "No space left on device. Nothing was changed; choose another folder" in str(caught.value)
    monkeypatch.undo()
    assert litter(tmp_path) == there


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_write import planted, write_record, FileError
limit = {limit}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for path in map(Path, sys.argv[1:]):
    try:
        write_record(path, planted(2))
    except FileError as error:
        print(path.name, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are not bounded there")
def test_files_that_may_not_grow_further_stay_as_they_were(tmp_path):
    write_records([*places(tmp_path), tmp_path / "a.png"], planted(1))
    before = litter(tmp_path)
    code = FULL_DISK.format(tests=str(Path(__file__).parent), limit=min(map(len, before.values())) // 2)
    paths = [*places(tmp_path), tmp_path / "a.png"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [path.name for path in paths]
    assert all("Cannot write to" in line and ("too large" in line or "disk full" in line) for line in lines), lines
    assert litter(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("name", ["TemporaryFile", "TemporaryDirectory"])
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, monkeypatch, number, name):
    write_records(places(tmp_path), planted(1))
    before = litter(tmp_path)
    failing(monkeypatch, tempfile, name, OSError(number, os.strerror(number)), 0)
    with pytest.raises(FileError, match=f"Cannot write to {tmp_path}: {os.strerror(number)}"):
        write_records(places(tmp_path), planted(2))
    assert litter(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_stays_as_it_was(tmp_path):
    write_records(places(tmp_path), planted(1))
    before = litter(tmp_path)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(FileError, match="Permission denied"):
            write_records(places(tmp_path), planted(2))
        assert litter(tmp_path) == before
    finally:
        tmp_path.chmod(0o755)


def test_what_is_in_the_way_is_told_and_kept(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for act in (lambda path: write_record(path, planted(1)), lambda path: check_writable([path])):
            with pytest.raises(FileError, match="Cannot write to"):
                act(folder / "a.tif")
    (tmp_path / "a_support.tif").mkdir()
    with pytest.raises(FileError, match=r"a_support\.tif: it is a folder"):
        check_writable([tmp_path / "a.tif"])
    assert (tmp_path / "file").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "a_support.tif"}


def test_what_is_read_is_not_replaced(tmp_path):
    raw, other = tmp_path / "raw", tmp_path / "other"
    raw.mkdir()
    other.symlink_to(raw)
    for name in ("a.tif", "b_support.tif", "c_crystal.npz"):
        (raw / name).write_text(name)
    (raw / "link.tif").symlink_to(raw / "a.tif")
    for place in (raw / "a.tif", other / "a.tif", raw / ".." / "raw" / "a.tif", raw / "b.tif", raw / "c.npz"):
        for reads in (list(raw.iterdir()), [None, "sample:fashion-0", "autocorrelation", str(raw)]):
            with pytest.raises(FileError, match=r"would replace the measurement itself.*choose another folder or name"):
                check_writable([place], reads)
    with pytest.raises(FileError, match=r"raw.a\.tif would replace"):
        check_writable([raw / "a.tif"], [raw / "link.tif"])
    check_writable([raw / "a.npz", raw / "link.tif", tmp_path / "a.ome.tif"], [raw / "a.tif", raw / "missing.tif"])
    with pytest.raises(FileError, match="would be written twice"):
        check_apart([raw / "new.npz", raw / ".." / "raw" / "new.npz"])
    assert (raw / "a.tif").read_text() == "a.tif"


def test_one_file_for_each_ending(tmp_path):
    with pytest.raises(FileError, match=r"b\.tiff is a second file \.tif\. Name one"):
        check_writable([tmp_path / "a.tif", tmp_path / "a.ome.tif", tmp_path / "b.tiff"])


def test_files_in_several_folders_appear_together(tmp_path):
    paths = [tmp_path / "x" / "a.cxi", tmp_path / "y" / "a.npz"]

    def half_written():
        with replacing(*paths) as new:
            for path in new:
                path.write_text("half")
            raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        half_written()
    assert litter(tmp_path / "x") == litter(tmp_path / "y") == {}
    write_records(paths, planted(1))
    assert [path.exists() for path in paths] == [True, True]


def test_any_name_becomes_a_files():
    assert [file_name(name) for name in ("12:30 run?", "../a b", "σ-2.x", "", "//")] == [
        "12-30-run", "a-b", "σ-2.x", "reconstruction", "reconstruction"
    ]  # fmt: skip


def test_provenance_holds_all_that_made_a_result(tmp_path):
    measurement = read("sample:fashion-0").thresholded(0.01)
    problem = Problem.of(measurement)
    recipe = Recipe.parse("hio(beta=0.8)*20 + er*5", shrinkwrap=ShrinkWrap(every=10))
    result = solve(problem, recipe, random_start(problem, autocorrelation_support(problem), 7))
    told = provenance(
        measurement, recipe, result, support_from="autocorrelation", start="random phases", seed=7, device="cpu",
        edits=np.int64(3), odd=float("nan"),
    )  # fmt: skip
    write_record(tmp_path / "a.cxi", Record.of(result.object[0], result.support[0], told, measurement=measurement))
    told = read_record(tmp_path / "a.cxi").provenance
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

    failing(monkeypatch, os, "replace", OSError(errno.EIO, "Input/output error"), 0)
    with pytest.raises(FileError, match="Input/output error"):
        write_json(tmp_path / "a.json", {"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None}
