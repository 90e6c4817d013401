"""What a result is made of: every setting, as plain JSON."""

import importlib.metadata
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr import __version__
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement
from napari_dipr.networks.zoo import find_model
from napari_dipr.solvers.coherence import widths

# Of a run's history, in a file.
MOST_ROWS = 500

if TYPE_CHECKING:
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.solvers.run import Reconstruction


def provenance(
    measurement: Measurement,
    recipe: "Recipe | None" = None,
    result: "Reconstruction | None" = None,
    *,
    support_from: str | None = None,
    start: str | None = None,
    seed: int | None = None,
    model: str | None = None,
    threshold: float | None = None,
    device: str | None = None,
    positive: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Collect what made a reconstruction.

    Parameters
    ----------
    measurement
        Its source, and what was done to it.
    recipe
        None where nothing was refined.
    result
        The run's outcome; the errors are those of its first sample.
    support_from, start
        Where the first support and the first object came from, in words.
    seed
        Of a random start.
    model
        Name of the network that proposed; its weights' SHA-256 is looked up.
    threshold
        Share of the network's maximum that made the support.
    device
        That the run was on.
    positive
        Whether the object was held real and ≥ 0.
    **more
        Whatever else should be told (edits, thresholds, …).

    Returns
    -------
    dict
        Plain JSON types, None for what is not known or not finite.
    """
    last = None if result is None else result.history[-1]
    return as_json(
        {
            "program": "napari-dipr",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "measurement": about_measurement(measurement),
            "start": {
                "support_from": support_from,
                "object": start,
                "seed": seed,
                "model": None
                if model is None
                else {"name": model, "sha256": _weights_sha256(model), "threshold": threshold},
            },
            "recipe": None if recipe is None else {"text": str(recipe), **recipe.model_dump(mode="json")},
            "positive": positive,
            "device": device,
            "errors": None
            if result is None or last is None
            else {
                "chi2": float(result.chi2[0]),
                "r_factor": float(result.r_factor[0]),
                "support_voxels": int(result.support[0].sum()),
                "iterations": result.iterations,
                "ffts": result.ffts,
                "seconds": round(result.seconds, 3),
                "psf_sigma": None if result.state.psf is None else widths(result.state.psf),
                "likelihood": last.likelihood,
                "free_chi2": last.free_chi2,
                "free_likelihood": last.free_likelihood,
                "ended": result.ended,
            },
            "convergence": () if result is None else convergence(result.history),
            **more,
            "versions": {
                "napari-dipr": __version__,
                **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "tifffile")},
                "python": platform.python_version(),
            },
        }
    )


def convergence(history: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the rows of a run's error history, :data:`MOST_ROWS` at most, without what is not known."""
    every = -(-len(history) // MOST_ROWS) or 1
    rows = (asdict(record) for record in history[::-every][::-1])
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def about_measurement(measurement: Measurement) -> dict[str, Any]:
    """Return all but the arrays of a measurement, as plain JSON; :func:`measurement_from` makes one of it again."""
    return as_json(
        {
            "name": measurement.name,
            "source": measurement.source,
            "history": measurement.history,
            "grid": measurement.grid,
            "unmeasured_pixels": int((~measurement.measured).sum()),
            "photons_per_unit": measurement.photons_per_unit,
            "geometry": None if measurement.geometry is None else measurement.geometry.model_dump(mode="json"),
        }
    )


def measurement_from(intensities: NDArray[Any], measured: NDArray[Any], told: dict[str, Any]) -> Measurement:
    """Return a measurement of what a file holds: its arrays, and what :func:`about_measurement` told.

    Raises
    ------
    MeasurementError
        If the arrays cannot be a measurement, or the geometry is none.
    """
    geometry = told["geometry"]
    return Measurement.of(
        intensities,
        zero_frequency="centre",
        measured=measured,
        name=told["name"],
        photons_per_unit=told["photons_per_unit"],
        geometry=None if geometry is None else Geometry.of(geometry),
        history=tuple(told["history"]),
        source=dict(told["source"]),
    )


def as_json(value: Any) -> Any:
    """Turn a value into plain JSON types; numbers that are not finite become None, what is unknown its text."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _weights_sha256(model: str) -> str:
    # load_model has checked the weights against this.
    return json.loads((find_model(model) / "trained.json").read_text())["sha256"]
