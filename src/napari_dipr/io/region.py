"""Which part of an array is read: frames, rows and columns, chosen before anything is loaded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_dipr.errors import FileError

Index = tuple[int | slice, ...]


@dataclass(frozen=True)
class Region:
    """A part of an array, as NumPy writes it: ``10:150, :, 30:286``.

    Attributes
    ----------
    axes
        One per axis, the first axes first: a ``slice``, or an ``int`` for a single frame. The axes that are not named
        are taken whole.
    """

    axes: Index

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Read a region from text: per axis ``start:stop`` or ``start:stop:step``, or a frame's number.

        Raises
        ------
        FileError
            If it is none.
        """
        axes: list[int | slice] = []
        for part in text.strip().strip("[]").split(","):
            word = part.strip()
            if re.fullmatch(r"-?\d{1,18}", word):
                axes.append(int(word))
                continue
            found = re.fullmatch(r"(-?\d{1,18})?\s*:\s*(-?\d{1,18})?\s*(?::\s*(\d{1,18})?)?", word)
            if found is None or (found[3] is not None and int(found[3]) == 0):
                raise FileError(
                    f"The region {text!r} cannot be read at {word!r}. Write start:stop per axis, such as "
                    "'10:150, :, 30:286', with :step where you want one (from 1), or the number of one frame."
                )
            axes.append(slice(*(None if number is None else int(number) for number in found.groups())))
        return cls(tuple(axes))

    def __str__(self) -> str:
        return ", ".join(str(axis) if isinstance(axis, int) else _written(axis) for axis in self.axes)

    def index(self, shape: Sequence[int], what: str) -> Index:
        """Return, per axis, a frame's number or a slice with start, stop and step from 0 for an array of a shape.

        Raises
        ------
        FileError
            If the region has more axes than the array, is empty or reaches over its edge, or asks for one row.
        """
        shape = tuple(shape)
        if len(self.axes) > len(shape):
            raise FileError(f"The region {self} has {len(self.axes)} axes, {what} has {len(shape)}: {shape}.")
        index: list[int | slice] = []
        whole = (slice(None),) * (len(shape) - len(self.axes))
        for number, (axis, n) in enumerate(zip((*self.axes, *whole), shape, strict=True)):
            start, stop, step = (axis, None, None) if isinstance(axis, int) else (axis.start, axis.stop, axis.step)
            first = _from_0(start, n, 0)
            last = first + 1 if isinstance(axis, int) else _from_0(stop, n, n)
            if not 0 <= first < last <= n:
                raise FileError(
                    f"The region {self} takes nothing, or what is not there, of axis {number}: {what} has the shape "
                    f"{shape}. Choose within 0:{n}."
                )
            if not isinstance(axis, int):
                index.append(slice(first, last, step or 1))
            elif number < len(shape) - 2:
                index.append(first)
            else:
                raise FileError(
                    f"The region {self} takes one line of axis {number}: {what} has the shape {shape}. Of the last two "
                    "axes, rows and columns, take start:stop."
                )
        return tuple(index)


def taken(shape: Sequence[int], index: Index) -> tuple[int, ...]:
    """Return the shape of what an index takes of an array; its slices have start, stop and step."""
    return tuple(len(range(n)[axis]) for n, axis in zip(shape, index, strict=True) if isinstance(axis, slice))


def cut(mask: Any, shape: Sequence[int], index: Index) -> Any:
    """Return of a mask what an index takes of the data, whose shape is given.

    The mask is one for all of them, one for every frame, or has any other shape, and then comes back as it is.
    """
    shape = tuple(shape)
    if mask.shape == shape:
        return mask[index]
    return mask[index[-2:]] if mask.shape == shape[-2:] else mask


def _from_0(number: int | None, n: int, default: int) -> int:
    if number is None:
        return default
    return number + n if number < 0 else number


def _written(axis: slice) -> str:
    start, stop = ("" if number is None else str(number) for number in (axis.start, axis.stop))
    return f"{start}:{stop}" if axis.step in (None, 1) else f"{start}:{stop}:{axis.step}"
