"""What each part of a network and of its training is worth: one of them changed at a time, at equal cost.

Every variant is trained on the CPU for the same processor time, less or more steps according to what a step of it
costs: short trainings of it are timed first. FashionMNIST's variants are tested as in ``benchmark models``; those for
missing centres, which are for any complex object, on clean objects with and without one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import torch
from torch import Tensor

from napari_dipr.benchmarks.kept import same_settings
from napari_dipr.benchmarks.models import models, test_batch
from napari_dipr.errors import DiprError
from napari_dipr.io.write import writable_folder
from napari_dipr.networks.propose import predict
from napari_dipr.networks.spec import Flaws
from napari_dipr.networks.zoo import WEIGHTS, describe_model, load_model
from napari_dipr.physics.fourier import backward, embed_window, forward, grid_dims
from napari_dipr.physics.symmetry import nmse
from napari_dipr.training.loop import train
from napari_dipr.training.patterns import flawed

SEED = 2024
# Steps of the trainings that are timed: one to warm up, and two whose difference counts.
TIMED = (3, 10, 40)

TOML = """[model]
name = "{name}"
purpose = "{purpose}"
rank = 9
resampled = false

[network]
width = 16
projections = {projections}
iterations = {iterations}
output = "{output}"

[training]
objects = "{objects}"
losses = {losses}
jacobian = {jacobian}
batch_size = 32
steps = {steps}
learning_rate = 3e-3
weight_decay = 1e-4
warmup_steps = 100
precision = "bf16-mixed"
seed = 2020
{flaws}"""

ABSOLUTE = '{ "passive-absolute" = 1.0 }'
AWARE = '{ "symmetry-aware" = 1.0 }'


@dataclass(frozen=True)
class Variant:
    """What is told apart."""

    purpose: str
    losses: str = ABSOLUTE
    projections: int = 0
    iterations: int = 0
    jacobian: float = 0.0
    objects: str = "fashion-mnist"
    output: str = "non-negative"
    flaws: str = ""

    def toml(self, name: str, steps: int) -> str:
        """Return its ``model.toml``."""
        return TOML.format(name=name, steps=steps, **vars(self))


ANY = Variant("one projection, any object, nothing missing", AWARE, 1, objects="simulated", output="complex")

VARIANTS = {
    "passive-absolute": Variant("U-Net, passive, amplitudes, absolute differences"),
    "passive-squared": Variant("U-Net, passive, amplitudes, squares", '{ "passive-squared" = 1.0 }'),
    "passive-intensity": Variant("U-Net, passive, intensities, squares", '{ "passive-intensity" = 1.0 }'),
    "passive-mixed": Variant("U-Net, passive, both", '{ "passive-mixed" = 1.0 }'),
    "jacobian": Variant("U-Net, passive, absolute differences, and the Jacobian term", jacobian=3e-4),
    "naive": Variant("U-Net, naive", '{ "naive" = 1.0 }'),
    "aware": Variant("U-Net, symmetry-aware", AWARE),
    "unrolled-1": Variant("one projection, symmetry-aware", AWARE, 1),
    "unrolled-2": Variant("two projections, symmetry-aware", AWARE, 2),
    "unrolled-3": Variant("three projections, symmetry-aware", AWARE, 3),
    "iterated-1": Variant("thirty iterations and one projection, symmetry-aware", AWARE, 1, 30),
    "iterated-2": Variant("the same twice, symmetry-aware", AWARE, 2, 30),
    "passive-2": Variant("two projections, passive, absolute differences", projections=2),
    "any": ANY,
    "any-centreless": replace(
        ANY,
        purpose="one projection, any object, half without a centre",
        flaws="[training.flaws]\nnoisy = 0.0\nhidden = 0.5\ndead = 0.0\n",
    ),
}


def ablation(
    runs: Path,
    minutes: float = 10.0,
    names: list[str] | None = None,
    *,
    objects: int = 256,
    progress: Callable[[str, str], None] = lambda name, what: None,
) -> dict[str, Any]:
    """Train variants for the same processor time and test them.

    Parameters
    ----------
    runs
        Folder for the variants' models and checkpoints. What is there already is not trained again.
    minutes
        Processor time for each, testing apart. With one thread (``OMP_NUM_THREADS=1``) it is the time on a free core.
    names
        Of :data:`VARIANTS`; None for all.
    objects
        How many to test with.
    progress
        Told the variant and what happens to it.

    Returns
    -------
    dict
        ``{"minutes", "objects", "variants": {name: row}}``. A row has ``purpose``, ``steps`` and ``nmse_mean``;
        FashionMNIST's also ``support_iou``, ``refined_nmse_mean``, ``refined_solved`` and ``own_twin``, the mean
        correlation of the network's objects with their own twins (the truth's is in ``true_own_twin``: 1 is a
        superposition of both); the others ``centreless_nmse_mean``.

    Raises
    ------
    DiprError
        If there is no such variant, there are no images to train with, or what the folder holds was trained otherwise.
    """
    chosen = list(VARIANTS) if names is None else names
    if unknown := [name for name in chosen if name not in VARIANTS]:
        raise DiprError(f"There is no variant {', '.join(unknown)}. The variants: {', '.join(VARIANTS)}.")
    same_settings(runs, {"minutes": minutes, "threads": torch.get_num_threads()})
    rows = {}
    for name in chosen:
        folder = writable_folder(runs.resolve() / name)
        if not (folder / WEIGHTS).is_file():
            progress(name, "training")
            if not (folder / "model.toml").is_file():
                steps = _affordable(VARIANTS[name], 60 * minutes)
                (folder / "model.toml").write_text(VARIANTS[name].toml(name, steps))
            train(folder / "model.toml", folder / "runs", resume=True, device="cpu")
        progress(name, "testing")
        rows[name] = {"purpose": VARIANTS[name].purpose, **_row(str(folder), objects)}
    return {"minutes": minutes, "objects": objects, "variants": rows}


def _affordable(variant: Variant, seconds: float) -> int:
    """Return how many steps of a variant the processor time is enough for."""
    spent = []
    for steps in TIMED:
        with TemporaryDirectory() as trial:
            config = writable_folder(Path(trial) / "timed") / "model.toml"
            config.write_text(variant.toml("timed", steps))
            began = process_time()
            train(config, Path(trial), device="cpu")
            spent.append(process_time() - began)
    *_, fewer, more = spent
    if more <= fewer:
        raise DiprError(f"{TIMED[-1]} steps took no longer than {TIMED[-2]}: no step's cost can be told from that.")
    return max(1, round(seconds * (TIMED[-1] - TIMED[-2]) / (more - fewer)))


def _row(path: str, objects: int) -> dict[str, Any]:
    spec, network = describe_model(path), load_model(path, "cpu")
    batch = test_batch(spec, objects, "clean", torch.device("cpu"))
    if spec.training.objects == "fashion-mnist":
        told = models(objects, [path], device="cpu")["models"][path]
        row = {key: told[key] for key in ("nmse_mean", "support_iou", "refined_nmse_mean", "refined_solved")}
        own = {
            "own_twin": float(likeness_to_twin(predict(network, batch.intensities)).mean()),
            "true_own_twin": float(likeness_to_twin(batch.truth).mean()),
        }
        return {"steps": spec.training.steps, **row, **own}
    window = embed_window(torch.ones(spec.network.window, dtype=torch.bool), spec.network.grid)
    missing = Flaws(noisy=0, hidden=1, dead=0)
    centreless = flawed(batch, missing, torch.Generator().manual_seed(SEED))
    errors = [
        float(nmse(predict(network, some.intensities, some.measured), batch.truth, window)[0].mean())
        for some in (batch, centreless)
    ]
    return {"steps": spec.training.steps, "nmse_mean": errors[0], "centreless_nmse_mean": errors[1]}


def likeness_to_twin(objects: Tensor) -> Tensor:
    """Return how far objects ``[batch, *grid]`` correlate with their own twins, at the best shift: ``[batch]``."""
    overlap = backward(forward(objects.to(torch.complex64)).square()).abs()
    return overlap.amax(grid_dims(objects)) / objects.abs().square().sum(grid_dims(objects)).clamp_min(1e-30)
