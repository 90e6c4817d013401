"""A run that was cut off goes on as if it had never been, and what is damaged is refused."""

import os
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from napari_dipr.errors import FileError
from napari_dipr.io import checkpoint, cutoff, sealed
from napari_dipr.io.checkpoint import Checkpoints, Claim
from napari_dipr.io.cutoff import STATES, clean, cut_off, runs_folder, stamp, states
from napari_dipr.io.sealed import read_sealed, write_sealed
from napari_dipr.measurement import Measurement
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Controls, run
from napari_dipr.solvers.shrinkwrap import autocorrelation_support


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "cache"))


def a_measurement(real=False):
    rng = np.random.default_rng(0)
    x = np.zeros((20, 24), complex)
    x[6:13, 8:16] = rng.random((7, 8)) * (1 if real else np.exp(1j * rng.random((7, 8))))
    return Measurement.of(
        rng.poisson(np.abs(np.fft.fftn(x)) ** 2 * 50), zero_frequency="corner", photons_per_unit=1, name="a crystal"
    )


def begun(measurement, text, **known):
    problem = Problem.of(measurement, **known)
    recipe = Recipe.parse(text, problem=problem)
    start = random_start(problem, autocorrelation_support(problem), 1)
    return problem, recipe, start


def driven(steps, answer=lambda iterate: None):
    """Drive a run; return what it ends with and all iterates."""
    seen, controls = [], None
    try:
        while True:
            seen.append(steps.send(controls))
            controls = answer(seen[-1])
    except StopIteration as end:
        return end.value, seen


def edited(iterate):
    """Paint and turn β on the way, for the runs that are compared."""
    if iterate.iteration == 17:
        stroke = np.zeros((20, 24), np.int8)
        stroke[3:5, 3:5], stroke[8, 8] = 1, -1
        return Controls(edit=stroke, then=Controls(beta=0.6))
    return None


RUNS = [
    ("hio*40 + er*12; shrinkwrap(every=7,dilate=1)", {}),
    ("raar*25 + dm*12 + rrr*12 + detwin*5 + hio*5; shrinkwrap(every=9)", {}),
    ("alm*45; shrinkwrap(every=20)", {}),
    ("alm(inner=3)*30 + alm(history=2)*15; no shrinkwrap", {"positive": True}),
    ("hio*12 + er*3 + poisson*40; no shrinkwrap", {"free": 0.05}),
    ("hio*12 + gaussian*30; shrinkwrap(every=11)", {"real": True}),
    ("hio*30 + raar*30; coherence(start=10,every=6); shrinkwrap(every=8)", {"coherent": False}),
    ("hio*400 + raar*400 + er*10; settling(every=4,patience=12,gain=0.1); shrinkwrap(every=10)", {"free": 0.05}),
]


@pytest.mark.parametrize(("text", "known"), RUNS, ids=[text.partition(";")[0] for text, _ in RUNS])
@settings(max_examples=4)
@given(share=st.floats(0, 1))
def test_a_run_goes_on_bit_for_bit(text, known, share):
    measurement = a_measurement(real="positive" in known)
    problem, recipe, start = begun(measurement, text, **known)
    whole, seen = driven(run(problem, recipe, start, interval=0, record_every=5), edited)
    cut = seen[int(share * (len(seen) - 1))]
    assume(edited(cut) is None)  # what a person asked for after it is not in it
    kept = Checkpoints(measurement, recipe, {"who": "a test"})
    kept.keep(cut)
    before = cut.state.object.clone()
    kept.leave()

    claim = Claim(cut_off()[0])
    again = Problem.of(claim.measurement(), **known)
    found = claim.load(again.device)
    claim.discard()
    assert torch.equal(found.state.object, before)
    assert found.recipe == recipe
    steps = run(again, found.recipe, found.state, at=found.position, interval=0, record_every=5)
    end, rest = driven(steps, edited)
    after = [i for i in seen if i.iteration > cut.iteration] or [cut]  # at its end it takes what is asked for there
    assert [(i.iteration, i.stage, i.total) for i in rest] == [(i.iteration, i.stage, i.total) for i in after]
    assert torch.equal(end.object, whole.object)
    assert torch.equal(end.support, whole.support)
    assert torch.equal(end.state.object, whole.state.object)
    assert end.history == whole.history
    assert (end.ended, end.ffts, end.iterations) == (whole.ended, whole.ffts, whole.iterations)
    assert end.seconds >= found.position.seconds


