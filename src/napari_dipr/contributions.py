"""What napari's menus call: samples and the writer. Thin, and quick to import."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipr.errors import FileError
from napari_dipr.ui.canvas import TAG, logarithm
from napari_dipr.ui.session import SAMPLE_TAG


def fashion(number: int) -> list[tuple[Any, dict[str, Any], str]]:
    """Return sample ``fashion-<number>``: its pattern (log), which brings measurement and truth to the session."""
    from napari_dipr.samples import sample

    measurement, truth = sample(f"fashion-{number}")
    options = {
        "name": f"{measurement.name} · measurement (log)",
        "colormap": "inferno",
        "metadata": {SAMPLE_TAG: (measurement, truth)},
    }
    return [(logarithm(measurement.intensities), options, "image")]


fashion_boot = partial(fashion, 0)
fashion_pullover = partial(fashion, 1)
fashion_trouser = partial(fashion, 2)
fashion_sandal = partial(fashion, 8)


def write_layers(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write an object's amplitude and phase, and its support where it is among the layers, as TIFF.

    ``path`` names the set: ``result.tif`` becomes ``result_amplitude.tif``, ``result_phase.tif``,
    ``result_support.tif``.

    Raises
    ------
    FileError
        If amplitude and phase of one object are not both among the layers.
    """
    from napari_dipr.io.write import export

    found = {(options.get("metadata") or {}).get(TAG, ("", ""))[1]: (data, options) for data, options, _ in layers}
    if not {"amplitude", "phase"} <= found.keys():
        raise FileError(
            "Select the object's amplitude and phase layers, and its support, to write them; the Export panel writes "
            "them with all settings."
        )
    amplitude, phase = (np.asarray(found[role][0]) for role in ("amplitude", "phase"))
    support = np.asarray(found["support"][0]) > 0 if "support" in found else np.isfinite(phase)
    names = sorted({options["metadata"][TAG][0] for _, options in found.values()})
    if len(names) > 1:
        raise FileError(f"These layers are of different objects ({', '.join(names)}). Select those of one of them.")
    told = {"program": "napari-dipr", "measurement": {"name": names[0]}}
    target = Path(path)
    x = amplitude * np.exp(1j * np.nan_to_num(phase))
    return [str(p) for p in export(target.parent, target.stem, x, support, told).values()]
