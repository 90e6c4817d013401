"""What can go wrong that a person can put right.

Each message says what was wrong, the value, and what to do. None of these is a ``RuntimeError``: napari's
generator workers swallow those.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError


class DiprError(Exception):
    """Base of the errors whose message is meant for the person at the screen."""


class MeasurementError(DiprError, ValueError):
    """Data that cannot be a far-field diffraction measurement."""


class SupportError(DiprError, ValueError):
    """A support that is empty, of the wrong shape, or too large for its grid."""


class RecipeError(DiprError, ValueError):
    """A recipe that cannot be read."""


class ModelError(DiprError, LookupError):
    """A model that is missing, damaged, or made for another kind of measurement."""


class FileError(DiprError, OSError):
    """A file that cannot be read or written."""


class DeviceError(DiprError, LookupError):
    """A device that is not there."""


class SolverError(DiprError, ArithmeticError):
    """A run that diverged or failed on the device."""


def one_line(error: BaseException) -> str:
    """Return an error's words in one line, its type's name where it has none."""
    if isinstance(error, ValidationError):
        return f"{error.title}: {in_words(error)}."
    return " ".join(str(error).split()) or type(error).__name__


# What pydantic finds where the value is in the message already, or is not what is wrong.
_VALUE_APART = ("value_error", "missing", "extra_forbidden")
# How its kinds end that say that a value is none of a kind, rather than what is wrong with one that is.
_OF_NO_SUCH_KIND = ("_type", "_parsing", "literal_error")
_SHOULD = "Input should be "


def in_words(error: ValidationError) -> str:
    """Say in one line what pydantic found wrong: field, message, and the value where it says more.

    Of a field that may be of one kind or another it finds something for each. What is wrong within a kind is told
    alone; else all that the field may be.
    """
    fields: dict[str, list[Any]] = {}
    for found in error.errors():
        where, *branch = _places(found)
        fields.setdefault(where, []).append((".".join([where, *branch]), found))
    words = []
    for where, every in fields.items():
        within = [
            (place, found) for place, found in every if place != where or not found["type"].endswith(_OF_NO_SUCH_KIND)
        ]
        if within or len(every) == 1:
            words += [f"{place}: {_message(found)}{_got(found)}" for place, found in within or every]
        else:
            first, *others = (_message(found).partition(", unable to parse")[0] for _, found in every)
            any_of = " or ".join([first, *(message.removeprefix(_SHOULD) for message in others)])
            words.append(f"{where}: {any_of}{_got(every[0][1])}")
    return "; ".join(words)


@contextmanager
def explained(error: type[DiprError], words: str) -> Iterator[None]:
    """Raise an error of ours with these words, and what does not fit, where pydantic finds something wrong."""
    try:
        yield
    except ValidationError as found:
        raise error(f"{words}: {in_words(found)}.") from found


def _places(found: Any) -> list[str]:
    """Return where a value stands: its field, and where within it, without the names of the kinds that it may be of."""
    path = found["loc"] or ("the whole",)
    named = len(path) - (found["type"] == "extra_forbidden")  # what nobody knows may be called anything
    kinds = [i for i, part in enumerate(path[:named]) if i and isinstance(part, str) and not part.isidentifier()]
    end = kinds[0] if kinds else len(path)
    return [".".join(map(str, path[:end])), *(str(path[i]) for i in range(end, len(path)) if i not in kinds)]


def _message(found: Any) -> str:
    return str(found["msg"]).removeprefix("Value error, ")


def _got(found: Any) -> str:
    return "" if found["type"] in _VALUE_APART else f" (got {found['input']!r})"
