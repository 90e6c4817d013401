"""The command for many patterns."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_dipr.cli.data import console, progress_bar, tell_json
from napari_dipr.cli.options import Frame, Key, Region, prepares, solves
from napari_dipr.errors import DiprError, FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dipr.batch.inputs import Pattern
    from napari_dipr.batch.job import Job, Row
    from napari_dipr.preparation.steps import Preparation
    from napari_dipr.reconstruct import Request

# Of those that failed, how many are named at the end.
NAMED = 5


@prepares
@solves
def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, folders of them, names with * as 'scans/*.npy', or sample:fashion-0..199."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for results and summary; seen by all workers.")
    ],
    starts: Annotated[
        int, typer.Option(min=1, help="Of each pattern; of several the mean and a verdict are kept, as of ensemble.")
    ] = 1,
    each_frame: Annotated[
        bool, typer.Option("--each-frame", help="Every frame of a stack is a pattern of its own.")
    ] = False,
    format: Annotated[str, typer.Option(metavar=".ENDING", help="Of the results.")] = ".tif",
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes on this machine; 0: this one.", show_default="as there are cores"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of a worker.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a running dask scheduler, as tcp://node:8786.", show_default="none"),
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Patterns of a task.", show_default="16, of large ones 1")
    ] = None,
    together: Annotated[
        int | None,
        typer.Option(min=1, help="Patterns solved as one batch of tensors at most.", show_default="as many as pay"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Solve all again; results that are there are replaced.")
    ] = False,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all rows there; - for stdout.")
    ] = None,
    key: Key = None,
    frame: Frame = None,
    region: Region = None,
    *,
    request: "Request",
    preparation: "Preparation",
) -> None:
    """Solve many patterns, in worker processes here or on a cluster, and sum up what came of them.

    Each is solved with the same seed, so that it comes out as it does alone. Call it again to go on after a break:
    what is finished is left as it is, what failed is tried again. Results of other settings are not replaced.
    """
    if frame is not None and each_frame:
        raise typer.BadParameter("give --frame or --each-frame, not both", param_hint="--each-frame")
    if workers is not None and scheduler is not None:
        raise typer.BadParameter("workers are the scheduler's: leave out --workers", param_hint="--workers")
    from napari_dipr.batch.inputs import patterns_of
    from napari_dipr.batch.job import DONE, FAILED, ROWS, Job
    from napari_dipr.batch.run import carry_out, chunk_size, chunks_of
    from napari_dipr.batch.summary import about, write_summary
    from napari_dipr.io.record import check_writable, crystal_paths, files_of
    from napari_dipr.io.write import check_apart, writable_folder

    if json not in (None, "-"):
        writable_folder(Path(json).parent)
    job = Job(request, preparation, output, starts, format, key, region, threads, together)
    job.check()
    check_writable([job.folder / f"pattern{format}"])
    writable_folder(job.folder / ROWS)
    patterns = patterns_of(inputs, frame=frame, each_frame=each_frame, key=key, leave_out=job.folder)
    results = (path for p in patterns for path in (job.result(p), *crystal_paths([job.result(p)])))
    written = [file for path in results for file in files_of(path).values()]
    check_apart([*written, *([] if json in (None, "-") else [json])], [*(p.input for p in patterns), *job.files])
    rows, replaced = _earlier(job, patterns, again)
    left = [p for p in patterns if p.number not in rows]
    words = f", {len(rows)} of them finished before" if rows else ""
    if replaced:
        words += f", {replaced} {'result that is there is' if replaced == 1 else 'results that are there are'} replaced"
    console.print(f"[bold]{len(patterns)}[/] pattern{'s' * (len(patterns) != 1)}{words}")
    began, solved, failed = time.monotonic(), 0, 0
    end: BaseException | None = None
    if left:
        chunks = chunks_of(left, chunk or chunk_size(job, left))
        coming = carry_out(
            job,
            chunks,
            workers=workers,
            scheduler=scheduler,
            again=again,
            say=lambda words: console.print(f"  {escape(words)}"),
        )
        with progress_bar() as bar:
            task = bar.add_task(f"{len(rows)} of {len(patterns)}", total=len(patterns), completed=len(rows))
            try:
                for some in coming:
                    rows.update({row["number"]: row for row in some})
                    solved += len(some)
                    failed += sum(row["state"] == FAILED for row in some)
                    words = f"{len(rows)} of {len(patterns)}, {solved / (time.monotonic() - began):.3g}/s"
                    words += f", {failed} failed" if failed else ""
                    bar.update(task, completed=len(rows), description=words)
            except (KeyboardInterrupt, DiprError) as error:
                end = error
            finally:
                coming.close()
    stop = end if isinstance(end, DiprError) else typer.Exit(130)
    if end is not None and not rows:  # of nothing, no summary takes the place of an earlier one
        raise stop
    seconds = time.monotonic() - began
    paths = write_summary(job, list(rows.values()), patterns)
    ordered = [rows[number] for number in sorted(rows)]
    figures = {
        **about(job, ordered),
        "seconds": round(seconds, 3),
        "patterns_per_second": solved / seconds if solved else None,
        "rows": ordered,
        "outputs": {kind: str(path) for kind, path in paths.items()},
    }
    tell_json(json, figures)
    failures = [row for row in ordered if row["state"] == FAILED]
    if solved:
        console.print(
            f"{sum(row['state'] == DONE for row in ordered)} of {len(patterns)} solved; {solved} tried now, in "
            f"{seconds:.1f} s: {solved / seconds:.3g} a second"
        )
    for path in paths.values():
        console.print(f"  {escape(str(path))}")
    for row in failures[:NAMED]:
        console.print(f"  [red]{escape(row['name'])}: {escape(row['error'])}[/]")
    call = f"The same call{' without --again' if again else ''}"
    if end is not None:
        console.print(f"Stopped with {len(patterns) - len(rows)} patterns to go. {call} goes on from here.")
        raise stop
    if failures:
        raise DiprError(f"{len(failures)} of {len(patterns)} patterns failed. {call} tries them again.")


def _earlier(job: "Job", patterns: "Sequence[Pattern]", again: bool) -> "tuple[dict[int, Row], int]":
    """Return the rows of what is finished, and how many results will be replaced.

    Those are all that are there, if they are to be solved again; else those whose pattern's file has changed since.

    Raises
    ------
    FileError
        If results of other inputs or settings would be replaced, which nobody has asked for.
    """
    there = {p.number: one for p in patterns if (one := job.earlier(p)) is not None}
    if again:
        return {}, len(there)
    others = [one for one in there.values() if one.differs]
    if others:
        what = {name: words for one in others for name, words in one.differs.items()}
        raise FileError(
            f"{len(others)} of {len(patterns)} results are in {job.folder} already, but of another input or setting: "
            f"{', '.join(sorted(what.values()))}. Choose another folder (-o), or --again to replace them."
        )
    rows = {number: one.row for number, one in there.items() if not one.changed}
    return rows, len(there) - len(rows)
