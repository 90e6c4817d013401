import re

import numpy as np
import pytest

from napari_dipr.compare import compare, load_result
from napari_dipr.errors import FileError
from napari_dipr.io.write import export


def crystal(seed=0, grid=(32, 24)):
    rng = np.random.default_rng(seed)
    x = np.zeros(grid, np.complex64)
    x[10:19, 8:15] = (1 + rng.random((9, 7))) * np.exp(1j * rng.random((9, 7)))
    return x


def written(folder, x, name="run"):
    export(folder, name, x, x != 0, {})
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


def test_what_was_exported_is_read_back(tmp_path):
    x = crystal()
    written(tmp_path / "a", x)
    for path in (tmp_path / "a", tmp_path / "a" / "run_amplitude.tif"):
        read = load_result(path)
        turned = np.vdot(x, read)  # a result is exported with its mean phase taken out
        np.testing.assert_allclose(read, x * turned / abs(turned), atol=1e-5)


def test_results_that_do_not_go_together_are_refused_in_words():
    with pytest.raises(FileError, match=r"\(32, 24\) and \(32, 32\), are not comparable"):
        compare(crystal(), crystal(grid=(32, 32)))
    with pytest.raises(FileError, match="not comparable"):
        compare(crystal(), np.ones((32, 24, 8), np.complex64))


def test_a_folder_must_hold_one_result(tmp_path):
    (tmp_path / "none").mkdir()
    two = written(written(tmp_path / "two", crystal(), "a"), crystal(1), "b")
    for path in (tmp_path / "none", two, tmp_path / "nowhere", two / "a_phase.tif"):
        with pytest.raises(FileError, match=f"{path.name} is no single result: name an exported"):
            load_result(path)
    (two / "b_phase.tif").unlink()
    with pytest.raises(FileError, match="b_phase"):
        load_result(two / "b_amplitude.tif")
