import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from napari_dipr.networks.spec import ModelSpec, NetworkSpec, TrainingSpec

TRAINING = {
    "objects": "simulated",
    "losses": {"symmetry-aware": 1.0},
    "batch_size": 2,
    "steps": 1,
    "learning_rate": 1e-3,
}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"grid": (72, 70)}, "must be one whole multiple of the window"),
        ({"grid": (72, 36)}, "whole multiple"),
        ({"grid": (54, 54)}, "whole multiple"),
        ({"grid": (48, 48, 24), "window": (24, 24, 24)}, "whole multiple"),
        ({"grid": (72, 72, 72)}, "differ in their dimensions"),
        ({"window": (36, 36, 36)}, "differ in their dimensions"),
        ({"window": (0, 0)}, "greater than or equal to 1"),
        ({"grid": (72,)}, "grid"),
        ({"grid": (72,) * 4, "window": (36,) * 4}, "grid"),
        ({"grid": (8, 8), "window": (4, 4)}, "cannot be halved 3 times"),
        ({"grid": (32, 32, 8), "window": (16, 16, 4)}, "cannot be halved 3 times"),
        ({"width": 2}, "greater than or equal to 4"),
        ({"levels": 1}, "greater than or equal to 2"),
        ({"projections": -1}, "greater than or equal to 0"),
        ({"projections": 9}, "less than or equal to 8"),
        ({"output": "real"}, "'non-negative' or 'complex'"),
        ({"depth": 3}, r"there is no depth; the keys are grid, window, .*, output"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(table, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSpec(**table)


def test_the_fold_is_how_often_the_window_goes_into_the_grid():
    assert NetworkSpec().fold == 2
    assert NetworkSpec(grid=(48, 36, 24), window=(16, 12, 8)).fold == 3


def test_the_losses_of_a_training_and_their_weights_are_read():
    losses = {"symmetry-aware": 1.0, "passive-squared": 0.5}
    assert TrainingSpec(**TRAINING | {"losses": losses}).losses == losses


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"losses": {}}, "at least 1 item"),
        ({"losses": {"passive": 1.0}}, "'passive-squared'"),
        ({"losses": {"naive": 0.0}}, "greater than 0"),
        ({"losses": {"naive": -1.0}}, "greater than 0"),
        ({"earlier": 1.5}, "less than or equal to 1"),
        ({"jacobian": -0.1}, "greater than or equal to 0"),
        ({"objects": "letters"}, "'fashion-mnist' or 'simulated'"),
        ({"learning_rate": math.inf}, "finite number"),
        ({"weight_decay": math.nan}, "finite number"),
        ({"jacobian": math.inf}, "finite number"),
        ({"losses": {"naive": math.inf}}, "finite number"),
        ({"variety": {"texture": math.inf}}, "finite number"),
        ({"flaws": {"radius": (1.0, math.inf)}}, "finite number"),
    ],
)
def test_a_training_that_means_nothing_is_refused(table, message):
    with pytest.raises(ValidationError, match=message):
        TrainingSpec(**TRAINING | table)


@pytest.mark.parametrize(("grid", "most"), [((72, 72), 36), ((16, 24, 16), 8)])
def test_a_missing_centre_that_hides_the_whole_pattern_is_refused(grid, most):
    def described(**flaws):
        network = {"grid": grid, "window": tuple(n // 2 for n in grid), "levels": 2}
        return ModelSpec(model={"name": "x", "purpose": "x"}, network=network, training=TRAINING | {"flaws": flaws})

    with pytest.raises(ValidationError, match=rf"radius is up to {most} pixels, .*; take less than {most}"):
        described(radius=(1.0, most))
    assert described(radius=(1.0, most - 0.5)).training.flaws.radius == (1.0, most - 0.5)
    assert described(radius=(1.0, most), hidden=0).training.flaws.hidden == 0


def test_the_example_of_the_guide_is_a_model():
    spec = ModelSpec.read(Path(__file__).parents[2] / "docs" / "beamline" / "model.toml")
    assert spec.training.start == "unrolled-objects-2d"
    assert spec.training.flaws is not None
