"""Changes of a support as a whole, boolean ``[*grid]`` in, another one out; and supports from other layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from napari_dipr.errors import SupportError

Support = NDArray[np.bool_]


def grown(support: Support) -> Support:
    """Return the support one pixel wider, diagonals apart."""
    return np.asarray(ndimage.binary_dilation(support))


def shrunk(support: Support) -> Support:
    """Return the support one pixel narrower, diagonals apart; a hole becomes wider."""
    return np.asarray(ndimage.binary_erosion(support))


def filled(support: Support) -> Support:
    """Return the support without holes: what cannot be reached from the grid's edge is inside."""
    return np.asarray(ndimage.binary_fill_holes(support))


def largest_piece(support: Support) -> Support:
    """Return the largest of the pieces that hang together, diagonals included; the first of equals."""
    pieces = label(support)
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()) if support.any() else support


def inside_of(layer: Any, grid: tuple[int, ...]) -> Support:
    """Return what is inside of a layer: its labels or its values above 0, or what its shapes enclose.

    Raises
    ------
    SupportError
        If it is of another size, or has nothing inside.
    """
    if isinstance(layer, Shapes):
        # Of a volume: in the plane where a shape lies, or in all where it lies in none.
        masks = layer.to_masks(grid[-layer.ndim :]) if len(layer.data) else np.zeros((1, *grid), bool)
        inside = np.broadcast_to(np.any(masks, axis=0), grid)
    else:
        inside = np.nan_to_num(np.asarray(layer.data)) > 0
    if inside.shape != grid:
        raise SupportError(f"{layer.name!r} is {inside.shape}, the measurement {grid}. They must be equal.")
    if not inside.any():
        what = (
            "no label" if isinstance(layer, Labels) else "no shape" if isinstance(layer, Shapes) else "nothing above 0"
        )
        raise SupportError(f"{layer.name!r} has {what} in it. Take another layer.")
    return np.asarray(inside)


# What a button says: what it does, and in words.
TOOLS: dict[str, tuple[Callable[[Support], Support], str]] = {
    "Grow": (grown, "One pixel wider"),
    "Shrink": (shrunk, "One pixel narrower"),
    "Fill holes": (filled, "What is enclosed by the support belongs to it"),
    "Largest piece": (largest_piece, "Keep the largest piece alone"),
}
