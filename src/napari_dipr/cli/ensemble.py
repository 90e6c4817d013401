"""The commands for many starts of a measurement."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_dipr.cli.data import console, opened, places, progress_bar, tell_json
from napari_dipr.cli.options import Frame, Json, Key, Region, Truth, prepares, solves
from napari_dipr.errors import FileError, RecipeError, SolverError
from napari_dipr.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dipr.ensembles.ensemble import Progress
    from napari_dipr.ensembles.ranking import Row
    from napari_dipr.gather import Gathered
    from napari_dipr.preparation.steps import Preparation
    from napari_dipr.reconstruct import Request

Input = Annotated[str, typer.Argument(help="A pattern's file, a folder of TIFFs, or a sample.")]
Curves = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Draw the curves here.", dir_okay=False, show_default=False)
]

DRAWN = (".png", ".pdf", ".svg")
ERRORS = {"free likelihood": "free_likelihood", "free χ²": "free_chi2", "χ²": "chi2", "R": "r_factor"}


@prepares
@solves
def ensemble(
    input: Input,
    output: Annotated[
        list[Path],
        typer.Option("--output", "-o", metavar="DIR|FILE", help="For the mean, with its variance; as of reconstruct."),
    ],
    starts: Annotated[int, typer.Option(min=2, help="How many.")] = 20,
    keep: Annotated[
        int | None, typer.Option(min=2, help="How many to average at most.", show_default="those near the best")
    ] = None,
    perturb: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            metavar="AMOUNT",
            help="Begin near the network's object, with so much of its amplitude at random.",
            show_default="at random",
        ),
    ] = None,
    generations: Annotated[
        int, typer.Option(min=1, help="Breed the starts with the best one, so often less one, and run them again.")
    ] = 1,
    curves: Curves = None,
    json: Json = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    truth: Truth = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this call's starts, if they were cut off.")
    ] = False,
    *,
    request: "Request",
    preparation: "Preparation",
) -> None:
    """Run many starts, say whether they agree, and average the best.

    Where nothing is said of --free, 5 % of the pixels are held back to rank the starts by. --seed is the first one's.
    """
    from napari_dipr.cli.kept import kept_run
    from napari_dipr.device import is_out_of_memory
    from napari_dipr.gather import gather
    from napari_dipr.io.record import check_writable, write_records
    from napari_dipr.io.write import file_name
    from napari_dipr.lattice import crystal_of
    from napari_dipr.truth import compared, known_object

    reads = [input, request.support, truth, *preparation.files]
    check_writable(places(output, "measurement"), reads)
    _check_outputs(curves, json, reads)
    kept = kept_run(resume)
    there = kept.measurement()
    request, measurement = opened(input, request, preparation, there, key=key, frame=frame, region=region)
    files = places(output, file_name(measurement.name))
    check_writable(files, reads)
    known, window, remark = known_object(input, truth, measurement)
    if remark:
        _remark(remark)
    with progress_bar() as bar:
        task = bar.add_task("", total=starts * generations)

        def progress(at: "Progress") -> None:
            of_batch = 0.0 if at.at is None else at.at.iteration / at.at.total * len(at.running)
            done, last = len(at.ended), at.generation == generations
            words = f"starts, {done} of {at.count} done" if done < at.count else "laying them over each other"
            words += "" if last else f" in generation {at.generation}"
            bar.update(task, completed=(at.generation - 1) * starts + done + of_batch, description=words)

        try:
            found = gather(
                request,
                measurement,
                starts,
                keep=keep,
                perturb=perturb,
                generations=generations,
                keeping=kept.keeping,
                progress=progress,
                say=_remark,
            )
        except KeyboardInterrupt:
            if kept.starts:
                _remark(f"cut off; the same call with --resume goes on after the {kept.starts} starts that are done")
            raise
        except SolverError as error:
            if not is_out_of_memory(error.__cause__):  # going on would end in the same
                kept.end()
            raise
    nmse = None if known is None else compared(found.ensemble.object.numpy(), known, window)
    record = found.record(nmse=nmse)
    crystal = crystal_of(measurement, record.object, record.support)
    paths = write_records(files, record, crystal)
    kept.end()
    figures = {
        **found.figures,
        "nmse": nmse,
        "voxel_size_nm": measurement.voxel_size,
        "crystal": None if crystal is None else crystal.figures,
        "outputs": {kind: str(path) for kind, path in paths.items()},
    }
    tell_json(json, figures)
    _tell(found, figures)
    if nmse is not None:
        console.print(f"  nmse of the mean [bold]{nmse:.4f}[/]")
    if crystal is not None:
        console.print(f"  {crystal}")
    if curves is not None:
        from napari_dipr.io.curves import draw_ensemble

        draw_ensemble(curves, found.ensemble, measurement.name)
    for path in [*paths.values(), *([curves] if curves is not None else [])]:
        console.print(f"  {escape(str(path))}")


@prepares
@solves
def thresholds(
    input: Input,
    values: Annotated[
        str, typer.Option("--thresholds", metavar="T,T,…", help="Of shrink-wrap, shares of the maximum.")
    ] = "0.05,0.075,0.1,0.125,0.15,0.175,0.2,0.25,0.3",
    starts: Annotated[int, typer.Option(min=2, help="How many with each.")] = 5,
    curves: Curves = None,
    json: Json = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    *,
    request: "Request",
    preparation: "Preparation",
) -> None:
    """Show how the error of held-back pixels depends on the support's threshold.

    Where it is least, the support is as tight as the measurement asks for.
    """
    from dataclasses import asdict, replace

    from rich.table import Table

    from napari_dipr.ensembles.starts import Starts
    from napari_dipr.ensembles.thresholds import threshold_curve
    from napari_dipr.gather import FREE
    from napari_dipr.reconstruct import with_enough_memory

    try:
        chosen = [float(value) for value in values.split(",")]
    except ValueError as error:
        raise RecipeError(f"Thresholds are numbers after commas, this is {values!r}.") from error
    _check_outputs(curves, json, [input, request.support, *preparation.files])
    request, measurement = opened(input, request, preparation, key=key, frame=frame, region=region)
    request = replace(request, free=FREE if request.free is None else request.free)
    with progress_bar() as bar:
        task = bar.add_task("", total=len(chosen) * starts)

        def progress(number: int, done: int) -> None:
            bar.update(task, completed=number * starts + done, description=f"threshold {chosen[number]:g}")

        def on(device: str) -> list[Any]:
            asked = request.asked(measurement, device)
            first = Starts(asked.support, seed=request.seed)
            return list(threshold_curve(asked.problem, asked.recipe, first, starts, chosen, progress=progress))

        every = with_enough_memory(request.device, on, _remark)
    for point in every:
        for one in point.diverged:
            _remark(f"threshold {point.threshold:g}: {one}")
    points = [point for point in every if point.rows]
    if not points:
        raise SolverError(f"All starts diverged, with each threshold. {every[0].diverged[0].why}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    shown = _shown([point.best for point in points])
    for heading in ("threshold", *shown, "support"):
        table.add_column(heading, justify="right")
    least = min(points, key=lambda point: point.criterion.of(point.best))
    for point in points:
        row = point.best
        table.add_row(
            f"{point.threshold:g}",
            *(f"{getattr(row, name):.4g}" for name in shown.values()),
            str(int(row.support_pixels)),
            style="bold" if point is least else "",
        )
    tell_json(
        json,
        {
            "by": least.criterion.words,
            "least": least.threshold,
            "points": [
                {
                    "threshold": p.threshold,
                    "starts": list(map(asdict, p.rows)),
                    "diverged": list(map(asdict, p.diverged)),
                }
                for p in every
            ],
        },
    )
    console.print(table)
    console.print(
        f"{least.criterion.words} of the best of {starts} starts is least with the threshold {least.threshold:g}"
    )
    if least.criterion.warning:
        console.print(f"  [yellow]{least.criterion.warning}[/]")
    if least.threshold in (min(chosen), max(chosen)) and len(chosen) > 1:
        console.print("  that is the last one tried: the least may lie beyond")
    if curves is not None:
        from napari_dipr.io.curves import draw_thresholds

        draw_thresholds(curves, points, measurement.name)
        console.print(f"  {escape(str(curves))}")


def _tell(found: "Gathered", figures: dict[str, Any]) -> None:
    """Say what the starts came to: a table, and in words what they have in common."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    rows, kept = found.ensemble.rows, found.ensemble.kept
    shown = _shown(rows)
    for heading in ("start", *shown, "support", "s", ""):
        table.add_column(heading, justify="right")
    for i in found.ensemble.order:
        row = rows[i]
        table.add_row(
            str(row.ordinal),
            *(f"{getattr(row, name):.4g}" for name in shown.values()),
            str(int(row.support_pixels)),
            f"{row.seconds:.1f}",
            "kept" if kept[i] else "",
            style="" if kept[i] else "dim",
        )
    console.print(table)
    criterion = found.ensemble.criterion
    after = f", after {found.generations} guided generations" if found.generations > 1 else ""
    console.print(f"ranked by {criterion.words}; from {found.starts}{after}")
    if criterion.warning:
        console.print(f"  [yellow]{criterion.warning}[/]")
    from napari_dipr.physics.shells import reached

    common, unit = found.ensemble.consensus, figures["unit"]
    mean, count = figures["mean"], sum(kept)
    free = mean.get("free_chi2")
    error = "" if free is None else f", free χ² {free:.4g}"
    inside = f"{mean['support_voxels']} {'voxels' if found.ensemble.object.ndim > 2 else 'pixels'}"
    console.print(
        f"mean of {count}: χ² {mean['chi2']:.4g}{error}, support {inside}; the starts differ "
        f"from it by {common.spread:.3f} of its energy, the first eigenmode has {common.modes.shares[0]:.3f}"
    )
    if common.prtf is None:
        console.print("  no PRTF: the starts are not independent")
    else:
        curve = common.prtf
        beyond = reached(curve.frequency, curve.resolution_beyond_chance, unit, "1/e")
        console.print(
            f"  PRTF: {curve.mean:.3f} in the mean, {reached(curve.frequency, curve.resolution, unit, '1/e')}; of "
            f"{curve.starts} starts chance alone leaves {curve.chance:.2f}, beyond it the PRTF is {beyond}"
        )
    if (fsc := common.fsc) is not None:
        console.print(
            f"  FSC of two halves: {reached(fsc.frequency, fsc.resolution, unit, '.5')}, "
            f"{reached(fsc.frequency, fsc.half_bit_resolution, unit, 'half a bit')}"
        )
    console.print(f"[bold]{escape(found.verdict.words)}[/]")
    if found.verdict.cause:
        console.print(f"  likely: {escape(found.verdict.cause)}")


def _shown(rows: "Sequence[Row]") -> dict[str, str]:
    """Return the headings of the errors that all rows have, and what they are called there."""
    return {heading: name for heading, name in ERRORS.items() if all(getattr(row, name) is not None for row in rows)}


def _check_outputs(curves: Path | None, json: str | None, reads: "Sequence[str | Path | None]") -> None:
    """Find out before the starts whether curves and figures can be written where they were asked for."""
    from napari_dipr.io.write import check_apart, writable_folder

    if curves is not None:
        require("Drawing curves", "matplotlib", "figures")
        if curves.suffix.lower() not in DRAWN:
            raise FileError(f"{curves.name} has no ending that curves are drawn with. These are: {', '.join(DRAWN)}.")
    asked = [path for path in (curves, None if json in (None, "-") else Path(str(json))) if path is not None]
    check_apart(asked, reads)
    for path in asked:
        writable_folder(path.parent)


def _remark(words: str) -> None:
    console.print(f"  {escape(words)}")
