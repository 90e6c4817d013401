"""What can go wrong that a person can put right.

Each message says what was wrong, the value, and what to do. None of these is a ``RuntimeError``: napari's
generator workers swallow those.
"""

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
    return " ".join(str(error).split()) or type(error).__name__


# What pydantic finds where the value is in the message already, or is not what is wrong.
_VALUE_APART = ("value_error", "missing", "extra_forbidden")


def in_words(error: ValidationError) -> str:
    """Say in one line what pydantic found wrong: field, message, and the value where it says more."""
    words = []
    for found in error.errors():
        where = ".".join(str(part) for part in found["loc"]) or "the whole"
        message = found["msg"].removeprefix("Value error, ")
        got = "" if found["type"] in _VALUE_APART else f" (got {found['input']!r})"
        words.append(f"{where}: {message}{got}")
    return "; ".join(words)
