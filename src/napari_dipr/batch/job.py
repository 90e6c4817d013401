"""What a batch does with each of its patterns, and the file that says of a pattern that it is done."""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from napari_dipr.batch.inputs import Pattern
from napari_dipr.errors import DiprError, FileError, one_line
from napari_dipr.io.arrays import load_array
from napari_dipr.io.provenance import as_json
from napari_dipr.io.read import SAMPLE
from napari_dipr.io.write import write_json
from napari_dipr.networks.zoo import trained
from napari_dipr.preparation.steps import FILES, Preparation
from napari_dipr.reconstruct import AUTOCORRELATION, Request

Row = dict[str, Any]
DONE, FAILED = "done", "failed"
# Of the patterns, in the batch's folder.
ROWS = "rows"
# What a result came of beside settings: whose it is, and its file as it was.
_INPUT, _FRAME, _STATE = "input", "frame", "the pattern's file"


class Earlier(NamedTuple):
    """A result that is in the batch's folder.

    Attributes
    ----------
    row
        Its own.
    differs
        What is otherwise now than what it came of, each by its name in words; but for the pattern's file.
    changed
        Whether that has changed since.
    """

    row: Row
    differs: dict[str, str]
    changed: bool


@dataclass(frozen=True)
class Job:
    """What is done with each pattern, wherever that is.

    Attributes
    ----------
    request, preparation
        How it is solved and prepared. The seed is every pattern's: one comes out as it does alone, wherever it stands
        in the batch.
    folder
        Where results go; every worker must reach it by this name, as it must the inputs.
    starts
        Of each pattern; the mean of the better ones is kept where there are several.
    ending
        Of the results' files.
    key, region
        What is read of each file.
    threads
        That a worker computes with.
    together
        How many patterns of one shape are solved as one batch of tensors at most; None for as many as pay.
    """

    request: Request
    preparation: Preparation
    folder: Path
    starts: int = 1
    ending: str = ".tif"
    key: str | None = None
    region: str | None = None
    threads: int = 1
    together: int | None = None

    def __post_init__(self) -> None:
        # Workers may begin in another folder.
        support, model = self.request.support, self.request.model
        if support not in (None, AUTOCORRELATION):
            support = str(Path(support).absolute())
        if model is not None and len(Path(model).parts) > 1:  # as of find_model
            model = str(Path(model).expanduser().absolute())
        given = {name: path.absolute() for name in FILES if (path := getattr(self.preparation, name)) is not None}
        object.__setattr__(self, "request", replace(self.request, support=support, model=model))
        object.__setattr__(self, "preparation", self.preparation.model_copy(update=given))
        object.__setattr__(self, "folder", self.folder.absolute())

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that its settings name, but for a model's."""
        support = self.request.support
        return (*self.preparation.files, *([] if support in (None, AUTOCORRELATION) else [Path(support)]))

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on but for rounding, as plain JSON: not device, threads, and batches of tensors."""
        request = asdict(self.request)
        del request["device"]
        return as_json(
            {
                **request,
                "starts": self.starts,
                "format": self.ending,
                "key": self.key,
                "region": self.region,
                "preparation": self.preparation.as_json(),
            }
        )

    @cached_property
    def _asked(self) -> dict[str, Any]:
        """The settings, each by its name, and of which state the files are that they name."""
        settings = self.settings
        files = {name: getattr(self.preparation, name) for name in FILES}
        if self.request.support != AUTOCORRELATION:
            files["support"] = self.request.support
        model = self.request.model
        return {
            **settings.pop("preparation"),
            **settings,
            **{f"{name}'s file": _stamp(Path(file)) for name, file in files.items() if file is not None},
            "model's weights": None if model is None else {"sha256": trained(model)["sha256"]},
        }

    def check(self) -> None:
        """Find out before the first pattern what would be wrong with all of them.

        Raises
        ------
        FileError
            If one of the files that the settings name cannot be read.
        """
        for file in self.files:
            load_array(file, prefer="mask")

    def asked(self, pattern: Pattern) -> dict[str, Any]:
        """Return what a pattern's result depends on: these settings, and its file as it is now."""
        state = None if pattern.input.startswith(SAMPLE) else _stamp(Path(pattern.input))
        return {**self._asked, _STATE: state}

    def result(self, pattern: Pattern) -> Path:
        """Return where a pattern's result goes."""
        return self.folder / f"{pattern.name}{self.ending}"

    def row_file(self, pattern: Pattern) -> Path:
        """Return where a pattern's row goes: it is there once the result is."""
        return self.folder / ROWS / f"{pattern.name}.json"

    def row(self, pattern: Pattern, state: str, **more: Any) -> Row:
        """Return a row of the summary, plain JSON."""
        return as_json({**pattern._asdict(), "state": state, **more})

    def earlier(self, pattern: Pattern) -> Earlier | None:
        """Return what is there of an earlier call under a pattern's name; None where there is no result."""
        try:
            row = json.loads(self.row_file(pattern).read_text(encoding="utf-8"))
            before = {**row["asked"], _INPUT: row["input"], _FRAME: row["frame"]}
            there = row["state"] == DONE and (self.folder / f"{pattern.name}{before['format']}").is_file()
        except (OSError, ValueError, TypeError, KeyError):  # no row of ours: it is written anew
            return None
        if not there:
            return None
        kept = {name: value for name, value in row.items() if name not in ("asked", "pictures")}
        now = {**self.asked(pattern), _INPUT: pattern.input, _FRAME: pattern.frame}
        changed = before.pop(_STATE, None) != now.pop(_STATE)
        differs = {
            name: _difference(name, before.get(name), now.get(name))
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        }
        return Earlier({**kept, "number": pattern.number}, differs, changed)

    def finished(self, pattern: Pattern) -> Row | None:
        """Return the row of a pattern that was solved before with these settings; None where it is to be solved.

        Raises
        ------
        FileError
            If the result there is another input's, which would be lost.
        """
        there = self.earlier(pattern)
        if there is None:
            return None
        if _INPUT in there.differs or _FRAME in there.differs:
            raise FileError(
                f"{self.result(pattern)} is the result of another input, {there.row['input']}. Choose another folder, "
                "or --again to replace it."
            )
        return None if there.differs or there.changed else there.row

    def write(self, pattern: Pattern, row: Row, asked: dict[str, Any], pictures: list[str]) -> None:
        """Write a pattern's row, with what it came of and with its pictures."""
        write_json(self.row_file(pattern), {**row, "asked": asked, "pictures": pictures})

    def forget(self, pattern: Pattern) -> None:
        """Have a pattern solved again."""
        self.row_file(pattern).unlink(missing_ok=True)