@pytest.mark.parametrize(
    "text",
    ["hio*6; no shrinkwrap", "hio*400 + raar*9; settling(every=4,patience=12,gain=0.1); shrinkwrap(every=10)"],
)
def test_what_is_asked_for_at_the_end_reaches_a_run_that_was_cut_off_there(text):
    stroke = np.zeros((20, 24), np.int8)
    stroke[8, 8] = -1
    measurement = a_measurement()
    problem, recipe, start = begun(measurement, text)
    *_, last = driven(run(problem, recipe, start, interval=0))[1]

    def asked(iterate):
        return Controls(edit=stroke) if iterate.iteration == last.iteration else None

    whole, _ = driven(run(problem, recipe, start, interval=0), asked)
    end, rest = driven(run(problem, recipe, last.state, at=last.position, interval=0), asked)
    assert [i.iteration for i in rest] == [last.iteration]
    assert not end.support[0, 8, 8]
    assert torch.equal(end.object, whole.object)
    assert (end.history, end.ended, end.ffts) == (whole.history, whole.ended, whole.ffts)


@pytest.mark.parametrize(("text", "known"), RUNS, ids=[text.partition(";")[0] for text, _ in RUNS])
def test_no_step_writes_into_an_earlier_state(text, known):
    problem, recipe, start = begun(a_measurement(real="positive" in known), text, **known)
    kept = []

    def look(iterate):
        kept.append((iterate.state, [tensor.clone() for tensor in tensors_of(iterate.state)]))

    driven(run(problem, recipe, start, interval=0), look)
    assert all(torch.equal(a, b) for state, copies in kept for a, b in zip(tensors_of(state), copies, strict=True))


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, tuple):
        return [t for item in value for t in tensors_of(item)]
    return [t for item in getattr(value, "__dict__", {}).values() for t in tensors_of(item)]


def test_what_is_read_is_laid_out_as_what_was_written(tmp_path):
    x = torch.randn(3, 4, 5, dtype=torch.complex64)
    values = {
        "turned": x.permute(2, 0, 1),
        "one": torch.tensor(2.5),
        "wide": torch.ones(2, 1).expand(2, 9),
        "none": None,
    }
    values |= {
        "bits": torch.tensor([True, False]),
        "empty": torch.empty(0),
        "rows": (1, 2.5, "a", (None,)),
        "inf": np.inf,
    }
    write_sealed(tmp_path / "a.safetensors", values)
    found = read_sealed(tmp_path / "a.safetensors")
    assert found.keys() == values.keys()
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value)
            assert found[name].dtype == value.dtype
        else:
            assert found[name] == value
    assert found["turned"].stride() == values["turned"].stride()
    assert found["turned"].data_ptr() % 64 == 0


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_wrong_bit_is_refused(tmp_path_factory, where, bit):
    path = tmp_path_factory.getbasetemp() / "one.safetensors"
    if not path.exists():
        write_sealed(path, {"x": torch.arange(30.0), "text": "words", "n": 3})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(where * len(whole))] ^= 1 << bit
    other = path.with_name("other.safetensors")
    other.write_bytes(damaged)
    with pytest.raises(FileError, match="damaged"):
        read_sealed(other)
    other.write_bytes(whole[: int(where * len(whole))])
    with pytest.raises(FileError, match="damaged"):
        read_sealed(other)


