import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from napari_dipr.errors import ModelError
from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.networks.spec import DenoisersSpec, ModelSpec
from napari_dipr.networks.zoo import (
    at_hand,
    check_name,
    describe_model,
    find_model,
    fitting_model,
    friedel_asymmetry,
    load_model,
    misfit,
    model_names,
)

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((*ROOT.glob("models/*/*.toml"), *ROOT.glob("docs/beamline/*.toml")))


def replace_weights(models, content):
    (models / "tiny" / "weights.safetensors").write_bytes(content)
    (models / "tiny" / "trained.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))


def copy(models, name):
    """Put the model there under another name, too."""
    shutil.copytree(models / "tiny", models / name)
    path = models / name / "model.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('name = "tiny"', f'name = "{name}"'), encoding="utf-8")


def measurement(side):
    return simulate(np.random.default_rng(0).random((side // 2, side // 2)))[0]


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
    with pytest.raises(ModelError, match=r"trained\.json does not give the weights' checksum\. .*train the model anew"):
        load_model("tiny")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", save({"foreign": torch.ones(3)})])
def test_weights_of_something_else_are_refused(models, content):
    replace_weights(models, content)
    with pytest.raises(ModelError, match=r"weights of 'tiny' do not fit the network in its model\.toml"):
        load_model("tiny")


def test_weights_of_another_width_are_refused(models):
    text = (models / "tiny" / "model.toml").read_text(encoding="utf-8")
    (models / "tiny" / "model.toml").write_text(text.replace("width = 4", "width = 8"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"do not fit .*\(size mismatch for .*\)\. Is it the one") as caught:
        load_model("tiny")
    assert str(caught.value).count("size mismatch") == 1
    assert len(str(caught.value)) < 350


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 4", "width = ", "does not describe a model: Invalid"),
        ("width = 4", "width = 1", r"network\.width: .*greater than or equal to 4 \(got 1\)"),
        (
            "width = 4",
            "colour = 4",
            r"network: there is no colour; the keys are grid, window, .*, output\.$",
        ),
        ("batch_size = 2\n", "", r"training\.batch_size: Field required\.$"),
        ("median = 3", "median = 2", r"proposal\.median: .*1, 3, 5, 7 or 9 \(got 2\)"),
        ("[18, 18]", "[17, 18]", r"network: the grid .* must be one whole multiple of the window \(17, 18\)\.$"),
        ("[model]", "[about]", r"the whole: there is no about; the keys are model, network, proposal, training\.$"),
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
    with pytest.raises(ModelError, match=r"is a folder\. Give the path of the model\.toml"):
        ModelSpec.read(tmp_path)
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="does not describe a model"):
        ModelSpec.read(tmp_path / "model.toml")


def test_a_misfit_says_both_sizes_where_a_model_is_not_for_others(models):
    assert misfit(measurement(40), describe_model("tiny")) is None
    write(models, purpose='purpose = "x"\nresampled = false')
    spec = describe_model("tiny")
    assert misfit(measurement(36), spec) is None
    assert misfit(measurement(40), spec) == "tiny is made for patterns of 36 × 36 pixels; this one has 40 × 40."
    assert fitting_model(measurement(36)) == "tiny"
    assert fitting_model(measurement(40)) is None


def test_a_model_of_real_objects_is_not_for_a_pattern_without_friedels_symmetry(models):
    picture = np.random.default_rng(0).random((18, 18))
    real, _ = simulate(picture)
    complex_, _ = simulate(picture * np.exp(6j * np.random.default_rng(1).random((18, 18))))
    assert friedel_asymmetry(real) < 1e-10
    assert misfit(real, describe_model("tiny")) is None
    assert "the same at q and −q" in str(misfit(complex_, describe_model("tiny")))
    write(models, width='width = 4\noutput = "complex"')
    assert misfit(complex_, describe_model("tiny")) is None


@pytest.mark.parametrize("shape", [(18, 18), (17, 18), (16, 17, 18)])
def test_the_asymmetry_is_that_of_pairs_which_were_both_measured(shape):
    picture = np.random.default_rng(0).random(shape) * np.exp(1j * np.random.default_rng(1).random(shape))
    found, _ = simulate(picture)
    cornered = np.fft.ifftshift(found.intensities.astype(float))
    mate = cornered[np.ix_(*(-np.arange(n) % n for n in cornered.shape))]
    inside = np.ones(found.grid, bool)
    for axis, n in enumerate(found.grid):  # an even side's outermost pixel has no mate
        if n % 2 == 0:
            np.moveaxis(inside, axis, 0)[n // 2] = False
    expected = ((cornered - mate)[inside] ** 2).sum() / (cornered**2 + mate**2)[inside].sum()
    assert friedel_asymmetry(found) == pytest.approx(expected)
    mask = np.ones(found.grid, bool)
    mask[tuple(n // 2 + 1 for n in found.grid)] = False
    other = found.with_mask(mask)
    spoilt = Measurement.of(np.where(mask, other.intensities, 1e9), measured=mask, zero_frequency="centre")
    assert friedel_asymmetry(other) == friedel_asymmetry(spoilt) != pytest.approx(expected)


def test_the_likeliest_model_has_the_lowest_rank_of_those_that_fit(models):
    copy(models, "a-late-one")
    assert fitting_model(measurement(36)) == "a-late-one"
    write(models, purpose='purpose = "x"\nrank = 2')
    assert fitting_model(measurement(36)) == "tiny"
    write(models, rank="rank = 2\nresampled = false")
    assert fitting_model(measurement(40)) == "a-late-one"


def test_models_of_ones_own_are_found_by_folder_and_by_path(models, tmp_path, monkeypatch):
    own = tmp_path / "own"
    copy(models, "mine")
    shutil.rmtree(models / "tiny")
    shutil.move(models / "mine", own / "mine")
    assert model_names() == ()
    assert find_model(str(own / "mine")) == own / "mine"
    monkeypatch.setenv("NAPARI_DIPR_MODELS", os.pathsep.join((str(tmp_path / "nowhere"), str(own))))
    assert model_names() == ("mine",)
    assert find_model("mine") == own / "mine"
    load_model("mine")


def test_of_two_models_of_one_name_a_persons_own_is_meant(models, tmp_path, monkeypatch):
    shutil.copytree(models / "tiny", tmp_path / "own" / "tiny")
    assert find_model("tiny") == models / "tiny"
    monkeypatch.setenv("NAPARI_DIPR_MODELS", str(tmp_path / "own"))
    assert find_model("tiny") == tmp_path / "own" / "tiny"
    assert model_names() == ("tiny",)
    assert [row["folder"] for row in at_hand()] == [str(tmp_path / "own" / "tiny")]


def test_a_model_is_named_by_its_path_whatever_the_working_folder(models, monkeypatch):
    monkeypatch.chdir(models)
    assert describe_model("./../" + models.name + "/tiny").model.name == "tiny"


def test_a_model_that_is_called_otherwise_than_its_folder_is_refused(models):
    (models / "tiny").rename(models / "large")
    for asked in (describe_model, load_model):
        with pytest.raises(ModelError, match=r"is called 'tiny', its folder 'large'\. Rename the one or the other"):
            asked("large")
    assert fitting_model(measurement(36)) is None


def test_denoisers_are_no_network_that_proposes(models):
    copy(models, "noiseless")
    (models / "noiseless" / "model.toml").rename(models / "noiseless" / "denoisers.toml")
    for asked in (describe_model, load_model):
        with pytest.raises(ModelError, match=r"noiseless are denoisers, which propose no object\. .* at hand: tiny"):
            asked("noiseless")


def test_the_models_are_listed_with_what_is_wrong_with_them(models):
    copy(models, "broken")
    (models / "broken" / "weights.safetensors").write_bytes(b"others")
    copy(models, "torn")
    (models / "torn" / "model.toml").write_text("[model", encoding="utf-8")
    broken, tiny, torn = at_hand(measurement(40))
    assert "not the ones its card speaks of" in broken["error"]
    assert "does not describe a model" in torn["error"]
    assert "error" not in tiny
    assert tiny["objects"] == "fashion-mnist"
    assert "40 × 40 pixels are brought to its 36 × 36" in tiny["purpose"]
    assert len(tiny["sha256"]) == 64


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_what_is_shipped_is_called_as_its_folder_is(path):
    if path.name == "denoisers.toml":
        check_name(path.parent, DenoisersSpec.read(path).denoisers.name)
    else:
        check_name(path.parent, ModelSpec.read(path).model.name)


@pytest.mark.parametrize(("file", "content"), [("model.toml", b"[model"), ("weights.safetensors", b"others")])
def test_a_model_that_cannot_be_used_does_not_bar_the_others(models, file, content):
    copy(models, "a-broken-one")
    (models / "a-broken-one" / file).write_bytes(content)
    assert fitting_model(measurement(36)) == "tiny"


def write(models, **lines):
    path = models / "tiny" / "model.toml"
    text = path.read_text(encoding="utf-8").splitlines()
    for key, line in lines.items():
        text = [line if old.startswith(f"{key} =") else old for old in text]
    path.write_text("\n".join(text), encoding="utf-8")
