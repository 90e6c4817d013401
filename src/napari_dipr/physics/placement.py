"""Where an object lies, which way round, and on what ramp: no intensity tells, so that a person settles it."""

import numpy as np
from numpy.typing import NDArray

from napari_dipr.physics.axes import along


def twinned(x: NDArray) -> NDArray:
    """Return the twin ``conj(x(−r))`` of ``[*grid]`` about the grid's centre, index n//2 of each axis; of x's type."""
    shift = tuple(1 - n % 2 for n in x.shape)
    turned = np.roll(np.flip(x), shift, tuple(range(x.ndim)))
    return np.conj(turned) if np.iscomplexobj(turned) else turned


def offset_from_centre(support: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return how many pixels the middle of a support ``[*grid]`` lies from the grid's centre, by axis.

    The middle is a circular mean: a support that reaches over the grid's edge is in one piece.
    """
    offset = []
    for axis, n in enumerate(support.shape):
        profile = support.sum(tuple(a for a in range(support.ndim) if a != axis))
        angle = np.angle(np.sum(profile * np.exp(2j * np.pi * (np.arange(n) - n // 2) / n)))
        offset.append(round(float(angle) * n / (2 * np.pi)))
    return tuple(offset)


def centred(x: NDArray, support: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return an object and its support ``[*grid]`` shifted so that the support's middle is the grid's centre."""
    shift, axes = [-o for o in offset_from_centre(support)], tuple(range(x.ndim))
    return np.roll(x, shift, axes), np.roll(support, shift, axes)


def boxed(x: NDArray, support: NDArray[np.bool_]) -> NDArray:
    """Return the box that a support ``[*grid]``, which is not empty, fills of an object, 0 outside the support."""
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(support))
    return np.where(support, x, 0)[box]


def phase_ramp(x: NDArray[np.complexfloating]) -> tuple[float, ...]:
    """Return the slope of an object's phase ``[*grid]``, radians per pixel by axis, weighted with the energy.

    The angle of ``Σ conj(x(r))·x(r + 1)``: exact for a ramp, and without unwrapping. A ramp belongs to a pattern whose
    zero frequency is off the array's centre, in Bragg geometry where the reference strain is another.
    """
    slopes = []
    for axis in range(x.ndim):
        before, after = np.moveaxis(x, axis, 0)[:-1], np.moveaxis(x, axis, 0)[1:]
        slopes.append(float(np.angle(np.vdot(before, after))))
    return tuple(slopes)


def with_ramp(x: NDArray[np.complex64], ramp: tuple[float, ...]) -> NDArray[np.complex64]:
    """Return an object ``[*grid]`` with a phase ramp, radians per pixel by axis, put on it; 0 at the grid's centre."""
    for axis, slope in enumerate(ramp):
        n = x.shape[axis]
        phases = np.exp(1j * slope * (np.arange(n) - n // 2))
        x = x * along(phases, axis, x.ndim).astype(np.complex64)
    return x
