import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from napari_dipr import samples
from napari_dipr.benchmarks import starts
from napari_dipr.benchmarks import table1 as benchmark
from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.score import Outcome, score
from napari_dipr.benchmarks.starts import from_proposal
from napari_dipr.benchmarks.table1 import DNCNN, METHODS, batch_of, first_objects, table1
from napari_dipr.errors import DiprError, ModelError
from napari_dipr.networks.propose import suited_shrinkwrap
from napari_dipr.networks.zoo import FOLDERS, WEIGHTS, describe_model, model_names
from napari_dipr.physics.symmetry import twin

THERE = {*model_names(), *({DNCNN} if (FOLDERS[-1] / DNCNN / WEIGHTS).is_file() else ())}
needs_weights = pytest.mark.skipif(
    not {name for m in METHODS.values() for name in (m.model, m.denoisers) if name} <= THERE,
    reason="models have no weights here",
)
IMAGES = 32
KEYS = {
    "nmse_mean",
    "nmse_median",
    "nmse_full_mean",
    "solved",
    "support_iou",
    "ffts_per_image",
    "ms_per_image",
    "images",
    "paper",
    "positive",
}


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "PRDEEP_ITERATIONS", 20)
        patch.setattr(benchmark, "PRDEEP_STARTS", 5)
        patch.setitem(METHODS, "prdeep", replace(METHODS["prdeep"], most=2))
        return table1(IMAGES, device="cpu", starts=4)["rows"]


@needs_weights
def test_every_row_has_its_figures(rows):
    assert list(rows) == list(METHODS)
    for name, row in rows.items():
        assert set(row) == KEYS
        assert row["images"] == (2 if name == "prdeep" else IMAGES)
        assert 0 <= row["nmse_mean"] <= row["nmse_full_mean"] < 1
        assert row["positive"] is name.startswith("hio_positive")
        assert row["paper"] == METHODS[name].paper
        assert row["ms_per_image"] > 0
    assert rows["passive_refined"]["paper"] == 0.187


@needs_weights
def test_the_order_that_must_hold(rows):
    error = {name: row["nmse_mean"] for name, row in rows.items()}
    assert error["passive"] < 0.95 * min(error["hio"], error["alm"])
    assert error["passive_refined"] < 0.75 * error["passive"]
    assert error["passive_refined_hio"] < 0.75 * error["passive_refined"]
    assert error["alm_oracle"] < 0.5 * error["passive_refined"]
    assert error["hio_oracle"] < 1e-3
    assert rows["hio_oracle"]["solved"] == 1
    assert error["unrolled"] < 0.5 * error["passive"]
    assert error["unrolled_refined"] < 0.75 * error["unrolled"]
    assert error["unrolled_multistart"] < error["unrolled_refined"]
    assert rows["unrolled_multistart"]["solved"] >= rows["unrolled_refined"]["solved"]
    # Ahead of what can be had without a network at the same cost.
    assert error["unrolled_refined"] < 0.75 * error["hio_shrinkwrap"]
    assert error["unrolled_multistart"] < 0.75 * error["hio_shrinkwrap_multistart"]


@needs_weights
def test_hio_and_alm_cost_what_the_refined_network_does_the_network_apart(rows):
    costs = {name: row["ffts_per_image"] - benchmark.network_ffts(name, 4) for name, row in rows.items()}
    alike = {costs[name] for name in ("hio", "alm", "passive_refined", "hio_oracle", "alm_oracle")}
    assert len(alike) == 1
    assert costs["passive_refined_hio"] < alike.pop() / 2
    for one in ("unrolled_refined", "hio_shrinkwrap", "hio_shrinkwrap_window"):
        assert costs[one] == costs["passive_refined_hio"]
    for several, one in (("unrolled_multistart", "unrolled_refined"), ("hio_shrinkwrap_multistart", "hio_shrinkwrap")):
        assert costs[several] == 4 * costs[one]


@needs_weights
def test_a_networks_transforms_are_counted(rows):
    assert rows["passive"]["ffts_per_image"] == 1  # the autocorrelation's
    assert rows["unrolled"]["ffts_per_image"] == describe_model(benchmark.UNROLLED).network.ffts > 4
    assert rows["hio"]["ffts_per_image"] == rows["passive_refined"]["ffts_per_image"] - 1


@needs_weights
def test_only_rows_that_find_a_support_have_its_overlap(rows):
    without = {"hio", "alm", "prdeep", "hio_positive", "hio_positive_short", "hio_oracle", "alm_oracle"}
    assert {name for name, row in rows.items() if row["support_iou"] is None} == without
    # ALM keeps the proposal's support, shrink-wrap betters it.
    assert rows["passive_refined_hio"]["support_iou"] > rows["passive"]["support_iou"] + 0.03


@pytest.mark.parametrize(("few", "many"), [(3, 40), (32, 70)])
def test_the_first_images_and_starts_are_the_same_for_any_number(few, many):
    assert torch.equal(first_objects(few), first_objects(many)[:few])
    some, all_of_them = (
        starts.random_start(batch.problem, batch.truth != 0, batch.seed)
        for batch in (batch_of(first_objects(n)[: benchmark.BATCH], 0, torch.device("cpu")) for n in (few, many))
    )
    torch.testing.assert_close(some.object, all_of_them.object[:few])


