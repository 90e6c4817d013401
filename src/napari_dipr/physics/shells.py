"""Shells of the frequency: what is said of a resolution is a mean over all directions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def shells(
    grid: Sequence[int], basis: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the frequency of each pixel of a cornered spectrum, and the number of the shell that it is in.

    A shell is as wide as the widest of the grid's steps, for there to be a pixel along each axis. They go out to the
    end of the longest axis.

    Parameters
    ----------
    grid
        Of the object.
    basis
        The voxel's edges along the array's axes as columns ``[d, d]``, nm: of a Bragg pattern
        :meth:`~napari_dipr.geometry.Geometry.basis`, else a diagonal. None counts in voxels.

    Returns
    -------
    frequency, shell : tuple
        ``[*grid]`` each: cycles per voxel or per nm; the shell's number from 0, −1 beyond the last.
    """
    per_length = np.eye(len(grid)) if basis is None else np.linalg.inv(basis)
    frequencies = np.stack(np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij"), -1)
    size = np.linalg.norm(frequencies @ per_length, axis=-1)
    lengths = np.linalg.norm(per_length, axis=1)
    shell = np.round(size / (lengths / np.asarray(grid)).max()).astype(np.int64)
    return size, np.where(size <= lengths.max() / 2 * (1 + 1e-9), shell, -1)


def sums_in(shell: NDArray[np.int64]) -> tuple[NDArray[np.int64], Callable[[NDArray[Any]], NDArray[np.float64]]]:
    """Return how many pixels each shell has that has some, and what sums real values in them; −1 is in none."""
    within = shell >= 0
    pixels = np.bincount(shell[within])
    there = np.flatnonzero(pixels)

    def sums(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(shell[within], values[within])[there].astype(np.float64)

    return pixels[there], sums


def first_below(
    frequency: NDArray[np.float64], value: NDArray[np.float64], level: NDArray[np.float64] | float
) -> float | None:
    """Return the frequency at which a curve first falls below a level, between shells on a straight line.

    None where it never does, 0 where it is below from the first shell on. Both curves are ``[shells]``.
    """
    above = np.asarray(value, np.float64) - level
    below = np.flatnonzero(above < 0)
    if not below.size:
        return None
    if (i := int(below[0])) == 0:
        return 0.0
    (f0, f1), (a0, a1) = frequency[i - 1 : i + 1], above[i - 1 : i + 1]
    return float(f0 + (f1 - f0) * a0 / (a0 - a1))


def half_period(cutoff: float | None) -> float | None:
    """Return the resolution that belongs to a frequency: None where there is none, infinite at 0."""
    return None if cutoff is None else 1 / (2 * cutoff) if cutoff else float("inf")


def reached(frequency: NDArray[np.float64], resolution: float | None, unit: str, level: str) -> str:
    """Say in words where a curve over ``frequency`` falls below a level, by what :func:`half_period` returns."""
    if resolution is None:
        return f"above {level} to the end at {1 / (2 * frequency[-1]):.3g} {unit}"
    return (
        f"{level} at {resolution:.3g} {unit}" if np.isfinite(resolution) else f"below {level} from the first shell on"
    )
