import csv
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from napari_dipr import samples
from napari_dipr.errors import DeviceError
from napari_dipr.networks.spec import TrainingSpec
from napari_dipr.training import loop
from napari_dipr.training.loop import Placements, Training, train

STEPS = 12
TOML = f"""
[model]
name = "tiny"
purpose = "tests"

[network]
width = 4
levels = 2

[training]
objects = "fashion-mnist"
loss = "passive-squared"
batch_size = 16
steps = {STEPS}
learning_rate = 1e-2
weight_decay = 1e-3
warmup_steps = 3
seed = 7
"""


class Killed(Exception):  # noqa: N818
    pass


@pytest.fixture
def spec():
    return TrainingSpec(
        objects="fashion-mnist", loss="passive-squared", batch_size=3, steps=6, learning_rate=1e-3, seed=5
    )


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "fashion_mnist", lambda split, folder: samples.shipped_images())
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    path = tmp_path / "models" / "tiny" / "model.toml"
    path.parent.mkdir(parents=True)
    path.write_text(TOML)
    return path


def losses(folder):
    with (folder / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


def train_until(monkeypatch, step, *arguments, **options):
    """Train, and die in a step."""
    whole = Training.training_step

    def dies(self, fields, batch_index):
        if self.global_step == step:
            raise Killed
        return whole(self, fields, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", dies)
        with pytest.raises(Killed):
            train(*arguments, **options)


def test_a_batch_depends_on_the_seed_and_its_number_alone(spec):
    images = samples.shipped_images()
    batches = list(Placements(images, spec))
    assert len(batches) == 6
    assert batches[0].shape == (3, 36, 36)
    resumed = Placements(images, spec)
    resumed.first = 4
    for late, batch in zip(resumed, batches[4:], strict=True):
        assert torch.equal(late, batch)
    assert not torch.equal(batches[0], batches[1])
    other = next(iter(Placements(images, spec.model_copy(update={"seed": 6}))))
    assert not torch.equal(other, batches[0])


def test_placements_hold_images_of_the_set(spec):
    images = samples.shipped_images()
    sums = {int(image.sum()) for image in images}
    for field in next(iter(Placements(images, spec))):
        assert round(float(field.double().sum() * 255)) in sums


def test_a_device_that_is_not_there_is_told(config, tmp_path):
    with pytest.raises(DeviceError, match="no device 'abacus'"):
        train(config, tmp_path / "runs", device="abacus")


def test_training_writes_weights_with_their_checksum_and_lowers_the_loss(config, tmp_path):
    config.write_text(TOML.replace(f"steps = {STEPS}\n", "steps = 40\n", 1))
    weights = train(config, tmp_path / "runs", device="cpu")
    assert weights == config.parent / "weights.safetensors"
    record = json.loads((config.parent / "trained.json").read_text())
    assert record["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["steps"] == 40
    curve = list(losses(tmp_path / "runs" / "tiny").values())
    assert len(curve) == 40
    assert np.mean(curve[-5:]) < 0.7 * np.mean(curve[:5])


def test_a_training_that_was_killed_and_resumed_ends_as_one_that_was_not(config, tmp_path, monkeypatch):
    whole = load_file(train(config, tmp_path / "whole", device="cpu"))
    train_until(monkeypatch, 10, config, tmp_path / "halves", device="cpu")  # after the checkpoint at 8
    resumed = load_file(train(config, tmp_path / "halves", resume=True, device="cpu"))
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight), name
    expected = losses(tmp_path / "whole" / "tiny")
    assert losses(tmp_path / "halves" / "tiny" / "from-8") == {step: expected[step] for step in range(8, STEPS)}
    before = losses(tmp_path / "halves" / "tiny")
    assert before == {step: expected[step] for step in before}
    assert len(before) >= 8
    assert json.loads((config.parent / "trained.json").read_text())["steps"] == STEPS


def test_the_time_before_a_resumption_counts(config, tmp_path, monkeypatch):
    train_until(monkeypatch, 6, config, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "tiny" / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["seconds"] = 5000.0
    torch.save(checkpoint, tmp_path / "tiny" / "checkpoints" / "last.ckpt")
    train(config, tmp_path, resume=True, device="cpu")
    assert json.loads((config.parent / "trained.json").read_text())["seconds"] >= 5000


def test_a_finished_training_resumed_writes_the_same_weights(config, tmp_path):
    first = train(config, tmp_path, device="cpu").read_bytes()
    (config.parent / "weights.safetensors").unlink()
    assert train(config, tmp_path, resume=True, device="cpu").read_bytes() == first


def test_resuming_where_nothing_was_begun_begins(config, tmp_path):
    fresh = train(config, tmp_path / "fresh", device="cpu").read_bytes()
    assert train(config, tmp_path / "nothing", resume=True, device="cpu").read_bytes() == fresh


def test_a_new_training_beside_an_old_one_is_the_one_that_is_resumed(config, tmp_path, monkeypatch):
    train(config, tmp_path, device="cpu")
    config.write_text(TOML.replace("seed = 7", "seed = 8"))
    train_until(monkeypatch, 5, config, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "tiny" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_the_step_is_the_passive_loss_of_the_networks_object_in_the_measurements_middle(config):
    torch.manual_seed(0)
    module = Training(loop.ModelSpec.read(config))
    module.log = lambda *args, **kwargs: None
    fields = torch.from_numpy(samples.place(samples.shipped_images()[:2]))
    intensities = torch.fft.fft2(torch.from_numpy(samples.on_grid(fields.numpy()))).abs().square()
    expected = loop.LOSSES["passive-squared"](module.network.on_grid(intensities), intensities).mean()
    torch.testing.assert_close(module.training_step(fields, 0), expected)
