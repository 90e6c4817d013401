"""``napari-dipr benchmark``: the benchmarks as commands."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

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
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
    starts: Annotated[int, typer.Option(min=1, help="Starts of the rows that keep the best of several.")] = 8,
) -> None:
    """Reproduce Table 1 of the paper on FashionMNIST test images, objects complex and without positivity."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from napari_dipr.benchmarks import table1 as benchmark
    from napari_dipr.io.write import writable_folder, write_json

    if json_file is not None:
        writable_folder(json_file.parent)  # before the computing rather than after
    names = list(benchmark.METHODS) if methods is None else [name.strip() for name in methods.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {name: bar.add_task(name, total=images) for name in names}
        result = benchmark.table1(
            images,
            names,
            device=device,
            seed=seed,
            starts=starts,
            progress=lambda name, done: bar.update(tasks[name], completed=done),
        )
    _print(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def models(
    objects: Annotated[int, typer.Option("--images", min=1, help="How many test objects for each model.")] = 256,
    names: Annotated[
        str | None, typer.Option("--models", metavar="A,B,…", help="Which models.", show_default="all at hand")
    ] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="Simulated objects of all kinds, with noise and missing pixels.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts in the exact support.")] = 0,
) -> None:
    """Test the models on objects that no training saw: alone, refined, and beside the exact support."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from napari_dipr.benchmarks import models as benchmark
    from napari_dipr.io.write import writable_folder, write_json
    from napari_dipr.networks.zoo import model_names

    if json_file is not None:
        writable_folder(json_file.parent)
    chosen = model_names() if names is None else [name.strip() for name in names.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {name: bar.add_task(name, total=objects) for name in chosen}
        result = benchmark.models(
            objects,
            chosen,
            kind="hard" if hard else "clean",
            device=device,
            seed=seed,
            progress=lambda name, done: bar.update(tasks[name], completed=done),
        )
    _print_models(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def peers(
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each program.", show_default="as many as torch takes")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often the programs take turns at each size.")] = 7,
) -> None:
    """Time one HIO iteration beside those of cohere, solvephase, CDI-ST and QoraPhase, where they are installed."""
    from napari_dipr.benchmarks import peers as benchmark

    _in_turns(partial(benchmark.peers, benchmark.CASES, threads=threads), rounds, _print_peers, json_file)


@app.command()
def engine(
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="as many as torch takes")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often what is timed takes turns at each size.")] = 7,
) -> None:
    """Time iterations of HIO and RAAR beside the two transforms in them, and measure their memory; on the CPU."""
    from napari_dipr.benchmarks import engine as benchmark

    _in_turns(partial(benchmark.engine, benchmark.CASES, threads=threads), rounds, _print_engine, json_file)


def _in_turns(
    measure: Callable[..., dict[str, Any]], rounds: int, show: Callable[[dict[str, Any]], None], json_file: Path | None
) -> None:
    """Measure what takes turns, show it, and write it where asked."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from napari_dipr.io.write import writable_folder, write_json

    if json_file is not None:
        writable_folder(json_file.parent)
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
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--recipes", metavar="TEXT", help="A recipe; may be given again.", show_default="seven of them"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
) -> None:
    """Compare recipes on simulated crystals and FashionMNIST images, from the autocorrelation's support."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from napari_dipr.benchmarks import recipes as benchmark
    from napari_dipr.io.write import writable_folder, write_json

    if json_file is not None:
        writable_folder(json_file.parent)
    chosen = texts or benchmark.RECIPES
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(chosen) * len(benchmark.SETS))
        at = iter(range(len(chosen) * len(benchmark.SETS)))
        result = benchmark.compare(
            chosen,
            device=device,
            seed=seed,
            progress=lambda name, text: bar.update(task, description=f"{name}: {text}", completed=next(at)),
        )
    _print_recipes(result)
    if json_file is not None:
        write_json(json_file, result)


@app.command()
def generality(
    objects: Annotated[int, typer.Option("--images", min=1, help="How many objects of each kind and size.")] = 24,
    model: Annotated[str, typer.Option(help="A model for simulated pictures.")] = "unrolled-objects-2d",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the curves here.", dir_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
) -> None:
    """Test a model on objects of other kinds, patterns of any size, few photons and missing centres."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from napari_dipr.benchmarks import generality as benchmark
    from napari_dipr.io.write import writable_folder, write_json

    for file in (json_file, figure):
        if file is not None:
            writable_folder(file.parent)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        result = benchmark.generality(
            objects,
            model,
            device=device,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    _print_generality(result)
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
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
) -> None:
    """Train variants of the networks for the same time, one part changed at a time; resumes what was begun."""
    from napari_dipr.benchmarks import ablation as benchmark
    from napari_dipr.io.write import writable_folder, write_json

    if json_file is not None:
        writable_folder(json_file.parent)
    console = Console(stderr=True)
    result = benchmark.ablation(
        runs,
        minutes,
        None if names is None else [name.strip() for name in names.split(",")],
        objects=objects,
        device=device,
        progress=lambda name, what: console.print(f"{name}: {what}", highlight=False),
    )
    _print_ablation(result)
    if json_file is not None:
        write_json(json_file, result)


