import json
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_dipr.benchmarks import engine as benchmark
from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.engine import ALGORITHMS, engine, growth_exponent, peak_of_process, summary, time_case
from napari_dipr.benchmarks.peers import Case
from napari_dipr.errors import DiprError

TINY = (Case((12, 16)), Case((16, 16)), Case((8, 8, 8)), Case((8, 8), batch=3))


@pytest.fixture
def no_process(monkeypatch):
    asked = []
    monkeypatch.setattr(benchmark, "peak_of_process", lambda *which: asked.append(which) or 40.0)
    return asked


def test_every_case_has_its_figures(no_process):
    told = []
    result = engine(TINY, rounds=2, threads=1, progress=lambda case, done: told.append((case, done)))
    assert len(result["cases"]) == len(TINY) * len(ALGORITHMS)
    for row in result["cases"]:
        assert row["dtype"] == "complex64"
        assert row["peak_bytes_per_voxel"] == 40
        assert ("real_over_complex" in row) == row["real"]
        assert all(row[key] > 0 for key in ("iteration_ms", "fft_pair_ms", "new_fft_pair_ms", "ratio", "new_ratio"))
    assert result["cases"][-1]["shape"] == [8, 8]
    assert result["cases"][-1]["batch"] == 3
    assert result["threads"] == 1
    assert result["machine"]["versions"]["torch"] == torch.__version__
    assert told == [(str(case), done) for case in TINY for done in (1, 2)]
    assert {which[:2] for which in no_process} == {(case, real) for case in TINY for real in (False, True)}
    json.dumps(result)


def test_ratios_are_paired_by_round(monkeypatch):
    # The machine was slow in the second round: the ratios do not show it.
    times = {
        "hio": [0.002, 0.020, 0.002],
        "raar": [0.004, 0.040, 0.004],
        "hio, real": [0.001, 0.010, 0.003],
        "transforms": [0.001, 0.010, 0.002],
        "new transforms": [0.002, 0.020, 0.002],
    }
    monkeypatch.setattr(benchmark, "take_turns", lambda programs, rounds, progress: times)
    hio, raar, real = time_case(Case((8, 8)), 3)
    assert (hio["iteration_ms"], hio["fft_pair_ms"], hio["new_fft_pair_ms"]) == pytest.approx((2, 2, 2))
    assert (hio["ratio"], raar["ratio"], real["ratio"]) == pytest.approx((2, 4, 1))
    assert (hio["new_ratio"], raar["new_ratio"]) == pytest.approx((1, 2))
    assert real["real_over_complex"] == pytest.approx(0.5)
    assert summary([1], [2], [4])["new_ratio"] == pytest.approx(0.25)


@pytest.mark.parametrize("power", [1.0, 1.2])
def test_growth_is_the_power_of_n_log_n(power):
    grids = [(256, 256), (512, 512), (1024, 1024), (128, 128, 128)]
    pixels = {grid: float(np.prod(grid)) for grid in grids}
    assert growth_exponent({g: 1e-5 * (n * np.log(n)) ** power for g, n in pixels.items()}) == pytest.approx(power)


def test_growth_needs_two_sizes():
    assert growth_exponent({(8, 8): 1.0}) is None
    assert growth_exponent({(8, 8): 1.0, (4, 4, 4): 1.0}) is None


def test_batches_and_other_algorithms_do_not_enter_the_growth(monkeypatch, no_process):
    seen = []
    monkeypatch.setattr(benchmark, "growth_exponent", lambda times: seen.append(set(times)))
    engine(TINY, rounds=1, threads=1)
    assert seen == [{(12, 16), (16, 16), (8, 8, 8)}]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked of Linux")
def test_memory_is_that_of_a_process_and_holds_at_least_the_arrays():
    peak = peak_of_process(Case((512, 512)), real=False, threads=1)
    assert peak > 4 + 1 + 3 * 8 - 4  # amplitudes, support, and three complex arrays, less what was free before


def test_elsewhere_memory_is_not_known(monkeypatch):
    monkeypatch.setattr(benchmark.sys, "platform", "darwin")
    assert peak_of_process(Case((8, 8)), real=False, threads=1) is None


@pytest.mark.skipif(sys.platform != "linux", reason="no process elsewhere")
def test_a_process_that_fails_says_why():
    with pytest.raises(DiprError, match="RuntimeError"):
        peak_of_process(Case((8, 8)), real=False, threads=0)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"threads": 0}])
def test_nothing_is_measured_without_rounds_or_threads(wrong):
    with pytest.raises(DiprError, match="at least one"):
        engine(TINY, **wrong)


def test_the_command_prints_a_table_and_writes_the_figures(monkeypatch, tmp_path, no_process):
    monkeypatch.setattr(benchmark, "CASES", TINY)
    path = tmp_path / "engine.json"
    result = CliRunner().invoke(app, ["engine", "--rounds", "1", "--threads", "1", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert "8³" in result.output
    assert "raar" in result.output
    assert set(json.loads(path.read_text())) == {"cases", "growth_exponent", "threads", "rounds", "machine"}
