"""The loop that trains a model, resumable, on Lightning (extra ``train``)."""

import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors.torch import save as save_safetensors
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from napari_dipr.device import find_device
from napari_dipr.errors import DeviceError, ModelError
from napari_dipr.networks.propose import predict
from napari_dipr.networks.spec import ModelSpec
from napari_dipr.networks.zoo import WEIGHTS, describe_model, load_model, trained
from napari_dipr.physics.fourier import embed_window
from napari_dipr.physics.symmetry import nmse
from napari_dipr.training.losses import LOSSES, jacobian
from napari_dipr.training.objects import Draw, source, unseen_objects
from napari_dipr.training.patterns import flawed, measure

# Steps between two checkpoints, and between two lines of the loss curve.
CHECKPOINT_EVERY = 500
LOG_EVERY = 50


class Steps(IterableDataset[int]):
    """The numbers of the steps to do: what a batch holds follows from its number and the seed alone.

    So a resumed training sees what an uninterrupted one would.
    """

    def __init__(self, steps: int) -> None:
        self.first, self.steps = 0, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.steps))


class Training(lightning.LightningModule):
    """A network, its losses and its schedule."""

    def __init__(self, spec: ModelSpec, draw: Draw) -> None:
        super().__init__()
        self.spec, self.draw = spec, draw
        self.network = spec.network.build()
        self.began, self.seconds_before = time.monotonic(), 0.0
        self.start_sha256: str | None = None

    def begin_with(self, model: str) -> None:
        """Take over a model's weights.

        Raises
        ------
        ModelError
            If there is no such model, or its network is another.
        """
        ours = self.spec.network
        # Iterations have no weights.
        theirs = describe_model(model).network.model_copy(update={"iterations": ours.iterations})
        if theirs != ours:
            raise ModelError(f"A training cannot begin with {model}: its network is {theirs}, this one's {ours}.")
        self.network.load_state_dict(load_model(model).state_dict())
        self.start_sha256 = trained(model)["sha256"]

    @property
    def seconds(self) -> float:
        """Seconds of training, those before the last resumption included."""
        return self.seconds_before + time.monotonic() - self.began

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time that it took so far, and what it began with."""
        checkpoint["seconds"], checkpoint["start_sha256"] = self.seconds, self.start_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        self.seconds_before = checkpoint.get("seconds", 0.0)
        self.start_sha256 = checkpoint.get("start_sha256")

    def training_step(self, step: int, batch_index: int) -> Tensor:
        """Simulate the batch's measurements on the device, and return the loss."""
        t = self.spec.training
        # Every device of a training on several has batches of its own.
        number = step * self.trainer.world_size + self.global_rank
        objects, generator = self.draw(number, self.device)
        batch = measure(objects, self.spec.network.grid)
        if t.flaws is not None:
            batch = flawed(batch, t.flaws, generator)
        features = self.network.features(batch.intensities)
        if t.jacobian:
            features.requires_grad_()
        found = self.network.objects(batch.intensities, batch.measured, features)
        on_grid = [embed_window(x, self.spec.network.grid) for x in found]
        shares = [t.earlier] * self.spec.network.projections + [1.0]
        terms = [
            weight * share * LOSSES[name](x, batch).mean()
            for x, share in zip(on_grid, shares, strict=True)
            for name, weight in t.losses.items()
        ]
        loss = torch.stack(terms).sum()
        if t.jacobian:
            term = jacobian(found[-1] / self.network.rms(batch.intensities), features, generator).mean()
            self.log("jacobian", term)
            loss = loss + t.jacobian * term
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; linear warm-up, then half a cosine to zero."""
        t = self.spec.training
        optimizer = torch.optim.AdamW(self.parameters(), lr=t.learning_rate, weight_decay=t.weight_decay)

        def rate(step: int) -> float:
            warmup = min(1.0, (step + 1) / (t.warmup_steps + 1))
            # In Python's own numbers: the rate is kept in checkpoints, which admit nothing of numpy's.
            return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / t.steps)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train(
    config: Path,
    runs: Path,
    *,
    resume: bool = False,
    images: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
) -> Path:
    """Train the model that a ``model.toml`` describes, and write its weights beside that file.

    Parameters
    ----------
    config
        The ``model.toml``.
    runs
        Folder for checkpoints and logs; a folder of the model's name is made in it. The loss curve is its
        ``metrics.csv`` and, for TensorBoard, its ``events`` file; a resumed training writes its part to ``from-STEP``.
    resume
        Go on from the last checkpoint there, if there is one.
    images
        Folder with FashionMNIST's files, see :func:`~napari_dipr.training.objects.fashion_mnist`.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.
    devices, nodes
        How many of that kind, on each of how many machines: each takes batches of its own, and their gradients are
        averaged. On several machines this function is called on each, as Lightning says (its DDP strategy), and
        ``runs`` is a folder that they share.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    DiprError
        If the file does not describe a model, there is no such device, there are no images, or the model to begin with
        has another network.
    """
    spec, place = ModelSpec.read(config), find_device(device)
    _enough(place, devices)
    folder = runs / spec.model.name
    lightning.seed_everything(spec.training.seed, verbose=False)
    data = Steps(spec.training.steps)
    module = Training(spec, source(spec, images))
    last = folder / "checkpoints" / "last.ckpt"
    if resume and last.is_file():
        # These are our own checkpoints of plain tensors and numbers; nothing else is allowed in.
        data.first = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
    elif spec.training.start is not None:
        module.begin_with(spec.training.start)
    part = f"from-{data.first}" if data.first else ""
    trainer = lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(place.type, place.type),
        devices=devices if place.index is None else [place.index],
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        max_steps=spec.training.steps,
        max_epochs=-1,
        logger=[
            CSVLogger(runs, name=spec.model.name, version=part),
            TensorBoardLogger(runs, name=spec.model.name, version=part),
        ],
        callbacks=[
            # Without a version counter: a new training beside an old one would write last-v1.ckpt, and resuming would
            # take the old one.
            ModelCheckpoint(
                folder / "checkpoints",
                save_last=True,
                every_n_train_steps=CHECKPOINT_EVERY,
                save_top_k=0,
                enable_version_counter=False,
            ),
            RichProgressBar(),
        ],
        log_every_n_steps=LOG_EVERY,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        precision=spec.training.precision,
    )
    loader = DataLoader(data, batch_size=None)
    trainer.fit(module, loader, ckpt_path=str(last) if resume and last.is_file() else None)
    if trainer.is_global_zero:
        _save(module, config.parent, trainer.global_step, trainer.world_size)
    return config.parent / WEIGHTS


def _enough(place: torch.device, devices: int) -> None:
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(place.type, devices) if place.index is None else 1
    if devices > there:
        raise DeviceError(f"{devices} devices were asked for; of {place} there is {there}.")


def _test_error(module: Training) -> tuple[float, int]:
    """Return the mean nmse on test objects, which no training sees, and how many there are."""
    batch = measure(unseen_objects(module.spec), module.spec.network.grid)
    window = embed_window(torch.ones(module.spec.network.window, dtype=torch.bool), module.spec.network.grid)
    network = module.network.cpu().eval()
    errors, _ = nmse(predict(network, batch.intensities), batch.truth, window)
    return round(float(errors.mean()), 4), len(errors)


def _save(module: Training, folder: Path, steps: int, devices: int) -> None:
    weights = {key: value.cpu().half().contiguous() for key, value in module.network.state_dict().items()}
    content = save_safetensors(weights)
    module.network.load_state_dict(weights)  # tested as they are shipped: rounded
    error, count = _test_error(module)
    (folder / WEIGHTS).write_bytes(content)
    outcome = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "nmse": error,
        "nmse_objects": count,
        "steps": steps,
        "devices": devices,
        "seconds": round(module.seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }
    if module.start_sha256 is not None:
        outcome["start_sha256"] = module.start_sha256
    (folder / "trained.json").write_text(json.dumps(outcome, indent=2) + "\n")
