import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from napari_dipr import samples
from napari_dipr.errors import ModelError
from napari_dipr.networks import zoo
from napari_dipr.training import loop, objects
from napari_dipr.training.denoising import Denoising
from napari_dipr.training.loop import train

TOML = """
[denoisers]
name = "tiny"
purpose = "tests"
sigmas = [51, 25.5]
layers = 4
width = 8

[training]
batch_size = 8
steps = 60
learning_rate = 1e-2
seed = 7
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "fashion_mnist", lambda split, folder: samples.shipped_images())
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "models" / "tiny" / "denoisers.toml"
    path.parent.mkdir(parents=True)
    path.write_text(TOML)
    return path


def test_training_takes_noise_out_and_the_weights_are_found_by_name_but_in_no_list(config, tmp_path, monkeypatch):
    weights = train(config, tmp_path / "runs", device="cpu")
    record = json.loads((weights.parent / "trained.json").read_text())
    assert list(record["psnr"]) == ["51", "25.5"]
    for sigma, (before, after) in record["psnr"].items():
        assert before == pytest.approx(20 * np.log10(255 / float(sigma)), abs=0.05)
        assert after > before + 3
    monkeypatch.setattr(zoo, "FOLDERS", (tmp_path / "models",))
    zoo.load_denoisers.cache_clear()
    assert zoo.model_names() == ()
    denoisers = zoo.load_denoisers("tiny")
    assert denoisers.strengths == (0.2, 0.1)
    assert not denoisers.training
    found, stored = denoisers.state_dict(), load_file(weights)
    assert all(torch.equal(found[key].float(), value.float()) for key, value in stored.items())
    weights.write_bytes(weights.read_bytes() + b" ")
    zoo.load_denoisers.cache_clear()
    with pytest.raises(ModelError, match="not the ones its card speaks of"):
        zoo.load_denoisers("tiny")
    zoo.load_denoisers.cache_clear()


def test_a_killed_training_goes_on_as_if_nothing_had_happened(config, tmp_path, monkeypatch):
    config.write_text(TOML.replace("steps = 60", "steps = 10"))
    whole = Denoising.training_step

    def dies(self, number, batch_index):
        if self.global_step == 6:
            raise KeyboardInterrupt
        return whole(self, number, batch_index)

    expected = load_file(train(config, tmp_path / "whole", device="cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(Denoising, "training_step", dies)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config, tmp_path / "runs", device="cpu")
    found = load_file(train(config, tmp_path / "runs", device="cpu", resume=True))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("old", "new", "key"), [("[51, 25.5]", "[51, 20]", "sigmas"), ("= 7", "= 8", "seed")])
def test_another_training_of_denoisers_is_not_resumed(config, tmp_path, old, new, key):
    config.write_text(TOML.replace("steps = 60", "steps = 4"))
    train(config, tmp_path / "runs", device="cpu")
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(ModelError, match=rf"cannot be resumed, it is another: [a-z]*\.{key} \(there"):
        train(config, tmp_path / "runs", device="cpu", resume=True)


def test_a_training_of_denoisers_that_diverges_writes_nothing(config, tmp_path):
    config.write_text(TOML.replace("learning_rate = 1e-2", "learning_rate = 1e30"))
    with pytest.raises(ModelError, match="diverged"):
        train(config, tmp_path / "runs", device="cpu")
    assert not (config.parent / "weights.safetensors").exists()


@pytest.mark.parametrize("change", [("sigmas = [51, 25.5]", "sigmas = []"), ("width = 8", "width = 8\nheight = 3")])
def test_a_file_that_does_not_describe_denoisers_is_refused(config, tmp_path, change):
    config.write_text(TOML.replace(*change))
    with pytest.raises(ModelError, match="does not describe a model"):
        train(config, tmp_path / "runs", device="cpu")
