"""The models at hand: find, read and load the folders of ``models/``.

A model is a folder: ``model.toml`` (what it is and how it is trained), ``weights.safetensors``, ``trained.json`` (the
weights' checksum and how the training went) and ``README.md`` (its card).
"""

import hashlib
import json
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from napari_dipr.errors import ModelError
from napari_dipr.networks.unet import NetworkSpec, UNet

# Inside an installed package, and in a source tree.
FOLDERS = (Path(__file__).parents[1] / "models", Path(__file__).parents[3] / "models")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(_Table):
    """The ``[model]`` table: what it is called and what it is for."""

    name: str
    purpose: str


class ProposalDefaults(_Table):
    """The ``[proposal]`` table: how the support follows from the network's amplitude."""

    median: int = Field(1, ge=1, le=9, description="side of the median filter, pixels; 1 for none")
    sigma: float = Field(0.7, ge=0, le=5, description="standard deviation of the smoothing, pixels")
    threshold: float = Field(0.1, gt=0, lt=1, description="share of the maximum that is inside")


class TrainingSpec(_Table):
    """The ``[training]`` table."""

    objects: Literal["fashion-mnist"]
    loss: Literal["passive"]
    batch_size: int = Field(gt=0)
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0, description="highest rate; linear warm-up, then half a cosine to 0")
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    seed: int = 0


class ModelSpec(_Table):
    """A whole ``model.toml``."""

    model: About
    network: NetworkSpec
    proposal: ProposalDefaults = ProposalDefaults()
    training: TrainingSpec

    @classmethod
    def read(cls, path: Path) -> "ModelSpec":
        """Read a ``model.toml``.

        Raises
        ------
        ModelError
            If there is none or it does not say what it should.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except FileNotFoundError as error:
            raise ModelError(f"There is no {path}. Give the path of a model.toml.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise ModelError(f"{path} does not describe a model: {error}") from error


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


@lru_cache(maxsize=4)
def load_model(name: str) -> UNet:
    """Load a model for use, on the CPU.

    Raises
    ------
    ModelError
        If it is missing, or its weights are not those that its ``trained.json`` names.
    """
    folder = find_model(name)
    spec = ModelSpec.read(folder / "model.toml")
    content = (folder / "weights.safetensors").read_bytes()
    try:
        expected = json.loads((folder / "trained.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError) as error:
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
    return network.eval().requires_grad_(False)
