import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from napari_dipr import samples
from napari_dipr.errors import DeviceError, ModelError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import predict, propose
from napari_dipr.networks.spec import ModelSpec
from napari_dipr.networks.zoo import load_model
from napari_dipr.physics.fourier import embed_window
from napari_dipr.physics.symmetry import nmse
from napari_dipr.training import loop, objects
from napari_dipr.training.loop import Steps, Training, train
from napari_dipr.training.losses import LOSSES, jacobian
from napari_dipr.training.objects import source
from napari_dipr.training.patterns import flawed, measure

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
losses = {{ "passive-squared" = 1.0 }}
batch_size = 16
steps = {STEPS}
learning_rate = 1e-2
weight_decay = 1e-3
warmup_steps = 3
seed = 7
"""
UNROLLED = f"""
[model]
name = "tiny"
purpose = "tests"

[network]
grid = [24, 24]
window = [12, 12]
width = 4
levels = 2
projections = 1
output = "complex"

[training]
objects = "simulated"
losses = {{ "symmetry-aware" = 1.0, "passive-squared" = 0.5 }}
batch_size = 4
steps = {STEPS}
learning_rate = 1e-2
seed = 7

[training.flaws]
"""
KINDS = {
    "passive": TOML,
    "jacobian": TOML.replace("batch_size", "jacobian = 0.1\nbatch_size"),
    "unrolled": UNROLLED,
    "volume": UNROLLED.replace("[24, 24]", "[16, 16, 20]").replace("[12, 12]", "[8, 8, 10]"),
    "all": UNROLLED.replace("batch_size", "jacobian = 0.1\nearlier = 0.7\nbatch_size"),
}


class Killed(Exception):  # noqa: N818
    pass


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "fashion_mnist", lambda split, folder: samples.shipped_images())
    monkeypatch.setattr(loop, "unseen_objects", lambda spec: objects.unseen_objects(spec, 8))
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

    def dies(self, number, batch_index):
        if self.global_step == step:
            raise Killed
        return whole(self, number, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", dies)
        with pytest.raises(Killed):
            train(*arguments, **options)


def test_the_steps_are_those_that_are_not_done_yet():
    steps = Steps(6)
    assert list(steps) == [0, 1, 2, 3, 4, 5]
    steps.first = 4
    assert list(steps) == [4, 5]


def test_several_devices_take_batches_of_their_own_and_write_one_model(tmp_path):
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(UNROLLED.replace("steps = 12", "steps = 3"))
    program = str(Path(sys.executable).with_name("napari-dipr"))
    done = subprocess.run(
        [program, "train", str(folder / "model.toml"), "--runs", str(tmp_path), "--device", "cpu", "--devices", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "trained.json").read_text())
    assert record["steps"] == 3
    assert record["sha256"] == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    # Alone, a device takes other batches: half of what both did.
    alone = tmp_path / "alone" / "tiny"
    alone.mkdir(parents=True)
    (alone / "model.toml").write_text((folder / "model.toml").read_text())
    assert train(alone / "model.toml", tmp_path / "alone-runs", device="cpu").is_file()
    assert json.loads((alone / "trained.json").read_text())["sha256"] != record["sha256"]


def test_a_training_can_begin_with_the_weights_of_another_model(config, tmp_path):
    first = train(config, tmp_path / "runs", device="cpu")
    record = json.loads((config.parent / "trained.json").read_text())
    further = tmp_path / "further" / "tiny" / "model.toml"
    further.parent.mkdir(parents=True)
    toml = TOML.replace("batch_size", f'start = "{config.parent.as_posix()}"\nbatch_size')
    # A rate so low that nothing is learnt.
    further.write_text(toml.replace("learning_rate = 1e-2", "learning_rate = 1e-12"))
    second = train(further, tmp_path / "runs-2", device="cpu")
    for key, value in load_file(first).items():
        torch.testing.assert_close(load_file(second)[key], value, rtol=2e-3, atol=1e-5)
    assert json.loads(second.with_name("trained.json").read_text())["start_sha256"] == record["sha256"]
    further.write_text(toml.replace("width = 4", "width = 8"))
    with pytest.raises(ModelError, match=r"cannot begin with .* is another: width \(there 4, here 8\)\."):
        train(further, tmp_path / "runs-2", device="cpu")


def test_a_model_of_another_name_than_its_folders_is_refused_before_it_is_trained(config, tmp_path, monkeypatch):
    config.write_text(TOML.replace('name = "tiny"', 'name = "large"'))
    for path in (config, Path("model.toml")):
        monkeypatch.chdir(config.parent)
        with pytest.raises(ModelError, match="is called 'large', its folder 'tiny'"):
            train(path, tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("device", "there"), [("cuda:0", 1), ("mps", 1), ("cuda", 2)])
def test_more_devices_than_there_are_are_refused(config, tmp_path, monkeypatch, device, there):
    monkeypatch.setattr(loop, "find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=f"3 devices were asked for; of {device} there is {there}"):
        train(config, tmp_path / "runs", device=device, devices=3)


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
    assert record["nmse_objects"] == 8
    assert 0 < record["nmse"] < 1
    assert list((tmp_path / "runs" / "tiny").glob("events.out.tfevents.*"))
    curve = list(losses(tmp_path / "runs" / "tiny").values())
    assert len(curve) == 40
    assert np.mean(curve[-5:]) < 0.7 * np.mean(curve[:5])


@pytest.mark.parametrize("toml", KINDS.values(), ids=KINDS)
def test_a_training_that_was_killed_and_resumed_ends_as_one_that_was_not(config, tmp_path, monkeypatch, toml):
    config.write_text(toml)
    whole = load_file(train(config, tmp_path / "whole", device="cpu"))
    train_until(monkeypatch, 10, config, tmp_path / "halves", device="cpu")  # after the checkpoint at 8
    resumed = load_file(train(config, tmp_path / "halves", resume=True, device="cpu"))
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight), name
    expected = losses(tmp_path / "whole" / "tiny")
    assert losses(tmp_path / "halves" / "tiny" / "from-8") == {step: expected[step] for step in range(8, STEPS)}
    before = losses(tmp_path / "halves" / "tiny")
    assert before == {step: expected[step] for step in before}
    assert np.isfinite(list(expected.values())).all()
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


@pytest.mark.parametrize("toml", ["passive", "unrolled"])
def test_the_error_is_that_of_what_the_model_proposes(config, tmp_path, toml):
    config.write_text(KINDS[toml].replace("[flaws]", "") + "\n[proposal]\nmirrors = true\n")
    train(config, tmp_path, device="cpu")
    spec = ModelSpec.read(config)
    batch = measure(objects.unseen_objects(spec, 8), spec.network.grid)
    window = embed_window(torch.ones(spec.network.window, dtype=torch.bool), spec.network.grid)
    patterns = torch.fft.fftshift(batch.intensities, (1, 2)).numpy()
    found = [
        propose(Measurement.of(pattern, zero_frequency="centre"), str(config.parent), device="cpu").object
        for pattern in patterns
    ]
    errors, _ = nmse(torch.from_numpy(np.stack(found)), batch.truth, window)
    plain, _ = nmse(predict(load_model(str(config.parent)), batch.intensities), batch.truth, window)
    stated = json.loads((config.parent / "trained.json").read_text())["nmse"]
    assert stated == pytest.approx(float(errors.mean()), abs=2e-3)
    assert abs(stated - float(plain.mean())) > 4e-3


def test_the_bar_counts_all_steps_and_says_little_else(config, tmp_path, monkeypatch, capfd):
    train_until(monkeypatch, 10, config, tmp_path, device="cpu")
    capfd.readouterr()
    train(config, tmp_path, resume=True, device="cpu")
    said = "".join(capfd.readouterr())
    assert "12/12" in said
    assert "loss" in said
    for noise in ("Epoch", "v_num", "litlogger", "GPU", "deprecated"):
        assert noise not in said


def test_resuming_where_nothing_was_begun_begins(config, tmp_path):
    fresh = train(config, tmp_path / "fresh", device="cpu").read_bytes()
    assert train(config, tmp_path / "nothing", resume=True, device="cpu").read_bytes() == fresh


def test_a_new_training_beside_an_old_one_is_the_one_that_is_resumed(config, tmp_path, monkeypatch):
    train(config, tmp_path, device="cpu")
    config.write_text(TOML.replace("seed = 7", "seed = 8"))
    train_until(monkeypatch, 5, config, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "tiny" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


@pytest.mark.parametrize("toml", KINDS.values(), ids=KINDS)
def test_the_step_is_the_weighted_sum_of_the_losses_of_every_object_on_the_way(config, toml):
    config.write_text(toml)
    spec = ModelSpec.read(config)
    t = spec.training
    torch.manual_seed(0)
    module = Training(spec, source(spec))
    module._trainer = SimpleNamespace(world_size=1, global_rank=0)
    module.log = lambda *args, **kwargs: None
    drawn, generator = source(spec)(3, torch.device("cpu"))
    batch = measure(drawn, spec.network.grid)
    if t.flaws is not None:
        batch = flawed(batch, t.flaws, generator)
    features = module.network.features(batch.intensities).requires_grad_()
    found = module.network.objects(batch.intensities, batch.measured, features)
    assert len(found) == 1 + spec.network.projections
    expected = 0.0
    for x, share in zip(found, [t.earlier] * spec.network.projections + [1.0], strict=True):
        on_grid = embed_window(x, spec.network.grid)
        expected += share * sum(weight * LOSSES[name](on_grid, batch).mean() for name, weight in t.losses.items())
    if t.jacobian:
        relative = found[-1] / module.network.rms(batch.intensities)
        term = jacobian(relative, features, generator).mean()
        assert term > 0
        expected += t.jacobian * term
    loss = module.training_step(3, 0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, weight in module.network.named_parameters():
        assert weight.grad.isfinite().all(), name


def test_devices_that_train_together_draw_different_batches(config):
    spec = ModelSpec.read(config)
    honest, numbers = source(spec), []
    module = Training(spec, lambda number, device: numbers.append(number) or honest(number, device))
    module.log = lambda *args, **kwargs: None
    for rank in range(2):
        module._trainer = SimpleNamespace(world_size=2, global_rank=rank)
        for step in range(3):
            module.training_step(step, 0)
    assert sorted(numbers) == list(range(6))
