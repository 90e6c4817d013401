"""Where the tensors live: the one place that turns a device's name into a device.

Forms list the names before anything needs torch, so the functions import it.
"""

import gc
from typing import TYPE_CHECKING

from napari_dipr.errors import DeviceError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cuda", "mps", "cpu")


def available_devices() -> tuple[str, ...]:
    """Return the kinds of device that this machine has, fastest first."""
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name in NAMES[1:] if has[name])


def find_device(name: str = "auto") -> "torch.device":
    """Return the device called ``name``; ``auto`` is the first of cuda, mps and cpu that is there.

    Raises
    ------
    DeviceError
        If the machine has no such device.
    """
    import torch

    there = available_devices()
    kind = name.split(":")[0]
    if name == "auto":
        return torch.device(there[0])
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind in there and name in (kind, *(f"{kind}:{index}" for index in range(count))):
        return torch.device(name)
    raise DeviceError(f"There is no device {name!r} here. Choose one of: auto, {', '.join(there)}.")


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an error is that of a full memory, of the machine or of an accelerator."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in ("out of memory", "allocat"))


def release_memory() -> None:
    """Give an accelerator's cached memory back, as after an out-of-memory error."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
