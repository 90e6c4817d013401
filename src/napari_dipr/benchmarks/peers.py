"""Peers: how long one iteration of HIO takes here and in other programs, on the same arrays.

What is called of each program is said in :mod:`napari_dipr.benchmarks.programs`. All get the same amplitudes, support,
starts and number of threads, in one process. They take turns, as many rounds as are asked for, each round beginning
with another: what slows the machine down for a while slows them all. In its turn a program starts afresh and does one
iteration that is not counted and then as many as fit in ``TURN`` seconds. Times are medians over the rounds; a ratio is
the median of the rounds' ratios, which need not be the ratio of the medians.

A peer takes part where it is installed, where it can solve such arrays, and where its first iteration is the
textbook's to within rounding; where it does not, the reason stands in place of the time. Of the ways that a peer can be
set, the one that is fastest at a size takes part.

Measure on a machine that does nothing else. Where others compute too, OpenMP's threads wait for each other at full
speed and are not let in: ours then takes ten times as long at the small sizes, unless ``OMP_WAIT_POLICY=passive`` is in
the environment.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipr.benchmarks import programs
from napari_dipr.benchmarks.programs import Program, Setup, UnsupportedError, make_setup
from napari_dipr.device import keep_freed_memory
from napari_dipr.errors import DiprError

# Seconds that a program's turn lasts, about; at least two iterations are timed in it, and at most fifty.
TURN = 0.1
FEWEST, MOST = 2, 50
# How far a program's first iteration may be from the textbook's, relative to the object's norm.
SAME = 1e-4


@dataclass(frozen=True)
class Peer:
    """Another program: the package it comes in, and how its iteration is prepared, each way that it can be set."""

    package: str
    prepare: Callable[[Setup], Sequence[Program]]


PEERS = {
    "cohere": Peer("cohere_core", programs.cohere),
    "solvephase": Peer("solvephase", programs.solvephase),
    "cdi-st": Peer("cdi-stools", programs.cdi_st),
    "qoraphase": Peer("qoraphase", programs.qoraphase),
}


@dataclass(frozen=True)
class Case:
    """A size: the grid, and how many starts are solved together."""

    grid: tuple[int, ...]
    batch: int = 1

    def __str__(self) -> str:
        same = len(set(self.grid)) == 1 and len(self.grid) in (2, 3)
        grid = f"{self.grid[0]}{'²³'[len(self.grid) - 2]}" if same else " × ".join(map(str, self.grid))
        return grid if self.batch == 1 else f"{self.batch} × {grid}"


CASES = (
    Case((256, 256)),
    Case((512, 512)),
    Case((1024, 1024)),
    Case((2048, 2048)),
    Case((128, 128, 128)),
    Case((72, 72), batch=256),
)


def peers(
    cases: Sequence[Case] = CASES,
    others: Mapping[str, Peer] = PEERS,
    *,
    rounds: int = 7,
    threads: int | None = None,
    progress: Callable[[str, int], None] = lambda case, done: None,
) -> dict[str, Any]:
    """Time one iteration of HIO, ours and others', on the CPU.

    Parameters
    ----------
    cases, others
        Sizes, and the programs to compare with.
    rounds
        How often they take turns at each size.
    threads
        How many each may use. None: as many as torch uses now.
    progress
        Told the size, and the rounds that are done with, after every round.

    Returns
    -------
    dict
        ``{"cases": [...], "threads": N, "rounds": N, "versions": {package: version or None}}``, see :func:`time_case`.

    Raises
    ------
    DiprError
        If ``rounds`` or ``threads`` is below 1.
    """
    threads = torch.get_num_threads() if threads is None else threads
    if rounds < 1 or threads < 1:
        raise DiprError(f"There is at least one round and one thread, not {rounds} and {threads}.")
    results = []
    keep_freed_memory()  # as a run does when it begins; the peers' arrays are kept too
    with on_threads(threads):
        for case in cases:
            setup = make_setup(case.grid, case.batch, threads)
            results.append(time_case(case, setup, others, rounds, partial(progress, str(case))))
    packages = ("napari-dipr", "torch", "numpy", "scipy", "numba", *(peer.package for peer in others.values()))
    versions = {package: _version(package) for package in packages}
    return {"cases": results, "threads": threads, "rounds": rounds, "versions": versions}


def time_case(
    case: Case,
    setup: Setup,
    others: Mapping[str, Peer],
    rounds: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Time all programs on one setup.

    Returns
    -------
    dict
        ``name``, ``shape`` (of the grid), ``batch``, ``dtype``, ``ours_ms``, ``ours_difference`` (of the object after
        the first iteration, relative to the textbook's), ``peers``, ``fastest_peer`` and ``speedup``, the ratio of the
        fastest peer's time to ours; both None where no peer took part. ``peers`` has for each name ``iteration_ms``,
        ``ratio`` (its time to ours), ``difference`` and ``setting``; where it did not take part the first two are None,
        and ``reason`` says why.
    """
    expected = programs.textbook(setup)
    ready = {"ours": programs.ours(setup)[0]}
    table: dict[str, dict[str, Any]] = {}
    for name, peer in others.items():
        table[name] = {"iteration_ms": None, "ratio": None}
        try:
            program, difference = _choose(peer.prepare(setup), expected)
        except UnsupportedError as error:
            table[name]["reason"] = str(error)
        except Exception as error:  # other people's code, of whatever version: it must not end the benchmark
            table[name]["reason"] = f"failed: {type(error).__name__}: {error}"
        else:
            ready[name] = program
            table[name] |= {"difference": difference, "setting": program.setting}

    times = take_turns(ready, rounds, progress)
    for name in ready.keys() - {"ours"}:
        ratios = [theirs / mine for theirs, mine in zip(times[name], times["ours"], strict=True)]
        table[name] |= {"iteration_ms": 1e3 * median(times[name]), "ratio": median(ratios)}
    fastest = min(ready.keys() - {"ours"}, key=lambda name: table[name]["iteration_ms"], default=None)
    return {
        "name": str(case),
        "shape": list(case.grid),
        "batch": case.batch,
        "dtype": str(setup.start.dtype),
        "ours_ms": 1e3 * median(times["ours"]),
        "ours_difference": _difference(ready["ours"], expected),
        "peers": table,
        "fastest_peer": fastest,
        "speedup": None if fastest is None else table[fastest]["ratio"],
    }


