import numpy as np
import pytest
import torch

from napari_dipr.errors import RecipeError
from napari_dipr.experiment import simulate
from napari_dipr.gather import FREE, gather
from napari_dipr.io.checkpoint import Claim
from napari_dipr.io.cutoff import VARIABLE, cut_off
from napari_dipr.io.record import read_record, write_record
from napari_dipr.physics.registration import register
from napari_dipr.reconstruct import Keeping, Request
from napari_dipr.samples import sample


def request(**changed):
    plain = {
        "recipe": "(hio*60 + er*20)*5; shrinkwrap(threshold=0.1)",
        "iterations": None,
        "shrink_wrap": True,
        "partial_coherence": False,
        "positive": False,
        "real": False,
        "model": None,
        "support": "autocorrelation",
        "seed": 4,
        "device": "cpu",
    }
    return Request(**(plain | changed))


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:14, :14]
    picture = rng.uniform(0.4, 1, (14, 14)) * np.exp(1j * rng.uniform(0, 1, (14, 14))) * (rows + columns < 15)
    return simulate(picture, oversampling=3)


@pytest.fixture(scope="module")
def gathered(known, tmp_path_factory):
    # In the object's own support every start solves, however a machine rounds; a search for the support need not.
    path = tmp_path_factory.mktemp("support") / "known.npy"
    np.save(path, known[1] != 0)
    asked = request(support=str(path), recipe="(hio*60 + er*20)*5; no shrinkwrap")
    return gather(asked, known[0], 6, keep=3)


def test_starts_are_ranked_by_pixels_held_back_and_their_mean_is_the_object(gathered, known):
    figures = gathered.figures
    assert gathered.request.free == FREE
    assert figures["criterion"] == {"by": "the free χ²", "warning": None}
    assert len(figures["starts"]) == 6
    by_rank = sorted(figures["starts"], key=lambda row: row["rank"])
    assert [row["free_chi2"] for row in by_rank] == sorted(row["free_chi2"] for row in by_rank)
    assert figures["kept"] == [row["number"] for row in by_rank if row["kept"]]
    assert 2 <= len(figures["kept"]) <= 3
    assert figures["unit"] == "pixels"
    assert sum(figures["mode_shares"]) == pytest.approx(1)
    assert figures["prtf"]["chance"] == pytest.approx(len(figures["kept"]) ** -0.5)
    assert register(gathered.ensemble.consensus.mean, torch.from_numpy(known[1])).correlation > 0.99
    assert figures["verdict"]["kind"] == "agree"


def test_the_record_of_the_mean_comes_back_from_a_file_with_its_figures(gathered, tmp_path):
    record = gathered.record(remark="kept")
    write_record(tmp_path / "mean.npz", record)
    back = read_record(tmp_path / "mean.npz")
    np.testing.assert_array_equal(back.object, record.object)
    np.testing.assert_allclose(np.abs(record.object), gathered.ensemble.object.abs(), rtol=1e-5, atol=1e-6)
    assert back.fields["variance"].shape == back.object.shape
    assert back.fields["variance"].min() >= 0
    told = back.provenance
    assert told["ensemble"]["kept"] == gathered.figures["kept"]
    assert told["errors"]["chi2"] == pytest.approx(float(gathered.ensemble.errors.chi2[0]))
    assert told["start"]["object"].startswith(
        f"the mean of the best {len(gathered.ensemble.members)} of 6 starts: phases"
    )
    assert told["free_share"] == FREE
    assert told["remark"] == "kept"


def test_the_support_of_the_mean_is_that_of_most_of_the_kept_starts(gathered):
    inside = gathered.ensemble.supports[list(gathered.ensemble.members)].numpy()
    np.testing.assert_array_equal(gathered.ensemble.support, inside.mean(0) >= 0.5)


def test_one_seed_gives_the_same_ensemble_again(gathered, known):
    again = gather(gathered.request, known[0], 6, keep=3)
    torch.testing.assert_close(again.ensemble.objects, gathered.ensemble.objects, rtol=0, atol=0)


def test_what_is_asked_for_of_free_pixels_is_done(known):
    found = gather(request(free=0.0), known[0], 2)
    assert found.ensemble.criterion.name == "chi2"
    assert found.figures["criterion"]["warning"]


def test_stopped_it_judges_what_is_done(known, monkeypatch):
    monkeypatch.setattr("napari_dipr.ensembles.ensemble.batch_size", lambda *args: 2)
    found = gather(request(), known[0], 8, progress=lambda at: len(at.finished) >= 4)
    assert len(found.ensemble.rows) == 4


def test_without_a_network_there_is_no_object_to_disturb(known):
    with pytest.raises(RecipeError, match=r"no network's object to disturb by 0\.2"):
        gather(request(), known[0], 4, perturb=0.2)


def test_starts_near_a_networks_object_have_no_transfer_function():
    measurement, _ = sample("fashion-0")
    found = gather(request(model="unrolled-fashion", support=None), measurement, 3, perturb=0.1)
    assert not found.ensemble.independent
    assert found.figures["prtf"] is None
    told = found.record().provenance
    assert "disturbed by 0.1" in told["start"]["object"]
    assert told["start"]["model"]["name"] == "unrolled-fashion"


def test_guided_generations_are_told_and_have_no_transfer_function(known):
    found = gather(request(recipe="hio*30 + er*10; shrinkwrap(threshold=0.1)"), known[0], 3, generations=2)
    assert not found.ensemble.independent
    assert found.figures["generations"] == 2
    assert found.figures["prtf"] is None
    assert {row["iterations"] for row in found.figures["starts"]} == {80}
    assert found.record().provenance["start"]["object"].endswith("after 2 guided generations")


def test_a_start_that_diverges_is_told_and_left_out(known, diverging):
    said = []
    diverging(1)
    found = gather(request(recipe="hio*9; no shrinkwrap"), known[0], 4, say=said.append)
    assert len(found.ensemble.rows) == 3
    assert said == [str(one) for one in found.ensemble.diverged]
    assert [one["number"] for one in found.record().provenance["ensemble"]["diverged"]] == [2]


@pytest.mark.parametrize("generations", [1, 3])
def test_what_was_cut_off_goes_on_to_the_same(known, diverging, generations, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    asked = request(recipe="hio*20; shrinkwrap(threshold=0.1); settling"), known[0], 3
    diverging(1)
    whole = gather(*asked, generations=generations)

    def stopped(at):
        if len(at.before) + len(at.ended) == (2 if generations == 1 else 6):
            raise KeyboardInterrupt

    keeping = Keeping({"words": []})
    with pytest.raises(KeyboardInterrupt):
        gather(*asked, generations=generations, keeping=keeping, progress=stopped)
    keeping.begin_starts(known[0], 3, print).leave()
    (run,) = cut_off()
    assert (run.iteration, run.total) == ((2, 3) if generations == 1 else (6, 9))
    keeping, ran = Keeping({}, claim=Claim(run)), []
    again = gather(*asked, generations=generations, keeping=keeping, progress=lambda at: ran.append(at) and False)
    assert len(ran[0].before) + len(ran[0].ended) == run.iteration
    assert torch.equal(again.ensemble.objects, whole.ensemble.objects)
    assert again.ensemble.diverged == whole.ensemble.diverged
    keeping.end()
    assert cut_off() == []
