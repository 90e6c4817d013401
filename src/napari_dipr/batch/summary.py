"""The summary of a batch: a table as CSV, and one with pictures as HTML."""

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from napari_dipr import __version__
from napari_dipr.batch.inputs import Pattern
from napari_dipr.batch.job import DONE, FAILED, Job, Row
from napari_dipr.io.write import replacing

# Of the table: what a spreadsheet takes.
COLUMNS = (
    "number",
    "name",
    "input",
    "frame",
    "state",
    "error",
    "verdict",
    "words",
    "cause",
    "chi2",
    "free_chi2",
    "r_factor",
    "likelihood",
    "free_likelihood",
    "nmse",
    "support_voxels",
    "prtf_resolution",
    "fsc_resolution",
    "unit",
    "starts",
    "kept",
    "seed",
    "model",
    "iterations",
    "seconds",
    "output",
)
# Rows of the page at most: of more, those that failed and those with the largest χ².
MOST = 2000


class _Column(NamedTuple):
    """A column of the page: key of a row, heading, what it says when pointed at."""

    key: str
    heading: str
    about: str = ""


_FIGURES = (
    _Column("verdict", "verdict", "whether the starts agree"),
    _Column("chi2", "χ²", "Σ(|F|−A)²/ΣA²"),
    _Column("free_chi2", "free χ²", "the same of the pixels that were held back"),
    _Column("r_factor", "R", "Σ||F|−A|/ΣA"),
    _Column("nmse", "nmse", "error against the known object"),
    _Column("support_voxels", "support", "its pixels"),
    _Column("prtf_resolution", "PRTF", "half-period where it has fallen to 1/e, beyond chance, in the unit beside"),
    _Column("fsc_resolution", "FSC", "half-period where that of two halves has fallen to .5, in the unit beside"),
    _Column("unit", "unit", "of these half-periods"),
    _Column("kept", "kept", "starts in the mean"),
    _Column("seconds", "s", "seconds of solving"),
)


def about(job: Job, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what a summary says of the whole: settings, versions, and how many there are."""
    done = sum(row["state"] == DONE for row in rows)
    return {
        "program": "napari-dipr",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": job.settings,
        "threads": job.threads,
        "patterns": len(rows),
        "done": done,
        "failed": sum(row["state"] == FAILED for row in rows),
        "versions": {"napari-dipr": __version__, **{name: version(name) for name in ("torch", "numpy")}},
    }


def write_summary(job: Job, rows: Sequence[Row], patterns: Sequence[Pattern]) -> dict[str, Path]:
    """Write ``summary.csv`` and ``summary.html`` into the batch's folder; return their paths.

    Parameters
    ----------
    job
        What was done.
    rows
        Of the patterns that have one so far.
    patterns
        All of the batch.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    rows = sorted(rows, key=lambda row: row["number"])
    places = [job.folder / "summary.csv", job.folder / "summary.html"]
    with replacing(*places) as (table, page):
        table.write_text(_table(rows), encoding="utf-8", newline="")
        page.write_text(_page(job, rows, patterns), encoding="utf-8")
    return {place.suffix[1:]: place for place in places}


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "output": next(iter(row.get("outputs", {}).values()), None)})
    return text.getvalue()


def _page(job: Job, rows: Sequence[Row], patterns: Sequence[Pattern]) -> str:
    from jinja2 import Environment

    by_number = {pattern.number: pattern for pattern in patterns}
    columns = [column for column in _FIGURES if any(row.get(column.key) is not None for row in rows)]
    shown = rows if len(rows) <= MOST else sorted(sorted(rows, key=_badness)[-MOST:], key=lambda row: row["number"])
    lines = []
    for row in shown:
        outputs = list(row.get("outputs", {}).values())
        lines.append(
            {
                **row,
                "cells": [(row.get(column.key), _words(row.get(column.key))) for column in columns],
                "link": _link(Path(outputs[0]), job.folder) if outputs else None,
                "pictures": _pictures(job, by_number[row["number"]]) if row["state"] == DONE else [],
            }
        )
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("napari_dipr.batch").joinpath("summary.html").read_text(encoding="utf-8"))
    settings = {
        name.replace("_", " "): value if isinstance(value, int | float | str) else json.dumps(value, ensure_ascii=False)
        for name, value in job.settings.items()
        if value is not None and value is not False and value != {}
    }
    return template.render(
        about=about(job, rows),
        settings=settings,
        columns=columns,
        rows=lines,
        total=len(patterns),
        folder=job.folder.name,
        starts=job.starts,
    )


def _badness(row: Row) -> float:
    """Return what rows are chosen by where there are too many: those that failed are the worst."""
    value = row.get("chi2")
    return math.inf if row["state"] == FAILED or value is None else float(value)


def _words(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _link(file: Path, folder: Path) -> str:
    return quote(os.path.relpath(file, folder).replace(os.sep, "/"))


def _pictures(job: Job, pattern: Pattern) -> list[str]:
    """Return the pictures that a pattern's row file has; none where it is not there any more."""
    try:
        row = json.loads(job.row_file(pattern).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return row.get("pictures") or []
