import itertools

import numpy as np
import pytest

from napari_dipr.measurement import Measurement
from napari_dipr.samples import sample
from napari_dipr.ui.canvas import TAG, logarithm


def corners(layer):
    extent = layer.extent.world
    return extent[0][-2:], extent[1][-2:]


def role(layer):
    return layer.metadata[TAG][1]


def test_pattern_and_object_never_lie_on_top_of_each_other(loaded):
    session = loaded.session
    session.pictures.show_object(*(np.ones((72, 72), np.float32),) * 2, session.support)
    pictures = [layer for layer in session.viewer.layers if role(layer) in ("measurement", "amplitude", "phase")]
    assert len(pictures) == 3
    for one, other in itertools.combinations(pictures, 2):
        (low_1, high_1), (low_2, high_2) = corners(one), corners(other)
        assert (low_1 >= high_2).any() or (low_2 >= high_1).any()


def test_the_support_lies_over_the_amplitude_and_above_it_in_the_list(loaded):
    session = loaded.session
    session.pictures.show_object(*(np.ones((72, 72), np.float32),) * 2, session.support)
    names = [role(layer) for layer in session.viewer.layers]
    support, amplitude = (session.canvas.find(r) for r in ("support", "amplitude"))
    np.testing.assert_array_equal(support.translate, amplitude.translate)
    assert names.index("support") > names.index("amplitude")
    assert session.viewer.layers.selection.active is support  # the brush stays where it was


def test_one_layer_a_quantity_and_a_removed_one_comes_back(loaded):
    session = loaded.session
    data = np.ones((72, 72), np.float32)
    session.pictures.show_object(data, data, session.support)
    before = len(session.viewer.layers)
    session.pictures.show_object(2 * data, data, session.support)
    assert len(session.viewer.layers) == before
    session.viewer.layers.remove(session.canvas.find("amplitude"))
    session.pictures.show_object(3 * data, data, session.support)
    assert session.canvas.find("amplitude").data.max() == 3


def test_a_volume_gets_its_layers_side_by_side_too(session):
    ball = np.zeros((24, 32, 40))
    ball[8:16, 10:20, 12:28] = 1
    session.use(Measurement.of(np.abs(np.fft.fftshift(np.fft.fftn(ball))) ** 2))
    session.show_support(ball > 0, "test")
    measured, support = session.canvas.find("measurement"), session.canvas.find("support")
    assert measured.data.shape == support.data.shape == (24, 32, 40)
    assert (corners(support)[0] >= corners(measured)[1]).any()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_logarithm_is_finite_and_spans_seven_decades_at_most(scale):
    picture = logarithm(sample("fashion-3")[0].intensities * np.float32(scale))
    assert np.isfinite(picture).all()
    assert picture.max() - picture.min() <= 7.001


def test_the_camera_looks_at_the_new_measurement_alone(workflow):
    session = workflow.session
    camera = session.viewer.scene.camera
    session.use(Measurement.of(np.random.default_rng(0).random((64, 64)) + 1, zero_frequency="centre"))
    alone = camera.zoom
    session.use(Measurement.of(np.random.default_rng(0).random((512, 512)) + 1, zero_frequency="centre"))
    session.use(Measurement.of(np.random.default_rng(0).random((64, 64)) + 1, zero_frequency="centre"))
    assert camera.zoom == pytest.approx(alone, rel=0.01)


def test_a_volume_is_seen_in_its_middle(workflow):
    workflow.session.use(Measurement.of(np.random.default_rng(0).random((32, 40, 40)) + 1, zero_frequency="centre"))
    assert workflow.session.viewer.dims.current_step[0] == 16


def test_a_contrast_that_a_person_set_stays(loaded):
    session = loaded.session
    data = np.ones((72, 72), np.float32)
    session.pictures.show_object(data, data, session.support)
    layer = session.canvas.find("amplitude")
    session.pictures.show_object(2 * data, data, session.support)
    assert layer.contrast_limits[1] == 2
    layer.contrast_limits = (0.5, 1.5)
    session.pictures.show_object(3 * data, data, session.support)
    assert tuple(layer.contrast_limits) == (0.5, 1.5)


