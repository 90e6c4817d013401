"""Where the tensors live: the one place that turns a device's name into a device.

Forms list the names before anything needs torch, so the functions import it.
"""

import ctypes
import gc
from typing import TYPE_CHECKING, Any

from napari_dipr.errors import DeviceError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cuda", "mps", "cpu")

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
# Bytes up to which freed memory is kept.
KEPT = 1 << 30


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


def is_out_of_memory(error: BaseException | None) -> bool:
    """Say whether an error is that of a full memory, of the machine or of an accelerator."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in ("out of memory", "allocat"))


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones; before a run on the CPU.

    A transform returns a new tensor, and glibc gives freed blocks of some MB back to the system at once: every
    iteration then touches all of its memory for the first time, a page fault for each 4 kB. At 2048² these are 16 386
    faults an iteration and 43 ms of 133 ms of processor time, and none when memory is kept; the time then also grows
    with N log N alone.

    A thread other than the first keeps only what fits in its heaps of 64 MB, unless :func:`share_one_heap` was called
    before it began.
    :func:`trim_memory` gives it back. Only glibc is told; other C libraries and systems are left as they are.
    """
    if (libc := _glibc()) is not None:
        # What a start has left in pieces is of no use to the iterations: 57 bytes a pixel of peak without, 41 with it.
        libc.malloc_trim(0)
        libc.mallopt(_TRIM_THRESHOLD, KEPT)
        # Before 2.35, thresholds above 32 MB are refused: then no block is mapped on its own.
        if not libc.mallopt(_MMAP_THRESHOLD, KEPT):
            libc.mallopt(_MMAP_MAX, 0)


def share_one_heap() -> None:
    """Let threads that are yet to begin take memory from the first one's heap, for what is theirs is not kept.

    In a thread of its own a run at 128³ would take many times the page faults.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_ARENA_MAX, 1)


def release_memory() -> None:
    """Give all memory that nothing needs back to the system, an accelerator's too, as after an out-of-memory error."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    trim_memory()


def trim_memory() -> None:
    """Give memory that is free but kept back to the system: after a run."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library, where it is glibc."""
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # Windows has no library of the process itself
        return None
