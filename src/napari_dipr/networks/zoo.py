"""The models at hand: find, read and load the folders of ``models/``.

A model is a folder of its name: ``model.toml`` (what it is and how it is trained), ``weights.safetensors``,
``trained.json`` (the weights' checksum and how the training went) and ``README.md`` (its card). Denoisers have a
``denoisers.toml`` instead: they propose nothing, and are in no list.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_dipr.errors import ModelError
from napari_dipr.measurement import Measurement
from napari_dipr.networks.spec import DenoisersSpec, ModelSpec

if TYPE_CHECKING:
    from torch.nn import Module

    from napari_dipr.networks.dncnn import Denoisers
    from napari_dipr.networks.unrolled import Unrolled

Network = TypeVar("Network", bound="Module")

# Inside an installed package, and in a source tree.
FOLDERS = (Path(__file__).parents[1] / "models", Path(__file__).parents[3] / "models")
# Names further folders of models, separated as in PATH.
VARIABLE = "NAPARI_DIPR_MODELS"
WEIGHTS = "weights.safetensors"
MODEL, DENOISERS = "model.toml", "denoisers.toml"
# A pattern that differs more from its mirror image, relative to both, is none of a real object.
ASYMMETRY = 0.02


def own_folders() -> tuple[Path, ...]:
    """Return the folders of models that ``NAPARI_DIPR_MODELS`` names."""
    return tuple(Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part)


def empty_folders() -> tuple[Path, ...]:
    """Return those of the folders that ``NAPARI_DIPR_MODELS`` names in which there is no model."""
    return tuple(folder for folder in own_folders() if not any(folder.glob(f"*/{WEIGHTS}")))


def model_names() -> tuple[str, ...]:
    """Return the names of the models that are there, weights included."""
    return tuple(sorted({path.name for path in _trained() if not (path / DENOISERS).is_file()}))


def _trained() -> Iterator[Path]:
    # A person's own go first: of two models of one name, theirs is meant.
    return (path.parent for folder in (*own_folders(), *FOLDERS) for path in folder.glob(f"*/{WEIGHTS}"))


def find_model(name: str) -> Path:
    """Return the folder of a model, or of denoisers, by its name or by its path.

    Of several of one name, that in a folder which ``NAPARI_DIPR_MODELS`` names is returned.

    Raises
    ------
    ModelError
        If there is none.
    """
    for path in _trained():
        if path.name == name:
            return path
    own = Path(name).expanduser()
    if len(own.parts) > 1 and (own / WEIGHTS).is_file():
        return own
    there = ", ".join(model_names()) or "none"
    raise ModelError(
        f"There is no model called {name!r}. The models at hand: {there}. One of your own is named by the path of its "
        f"folder, or is in a folder that {VARIABLE} names."
    )


def describe_model(name: str) -> ModelSpec:
    """Return what a model is, without loading its weights.

    Raises
    ------
    ModelError
        If there is none, it cannot be read, or it is called otherwise than its folder.
    """
    folder = find_model(name)
    if (folder / DENOISERS).is_file():
        raise ModelError(
            f"{name} are denoisers, which propose no object. The models at hand: {', '.join(model_names()) or 'none'}."
        )
    spec = ModelSpec.read(folder / MODEL)
    check_name(folder, spec.model.name)
    return spec


def check_name(folder: Path, name: str) -> None:
    """Refuse a model that is called otherwise than its folder, which is what it is found by.

    Raises
    ------
    ModelError
        If it is.
    """
    if folder.absolute().name != name:
        raise ModelError(
            f"The model in {folder} is called {name!r}, its folder {folder.absolute().name!r}. Rename the one or the "
            "other: they must be equal."
        )


def misfit(measurement: Measurement, spec: ModelSpec) -> str | None:
    """Say why a model cannot be used on a measurement; None where it can."""
    wanted, grid = spec.network.grid, measurement.grid
    if len(grid) != len(wanted):
        return f"{spec.model.name} is made for {len(wanted)} dimensions; this measurement has {len(grid)}."
    if not spec.model.resampled and grid != wanted:
        return f"{spec.model.name} is made for patterns of {_sides(wanted)} pixels; this one has {_sides(grid)}."
    if min(grid) < 32 and grid != wanted:
        return f"A network needs patterns of at least 32 pixels a side; this one has {_sides(grid)}."
    if not spec.network.is_complex and (asymmetry := friedel_asymmetry(measurement)) > ASYMMETRY:
        return (
            f"{spec.model.name} is made for real objects, whose patterns are the same at q and −q; this one differs by "
            f"{asymmetry:.0%}."
        )
    return None


def fit(measurement: Measurement, spec: ModelSpec) -> str:
    """Say how a measurement gets into a model that fits it."""
    if measurement.grid == spec.network.grid:
        return f"made for {_sides(spec.network.grid)} pixels, as this measurement has"
    return f"this measurement's {_sides(measurement.grid)} pixels are brought to its {_sides(spec.network.grid)}"


def fitting_model(measurement: Measurement) -> str | None:
    """Return the likeliest of the models that fit a measurement, or None."""
    # One that cannot be read or was tampered with must not bar the others.
    fits = []
    for name in model_names():
        with suppress(ModelError):
            spec = describe_model(name)
            if misfit(measurement, spec) is None:
                fits.append((spec.model.rank, name))
    for _, name in sorted(fits):
        with suppress(ModelError, OSError):
            _checked_weights(name)
            return name
    return None


def friedel_asymmetry(measurement: Measurement) -> float:
    """Return ``Σ(I(q)−I(−q))²/Σ(I(q)²+I(−q)²)``: 0 for a real object, up to 1; over pairs that were both measured."""
    intensities, known = measurement.intensities.astype(np.float64), measurement.measured
    # Zero frequency is at n//2: of an even side, the first pixel has no mate.
    inside = tuple(slice(1 - n % 2, None) for n in intensities.shape)
    intensities, known = intensities[inside], known[inside]
    both = known & np.flip(known)
    here, there = intensities[both], np.flip(intensities)[both]
    return float(np.square(here - there).sum() / max((np.square(here) + np.square(there)).sum(), 1e-300))


def trained(name: str) -> dict[str, Any]:
    """Return what ``trained.json`` says: the weights' checksum and the figures of the training; empty without it."""
    path = find_model(name) / "trained.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _checked_weights(name: str) -> bytes:
    """Return a model's weights; refuse those that are not the ones that its ``trained.json`` names."""
    weights, expected = (find_model(name) / WEIGHTS).read_bytes(), trained(name).get("sha256")
    if not isinstance(expected, str):
        raise ModelError(
            f"{find_model(name) / 'trained.json'} does not give the weights' checksum. Put the file that was written "
            "with the weights beside them; or install the package again, or train the model anew."
        )
    found = hashlib.sha256(weights).hexdigest()
    if found != expected:
        raise ModelError(
            f"The weights of {name!r} are not the ones its card speaks of: SHA-256 {found[:12]}…, expected "
            f"{expected[:12]}…. Install the package again, or train the model anew."
        )
    return weights


