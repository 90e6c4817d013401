"""The command that tries an experiment out on a known object."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_dipr.cli.data import console, tell, tell_json
from napari_dipr.cli.options import Frame, Json, Key, Region

if TYPE_CHECKING:
    from napari_dipr.exposure import Exposure

PANEL = "Experiment"


def _setting(*names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, show_default=more.pop("show_default", False), **more)


def simulate(
    image: Annotated[
        str,
        typer.Argument(
            help="The object: a grey picture or a volume (docs/formats.md, PNG, JPEG), a result, or sample:fashion-0 "
            "… 255."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The measurement, .cxi or .npz.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the object on the pattern's grid, scaled to the photons: .npz, .tif, .ome.tif, .cxi.",
            show_default=False,
        ),
    ] = None,
    phase: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The object's phase, a picture too.", show_default="0")
    ] = None,
    phase_span: Annotated[
        float | None,
        typer.Option(
            metavar="RADIANS", help="Between the phase's least and largest value.", show_default="they are radians"
        ),
    ] = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    oversampling: Annotated[
        str, _setting(metavar="N|N,N", help="Side of the pattern over that of the object.", show_default=True)
    ] = "2",
    photons: Annotated[
        float | None,
        _setting(metavar="N", help="In the whole pattern, also behind the beam stop.", show_default="no noise"),
    ] = None,
    coherence: Annotated[
        str | None,
        _setting(metavar="SIGMA|S,S", help="Blur by partly coherent light, pixels.", show_default="fully coherent"),
    ] = None,
    background: Annotated[float | None, _setting(metavar="COUNTS", help="That come to each pixel.")] = None,
    subtract: Annotated[bool, _setting("--subtract", help="Subtract the background's mean again.")] = False,
    beamstop: Annotated[float | None, _setting(metavar="PIXELS", help="Radius of a beam stop.")] = None,
    arm: Annotated[float | None, _setting(metavar="PIXELS", help="Width of the arm that holds it, from above.")] = None,
    gaps: Annotated[
        str | None,
        _setting(
            metavar="TEXT",
            help="Modules of the detector: ROWSxCOLUMNS+GAP, such as 195x487+17x7 or 256+4, and @ROW,COLUMN of the "
            "module's pixel that the beam is on, which else is its middle.",
        ),
    ] = None,
    saturation: Annotated[float | None, _setting(metavar="COUNTS", help="From which on a pixel is saturated.")] = None,
    dead: Annotated[float | None, _setting(metavar="SHARE", help="Of the pixels that are dead, such as 0.001.")] = None,
    seed: Annotated[int, _setting(help="Of the noise and of the dead pixels.", show_default=True)] = 0,
    geometry: Annotated[
        str | None, _setting(metavar="TEXT", help='Such as "energy=9, distance=0.5, pixel=55": docs/geometry.md.')
    ] = None,
    json: Json = None,
) -> None:
    """Make a measurement of an object that is known, to try an experiment out before the beamtime.

    Says what to expect: counts in the brightest pixel, pixels without a count, and how far out there are photons.
    reconstruct PATTERN --truth FILE then says how well the object comes out of it.
    """
    from napari_dipr.experiment import Experiment, with_phase
    from napari_dipr.exposure import Exposure
    from napari_dipr.geometry import Geometry
    from napari_dipr.io.objects import load_object
    from napari_dipr.io.record import (
        Record,
        check_measurement_writable,
        check_writable,
        files_of,
        write_measurement,
        write_record,
    )
    from napari_dipr.io.write import check_apart, writable_folder
    from napari_dipr.preparation.extent import find_extent

    settings = {
        "oversampling": oversampling,
        "photons": photons,
        "coherence": coherence,
        "background": background,
        "subtract": subtract,
        "beamstop": beamstop,
        "arm": arm,
        "gaps": gaps,
        "saturation": saturation,
        "dead": dead,
        "seed": seed,
    }
    experiment = Experiment.of(**{name: value for name, value in settings.items() if value is not None})
    known_geometry = None if geometry is None else Geometry.parse(geometry)
    check_measurement_writable(output)
    written = [output]
    if truth is not None:
        check_writable([truth])
        written += files_of(truth).values()
    if json is not None and json != "-":
        writable_folder(Path(json).parent)
        written.append(Path(json))
    check_apart(written, [image, phase])
    x, name, source = load_object(image, key=key, frame=frame, region=region)
    about = {"object": source, "experiment": experiment.as_json()}
    if phase is not None:
        angle, _, about["phase"] = load_object(phase)
        x = with_phase(x, angle, phase_span)
    elif phase_span is not None:
        raise typer.BadParameter("give --phase, too", param_hint="--phase-span")
    measurement, object_ = experiment.measure(x, f"{name}-simulated", geometry=known_geometry, source=about)
    tell(measurement)
    exposure, extent = Exposure.of(experiment, measurement, object_), find_extent(measurement)
    for line in str(exposure).splitlines():
        console.print(f"  {line}")
    console.print(f"  {extent}")
    if (voxel := measurement.voxel_size) is not None:
        console.print(f"  the object's voxels are {' × '.join(f'{side:.4g}' for side in voxel)} nm")
    _tell_bands(exposure)
    write_measurement(output, measurement)
    console.print(f"  {escape(str(output))}")
    if truth is not None:
        told = {"program": "napari-dipr", "truth_of": measurement.name, "history": measurement.history}
        for path in write_record(truth, Record(object_, object_ != 0, told, voxel_size_nm=voxel)).values():
            console.print(f"  {escape(str(path))}")
    figures = {**asdict(exposure), "oversampling": extent.oversampling, "bands": [b._asdict() for b in exposure.bands]}
    tell_json(json, figures)


def _tell_bands(exposure: "Exposure") -> None:
    from rich.table import Table

    if not exposure.bands:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (f"up to, {exposure.unit}", "photons a pixel", "measured", "of these above 0"):
        table.add_column(heading, justify="right")
    for band in exposure.bands:
        table.add_row(f"{band.resolution:.3g}", f"{band.photons:.3g}", f"{band.measured:.0%}", f"{band.counted:.0%}")
    console.print(table)
