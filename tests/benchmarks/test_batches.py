import numpy as np
import pytest

from napari_dipr.benchmarks import batches as module
from napari_dipr.benchmarks.batches import batches
from napari_dipr.errors import DiprError


@pytest.fixture
def in_one_process(monkeypatch):
    """Have workers' work done here, and note who would have been killed."""
    killed, honest = [], module.carry_out
    monkeypatch.setattr(module, "carry_out", lambda job, chunks, workers: honest(job, chunks, workers=0))
    monkeypatch.setattr(module.os, "kill", lambda pid, signal: killed.append(pid))
    monkeypatch.setattr(module, "chunk_size", lambda job, patterns: 2)
    return killed


def test_results_are_compared_to_the_last_bit_and_one_worker_is_killed(in_one_process, monkeypatch):
    told = []
    result = batches(8, 4, starts=2, rounds=1, progress=lambda what, done, total: told.append((done, total)))
    assert (result["same"], result["same_killed"], result["failed"]) == (8, 8, 0)
    assert len(in_one_process) == 1
    assert [done for done, _ in told] == list(range(9))
    assert {total for _, total in told} == {9}
    assert [(row["way"], row["starts"]) for row in result["times"]] == [
        (way, starts) for starts in (1, 2) for way in ("this process", "one worker", "2 workers")
    ]
    assert all(row["whole"] > 0 and row["after"] > 0 for row in result["times"])


def test_a_result_that_differs_in_one_bit_is_not_the_same(tmp_path):
    job, other = (module._job(tmp_path / name, 1, 0) for name in "ab")
    for one in (job, other):
        for _ in module._solved(one, 2, 0):
            pass
    assert module._alike(job, other, 2) == 2
    with np.load(tmp_path / "b" / "fashion-1.npz") as file:
        arrays = dict(file)
    arrays["object"].view(np.uint8).flat[5] ^= 1
    np.savez(tmp_path / "b" / "fashion-1.npz", **arrays)
    assert module._alike(job, other, 2) == 1


def test_too_few_patterns_to_kill_a_worker_are_refused(in_one_process, monkeypatch):
    monkeypatch.setattr(module, "KILLED_AFTER", 1000)
    monkeypatch.setattr(module, "_solved", lambda job, count, workers: iter(()))
    with pytest.raises(DiprError, match="before a worker could be killed"):
        batches(8, rounds=0)
