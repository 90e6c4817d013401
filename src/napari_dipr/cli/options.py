"""Options of the command line that several commands share: how a measurement is read, prepared and solved."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from napari_dipr.preparation.steps import Preparation
    from napari_dipr.reconstruct import Request

PREPARATION, SOLVING = "Preparation", "Solving"

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
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the figures there; - for stdout.")]
Truth = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The true object, to compare with.", show_default="known for samples"),
]


def _option(*names: str, panel: str = PREPARATION, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=more.pop("show_default", False), **more)


def _solving(
    model: Annotated[
        str | None, _option(metavar="NAME|PATH", panel=SOLVING, help="Network that proposes support and start.")
    ] = None,
    support: Annotated[
        str | None,
        _option(metavar="autocorrelation|FILE", panel=SOLVING, help="First support, instead of a network's."),
    ] = None,
    recipe: Annotated[
        str,
        _option(
            metavar="PRESET|TEXT",
            panel=SOLVING,
            show_default=True,
            help='hio, raar, alm, thorough, auto; or stages such as "hio(beta=0.8)*300 + er*50".',
        ),
    ] = "hio",
    iterations: Annotated[
        int | None, _option(min=1, panel=SOLVING, help="Iterations of a preset.", show_default="those of the preset")
    ] = None,
    seed: Annotated[
        int, _option(min=0, panel=SOLVING, show_default=True, help="Of random starts, where no network gives one.")
    ] = 0,
    device: Annotated[str, _option(panel=SOLVING, show_default=True, help="auto, cuda, mps or cpu.")] = "auto",
    shrink_wrap: Annotated[
        bool,
        _option("--shrink-wrap/--no-shrink-wrap", panel=SOLVING, show_default=True, help="Let the support follow."),
    ] = True,
    positive: Annotated[bool, _option("--positive", panel=SOLVING, help="The object is real and at least 0.")] = False,
    real: Annotated[bool, _option("--real", panel=SOLVING, help="The object is real.")] = False,
    partial_coherence: Annotated[
        bool, _option("--partial-coherence", panel=SOLVING, help="Estimate how far the light is coherent, too.")
    ] = False,
    free: Annotated[
        float | None,
        _option(min=0, max=0.5, metavar="SHARE", panel=SOLVING, help="Hold pixels back to judge by, such as 0.05."),
    ] = None,
    photons: Annotated[
        float | None,
        _option(min=0, metavar="N", panel=SOLVING, help="Photons per unit of intensity; 1 for counts."),
    ] = None,
) -> None:
    """Hold the options' signature."""


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
    return _with_options(command, _settings, "preparation", preparation_of)


def solves(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a request; it gets what they say as its argument ``request``."""
    return _with_options(command, _solving, "request", request_of)


def _with_options(
    command: Callable[..., None], held: Callable[..., None], name: str, made: Callable[[dict[str, Any]], Any]
) -> Callable[..., None]:
    """Give a command the options of another signature; it gets what is made of them as an argument of that name."""
    options = inspect.signature(held).parameters
    own = [p for p in inspect.signature(command).parameters.values() if p.name != name]

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        chosen = {option: arguments.pop(option) for option in options}
        command(**arguments, **{name: made(chosen)})

    both = sorted([*own, *options.values()], key=lambda p: p.kind)  # what others are to give is by name alone
    with_options.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    hints = {option: hint for option, hint in get_type_hints(held, include_extras=True).items() if option != "return"}
    with_options.__annotations__ = {**{p.name: p.annotation for p in own}, **hints}
    return with_options


def request_of(options: dict[str, Any]) -> "Request":
    """Return the request that options ask for."""
    if options["model"] is not None and options["support"] is not None:
        raise typer.BadParameter("give --model or --support, not both", param_hint="--support")
    from napari_dipr.reconstruct import Request

    request = Request(**options)
    request.check()
    return request


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
