import numpy as np
import pytest

from napari_dipr.measurement import Measurement
from napari_dipr.samples import sample

BOX = np.array([[10, 20], [10, 30], [25, 30], [25, 20]], float)


def drawn(session, shape, corners):
    """Draw as the mouse does, and let it go."""
    layer = session.outline.draw(shape)
    assert layer.mode == f"add_{shape}"
    layer.add(corners, shape_type=shape)
    session.outline.take()
    return layer


def test_a_box_and_an_ellipse_are_put_into_the_support_and_pinned(loaded, idle):
    session = loaded.session
    before = session.support
    loaded.support.box_button.click()
    layer = drawn(session, "rectangle", BOX)
    idle(lambda: session.strokes is not None)
    inside = np.zeros((72, 72), bool)
    inside[10:26, 20:31] = True
    np.testing.assert_array_equal(session.support, before | inside)
    np.testing.assert_array_equal(session.strokes > 0, inside & ~before)
    assert len(layer.data) == 0
    assert session.viewer.layers.selection.active is session.support_layer
    drawn(session, "ellipse", BOX + np.array([35, -15]))
    idle(lambda: bool(session.support[52, 10]))
    assert not session.support[45, 5]  # the corner
    session.support_layer.undo()
    assert not session.support[52, 10]


def test_an_outline_begins_a_support_where_there_is_none(workflow, idle):
    session = workflow.session
    assert not workflow.support.box_button.isEnabled()
    session.use(*sample("fashion-0"))
    drawn(session, "rectangle", BOX)
    idle(lambda: session.support is not None and bool(session.support.any()))
    assert session.support.sum() == 16 * 11


def test_an_outline_beside_the_picture_is_told(loaded, told):
    before = loaded.session.support
    drawn(loaded.session, "rectangle", BOX - 200)
    assert "beside the object's amplitude" in told.messages()[-1]
    np.testing.assert_array_equal(loaded.session.support, before)


def test_in_a_volume_an_outline_is_in_its_plane(workflow, idle):
    session = workflow.session
    session.use(Measurement.of(np.random.default_rng(0).random((20, 72, 72)) + 1, zero_frequency="centre"))
    layer = session.outline.draw("rectangle")
    layer.add(np.column_stack([np.full(4, 7.0), BOX]), shape_type="rectangle")
    session.outline.take()
    idle(lambda: session.support is not None and bool(session.support.any()))
    assert np.flatnonzero(session.support.any((1, 2))).tolist() == [7]


def test_no_outline_is_drawn_in_three_dimensions(workflow, told):
    session = workflow.session
    session.use(Measurement.of(np.ones((20, 20, 20)), zero_frequency="centre"))
    session.viewer.dims.ndisplay = 3
    workflow.support.box_button.click()
    assert "Leave napari's 3D display" in told.messages()[-1]
    assert session.canvas.find("outline") is None


@pytest.mark.parametrize("kind", ["labels", "image", "shapes"])
def test_a_support_is_taken_from_another_layer(loaded, kind):
    session, viewer = loaded.session, loaded.session.viewer
    inside = np.zeros((72, 72), bool)
    inside[10:26, 20:31] = True
    if kind == "labels":
        layer = viewer.add_labels(7 * inside.astype(int), name="mine")
    elif kind == "image":
        layer = viewer.add_image(np.where(inside, 0.3, np.nan), name="mine")
    else:
        layer = viewer.add_shapes([BOX], shape_type="rectangle", name="mine")
    loaded.support.other.value = layer
    loaded.support.take_button.click()
    np.testing.assert_array_equal(session.support, inside)
    assert session.support_from == "layer mine"
    assert session.strokes is None


def test_a_layer_that_does_not_do_is_told_and_the_support_stays(loaded, told):
    session, panel = loaded.session, loaded.support
    before = session.support
    panel.take_button.click()
    assert "Choose a layer first" in told.messages()[-1]
    panel.other.value = session.viewer.add_image(np.ones((5, 5)), name="small")
    panel.take_button.click()
    assert "'small' is (5, 5), the measurement (72, 72)" in told.messages()[-1]
    panel.other.value = session.viewer.add_labels(np.zeros((72, 72), int), name="empty")
    panel.take_button.click()
    assert "has no label in it" in told.messages()[-1]
    np.testing.assert_array_equal(session.support, before)