def _choose(candidates: Sequence[Program], expected: NDArray[np.complex128]) -> tuple[Program, float]:
    """Return the fastest program of those that compute HIO, and how far it is from the textbook."""
    differences = [_difference(program, expected) for program in candidates]
    right = [index for index, difference in enumerate(differences) if difference < SAME]
    if not right:
        raise UnsupportedError(f"its iteration is another one: the object differs by {min(differences):.1e}")
    if len(right) > 1:
        right.sort(key=lambda index: candidates[index].seconds(FEWEST))
    return candidates[right[0]], differences[right[0]]


def _difference(program: Program, expected: NDArray[np.complex128]) -> float:
    return float(np.linalg.norm(program.first() - expected) / np.linalg.norm(expected))


def take_turns(
    ready: Mapping[str, Program], rounds: int, progress: Callable[[int], None] = lambda done: None
) -> dict[str, list[float]]:
    """Return the seconds of an iteration, of each program in each round."""
    counts = {name: min(MOST, max(FEWEST, int(TURN / program.seconds(1)))) for name, program in ready.items()}
    times: dict[str, list[float]] = {name: [] for name in ready}
    names = list(ready)
    for done in range(rounds):
        for name in names[done % len(names) :] + names[: done % len(names)]:
            times[name].append(ready[name].seconds(counts[name]))
        progress(done + 1)
    return times


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads."""
    # Numba's follow torch's; the peers' are in Setup.
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
