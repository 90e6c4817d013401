import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError
from napari_dipr.preparation.steps import Calibration, Preparation, corrected, placed, prepare


def counts(shape=(48, 40), seed=0):
    """A peak at (26, 19) on a detector that counts photons."""
    r2 = sum((np.indices(shape) - np.array([26, 19][: len(shape)]).reshape(-1, 1, 1)) ** 2)
    return np.random.default_rng(seed).poisson(1e4 * np.exp(-r2 / 50) + 2)


def of(**settings):
    return Preparation.of(**{"zero_frequency": "centre", **settings})


def test_a_preparation_is_plain_json():
    p = of(
        dark="dark.tif",
        leave_out=("hot", "negative"),
        centre=(3, 4),
        crop="inside",
        bin=(1, 2),
        geometry={"wavelength": 0.1, "distance": 1.0, "pixel_size": (55.0, 55.0)},
    )
    text = json.dumps(p.model_dump(mode="json"))
    assert Preparation.of(**json.loads(text)) == p


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": -1}, "threshold: .*got -1"),
        ({"leave_out": ("ugly",)}, "leave_out.0: .*'ugly'"),
        ({"centre": "edge"}, "centre"),
        ({"crop": 8}, "crop"),
        ({"bin": 0}, "bin"),
        ({"polish": True}, "polish"),
    ],
)
def test_what_cannot_be_done_is_refused(settings, words):
    with pytest.raises(MeasurementError, match=words):
        of(**settings)


def test_a_dark_field_is_subtracted_and_a_flat_field_divided_by():
    true = counts().astype(float)
    rng = np.random.default_rng(1)
    dark, white = rng.uniform(0, 5, true.shape), rng.uniform(0.5, 1.5, true.shape)
    white[3, 3] = 0
    white *= 900 / np.median(white[white > 0])
    measurement = prepare(true * white / 900 + dark, of(), Calibration(dark, white))
    good = measurement.measured
    assert np.argwhere(~good).tolist() == [[3, 3]]
    np.testing.assert_allclose(measurement.intensities[good], true[good], rtol=1e-5, atol=1e-4)
    assert any("dark field subtracted, 2.5" in step for step in measurement.history)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_detectors_fields_are_cut_where_the_data_begin(row, column):
    rng = np.random.default_rng(0)
    dark = rng.uniform(0, 5, (80, 80))
    cut = dark[row : row + 48, column : column + 40]
    measurement = prepare(counts() + cut, of(origin=(row, column)), Calibration(dark))
    np.testing.assert_allclose(measurement.intensities, counts(), rtol=1e-5, atol=1e-4)


def test_a_field_that_does_not_cover_the_data_is_refused():
    with pytest.raises(MeasurementError, match=r"\(60, 60\): from the origin \(20, 0\)"):
        prepare(counts(), of(origin=(20, 0)), Calibration(np.zeros((60, 60))))
    with pytest.raises(MeasurementError, match=r"dark field has the shape \(3, 48, 40\)"):
        prepare(counts(), of(), Calibration(np.zeros((3, 48, 40))))
    with pytest.raises(MeasurementError, match="no value above 0"):
        prepare(counts(), of(), Calibration(white=np.zeros((48, 40))))
    with pytest.raises(MeasurementError, match="the data amplitudes"):
        prepare(counts(), of(kind="amplitude"), Calibration(white=np.ones((48, 40))))


def test_the_rocking_axis_comes_first_with_masks_and_fields():
    scan = np.stack([counts(seed=k) for k in range(20)], axis=-1)
    mask = np.ones(scan.shape, bool)
    mask[5, 6, 7] = False
    dark = np.ones((48, 40))
    measurement = prepare(scan, of(rocking_axis=2), Calibration(dark, measured=(mask,)))
    assert measurement.grid == (20, 48, 40)
    assert np.argwhere(~measurement.measured).tolist() == [[7, 5, 6]]
    np.testing.assert_array_equal(
        measurement.intensities[measurement.measured], np.maximum(np.moveaxis(scan, 2, 0) - 1, 0)[measurement.measured]
    )


def test_bad_pixels_are_left_out_for_the_reasons_that_are_given():
    data = counts().astype(float)
    data[40, 4], data[7, 30], data[10, 10] = 1e6, -1, np.nan
    assert (~prepare(data, of()).measured).sum() == 2
    measurement = prepare(data, of(leave_out=("negative", "NaN", "hot")))
    assert np.argwhere(~measurement.measured).tolist() == [[7, 30], [10, 10], [40, 4]]
    assert "left out 1 pixels: hot" in measurement.history
    grown = prepare(data, of(leave_out=("negative", "NaN", "hot"), grow=1))
    assert (~grown.measured).sum() == 15
    assert (~prepare(data, of(saturation=9000)).measured).sum() == 2 + (data >= 9000).sum()


def test_the_background_is_what_the_rim_has():
    data = counts() + 100.0
    measurement = prepare(data, of(background="rim", crop=32))
    rim = np.concatenate([data[:2].ravel(), data[-2:].ravel(), data[2:-2, :2].ravel(), data[2:-2, -2:].ravel()])
    assert f"background of {np.median(rim):.4g} subtracted" in measurement.history
    given = prepare(data, of(background=102))
    np.testing.assert_array_equal(given.intensities, np.maximum(data - 102, 0).astype(np.float32))


def test_centre_crop_and_bin():
    data = counts()
    peak = tuple(map(int, np.unravel_index(data.argmax(), data.shape)))
    for how in ("peak", peak):
        cut = prepare(data, of(centre=how, crop=(32, 30)))
        assert cut.grid == (32, 30)
        assert cut.intensities[16, 15] == data.max()
    kept = prepare(data, of(centre="peak"))
    assert kept.grid == data.shape
    assert kept.intensities[24, 20] == data.max()
    assert not kept.measured.all()
    assert prepare(data, of(bin=2)).grid == (24, 20)
    assert prepare(data, of()).intensities.sum() == data.sum()


@given(st.integers(1, 3), st.integers(30, 40), st.integers(28, 44))
def test_the_inside_is_filled_and_fit_for_transforms(factor, row, column):
    data = np.ones((90, 80))
    data[row, column] = 9
    inside = prepare(data, of(crop="inside"))
    assert inside.measured.all()
    assert all(n % 2 == 0 and max(p for p in range(1, n + 1) if n % p == 0 and prime(p)) <= 7 for n in inside.grid)
    assert inside.intensities[tuple(n // 2 for n in inside.grid)] == 9
    binned = prepare(data, of(crop="inside", bin=factor))
    assert all(n % 2 == 0 for n in binned.grid)


def prime(n):
    return n > 1 and all(n % k for k in range(2, n))


def test_a_centre_that_is_no_pixel_is_refused():
    with pytest.raises(MeasurementError, match=r"\(3, 40\) is no pixel"):
        prepare(counts(), of(centre=(3, 40)))
    with pytest.raises(MeasurementError, match=r"\(3,\) is no pixel"):
        prepare(counts(), of(centre=(3,)))


def test_what_is_placed_anew_need_not_be_corrected_again():
    p = of(leave_out=("hot",), threshold=5, crop=32, background=1, bin=2)
    data = counts()
    whole, parts = prepare(data, p), placed(corrected(data, p.first_part), p)
    np.testing.assert_array_equal(whole.intensities, parts.intensities)
    assert whole.history == parts.history
    assert p.first_part == of(leave_out=("hot",))
