"""Make the pictures of the README: ``make pictures``.

Those of the workflow are the demo's. The measured crystal needs the folder of measured patterns that
``NAPARI_DIPR_DATA`` names; without it that picture stays as it is.
"""

import os
import shutil
import tempfile
from pathlib import Path

from napari_dipr.ui.app import open_window
from napari_dipr.ui.demo import SAMPLE, go_through, wait_for
from napari_dipr.ui.memory import unremembered
from napari_dipr.ui.refine_panel import WRITTEN

IMAGES = Path(__file__).parent / "images"
EXPORTS = Path(tempfile.gettempdir()) / "beamtime"  # the pictures show where the files went


def workflow() -> None:
    """Go through the demo and keep its pictures."""
    viewer, panels = open_window(SAMPLE)
    for path in go_through(viewer, panels, EXPORTS):
        if path.suffix == ".png":
            shutil.move(path, IMAGES / path.name)
    viewer.close()


def measured_crystal(data: Path, picture: str, frame: int | None, recipe: str) -> None:
    """Reconstruct the rocking scan or one of its frames from the autocorrelation's support."""
    viewer, panels = open_window()
    session, run = panels.session, panels.session.refinement
    panels.export.folder.value = EXPORTS
    if frame is not None:
        panels.measurement.source.frame.value = frame
    panels.measurement.source.open(data / "scan54" / "stack_raw_counts.npz")
    wait_for(lambda: "256 × 256" in panels.measurement.source.found.text(), "the file")
    panels.measurement.prepare.threshold.value, panels.measurement.prepare.crop.value = "3", "128"
    panels.refine.algorithm.value, panels.refine.text.value = WRITTEN, recipe
    wait_for(panels.measurement.use_button.isEnabled, "the look at the file")
    panels.measurement.use_button.click()
    wait_for(lambda: session.measurement is not None, "the measurement")
    panels.support.autocorrelation_button.click()
    wait_for(lambda: session.support is not None, "the support")
    panels.refine.bar.start.click()
    wait_for(lambda: run.state == "idle" and run.snapshot is not None, "the refinement")
    viewer.screenshot(str(IMAGES / picture), canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with unremembered():
        workflow()
        if "NAPARI_DIPR_DATA" in os.environ:
            measured = Path(os.environ["NAPARI_DIPR_DATA"])
            measured_crystal(measured, "measured-crystal.png", 99, "hio*270 + er*30")
            measured_crystal(measured, "measured-volume.png", None, "raar*450 + er*50; shrinkwrap(threshold=0.1)")
