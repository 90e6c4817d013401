"""What napari's menus call: samples, the writer, and the panels' buttons. Thin, and quick to import."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.utils.notifications import show_error

from napari_dipr.errors import FileError
from napari_dipr.ui.canvas import TAG, logarithm
from napari_dipr.ui.forms import told
from napari_dipr.ui.session import FILE_TAG, RESULT_TAG, SAMPLE_TAG, session_of


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


def reader(path: str | list[str]) -> Callable[[str | list[str]], list[tuple[Any, dict[str, Any], str]]] | None:
    """Return what reads a pattern as an image layer, for the endings that napari has no reader of its own for.

    What the file says of bad pixels and geometry comes with the layer, to the measurement that is made of it.
    """
    return read_patterns if isinstance(path, str) else None


def read_patterns(path: str | list[str]) -> list[tuple[Any, dict[str, Any], str]]:
    """Read a file as :func:`~napari_dipr.io.arrays.load_lazily_where_large` does.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    from napari_dipr.io.arrays import load_lazily_where_large
    from napari_dipr.io.record import is_result

    loaded = load_lazily_where_large(str(path))
    if loaded.array.dtype.kind == "c":  # which napari does not show
        loaded = loaded._replace(array=abs(loaded.array), notes=(*loaded.notes, "its modulus was taken"))
    if is_result(str(path)):
        told = {"name": Path(str(path)).stem, "metadata": {RESULT_TAG: str(path)}}
        return [(loaded.array, told, "image")]
    return [(loaded.array, {"name": Path(str(path)).stem, "metadata": {FILE_TAG: loaded}}, "image")]


def write_layers(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write an object's amplitude and phase, and its support where it is among the layers.

    ``path``'s ending says how, see :func:`~napari_dipr.io.record.write_record`.

    Raises
    ------
    FileError
        If amplitude and phase of one object are not both among the layers, or they cannot be written so.
    """
    from napari_dipr.io.record import Record, write_record

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
    record = Record.of(amplitude * np.exp(1j * np.nan_to_num(phase)), support, told)
    return [str(written) for written in write_record(path, record).values()]


def propose_support(viewer: "napari.Viewer") -> None:
    """Let the network that fits best propose a support."""
    _press(viewer, lambda workflow: workflow.support.propose_button)


def support_from_autocorrelation(viewer: "napari.Viewer") -> None:
    """Take a first support from the data alone."""
    _press(viewer, lambda workflow: workflow.support.autocorrelation_button)


def start_refinement(viewer: "napari.Viewer") -> None:
    """Start the refinement that the Refine panel describes."""
    _press(viewer, lambda workflow: workflow.refine.bar.start)


def twin(viewer: "napari.Viewer") -> None:
    """Turn the object that is shown into its twin."""
    _settle(viewer, "twin")


def recentre(viewer: "napari.Viewer") -> None:
    """Shift the object that is shown to the middle."""
    _settle(viewer, "centre")


def remove_ramp(viewer: "napari.Viewer") -> None:
    """Take the mean slope off the phase of the object that is shown."""
    _settle(viewer, "ramp")


def _press(viewer: Any, which: Any) -> None:
    # Docked once: napari gives back what is there.
    _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    button = which(workflow)
    if button.isEnabled():
        button.click()
    else:
        show_error(f"{button.text()} is not possible now: {workflow.hint}")


def _settle(viewer: Any, what: Any) -> None:
    told(session_of(viewer).history.settle)(what)
