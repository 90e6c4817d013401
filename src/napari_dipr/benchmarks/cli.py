"""``napari-dipr benchmark``: the benchmarks as commands."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from napari_dipr.benchmarks import tables
from napari_dipr.benchmarks.options import Curves, Device, JsonFile, bar_of, bars_of, listed_names, writable
from napari_dipr.benchmarks.trust import batch, checkpoints, guided, kills, resolution, verdict
from napari_dipr.extras import require

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def _main() -> None:
    """Measure how well the methods do."""


@app.command()
def table1(
    images: Annotated[int, typer.Option(min=1, max=10_000, help="How many FashionMNIST test images.")] = 256,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Which rows.", show_default="all of them")
    ] = None,
    json_file: JsonFile = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
    starts: Annotated[int, typer.Option(min=1, help="Starts of the rows that keep the best of several.")] = 8,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw six of the images here.", dir_okay=False)
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep finished batches here, and go on from what is there.", file_okay=False),
    ] = None,
) -> None:
    """Reproduce Table 1 of the paper on FashionMNIST test images, objects complex and without positivity."""
    from napari_dipr.benchmarks import table1 as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file, figure)
    names = list(benchmark.METHODS) if methods is None else listed_names(methods)
    benchmark.known(names)
    with bars_of({name: benchmark.images_of(name, images) for name in names}) as tell:
        result = benchmark.table1(
            images,
            names,
            device=device,
            seed=seed,
            starts=starts,
            kept=kept,
            progress=tell,
        )
    tables.show_table1(result)
    if json_file is not None:
        write_json(json_file, result)
    if figure is not None:
        from napari_dipr.benchmarks.robustness import draw_images

        draw_images(figure, names, among=images, device=device, seed=seed, starts=starts)


@app.command()
def robustness(
    images: Annotated[int, typer.Option(min=1, max=10_000, help="How many FashionMNIST test images.")] = 64,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Which rows of Table 1.", show_default="the main ones")
    ] = None,
    json_file: JsonFile = None,
    figure: Curves = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts and of the noise.")] = 0,
) -> None:
    """Run rows of Table 1 on patterns of few photons, and on such without their centre."""
    from napari_dipr.benchmarks import robustness as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file, figure)
    with bar_of() as tell:
        result = benchmark.robustness(
            images,
            benchmark.ROWS if methods is None else listed_names(methods),
            device=device,
            seed=seed,
            progress=tell,
        )
    tables.show_robustness(result)
    if json_file is not None:
        write_json(json_file, result)
    if figure is not None:
        benchmark.draw_curves(result, figure)


@app.command()
def models(
    objects: Annotated[int, typer.Option("--images", min=1, help="How many test objects for each model.")] = 256,
    names: Annotated[
        str | None, typer.Option("--models", metavar="A,B,…", help="Which models.", show_default="all at hand")
    ] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="Simulated objects of all kinds, with noise and missing pixels.")
    ] = False,
    json_file: JsonFile = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts in the exact support.")] = 0,
) -> None:
    """Test the models on objects that no training saw: alone, refined, and beside the exact support."""
    from napari_dipr.benchmarks import models as benchmark
    from napari_dipr.io.write import write_json
    from napari_dipr.networks.zoo import model_names

    writable(json_file)
    chosen = model_names() if names is None else listed_names(names)
    with bars_of(dict.fromkeys(chosen, objects)) as tell:
        result = benchmark.models(
            objects,
            chosen,
            kind="hard" if hard else "clean",
            device=device,
            seed=seed,
            progress=tell,
        )
    tables.show_models(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def peers(
    json_file: JsonFile = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each program.", show_default="as many as torch takes")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often the programs take turns at each size.")] = 7,
) -> None:
    """Time one HIO iteration beside those of cohere, solvephase, CDI-ST and QoraPhase, where they are installed."""
    from napari_dipr.benchmarks import peers as benchmark

    _in_turns(partial(benchmark.peers, benchmark.CASES, threads=threads), rounds, tables.show_peers, json_file)


@app.command()
def engine(
    json_file: JsonFile = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="as many as torch takes")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often what is timed takes turns at each size.")] = 7,
) -> None:
    """Time iterations of HIO and RAAR beside the two transforms in them, and measure their memory; on the CPU."""
    from napari_dipr.benchmarks import engine as benchmark

    _in_turns(partial(benchmark.engine, benchmark.CASES, threads=threads), rounds, tables.show_engine, json_file)


def _in_turns(
    measure: Callable[..., dict[str, Any]], rounds: int, show: Callable[[dict[str, Any]], None], json_file: Path | None
) -> None:
    """Measure what takes turns, show it, and write it where asked."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from napari_dipr.io.write import write_json

    writable(json_file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # Drawn between the turns alone: a thread that draws would be timed too.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=rounds)
        bar.refresh()

        def progress(case: str, done: int) -> None:
            bar.update(task, description=case, completed=done)
            bar.refresh()

        result = measure(rounds=rounds, progress=progress)
    show(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def recipes(
    json_file: JsonFile = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--recipes", metavar="TEXT", help="A recipe; may be given again.", show_default="seven of them"),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
) -> None:
    """Compare recipes on simulated crystals and FashionMNIST images, from the autocorrelation's support."""
    from napari_dipr.benchmarks import recipes as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file)
    chosen = texts or benchmark.RECIPES
    with bar_of(len(chosen) * len(benchmark.SETS)) as tell:
        at = iter(range(len(chosen) * len(benchmark.SETS)))
        result = benchmark.compare(
            chosen,
            device=device,
            seed=seed,
            progress=lambda name, text: tell(f"{name}: {text}", next(at)),
        )
    tables.show_recipes(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def bragg(
    json_file: JsonFile = None,
    side: Annotated[int, typer.Option(min=24, max=128, help="Frames, rows and columns of the scans.")] = 40,
    starts: Annotated[int, typer.Option(min=1, help="Of which the one of the least χ² is taken.")] = 3,
) -> None:
    """Reconstruct a strained crystal from simulated rocking scans of two beamlines, and compare it with the truth."""
    from napari_dipr.benchmarks import bragg as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file)
    with bar_of(len(benchmark.SCANS) * len(benchmark.CASES)) as tell:
        result = benchmark.table((side,) * 3, starts=starts, progress=tell)
    tables.show_bragg(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def generality(
    objects: Annotated[int, typer.Option("--images", min=1, help="How many objects of each kind and size.")] = 24,
    model: Annotated[str, typer.Option(help="A model for simulated pictures.")] = "unrolled-objects-2d",
    json_file: JsonFile = None,
    figure: Curves = None,
    device: Device = "auto",
) -> None:
    """Test a model on objects of other kinds, patterns of any size, few photons and missing centres."""
    from napari_dipr.benchmarks import generality as benchmark
    from napari_dipr.io.write import write_json

    require("Drawing letters", "matplotlib", "bench")
    require("Reading the vesicle", "mrcfile", "bench")
    writable(json_file, figure)
    with bar_of() as tell:
        result = benchmark.generality(objects, model, device=device, progress=tell)
    tables.show_generality(result)
    if json_file is not None:
        write_json(json_file, result)
    if figure is not None:
        benchmark.draw(result, figure)


@app.command()
def ablation(
    runs: Annotated[Path, typer.Option(help="Folder for the variants and their checkpoints.")] = Path("runs/ablation"),
    minutes: Annotated[float, typer.Option(min=0.01, help="Processor time to train each with.")] = 10.0,
    names: Annotated[
        str | None, typer.Option("--variants", metavar="A,B,…", help="Which.", show_default="all of them")
    ] = None,
    objects: Annotated[int, typer.Option("--images", min=1, max=256, help="How many test objects.")] = 256,
    json_file: JsonFile = None,
) -> None:
    """Train variants of the networks for the same time, one part changed at a time; resumes what was begun."""
    from napari_dipr.benchmarks import ablation as benchmark
    from napari_dipr.io.write import write_json

    require("Training", "lightning", "train")
    writable(json_file)
    console = Console(stderr=True)
    result = benchmark.ablation(
        runs,
        minutes,
        None if names is None else listed_names(names),
        objects=objects,
        progress=lambda name, what: console.print(f"{name}: {what}", highlight=False),
    )
    tables.show_ablation(result)
    if json_file is not None:
        write_json(json_file, result)


for command in (verdict, resolution, guided, kills, checkpoints, batch):
    app.command()(command)
