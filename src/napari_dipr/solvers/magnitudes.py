"""The projection onto the magnitudes on the CPU: transforms of lines and columns, in three passes over memory in all.

torch transforms whole arrays, and each transform and each pass between two reads and writes all of memory. Here a pass
transforms the lines (of a volume: the planes) one by one; another takes a few columns at a time, transforms them, gives
them their magnitudes and transforms them back while they are in the cache; a third transforms the lines back. The
threads are those of the compiled loops, whose OpenMP torch shares.

The transforms are oneMKL's, which torch's builds for x86 on Linux have within them and use themselves: its C interface
(DFTI) is called by its address. Where it is not to be found, or numba is not, and elsewhere than on the CPU, torch does
the same. FFTW (by pyfftw) was as fast, but only with plans that it chooses by trying (FFTW_MEASURE): they differ from
process to process in their rounding, and HIO makes of that another object. Plans that it does not try (FFTW_ESTIMATE)
took 1.2 to 1.8 times as long.

References
----------
.. [1] Developer reference for Intel oneAPI Math Kernel Library, "FFT functions".
"""

import ctypes
import math
import weakref
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_dipr.solvers import passes

if TYPE_CHECKING:
    from napari_dipr.solvers.problem import Problem

# Bytes that the processor reads at once: of so many in each row are the columns that a thread takes together.
LINE = 64
# Pixels up to which a complex object is in the cache as a whole, and laying columns out is not worth it.
SMALL = 1 << 14
# Of mkl_dfti.h.
COMPLEX, REAL, SINGLE, DOUBLE = 32, 33, 35, 36
INPUT_STRIDES, OUTPUT_STRIDES, STORAGE, PLACEMENT, THREAD_LIMIT = 12, 13, 10, 11, 27
COMPLEX_COMPLEX, IN_PLACE, NOT_IN_PLACE = 39, 43, 44


def project_magnitude(problem: "Problem", x: Tensor) -> Tensor | None:
    """Project objects ``[batch, *grid]`` onto the measured magnitudes; None where this is left to torch.

    It is done where the light is coherent and the objects are as the problem has them, without gradients and large.
    """
    halved = problem.whole is not None
    loops = passes.compiled(x)
    if loops is None or problem.coherence is not None or x.requires_grad or x.is_complex() == halved:
        return None
    library = _library() if halved or math.prod(x.shape[1:]) > SMALL else None
    if library is None:
        return None
    x = x.resolve_conj().contiguous()
    batch, n, *rest = x.shape
    f = x.new_empty(batch, n, math.prod(_half(rest) if halved else rest), dtype=_complex(x.dtype))
    y = torch.empty_like(x) if halved else f.view(x.shape)
    # Columns of 2^k rows would all want the same places of the cache, did they not lie a line further apart.
    width, threads = LINE // f.element_size(), torch.get_num_threads()
    scratch = f.new_empty(threads, width, n + width)

    there, back, along = (  # of lines into the spectrum and back, and of columns
        _transform(library, x.dtype, tuple(rest), False),
        _transform(library, x.dtype, tuple(rest), True),
        _transform(library, f.dtype, (n,), True),
    )
    objects, spectra, results = (array.view(batch * n, -1).numpy() for array in (x, f, y))
    loops.call(loops.transform, there.forward, there.handle, objects, spectra, threads)
    amplitudes, measured = problem.by_columns
    arrays = (f.numpy(), amplitudes.numpy(), None if measured is None else measured.numpy(), scratch.numpy())
    scale = loops.scalars(amplitudes.dtype, 1 / math.prod(x.shape[1:]))
    loops.call(loops.impose_on_columns, along.forward, along.backward, along.handle, *arrays, *scale)
    loops.call(loops.transform, back.backward, back.handle, spectra, results, threads)
    return y


@cache
def _library() -> ctypes.CDLL | None:
    """Return the library that torch has its transforms in, where that is oneMKL and can be called."""
    file = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        library = ctypes.CDLL(str(file))
        for name in ("CreateDescriptor_s_md", "CreateDescriptor_d_md", "SetValue", "CommitDescriptor"):
            getattr(library, f"Dfti{name}").restype = ctypes.c_long
        for name in ("ComputeForward", "ComputeBackward", "FreeDescriptor"):
            getattr(library, f"Dfti{name}")
    except (OSError, AttributeError):
        return None
    return library


class _Transform:
    """How to transform a line or a plane ``[*shape]`` on one thread, by several at once if they like.

    Complex objects in place or not; real ones into half their spectrum (``back`` is False) or from it.
    """

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype, shape: tuple[int, ...], back: bool) -> None:
        self.forward, self.backward = (
            ctypes.cast(getattr(library, f"DftiCompute{way}"), ctypes.c_void_p).value for way in ("Forward", "Backward")
        )
        double = dtype in (torch.float64, torch.complex128)
        create = library.DftiCreateDescriptor_d_md if double else library.DftiCreateDescriptor_s_md
        handle, rank = ctypes.c_void_p(), len(shape)
        kind = COMPLEX if dtype.is_complex else REAL
        _check(create(ctypes.byref(handle), kind, ctypes.c_long(rank), (ctypes.c_long * rank)(*shape)))

        def put(what: int, value: Any) -> None:
            _check(library.DftiSetValue(handle, what, value))

        put(THREAD_LIMIT, ctypes.c_long(1))
        put(PLACEMENT, IN_PLACE if dtype.is_complex and back else NOT_IN_PLACE)
        if not dtype.is_complex:
            strides = [(ctypes.c_long * (rank + 1))(0, *_strides(sides)) for sides in (shape, _half(shape))]
            put(STORAGE, COMPLEX_COMPLEX)
            put(INPUT_STRIDES, strides[back])
            put(OUTPUT_STRIDES, strides[not back])
        _check(library.DftiCommitDescriptor(handle))
        self.handle = handle.value
        weakref.finalize(self, library.DftiFreeDescriptor, ctypes.byref(handle)).atexit = False


@lru_cache(maxsize=32)
def _transform(library: ctypes.CDLL, dtype: torch.dtype, shape: tuple[int, ...], back: bool) -> _Transform:
    return _Transform(library, dtype, shape, back)


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"oneMKL's transforms refuse what they are asked for (status {status}).")


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _half(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[:-1], shape[-1] // 2 + 1)


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.complex64)
