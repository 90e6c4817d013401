import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from napari_dipr.benchmarks import recipes as benchmark
from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.recipes import RECIPES, SETS, Set, compare, crystal
from napari_dipr.errors import DiprError, RecipeError
from napari_dipr.physics.symmetry import nmse
from napari_dipr.solvers.recipe import Recipe

TINY = {"flat": Set((32, 32), 2, strain=0.4, photons=1e6), "deep": Set((20, 24, 22), 2, strain=0.4)}


@pytest.mark.parametrize(("grid", "strain"), [((64, 64), 1.2), ((32, 36, 40), 0.8), ((48, 64), 0.4)])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_crystal_is_one_convex_piece_with_the_strain_that_was_asked_for(grid, strain, seed):
    x = crystal(grid, strain, seed)
    inside = x != 0
    assert x.dtype == np.complex64
    assert x.shape == grid
    np.testing.assert_allclose(np.abs(x[inside]), 1, atol=1e-6)
    assert ndimage.label(inside)[1] == 1
    for axis in range(len(grid)):  # a line meets a convex body once
        edges = np.diff(inside.astype(int), axis=axis, prepend=0, append=0)
        assert (edges == 1).sum(axis).max() == 1
        assert inside.any(tuple(a for a in range(len(grid)) if a != axis)).sum() < 0.5 * grid[axis]
    # The phase is smooth, so that what is wrapped is only where it passes π.
    phase = np.angle(x[inside] / x[tuple(n // 2 for n in grid)])
    if strain < 1:
        assert phase.std() == pytest.approx(strain, rel=1e-3)
    assert not np.array_equal(x, crystal(grid, strain, seed + 1))
    np.testing.assert_array_equal(x, crystal(grid, strain, seed))


def test_counts_are_the_photons_that_were_asked_for_and_the_same_each_time():
    problem, truth = TINY["flat"].measured(torch.device("cpu"))
    counts = problem.amplitudes.square()
    torch.testing.assert_close(counts, counts.round(), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(counts.sum((1, 2)), 1e6, rtol=5e-3)
    assert problem.photons == 1
    again, same = TINY["flat"].measured(torch.device("cpu"))
    assert torch.equal(problem.amplitudes, again.amplitudes)
    assert torch.equal(truth, same)
    noiseless, _ = TINY["deep"].measured(torch.device("cpu"))
    assert noiseless.photons is None


def test_a_row_for_each_set_and_recipe():
    texts, told = ["hio*40 + er*10", "auto"], []
    result = compare(texts, TINY, iterations=80, device="cpu", progress=lambda *step: told.append(step))
    assert told == [(name, text) for name in TINY for text in texts]
    assert [(row["set"], row["recipe"]) for row in result["rows"]] == told
    for row in result["rows"]:
        assert 0 <= row["nmse_median"] < 1
        assert row["solved"] in (0, 0.5, 1)
        assert 0 < row["size"] < 10
    first = result["rows"][0]
    # Two an iteration, and two for each of shrink-wrap's updates, after 20 and 40.
    assert (first["iterations"], first["ffts"], first["ended"]) == (50, 104, {})
    assert all(row["iterations"] <= 80 for row in result["rows"])
    assert json.loads(json.dumps(result)) == result


def test_the_figures_of_a_set_that_is_solved_agree():
    made = Set((48, 48), 3, strain=0.2, photons=1e8)
    (row,) = compare(["thorough"], {"easy": made}, device="cpu")["rows"]
    assert row["solved"] == 1
    assert row["nmse_mean"] < benchmark.SOLVED
    assert row["chi2"] < 1e-2
    assert row["size"] == pytest.approx(1, abs=0.3)


def test_a_search_that_ends_on_its_own_does_so_for_each_object(monkeypatch):
    ended = []
    monkeypatch.setattr(
        benchmark, "solve", lambda *args, honest=benchmark.solve: ended.append(honest(*args)) or ended[-1]
    )
    made = Set((32, 32), 3, strain=0.4, photons=1e6)
    (row,) = compare(["hio*300; settling(every=5,patience=15)"], {"flat": made}, device="cpu")["rows"]
    iterations = [end.iterations for end in ended]
    assert len(iterations) == 3
    assert len(set(iterations)) > 1
    assert row["iterations"] == pytest.approx(np.mean(iterations))
    assert row["ffts"] == pytest.approx(np.mean([end.ffts for end in ended]))
    assert sum(row["ended"].values()) == sum(words.ended != "all iterations done" for words in ended) > 0
    truth = made.measured(torch.device("cpu"))[1]
    alone = [float(nmse(end.object, t[None])[0]) for end, t in zip(ended, truth, strict=True)]
    assert row["nmse_mean"] == pytest.approx(np.mean(alone))


def test_a_seed_is_of_the_starts():
    def figures(seed):
        rows = compare(["hio*20"], {"flat": TINY["flat"]}, device="cpu", seed=seed)["rows"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)


def test_the_default_recipes_cost_the_same():
    costs = {"dm": 4}
    for text in RECIPES[:5]:
        stages = Recipe.parse(text).stages
        assert sum(stage.iterations * costs.get(stage.algorithm.name, 2) for stage in stages) == 1200
    assert Recipe.parse("thorough", iterations=benchmark.ITERATIONS).iterations == 600
    assert {made.objects for made in SETS.values() if made.grid is None or len(made.grid) == 2} == {24}


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "SETS", TINY)
    file = tmp_path / "new" / "recipes.json"
    texts = ("hio(beta=0.8)*10", "auto; settling(every=5,patience=5,gain=0.9)")
    arguments = [part for text in texts for part in ("--recipes", text)]
    done = CliRunner().invoke(app, ["recipes", *arguments, "--device", "cpu", "--seed", "3", "--json", str(file)])
    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text())
    assert written["seed"] == 3
    assert [row["recipe"] for row in written["rows"]] == [*texts, *texts]
    for row in written["rows"]:
        assert row["set"] in done.output
        assert f"{row['nmse_mean']:.3f}" in done.output
        assert row["seconds"] > 0
        for why, count in row["ended"].items():
            assert f"{row['recipe']}: {why} ({count}×)" in " ".join(done.output.split())
    assert [bool(row["ended"]) for row in written["rows"]] == [False, True, False, True]
    assert "χ² has not improved for … iterations" in " ".join(done.output.split())


def test_what_cannot_be_run_is_refused_before_anything_is():
    told = []
    for texts, error, says in (
        (["hio*3", "magic*3"], RecipeError, "'magic.3' was not understood"),
        ([], DiprError, "no recipe"),
    ):
        with pytest.raises(error, match=says):
            compare(texts, TINY, progress=lambda *step: told.append(step))
    with pytest.raises(DiprError, match="There is no device 'abacus'"):
        compare(["hio*3"], TINY, device="abacus", progress=lambda *step: told.append(step))
    assert not told
