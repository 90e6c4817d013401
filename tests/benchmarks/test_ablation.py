import json

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("lightning")

from napari_dipr import samples
from napari_dipr.benchmarks import ablation as benchmark
from napari_dipr.benchmarks.ablation import VARIANTS, likeness_to_twin
from napari_dipr.cli import app
from napari_dipr.errors import DiprError
from napari_dipr.networks.spec import ModelSpec
from napari_dipr.training import objects


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(benchmark, "TIMED", (1, 1, 6))
    monkeypatch.setattr(objects, "fashion_mnist", lambda split, folder=None: samples.shipped_images())


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_model(name, tmp_path):
    (tmp_path / "model.toml").write_text(VARIANTS[name].toml(name, 7))
    spec = ModelSpec.read(tmp_path / "model.toml")
    assert spec.training.steps == 7
    assert spec.network.projections == VARIANTS[name].projections
    assert (spec.training.flaws is not None) == (name == "any-centreless")


def test_an_object_that_is_its_own_twin_is_like_it_and_one_that_is_not_is_less_so():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 8, dtype=torch.complex64, generator=generator)
    turned = torch.roll(x.flip((0, 1)), (3, 5), (0, 1)).conj()
    both, alone = likeness_to_twin(torch.stack((x + turned, x)))
    assert float(both) == pytest.approx(1, abs=1e-5)
    # By brute force: the overlap with the twin at every shift.
    twin = x.flip((0, 1)).conj()
    shifts = [torch.roll(twin, (i, j), (0, 1)) for i in range(8) for j in range(8)]
    expected = max(float((shifted.conj() * x).sum().abs()) for shifted in shifts) / float(x.abs().square().sum())
    assert float(alone) == pytest.approx(expected, rel=1e-5)
    assert expected < 0.9


def test_a_variant_that_is_not_known_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(DiprError, match="no variant nothing"):
        benchmark.ablation(tmp_path / "runs", names=["naive", "nothing"])
    assert not (tmp_path / "runs").exists()


def test_variants_are_trained_tested_and_not_trained_again(tmp_path, monkeypatch):
    figures = tmp_path / "f.json"
    arguments = ["--runs", tmp_path / "runs", "--minutes", 0.01, "--images", 2, "--variants", "naive,any-centreless"]
    result = CliRunner().invoke(app, ["benchmark", "ablation", "--json", str(figures), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    rows = json.loads(figures.read_text())["variants"]
    assert list(rows) == ["naive", "any-centreless"]
    assert rows["naive"]["steps"] >= 1
    assert 0 < rows["naive"]["own_twin"] <= 1
    assert rows["any-centreless"]["centreless_nmse_mean"] > 0
    assert "U-Net, naive" in result.output
    monkeypatch.setattr(benchmark, "train", None)
    again = benchmark.ablation(tmp_path / "runs", 0.01, ["naive"], objects=2)["variants"]["naive"]
    assert again["nmse_mean"] == pytest.approx(rows["naive"]["nmse_mean"])
    with pytest.raises(DiprError, match=r"another minutes 0\.01\. Name another folder"):
        benchmark.ablation(tmp_path / "runs", 5.0, ["naive"], objects=2)


def test_a_budget_is_enough_for_as_many_steps_as_it_pays_for(monkeypatch):
    # Each training takes two seconds, and each step of it a quarter of one; the first takes a while longer.
    at, cost = [0.0], iter((9.0, 2 + 10 / 4, 2 + 40 / 4))
    monkeypatch.setattr(benchmark, "TIMED", (3, 10, 40))
    monkeypatch.setattr(benchmark, "process_time", lambda: at[0])
    monkeypatch.setattr(benchmark, "train", lambda *args, **options: at.__setitem__(0, at[0] + next(cost)))
    assert benchmark._affordable(VARIANTS["naive"], 60) == 240
