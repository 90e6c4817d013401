"""The loops of :mod:`~napari_dipr.solvers.passes`, compiled by numba; importing this needs it.

numba's threads are torch's: on Linux both find the same OpenMP, and no second team of threads gets in the first one's
way. Where numba has only its ``workqueue``, which two threads must not enter at once, importing this fails: napari's
labels would enter it beside a run. Compiled code is kept on disk: the first run after an installation waits for it.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

from napari_dipr.solvers.passes import LEAST

# What one thread takes at a time, in pixels; below it, threads cost more than they bring.
PIECE = 1 << 14
# A coefficient below the root of it has no phase to keep. Not the square of ``TINY``, which is no normal number in
# float32: the fast root takes it for 0, and 0 ends as NaN.
LEAST_POWER = 1e-36
# All of LLVM's freedom but that to assume that nothing is NaN: a diverged run must be seen as one.
FAST = {"contract", "reassoc", "arcp", "nsz", "afn"}
_how = partial(njit, parallel=True, fastmath=FAST, nogil=True, error_model="numpy")


def _compile(loop: Callable[..., Any]) -> Any:
    try:
        return _how(cache=True)(loop)
    except RuntimeError:  # neither the installation nor the home can be written to
        return _how()(loop)


def _share_threads() -> bool:
    """Say whether numba's threads can be used from two threads at once: napari colours labels with them, too."""
    try:
        return numba.threading_layer() != "workqueue"  # that ends the process
    except ValueError:  # none has been chosen yet
        try:
            importlib.import_module("numba.np.ufunc.omppool")
        except ImportError:
            return False
        return True


if not _share_threads():
    raise ImportError("numba has no threads that may be shared; torch's operations do instead")

# numba cannot take more than it has when it is loaded. Asking starts its threads, and that would give torch all
# processors, whatever it was told to use.
_torch_threads = torch.get_num_threads()
THREADS = numba.get_num_threads()
torch.set_num_threads(_torch_threads)


def call(loop: Callable[..., Any], *arguments: Any) -> Any:
    """Call a loop on as many threads as torch uses."""
    numba.set_num_threads(min(torch.get_num_threads(), THREADS))  # of this thread alone
    return loop(*arguments)


def scalars(dtype: torch.dtype, *values: float) -> tuple[Any, ...]:
    """Return numbers in the arrays' precision: a loop is carried out in the widest of its arguments'."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    return tuple(kind(value) for value in values)


# The loops run over slices from 0 and choose factors instead of branches: so LLVM makes vector instructions of them,
# and they take a third to a fifth of the time.


@_compile
def impose_magnitude(f: Any, amplitudes: Any, measured: Any, intensities: Any, scale: Any) -> None:
    """See :func:`napari_dipr.solvers.passes.impose_magnitude`; arrays are ``[batch or 1, pixels]``."""
    batch, pixels = f.shape
    pieces = (pixels + PIECE - 1) // PIECE
    least = f.real.dtype.type(LEAST_POWER)
    for k in prange(batch * pieces):
        b, first = k // pieces, (k % pieces) * PIECE
        last = min(first + PIECE, pixels)
        coefficients, wanted = f[b][first:last], amplitudes[b][first:last]
        known = None if measured is None else measured[b % measured.shape[0]][first:last]
        model = None if intensities is None else intensities[b][first:last]
        for i in range(coefficients.size):
            re, im = coefficients[i].real, coefficients[i].imag
            power = re * re + im * im if model is None else model[i]
            factor = scale * wanted[i] / np.sqrt(max(power, least))
            if known is not None:
                factor = factor if known[i] else scale
            coefficients[i] = complex(re * factor, im * factor)


@_compile
def relax(y: Any, x: Any, support: Any, a: Any, b: Any) -> None:
    """See :func:`napari_dipr.solvers.passes.relax`; complex objects."""
    batch, pixels = x.shape
    pieces = (pixels + PIECE - 1) // PIECE
    zero, one = y.real.dtype.type(0), y.real.dtype.type(1)
    for k in prange(batch * pieces):
        s, first = k // pieces, (k % pieces) * PIECE
        last = min(first + PIECE, pixels)
        new, old, inside = y[s][first:last], x[s][first:last], support[s][first:last]
        for i in range(new.size):
            p, q = zero if inside[i] else a, one if inside[i] else b
            new[i] = complex(p * old[i].real + q * new[i].real, p * old[i].imag + q * new[i].imag)


@_compile
def relax_real(y: Any, x: Any, support: Any, a: Any, b: Any, lowest: Any) -> None:
    """See :func:`napari_dipr.solvers.passes.relax`; objects of real numbers, outside where below ``lowest``."""
    batch, pixels = x.shape
    pieces = (pixels + PIECE - 1) // PIECE
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for k in prange(batch * pieces):
        s, first = k // pieces, (k % pieces) * PIECE
        last = min(first + PIECE, pixels)
        new, old, inside = y[s][first:last], x[s][first:last], support[s][first:last]
        for i in range(new.size):
            stays = inside[i] & (new[i] >= lowest)
            p, q = zero if stays else a, one if stays else b
            new[i] = p * old[i] + q * new[i]


@_compile
def relax_positive(y: Any, x: Any, support: Any, a: Any, b: Any) -> None:
    """See :func:`napari_dipr.solvers.passes.relax`; complex objects that are real and not negative."""
    batch, pixels = x.shape
    pieces = (pixels + PIECE - 1) // PIECE
    zero, one = y.real.dtype.type(0), y.real.dtype.type(1)
    for k in prange(batch * pieces):
        s, first = k // pieces, (k % pieces) * PIECE
        last = min(first + PIECE, pixels)
        new, old, inside = y[s][first:last], x[s][first:last], support[s][first:last]
        for i in range(new.size):
            value = new[i].real
            stays = inside[i] & (value >= zero)
            p, q = zero if stays else a, one if stays else b
            new[i] = complex(p * old[i].real + q * value, p * old[i].imag)


@_compile
def misfits(f: Any, amplitudes: Any, measured: Any, intensities: Any, weights: Any, photons: Any) -> Any:
    """See :func:`napari_dipr.solvers.passes.misfits`; the sums are the same on any number of threads."""
    batch, pixels = f.shape
    pieces = (pixels + PIECE - 1) // PIECE
    sums = np.zeros((batch * pieces, 3), np.float64)
    for k in prange(batch * pieces):
        b, first = k // pieces, (k % pieces) * PIECE
        last = min(first + PIECE, pixels)
        coefficients, wanted = f[b][first:last], amplitudes[b][first:last]
        known = None if measured is None else measured[b % measured.shape[0]][first:last]
        model = None if intensities is None else intensities[b][first:last]
        square = absolute = deviance = 0.0
        for i in range(coefficients.size):
            if known is not None and not known[i]:
                continue
            re, im = coefficients[i].real, coefficients[i].imag
            power = re * re + im * im if model is None else max(model[i], 0)
            weight = 1.0 if weights is None else weights[(first + i) % weights.size]
            amplitude = wanted[i]
            difference = np.sqrt(power) - amplitude
            square += weight * (difference * difference)
            absolute += weight * abs(difference)
            if photons is not None:
                expected, count = photons * power + LEAST, photons * amplitude * amplitude
                deviance += weight * (expected - count + (count * np.log(count / expected) if count > 0 else 0.0))
        sums[k, 0], sums[k, 1], sums[k, 2] = square, absolute, deviance
    return sums.reshape(batch, pieces, 3).sum(1)


@_compile
def count_above(values: Any, levels: Any) -> Any:
    """See :func:`napari_dipr.solvers.passes.count_above`."""
    batch, pixels = values.shape
    pieces = (pixels + PIECE - 1) // PIECE
    counts = np.zeros((batch * pieces, levels.shape[1]), np.int64)
    for k in prange(batch * pieces):
        b, first = k // pieces, (k % pieces) * PIECE
        piece = values[b][first : min(first + PIECE, pixels)]
        for j in range(levels.shape[1]):  # the second level finds the piece in the cache
            level, count = levels[b, j], np.int32(0)
            for i in range(piece.size):
                count += np.int32(piece[i] > level)
            counts[k, j] = count
    return counts.reshape(batch, pieces, levels.shape[1]).sum(1)


@intrinsic  # by its address, which a compiled loop that is kept on disk must not have in it
def _compute(context: Any, function: Any, handle: Any, source: Any, target: Any) -> Any:
    """Call oneMKL's ``function`` with a transform and the addresses of what it takes and where the result goes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.IntType(64), [pointer], var_arg=True)
        call, *pointers = arguments
        return builder.call(builder.inttoptr(call, kind.as_pointer()), [builder.inttoptr(p, pointer) for p in pointers])

    return types.int64(*(types.intp,) * 4), generate


