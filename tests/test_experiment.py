import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError
from napari_dipr.experiment import Experiment, Gaps, simulate, with_phase


def blob(shape=(20, 20), seed=1):
    return np.random.default_rng(seed).random(shape) + 0.5


@given(
    st.one_of(st.tuples(*[st.integers(8, 13)] * 2), st.tuples(*[st.integers(8, 9)] * 3)), st.booleans(), st.floats(2, 3)
)
def test_a_simulation_is_the_squared_transform_of_its_truth(shape, is_complex, oversampling):
    rng = np.random.default_rng(1)
    picture = rng.random(shape) + (1j * rng.random(shape) if is_complex else 0)
    measurement, truth = simulate(picture, oversampling=oversampling)
    assert measurement.grid == truth.shape
    for m, n in zip(truth.shape, shape, strict=True):
        assert m % 2 == 0
        assert -1e-6 < m - oversampling * n < 2
    np.testing.assert_allclose(
        measurement.cornered_amplitudes() ** 2, np.abs(np.fft.fftn(truth)) ** 2, rtol=1e-4, atol=1e-4
    )
    middle = tuple(slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m, n in zip(truth.shape, shape, strict=True))
    np.testing.assert_array_equal(truth[middle], picture.astype(np.complex64))
    assert np.count_nonzero(truth) == np.count_nonzero(picture)


@pytest.mark.parametrize(("side", "ratio", "grid"), [(36, 2, 72), (7, 3, 22), (9, 2, 18), (30, 2.2, 66), (12, 2.5, 30)])
def test_no_less_is_sampled_than_asked_for(side, ratio, grid):
    assert simulate(blob((side, side)), oversampling=ratio)[0].grid == (grid, grid)


def test_photons_are_counted_and_the_truth_keeps_their_scale():
    measurement, truth = simulate(blob(), photons=1e6, seed=4)
    counts = measurement.intensities
    np.testing.assert_array_equal(counts, np.round(counts))
    assert counts.sum() == pytest.approx(1e6, abs=5e3)
    assert measurement.photons_per_unit == 1
    expected = np.abs(np.fft.fftshift(np.fft.fftn(truth))) ** 2
    assert expected.sum() == pytest.approx(1e6, rel=1e-5)
    # Poisson: the variance is the mean.
    bright = expected > 20
    assert np.mean((counts - expected)[bright] ** 2 / expected[bright]) == pytest.approx(1, abs=0.25)
    again, _ = simulate(blob(), photons=1e6, seed=4)
    other, _ = simulate(blob(), photons=1e6, seed=5)
    np.testing.assert_array_equal(again.intensities, counts)
    assert (other.intensities != counts).any()


@pytest.mark.parametrize("value", [2.0**-140, 2.0**126])
def test_photons_do_not_depend_on_the_objects_unit(value):
    expected, _ = simulate(np.ones((20, 20)), photons=1e6)
    np.testing.assert_array_equal(simulate(np.full((20, 20), value), photons=1e6)[0].intensities, expected.intensities)


def test_the_largest_number_of_photons_can_be_drawn():
    measurement, _ = simulate(np.ones((20, 20)), photons=1e18)
    assert measurement.intensities.sum() == pytest.approx(1e18, rel=1e-3)


@pytest.mark.parametrize("apart", [3, 11])
@pytest.mark.parametrize("sigma", [0.1, 0.8, 3.0])
def test_partly_coherent_light_takes_from_the_fringes_of_two_points_their_contrast(apart, sigma):
    points = np.zeros((12, 16))
    points[4, 2] = points[4, 2 + apart] = 1
    measurement, _ = simulate(points, coherence=sigma)
    row = measurement.intensities[12]
    phase = 2 * np.pi * apart * (np.arange(32) - 16) / 32
    contrast = np.exp(-2 * (np.pi * sigma * apart / 32) ** 2)
    np.testing.assert_allclose(row, 2 + 2 * contrast * np.cos(phase), atol=1e-5)
    np.testing.assert_allclose(measurement.intensities, np.broadcast_to(row, (24, 32)), atol=1e-5)


@settings(max_examples=20)
@given(st.floats(0, 4), st.floats(0, 4), st.integers(0, 9))
def test_a_blur_moves_photons_and_makes_none(rows, columns, seed):
    picture = blob((11, 9), seed) * np.exp(2j * blob((11, 9), seed + 1))
    sharp, _ = simulate(picture, oversampling=2.3)
    blurred, truth = simulate(picture, oversampling=2.3, coherence=(rows, columns))
    assert blurred.intensities.min() >= 0
    assert blurred.intensities.sum() == pytest.approx(float(sharp.intensities.sum()), rel=1e-4)
    assert blurred.intensities.max() <= sharp.intensities.max() * (1 + 1e-5)
    np.testing.assert_array_equal(truth, simulate(picture, oversampling=2.3)[1])


