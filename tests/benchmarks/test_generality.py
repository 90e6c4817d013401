import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("matplotlib")

from napari_dipr.benchmarks import generality as benchmark
from napari_dipr.benchmarks.generality import Case, letters, silhouettes, vesicle_slices, with_phases
from napari_dipr.cli import app
from napari_dipr.errors import ModelError
from napari_dipr.networks.zoo import model_names

needs_model = pytest.mark.skipif("unrolled-objects-2d" not in model_names(), reason="its weights are not there")


@pytest.fixture
def vesicle(tmp_path):
    """A file of a volume with a shell, as MRC keeps it."""
    mrcfile = pytest.importorskip("mrcfile")
    axes = np.meshgrid(*[np.arange(40) - 20] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    path = tmp_path / "vesicle" / "vesicle.mrc"
    path.parent.mkdir()
    with mrcfile.new(path) as file:
        file.set_data(((radius < 18) & (radius > 12)).astype(np.float32))
    return path


@pytest.mark.parametrize("box", [(24, 24), (20, 40)])
@pytest.mark.parametrize("kind", ["silhouettes", "letters", "vesicle"])
def test_shapes_fill_their_box_and_follow_from_the_seed(kind, box, vesicle):
    shapes = {"silhouettes": silhouettes, "letters": letters, "vesicle": lambda *a: vesicle_slices(vesicle, *a)}[kind]
    drawn = shapes(5, box, np.random.default_rng(1))
    assert drawn.shape == (5, *box)
    assert drawn.min() >= 0
    assert drawn.max() == 1
    for shape in drawn:
        for axis in (0, 1):
            assert shape.any(axis)[[0, 1]].any()
            assert shape.any(axis)[[-1, -2]].any()
    np.testing.assert_array_equal(drawn, shapes(5, box, np.random.default_rng(1)))


def test_phases_vary_and_leave_the_amplitude():
    shapes = silhouettes(40, (24, 24), np.random.default_rng(1))
    objects = with_phases(shapes, np.random.default_rng(2))
    np.testing.assert_allclose(np.abs(objects), shapes, atol=1e-12)
    # How far a phase varies cannot be more than 1.5 rad, of which it is drawn from 0 on.
    spreads = [
        np.angle(x[s > 0] / (x[s > 0].sum() / abs(x[s > 0].sum()))).std() for x, s in zip(objects, shapes, strict=True)
    ]
    assert min(spreads) < 0.3
    assert 1.0 < max(spreads) < 1.7


def test_a_model_for_other_data_is_refused():
    with pytest.raises(ModelError, match="take one that is"):
        benchmark.generality(1, "passive-fashion")


@needs_model
def test_proposals_carry_over_to_other_objects_sizes_and_aspects(vesicle, monkeypatch):
    monkeypatch.setenv("NAPARI_DIPR_DATA", str(vesicle.parents[1]))
    monkeypatch.setattr(benchmark, "PHOTONS", (1e3,))
    monkeypatch.setattr(benchmark, "WIDTHS", (0, 19))
    monkeypatch.setattr(benchmark, "GRIDS", (((72, 72), (36, 36)), ((144, 144), (48, 48))))
    monkeypatch.setattr(benchmark, "GRID_WIDTHS", (0, 3, 21))
    told = []
    cases = (Case((96, 96)), Case((128, 256), 4.0))
    result = benchmark.generality(4, cases=cases, progress=lambda what, done, total: told.append((done, total)))
    assert told == [(k, 16) for k in range(16)]
    assert [(row["kind"], row["grid"]) for row in result["cases"][:3]] == [
        (kind, [96, 96]) for kind in ("silhouettes", "letters", "vesicle")
    ]
    for row in result["cases"]:
        if row["kind"] == "silhouettes":
            assert row["nmse_mean"] < 0.5
            assert row["support_iou"] > 0.5
    few, many = result["photons"]
    assert many["photons"] is None
    assert few["nmse_mean"] > many["nmse_mean"]
    whole, hidden = result["missing_centre"]
    assert whole["nmse_mean"] == many["nmse_mean"]
    assert hidden["nmse_mean"] > whole["nmse_mean"]
    points = result["missing_centre_grids"]
    assert [(row["grid"][0], row["width"]) for row in points] == [(n, width) for n in (72, 144) for width in (0, 3, 21)]
    assert all(row["objects"] == 4 for row in points)
    for whole, narrow, wide in (points[:3], points[3:]):
        # What few pixels hide is restored; not what is wider than the pattern's speckles.
        assert narrow["nmse_mean"] < whole["nmse_mean"] + 0.03 < wide["nmse_mean"]


@needs_model
def test_the_command_prints_writes_and_draws(tmp_path, monkeypatch):
    monkeypatch.delenv("NAPARI_DIPR_DATA", raising=False)
    monkeypatch.setattr(benchmark, "CASES", (Case((64, 64)),))
    monkeypatch.setattr(benchmark, "PHOTONS", (1e4,))
    monkeypatch.setattr(benchmark, "WIDTHS", (0,))
    monkeypatch.setattr(benchmark, "GRIDS", (((96, 80), (32, 24)),))
    figures, picture = tmp_path / "f.json", tmp_path / "f.png"
    arguments = ["benchmark", "generality", "--images", "1", "--json", str(figures), "--figure", str(picture)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "silhouettes" in result.output
    assert "no noise" in result.output
    assert "96 × 80" in result.output
    assert [row["kind"] for row in json.loads(figures.read_text())["cases"]] == ["silhouettes", "letters"]
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
