"""Changes of a support as a whole: boolean ``[*grid]`` in, another one out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

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


# What a button says: what it does, and in words.
TOOLS: dict[str, tuple[Callable[[Support], Support], str]] = {
    "Grow": (grown, "One pixel wider"),
    "Shrink": (shrunk, "One pixel narrower"),
    "Fill holes": (filled, "What is enclosed by the support belongs to it"),
    "Largest piece": (largest_piece, "Keep the largest piece alone"),
}