def test_each_axis_has_its_own_coherence_and_oversampling():
    plain, _ = simulate(blob(), oversampling=(2, 3))
    along_rows, _ = simulate(blob(), oversampling="2, 3", coherence="1.5, 0")
    assert plain.grid == (40, 60)
    np.testing.assert_allclose(along_rows.intensities.sum(0), plain.intensities.sum(0), rtol=1e-4)
    assert (along_rows.intensities.max(0) < plain.intensities.max(0)).all()


def test_a_background_adds_its_mean_and_its_noise_and_is_subtracted_again():
    lit = simulate(blob(), photons=1e4, background=50)[0]
    rim = lit.intensities[:4]
    plain = simulate(blob(), photons=1e4)[0].intensities[:4]
    assert rim.mean() - plain.mean() == pytest.approx(50, abs=5 * np.sqrt(50 / rim.size))
    assert (rim - plain).std() == pytest.approx(np.sqrt(50), rel=0.2)
    less = simulate(blob(), photons=1e4, background=50, subtract=True)[0]
    np.testing.assert_array_equal(less.intensities, np.maximum(lit.intensities - 50, 0))
    assert less.history[-1] == "background of 50 subtracted"


def test_a_beam_stop_and_its_arm_hide_what_they_cover():
    stop = simulate(blob((50, 40)), beamstop=10)[0]
    rows, columns = np.indices(stop.grid) - np.array([50, 40]).reshape(2, 1, 1)
    np.testing.assert_array_equal(stop.measured, np.hypot(rows, columns) >= 10)
    assert (~stop.measured).sum() == pytest.approx(np.pi * 100, rel=0.03)
    assert not stop.intensities[~stop.measured].any()
    for arm in (1, 2, 3, 4):
        held = simulate(blob((50, 40)), beamstop=10, arm=arm)[0]
        np.testing.assert_array_equal(held.measured[50:], stop.measured[50:])
        hidden = ~held.measured[:40]
        np.testing.assert_array_equal(hidden.sum(1), arm)
        np.testing.assert_array_equal(np.flatnonzero(hidden[0]), 40 + np.arange(arm) - arm // 2)
    ball = simulate(blob((10, 10, 10)), beamstop=6)[0]
    assert (~ball.measured).sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)


@given(st.integers(1, 30), st.integers(0, 9), st.data())
def test_gaps_come_after_each_module_and_zero_frequency_is_on_the_pixel_that_is_said(side, width, data):
    beam = data.draw(st.integers(0, side - 1))
    gaps = Gaps.model_validate(f"{side}x500+{width}x3@{beam},7")
    where = gaps.on((64, 64))
    rows = where.all(1)
    assert not rows[32]
    assert Gaps.model_validate(str(gaps)) == gaps
    # All runs of open rows between two gaps are a module long.
    for start in np.flatnonzero(rows[:-1] & ~rows[1:]) + 1:
        assert rows[start : start + side + width].sum() == min(width, max(0, 64 - start - side))
    if width and 32 - beam - 1 >= 0:
        assert rows[32 - beam - 1]
    np.testing.assert_array_equal(np.flatnonzero(where.all(0)), np.arange(32 - 7 - 3, 32 - 7))


def test_the_beam_is_in_the_middle_of_a_module_unless_it_is_said():
    measurement = simulate(blob((20, 36)), gaps="17x30+3x2")[0]
    assert (~measurement.measured.any(1)).nonzero()[0].tolist() == [*range(9, 12), *range(29, 32)]
    assert (~measurement.measured.any(0)).nonzero()[0].tolist() == [19, 20, 51, 52]
    assert "left out 568 pixels: gap, of modules 17x30+3x2" in measurement.history
    volume = simulate(blob((10, 20, 36)), gaps="17x30+3x2")[0]
    np.testing.assert_array_equal(volume.measured, np.broadcast_to(measurement.measured, volume.grid))


def test_saturated_pixels_are_those_that_reach_the_limit():
    plain = simulate(blob(), photons=1e6)[0].intensities
    limit = float(np.sort(plain.ravel())[-5])
    measurement = simulate(blob(), photons=1e6, saturation=limit)[0]
    np.testing.assert_array_equal(measurement.measured, plain < limit)
    np.testing.assert_array_equal(measurement.intensities, np.where(plain < limit, plain, 0))


def test_dead_pixels_are_the_same_in_each_frame_and_leave_the_noise_alone():
    plain = simulate(blob((10, 30, 30)), photons=1e6)[0]
    measurement = simulate(blob((10, 30, 30)), photons=1e6, dead=0.1)[0]
    assert (~measurement.measured[0]).mean() == pytest.approx(0.1, abs=5 * np.sqrt(0.09 / 3600))
    assert (measurement.measured == measurement.measured[0]).all()
    np.testing.assert_array_equal(
        measurement.intensities[measurement.measured], plain.intensities[measurement.measured]
    )


