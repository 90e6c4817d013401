"""Preparations as people write them: on the command line, in a form, in a JSON file."""

import json
from pathlib import Path
from typing import Any

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.preparation.bad import REASONS
from napari_dipr.preparation.steps import Preparation

# Settings that are numbers with commas between them, and the words that they may be instead.
NUMBERS: dict[str, tuple[str, ...]] = {
    "centre": ("peak", "centroid", "friedel", "array"),
    "crop": ("inside",),
    "bin": (),
    "origin": (),
}


def preparation_from(words: dict[str, Any], settings: dict[str, Any] | None = None) -> Preparation:
    """Return the preparation that settings ask for, some of them written out.

    Parameters
    ----------
    words
        Fields of :class:`~napari_dipr.preparation.steps.Preparation`. Lists may be text with commas (``crop``, ``bin``,
        ``origin``, ``centre``, ``leave_out``, the last also ``all`` or ``none``), and ``geometry`` as
        :meth:`~napari_dipr.geometry.Geometry.parse` reads it. What is None was not given.
    settings
        What counts where nothing was given.

    Raises
    ------
    MeasurementError
        If a setting is not one, or out of its range.
    """
    given = {name: value for name, value in words.items() if value is not None}
    for name, known in NUMBERS.items():
        if isinstance(value := given.get(name), str) and value not in known:
            numbers = _numbers(name, value, known)
            given[name] = numbers[0] if name in ("crop", "bin") and len(numbers) == 1 else numbers
    if isinstance(reasons := given.get("leave_out"), str):
        spelled = {reason.lower(): reason for reason in REASONS}
        named = {"all": REASONS, "none": ()}.get(reasons.lower(), [word.strip() for word in reasons.split(",")])
        given["leave_out"] = tuple(spelled.get(word.lower(), word) for word in named)
    if isinstance(text := given.get("geometry"), str):
        given["geometry"] = Geometry.parse(text)
    if isinstance(level := given.get("background"), str) and level != "rim":
        given["background"] = _number("background", level, ("rim",))
    return Preparation.of(**{**(settings or {}), **given})


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a preparation that a JSON file holds, by itself or in a result's provenance.

    Raises
    ------
    FileError
        If it holds none.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read as JSON: {error}.") from error
    if isinstance(settings, dict) and "measurement" in settings:  # a result's
        for name in ("measurement", "source", "preparation"):
            settings = settings.get(name) if isinstance(settings, dict) else None
    if not isinstance(settings, dict):
        raise FileError(f"{path} holds no settings of a preparation. Save some in the window, or by prepare --json.")
    return settings


def _numbers(name: str, text: str, words: tuple[str, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.replace("×", ",").split(","))
    except ValueError as error:
        instead = f", or {', '.join(words)}" if words else ""
        raise MeasurementError(f"{name} is {text!r}: give whole numbers with commas between them{instead}.") from error


def _number(name: str, text: str, words: tuple[str, ...]) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MeasurementError(f"{name} is {text!r}: give a number, or {', '.join(words)}.") from error
