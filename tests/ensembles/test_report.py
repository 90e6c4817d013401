import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dipr.ensembles.ensemble import ensemble
from napari_dipr.ensembles.report import NOWHERE, report
from napari_dipr.ensembles.starts import Starts
from napari_dipr.ensembles.verdict import verdict
from napari_dipr.io.provenance import as_json
from napari_dipr.solvers.recipe import Recipe


@pytest.fixture(scope="module")
def found(simulated):
    problem, _, support = simulated()
    recipe = Recipe.parse("hio*80 + er*20; no shrinkwrap")
    return ensemble(problem, recipe, Starts(support), 4, most=3, basis=np.diag([2.0, 2.0]))


def test_starts_are_counted_from_1_and_told_by_rank(found):
    told = report(found, verdict(found))
    assert [row["number"] for row in told["starts"]] == [1, 2, 3, 4]
    assert told["kept"] == [found.rows[i].ordinal for i in found.members]
    assert {row["rank"]: row["number"] for row in told["starts"]}[1] == told["kept"][0]
    assert [row["number"] for row in told["starts"] if row["kept"]] == sorted(told["kept"])
    assert told["unit"] == "nm"
    assert json.loads(json.dumps(as_json(told))) == as_json(told)


def test_a_curve_below_its_level_from_the_first_shell_on_is_told_from_one_that_never_falls(found):
    prtf, fsc = found.consensus.prtf, found.consensus.fsc
    for value, resolution in ((0.0, NOWHERE), (1.0, None)):
        flat = replace(
            found.consensus,
            prtf=replace(prtf, value=np.full_like(prtf.value, value)),
            fsc=replace(fsc, value=np.full_like(fsc.value, value), half_bit=np.full_like(fsc.value, 0.5)),
        )
        told = report(replace(found, consensus=flat), verdict(found))
        assert told["prtf"]["resolution"] == told["prtf"]["resolution_beyond_chance"] == resolution
        assert told["fsc"]["resolution"] == told["fsc"]["half_bit_resolution"] == resolution


def test_of_starts_that_are_not_independent_there_is_no_transfer_function(simulated):
    problem, truth, support = simulated()
    near = Starts(support, truth, 0.1)
    found = ensemble(problem, Recipe.parse("er*20; no shrinkwrap"), near, 3)
    told = report(found, verdict(found))
    assert not told["independent"]
    assert told["prtf"] is None
    assert told["unit"] == "pixels"
    assert torch.isfinite(found.consensus.mean.abs()).all()


def test_what_diverged_is_told(simulated, diverging):
    problem, _, support = simulated()
    diverging(1)
    found = ensemble(problem, Recipe.parse("hio*9; no shrinkwrap"), Starts(support, seed=5), 4)
    told = report(found, verdict(found))
    assert [row["number"] for row in told["starts"]] == [1, 3, 4]
    assert [(one["number"], one["seed"]) for one in told["diverged"]] == [(2, found.diverged[0].seed)]
    assert "no longer finite" in told["diverged"][0]["why"]
    assert json.loads(json.dumps(as_json(told))) == as_json(told)