def test_settings_are_told_in_the_history_and_come_back_from_json():
    experiment = Experiment.of(
        photons="1e6", coherence=0.5, background=2, beamstop=3, arm=2, gaps="20+2", saturation=9e3, dead=0.01, seed=3
    )
    assert Experiment.of(**experiment.as_json()) == experiment
    assert Experiment().as_json() == {}
    measurement, _ = experiment.measure(blob(), name="mine", source={"sample": "x"})
    assert (measurement.name, measurement.source) == ("mine", {"sample": "x"})
    told = " ".join(measurement.history)
    for words in ("oversampling 2", "σ 0.5 × 0.5", "1e+06 photons", "2 a pixel, seed 3", "saturated", "dead", "arm"):
        assert words in told


@pytest.mark.parametrize(
    ("picture", "options", "message"),
    [
        (np.zeros((20, 20)), {}, "zero everywhere"),
        (np.full((20, 20), np.nan), {}, "finite"),
        (np.full((20, 20), 1e39), {"photons": 1e6}, "values do not fit into complex64.*below 3e38.*Scale them"),
        (np.full((20, 20), 1e-60), {"photons": 1e6}, "not all be below 1e-45"),
        (np.full((20, 20), 1e30), {}, "intensit"),
        (np.ones(20), {}, r"2-D or 3-D.*\(20,\)"),
        (np.full((20, 20), "a"), {}, "finite numbers"),
        (np.ones((20, 20)), {"oversampling": 1.9}, r"oversampling.*greater than or equal to 2 \(got 1.9\)"),
        (np.ones((20, 20)), {"oversampling": 20}, "less than or equal to 16"),
        (np.ones((20, 20)), {"oversampling": np.nan}, "finite"),
        (np.ones((20, 20)), {"oversampling": "2, 2, 2"}, "oversampling has 3 numbers, the object 2 axes"),
        (np.ones((20, 20)), {"oversampling": "much"}, "unable to parse string as a number"),
        (np.ones((20, 20)), {"photons": 0}, r"photons.*greater than 0 \(got 0\)"),
        (np.ones((20, 20)), {"photons": np.inf}, "finite"),
        (np.ones((20, 20)), {"photons": 1e25}, r"less than or equal to 10+ \(got 1e\+25\)"),
        (np.ones((20, 20)), {"photons": 1e-9}, "Nothing would be measured.*Give more photons"),
        (np.ones((20, 20)), {"beamstop": 90}, "of 1600 pixels 1600 are left out"),
        (np.ones((20, 20)), {"background": 2}, "background is in counts: say how many photons"),
        (np.ones((20, 20)), {"saturation": 2}, "saturation is in counts"),
        (np.ones((20, 20)), {"arm": 2}, "give its radius"),
        (np.ones((20, 20, 20)), {"arm": 2, "beamstop": 3}, "a volume has none"),
        (np.ones((20, 20)), {"gaps": "256"}, "'256' is no detector: write ROWSxCOLUMNS"),
        (np.ones((20, 20)), {"gaps": "8+2@8,0"}, r"beam is on pixel \(8, 0\) of modules that have \(8, 8\)"),
        (np.ones((20, 20)), {"gaps": "0+2"}, "gaps.module.0.*greater than or equal to 1"),
        (np.ones((20, 20)), {"photon": 2}, "photon: Extra inputs"),
        (np.ones((4, 4)), {}, "at least 16"),
        (np.ones((20, 20, 3)), {"oversampling": 16}, "colour picture"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(picture, options, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MeasurementError, match=message):
            simulate(picture, **options)


def test_a_pattern_that_is_too_large_is_refused(monkeypatch):
    def full(*args):
        raise MemoryError

    monkeypatch.setattr(np.fft, "fftn", full)
    with pytest.raises(MeasurementError, match=r"pattern of \(40, 40\) pixels does not fit into memory"):
        simulate(blob())


def test_a_phase_comes_from_a_second_picture():
    amplitude, grey = blob(), np.random.default_rng(3).integers(0, 255, (20, 20)).astype(np.uint8)
    x = with_phase(amplitude, grey, span=3.0)
    np.testing.assert_allclose(np.abs(x), amplitude, rtol=1e-6)
    angle = np.angle(x)
    assert (angle.min(), angle.max()) == pytest.approx((-1.5, 1.5), abs=1e-6)
    np.testing.assert_allclose(np.corrcoef(angle.ravel(), grey.ravel())[0, 1], 1)
    np.testing.assert_allclose(np.angle(with_phase(amplitude, amplitude)), amplitude, rtol=1e-5)
    np.testing.assert_array_equal(with_phase(amplitude, np.full((20, 20), 7), 2.0).imag, 0)
    with pytest.raises(MeasurementError, match="uint8, which are no radians"):
        with_phase(amplitude, grey)
    with pytest.raises(MeasurementError, match=r"phase has the shape \(20, 19\)"):
        with_phase(amplitude, grey[:, 1:], 2.0)
    with pytest.raises(MeasurementError, match="complex128"):
        with_phase(amplitude + 0j, amplitude)
