"""Fixtures for the window: a real viewer, and the notifications a person would see."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

# Layers and widgets may be touched on the main thread only; napari raises where they are not.
os.environ["NAPARI_ENSURE_PLUGIN_MAIN_THREAD"] = "1"

napari = pytest.importorskip("napari")

from napari.utils.notifications import notification_manager  # noqa: E402

from napari_dipr.samples import sample  # noqa: E402
from napari_dipr.ui.session import session_of  # noqa: E402
from napari_dipr.ui.workflow import Workflow  # noqa: E402


@pytest.fixture(autouse=True)
def _settings_of_its_own(settings_of_its_own):
    """Neither a person's settings nor those of another test."""


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def session(viewer):
    return session_of(viewer)


@pytest.fixture
def workflow(viewer):
    widget = Workflow(viewer)
    viewer.window.add_dock_widget(widget, name="Phase retrieval")
    return widget


@pytest.fixture
def loaded(workflow):
    """A workflow with the first sample loaded and its exact support, slightly grown."""
    measurement, truth = sample("fashion-0")
    workflow.session.use(measurement, truth)
    inside = np.abs(truth) > 0
    for axis in (0, 1):
        inside |= np.roll(inside, 1, axis) | np.roll(inside, -1, axis)
    workflow.session.show_support(inside, "test")
    return workflow


@pytest.fixture
def told():
    """The messages of the notifications since the test began."""
    first = len(notification_manager.records)
    return SimpleNamespace(
        messages=lambda: [str(record.message) for record in list(notification_manager.records)[first:]],
    )


@pytest.fixture
def finished(qtbot):
    """Wait until no run is under way."""

    def wait(session, timeout=60_000):
        qtbot.waitUntil(lambda: session.refinement.state == "idle", timeout=timeout)

    return wait


@pytest.fixture
def over(qtbot):
    """Wait until no starts are under way."""
    return lambda session: qtbot.waitUntil(lambda: session.starts.course is None, timeout=60_000)


@pytest.fixture
def idle(qtbot):
    """Wait until a condition holds."""
    return lambda condition: qtbot.waitUntil(condition, timeout=60_000)
