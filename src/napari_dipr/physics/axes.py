"""Values along one axis of an array, NumPy's or torch's, and distances and windows on a grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def along(values: Any, axis: int, ndim: int) -> Any:
    """Return values ``[n]`` in the shape that broadcasts them along one axis of an array of ``ndim`` axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def from_middle(grid: Sequence[int]) -> NDArray[np.float64]:
    """Return how many pixels each of a grid is from its middle, ``n//2`` along each axis."""
    squares = (along((np.arange(n) - n // 2) ** 2.0, axis, len(grid)) for axis, n in enumerate(grid))
    return np.sqrt(sum(squares))


def central(grid: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Return where a window of ``shape`` lies in the middle of a grid: its ``m//2`` on ``n//2``, along each axis."""
    # So a centred zero frequency stays centred.
    starts = [n // 2 - m // 2 for n, m in zip(grid, shape, strict=True)]
    return tuple(slice(start, start + m) for start, m in zip(starts, shape, strict=True))
