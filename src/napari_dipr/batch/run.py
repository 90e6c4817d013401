"""A batch carried out: in this process, in worker processes on this machine, or wherever a scheduler has workers."""

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from napari_dipr.batch.inputs import Pattern
from napari_dipr.batch.job import Job, Row, failed
from napari_dipr.batch.work import solve_patterns
from napari_dipr.ensembles.starts import TOGETHER
from napari_dipr.errors import DiprError
from napari_dipr.extras import require
from napari_dipr.io.read import read

if TYPE_CHECKING:
    from distributed import Client

# Patterns of a task at most where nothing is asked for, and how many are tried for their size.
MOST, TRIED = 16, 3
# Tasks that are sent out for each of a worker's threads: one that is worked on, and the next.
AHEAD = 2
# Workers that a task may take with it before it is given up.
DEATHS = 3
# What tells libraries how many threads to take.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# What workers on this machine begin with: Ctrl-C goes to them, too, and it is this process that ends them.
UNINTERRUPTED = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
# Seconds between two looks for new workers.
LOOK = 2.0
# Seconds between two looks whether a lost answer is there again.
AGAIN = 0.1

Work = Callable[[Job, Sequence[Pattern]], list[Row]]


def chunk_size(job: Job, patterns: Sequence[Pattern]) -> int:
    """Return of how many patterns to make a task: of those that are solved together, and of large ones each its own.

    It does not depend on the number of workers: so the tensors' batches are the same for any.
    """
    if job.starts > 1:
        return 1
    for pattern in patterns[:TRIED]:
        with contextlib.suppress(DiprError):
            choices: Any = {"key": job.key, "frame": pattern.frame, "region": job.region}
            measurement = read(pattern.input, preparation=job.preparation, **choices)
            return max(1, min(job.together or MOST, MOST, TOGETHER // measurement.intensities.size))
    return 1


def chunks_of(patterns: Sequence[Pattern], size: int) -> list[list[Pattern]]:
    """Return the tasks' patterns: those whose numbers have one quotient by the size, whatever was left out before."""
    chunks: dict[int, list[Pattern]] = {}
    for pattern in patterns:
        chunks.setdefault(pattern.number // size, []).append(pattern)
    return list(chunks.values())


def carry_out(
    job: Job,
    chunks: Sequence[Sequence[Pattern]],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    again: bool = False,
    say: Callable[[str], object] = lambda words: None,
    work: Work = solve_patterns,
) -> Generator[list[Row], None, None]:
    """Solve the patterns of all chunks, and yield each one's rows when it is done, in the order in which they end.

    A task whose worker dies goes to another. Where it takes :data:`DEATHS` of them with it, its patterns are tried one
    by one at the end, with nothing else underway, so that no other is blamed: who does it again has failed. What is
    underway is given up when the generator is closed.

    Parameters
    ----------
    job, chunks
        What to do with which patterns.
    workers
        Processes on this machine; 0 for this one alone, None for as many as there are processors for.
    scheduler
        Address of a running scheduler, whose workers do it.
    again
        Whether what is finished is solved again; it is forgotten once there is somebody to do so.
    say
        Told what is waited for.
    work
        What a worker does.

    Raises
    ------
    DiprError
        If dask.distributed is not there, or the scheduler is not, or no more.
    """
    anew = [pattern for chunk in chunks for pattern in chunk] if again else []
    if workers == 0 and scheduler is None:
        for pattern in anew:
            job.forget(pattern)
        for chunk in chunks:
            yield work(job, chunk)
        return
    require("A batch over worker processes", "distributed", "cluster")
    from distributed import KilledWorker

    with _client(workers, job.threads, scheduler) as client:
        if scheduler is not None and not client.nthreads():
            say(f"the scheduler at {scheduler} has no workers yet: waiting for them")
        for pattern in anew:
            job.forget(pattern)
        suspects: list[Pattern] = []
        for chunk, answer in _answers(client, job, chunks, work, alone=False):
            if isinstance(answer, KilledWorker):
                suspects += chunk
            else:
                yield answer if isinstance(answer, list) else [failed(job, pattern, answer) for pattern in chunk]
        for (pattern,), answer in _answers(client, job, [[pattern] for pattern in suspects], work, alone=True):
            if isinstance(answer, KilledWorker):
                answer = DiprError(
                    f"It took {answer.allowed_failures + 1} workers with it, as where the memory is full. Crop it, or "
                    "give the workers more."
                )
            yield answer if isinstance(answer, list) else [failed(job, pattern, answer)]


def processes(threads: int) -> int:
    """Return how many workers this machine has processors for."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // threads)


def _answers(
    client: "Client", job: Job, chunks: Sequence[Sequence[Pattern]], work: Work, *, alone: bool
) -> Iterator[tuple[Sequence[Pattern], list[Row] | Exception]]:
    """Have chunks worked on, no more at once than workers can take, and yield what came of each.

    The scheduler is not given all of them: it would blame a worker's death on every task that waits there.
    """
    waiting = deque(chunks)
    running: dict[Any, tuple[Any, Sequence[Pattern]]] = {}
    ended: SimpleQueue[Any] = SimpleQueue()
    room, looked = 1, 0.0
    try:
        while waiting or running:
            if not alone and time.monotonic() - looked > LOOK:
                room, looked = max(1, AHEAD * sum(client.nthreads().values())), time.monotonic()
            while waiting and len(running) < room:
                chunk = waiting.popleft()
                future = client.submit(work, job, chunk, pure=False)
                running[future.key] = future, chunk
                future.add_done_callback(ended.put)
            try:
                future = ended.get(timeout=LOOK)
            except Empty:
                _check(client)
                continue
            _check(client)
            if future.status == "lost":  # its worker died with the answer, and it is done again; nobody calls back
                time.sleep(AGAIN)
                ended.put(future)
            elif future.key in running:
                _, chunk = running.pop(future.key)
                yield chunk, _answer(future)
    finally:
        with contextlib.suppress(Exception):
            client.cancel([future for future, _ in running.values()])


def _answer(future: Any) -> list[Row] | Exception:
    if future.status == "cancelled":
        raise DiprError("The scheduler gave up a task: it was told to, or is gone.")
    error = future.exception()
    return future.result() if error is None else error


def _check(client: "Client") -> None:
    if client.status not in ("running", "connecting"):
        raise DiprError("The connection to the scheduler was lost.")


@contextlib.contextmanager
def _client(workers: int | None, threads: int, scheduler: str | None) -> "Iterator[Client]":
    """Connect to a scheduler, or have one here with its workers for the time being."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.comm import resolve_address

    if scheduler is not None:
        try:
            resolve_address(scheduler)  # of what is no address, a client would take a minute to let go
            client = Client(scheduler, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise DiprError(f"There is no scheduler at {scheduler} ({error}). Start one: docs/batch.md.") from error
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what is lost is told in a line
        with client:
            yield client
        return
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        # Of a worker's libraries, before it loads them: what rounds how depends on the threads.
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, threads),
        # A run keeps the memory that it has freed: a worker must not wait for it to be given back.
        **{f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")},
    }
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        try:
            cluster = LocalCluster(
                n_workers=processes(threads) if workers is None else workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                preload=[UNINTERRUPTED],
            )
        except (OSError, RuntimeError) as error:
            raise DiprError(f"Workers cannot be started here ({error}). --workers 0 does without.") from error
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster, set_as_default=False))
