"""What a batch does with each of its patterns, and the file that says of a pattern that it is done."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_dipr.batch.inputs import Pattern
from napari_dipr.errors import DiprError, FileError
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
        """The settings, and of which state the files are that they name."""
        p, request = self.preparation, self.request
        files = [getattr(p, name) for name in FILES]
        files += [request.support if request.support != AUTOCORRELATION else None]
        weights = None if request.model is None else trained(request.model)["sha256"]
        stamps = [None if file is None else _stamp(Path(file)) for file in files]
        return {**self.settings, "files": stamps, "weights": weights}

    def check(self) -> None:
        """Find out before the first pattern what would be wrong with all of them.

        Raises
        ------
        FileError
            If one of the files that the settings name cannot be read.
        """
        for file in self.files:
            load_array(file, prefer="mask")

    def digest(self, pattern: Pattern) -> str:
        """Return what tells whether a result is that of these settings and of the pattern's file as it is now."""
        state = None if pattern.input.startswith(SAMPLE) else _stamp(Path(pattern.input))
        text = json.dumps([self._asked, pattern.input, pattern.frame, state])
        return hashlib.sha256(text.encode()).hexdigest()

    def result(self, pattern: Pattern) -> Path:
        """Return where a pattern's result goes."""
        return self.folder / f"{pattern.name}{self.ending}"

    def row_file(self, pattern: Pattern) -> Path:
        """Return where a pattern's row goes: it is there once the result is."""
        return self.folder / ROWS / f"{pattern.name}.json"

    def row(self, pattern: Pattern, state: str, **more: Any) -> Row:
        """Return a row of the summary, plain JSON."""
        return as_json({**pattern._asdict(), "state": state, **more})

    def finished(self, pattern: Pattern) -> Row | None:
        """Return the row of a pattern that was solved before with these settings; None where it is to be solved.

        Raises
        ------
        FileError
            If the result there is another input's, which would be lost.
        """
        try:
            row = json.loads(self.row_file(pattern).read_text(encoding="utf-8"))
            before = (row["input"], row["frame"])
            done = row["state"] == DONE and row["asked"] == self.digest(pattern) and self.result(pattern).is_file()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):  # no row of ours: it is written anew
            return None
        if before != (pattern.input, pattern.frame):
            raise FileError(
                f"{self.result(pattern)} is the result of another input, {before[0]}. Choose another folder, or "
                "--again to replace it."
            )
        row.pop("pictures", None)
        return {**row, "number": pattern.number} if done else None

    def write(self, pattern: Pattern, row: Row, pictures: list[str]) -> None:
        """Write a pattern's row, with its pictures."""
        write_json(self.row_file(pattern), {**row, "pictures": pictures})

    def forget(self, pattern: Pattern) -> None:
        """Have a pattern solved again."""
        self.row_file(pattern).unlink(missing_ok=True)


def failed(job: Job, pattern: Pattern, error: BaseException, **more: Any) -> Row:
    """Return the row of a pattern that could not be solved, with the error's words; forget what it was before.

    An earlier result stays where it is, which is told; its row, which would say that it is this pattern's, does not.
    """
    words = " ".join(str(error).split())
    if not isinstance(error, DiprError):  # its words alone need not say much
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    with contextlib.suppress(DiprError, OSError):  # of another input's result, nothing is forgotten
        if job.finished(pattern) is None and job.result(pattern).is_file():
            job.forget(pattern)
            words += f" The {job.result(pattern).name} that is there is of an earlier run."
    return job.row(pattern, FAILED, error=words, **more)


def _stamp(file: Path) -> tuple[str, int, int] | None:
    """Return path, size and time of change of a file; None where it is missing, which is told when it is read."""
    try:
        state = file.stat()
    except OSError:
        return None
    return str(file.absolute()), state.st_size, state.st_mtime_ns
