import numpy as np
import pytest
from pydantic import ValidationError

from napari_dipr.errors import DiprError, MeasurementError, RecipeError, in_words, one_line
from napari_dipr.geometry import Geometry
from napari_dipr.io.provenance import about_measurement, measurement_from
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.steps import Preparation
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.shrinkwrap import ShrinkWrap


def found(model, **values):
    with pytest.raises(ValidationError) as error:
        model.model_validate(values)
    return error.value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"saturation": -5}, "saturation: Input should be greater than 0 (got -5)"),
        (
            {"saturation": "many"},
            "saturation: Input should be a valid number, unable to parse string as a number (got 'many')",
        ),
        ({"colour": 2}, "colour: Extra inputs are not permitted"),
        ({"my colour": 2}, "my colour: Extra inputs are not permitted"),
        (
            {"grow": 99, "colour": 2},
            "grow: Input should be less than or equal to 32 (got 99); colour: Extra inputs are not permitted",
        ),
        ({"origin": [1]}, "origin.1: Field required"),
        # A whole number, several, or a word.
        ({"crop": 0}, "crop: Input should be greater than or equal to 16 (got 0)"),
        ({"crop": [64, 2]}, "crop.1: Input should be greater than or equal to 16 (got 2)"),
        ({"crop": "all"}, "crop: Input should be 'inside' or a valid integer or a valid tuple (got 'all')"),
        (
            {"crop": [64, "all"]},
            "crop.1: Input should be a valid integer, unable to parse string as an integer (got 'all')",
        ),
        ({"background": -1}, "background: Input should be greater than or equal to 0 (got -1)"),
        (
            {"geometry": {"wavelength": 1, "distance": 1, "pixel_size": [9, 9], "my colour": 2}},
            "geometry.my colour: Extra inputs are not permitted",
        ),
        (
            {"geometry": {"wavelength": -1, "distance": 1, "pixel_size": [9, 9]}},
            "geometry.wavelength: Input should be greater than 0 (got -1)",
        ),
    ],
)
def test_what_does_not_fit_is_said_by_its_field_and_value_in_one_line(values, words):
    error = found(Preparation, **values)
    assert in_words(error) == words
    assert one_line(error) == f"Preparation: {words}."


def test_what_does_not_fit_together_is_said_without_a_field():
    error = found(ShrinkWrap, smallest=0.3, largest=0.2)
    assert in_words(error) == "the whole: smallest (0.3) must be below largest (0.2)"


def test_an_error_without_words_is_told_by_its_name():
    assert one_line(DiprError("It is\n too  long.")) == "It is too long."
    assert one_line(KeyError()) == "KeyError"


def test_what_a_file_says_of_geometry_and_recipe_is_refused_in_words():
    with pytest.raises(RecipeError, match=r"The recipe does not fit: stages: Field required\.$"):
        Recipe.of({})
    assert Recipe.of(Recipe.parse("raar*3").model_dump(mode="json")) == Recipe.parse("raar*3")
    y, x = np.mgrid[-32:32, -32:32]
    measurement = Measurement.of(1e4 * np.exp(-(x**2 + y**2) / 50.0))
    told = about_measurement(measurement)
    told["geometry"] = {"wavelength": 0.1, "distance": -0.5, "pixel_size": [55, 55]}
    with pytest.raises(MeasurementError, match=r"distance: Input should be greater than 0 \(got -0\.5\)\.$"):
        measurement_from(measurement.intensities, measurement.measured, told)
    told["geometry"]["distance"] = 0.5
    assert measurement_from(measurement.intensities, measurement.measured, told).geometry == Geometry.of(
        told["geometry"]
    )
