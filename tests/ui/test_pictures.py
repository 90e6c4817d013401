import numpy as np
import pytest

from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.ui.pictures import SMALL, brightest, colours, difference, draw, sections, thumbnail


def ball(n=40, phase=0.3):
    rows, columns = np.indices((n, n)) - n / 2
    return ((rows**2 + columns**2 < 100) * np.exp(1j * phase)).astype(np.complex64)


def test_brightness_is_amplitude_and_hue_is_phase():
    x = np.array([[1, 1j, -1], [0.5, 0, 3]], np.complex64)
    seen = colours(x, 1)
    np.testing.assert_array_equal(seen[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(seen[0, 2], (0, 255, 255))  # half way round
    np.testing.assert_array_equal(seen[1, 0], (128, 0, 0))
    np.testing.assert_array_equal(seen[1, 1], (0, 0, 0))
    np.testing.assert_array_equal(seen[1, 2], (255, 0, 0))  # beyond the limit


def test_the_truth_differs_nowhere_from_what_was_measured():
    measurement, truth = simulate(np.abs(ball()), oversampling=2)
    scale = np.sqrt(measurement.intensities.max())
    np.testing.assert_allclose(difference(measurement, truth, None), 0, atol=1e-4 * scale)


def test_the_difference_is_the_calculated_less_the_measured_amplitude_where_it_was_measured():
    x = ball()
    amplitude = np.abs(np.fft.fftshift(np.fft.fftn(x)))
    measured = np.ones(x.shape, bool)
    measured[:5] = False
    measurement = Measurement.of((0.5 * amplitude) ** 2, zero_frequency="centre", measured=measured)
    seen = draw("difference", measurement, x, np.abs(x) > 0, None)
    np.testing.assert_allclose(seen[5:], 0.5 * amplitude[5:], rtol=1e-3, atol=1e-3)
    assert not seen[:5].any()


def test_light_that_is_not_coherent_blurs_what_is_calculated():
    x = ball()
    psf = np.zeros((3, 3), np.float32)
    psf[1, 1], psf[0, 1], psf[2, 1] = 0.5, 0.25, 0.25
    power = np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2
    blurred = 0.5 * power + 0.25 * (np.roll(power, 1, 0) + np.roll(power, -1, 0))
    measurement = Measurement.of(blurred, zero_frequency="centre")
    np.testing.assert_allclose(difference(measurement, x, psf), 0, atol=1e-3 * np.sqrt(power.max()))


@pytest.mark.parametrize("shape", [(200, 90), (30, 64, 52)])
def test_a_thumbnail_is_small_and_shows_what_is_inside(shape):
    inside = np.zeros(shape, bool)
    inside[tuple(slice(n // 4, -n // 4) for n in shape)] = True
    amplitude = np.random.default_rng(0).random(shape)
    seen = thumbnail(amplitude, inside)
    assert seen.ndim == 2
    assert max(seen.shape) <= SMALL
    assert seen.max() == 255
    assert not thumbnail(amplitude, np.zeros(shape, bool)).any()


def test_a_few_bright_pixels_do_not_darken_the_rest():
    amplitude = np.ones((100, 100))
    amplitude[0, 0] = 100
    assert brightest(amplitude, amplitude > 0) == 1
    assert brightest(np.zeros((3, 3)), np.zeros((3, 3), bool)) == 1


def test_the_extra_pictures_come_with_the_run_and_go_when_they_are_not_wanted(loaded, finished, idle):
    session, refine = loaded.session, loaded.refine
    refine.extras["colours"].value = True
    refine.iterations.value = 40
    refine.bar.start.click()
    finished(session)
    snapshot = session.refinement.snapshot
    seen = session.canvas.find("colours")
    np.testing.assert_array_equal(seen.data, snapshot.extras["colours"])
    assert session.canvas.find("difference") is None
    refine.extras["difference"].value = True  # afterwards: it is drawn then
    idle(lambda: session.canvas.find("difference") is not None)
    expected = difference(session.measurement, snapshot.object, None)
    np.testing.assert_array_equal(session.canvas.find("difference").data, expected)
    refine.extras["colours"].value = False
    assert not seen.visible
    refine.bar.start.click()
    finished(session)
    assert set(session.refinement.snapshot.extras) == {"difference"}
    np.testing.assert_array_equal(seen.data, snapshot.extras["colours"])


def test_a_layer_that_is_hidden_gets_its_data_when_it_is_shown(loaded, finished):
    session, refine = loaded.session, loaded.refine
    refine.iterations.value = 20
    refine.bar.start.click()
    finished(session)
    phase, before = session.canvas.find("phase"), session.refinement.snapshot.phase
    phase.visible = False
    refine.seed.value, refine.start.value = 5, "random"
    refine.bar.start.click()
    finished(session)
    np.testing.assert_array_equal(phase.data, before)
    phase.visible = True
    np.testing.assert_array_equal(phase.data, session.refinement.snapshot.phase)


def test_of_a_volume_two_sections_through_its_middle_are_shown(workflow, finished):
    session = workflow.session
    rng = np.random.default_rng(0)
    session.use(Measurement.of(rng.poisson(5, (20, 24, 28)), zero_frequency="centre"))
    amplitude = rng.random((20, 24, 28)).astype(np.float32)
    inside = np.zeros(amplitude.shape, bool)
    inside[4:9, 6:13, 10:21] = True
    seen = sections(amplitude.astype(np.complex64), inside)
    np.testing.assert_array_equal(seen[:, :28], amplitude[:, 9])
    np.testing.assert_array_equal(seen[:, -24:], amplitude[:, :, 15])
    session.show_support(inside, "test")
    workflow.refine.iterations.value = 10
    workflow.refine.bar.start.click()
    finished(session)
    snapshot = session.refinement.snapshot
    np.testing.assert_array_equal(session.canvas.find("sections").data, sections(snapshot.object, snapshot.support))
