"""The loop that trains a model, resumable, on Lightning (extra ``train``)."""

import hashlib
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors.torch import save as save_safetensors
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from napari_dipr.device import find_device
from napari_dipr.errors import DeviceError, ModelError
from napari_dipr.networks.propose import AT_ONCE, answer_to
from napari_dipr.networks.spec import DenoisersSpec, ModelSpec
from napari_dipr.networks.unrolled import Unrolled
from napari_dipr.networks.zoo import DENOISERS, WEIGHTS, check_name, describe_model, load_model, trained
from napari_dipr.physics.fourier import embed_window
from napari_dipr.physics.symmetry import nmse
from napari_dipr.training.denoising import Denoising
from napari_dipr.training.losses import LOSSES, jacobian
from napari_dipr.training.objects import Draw, placed_images, source, unseen_objects
from napari_dipr.training.patterns import flawed, measure
from napari_dipr.training.progress import Bar, quiet
from napari_dipr.training.task import Task, differences

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


class Training(Task):
    """The training of a network that proposes objects, with its losses."""

    network: Unrolled

    def __init__(self, spec: ModelSpec, draw: Draw) -> None:
        # What it is called for and how its answers are used may change.
        super().__init__(
            spec.model.name, spec.training, draw, spec.model_dump(mode="json", include={"network", "training"})
        )
        self.spec, self.network = spec, spec.network.build()
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
        theirs, these = (
            network.model_dump(exclude={"iterations"}) for network in (describe_model(model).network, ours)
        )
        if differing := differences(theirs, these):
            raise ModelError(
                f"The training cannot begin with {model}, whose network is another: {differing}. Describe the same "
                "network, or leave start out."
            )
        self.network.load_state_dict(load_model(model).state_dict())
        self.start_sha256 = trained(model)["sha256"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it began with, too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["start_sha256"] = self.start_sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again, too."""
        super().on_load_checkpoint(checkpoint)
        self.start_sha256 = checkpoint.get("start_sha256")

    def training_step(self, step: int, batch_index: int) -> Tensor:
        """Simulate the batch's measurements on the device, and return the loss."""
        t = self.spec.training
        objects, generator = self.batch(step)
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
        return self.sound(loss)

    def figures(self) -> dict[str, Any]:
        """Return the mean nmse of the network's proposals for test objects, and how many there are."""
        found = proposed(self.spec, self.network.cpu().eval())
        return found if self.start_sha256 is None else {**found, "start_sha256": self.start_sha256}


def proposed(spec: ModelSpec, network: Unrolled) -> dict[str, Any]:
    """Return the mean nmse of what a network proposes for unseen objects, asked as it is described, and how many."""
    batch = measure(unseen_objects(spec), spec.network.grid)
    parts = batch.intensities.split(max(1, AT_ONCE // batch.intensities[0].numel()))
    objects = torch.cat([answer_to(spec, network, part).objects for part in parts])
    window = embed_window(torch.ones(spec.network.window, dtype=torch.bool), spec.network.grid)
    errors, _ = nmse(objects, batch.truth, window)
    return {"nmse": round(float(errors.mean()), 4), "nmse_objects": len(errors)}


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
    """Train what a ``model.toml`` or a ``denoisers.toml`` describes, and write its weights beside that file.

    Parameters
    ----------
    config
        The file.
    runs
        Folder for checkpoints and logs; a folder of the model's name is made in it. The loss curve is its
        ``metrics.csv`` and, for TensorBoard, its ``events`` file; a resumed training writes its part to ``from-STEP``.
    resume
        Go on from the last checkpoint there, if there is one; it must be one of this training.
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
        If the file does not describe a model of its folder's name, there is no such device, there are no images, the
        model to begin with has another network, the checkpoint is damaged or of another training, or the training
        diverges.
    """
    place = find_device(device)
    _enough(place, devices)
    task = _task(config, images)
    folder, schedule = runs / task.name, task.schedule
    data = Steps(schedule.steps)
    task.config["devices"] = devices * nodes  # each takes batches of its own
    last = folder / "checkpoints" / "last.ckpt"
    if resume and last.is_file():
        data.first = _steps_done(last, task)
    elif isinstance(task, Training) and task.spec.training.start is not None:
        task.begin_with(task.spec.training.start)
    part = f"from-{data.first}" if data.first else ""
    quiet()
    trainer = lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(place.type, place.type),
        devices=devices if place.index is None else [place.index],
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        max_steps=schedule.steps,
        max_epochs=-1,
        logger=[
            CSVLogger(runs, name=task.name, version=part),
            TensorBoardLogger(runs, name=task.name, version=part),
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
            Bar(),
        ],
        log_every_n_steps=LOG_EVERY,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        precision=schedule.precision,
    )
    loader = DataLoader(data, batch_size=None)
    trainer.fit(task, loader, ckpt_path=str(last) if resume and last.is_file() else None)
    if trainer.is_global_zero:
        _save(task, config.parent, trainer.global_step, trainer.world_size)
    return config.parent / WEIGHTS


def _task(config: Path, images: Path | None) -> Task:
    spec = DenoisersSpec.read(config) if config.name == DENOISERS else ModelSpec.read(config)
    check_name(config.parent, (spec.denoisers if isinstance(spec, DenoisersSpec) else spec.model).name)
    lightning.seed_everything(spec.training.seed, verbose=False)
    if isinstance(spec, DenoisersSpec):
        return Denoising(spec, placed_images(spec.training, images))
    return Training(spec, source(spec, images))


def _steps_done(last: Path, task: Task) -> int:
    """Return how many steps a checkpoint has; refuse one that is damaged or of another training."""
    afresh = "Train without --resume to begin anew."
    try:
        # These are our own checkpoints of plain tensors and numbers; nothing else is allowed in.
        checkpoint = torch.load(last, map_location="cpu", weights_only=True)
        steps, config = int(checkpoint["global_step"]), checkpoint.get("config")
    except Exception as error:  # what is damaged can fail anyhow
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ModelError(f"The checkpoint {last} is damaged ({why}). {afresh}") from error
    if config is None:
        raise ModelError(f"The checkpoint {last} does not say what it is a training of. {afresh}")
    if differing := differences(config, task.config):
        raise ModelError(
            f"The training in {last.parent.parent} cannot be resumed, it is another: {differing}. Put this back in the "
            "file, or give other --runs to keep both, or train without --resume to begin anew."
        )
    return steps


def _enough(place: torch.device, devices: int) -> None:
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(place.type, devices) if place.index is None else 1
    if devices > there:
        raise DeviceError(f"{devices} devices were asked for; of {place} there is {there}.")


def _save(task: Task, folder: Path, steps: int, devices: int) -> None:
    weights = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in task.network.state_dict().items()
    }
    if not all(value.isfinite().all() for value in weights.values()):
        raise task.diverged("its weights are not finite, or beyond float16, at the end")
    content = save_safetensors(weights)
    task.network.load_state_dict(weights)  # tested as they are shipped: rounded
    figures = task.figures()
    outcome = {
        "sha256": hashlib.sha256(content).hexdigest(),
        **figures,
        "steps": steps,
        "devices": devices,
        "seconds": round(task.seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__.split("+")[0],
    }
    try:
        record = json.dumps(outcome, indent=2, allow_nan=False)
    except ValueError as error:
        raise task.diverged(f"its figures are not finite: {figures}") from error
    (folder / WEIGHTS).write_bytes(content)
    (folder / "trained.json").write_text(record + "\n")
