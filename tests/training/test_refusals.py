import pytest
import torch

pytest.importorskip("lightning")

from napari_dipr.errors import ModelError
from napari_dipr.training import loop, objects
from napari_dipr.training.loop import Training, train

STEPS = 12
TOML = f"""
[model]
name = "tiny"
purpose = "tests"

[network]
grid = [24, 24]
window = [12, 12]
width = 4
levels = 2
output = "complex"

[training]
objects = "simulated"
losses = {{ "passive-squared" = 1.0 }}
batch_size = 4
steps = {STEPS}
learning_rate = 1e-2
warmup_steps = 3
seed = 7
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "unseen_objects", lambda spec: objects.unseen_objects(spec, 8))
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)
    path = tmp_path / "models" / "tiny" / "model.toml"
    path.parent.mkdir(parents=True)
    path.write_text(TOML)
    return path


@pytest.mark.parametrize(
    ("old", "new", "differing"),
    [
        ("width = 4", "width = 8", r"network\.width \(there 4, here 8\)"),
        ("learning_rate = 1e-2", "learning_rate = 1e-3", r"training\.learning_rate \(there 0\.01, here 0\.001\)"),
        ("seed = 7", "seed = 8", r"training\.seed \(there 7, here 8\)"),
        ("batch_size = 4", "batch_size = 8", r"training\.batch_size \(there 4, here 8\)"),
        (f"steps = {STEPS}\n", "steps = 6\n", r"training\.steps \(there 12, here 6\)"),
        ('"passive-squared" = 1.0', '"naive" = 1.0', r"passive-squared \(there 1\.0, here None\), .*naive"),
    ],
)
def test_another_training_is_not_resumed_and_the_weights_stay(config, tmp_path, old, new, differing):
    weights = train(config, tmp_path / "runs", device="cpu")
    content, record = weights.read_bytes(), weights.with_name("trained.json").read_text()
    assert TOML.count(old) == 1
    config.write_text(TOML.replace(old, new))
    with pytest.raises(ModelError, match=rf"tiny cannot be resumed, it is another: .*{differing}.*without --resume"):
        train(config, tmp_path / "runs", resume=True, device="cpu")
    assert weights.read_bytes() == content
    assert weights.with_name("trained.json").read_text() == record


def test_what_a_model_is_called_for_and_how_it_proposes_may_change(config, tmp_path):
    first = train(config, tmp_path / "runs", device="cpu").read_bytes()
    config.write_text(TOML.replace('"tests"', '"other tests"\nrank = 1') + "\n[proposal]\nmedian = 3\n")
    assert train(config, tmp_path / "runs", resume=True, device="cpu").read_bytes() == first


def test_a_training_on_another_number_of_devices_is_not_resumed(config, tmp_path):
    train(config, tmp_path / "runs", device="cpu")
    with pytest.raises(ModelError, match=r"another: devices \(there 1, here 2\)"):
        train(config, tmp_path / "runs", resume=True, device="cpu", devices=2)


@pytest.mark.parametrize("harm", ["empty", "cut", "words", "another's", "older"])
def test_a_checkpoint_that_cannot_be_gone_on_from_is_told(config, tmp_path, harm):
    train(config, tmp_path / "runs", device="cpu")
    last = tmp_path / "runs" / "tiny" / "checkpoints" / "last.ckpt"
    whole = torch.load(last, weights_only=True)
    if harm == "another's":
        torch.save({"weights": torch.ones(3)}, last)
    elif harm == "older":
        torch.save({key: value for key, value in whole.items() if key != "config"}, last)
    else:
        content = last.read_bytes()
        last.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "words": b"no checkpoint"}[harm])
    says = "does not say what it is a training of" if harm == "older" else r"is damaged \(.+\)"
    with pytest.raises(ModelError, match=rf"last\.ckpt {says}\. Train without --resume"):
        train(config, tmp_path / "runs", resume=True, device="cpu")


def fails_from(monkeypatch, step, value):
    """Let the loss be something else from a step on."""
    whole = Training.sound
    monkeypatch.setattr(
        Training, "sound", lambda self, loss: whole(self, loss * (1.0 if self.global_step < step else value))
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_training_that_diverges_ends_there_with_its_last_good_checkpoint(config, tmp_path, monkeypatch, value):
    fails_from(monkeypatch, 6, value)
    with pytest.raises(ModelError, match=rf"diverged: its loss is {value} in step 6\. .*learning_rate \(0\.01\)"):
        train(config, tmp_path, device="cpu")
    assert {path.name for path in config.parent.iterdir()} == {"model.toml"}
    checkpoint = torch.load(tmp_path / "tiny" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_weights_that_are_not_finite_replace_no_checkpoint(config, tmp_path, monkeypatch):
    whole = Training.training_step

    def spoils(self, number, batch_index):
        if self.global_step == 7:  # the last before the checkpoint at 8
            for weight in self.network.parameters():
                weight.register_hook(lambda gradient: gradient * float("nan"))
        return whole(self, number, batch_index)

    monkeypatch.setattr(Training, "training_step", spoils)
    with pytest.raises(ModelError, match="diverged: weights are not finite after step 8"):
        train(config, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "tiny" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())


@pytest.mark.parametrize("steps", [1, 12])
def test_a_rate_that_is_far_too_high_writes_nothing(config, tmp_path, steps):
    toml = TOML.replace("learning_rate = 1e-2", "learning_rate = 1e30").replace(
        f"steps = {STEPS}\n", f"steps = {steps}\n", 1
    )
    config.write_text(toml)
    with pytest.raises(ModelError, match=r"diverged: .* Lower its learning_rate \(1e\+30\)"):
        train(config, tmp_path, device="cpu")
    assert {path.name for path in config.parent.iterdir()} == {"model.toml"}


def test_figures_that_are_not_finite_are_not_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "figures", lambda self: {"nmse": float("nan")})
    with pytest.raises(ModelError, match="diverged: its figures are not finite"):
        train(config, tmp_path, device="cpu")
    assert {path.name for path in config.parent.iterdir()} == {"model.toml"}
