import re

import numpy as np
import pytest

from napari_dipr.compare import compare, load_result
from napari_dipr.errors import FileError
from napari_dipr.io.record import FORMATS, READABLE, Record, write_record


def crystal(seed=0, grid=(32, 24)):
    rng = np.random.default_rng(seed)
    x = np.zeros(grid, np.complex64)
    x[10:19, 8:15] = (1 + rng.random((9, 7))) * np.exp(1j * rng.random((9, 7)))
    return x


def written(folder, x, name="run", ending=".tif"):
    write_record(folder / f"{name}{ending}", Record.of(x, x != 0, {}))
    return folder


def test_a_shifted_twin_with_another_phase_is_the_same():
    x = crystal()
    moved = 3 * np.exp(0.7j) * np.roll(np.conj(x[::-1, ::-1]), (5, -3), (0, 1))
    found = compare(moved, x)
    assert found["complex_correlation"] == pytest.approx(1, abs=1e-5)
    assert found["amplitude_correlation"] == pytest.approx(1, abs=1e-5)
    assert "twin" in found["removed"]
    assert re.search("shift", found["removed"])


def test_amplitudes_may_be_alike_where_phases_are_not():
    x = crystal()
    other = np.abs(x) * np.exp(3j * np.random.default_rng(1).normal(size=x.shape))
    found = compare(other.astype(np.complex64), x)
    assert found["amplitude_correlation"] == pytest.approx(1, abs=1e-5)
    assert found["complex_correlation"] < 0.7


@pytest.mark.parametrize("ending", READABLE)
def test_what_was_written_is_read_back(tmp_path, ending):
    x = crystal()
    written(tmp_path / "a", x, ending=ending)
    (tmp_path / "a" / "figures.json").write_text("{}")
    for path in (tmp_path / "a", tmp_path / "a" / f"run{ending}"):
        read = load_result(path)
        turned = np.vdot(x, read)  # a result is written with its mean phase taken out
        np.testing.assert_allclose(read, x * turned / abs(turned), atol=1e-5)


def test_the_files_of_one_name_are_one_result(tmp_path):
    for ending in FORMATS:
        written(tmp_path, crystal(), ending=ending)
    np.testing.assert_array_equal(load_result(tmp_path), load_result(tmp_path / "run.cxi"))
    written(tmp_path, crystal(), "run.2", ".npz")
    with pytest.raises(FileError, match="no single result"):
        load_result(tmp_path)


def test_results_that_do_not_go_together_are_refused_in_words():
    with pytest.raises(FileError, match=r"\(32, 24\) and \(32, 32\), are not comparable"):
        compare(crystal(), crystal(grid=(32, 32)))
    with pytest.raises(FileError, match="not comparable"):
        compare(crystal(), np.ones((32, 24, 8), np.complex64))


def test_a_folder_must_hold_one_result(tmp_path):
    (tmp_path / "none").mkdir()
    two = written(written(tmp_path / "two", crystal(), "a"), crystal(1), "b")
    for path in (tmp_path / "none", two):
        with pytest.raises(FileError, match=f"{path.name} is no single result: name its file"):
            load_result(path)
    with pytest.raises(FileError, match="nowhere is not read as a result"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"a_support\.tif is no result"):
        load_result(two / "a_support.tif")
    (two / "b_support.tif").unlink()
    with pytest.raises(FileError, match=r"b_support\.tif is not beside"):
        load_result(two / "b.tif")
