"""Sealed files: a solver's state, or any plain values with tensors in them, as safetensors under a checksum.

What is read back is what was written to the last bit, strides included: transforms and sums may round otherwise where
memory is laid out otherwise. A file of which one bit is another is refused.
"""

import hashlib
import importlib
import json
import math
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_dipr.errors import FileError

ROOT = "napari_dipr."
# Whose dataclasses are kept.
PACKAGES = ("solvers.", "ensembles.")


def write_sealed(path: Path, values: dict[str, Any], most: float = math.inf) -> None:
    """Write values beside their place, have the disk take them, and rename: the file is whole or not there.

    Parameters
    ----------
    path
        Where to; what is there is replaced.
    values
        Tensors, arrays, numbers, texts and None, in tuples, dictionaries and the dataclasses of solvers and ensembles.
        A tensor of an accelerator is brought to the CPU.
    most
        Bytes of tensors that it may be of.

    Raises
    ------
    OSError
        If it cannot be written, or is larger; nothing is left of it then.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_plain(values, tensors))
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > most:
        raise OSError(f"it is {size / 1e9:.3g} GB, and may be {most / 1e9:.3g} GB")
    part = path.with_name(f"{path.name}.part")
    try:
        save_file(tensors, part, {"values": text, "sha256": _seal(text, tensors)})
        _sync(part)
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, SafetensorError):  # how it tells of a full disk
            raise OSError(str(error)) from error
        raise
    if os.name == "posix":
        _sync(path.parent)


def seal_of(values: dict[str, Any]) -> str:
    """Return the checksum that values are written with: that of others is another."""
    tensors: dict[str, Tensor] = {}
    return _seal(json.dumps(_plain(values, tensors)), tensors)


def read_sealed(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote, tensors to a device.

    Raises
    ------
    FileError
        If it is not there, or not what was written.
    """
    try:
        with safe_open(path, "pt") as file:
            told, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = told["values"]
        if told["sha256"] != _seal(text, tensors):
            raise FileError(f"{path.name} is damaged: its checksum is another.")
        return dict(_Restored(tensors, torch.device(device)).of(json.loads(text)))
    except FileError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:  # another version's among them
        raise FileError(f"{path.name} is missing or damaged: {error}.") from error


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON has it; tensors are put among the others and named."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        told: dict[str, Any] = {}
        if not value.is_contiguous():
            told["stride"] = torch.empty_like(value, device="meta").stride()
        if value.is_complex():  # safetensors knew none for long
            value, told["complex"] = torch.view_as_real(value.resolve_conj()), True
        value = value.contiguous()
        # One memory goes into the file once: the first support is the support until shrink-wrap changes it.
        sharing = [name for name, other in tensors.items() if _start(other) == _start(value)]
        same = [name for name in sharing if tensors[name].dtype == value.dtype and tensors[name].shape == value.shape]
        told["tensor"] = same[0] if same else f"{len(tensors)}"
        if not same:
            tensors[told["tensor"]] = value.clone() if sharing else value
        return told
    if is_dataclass(value) and not isinstance(value, type):
        return {"of": _name(value), "fields": {f.name: _plain(getattr(value, f.name), tensors) for f in fields(value)}}
    if isinstance(value, dict):
        return {"dict": {str(key): _plain(item, tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        if len(value) > 1 and is_dataclass(value[0]) and all(type(item) is type(value[0]) for item in value):
            names = [f.name for f in fields(value[0])]
            rows = [[_plain(getattr(item, name), tensors) for name in names] for item in value]
            return {"of": _name(value[0]), "names": names, "rows": rows}
        return [_plain(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _start(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Restored:
    """Makes values of what a file says; what shared its memory does so again."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self.tensors, self.device = tensors, device
        self._made: dict[str, Tensor] = {}

    def of(self, told: Any) -> Any:
        if isinstance(told, list):
            return tuple(map(self.of, told))
        if not isinstance(told, dict):
            return told
        if "tensor" in told:
            key = json.dumps(told)
            if key not in self._made:
                self._made[key] = self._tensor(told)
            return self._made[key]
        if "dict" in told:
            return {key: self.of(item) for key, item in told["dict"].items()}
        kind = _class(told["of"])
        if "rows" in told:
            return tuple(kind(**dict(zip(told["names"], map(self.of, row), strict=True))) for row in told["rows"])
        return kind(**{name: self.of(item) for name, item in told["fields"].items()})

    def _tensor(self, told: dict[str, Any]) -> Tensor:
        value = self.tensors[told["tensor"]]
        value = torch.view_as_complex(value) if "complex" in told else value
        # A tensor of its own: the file's begin anywhere, and vector instructions round by where they begin.
        stride = told.get("stride", value.stride())
        return torch.empty_strided(value.shape, tuple(stride), dtype=value.dtype, device=self.device).copy_(value)


def _name(value: Any) -> str:
    kind = type(value)
    module = kind.__module__.removeprefix(ROOT)
    if not module.startswith(PACKAGES):
        raise TypeError(f"a {kind.__name__} cannot be kept")
    return f"{module}:{kind.__qualname__}"


def _class(name: str) -> Any:
    """Return a dataclass of the solvers or ensembles, and nothing else, whatever a file says."""
    module, _, kind = name.partition(":")
    try:
        found = getattr(importlib.import_module(ROOT + module), kind) if module.startswith(PACKAGES) else None
    except (ImportError, AttributeError):
        found = None
    if not is_dataclass(found):
        raise ValueError(f"this version knows no {name}")
    return found


def _seal(text: str, tensors: dict[str, Tensor]) -> str:
    seal = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        seal.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seal.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return seal.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
