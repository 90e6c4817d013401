"""A session as it was when a result was written: measurement, mask, support, object, recipe and history."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.io.read import measurement_of
from napari_dipr.io.record import Record, read_record
from napari_dipr.measurement import Measurement
from napari_dipr.networks.zoo import model_names
from napari_dipr.samples import sample
from napari_dipr.ui.worker import Snapshot, load_torch

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session

# What a provenance says that is not a run's setting.
NO_SETTINGS = ("program", "date", "measurement", "start", "recipe", "errors", "convergence", "versions", "window")


@dataclass(frozen=True, eq=False)
class Restored:
    """What a result's file holds, as a session has it.

    Attributes
    ----------
    measurement
        The file's own, or what its source gives again.
    snapshot, settings
        The outcome, and what the run was started with.
    provenance
        As it was written.
    truth
        The object of a sample that was not cropped; None of others.
    """

    measurement: Measurement
    snapshot: Snapshot
    settings: dict[str, Any]
    provenance: dict[str, Any]
    truth: NDArray[np.complex64] | None


def restored(path: str | Path) -> Restored:
    """Read a result; for a worker.

    Raises
    ------
    FileError
        If the file holds none, or its measurement is neither in it nor where it came from.
    """
    record = read_record(path)
    measurement = measurement_of(record)
    return Restored(measurement, *_outcome(record, Path(path)), record.provenance, truth_of(measurement))


def truth_of(measurement: Measurement) -> NDArray[np.complex64] | None:
    """Return the object of a sample that was not cropped; None of other measurements."""
    if (name := measurement.source.get("sample")) is None:
        return None
    truth = sample(str(name))[1]
    return truth if truth.shape == measurement.grid else None


def restore(session: "Session", found: Restored) -> None:
    """Show a result with all that belongs to it, as a run that can be gone on from."""
    session.use(found.measurement, found.truth)
    session.show_support(found.snapshot.support, str(found.settings.get("support_from") or "a result's file"))
    session.refinement.take_up(found.snapshot, found.settings)
    session.pictures.show_snapshot(found.snapshot)
    session.history.keep(found.snapshot.ended or "")
    session.restored.emit(found.provenance)


def _outcome(record: Record, path: Path) -> tuple[Snapshot, dict[str, Any]]:
    load_torch()
    from napari_dipr.solvers.position import Record as Row
    from napari_dipr.solvers.recipe import Recipe

    told = record.provenance
    known = {field.name for field in fields(Row)}
    start, errors = told.get("start") or {}, told.get("errors") or {}
    model = start.get("model") or {}
    last: dict[str, Any] = {
        "iteration": errors.get("iterations") or 0,
        "chi2": errors.get("chi2"),
        "r_factor": errors.get("r_factor"),
        "support_pixels": errors.get("support_voxels") or float(record.support.sum()),
    }
    try:
        rows = [
            Row(**{key: value for key, value in row.items() if key in known})
            for row in told.get("convergence") or (last,)
        ]
        assert all(isinstance(row.chi2, int | float) for row in rows)
    except (TypeError, AssertionError) as error:
        raise FileError(f"{path.name} does not say how far its run came: it cannot be gone on from.") from error
    recipe = {key: value for key, value in (told.get("recipe") or {}).items() if key != "text"}
    settings = {
        "support_from": start.get("support_from"),
        "start": start.get("object"),
        "seed": start.get("seed"),
        "model": model.get("name") if model.get("name") in model_names() else None,
        "threshold": model.get("threshold"),
        "recipe": Recipe.of(recipe) if recipe else None,
        **{key: value for key, value in told.items() if key not in NO_SETTINGS},
        "restored_from": path.name,
    }
    inside, x = record.support, record.object
    iteration = int(errors.get("iterations") or 0)
    snapshot = Snapshot(
        object=x,
        amplitude=np.abs(x),
        phase=np.where(inside, np.angle(x), np.nan).astype(np.float32),
        support=inside,
        iteration=iteration,
        total=max(iteration, 1),
        stage="",
        seconds=float(errors.get("seconds") or 0),
        history=tuple(rows),
        taken=0,
        fields=record.fields,
        ended=str(errors.get("ended") or "restored"),
        ramp=None if (ramp := told.get("phase_ramp_removed")) is None else tuple(ramp),
    )
    return snapshot, settings