def _print_generality(result: dict[str, Any]) -> None:
    table = _table(
        f"{result['model']} on objects of other kinds",
        "nmse: symmetry-adjusted error of the proposal relative to the object's energy; IoU: of its support with the "
        "true one; ms: per proposal.",
        ("objects",),
        ("number", "grid", "oversampling", "nmse", "IoU", "ms"),
    )
    for row in result["cases"]:
        table.add_row(
            row["kind"],
            str(row["objects"]),
            " × ".join(map(str, row["grid"])),
            f"{row['oversampling']:g}",
            *(_text(row[key], ".3f") for key in ("nmse_mean", "support_iou")),
            _text(row["ms_per_proposal"], ".0f"),
        )
    console = Console()
    console.print(table)
    for key, title, heading in (
        ("photons", "Photon noise", "photons"),
        ("missing_centre", "A missing centre", "width"),
    ):
        table = _table(f"{title}, {result[key][0]['objects']} clean objects", "", (heading,), ("nmse", "IoU"))
        for row in result[key]:
            known = "no noise" if row[heading] is None else f"{row[heading]:g}"
            table.add_row(known, *(_text(row[figure], ".3f") for figure in ("nmse_mean", "support_iou")))
        console.print(table)


def _print_ablation(result: dict[str, Any]) -> None:
    table = _table(
        f"{result['minutes']:g} minutes of training each, {result['objects']} test objects",
        "nmse: symmetry-adjusted error of the network alone; twin: correlation of its objects with their own twins; "
        "refined: HIO 150 + shrink-wrap + ER 30, solved below .01; centreless: nmse without the pattern's centre.",
        ("variant",),
        ("steps", "nmse", "IoU", "twin", "refined", "solved", "centreless"),
    )
    for name, row in result["variants"].items():
        table.add_row(
            name,
            str(row["steps"]),
            *(_text(row.get(key), ".3f") for key in ("nmse_mean", "support_iou", "own_twin", "refined_nmse_mean")),
            _text(row.get("refined_solved"), ".0%"),
            _text(row.get("centreless_nmse_mean"), ".3f"),
        )
    console = Console()
    console.print(table)
    for name, row in result["variants"].items():
        console.print(f"{name}: {row['purpose']}", style="dim", highlight=False)


def _print_recipes(result: dict[str, Any]) -> None:
    from rich.text import Text

    table = _table(
        f"Recipes from the autocorrelation's support, seed {result['seed']}",
        "nmse: symmetry-adjusted error relative to the object's energy, mean and median; solved: share of "
        "objects below .01; size: the support's pixels over the true one's; FFTs per object.",
        ("recipe",),
        ("nmse", "median", "solved", "χ²", "size", "iter.", "FFTs"),
        folds=True,
    )
    before = None
    for row in result["rows"]:
        if row["set"] != before:
            table.add_section()
            table.add_row(Text(f"{row['set']} ({row['objects']})", style="bold"))
        before = row["set"]
        table.add_row(
            Text(row["recipe"].replace(" ", "")),
            *(_text(row[key], ".3f") for key in ("nmse_mean", "nmse_median")),
            _text(row["solved"], ".0%"),
            _text(row["chi2"], ".1e"),
            _text(row["size"], ".2f"),
            *(_text(row[key], ".0f") for key in ("iterations", "ffts")),
        )
    console = Console()
    console.print(table)
    for row in result["rows"]:
        for why, count in row["ended"].items():
            told = f"{row['set']}, {row['recipe']}: {why} ({count}×)"
            console.print(told, style="dim", markup=False, highlight=False)