def test_a_support_that_was_turned_into_an_image_can_be_made_anew(loaded):
    session = loaded.session
    support, layer = session.support, session.support_layer
    session.viewer.layers.remove(layer)
    session.viewer.add_image(layer.data, metadata=dict(layer.metadata))
    assert session.support is None
    session.show_support(support, "test")
    np.testing.assert_array_equal(session.support, support)


def test_a_pattern_beside_a_stack_is_shown(session):
    session.viewer.add_image(np.zeros((3, 20, 24)))
    session.use(*sample("fashion-0"))
    assert session.canvas.is_seen("measurement")


def test_a_support_drawn_as_a_volume_does_not_hide_the_object(session):
    session.use(Measurement.of(np.ones((16, 24, 24)), zero_frequency="centre"))
    session.show_support(np.ones((16, 24, 24), bool), "test")
    in_planes = session.support_layer.opacity
    session.viewer.dims.ndisplay = 3
    assert session.support_layer.opacity < in_planes / 2
    session.viewer.dims.ndisplay = 2
    assert session.support_layer.opacity == in_planes
    session.support_layer.opacity = 0.5
    session.viewer.dims.ndisplay = 3
    assert session.support_layer.opacity == 0.5  # what a person chooses stays


def test_a_layer_that_was_removed_while_it_was_coarse_comes_back_in_its_place(session):
    session.use(Measurement.of(np.ones((16, 24, 24)), zero_frequency="centre"))
    volume, canvas = np.ones((16, 24, 24), np.float32), session.canvas
    for every in (1, 2):
        coarse = canvas.show_image("phase", volume, "phase", every=every)
    assert tuple(coarse.scale) == (2, 2, 2)
    session.viewer.layers.remove(coarse)
    for _ in range(2):
        whole = canvas.show_image("phase", volume, "phase")
    assert tuple(whole.scale) == (1, 1, 1)
    assert whole.data.shape == volume.shape


def test_a_mask_is_drawn_where_the_camera_is(session):
    session.use(*sample("fashion-0"))
    session.viewer.camera.zoom *= 3
    before = session.viewer.camera.zoom
    session.mask.draw()
    assert session.viewer.camera.zoom == before


def captions(canvas):
    layer = canvas.find("captions")
    return {text for text in layer.features["caption"] if text} if layer.visible else set()


def test_a_caption_is_there_while_its_picture_is_seen(loaded):
    session = loaded.session
    session.pictures.show_object(*(np.ones((72, 72), np.float32),) * 2, session.support)
    canvas = session.canvas
    assert captions(canvas) == {"measurement (log)", "object amplitude", "object phase"}
    canvas.find("phase").visible = False
    assert captions(canvas) == {"measurement (log)", "object amplitude"}
    session.viewer.layers.remove(canvas.find("amplitude"))
    assert captions(canvas) == {"measurement (log)"}
    canvas.find("phase").visible = True
    assert "object phase" in captions(canvas)
    session.viewer.layers.clear()  # comes to an end
    assert not session.viewer.layers


def test_volumes_have_captions_in_planes_and_none_in_three_dimensions(session):
    session.use(Measurement.of(np.random.default_rng(0).random((16, 24, 24)) + 1, zero_frequency="centre"))
    assert captions(session.canvas) == {"measurement (log)"}
    session.viewer.dims.ndisplay = 3
    assert captions(session.canvas) == set()
    session.use(Measurement.of(np.random.default_rng(1).random((16, 24, 24)) + 1, zero_frequency="centre"))
    assert captions(session.canvas) == set()
    session.viewer.dims.ndisplay = 2
    assert captions(session.canvas) == {"measurement (log)"}