@_compile
def transform(function: Any, handle: Any, source: Any, target: Any, pieces: Any) -> None:
    """Transform ``[lines, pixels]`` line by line, see :mod:`napari_dipr.solvers.magnitudes`."""
    lines, first, into = source.shape[0], source.ctypes.data, target.ctypes.data
    step, stride = source.strides[0], target.strides[0]
    for k in prange(pieces):
        for i in range(k * lines // pieces, (k + 1) * lines // pieces):
            _compute(function, handle, first + i * step, into + i * stride)  # type: ignore[call-arg]


@_compile
def impose_on_columns(
    there: Any, back: Any, handle: Any, f: Any, amplitudes: Any, measured: Any, scratch: Any, scale: Any
) -> None:
    """Give the columns of ``[batch, n, columns]`` their magnitudes, between two transforms; see the same module.

    ``amplitudes`` and ``measured`` are ``[batch or 1, columns, n]``; ``scratch`` is ``[threads, columns, n and more]``.
    """
    batch, n, columns = f.shape
    pieces, width, _ = scratch.shape
    blocks = (columns + width - 1) // width
    least = f.real.dtype.type(LEAST_POWER)
    for k in prange(pieces):
        near = scratch[k]
        for block in range(k * batch * blocks // pieces, (k + 1) * batch * blocks // pieces):
            b, first = block // blocks, (block % blocks) * width
            count = min(width, columns - first)
            for i in range(n):
                row = f[b, i][first : first + count]
                for c in range(count):
                    near[c, i] = row[c]
            for c in range(count):
                column, wanted = near[c][:n], amplitudes[b % amplitudes.shape[0], first + c][:n]
                known = None if measured is None else measured[b % measured.shape[0], first + c][:n]
                at = column.ctypes.data
                _compute(there, handle, at, at)  # type: ignore[call-arg]
                for i in range(column.size):
                    re, im = column[i].real, column[i].imag
                    factor = scale * wanted[i] / np.sqrt(max(re * re + im * im, least))
                    if known is not None:
                        factor = factor if known[i] else scale
                    column[i] = complex(re * factor, im * factor)
                _compute(back, handle, at, at)
            for i in range(n):
                row = f[b, i][first : first + count]
                for c in range(count):
                    row[c] = near[c, i]