def test_a_file_makes_nothing_but_the_solvers_dataclasses(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    monkeypatch.setattr("napari_dipr.io.sealed._plain", lambda value, tensors: {"of": "run:run", "fields": {}})
    write_sealed(path, {})
    with pytest.raises(FileError, match="knows no run:run"):
        read_sealed(path)


def kept_run(name="a crystal", iterations=(3, 6)):
    measurement = a_measurement()
    problem, recipe, start = begun(measurement, "hio*9")
    kept = Checkpoints(measurement, recipe, {"name": name})
    _, seen = driven(run(problem, recipe, start, interval=0))
    for n in iterations:
        kept.keep(seen[n - 1])
    return kept


def test_a_damaged_state_gives_way_to_the_one_before():
    kept_run().leave()
    (found,) = cut_off()
    assert (found.iteration, found.total, found.measurement) == (6, 9, "a crystal")
    newest = max((found.folder / name for name in STATES), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    claim = Claim(found)
    assert claim.load().state.iteration == 3
    assert found.folder / STATES[claim.slot] == newest  # what is whole stays
    for name in STATES:
        (found.folder / name).write_bytes(b"")
    with pytest.raises(FileError, match="cannot be gone on with"):
        claim.load()


def test_a_run_that_lives_is_not_offered_nor_one_that_another_has():
    kept = kept_run()
    assert cut_off() == []
    kept.leave()
    (found,) = cut_off()
    claim = Claim(found)
    assert cut_off() == []
    with pytest.raises(FileError, match="another program"):
        Claim(found)
    claim.leave()
    assert len(cut_off()) == 1


def test_a_run_that_is_over_leaves_nothing():
    kept = kept_run()
    kept.end()
    assert list(runs_folder().iterdir()) == []


def test_a_run_that_goes_on_keeps_on_in_its_folder():
    kept_run(iterations=(3,)).leave()
    claim = Claim(cut_off()[0])
    found = claim.load()
    kept = Checkpoints(claim.measurement(), found.recipe, {}, claim=claim)
    problem = Problem.of(claim.measurement())
    seen = driven(run(problem, found.recipe, found.state, at=found.position, interval=0))[1]
    kept.keep(seen[0])
    kept.keep(seen[1])
    kept.leave()
    assert [run.iteration for run in cut_off()] == [5]
    assert sorted(path.name for path in cut_off()[0].folder.glob("*.safetensors")) == [
        "measurement.safetensors",
        *STATES,
    ]


def test_the_cache_is_bounded(monkeypatch):
    for n in range(4):
        kept_run(str(n)).leave()
        time.sleep(0.01)
    (runs_folder() / "20000101-000000-abcdef").mkdir()
    monkeypatch.setattr(cutoff, "MOST_RUNS", 3)
    clean()
    assert [run.settings["name"] for run in cut_off()] == ["3", "2", "1"]
    assert not (runs_folder() / "20000101-000000-abcdef").exists()
    size = sum(path.stat().st_size for path in cut_off()[0].folder.iterdir())
    monkeypatch.setattr(cutoff, "MOST_BYTES", 2.5 * size)
    clean()
    assert [run.settings["name"] for run in cut_off()] == ["3", "2"]
    monkeypatch.setattr(cutoff, "MOST_BYTES", 0.5 * size)
    clean()
    assert [run.settings["name"] for run in cut_off()] == ["3"]  # the newest is never too large
    monkeypatch.setattr(cutoff, "MOST_DAYS", -1)
    clean()
    assert list(runs_folder().iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_told_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cutoff.VARIABLE, str(tmp_path / "file"))
    measurement, words = a_measurement(), []
    problem, recipe, start = begun(measurement, "hio*30")
    kept = Checkpoints(measurement, recipe, {}, interval=0, tell=words.append)
    end, _ = driven(run(problem, recipe, start, interval=0), lambda iterate: (kept.look(iterate), time.sleep(0.002))[1])
    kept.end()
    assert end.iterations == 30
    assert len(words) == 1
    assert "not kept" in words[0]


def test_on_a_full_disk_the_state_before_stays(monkeypatch):
    kept = kept_run(iterations=(3,))
    honest = sealed.save_file

    def full(tensors, path, told):
        honest(tensors, path, told)
        path.write_bytes(path.read_bytes()[:100])
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    measurement = a_measurement()
    seen = driven(run(*begun(measurement, "hio*9"), interval=0))[1]
    monkeypatch.setattr(sealed, "save_file", full)
    kept.keep(seen[5])
    kept.leave()
    (found,) = cut_off()
    assert found.iteration == 3
    assert not list(found.folder.glob("*.part"))


def test_a_state_that_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 3000)
    words = []
    measurement = a_measurement()
    problem, recipe, start = begun(measurement, "hio*3")
    kept = Checkpoints(measurement, recipe, {}, tell=words.append)
    seen = driven(run(problem, recipe, start, interval=0))[1]
    kept.keep(seen[0])
    kept.look(seen[1])
    assert "GB" in words[0]
    kept.end()
    assert list(runs_folder().iterdir()) == []


def test_a_header_that_is_damaged_hides_no_run():
    kept_run().leave()
    (found,) = cut_off()
    newest = states(found.folder)[0]
    newest.write_bytes(newest.read_bytes().replace(b'\\"iteration\\"', b'\\"iteratiom\\"', 1))
    (found,) = cut_off()
    assert found.iteration == 3
    assert Claim(found).load().state.iteration == 3


def test_a_run_that_no_version_reads_is_deleted_only_when_it_is_old(monkeypatch):
    kept_run().leave()
    (found,) = cut_off()
    for path in states(found.folder):
        path.write_bytes(b"of another version")
    assert cut_off() == []
    old = found.folder.with_name("20200101-000000-abcdef")
    lately = found.folder.with_name(stamp(datetime.now() - timedelta(hours=2)) + "-abcdef")
    found.folder.rename(lately)
    clean()
    assert lately.is_dir()
    lately.rename(old)
    clean()
    assert not old.exists()


def test_the_clock_does_not_say_which_state_is_newer():
    kept_run().leave()
    (found,) = cut_off()
    newest, before = states(found.folder)
    os.utime(newest, (1, 1))
    assert states(found.folder) == [newest, before]
    assert cut_off()[0].iteration == 6