@needs_weights
def test_several_starts_are_different_answers_first_the_plain_one_and_then_the_same_disturbed():
    batch = batch_of(first_objects(6), 0, torch.device("cpu"))
    start = from_proposal(benchmark.UNROLLED)
    (one,), several = start(batch, 1), start(batch, 6)
    torch.testing.assert_close(one.object, several[0].object)
    objects = [start.object for start in several]
    for i, first in enumerate(objects):
        for second in objects[i + 1 :]:
            assert all((first - second).flatten(1).norm(dim=1) > 0.05 * first.flatten(1).norm(dim=1))
    assert starts.ANSWERS == 4
    for plain, disturbed in ((0, 4), (1, 5)):
        assert torch.equal(several[plain].support, several[disturbed].support)
    # Mirror images of a real object's pattern along both axes are the pattern.
    assert len(list(starts._handed(batch.problem.amplitudes))) == starts.ANSWERS


@needs_weights
def test_of_several_starts_the_one_with_the_least_residual_is_kept():
    batch = batch_of(first_objects(6), 0, torch.device("cpu"))
    start = from_proposal(benchmark.UNROLLED)
    plan = benchmark.Recipe.parse("hio*20", shrinkwrap=suited_shrinkwrap(benchmark.UNROLLED))
    residuals = torch.stack([benchmark.solve(batch.problem, plan, first).chi2 for first in start(batch, 3)]).amin(0)
    kept = benchmark._refined(start, "hio*20", partial(suited_shrinkwrap, benchmark.UNROLLED))(batch, 3)
    found = torch.fft.fft2(kept.object).abs()
    chi2 = (found - batch.problem.amplitudes).square().sum((1, 2)) / batch.problem.amplitudes.square().sum((1, 2))
    torch.testing.assert_close(chi2.double(), residuals, rtol=1e-3, atol=1e-6)


def test_a_row_that_is_told_so_ends_with_objects_that_are_not_negative():
    batch = batch_of(first_objects(2), 0, torch.device("cpu"))
    found = METHODS["hio_positive_short"].run(batch, 1).object
    assert not found.imag.any()
    assert (found.real >= 0).all()


def test_symmetries_cost_nothing_in_the_score():
    truth = first_objects(4)
    moved = torch.roll(twin(truth), (5, -9), (1, 2)) * torch.tensor(3j)
    found = score([Outcome(moved, moved.abs() > 0, 0)], truth)
    assert found["nmse_mean"] < 1e-6
    assert found["nmse_full_mean"] < 1e-6
    assert found["solved"] == 1
    assert found["support_iou"] == 1


def test_the_overlap_is_of_intersection_and_union():
    truth = first_objects(3)
    window = torch.from_numpy(samples.field_window()).expand(truth.shape)
    expected = ((truth != 0).sum((1, 2)) / samples.FIELD**2).mean()
    assert score([Outcome(truth, window, 0)], truth)["support_iou"] == pytest.approx(float(expected))


def test_the_command_writes_what_it_prints(tmp_path):
    told = []
    result = table1(33, ["hio_oracle"], device="cpu", progress=lambda *step: told.append(step))
    assert told == [("hio_oracle", 32), ("hio_oracle", 33)]
    file = tmp_path / "new" / "table.json"
    arguments = ["table1", "--images", "33", "--methods", "hio_oracle", "--device", "cpu", "--json", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "hio_oracle" in done.output
    assert "…" not in done.output
    assert "does not say how its error is normalised" in " ".join(done.output.split())
    written = json.loads(file.read_text())
    assert written["images"] == 33
    del written["rows"]["hio_oracle"]["ms_per_image"], result["rows"]["hio_oracle"]["ms_per_image"]
    assert written == result


def test_what_cannot_be_run_is_refused_before_anything_is():
    with pytest.raises(DiprError, match=r"no method 'hoi'\. The methods: hio, alm, passive"):
        table1(2, ["hio", "hoi"])
    with pytest.raises(DiprError, match="1 to 256 test images to take, not 0"):
        table1(0, ["hio"])
    with pytest.raises(DiprError, match="There is no device 'abacus'"):
        table1(2, ["hio"], device="abacus")


def test_a_missing_model_is_named_before_the_other_rows_run(monkeypatch):
    monkeypatch.setattr("napari_dipr.networks.zoo.FOLDERS", ())
    benchmark.load_model.cache_clear()
    told = []
    with pytest.raises(ModelError, match="no model called 'passive-fashion'"):
        table1(2, ["hio", "passive"], progress=lambda *step: told.append(step))
    assert not told


def test_finished_batches_are_kept_and_gone_on_from(tmp_path, monkeypatch):
    whole = table1(40, ["hio_positive_short"], device="cpu")["rows"]["hio_positive_short"]
    first = table1(32, ["hio_positive_short"], device="cpu", kept=tmp_path)
    assert first["images"] == 32
    run, worked_on = METHODS["hio_positive_short"].run, []

    def watched(batch, count):
        worked_on.append(len(batch.truth))
        return run(batch, count)

    monkeypatch.setitem(METHODS, "hio_positive_short", replace(METHODS["hio_positive_short"], run=watched))
    resumed = table1(40, ["hio_positive_short"], device="cpu", kept=tmp_path)["rows"]["hio_positive_short"]
    assert worked_on == [8]
    assert {**resumed, "ms_per_image": 0} == {**whole, "ms_per_image": 0}


def test_batches_of_other_settings_are_not_gone_on_from(tmp_path):
    table1(2, ["hio_positive_short"], device="cpu", kept=tmp_path)
    with pytest.raises(DiprError, match=r"computed with another seed 0\. Name another folder"):
        table1(2, ["hio_positive_short"], device="cpu", seed=1, kept=tmp_path)
    table1(2, ["hio_oracle"], device="cpu", kept=tmp_path)
