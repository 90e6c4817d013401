"""What a person does from the menu to the file, through a real viewer; and what must hold all along."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tifffile

from napari_dipr.compare import compare, load_result
from napari_dipr.networks.zoo import model_names
from napari_dipr.ui.session import session_of
from napari_dipr.ui.workflow import Workflow

LONG = 1_000_000


class Mouse:
    """A mouse over the canvas: presses, moves and releases at pixels of a layer, as napari's own callbacks see it."""

    def __init__(self, viewer, layer):
        self.viewer, self.layer = viewer, layer

    def draw(self, pixels):
        from napari.utils._proxies import ReadOnlyWrapper
        from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

        class Event:
            def __init__(self, kind, position, dragging):
                self.type, self.position, self.is_dragging = kind, position, dragging
                self.view_direction, self.up_direction = None, None
                self.dims_displayed, self.dims_point = [0, 1], [0, 0]
                self.modifiers, self.button, self.buttons, self.native = [], 1, [1], None
                self.handled, self.inverted = False, False
                self.pos = np.array([0, 0])
                self.camera_zoom = 1

        world = [self.layer.data_to_world(pixel) for pixel in pixels]
        steps = [("mouse_press", world[0], False, mouse_press_callbacks)]
        steps += [("mouse_move", position, True, mouse_move_callbacks) for position in world[1:]]
        steps += [("mouse_release", world[-1], False, mouse_release_callbacks)]
        for kind, position, dragging, callbacks in steps:
            callbacks(self.layer, ReadOnlyWrapper(Event(kind, position, dragging), exceptions=("handled",)))


@pytest.mark.skipif("unrolled-fashion" not in model_names(), reason="the weights are not there")
def test_from_the_menu_to_the_file(viewer, idle, tmp_path):
    _, workflow = viewer.window.add_plugin_dock_widget("napari-dipr", "Phase retrieval")
    session, refine, runs = workflow.session, workflow.refine, workflow.runs
    run = session.refinement

    viewer.open_sample("napari-dipr", "fashion-0")
    assert session.measurement.name == "fashion-0"

    workflow.support.propose_button.click()
    idle(lambda: session.proposal is not None and session.support is not None)
    layer = session.support_layer

    # Painted with the layer's own brush, before the run.
    layer.mode, layer.brush_size, layer.selected_label = "paint", 1, 1
    mouse = Mouse(viewer, layer)
    mouse.draw([(60, 60), (60, 63), (60, 66)])
    idle(lambda: session.strokes is not None)
    assert session.support[60, 60:67].all()

    refine.iterations.value = LONG
    refine.bar.start.click()
    idle(lambda: run.snapshot is not None and run.snapshot.support[60, 63])

    # And during it: the solver takes it over without starting again.
    at = run.snapshot.iteration
    mouse.draw([(5, 5), (5, 8)])
    idle(lambda: run.snapshot.support[5, 5:9].all() and run.snapshot.iteration > at)
    layer.undo()
    idle(lambda: not run.snapshot.support[5, 5])
    assert run.snapshot.support[60, 63]

    refine.bar.pause.click()
    idle(lambda: run.state == "paused" and not run._mailbox.showing)
    held = run.snapshot.iteration
    refine.bar.steps.value = 3
    refine.bar.step.click()
    idle(lambda: run.snapshot.iteration >= held + 3)
    refine.bar.pause.click()
    idle(lambda: run.snapshot.iteration > held + 10)
    refine.bar.stop.click()
    idle(lambda: run.state == "idle")
    (result,) = session.history.results
    assert result.ended.startswith("stopped after")
    assert result.settings["support_edited_by_hand"]

    # What was painted by mistake is given back, and a second run goes on from the first.
    session.support_layer.data_setitem((np.full(7, 60), np.arange(60, 67)), 0)
    workflow.support.unpin_button.click()
    refine.iterations.value = 60
    runs.continue_button.click()
    idle(lambda: len(session.history.results) == 2)

    runs.other.value = "the known object"
    runs.compare_button.click()
    idle(lambda: "known object" in runs.words.text())

    workflow.export.folder.value, workflow.export.name.value = tmp_path, "boot"
    paths = {}
    session.exported.connect(lambda written: paths.update(written))
    workflow.export.export_button.click()
    idle(lambda: bool(paths))
    snapshot = session.history.shown.snapshot
    np.testing.assert_allclose(tifffile.imread(paths["tif"])[0], snapshot.amplitude, rtol=1e-6)
    np.testing.assert_array_equal(tifffile.imread(paths["support"]) > 0, snapshot.support)
    assert compare(load_result(tmp_path), snapshot.object)["complex_correlation"] == pytest.approx(1, abs=1e-4)
    (reloaded,) = viewer.open(paths["tif"], plugin="napari")
    np.testing.assert_allclose(reloaded.data[0], snapshot.amplitude, rtol=1e-6)


def test_starting_and_stopping_leaves_nothing_behind(loaded, idle):
    psutil = pytest.importorskip("psutil")
    session, refine = loaded.session, loaded.refine
    refine.iterations.value = LONG

    def cycle():
        count = len(session.history.results)
        refine.bar.start.click()
        refine.bar.stop.click()
        idle(lambda: session.refinement.state == "idle")
        # What was kept is a person's; what is looked for is what nobody asked for.
        for result in session.history.results[count:]:
            session.history.delete(result)

    for _ in range(10):
        cycle()
    gc.collect()
    threads, layers = threading.active_count(), len(session.viewer.layers)
    memory = psutil.Process().memory_info().rss
    for _ in range(200):
        cycle()
    gc.collect()
    assert threading.active_count() <= threads
    assert len(session.viewer.layers) == layers
    assert psutil.Process().memory_info().rss - memory < 50e6


def test_in_the_light_theme_the_leading_button_and_the_curves_follow(loaded, viewer, idle):
    dark = loaded.refine.bar.start.styleSheet()
    viewer.theme = "light"
    idle(lambda: loaded.refine.bar.start.styleSheet() != dark)
    picture = loaded.refine.plot.grab().toImage()
    corner = picture.pixelColor(2, 2)
    assert corner.lightness() > 150
    viewer.theme = "dark"
    idle(lambda: loaded.refine.bar.start.styleSheet() == dark)
    assert loaded.refine.plot.grab().toImage().pixelColor(2, 2).lightness() < 100


def test_the_dock_opens_without_torch(tmp_path):
    code = (
        "import sys, napari\n"
        "viewer = napari.Viewer(show=False)\n"
        "viewer.window.add_plugin_dock_widget('napari-dipr', 'Phase retrieval')\n"
        "viewer.open_sample('napari-dipr', 'fashion-0')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "viewer.close()\n"
    )
    settings = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_viewers_share_nothing(make_napari_viewer):
    first, second = Workflow(make_napari_viewer()), Workflow(make_napari_viewer())
    assert first.session is not second.session
    assert first.session.history is not second.session.history
    assert session_of(first.session.viewer) is first.session
    first.close()
    second.close()
