import logging
import os
import signal
import sys
import time

import cloudpickle
import dask
import numpy as np
import pytest

from napari_dipr.batch.run import carry_out, chunk_size, chunks_of
from napari_dipr.batch.work import solve_patterns
from napari_dipr.errors import DiprError
from napari_dipr.io.record import read_record

distributed = pytest.importorskip("distributed")
kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing is killed so here")


@pytest.fixture(scope="module")
def scheduler():
    """Two worker processes; a task is given up with the first that it takes with it."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address


def rows_of(coming):
    return sorted((row for rows in coming for row in rows), key=lambda row: row["number"])


def assert_equal_results(one, other, patterns):
    for pattern in patterns:
        a, b = read_record(one.result(pattern)), read_record(other.result(pattern))
        np.testing.assert_array_equal(a.object, b.object)
        np.testing.assert_array_equal(a.support, b.support)


def test_two_workers_give_what_this_process_gives_though_one_is_killed(make_job, scans):
    patterns = scans(6)
    serial, spread = make_job("serial"), make_job("spread")
    rows_of(carry_out(serial, chunks_of(patterns, 1), workers=0))
    coming = carry_out(spread, chunks_of(patterns, 1), workers=2)
    first = next(coming)
    if hasattr(signal, "SIGKILL"):
        os.kill(first[0]["process"], signal.SIGKILL)
    rows = rows_of([first, *coming])
    assert [row["number"] for row in rows] == list(range(6))
    assert {row["state"] for row in rows} == {"done"}
    assert os.getpid() not in {row["process"] for row in rows}
    assert_equal_results(serial, spread, patterns)


@kills
def test_an_answer_that_its_worker_takes_with_it_is_found_again(make_job, scans, scheduler):
    patterns = scans(4)
    coming = carry_out(make_job(), chunks_of(patterns, 1), scheduler=scheduler)
    first, late = next(coming), time.monotonic() + 60
    with distributed.Client(scheduler, set_as_default=False) as client:
        while len(client.who_has()) < len(patterns) - 1 and time.monotonic() < late:  # all are done, to be fetched
            time.sleep(0.05)
        for process in client.run(os.getpid).values():
            os.kill(process, signal.SIGKILL)
        late = time.monotonic() + 5
        while any(client.who_has().values()) and time.monotonic() < late:  # until it is noticed; others take longer
            time.sleep(0.02)
    rows = rows_of([first, *coming])
    assert [row["state"] for row in rows] == ["done"] * 4


@kills
def test_a_pattern_that_kills_its_worker_fails_and_no_other(make_job, scans, scheduler):
    def work(job, patterns):
        if any(pattern.name == "scan1" for pattern in patterns):
            os.kill(os.getpid(), signal.SIGKILL)
        return solve_patterns(job, patterns)

    patterns = scans(5)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests
    try:
        rows = rows_of(carry_out(make_job(), chunks_of(patterns, 3), scheduler=scheduler, work=work))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert [row["state"] for row in rows] == ["done", "failed", "done", "done", "done"]
    assert rows[1]["error"].startswith("It took 1 workers with it")


def test_what_is_left_is_given_up_when_nobody_waits_any_more(make_job, scans, scheduler):
    job, patterns = make_job(), scans(16)
    coming = carry_out(job, chunks_of(patterns, 1), scheduler=scheduler)
    next(coming)
    coming.close()
    with distributed.Client(scheduler, set_as_default=False) as client:
        while any(client.processing().values()):
            time.sleep(0.05)
    done = [pattern for pattern in patterns if job.finished(pattern)]
    assert 1 <= len(done) < len(patterns)
    rows = rows_of(carry_out(job, chunks_of(patterns, 1), scheduler=scheduler))
    assert {row["state"] for row in rows} == {"done"}


def test_a_scheduler_that_is_not_there_is_told_and_nothing_forgotten(make_job, scans):
    (pattern,) = scans(1)
    solve_patterns(make_job(), [pattern])
    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        for address in ("tcp://127.0.0.1:1", "nowhere://", "nonsense"):
            with pytest.raises(DiprError, match=f"no scheduler at {address}"):
                next(carry_out(make_job(), [[pattern]], scheduler=address, again=True))
    assert make_job().finished(pattern) is not None


def test_a_scheduler_without_workers_is_told_and_waited_for(make_job, scans):
    (pattern,) = scans(1)
    said = []
    with distributed.LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:

        def say(words):
            said.append(words)
            cluster.scale(1)

        address = cluster.scheduler_address
        (row,) = rows_of(carry_out(make_job(), [[pattern]], scheduler=address, say=say))
    assert row["state"] == "done"
    assert said == [f"the scheduler at {address} has no workers yet: waiting for them"]


def test_chunks_are_of_those_that_are_solved_together(make_job, scans, tmp_path):
    patterns = scans(3)
    assert chunk_size(make_job(), patterns) == 16
    assert chunk_size(make_job(together=2), patterns) == 2
    assert chunk_size(make_job(starts=4), patterns) == 1
    np.save(patterns[1].input, np.ones((512, 512)))
    assert chunk_size(make_job(), patterns[1:]) == 1
    assert chunk_size(make_job(), [patterns[1]._replace(input="missing.npy")]) == 1


def test_a_pattern_is_in_the_same_chunk_whatever_is_finished(scans):
    patterns = scans(7)
    assert [[p.number for p in chunk] for chunk in chunks_of(patterns, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [[p.number for p in chunk] for chunk in chunks_of(patterns[2:], 3)] == [[2], [3, 4, 5], [6]]