def at_hand(measurement: Measurement | None = None) -> list[dict[str, Any]]:
    """Describe every model that is there, for people to choose from.

    Returns
    -------
    list
        Of each ``name`` and ``folder``; where it can be used ``purpose`` (with a measurement, also how that fits),
        ``objects`` and ``grid`` and what its ``trained.json`` says; else ``error``, what is wrong with it.
    """
    listed = []
    for name in model_names():
        row: dict[str, Any] = {"name": name, "folder": str(find_model(name))}
        try:
            spec = describe_model(name)
            _checked_weights(name)
        except (ModelError, OSError) as error:
            listed.append({**row, "error": str(error)})
            continue
        words = spec.model.purpose
        if measurement is not None:
            words += f"\n{misfit(measurement, spec) or fit(measurement, spec)}"
        about = {"purpose": words, "objects": spec.training.objects, "grid": spec.network.grid}
        listed.append({**row, **about, **trained(name)})
    return listed


def _sides(grid: tuple[int, ...]) -> str:
    return " × ".join(map(str, grid))


@lru_cache(maxsize=4)
def load_model(name: str, device: str = "cpu") -> "Unrolled":
    """Load a model for use on a device, once for each.

    Raises
    ------
    ModelError
        If it is missing, or its weights are not those that its ``trained.json`` names.
    """
    return _loaded(name, MODEL, describe_model(name).network.build()).to(device)


@lru_cache(maxsize=1)
def load_denoisers(name: str, device: str = "cpu") -> "Denoisers":
    """Load denoisers for use on a device; see :func:`load_model`."""
    folder = find_model(name)
    spec = DenoisersSpec.read(folder / DENOISERS)
    check_name(folder, spec.denoisers.name)
    return _loaded(name, DENOISERS, spec.denoisers.build()).to(device)


def _loaded(name: str, description: str, network: Network) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    content = _checked_weights(name)
    try:
        network.load_state_dict({key: value.float() for key, value in load_safetensors(content).items()})
    except (SafetensorError, RuntimeError) as error:
        # torch says it for every one of the weights: the first is enough.
        first = shorten(([*str(error).splitlines()[1:2], str(error)])[0].strip(), 200, placeholder=" …")
        raise ModelError(
            f"The weights of {name!r} do not fit the network in its {description} ({first}). Is it the one that they "
            "were trained with?"
        ) from error
    return network.eval().requires_grad_(False)
