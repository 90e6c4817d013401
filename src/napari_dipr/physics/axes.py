"""Values along one axis of an array, NumPy's or torch's."""

from typing import Any


def along(values: Any, axis: int, ndim: int) -> Any:
    """Return values ``[n]`` in the shape that broadcasts them along one axis of an array of ``ndim`` axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])