def failed(job: Job, pattern: Pattern, error: BaseException, **more: Any) -> Row:
    """Return the row of a pattern that could not be solved, with the error's words; an earlier result is told of."""
    words, kind = one_line(error), type(error).__name__
    if not isinstance(error, DiprError) and words != kind:  # its words alone need not say much
        words = f"{kind}: {words}"
    with contextlib.suppress(DiprError, OSError):  # of another input's result, nothing is forgotten
        if job.finished(pattern) is None and job.result(pattern).is_file():
            words += f" The {job.result(pattern).name} that is there is of an earlier run."
    return job.row(pattern, FAILED, error=words, **more)


def _difference(name: str, before: Any, now: Any) -> str:
    """Return in words that something is otherwise now: with both values, but for those of many parts."""
    if isinstance(before, dict) or isinstance(now, dict):
        return name
    there, here = (
        "none" if value is None else value if isinstance(value, str) else json.dumps(value) for value in (before, now)
    )
    return f"{name.replace('_', ' ')} ({there} there, {here} now)"


def _stamp(file: Path) -> dict[str, int] | None:
    """Return size and time of change of a file; None where it is missing, which is told when it is read."""
    try:
        state = file.stat()
    except OSError:
        return None
    return {"bytes": state.st_size, "changed_ns": state.st_mtime_ns}
