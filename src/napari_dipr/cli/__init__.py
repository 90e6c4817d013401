"""The program ``napari-dipr``: the window, and the same work without it.

What is heavy (torch, napari) is imported by the commands that need it, so that ``--help`` is there at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from napari_dipr import __version__
from napari_dipr.benchmarks.cli import app as benchmark_app
from napari_dipr.cli.batch import batch
from napari_dipr.cli.data import console, look, opened, places, prepare, tell_json
from napari_dipr.cli.ensemble import ensemble, thresholds
from napari_dipr.cli.options import Frame, Json, Key, Region, Truth, prepares, solves
from napari_dipr.cli.resume import WORDS, resume
from napari_dipr.cli.simulate import simulate
from napari_dipr.errors import DiprError, one_line
from napari_dipr.extras import require

if TYPE_CHECKING:
    from napari_dipr.preparation.steps import Preparation
    from napari_dipr.reconstruct import Request


class _Group(typer.core.TyperGroup):
    """Tells errors meant for people in one line, without a traceback; notes the words of a call."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        WORDS.set(tuple(args))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DiprError as error:
            console.print(f"[bold red]Error:[/] [red]{escape(one_line(error))}[/]")
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Phase retrieval for coherent diffraction imaging: a network proposes the support, a person corrects it, an "
    "iterative solver refines.",
)
app.command()(look)
app.command()(prepare)
app.command()(simulate)
app.command()(ensemble)
app.command()(thresholds)
app.command()(batch)
app.command()(resume)
app.add_typer(benchmark_app, name="benchmark", help="Measure how well the methods do.")


@benchmark_app.command()
def ui(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Measure how smooth the window stays while a run streams into it, and what that takes from the solver."""
    _needs_napari()
    from napari_dipr.ui.stalls import report

    report(console, json_file)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"napari-dipr {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@prepares
@solves
def reconstruct(
    input: Annotated[
        str, typer.Argument(help="A pattern's file (docs/formats.md), a folder of TIFFs, or sample:fashion-0 … 255.")
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|FILE",
            help="Folder for TIFF, or a file .tif, .ome.tif, .cxi, .npz, .vti, .png; again for more.",
        ),
    ],
    json: Json = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    truth: Truth = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this call's run, if it was cut off.")] = False,
    keep_every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Keep the run's state so often, for --resume; 0: never.")
    ] = 20.0,
    *,
    request: "Request",
    preparation: "Preparation",
) -> None:
    """Reconstruct an object without a window.

    Without --model and --support, the likeliest of the models that fit the measurement proposes; where none does, the
    support comes from the autocorrelation.
    """
    from napari_dipr.io.write import check_apart, file_name, writable_folder

    # Whatever can be found wrong is found before the run, not after it.
    if json not in (None, "-"):
        writable_folder(Path(json).parent)

    from napari_dipr.cli.kept import kept_run
    from napari_dipr.io.record import check_writable, write_records
    from napari_dipr.reconstruct import outcome
    from napari_dipr.truth import compared, known_object

    check_writable(places(output, "measurement"))
    kept = kept_run(resume, keep_every)
    there = kept.measurement()
    request, measurement = opened(input, request, preparation, there, key=key, frame=frame, region=region)
    known, window, remark = known_object(input, truth, measurement)
    if remark:
        console.print(f"  {remark}")
    written = places(output, file_name(measurement.name))
    reads = [input, truth, request.support, *preparation.files]
    check_writable(written, reads)
    if json not in (None, "-"):
        check_apart([json], reads)

    carried = request.carry_out(measurement, console, kept.keeping)
    result, asked = carried
    nmse = None if known is None else compared(result.object[0].cpu().numpy(), known, window)
    record, found, figures = outcome(request, measurement, carried, nmse)
    paths = write_records(written, record, found)
    kept.end()
    figures["outputs"] = {kind: str(path) for kind, path in paths.items()}
    tell_json(json, figures)
    free, voxel = figures["free_chi2"], figures["voxel_size_nm"]
    error = "" if free is None else f", free χ² {free:.4g}"
    error += "" if nmse is None else f", nmse [bold]{nmse:.4f}[/]"
    size = "" if voxel is None else f" of {' × '.join(f'{side:.4g}' for side in voxel)} nm"
    console.print(
        f"χ² [bold]{figures['chi2']:.4g}[/], R {figures['r_factor']:.3f}{error}, support {figures['support_voxels']} "
        f"voxels{size}, {result.ended}, {result.seconds:.1f} s on {asked.problem.device}"
    )
    if found is not None:
        console.print(f"  {found}")
    for path in paths.values():
        console.print(f"  {escape(str(path))}")


@app.command()
def compare(
    result: Annotated[Path, typer.Argument(help="A result (.tif, .ome.tif, .cxi, .npz), or a folder with one.")],
    reference: Annotated[Path, typer.Argument(help="The other one.")],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare two results of one measurement, say from two seeds, once shift, twin and phase are removed."""
    from napari_dipr.compare import compare as compare_results
    from napari_dipr.compare import load_result

    found = compare_results(load_result(result), load_result(reference))
    if json:
        import json as encoder

        print(encoder.dumps(found, indent=2))  # noqa: T201
        return
    console.print(
        f"amplitudes correlate at [bold]{found['amplitude_correlation']:.3f}[/], complex objects at "
        f"[bold]{found['complex_correlation']:.3f}[/]; removed: {found['removed']}"
    )


@app.command()
def gui(
    input: Annotated[str | None, typer.Argument(help="File or sample to open.", show_default=False)] = None,
) -> None:
    """Open napari with the workflow docked."""
    _needs_napari()
    from napari_dipr.ui.app import open_gui

    open_gui(input)


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Drive the window through its steps by itself.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for what the headless demo leaves.")
    ] = Path("demo-output"),
) -> None:
    """Show the workflow on a sample measurement."""
    _needs_napari()
    from napari_dipr.ui.demo import run_demo

    run_demo(headless, output)
    if headless:
        console.print(f"The files and the pictures of the window are in {escape(str(output.absolute()))}.")


