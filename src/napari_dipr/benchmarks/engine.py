"""The engine: what an iteration costs beside the two transforms that it cannot do without, in time and in memory.

Timed in turns, as in :mod:`napari_dipr.benchmarks.peers`, in one process and with memory kept as in a run (see
:func:`napari_dipr.device.keep_freed_memory`): a step of HIO and one of RAAR for complex objects, one of HIO for real
ones (see :meth:`Problem.halved <napari_dipr.solvers.problem.Problem.halved>`), and torch's ``fftn`` and ``ifftn`` of
the same arrays. The pair of transforms is timed twice, into tensors that are there already (``out=``) and into new
ones: on the CPU torch transforms into a new tensor anyway and copies, so that the second is the stricter measure.

Memory is that of a process of its own for each size and kind of object: its resident peak, beginning with the arrays
that the problem is made of and with the start, over what it had when all was loaded and warm. Its steps are HIO's;
RAAR's are the same passes over the same arrays and have the same figure.

``python -m napari_dipr.benchmarks.engine`` is such a process.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_dipr.benchmarks.peers import CASES, Case, on_threads, take_turns
from napari_dipr.benchmarks.programs import Program, Steps
from napari_dipr.device import keep_freed_memory, release_memory
from napari_dipr.errors import DiprError
from napari_dipr.physics.fourier import grid_dims, mirrored
from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.projections import HIO, RAAR, Algorithm

# What is timed, and whether its object is real.
ALGORITHMS: dict[str, tuple[Algorithm, bool]] = {
    "hio": (HIO(), False),
    "raar": (RAAR(), False),
    "hio, real": (HIO(), True),
}
# Steps of a process whose memory is looked at: the third has all that the hundredth will.
STEPS = 3


def engine(
    cases: Sequence[Case] = CASES,
    *,
    rounds: int = 7,
    threads: int | None = None,
    progress: Callable[[str, int], None] = lambda case, done: None,
) -> dict[str, Any]:
    """Measure the engine on the CPU, in complex64.

    Parameters
    ----------
    cases
        Sizes.
    rounds
        How often the algorithms and the transforms take turns at each size.
    threads
        How many each may use. None: as many as torch uses now.
    progress
        Told the size, and the rounds that are done with, after every round.

    Returns
    -------
    dict
        ``{"cases": [...], "growth_exponent": …, "threads": N, "rounds": N, "machine": {...}}``. See :func:`time_case`
        for the cases, to which ``peak_bytes_per_voxel`` is added (None where the system does not tell), and
        :func:`growth_exponent`, of HIO's times of one pattern.

    Raises
    ------
    DiprError
        If ``rounds`` or ``threads`` is below 1.
    """
    threads = torch.get_num_threads() if threads is None else threads
    if rounds < 1 or threads < 1:
        raise DiprError(f"There is at least one round and one thread, not {rounds} and {threads}.")
    time_case(Case((16, 16)), 1)  # loops that must be compiled are, and not in the processes
    # Memory first, two processes at a time: that does not change how much they need, as it would their times.
    asked = [(case, real) for case in cases for real in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        peaks = list(pool.map(lambda which: peak_of_process(which[0], which[1], threads), asked))
    memory = dict(zip(asked, peaks, strict=True))
    keep_freed_memory()
    rows = []
    with on_threads(threads):
        for case in cases:
            for row in time_case(case, rounds, partial(progress, str(case))):
                rows.append({**row, "peak_bytes_per_voxel": memory[case, row["real"]]})
    single = {tuple(row["shape"]): row["iteration_ms"] for row in rows if _name(row) == "hio" and row["batch"] == 1}
    return {
        "cases": rows,
        "growth_exponent": growth_exponent(single),
        "threads": threads,
        "rounds": rounds,
        "machine": machine(),
    }


def _name(row: Mapping[str, Any]) -> str:
    return row["algorithm"] + (", real" if row["real"] else "")


def time_case(case: Case, rounds: int, progress: Callable[[int], None] = lambda done: None) -> list[dict[str, Any]]:
    """Time the algorithms and the transforms at one size.

    Returns
    -------
    list of dict
        One for each algorithm: ``name`` (of the size), ``shape`` (of the grid), ``batch``, ``dtype`` and ``algorithm``,
        ``real`` (whether the object is), ``iteration_ms``, ``fft_pair_ms`` and ``new_fft_pair_ms`` (into tensors that
        are there, and into new ones; complex ones, for real objects too), ``ratio`` and ``new_ratio`` (of the iteration
        to them), and for real objects ``real_over_complex``. Ratios are medians of the rounds' ratios, which need not
        be the ratios of the medians.
    """
    complex_problem = _problem(case)
    problems = {False: complex_problem, True: _centred(complex_problem).halved()}
    support = _support(case)
    starts = {real: random_start(problem, support) for real, problem in problems.items()}
    programs: dict[str, Program] = {
        name: _steps(problems[real], algorithm, starts[real]) for name, (algorithm, real) in ALGORITHMS.items()
    }
    x = starts[False].object
    programs |= {"transforms": _transforms(x), "new transforms": _new_transforms(x)}
    times = take_turns(programs, rounds, progress)
    return [
        {
            "name": str(case),
            "shape": list(case.grid),
            "batch": case.batch,
            "dtype": str(x.dtype).removeprefix("torch."),
            "algorithm": algorithm.name,  # type: ignore[attr-defined]
            "real": real,
            **summary(times[name], times["transforms"], times["new transforms"]),
            **({"real_over_complex": _ratio(times[name], times["hio"])} if real else {}),
        }
        for name, (algorithm, real) in ALGORITHMS.items()
    ]


def summary(iteration: Sequence[float], pair: Sequence[float], new_pair: Sequence[float]) -> dict[str, float]:
    """Put the rounds' seconds into figures, see :func:`time_case`."""
    return {
        "iteration_ms": 1e3 * median(iteration),
        "fft_pair_ms": 1e3 * median(pair),
        "new_fft_pair_ms": 1e3 * median(new_pair),
        "ratio": _ratio(iteration, pair),
        "new_ratio": _ratio(iteration, new_pair),
    }


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    return median(a / b for a, b in zip(these, those, strict=True))


