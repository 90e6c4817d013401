"""Open napari with the workflow docked."""

import time
from collections.abc import Callable
from typing import Any

import napari
from qtpy.QtWidgets import QApplication

from napari_dipr.errors import DiprError
from napari_dipr.ui.session import session_of
from napari_dipr.ui.workflow import Workflow

PLUGIN = "napari-dipr"
PATIENCE = 300.0  # seconds for one step, on a slow machine that imports torch for the first time


def open_window(source: str | None = None) -> tuple["napari.Viewer", Workflow]:
    """Return a viewer with the workflow docked, and ``source`` loaded: a file, or ``sample:fashion-K``.

    Raises
    ------
    DiprError
        If the source cannot be read.
    """
    from napari_dipr.io.record import is_result

    result = source if source is not None and is_result(source) else None
    loaded = _load(source) if source is not None and result is None else None
    viewer = napari.Viewer(title="napari-dipr")
    _, workflow = viewer.window.add_plugin_dock_widget(PLUGIN, "Phase retrieval")
    viewer.window.resize(1440, 900)
    QApplication.processEvents()  # the canvas must have its size before the camera is pointed
    if loaded is not None:
        session_of(viewer).use(*loaded)
    if result is not None:
        session_of(viewer).restore(result)
    return viewer, workflow


def open_gui(source: str | None = None) -> None:
    """Open the window and stay until it is closed."""
    open_window(source)
    napari.run()


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Let the window work until a condition holds.

    Raises
    ------
    DiprError
        If it does not come to hold.
    """
    until = time.monotonic() + PATIENCE
    while not done():
        QApplication.processEvents()
        time.sleep(0.001)
        if time.monotonic() > until:
            raise DiprError(f"Waited {PATIENCE:.0f} s for {what} in vain. The notifications tell more.")


def _load(source: str) -> tuple[Any, ...]:
    if source.startswith("sample:"):
        from napari_dipr.samples import sample

        return sample(source.removeprefix("sample:"))
    from napari_dipr.io.read import read

    return (read(source),)
