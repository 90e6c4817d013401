import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save

from napari_dipr.errors import ModelError
from napari_dipr.measurement import Measurement
from napari_dipr.networks import zoo
from napari_dipr.networks.spec import ModelSpec
from napari_dipr.networks.zoo import describe_model, find_model, fitting_model, load_model, misfit, model_names


def replace_weights(models, content):
    (models / "tiny" / "weights.safetensors").write_bytes(content)
    (models / "tiny" / "trained.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))


def measurement(side):
    return Measurement.of(np.random.default_rng(0).random((side, side)), zero_frequency="centre", name="noise")


def test_a_model_is_found_described_and_loaded_for_use(models):
    assert model_names() == ("tiny",)
    assert find_model("tiny") == models / "tiny"
    assert describe_model("tiny").model.purpose == "tests: 36² in a window of 18²"
    network = load_model("tiny")
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_a_model_without_weights_is_not_at_hand(models):
    shutil.copytree(models / "tiny", models / "untrained")
    (models / "untrained" / "weights.safetensors").unlink()
    assert model_names() == ("tiny",)
    with pytest.raises(ModelError, match="no model called 'untrained'"):
        load_model("untrained")


@pytest.mark.parametrize("name", ["large", "", "../tiny", "/", "tiny/"])
def test_a_model_that_is_not_there_is_refused_with_those_that_are(models, name):
    with pytest.raises(ModelError, match=f"no model called '{name}'. The models at hand: tiny"):
        describe_model(name)


def test_without_any_model_the_message_says_so(models):
    shutil.rmtree(models / "tiny")
    with pytest.raises(ModelError, match="The models at hand: none"):
        load_model("tiny")
    assert fitting_model(measurement(36)) is None


def test_weights_that_were_tampered_with_are_refused(models):
    path = models / "tiny" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights of 'tiny' are not the ones.*SHA-256.*Install the package again"):
        load_model("tiny")


@pytest.mark.parametrize("record", [None, "{", "{}", "[]", '"abc"', "3"])
def test_weights_without_a_checksum_are_refused(models, record):
    path = models / "tiny" / "trained.json"
    path.unlink() if record is None else path.write_text(record)
    with pytest.raises(ModelError, match=r"trained\.json does not give the weights' checksum"):
        load_model("tiny")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", save({"foreign": torch.ones(3)})])
def test_weights_of_something_else_are_refused(models, content):
    replace_weights(models, content)
    with pytest.raises(ModelError, match=r"weights of 'tiny' do not fit the network in its model\.toml"):
        load_model("tiny")


def test_weights_of_another_width_are_refused(models):
    text = (models / "tiny" / "model.toml").read_text(encoding="utf-8")
    (models / "tiny" / "model.toml").write_text(text.replace("width = 4", "width = 8"), encoding="utf-8")
    with pytest.raises(ModelError, match="do not fit"):
        load_model("tiny")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 4", "width = ", "does not describe a model: Invalid"),
        ("width = 4", "width = 1", r"network\.width: .*greater than or equal to 4 \(got 1\)"),
        ("width = 4", "colour = 4", r"network\.colour: Extra"),
        ("median = 3", "median = 2", r"proposal\.median: .*1, 3, 5, 7 or 9 \(got 2\)"),
        ("[18, 18]", "[17, 18]", "network: .*whole multiple of the window"),
        ("[model]", "[about]", "model: Field required"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_with_the_field(models, old, new, message):
    path = models / "tiny" / "model.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ModelError, match=message) as caught:
        describe_model("tiny")
    assert str(path) in str(caught.value)


def test_a_description_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"There is no .*model\.toml"):
        ModelSpec.read(tmp_path / "model.toml")
    with pytest.raises(ModelError, match="does not describe a model"):
        ModelSpec.read(tmp_path)
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="does not describe a model"):
        ModelSpec.read(tmp_path / "model.toml")


def test_a_misfit_says_both_sizes_and_a_fit_nothing(models):
    spec = describe_model("tiny")
    assert misfit(measurement(36), spec) is None
    assert misfit(measurement(40), spec) == "tiny is made for patterns of 36 × 36 pixels; this one has 40 × 40."
    assert fitting_model(measurement(36)) == "tiny"
    assert fitting_model(measurement(40)) is None


def test_the_models_folder_of_the_source_tree_or_the_package_is_looked_in():
    assert any((folder / "passive-fashion" / "model.toml").is_file() for folder in zoo.FOLDERS)
