import json

import pytest
import torch
from typer.testing import CliRunner

from napari_dipr.benchmarks import robustness as benchmark
from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.table1 import METHODS, batch_of, first_objects
from napari_dipr.errors import DiprError
from napari_dipr.networks.spec import Flaws
from napari_dipr.networks.zoo import model_names

needs_weights = pytest.mark.skipif(
    not {METHODS[name].model for name in benchmark.ROWS} - {None} <= set(model_names()), reason="models have no weights"
)
CPU = torch.device("cpu")


def test_flawless_measurements_are_those_of_the_table_and_flaws_follow_from_the_seed():
    truth = first_objects(3)
    plain = batch_of(truth, 0, CPU).problem
    none = batch_of(truth, 0, CPU, Flaws(noisy=0, hidden=0, dead=0)).problem
    torch.testing.assert_close(none.amplitudes, plain.amplitudes)
    noise = Flaws(noisy=1, photons=(1e5, 1e5), hidden=0, dead=0)
    first, second, other = (batch_of(truth, seed, CPU, noise).problem.amplitudes for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    # Intensities are whole numbers of photons; 1e5 in all, to within their noise.
    counts = first.square() * 1e5 / plain.amplitudes.square().sum((1, 2), keepdim=True)
    torch.testing.assert_close(counts, counts.round(), atol=0.05, rtol=1e-4)
    assert (counts.sum((1, 2)) - 1e5).abs().max() < 5 * 1e5**0.5


def test_a_missing_centre_is_told_and_counts_for_nothing():
    problem = batch_of(first_objects(2), 0, CPU, Flaws(noisy=0, hidden=1, radius=(1.5, 1.5), dead=0)).problem
    assert problem.measured is not None
    missing = torch.fft.fftshift(~problem.measured, (1, 2))
    assert missing.sum((1, 2)).tolist() == [9, 9]
    assert missing[:, 35:38, 35:38].all()
    assert not problem.amplitudes[~problem.measured].any()


@needs_weights
def test_noise_and_a_missing_centre_make_rows_worse(monkeypatch):
    monkeypatch.setattr(benchmark, "PHOTONS", (1e3, None))
    monkeypatch.setattr(benchmark, "WIDTHS", (0, 11))
    told = []
    result = benchmark.robustness(
        8, ("unrolled", "hio_shrinkwrap"), device="cpu", progress=lambda what, done, total: told.append((done, total))
    )
    assert told == [(k, 4) for k in range(4)]
    (few, many), (whole, hidden) = result["photons"], result["missing_centre"]
    assert many["photons"] is None
    assert many["rows"] == whole["rows"]
    for name in ("unrolled", "hio_shrinkwrap"):
        assert few["rows"][name]["nmse_mean"] > 1.2 * many["rows"][name]["nmse_mean"]
        assert hidden["rows"][name]["nmse_mean"] > 2 * whole["rows"][name]["nmse_mean"]


def test_an_unknown_method_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(DiprError, match="no method 'hoi'"):
        benchmark.robustness(2, ["hoi"])
    with pytest.raises(DiprError, match="no method 'hoi'"):
        benchmark.draw_images(tmp_path / "x.png", ["hoi"])


def test_the_commands_print_write_and_draw(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(benchmark, "PHOTONS", (1e4, None))
    monkeypatch.setattr(benchmark, "WIDTHS", (0, 3))
    figures, curves, images = tmp_path / "f.json", tmp_path / "curves.png", tmp_path / "images.png"
    common = ["--images", "2", "--methods", "hio_positive_short"]
    done = CliRunner().invoke(app, ["robustness", *common, "--json", str(figures), "--figure", str(curves)])
    assert done.exit_code == 0, done.output
    assert "1e4" in done.output
    assert "…" not in done.output
    assert json.loads(figures.read_text())["images"] == 2
    done = CliRunner().invoke(app, ["table1", *common, "--figure", str(images)])
    assert done.exit_code == 0, done.output
    for picture in (curves, images):
        assert picture.read_bytes().startswith(b"\x89PNG")
