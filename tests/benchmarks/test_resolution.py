import json

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.resolution import CLAIMS, KINDS, bias, halves, to_truth, with_true_phases
from napari_dipr.experiment import Experiment


def case(claimed, true, curves=None, edge=10.0):
    """Make a case of which all claims and all counterparts are the same."""
    level = {"true": [1, 0.5], "true_prtf": [1, 0.5], "true_prtf_all": [1, 0.5]}
    values = curves or {name: [1, 0.5] for name in CLAIMS.values()}
    return {
        "edge": edge,
        "true": true,
        "claimed": dict.fromkeys(CLAIMS, claimed),
        "counterparts": dict.fromkeys(CLAIMS, 20.0),
        "curves": level | values,
    }


def test_what_halves_have_in_common_tells_what_the_mean_has_with_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200_000)
    for snr in (0.2071, 1.0, 5.0):
        one, two = (truth + rng.normal(size=truth.size) / np.sqrt(snr) for _ in range(2))
        fsc = np.corrcoef(one, two)[0, 1]
        assert to_truth(fsc) == pytest.approx(np.corrcoef(one + two, truth)[0, 1], abs=0.01)
    assert to_truth(1 / 7) == pytest.approx(0.5)  # .143 of [1]


def test_counts_are_dealt_out_to_independent_halves():
    x = np.zeros((64, 64))
    x[24:40, 24:40] = np.random.default_rng(0).random((16, 16))
    # Where the mean is the same, the two halves of it are not correlated: those of one Poisson number are independent.
    flat, _ = Experiment.of(photons=64 * 64 * 9.0).expose(np.eye(1, 64 * 64).reshape(64, 64), "one point")
    for measurement in (flat, Experiment.of(photons=1e5).expose(x, "noise")[0]):
        one, two = halves(measurement, 3)
        np.testing.assert_array_equal(one.intensities + two.intensities, measurement.intensities)
        assert one.intensities.min() >= 0
        assert one.intensities.sum() == pytest.approx(measurement.intensities.sum() / 2, rel=0.01)
    one, two = (part.intensities.ravel() for part in halves(flat, 3))
    assert one.var() == pytest.approx(one.mean(), rel=0.06)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.05


def test_a_bias_is_a_geometric_mean_and_the_arrays_edge_a_bound():
    found = bias([case(10.0, 20.0), case(40.0, 20.0), case(None, 40.0), case(None, None), case(100.0, 50.0)])
    for row in found.values():
        assert row["mean"] == pytest.approx((0.5 * 2 * 0.25 * 1 * 2) ** (1 / 5))
        assert (row["least"], row["most"]) == pytest.approx((0.25, 2))
        assert (row["edge"], row["both"]) == (1, 1)
        assert row["own"]["mean"] == pytest.approx((0.5 * 2 * 0.5 * 0.5 * 5) ** (1 / 5))
    assert found["prtf"]["excess"] == pytest.approx(0)
    assert found["fsc"]["excess"] == pytest.approx((to_truth(0.5) - 0.5) / 2)
    assert bias([case(10.0, 20.0)])["prtf"]["spread"] == 1


def test_claims_of_starts_are_held_against_the_truth(tmp_path):
    file, figure = tmp_path / "resolution.json", tmp_path / "resolution.png"
    asked = ["--objects", "1", "--photons", "1e4", "--starts", "4", "--keep", "2", "--side", "24"]
    said = CliRunner().invoke(app, ["resolution", *asked, "--json", str(file), "--figure", str(figure)])
    assert said.exit_code == 0, said.output
    assert max(map(len, said.output.splitlines())) <= 80
    assert figure.stat().st_size > 10_000
    found = json.loads(file.read_text())
    assert [c["kind"] for c in found["cases"]] == list(KINDS) == list(found["bias"])
    for kind in KINDS:
        assert found["bias"][kind] == bias([c for c in found["cases"] if c["kind"] == kind])
        assert f"{found['bias'][kind]['fsc']['mean']:.2f}" in said.output
    for each in found["cases"]:
        curves = {name: np.array(values) for name, values in each["curves"].items()}
        assert len({len(values) for values in curves.values()}) == 1
        # Near zero frequency all is right, at the edge of a noisy pattern little: less than the starts agree in.
        assert curves["true"][1] > 0.98
        assert curves["error"][1] < 0.05
        assert curves["true"][-1] < to_truth(curves["fsc"][-1])
        assert curves["true_prtf"].mean() < curves["prtf"].mean()
        below = curves["prtf_all"] < 1
        assert (curves["prtf_beyond_chance"] < curves["prtf_all"])[below].all()


def test_a_support_in_common_makes_halves_agree_beyond_what_is_true():
    rng = np.random.default_rng(2)
    x = np.zeros((64, 64), complex)
    x[22:42, 22:42] = rng.uniform(0.5, 1, (20, 20)) * np.exp(1j * rng.uniform(0, 1, (20, 20)))
    measurement, truth = Experiment.of(photons=3e3).expose(x, "square")
    found = with_true_phases(measurement, truth, np.eye(2), 0)
    assert found["cut"] > found["whole"] + 0.1
    # Without noise to speak of there is nothing to be wrong in.
    clear = with_true_phases(*Experiment.of(photons=1e12).expose(x, "square"), np.eye(2), 0)
    assert max(map(abs, clear.values())) < 1e-3


def test_photons_that_are_no_numbers_are_refused():
    said = CliRunner().invoke(app, ["resolution", "--photons", "many"])
    assert said.exit_code
    assert "'many'" in str(said.exception)
