import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_dipr.benchmarks import models as benchmark
from napari_dipr.benchmarks.models import test_batch as batch_for  # pytest would take it for a test
from napari_dipr.benchmarks.models import true_support
from napari_dipr.benchmarks.options import listed_names
from napari_dipr.cli import app
from napari_dipr.errors import ModelError
from napari_dipr.networks import zoo
from napari_dipr.networks.spec import About, ModelSpec, NetworkSpec, TrainingSpec
from napari_dipr.networks.zoo import model_names

KEYS = {
    "nmse_mean",
    "nmse_median",
    "support_iou",
    "chi2",
    "agreement",
    "refined_nmse_mean",
    "refined_solved",
    "exact_support_nmse_mean",
    "exact_support_solved",
    "ms_per_proposal",
}


def described(objects="simulated", **network):
    return ModelSpec(
        model=About(name="x", purpose="tests"),
        network=NetworkSpec(**network),
        training=TrainingSpec(objects=objects, losses={"naive": 1.0}, batch_size=1, steps=1, learning_rate=1e-3),
    )


CPU = torch.device("cpu")


def test_the_test_sets_are_fixed_and_the_first_objects_are_the_same_for_any_number():
    for spec in (described(output="complex"), described("fashion-mnist")):
        few, more = (batch_for(spec, n, "clean", CPU) for n in (3, 5))
        assert torch.equal(few.truth, more.truth[:3])
        assert torch.equal(few.intensities, batch_for(spec, 3, "clean", CPU).intensities)
        assert few.measured is None


def test_hard_patterns_have_flaws_and_clean_ones_none():
    spec = described(grid=(32, 32), window=(16, 16), levels=3, output="complex")
    hard, clean = (batch_for(spec, 40, kind, CPU) for kind in ("hard", "clean"))
    assert hard.measured is not None
    assert not hard.measured.all()
    torch.testing.assert_close(torch.fft.fft2(clean.truth).abs().square(), clean.intensities)
    assert ((torch.fft.fft2(hard.truth).abs().square() - hard.intensities).abs() > 1).any()


def test_the_faint_rim_of_a_soft_object_is_not_counted():
    truth = torch.tensor([[[0.0, 0.09, 0.11, 1.0]], [[0.0, 0.18, 0.3, -2j]]])
    assert true_support(truth).tolist() == [[[False, False, True, True]], [[False, False, True, True]]]


@pytest.mark.skipif("unrolled-objects-2d" not in model_names(), reason="its weights are not there")
def test_the_network_for_any_object_proposes_what_refinement_needs():
    row = benchmark.models(24, ["unrolled-objects-2d"], device="cpu")["models"]["unrolled-objects-2d"]
    assert set(row) == KEYS
    # Measured: .0160 and .904.
    assert row["nmse_mean"] < 0.025
    assert row["support_iou"] > 0.88
    # HIO makes far more of the proposal than the network alone, and no less than of the exact support.
    assert row["refined_nmse_mean"] < 0.5 * row["nmse_mean"]
    assert row["refined_solved"] >= row["exact_support_solved"] - 0.1


def test_a_model_that_is_not_there_is_refused_before_anything_is_computed():
    with pytest.raises(ModelError, match="no model called 'nothing'"):
        benchmark.models(1, ["passive-fashion", "nothing"])


def test_the_command_prints_a_row_a_model_and_writes_its_figures(tmp_path):
    result = CliRunner().invoke(
        app,
        ["benchmark", "models", "--images", "2", "--models", "passive-fashion", "--json", str(tmp_path / "f.json")],
    )
    assert result.exit_code == 0, result.output
    assert "passive-fashion" in result.output
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["objects"] == 2
    assert set(written["models"]["passive-fashion"]) == KEYS


def test_the_models_are_listed_with_how_a_sample_fits_them():
    listed = json.loads(CliRunner().invoke(app, ["models", "sample:fashion-0", "--json"]).stdout)
    assert [model["name"] for model in listed] == list(model_names())
    assert "made for 72 × 72 pixels, as this measurement has" in next(
        model["purpose"] for model in listed if model["name"] == "passive-fashion"
    )
    assert all(len(model["sha256"]) == 64 for model in listed)


@pytest.mark.skipif(not model_names(), reason="there are no models")
def test_a_measurement_is_prepared_before_it_is_said_how_the_models_fit(tmp_path):
    np.save(tmp_path / "stack.npy", np.random.default_rng(1).poisson(5.0, (2, 90, 100)))
    arguments = [str(tmp_path / "stack.npy"), "--frame", "1", "--crop", "64", "--threshold", "1", "--json"]
    listed = json.loads(CliRunner().invoke(app, ["models", *arguments]).stdout)
    words = next(model["purpose"] for model in listed if model["name"] == "unrolled-objects-2d")
    assert "this measurement's 64 × 64 pixels are brought to its 72 × 72" in words


def test_a_model_of_ones_own_is_listed_with_its_folder_and_what_is_wrong_with_it(tmp_path, monkeypatch):
    shutil.copytree(zoo.find_model("passive-fashion"), tmp_path / "passive-fashion")
    monkeypatch.setenv("NAPARI_DIPR_MODELS", str(tmp_path))
    said = CliRunner().invoke(app, ["models"])
    assert f"passive-fashion is the one in {tmp_path / 'passive-fashion'}." in said.stderr
    assert said.stderr.count("is the one in") == 1
    assert "fashion-mnist 2-D" in " ".join(said.stdout.split())
    (tmp_path / "passive-fashion" / "weights.safetensors").write_bytes(b"others")
    listed = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert {model["name"]: "error" in model for model in listed} == {
        name: name == "passive-fashion" for name in model_names()
    }


@pytest.mark.parametrize("names", [",", " "])
def test_no_name_at_all_is_refused_and_a_comma_too_many_is_not(names):
    refused = CliRunner().invoke(app, ["benchmark", "models", "--models", names])
    assert refused.exit_code == 1
    assert "names nothing" in refused.output
    assert listed_names("passive, hio,,") == ["passive", "hio"]


def test_denoisers_are_refused(tmp_path):
    refused = CliRunner().invoke(app, ["benchmark", "models", "--models", "dncnn-fashion"])
    assert refused.exit_code == 1
    assert "dncnn-fashion are denoisers" in refused.output


def test_a_folder_without_models_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_DIPR_MODELS", str(tmp_path))
    result = CliRunner().invoke(app, ["models"])
    assert "where there is no folder of a trained model" in " ".join(result.stderr.split())
