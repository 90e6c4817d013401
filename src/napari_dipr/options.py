"""Options of the command line that several commands share: how a measurement is read and prepared."""

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from napari_dipr.errors import FileError, MeasurementError

if TYPE_CHECKING:
    from napari_dipr.preparation.steps import Preparation

PANEL = "Preparation"


class Centre(StrEnum):
    """Ways to find zero frequency; a pixel may be given instead."""

    peak = "peak"
    centroid = "centroid"
    friedel = "friedel"
    array = "array"


Key = Annotated[
    str | None, typer.Option(metavar="NAME", help="Array in an NPZ, HDF5 or MAT file.", show_default="the largest")
]
Frame = Annotated[int | None, typer.Option(min=0, help="One frame of a stack, from 0.", show_default="the whole stack")]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help='Part to read, as "10:150, :, 30:286"; of --frame, if given.', show_default="everything"
    ),
]


def _option(*names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, show_default=more.pop("show_default", False), **more)


def _settings(
    prepare: Annotated[Path | None, _option(metavar="FILE.json", help="Settings; what is given beside counts.")] = None,
    amplitude: Annotated[
        bool | None, _option("--amplitude/--intensity", help="What the data are.", show_default="intensity")
    ] = None,
    centered: Annotated[
        bool | None, _option("--centered/--cornered", help="Where zero frequency is.", show_default="guessed")
    ] = None,
    rocking_axis: Annotated[int | None, _option(min=0, max=2, help="Along which a scan's frames follow.")] = None,
    origin: Annotated[str | None, _option(metavar="ROW,COL", help="Detector's pixel at which the data begin.")] = None,
    dark: Annotated[Path | None, _option(metavar="FILE", help="Dark field, subtracted.")] = None,
    white: Annotated[Path | None, _option(metavar="FILE", help="Flat field, divided by.")] = None,
    mask: Annotated[Path | None, _option(metavar="FILE", help="True or 1 = measured.")] = None,
    bad_map: Annotated[Path | None, _option(metavar="FILE", help="Not 0 = bad pixel.")] = None,
    leave_out: Annotated[
        str | None,
        _option(
            metavar="REASONS",
            help="NaN, negative, saturated, gap, dead, hot, silent, after commas; or all, or none.",
            show_default="NaN,negative,saturated",
        ),
    ] = None,
    saturation: Annotated[float | None, _option(metavar="COUNTS", help="From which on pixels are saturated.")] = None,
    grow: Annotated[int | None, _option(metavar="N", help="Leave out N pixels beside, too.")] = None,
    background: Annotated[str | None, _option(metavar="COUNTS|rim", help="Subtracted; rim: what the edge has.")] = None,
    threshold: Annotated[float | None, _option(metavar="COUNTS", help="Intensities below are set to 0.")] = None,
    centre: Annotated[
        str | None,
        _option(
            metavar=f"{'|'.join(Centre)}|ROW,COL",
            help="Zero frequency, where the crop is centred.",
            show_default="peak, of a crop",
        ),
    ] = None,
    crop: Annotated[str | None, _option(metavar="N|N,N|inside", help="Sides to crop to; inside: the most.")] = None,
    bin: Annotated[str | None, _option(metavar="N|N,N", help="Pixels to make one of.")] = None,
    geometry: Annotated[
        str | None,
        _option(
            metavar="TEXT", help='Such as "energy=9, distance=0.5, pixel=55", and a scan\'s angles: docs/geometry.md.'
        ),
    ] = None,
) -> None:
    """Hold the options' signature."""


def prepares(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a preparation; it gets what they say as its argument ``preparation``."""
    options = inspect.signature(_settings).parameters
    own = [p for name, p in inspect.signature(command).parameters.items() if name != "preparation"]

    @wraps(command)
    def prepared_command(**arguments: Any) -> None:
        chosen = {name: arguments.pop(name) for name in options}
        command(**arguments, preparation=preparation_of(chosen))

    prepared_command.__signature__ = inspect.Signature([*own, *options.values()])  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in get_type_hints(_settings, include_extras=True).items() if name != "return"}
    prepared_command.__annotations__ = {
        **{p.name: p.annotation for p in own},
        **hints,
    }
    return prepared_command


def preparation_of(options: dict[str, Any]) -> "Preparation":
    """Return the preparation that options ask for; what is None was not given.

    Raises
    ------
    FileError
        If the file of settings is none.
    MeasurementError
        If a setting is not one, or out of its range.
    """
    from napari_dipr.geometry import Geometry
    from napari_dipr.preparation.bad import REASONS
    from napari_dipr.preparation.steps import Preparation

    given = {name: value for name, value in options.items() if value is not None}
    settings: dict[str, Any] = {}
    if (path := given.pop("prepare", None)) is not None:
        settings = read_settings(path)
    if (amplitude := given.pop("amplitude", None)) is not None:
        settings["kind"] = "amplitude" if amplitude else "intensity"
    if (centered := given.pop("centered", None)) is not None:
        settings["zero_frequency"] = "centre" if centered else "corner"
    if (reasons := given.pop("leave_out", None)) is not None:
        known = {reason.lower(): reason for reason in REASONS}
        named = {"all": REASONS, "none": ()}.get(reasons.lower(), [word.strip() for word in reasons.split(",")])
        settings["leave_out"] = tuple(known.get(word.lower(), word) for word in named)
    if (text := given.pop("geometry", None)) is not None:
        settings["geometry"] = Geometry.parse(text)
    if (level := given.pop("background", None)) is not None:
        settings["background"] = level if level == "rim" else _numbers("background", level, float)[0]
    for name, words in (("centre", tuple(Centre)), ("crop", ("inside",)), ("bin", ()), ("origin", ())):
        if (value := given.pop(name, None)) is not None:
            numbers = value if value in words else _numbers(name, value, int)
            settings[name] = numbers[0] if name in ("crop", "bin") and len(numbers) == 1 else numbers
    return Preparation.of(**settings, **given)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a preparation that a JSON file holds, by itself or in a result's provenance.

    Raises
    ------
    FileError
        If it holds none.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(settings, dict) and "measurement" in settings:
        settings = settings["measurement"].get("source", {}).get("preparation")
    if not isinstance(settings, dict):
        raise FileError(f"{path} holds no settings of a preparation. Write one with napari-dipr prepare --json.")
    return settings


def _numbers(name: str, text: str, kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError as error:
        raise MeasurementError(f"--{name} is {text!r}: give numbers, with commas between them.") from error