def growth_exponent(times: Mapping[tuple[int, ...], float]) -> float | None:
    """Return the power of ``N·log N`` that times grow with, N the grid's pixels: a line's slope; None for one size."""
    pixels = np.array([float(np.prod(grid)) for grid in times])
    if len(set(pixels)) < 2:
        return None
    work, spent = np.log(pixels * np.log(pixels)), np.log(list(times.values()))
    return float(np.polyfit(work, spent, 1)[0])


def machine() -> dict[str, Any]:
    """Tell what the figures were measured on."""
    versions: dict[str, str | None] = {}
    for package in ("napari-dipr", "torch", "numba"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _problem(case: Case) -> Problem:
    generator = torch.Generator().manual_seed(0)
    return Problem(torch.rand(case.batch, *case.grid, generator=generator).add_(0.1))


def _centred(problem: Problem) -> Problem:
    # Of a real object: alike at q and -q.
    return Problem((problem.amplitudes + mirrored(problem.amplitudes)).mul_(0.5))


def _support(case: Case) -> Tensor:
    """Return a box of three tenths of the grid's width."""
    support = torch.zeros(case.batch, *case.grid, dtype=torch.bool)
    support[(slice(None), *(slice(3 * n // 10) for n in case.grid))] = True
    return support


def _steps(problem: Problem, algorithm: Algorithm, start: State) -> Program:
    return Steps(
        # A step may take the tensors of the state it is given.
        start=lambda: State(start.object.clone(), start.support),
        step=lambda state: algorithm.step(problem, state),
        read=lambda state: state.object.numpy(),
    )


def _transforms(x: Tensor) -> Program:
    dims, f, y = grid_dims(x), torch.empty_like(x), torch.empty_like(x)

    def pair(x: Tensor) -> Tensor:
        torch.fft.fftn(x, dim=dims, out=f)
        torch.fft.ifftn(f, dim=dims, out=y)
        return x

    return Steps(start=lambda: x, step=pair, read=lambda x: x.numpy())


def _new_transforms(x: Tensor) -> Program:
    dims = grid_dims(x)
    return Steps(
        start=lambda: x,
        step=lambda x: torch.fft.ifftn(torch.fft.fftn(x, dim=dims), dim=dims),
        read=lambda x: x.numpy(),
    )


def peak_of_process(case: Case, real: bool, threads: int) -> float | None:
    """Return the peak memory of a fresh process that does a few steps, see :func:`peak_bytes_per_voxel`."""
    if sys.platform != "linux":
        return None
    request = json.dumps({"grid": case.grid, "batch": case.batch, "real": real, "threads": threads})
    command = [sys.executable, "-m", "napari_dipr.benchmarks.engine", request]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiprError(f"The process that measures the memory at {case} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def peak_bytes_per_voxel(case: Case, real: bool) -> float:
    """Return what a problem, its start and steps need at most, over what this process has now; Linux alone.

    Loops, plans and threads are warmed up on a small grid first.
    """

    def steps(case: Case, count: int) -> None:
        problem = _problem(case)
        problem = _centred(problem).halved() if real else problem
        state = random_start(problem, _support(case))
        keep_freed_memory()  # as a run does when it begins
        for _ in range(count):
            state = HIO().step(problem, state)

    for pixels in (2**13, 2**15):  # the one is left to torch, the other is enough for all threads
        steps(Case((round(pixels ** (1 / len(case.grid))),) * len(case.grid)), 2)
    release_memory()
    # The peak so far may be an import's: begin anew.
    Path("/proc/self/clear_refs").write_text("5")
    idle = _status("VmRSS")
    steps(case, STEPS)
    # Not getrusage's ru_maxrss: a process begins with that of the one which started it.
    return (_status("VmHWM") - idle) / (case.batch * float(np.prod(case.grid)))


def _status(key: str) -> int:
    """Return an entry of Linux's table on this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _main(request: str) -> None:
    asked = json.loads(request)
    torch.set_num_threads(asked["threads"])
    case = Case(tuple(asked["grid"]), asked["batch"])
    sys.stdout.write(json.dumps(peak_bytes_per_voxel(case, asked["real"])))


if __name__ == "__main__":
    _main(sys.argv[1])
