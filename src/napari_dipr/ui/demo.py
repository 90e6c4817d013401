"""The demo: the workflow on a sample, in its window; or without a person, through the same widgets."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from skimage.morphology import disk, opening

from napari_dipr.ui.app import open_gui, open_window, wait_until
from napari_dipr.ui.memory import unremembered
from napari_dipr.ui.support_tools import largest_piece
from napari_dipr.ui.workflow import Workflow

# One whose proposal has islands to brush away, and from which HIO ends at the object however it rounds.
SAMPLE = "sample:fashion-39"


def run_demo(headless: bool, output: Path) -> None:
    """Open napari with a sample and the workflow docked; ``headless`` goes through it and writes to ``output``."""
    if not headless:
        open_gui(SAMPLE)
        return
    with unremembered():
        viewer, workflow = open_window(SAMPLE)
        try:
            go_through(viewer, workflow, output)
        finally:
            viewer.close()


def go_through(viewer: "napari.Viewer", workflow: Workflow, output: Path) -> list[Path]:
    """Propose, edit by hand, refine and export, with a picture of the window at each step; return what was written."""
    output.mkdir(parents=True, exist_ok=True)
    session, run = workflow.session, workflow.session.refinement
    pictures: list[Path] = []

    def photograph(step: str) -> None:
        pictures.append(output / f"{len(pictures) + 1}-{step}.png")
        viewer.screenshot(str(pictures[-1]), canvas_only=False, flash=False)

    wait_for(lambda: session.measurement is not None, "the measurement")
    photograph("measurement")
    workflow.support.propose_button.click()
    wait_for(lambda: session.support_layer is not None, "the network's proposal")
    photograph("proposal")
    _edit(session.support_layer)
    wait_for(lambda: session.is_edited, "the edit")
    photograph("edited")
    workflow.refine.bar.start.click()
    wait_for(
        lambda: run.state == "idle" and run.snapshot is not None and run.snapshot.ended is not None, "the refinement"
    )
    workflow.export.folder.value = output
    written: list[Path] = []
    session.exported.connect(lambda paths: written.extend(paths.values()))
    workflow.export.export_button.click()
    wait_for(lambda: bool(written), "the export")
    photograph("refined")
    return [*written, *pictures]


def _edit(support: Any) -> None:
    """Do what a person would: brush away the islands beside the object, and thin spurs of its outline."""
    inside = np.asarray(support.data) > 0
    unlikely = inside & ~opening(largest_piece(inside), disk(2))
    # Something is always touched.
    unlikely |= inside & (np.cumsum(inside).reshape(inside.shape) == 1)
    support.brush_size = 1
    for pixel in np.argwhere(unlikely):
        support.paint(tuple(pixel), 0)


def wait_for(done: Callable[[], bool], what: str) -> None:
    """Let the window work until a condition holds, and then draw. Raises DiprError if it does not come to hold."""
    wait_until(done, what)
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.005)
