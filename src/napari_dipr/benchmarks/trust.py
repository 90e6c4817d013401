"""The commands that measure how far a result can be trusted, and a run be cut off."""

from typing import Annotated

import typer
from rich.console import Console

from napari_dipr.benchmarks import trust_tables as tables
from napari_dipr.benchmarks.options import Curves, Device, JsonFile, bar_of, listed_names, writable
from napari_dipr.errors import DiprError
from napari_dipr.extras import require


def verdict(
    each: Annotated[int, typer.Option(min=1, help="Cases of each class.")] = 15,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the cases; thresholds were chosen on those of 0 to 7.")] = 11,
) -> None:
    """Judge simulated ensembles whose class is known, and count how often the verdict is right."""
    from napari_dipr.benchmarks import verdict as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file)
    with bar_of(each * len(benchmark.KINDS)) as tell:
        result = benchmark.verdicts(each, seed, progress=tell)
    tables.show_verdicts(result)
    if json_file is not None:
        write_json(json_file, result)


def resolution(
    objects: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 3,
    photons: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="In each pattern.", show_default="1e4,1e5,1e6,1e7")
    ] = None,
    starts: Annotated[int, typer.Option(min=2, help="Of each ensemble.")] = 20,
    keep: Annotated[int, typer.Option(min=2, help="How many of the best are averaged at most.")] = 5,
    side: Annotated[int, typer.Option(min=24, max=128, help="Of the crystals' scans, pixels.")] = 40,
    json_file: JsonFile = None,
    figure: Curves = None,
    seed: Annotated[int, typer.Option(min=0, help="Of objects, noise and starts.")] = 0,
) -> None:
    """Compare the resolutions that PRTF and FSC claim with the true ones, on simulated crystals and flat objects."""
    from napari_dipr.benchmarks import resolution as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file, figure)
    try:
        counts = benchmark.PHOTONS if photons is None else [float(text) for text in listed_names(photons)]
    except ValueError:
        raise DiprError(f"{photons!r} are not numbers of photons. Give numbers with commas, such as 1e5,1e6.") from None
    with bar_of(objects * len(counts) * len(benchmark.KINDS)) as tell:
        result = benchmark.resolution(objects, counts, starts=starts, keep=keep, seed=seed, side=side, progress=tell)
    tables.show_resolution(result)
    if json_file is not None:
        write_json(json_file, result)
    if figure is not None:
        benchmark.draw(result, figure)


def guided(
    objects: Annotated[int, typer.Option(min=1, help="Of each set.")] = 24,
    side: Annotated[int, typer.Option(min=32, max=512, help="Of the patterns, pixels.")] = 64,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of objects, noise and starts.")] = 0,
) -> None:
    """Compare guided generations with independent starts of as many iterations in all, on hard simulated objects."""
    from napari_dipr.benchmarks import guided as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file)
    with bar_of(objects * len(benchmark.SETS)) as tell:
        result = benchmark.compare(objects, seed=seed, side=side, progress=tell)
    tables.show_guided(result)
    if json_file is not None:
        write_json(json_file, result)


def kills(
    times: Annotated[int, typer.Option(min=1, max=10_000, help="How many runs.")] = 50,
    interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two checkpoints.")] = 1.0,
    side: Annotated[int, typer.Option(min=16, max=512, help="Of the volume, pixels.")] = 64,
    recipe: Annotated[str, typer.Option(metavar="TEXT", help="What the runs carry out.")] = "alm*100000",
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the moments.")] = 0,
) -> None:
    """Kill runs at random moments (kill -9), and compare what is gone on with to a run that was left alone."""
    from rich.progress import Progress

    from napari_dipr.benchmarks import kills as benchmark
    from napari_dipr.io.write import write_json

    writable(json_file)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=times)
        result = benchmark.kills(
            times, interval=interval, side=side, recipe=recipe, seed=seed, progress=lambda: bar.advance(task)
        )
    tables.show_kills(result)
    if json_file is not None:
        write_json(json_file, result)


def checkpoints(
    volume: Annotated[int, typer.Option(min=16, max=1024, help="Side of the volume, pixels.")] = 128,
    image: Annotated[int, typer.Option(min=16, max=8192, help="Side of the image, pixels.")] = 512,
    writes: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of stretches, one of each with a write.")] = 12,
    pairs: Annotated[int, typer.Option(min=0, max=100, help="Pairs of runs, one of each with checkpoints.")] = 2,
    seconds: Annotated[float, typer.Option(min=1, help="Of each of these runs.")] = 60.0,
    json_file: JsonFile = None,
    device: Device = "cpu",
) -> None:
    """Measure what keeping a run's state every 20 s takes from its iterations."""
    from rich.progress import Progress

    from napari_dipr.benchmarks import checkpoints as benchmark
    from napari_dipr.device import find_device
    from napari_dipr.io.write import write_json

    writable(json_file)
    grids = ((image,) * 2, (volume,) * 3)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(grids) * len(benchmark.RECIPES))
        result = benchmark.checkpoints(
            grids,
            writes=writes,
            pairs=pairs,
            seconds=seconds,
            device=str(find_device(device)),
            progress=lambda: bar.advance(task),
        )
    tables.show_checkpoints(result)
    if json_file is not None:
        write_json(json_file, result)


def batch(
    patterns: Annotated[int, typer.Option(min=8, max=256, help="FashionMNIST samples, of one start each.")] = 200,
    several: Annotated[int, typer.Option(min=4, max=256, help="Samples of several starts each, to time.")] = 24,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    rounds: Annotated[int, typer.Option(min=0, help="Of the timing.")] = 1,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the starts.")] = 0,
) -> None:
    """Compare a batch over worker processes, one of which is killed, with the same in one, bit for bit; and time it."""
    from napari_dipr.benchmarks import batches as benchmark
    from napari_dipr.io.write import write_json

    require("A batch over worker processes", "distributed", "cluster")
    writable(json_file)
    with bar_of() as tell:
        result = benchmark.batches(patterns, several, workers=workers, rounds=rounds, seed=seed, progress=tell)
    tables.show_batches(result)
    if json_file is not None:
        write_json(json_file, result)
