"""The commands that look into files and prepare measurements."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from napari_dipr.cli.options import Frame, Key, Region, prepares

if TYPE_CHECKING:
    from rich.progress import Progress

    from napari_dipr.measurement import Measurement
    from napari_dipr.preparation.steps import Preparation
    from napari_dipr.reconstruct import Request

# Words for people go to stderr; stdout is for what other programs read.
console = Console(stderr=True, highlight=False, soft_wrap=True)


def tell(measurement: "Measurement") -> None:
    """Say what a measurement is, and what was done to it."""
    console.print(f"[bold]{escape(measurement.name)}[/], {' × '.join(map(str, measurement.grid))} pixels")
    for step in measurement.history:
        console.print(f"  {escape(step)}")


def opened(
    input: str, request: "Request", preparation: "Preparation", there: "Measurement | None" = None, **part: Any
) -> "tuple[Request, Measurement]":
    """Read what is to be solved, or take what is there, and say what it is; return the fitting request, and it."""
    from napari_dipr.io.read import read

    measurement = read(input, preparation=preparation, **part) if there is None else there
    tell(measurement)
    request, measurement, why = request.suited(measurement)
    if why:
        console.print(f"  {escape(why)}")
    return request, measurement


def places(outputs: list[Path], name: str) -> list[Path]:
    """Return the files that outputs ask for: themselves, or in a folder the TIFF of that name."""
    from napari_dipr.io.record import ending_of

    return [output if ending_of(output) else output / f"{name}.tif" for output in outputs]


def tell_json(json: str | None, figures: dict[str, Any]) -> None:
    """Write figures where they were asked for: into a file, or for ``-`` on stdout."""
    from napari_dipr.io.provenance import as_json
    from napari_dipr.io.write import write_json

    if json == "-":
        import json as encoder

        print(encoder.dumps(as_json(figures), indent=2))  # noqa: T201
    elif json is not None:
        write_json(json, figures)


def progress_bar() -> "Progress":
    """Return a bar of tasks, each with its description and with the time that is left; it goes when all is done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
    )


def look(
    file: Annotated[Path, typer.Argument(help="A file of any format that is read, or a folder of TIFFs.")],
    json: Annotated[bool, typer.Option("--json", help="Print the arrays as JSON.")] = False,
) -> None:
    """List the arrays in a file; nothing is read but headers. Those in bold could be a measurement."""
    from rich.table import Table

    from napari_dipr.io.listing import listing

    entries = listing(file)
    if json:
        import json as encoder

        print(encoder.dumps([entry._asdict() for entry in entries], indent=2))  # noqa: T201
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("array", "shape", "type", "stored", ""):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        name = escape(entry.key or "(the array)")
        shape = "" if entry.shape is None else " × ".join(map(str, entry.shape)) or "one number"
        stored = "" if entry.stored is None else f"{entry.stored / 1e6:.3g} MB"
        table.add_row(
            f"[bold]{name}[/]" if entry.is_likely else name,
            shape,
            entry.dtype or "",
            stored,
            escape("; ".join(entry.about)),
        )
    Console(highlight=False).print(table)


@prepares
def prepare(
    input: Annotated[str, typer.Argument(help="A pattern's file, a folder of TIFFs, or a sample.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the measurement as .cxi or .npz.", show_default=False
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the settings, for --prepare.", show_default=False),
    ] = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    *,
    preparation: "Preparation",
) -> None:
    """Correct, mask, centre, crop and bin a detector's data, and say what came of it and how large the object is.

    reconstruct takes the same options, and does both in one go.
    """
    from napari_dipr.io.read import read
    from napari_dipr.io.record import check_measurement_writable, write_measurement
    from napari_dipr.io.write import check_apart, writable_folder, write_json

    check_apart([path for path in (output, json) if path is not None], [input, *preparation.files])
    if output is not None:
        check_measurement_writable(output)
    if json is not None:
        writable_folder(json.parent)
    measurement = read(input, key=key, frame=frame, region=region, preparation=preparation)
    tell(measurement)

    from napari_dipr.preparation.extent import find_extent

    console.print(f"  {find_extent(measurement)}")
    if (voxel := measurement.voxel_size) is not None:
        console.print(f"  the object's voxels are {' × '.join(f'{side:.4g}' for side in voxel)} nm")
    if output is not None:
        write_measurement(output, measurement)
        console.print(f"  {escape(str(output))}")
    if json is not None:
        write_json(json, preparation.as_json())
        console.print(f"  {escape(str(json))}")
