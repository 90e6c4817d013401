"""What a running napari takes to open the dock, and a first run to import torch: ``python -m …ui.opening``."""

import json
import sys
import time

import napari
from qtpy.QtWidgets import QApplication


def opening() -> dict[str, float | bool]:
    """Return ``opening_s``, ``torch_early`` and ``first_stall_ms`` of :func:`~napari_dipr.ui.stalls.stalls`."""
    viewer = napari.Viewer()
    _draw()
    began = time.monotonic()
    from napari_dipr.ui.memory import unremembered  # what the dock imports counts

    with unremembered():
        _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
        QApplication.processEvents()
        opened, torch_early = time.monotonic() - began, "torch" in sys.modules

        from napari_dipr.samples import sample
        from napari_dipr.ui.app import wait_until
        from napari_dipr.ui.stalls import ticking

        measurement, truth = sample("fashion-0")
        workflow.session.use(measurement, truth)
        workflow.session.show_support(abs(truth) > 0, "the object")
        _draw()
        with ticking() as late:
            workflow.refine.bar.start.click()
            wait_until(lambda: workflow.session.refinement.state == "idle", "the run to end")
    viewer.close()
    return {"opening_s": opened, "torch_early": torch_early, "first_stall_ms": 1e3 * max(late)}


def _draw() -> None:
    for _ in range(20):
        QApplication.processEvents()


if __name__ == "__main__":
    print(json.dumps(opening()))  # noqa: T201
