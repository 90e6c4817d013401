import dask.array as da
import numpy as np
import pytest

from napari_dipr.experiment import Experiment, with_phase


@pytest.fixture
def form(workflow):
    return workflow.measurement.simulation


@pytest.fixture
def simulated(form, idle):
    """Press *Simulate*, and return the measurement that comes of it."""

    def press():
        before = form.session.measurement
        form.simulate_button.click()
        idle(lambda: form.session.measurement is not before and not form.session.busy)
        return form.session.measurement

    return press


def picture(shape=(40, 50)):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_a_picture_becomes_its_pattern_and_the_truth_is_known(form, simulated):
    layer = form.session.viewer.add_image(picture(), name="holiday")
    form.picture.value = layer
    form.written["photons"].value = "1e6"
    measurement = simulated()
    assert measurement.name == "holiday simulated"
    assert measurement.grid == (80, 100)
    assert measurement.photons_per_unit == 1
    assert measurement.intensities.sum() == pytest.approx(1e6, rel=0.01)
    assert form.session.truth.shape == (80, 100)
    assert not layer.visible
    assert measurement.source["experiment"] == {"photons": 1e6}
    for words in ("are not measured", "up to a half-period of", "oversampling"):
        assert words in form.words.text()


def test_every_setting_reaches_the_experiment(form, simulated):
    written = {
        "oversampling": "2, 2.5",
        "photons": "1e7",
        "coherence": "0.4",
        "background": "3",
        "beamstop": "4",
        "arm": "2",
        "gaps": "40x30+2",
        "saturation": "5e5",
        "dead": "0.01",
    }
    for name, text in written.items():
        form.written[name].value = text
    form.subtract.value, form.seed.value = True, 5
    assert form.experiment == Experiment.of(**written, subtract=True, seed=5)
    assert set(written) | {"subtract", "seed"} == set(Experiment.model_fields)
    form.picture.value = form.session.viewer.add_image(picture(), name="object")
    measurement = simulated()
    expected, truth = form.experiment.measure(picture())
    np.testing.assert_array_equal(measurement.intensities, expected.intensities)
    np.testing.assert_array_equal(measurement.measured, expected.measured)
    np.testing.assert_array_equal(form.session.truth, truth)
    assert form.session.canvas.find("mask").data.sum() == (~expected.measured).sum()
    form.reset()
    assert form.experiment == Experiment()


def test_a_second_picture_is_the_phase_and_a_geometry_makes_nanometres(form, simulated):
    viewer = form.session.viewer
    form.picture.value = viewer.add_image(picture(), name="amplitude")
    form.phase.value = viewer.add_image(picture()[::-1], name="phase")
    form.span.value, form.geometry.value = "2.5", "energy=9, distance=0.5, pixel=55"
    form.written["photons"].value = "1e8"
    measurement = simulated()
    inside = form.session.truth[20:60, 25:75]
    ratio = inside / with_phase(picture(), picture()[::-1], 2.5)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert measurement.voxel_size is not None
    assert " nm, in the mean" in form.words.text()


def test_a_lazy_volume_is_computed_in_the_worker(form, simulated):
    volume = picture((10, 12, 14))
    form.picture.value = form.session.viewer.add_image(da.from_array(volume, chunks=5), name="volume")
    assert simulated().grid == (20, 24, 28)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("photons", "many", "photons: Input should be a valid number"),
        ("gaps", "wide", "'wide' is no detector"),
        ("background", "2", "say how many photons"),
        ("oversampling", "1", "greater than or equal to 2"),
        ("oversampling", "2,2,2", "oversampling has 3 numbers"),
        ("beamstop", "200", "Nothing would be measured"),
    ],
)
def test_settings_that_make_no_experiment_are_told_and_nothing_is_lost(form, loaded, idle, told, name, text, says):
    session, before = form.session, form.session.measurement
    form.picture.value = session.viewer.add_image(picture(), name="object")
    form.written[name].value = text
    form.simulate_button.click()
    idle(lambda: any(says in message for message in told.messages()))
    idle(lambda: not session.busy)
    assert session.measurement is before
    assert form.picture.value.visible


def test_pictures_that_are_no_objects_are_refused_in_words(form, told, idle):
    viewer = form.session.viewer
    form.simulate_button.click()
    assert any("Choose an image layer" in message for message in told.messages())
    form.picture.value = viewer.add_image(np.zeros((30, 30, 3), np.uint8), rgb=True, name="photo")
    form.simulate_button.click()
    assert any("'photo' is a colour picture" in message for message in told.messages())
    form.picture.value = viewer.add_image(picture(), name="object")
    form.span.value = "wide"
    form.simulate_button.click()
    assert any("phase spans 'wide'" in message for message in told.messages())
    form.span.value = ""
    form.phase.value = viewer.add_image(picture((20, 20)), name="small")
    form.simulate_button.click()
    idle(lambda: any("(20, 20), the amplitude (40, 50)" in message for message in told.messages()))


def test_the_settings_are_remembered(form, simulated, viewer, qtbot):
    from napari_dipr.ui.simulate_form import SimulateForm

    form.picture.value = viewer.add_image(picture(), name="object")
    form.written["photons"].value, form.seed.value = "1e5", 3
    simulated()
    again = SimulateForm(form.session)
    qtbot.addWidget(again)
    assert again.experiment == Experiment.of(photons=1e5, seed=3)
