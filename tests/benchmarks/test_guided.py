import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.guided import SETS, WAYS, Way, compare


def test_all_ways_cost_the_same():
    assert {way.iterations for way in WAYS.values()} == {10_000}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("napari_dipr.benchmarks.guided.WAYS", {"alone": Way(4, rounds=1), "guided": Way(2, 2, 1, 1)})


@pytest.mark.usefixtures("short")
def test_ways_are_compared_on_the_same_objects_and_the_command_prints_it(tmp_path):
    told = []
    found = compare(1, seed=3, side=32, progress=lambda name, done: told.append(name))
    assert told == list(SETS)
    assert [(row["set"], row["way"]) for row in found["rows"]] == [(s, w) for s in SETS for w in ("alone", "guided")]
    for alone, guided in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        assert alone["iterations"] == guided["iterations"] == 400
        assert (alone["better"], alone["worse"], alone["ratio"], alone["mean_ratio"]) == (0, 0, 1, 1)
        assert guided["ratio"] == pytest.approx(guided["errors"][0] / alone["errors"][0])
        assert guided["better"] + guided["worse"] == (abs(guided["ratio"] - 1) > 0.05)
        assert 0 < guided["best_median"] < 1
    for row in found["overall"]:
        ratios = [r["ratio"] for r in found["rows"] if r["way"] == row["way"]]
        assert row["ratio"] == pytest.approx(math.exp(np.log(ratios).mean()))
        assert row["better"] == sum(r["better"] for r in found["rows"] if r["way"] == row["way"])
    file = tmp_path / "guided.json"
    said = CliRunner().invoke(app, ["guided", "--objects", "1", "--side", "32", "--seed", "3", "--json", str(file)])
    assert said.exit_code == 0, said.output
    rows = json.loads(file.read_text())["rows"]
    assert [row["errors"] for row in rows] == [row["errors"] for row in found["rows"]]
    assert max(map(len, said.output.splitlines())) <= 80
    assert all(f"{row['best_median']:.3f}" in said.output for row in rows)