def _print_models(result: dict[str, Any]) -> None:
    table = _table(
        f"Models on {result['objects']} {result['kind']} test objects",
        "nmse: symmetry-adjusted error relative to the object's energy, of the proposal, after HIO 150 + "
        "shrink-wrap + ER 30 from it, and after the same from the exact support; solved: share below .01; IoU: of the "
        "proposed support with the true one; ms: per proposal.",
        ("model",),
        ("nmse", "median", "IoU", "refined", "solved", "exact", "solved", "ms"),
    )
    for name, row in result["models"].items():
        table.add_row(
            name,
            *(_text(row[key], ".3f") for key in ("nmse_mean", "nmse_median", "support_iou", "refined_nmse_mean")),
            _text(row["refined_solved"], ".0%"),
            _text(row["exact_support_nmse_mean"], ".3f"),
            _text(row["exact_support_solved"], ".0%"),
            _text(row["ms_per_proposal"], ".0f"),
        )
    Console().print(table)


def _print_engine(result: dict[str, Any]) -> None:
    table = _table(
        f"An iteration beside its two transforms, {result['cases'][0]['dtype']}, threads: {result['threads']}",
        "×: an iteration to the transforms (into tensors that are there, and into new ones); /complex: to one "
        "with a complex object; B: bytes per pixel at the peak. HIO's time grows as (N log N) to the power of "
        f"{_text(result['growth_exponent'], '.2f')}.",
        ("size", "algorithm"),
        ("ms", "FFTs", "×", "new", "×", "/complex", "B"),
    )
    for case in result["cases"]:
        table.add_row(
            case["name"],
            case["algorithm"] + (", real" if case["real"] else ""),
            *(_text(case[key], ".2f") for key in ("iteration_ms", "fft_pair_ms", "ratio")),
            *(_text(case[key], ".2f") for key in ("new_fft_pair_ms", "new_ratio")),
            _text(case.get("real_over_complex"), ".2f"),
            _text(case["peak_bytes_per_voxel"], ".0f"),
        )
    Console().print(table)


def _print_peers(result: dict[str, Any]) -> None:
    from napari_dipr.benchmarks.peers import SAME

    names = list(result["cases"][0]["peers"])
    table = _table(
        f"One iteration of HIO in ms, {result['cases'][0]['dtype']}, threads: {result['threads']}",
        "×: the fastest peer's time to ours, the median over rounds. – is a peer that did not take part.",
        ("size",),
        ("ours", *names, "fastest", "×"),
    )
    for case in result["cases"]:
        table.add_row(
            case["name"],
            _text(case["ours_ms"], ".2f"),
            *(_text(case["peers"][name]["iteration_ms"], ".2f") for name in names),
            case["fastest_peer"] or "–",
            _text(case["speedup"], ".2f"),
        )
    console = Console()
    console.print(table)
    for case in result["cases"]:
        if case["ours_difference"] > SAME:
            console.print(f"ours: wrong at {case['name']}, by {case['ours_difference']:.1e}", style="red", markup=False)
    for name in names:
        absent: dict[str, list[str]] = {}
        for case in result["cases"]:
            if reason := case["peers"][name].get("reason"):
                absent.setdefault(reason, []).append(case["name"])
        for reason, sizes in absent.items():
            console.print(f"{name}: {reason} ({', '.join(sizes)})", style="dim", markup=False)


def _print(result: dict[str, Any]) -> None:
    table = _table(
        f"FashionMNIST 36² in 72², {result['images']} test images",
        "nmse: symmetry-adjusted error relative to the object's energy (0 exact, 1 nothing in common); "
        "solved: share of images below .01; IoU: of the support with the true one; FFTs and ms per image; +: told that "
        f"objects are real and not negative; multistart: the best of {result['starts']} by its residual. The paper "
        "does not say how its error is normalised: its column is comparable only if it is relative too.",
        ("method",),
        ("nmse", "median", "solved", "IoU", "FFTs", "ms", "paper"),
    )
    for name, row in result["rows"].items():
        table.add_row(
            f"{name} +" if row["positive"] else name,
            *(_text(row[key], ".3f") for key in ("nmse_mean", "nmse_median")),
            _text(row["solved"], ".0%"),
            _text(row["support_iou"], ".2f"),
            _text(row["ffts_per_image"], "d"),
            _text(row["ms_per_image"], ".0f"),
            _text(row["paper"], ".3f"),
        )
    Console().print(table)


def _table(title: str, caption: str, words: Sequence[str], figures: Sequence[str], *, folds: bool = False) -> "Table":
    """Return a table within 80 columns: words on the left, folded where they may be, and figures on the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), title=title, caption=caption)
    for heading in words:
        table.add_column(heading, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _text(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)
