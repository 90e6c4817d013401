"""What the benchmarks' commands share: options, places that can be written to, and how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from napari_dipr.errors import DiprError
from napari_dipr.extras import require

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.", dir_okay=False)
]
Curves = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the curves here.", dir_okay=False)]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]


def writable(json_file: Path | None, figure: Path | None = None) -> None:
    """Make the folders of what will be written, and look for what draws: before the computing rather than after."""
    from napari_dipr.io.write import writable_folder

    if figure is not None:
        require("The figure", "matplotlib", "bench")
    for file in (json_file, figure):
        if file is not None:
            writable_folder(file.parent)


def listed_names(names: str) -> list[str]:
    """Return the names that stand between commas."""
    listed = [stripped for name in names.split(",") if (stripped := name.strip())]
    if not listed:
        raise DiprError(f"{names!r} names nothing. Give names with commas between them.")
    return listed


@contextmanager
def bar_of(total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show how far a benchmark is: told what comes next, how many parts are done, and of how many where that is new."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def tell(what: str, done: int, total: int | None = total) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell


@contextmanager
def bars_of(totals: dict[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show how far the parts of a benchmark are, by their names: told how much of which is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {name: bar.add_task(name, total=total) for name, total in totals.items()}
        yield lambda name, done: bar.update(tasks[name], completed=done)
