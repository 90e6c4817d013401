import json

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipr.benchmarks.bragg import AT_34_ID_C, AT_ID01, CASES, SCANS, bragg
from napari_dipr.benchmarks.cli import app


@pytest.mark.parametrize("geometry", [AT_34_ID_C, AT_ID01], ids=["34-ID-C", "ID01"])
def test_a_crystals_displacement_strain_and_size_come_out_of_its_pattern(geometry):
    recovery = bragg(geometry, (32, 32, 32), None, known_support=True, starts=1)
    figures = recovery.figures
    assert figures["correlation"] > 0.9999
    assert figures["displacement_error"] < 0.12 * figures["displacement_rms"]
    assert figures["strain_error"] < 0.12 * figures["strain_rms"]
    assert abs(figures["volume_error"]) < 0.05
    assert abs(figures["radius_error"]) < 0.03
    assert np.isfinite(recovery.found.strain).sum() > 500


def test_so_they_do_with_noise_and_a_support_of_its_own_in_the_sample_frame():
    figures = bragg(grid=(36, 36, 36), frame="sample").figures
    assert figures["correlation"] > 0.97
    assert figures["displacement_error"] < 0.2 * figures["displacement_rms"]
    assert figures["strain_error"] < 0.4 * figures["strain_rms"]
    assert abs(figures["volume_error"]) < 0.1


def test_the_command_writes_what_it_prints(tmp_path):
    file = tmp_path / "new" / "bragg.json"
    done = CliRunner().invoke(app, ["bragg", "--side", "24", "--starts", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    rows = json.loads(file.read_text())["rows"]
    assert [(r["scan"], r["photons"], r["known_support"]) for r in rows] == [(s, *c) for s in SCANS for c in CASES]
    lines = [line for line in done.output.splitlines() if line.strip().startswith(tuple(SCANS))]
    assert len(lines) == len(rows)
    assert max(map(len, done.output.splitlines())) <= 80
    for line, row in zip(lines, rows, strict=True):
        for words in (
            f"{row['displacement_error'] * 1e3:.2f}",
            f"{row['displacement_rms'] * 1e3:.2f}",
            f"{row['strain_error'] * 1e6:.1f}",
            f"{row['volume_error']:+.1%}",
            f"{row['radius_error']:+.1%}",
        ):
            assert words in line.split()
    # What is known without noise is told again; noise costs some of it.
    for known, *noisy in (rows[:3], rows[3:]):
        assert known["displacement_error"] < 0.2 * known["displacement_rms"]
        assert all(row["chi2"] > known["chi2"] for row in noisy)
