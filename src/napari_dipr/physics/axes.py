"""Values along one axis of an array, NumPy's or torch's, and distances on a grid."""

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
