"""Options of the command line that several commands share: how a measurement is read and prepared."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from napari_dipr.preparation.steps import Preparation

PANEL = "Preparation"


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
    white: Annotated[Path | None, _option(metavar="FILE", help="Flat field less its dark, divided by.")] = None,
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
            metavar="peak|centroid|friedel|array|ROW,COL",
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
    from napari_dipr.preparation.written import preparation_from, read_settings

    words = dict(options)
    path, amplitude, centered = (words.pop(name) for name in ("prepare", "amplitude", "centered"))
    words["kind"] = None if amplitude is None else "amplitude" if amplitude else "intensity"
    words["zero_frequency"] = None if centered is None else "centre" if centered else "corner"
    return preparation_from(words, None if path is None else read_settings(path))
