import pytest
import torch

from napari_dipr.errors import RecipeError
from napari_dipr.physics.fourier import forward
from napari_dipr.solvers.presets import PRESETS
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe


def counts(photons, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(1, 24, 24, dtype=torch.complex64)
    x[0, 8:14, 9:15] = torch.randn(6, 6, generator=generator, dtype=torch.complex64)
    power = forward(x).abs().square()
    return torch.poisson(power * photons / power.sum(), generator=generator)


def stages(text, **more):
    """Return the text of the stages alone."""
    return str(Recipe.parse(text, **more)).split(";")[0]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("iterations", [1, 2, 9, 10, 19, 37, 300, 1001])
def test_a_preset_has_the_iterations_that_were_asked_for_and_is_read_back_from_its_text(name, iterations):
    recipe = Recipe.parse(name, iterations=iterations)
    assert recipe.iterations == iterations
    assert Recipe.parse(str(recipe)) == recipe


def test_thorough_searches_in_turns_and_ends_with_the_likelihood_that_the_data_allow():
    assert stages("thorough") == "(hio*90 + raar*90)*3 + er*30 + gaussian*30"
    problem = Problem(counts(1e5).sqrt(), photons=1.0)
    assert stages("thorough", problem=problem).endswith("er*30 + poisson*30")


def test_auto_chooses_by_noise_and_by_what_is_known_of_the_object():
    clean = Problem(torch.rand(1, 24, 24) + 0.1)
    noisy = Problem(counts(1e3).sqrt())
    assert stages("auto", problem=clean) == "hio*900 + er*100"
    assert stages("auto", problem=noisy) == "(hio*235 + raar*235)*2 + er*30 + gaussian*30"
    assert "poisson" in str(Recipe.parse("auto", problem=Problem(noisy.amplitudes, photons=1.0)))
    assert stages("auto", problem=Problem(noisy.amplitudes, positive=True)) == "hio*900 + er*100"
    assert Recipe.parse("auto", problem=clean).settling is not None
    assert Recipe.parse("auto; settling(patience=40)", problem=clean).settling.patience == 40


def test_unmeasured_pixels_are_not_taken_for_noise():
    measured = torch.ones(24, 24, dtype=torch.bool)
    measured[:4] = False
    problem = Problem(torch.rand(1, 24, 24) + 0.1, measured)
    assert "raar" not in str(Recipe.parse("auto", problem=problem))


def test_options_that_a_preset_does_not_have_are_refused_in_words():
    with pytest.raises(RecipeError, match=r"raar.*beta: .*less than or equal to 1"):
        Recipe.parse("raar", beta=1.5)
    with pytest.raises(RecipeError, match="gamma"):
        Recipe.parse("hio", gamma=1)


def test_auto_takes_no_options():
    with pytest.raises(RecipeError, match="leave out beta"):
        Recipe.parse("auto", beta=0.8)


def test_without_noise_auto_searches_on_until_the_measurement_is_explained():
    clean = Recipe.parse("auto", iterations=600, problem=Problem(torch.rand(1, 24, 24) + 0.1))
    assert clean.stages == Recipe.parse("hio", iterations=600).stages
    assert clean.settling.hopeful < 1e-3
    noisy = Problem(counts(1e3).sqrt())
    for problem in (noisy, Problem(noisy.amplitudes, positive=True)):  # noise keeps χ² above any such level
        assert Recipe.parse("auto", problem=problem).settling.hopeful == 1
