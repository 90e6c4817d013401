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
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import save as save_safetensors
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from napari_dipr import samples
from napari_dipr.device import find_device
from napari_dipr.networks.propose import predict
from napari_dipr.networks.spec import ModelSpec, TrainingSpec
from napari_dipr.physics.fourier import forward
from napari_dipr.physics.symmetry import nmse
from napari_dipr.training.losses import LOSSES
from napari_dipr.training.objects import fashion_mnist

# Steps between two checkpoints, and between two lines of the loss curve.
CHECKPOINT_EVERY = 500
LOG_EVERY = 50


class Placements(IterableDataset[Tensor]):
    """Batches of FashionMNIST training images, placed and flipped at random: fields ``[batch, 36, 36]``.

    Batch k depends on the seed and on k alone, so that a resumed training sees what an uninterrupted one would.
    """

    def __init__(self, images: np.ndarray, spec: TrainingSpec) -> None:
        self.images, self.spec, self.first = images, spec, 0

    def __iter__(self) -> Iterator[Tensor]:
        for k in range(self.first, self.spec.steps):
            chosen = np.random.default_rng([self.spec.seed, k]).integers(0, len(self.images), self.spec.batch_size)
            yield torch.from_numpy(samples.place(self.images[chosen], [self.spec.seed, k, 1]))


class Training(lightning.LightningModule):
    """A network, its loss and its schedule."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.network = spec.network.build()
        self.began, self.seconds_before = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training, those before the last resumption included."""
        return self.seconds_before + time.monotonic() - self.began

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time that it took so far."""
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.seconds_before = checkpoint.get("seconds", 0.0)

    def training_step(self, fields: Tensor, batch_index: int) -> Tensor:
        """Simulate the batch's measurements on the device, and return the loss."""
        objects = torch.nn.functional.pad(fields, _margins(self.spec))
        intensities = torch.fft.fft2(objects).abs().square()
        loss = LOSSES[self.spec.training.loss](self.network.on_grid(intensities), intensities).mean()
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


def train(config: Path, runs: Path, *, resume: bool = False, images: Path | None = None, device: str = "auto") -> Path:
    """Train the model that a ``model.toml`` describes, and write its weights beside that file.

    Parameters
    ----------
    config
        The ``model.toml``.
    runs
        Folder for checkpoints and logs; a folder of the model's name is made in it. The loss curve is its
        ``metrics.csv``; a resumed training writes its part to ``from-STEP/metrics.csv``.
    resume
        Go on from the last checkpoint there, if there is one.
    images
        Folder with FashionMNIST's files, see :func:`~napari_dipr.training.objects.fashion_mnist`.
    device
        ``auto``, ``cuda``, ``mps`` or ``cpu``.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    DiprError
        If the file does not describe a model, or there is no such device, or there are no images.
    """
    spec, place = ModelSpec.read(config), find_device(device)
    folder = runs / spec.model.name
    lightning.seed_everything(spec.training.seed, verbose=False)
    data = Placements(fashion_mnist("train", images), spec.training)
    module = Training(spec)
    last = folder / "checkpoints" / "last.ckpt"
    if resume and last.is_file():
        # These are our own checkpoints of plain tensors and numbers; nothing else is allowed in.
        data.first = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
    trainer = lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(place.type, place.type),
        devices=1 if place.index is None else [place.index],
        max_steps=spec.training.steps,
        max_epochs=-1,
        # The logger empties the folder it is given.
        logger=CSVLogger(runs, name=spec.model.name, version=f"from-{data.first}" if data.first else ""),
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
    )
    loader = DataLoader(data, batch_size=None)
    trainer.fit(module, loader, ckpt_path=str(last) if resume and last.is_file() else None)
    return _save(module, config.parent, trainer.global_step)


def _margins(spec: ModelSpec) -> tuple[int, int, int, int]:
    (rows, columns), (height, width) = spec.network.grid, spec.network.window
    top, left = rows // 2 - height // 2, columns // 2 - width // 2
    return left, columns - width - left, top, rows - height - top


def _test_error(module: Training) -> float:
    """Return the mean nmse on the shipped test images, which no training sees."""
    fields = torch.from_numpy(samples.place(samples.shipped_images()))
    objects = torch.nn.functional.pad(fields, _margins(module.spec))
    window = torch.nn.functional.pad(torch.ones_like(fields[0], dtype=torch.bool), _margins(module.spec))
    network = module.network.cpu().eval()
    errors, _ = nmse(predict(network, forward(objects).abs().square()), objects, window)
    return round(float(errors.mean()), 4)


def _save(module: Training, folder: Path, steps: int) -> Path:
    weights = {key: value.cpu().half().contiguous() for key, value in module.network.state_dict().items()}
    content = save_safetensors(weights)
    module.network.load_state_dict(weights)  # tested as they are shipped: rounded
    error = _test_error(module)
    target = folder / "weights.safetensors"
    target.write_bytes(content)
    outcome = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "nmse": error,
        "nmse_images": len(samples.shipped_images()),
        "steps": steps,
        "seconds": round(module.seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }
    (folder / "trained.json").write_text(json.dumps(outcome, indent=2) + "\n")
    return target
