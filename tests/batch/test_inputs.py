from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_dipr.batch.inputs import BESIDE, patterns_of
from napari_dipr.errors import FileError
from napari_dipr.experiment import simulate
from napari_dipr.io.record import Record, write_measurement, write_record


@pytest.fixture
def files(tmp_path):
    for name in ("a/scan.npy", "b/scan.npy", "b/other.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, np.zeros((3, 20, 20) if "other" in name else (20, 20)))
    (tmp_path / "b" / "notes.txt").write_text("none")
    return tmp_path


def names(*args, **kwargs):
    return [pattern.name for pattern in patterns_of([str(arg) for arg in args], **kwargs)]


def test_a_range_of_samples():
    found = patterns_of(["sample:fashion-8..11", "sample:fashion-10"])
    assert [pattern.input for pattern in found] == [f"sample:fashion-{k}" for k in (8, 9, 10, 11)]
    assert [pattern.number for pattern in found] == [0, 1, 2, 3]


def test_files_folders_and_patterns_of_names_are_each_meant_once(files, monkeypatch):
    assert names(files / "b") == ["other", "scan"]
    assert names(files / "b" / "scan.npy", files / "b") == ["scan", "other"]
    assert names(files / "b" / "*.npy") == ["other", "scan"]
    monkeypatch.chdir(files)
    assert names("**/o*.npy", files / "b" / "other.npy") == ["other"]


def test_two_of_one_name_have_different_ones_in_any_order(files):
    a, b = files / "a" / "scan.npy", files / "b" / "scan.npy"
    assert names(a, b) == ["a-scan", "b-scan"]
    assert names(b, a) == ["b-scan", "a-scan"]


def test_names_that_nothing_but_the_ending_tells_apart_differ_all_the_same(files):
    np.savez(files / "a" / "SCAN.npz", np.zeros((20, 20)))
    found = names(files / "a")
    assert len({name.lower() for name in found}) == 2


def test_no_result_lies_where_another_ones_support_does(files):
    np.save(files / "a" / "scan_support.npy", np.zeros((20, 20)))
    assert names(files / "a") == ["scan", "a-scan_support"]


@pytest.mark.parametrize("third", ["a-scan", "A-scan", "a-scan_support", "a-scan_crystal_support"])
def test_a_name_with_its_folder_is_none_that_another_one_has_already(files, third):
    (files / "c").mkdir()
    np.save(files / "c" / f"{third}.npy", np.zeros((20, 20)))
    paths = [files / "a" / "scan.npy", files / "b" / "scan.npy", files / "c" / f"{third}.npy"]
    for found in (names(*paths), names(*reversed(paths))[::-1]):
        beside = [f"{name}{end}".lower() for name in found for end in ("", *BESIDE)]
        assert len(set(beside)) == len(beside)
        assert found == names(*paths)


def test_each_frame_is_a_pattern_of_its_own(files):
    found = patterns_of([str(files / "b")], each_frame=True)
    assert [(pattern.name, pattern.frame) for pattern in found] == [
        ("other-0", 0),
        ("other-1", 1),
        ("other-2", 2),
        ("scan", None),
    ]
    assert patterns_of([str(files / "b" / "other.npy")], frame=1)[0].frame == 1


@pytest.mark.parametrize("ending", [".tif", ".npz"])
def test_results_are_no_inputs_but_what_lies_beside_them_is(files, monkeypatch, ending):
    x = np.ones((20, 20), np.complex64)
    told = {"program": "napari-dipr"}
    write_record(files / "b" / f"scan{ending}", Record(x, x != 0, told))
    write_record(files / "b" / f"scan_crystal{ending}", Record(x, x != 0, {**told, "crystal": {}}))
    tifffile.imwrite(files / "b" / "own_support.tif", np.ones((20, 20), np.float32))
    write_measurement(files / "b" / "prepared.npz", simulate(np.ones((20, 20)))[0])
    found = names(files / "b", leave_out=files / "b")
    assert found == ["other", "own_support", "prepared", "scan"]
    assert len(names(files / "b" / "*.*", leave_out=files / "a")) > 4
    with pytest.raises(FileError, match=r"scan_\*\.\* has nothing but results of this program"):
        names(files / "b" / "scan_*.*", leave_out=files / "b")
    monkeypatch.chdir(files)
    assert names("b", leave_out=Path()) == names("b")
    assert names("b", leave_out=Path("b")) == names("a/../b", leave_out=Path("b")) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("missing.npy", "There is no file missing.npy"),
        ("none*.npy", "No file is called like none"),
        ("sample:fashion-5..2", "range without samples"),
    ],
)
def test_what_is_not_there_is_told(files, monkeypatch, text, says):
    monkeypatch.chdir(files)
    with pytest.raises(FileError, match=says):
        patterns_of([text])


def test_a_folder_without_patterns_is_told(tmp_path):
    with pytest.raises(FileError, match="folder without files that are read"):
        patterns_of([str(tmp_path)])
