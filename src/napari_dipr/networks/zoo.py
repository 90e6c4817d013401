"""The models at hand: find, read and load the folders of ``models/``.

A model is a folder: ``model.toml`` (what it is and how it is trained), ``weights.safetensors``, ``trained.json`` (the
weights' checksum and how the training went) and ``README.md`` (its card).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dipr.errors import ModelError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.spec import ModelSpec

if TYPE_CHECKING:
    from napari_dipr.networks.unrolled import Unrolled

# Inside an installed package, and in a source tree.
FOLDERS = (Path(__file__).parents[1] / "models", Path(__file__).parents[3] / "models")


def model_names() -> tuple[str, ...]:
    """Return the names of the models that are there, weights included."""
    return tuple(sorted({p.parent.name for folder in FOLDERS for p in folder.glob("*/weights.safetensors")}))


def find_model(name: str) -> Path:
    """Return the folder of a model.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    for folder in FOLDERS:
        if name in model_names() and (folder / name / "weights.safetensors").is_file():
            return folder / name
    there = ", ".join(model_names()) or "none"
    raise ModelError(f"There is no model called {name!r}. The models at hand: {there}.")


def describe_model(name: str) -> ModelSpec:
    """Return what a model is, without loading its weights."""
    return ModelSpec.read(find_model(name) / "model.toml")


def misfit(measurement: Measurement, spec: ModelSpec) -> str | None:
    """Say why a model cannot be used on a measurement; None where it can."""
    wanted = spec.network.grid
    if measurement.grid == wanted:
        return None
    return (
        f"{spec.model.name} is made for patterns of {' × '.join(map(str, wanted))} pixels; this one has "
        f"{' × '.join(map(str, measurement.grid))}."
    )


def fitting_model(measurement: Measurement) -> str | None:
    """Return the first model that fits a measurement, or None."""
    return next((name for name in model_names() if misfit(measurement, describe_model(name)) is None), None)


@lru_cache(maxsize=4)
def load_model(name: str, device: str = "cpu") -> "Unrolled":
    """Load a model for use on a device, once for each.

    Raises
    ------
    ModelError
        If it is missing, or its weights are not those that its ``trained.json`` names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    folder = find_model(name)
    spec = ModelSpec.read(folder / "model.toml")
    content = (folder / "weights.safetensors").read_bytes()
    try:
        expected = json.loads((folder / "trained.json").read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder / 'trained.json'} does not give the weights' checksum: {error!r}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(
            f"The weights of {name!r} are not the ones its card speaks of: SHA-256 {found[:12]}…, expected "
            f"{expected[:12]}…. Install the package again, or train the model anew."
        )
    network = spec.network.build()
    try:
        network.load_state_dict({key: value.float() for key, value in load_safetensors(content).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"The weights of {name!r} do not fit the network in its model.toml: {error}") from error
    return network.eval().requires_grad_(False).to(device)