@app.command()
@prepares
def models(
    input: Annotated[
        str | None, typer.Argument(help="File or sample: say how each model fits it.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    *,
    preparation: "Preparation",
) -> None:
    """List the networks at hand, what they are for and how well they did on objects they were not trained on."""
    from rich.table import Table

    from napari_dipr.networks import zoo

    measurement = None
    if input is not None:
        from napari_dipr.io.read import read

        measurement = read(input, key=key, frame=frame, region=region, preparation=preparation)
    listed, likeliest = zoo.at_hand(measurement), measurement and zoo.fitting_model(measurement)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "nmse", "on", "for"):
        table.add_column(heading)
    for model in listed:
        name, nmse = model["name"], model.get("nmse")
        words = escape(model.get("purpose", "")) if "error" not in model else f"[red]{escape(model['error'])}[/]"
        figure = ("–", "") if nmse is None else (f"{nmse:.3f}", f"{model['objects']} {len(model['grid'])}-D")
        table.add_row(f"[bold]{escape(name)}[/]" + (" ←" if name == likeliest else ""), *figure, words)
    if json:
        import json as encoder

        print(encoder.dumps(listed, indent=2))  # noqa: T201
        return
    Console(highlight=False).print(table)
    console.print(
        "nmse: of the answers to unseen clean objects, each model's own kind: not comparable between kinds. "
        "napari-dipr benchmark models has all figures."
    )
    for model in listed:
        if Path(model["folder"]).parent in zoo.own_folders():
            console.print(f"{escape(model['name'])} is the one in {escape(model['folder'])}.")
    for folder in zoo.empty_folders():
        console.print(f"{zoo.VARIABLE} names {escape(str(folder))}, where there is no folder of a trained model.")


@app.command()
def train(
    config: Annotated[
        Path, typer.Argument(metavar="FILE.TOML", help="A model.toml or a denoisers.toml; the weights go beside it.")
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder for checkpoints and logs.")] = Path("runs"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with FashionMNIST's files.", show_default="found or fetched"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many of them; each takes batches of its own.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="On how many machines.")] = 1,
) -> None:
    """Train a model as its model.toml says, or denoisers."""
    require("Training", "lightning", "train")
    from napari_dipr.training.loop import train as train_model

    weights = train_model(config, runs, resume=resume, images=images, device=device, devices=devices, nodes=nodes)
    console.print(f"  {escape(str(weights))}")


def _needs_napari() -> None:
    # How OpenMP's threads wait is said there, before torch; on Windows, torch after Qt can fail to load its DLLs.
    import napari_dipr.ui  # noqa: F401, I001
    import torch  # noqa: F401

    try:
        import napari
        import qtpy.QtCore  # noqa: F401
    except ImportError as error:  # qtpy has its own kinds where there is no binding
        raise DiprError(f'The window needs napari with a Qt ({error}): pip install "napari-dipr[all]"') from error
    del napari
