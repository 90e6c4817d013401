"""One iteration of HIO as this project and its peers carry it out, each called from the same arrays.

Nothing of a peer is in here: each is imported where it is installed, and called through what it offers. What is timed
of each, always on the CPU, in complex64 and from arrays that are in memory already:

``ours``
    :meth:`HIO.step <napari_dipr.solvers.projections.HIO.step>`.
``cohere`` (``cohere_core``)
    ``Rec.to_reciprocal_space``, the product with ``Rec.get_ratio``, ``Rec.to_direct_space`` and ``Rec.hio``. Its own
    loop calls ``Rec.modulus`` for the second, which also computes the error in every iteration and costs it another
    third to half: left out here, as is printing. Of its libraries ``np`` (transforms on all threads, which it does not
    ask for itself) and ``torch`` the one that is faster; ``np`` computes on one thread beside the transforms.
    Its forward transform has the other sign: it is given, and gives, the complex conjugate.
``solvephase``
    The loop of ``solvephase.cdi``, between one forward transform and the next. They are seen by a ``Backend`` that
    notes the time, so that neither what ``cdi`` does before and after nor its error checks count. Pictures, and many
    starts of one picture.
``cdi-st`` (``cdi-stools``)
    ``_modulus_projection`` and ``_support_projection`` of ``cdi_st.nn_phase_retrieval``, what ``run_phase_retrieval``
    does in an iteration beside a third transform for the error and keeping the best object. Cubes alone; one thread,
    since numpy's transforms have no more.
``qoraphase``
    ``HIO.step`` under ``jax.vmap`` and compiled, as ``qoraphase.reconstruct`` does it; the error, which nobody reads,
    is compiled away. Its arrays are centred and it shifts them four times an iteration, which is part of it.

All of them are ``y`` inside the support and ``x − βy`` outside, and so is :func:`textbook`, which they are checked
against. They differ in what they do where the object's transform is 0, which it is nowhere here.
"""

import contextlib
import importlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipr.solvers.problem import Problem, State, random_start
from napari_dipr.solvers.projections import HIO

BETA = 0.9


class UnsupportedError(Exception):
    """Why a program cannot take part: it is not installed, or not made for these arrays."""


@dataclass(frozen=True)
class Setup:
    """What all programs are given; zero frequency at the corner, transforms unnormalised.

    Attributes
    ----------
    amplitudes, support
        float32 and boolean, ``[*grid]``: one pattern, the same for all starts.
    start
        complex64 ``[batch, *grid]``.
    threads
        How many a program may use.
    """

    amplitudes: NDArray[np.float32]
    support: NDArray[np.bool_]
    start: NDArray[np.complex64]
    threads: int

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of the pattern."""
        return self.amplitudes.shape


class Program(Protocol):
    """An iteration that is ready to be carried out."""

    @property
    def setting(self) -> str:
        """How the program was set, where there was a choice."""

    def first(self) -> NDArray[np.complex64]:
        """Return the object after one iteration from the start, ``[batch, *grid]``."""

    def seconds(self, iterations: int) -> float:
        """Return the mean time of an iteration, over so many that follow a first one."""


@dataclass(frozen=True)
class Steps:
    """A program that can be asked for one iteration at a time.

    Attributes
    ----------
    start, step, read
        Make the start; go on by an iteration; tell the object in our convention.
    """

    start: Callable[[], Any]
    step: Callable[[Any], Any]
    read: Callable[[Any], NDArray[np.complex64]]
    setting: str = ""

    def first(self) -> NDArray[np.complex64]:
        """See :class:`Program`."""
        return self.read(self.step(self.start()))

    def seconds(self, iterations: int) -> float:
        """See :class:`Program`."""
        x = self.step(self.start())
        began = time.perf_counter()
        for _ in range(iterations):
            x = self.step(x)
        return (time.perf_counter() - began) / iterations


def make_setup(grid: tuple[int, ...], batch: int, threads: int, seed: int = 0) -> Setup:
    """Make a random complex object in a disc or ball of a fifth of the grid, its amplitudes, and random starts."""
    radii = np.meshgrid(*(np.arange(n) / n - 0.5 for n in grid), indexing="ij", sparse=True)
    support = np.sqrt(sum(r * r for r in radii)) < 0.2
    rng = np.random.default_rng(seed)
    x = support * (rng.random(grid, np.float32) + 1j * rng.random(grid, np.float32))
    amplitudes = np.abs(np.fft.fftn(x)).astype(np.float32)
    problem = Problem(torch.from_numpy(amplitudes).expand(batch, *grid))
    start = random_start(problem, torch.from_numpy(support).expand(batch, *grid), seed)
    return Setup(amplitudes, support, start.object.numpy(), threads)


def textbook(setup: Setup) -> NDArray[np.complex128]:
    """Return the object after one iteration of Fienup's HIO as it is written, in double precision."""
    axes = tuple(range(1, setup.start.ndim))
    f = np.fft.fftn(setup.start.astype(np.complex128), axes=axes)
    y = np.fft.ifftn(setup.amplitudes * np.exp(1j * np.angle(f)), axes=axes)
    return np.where(setup.support, y, setup.start - BETA * y)


def ours(setup: Setup) -> list[Program]:
    """Prepare this project's HIO."""
    start = torch.from_numpy(setup.start)
    problem = Problem(torch.from_numpy(setup.amplitudes).expand(start.shape).contiguous())
    support = torch.from_numpy(setup.support).expand(start.shape).contiguous()
    algorithm = HIO(beta=BETA)
    return [
        Steps(
            # A step may take the tensors of the state it is given.
            start=lambda: State(start.clone(), support),
            step=lambda state: algorithm.step(problem, state),
            read=lambda state: state.object.numpy(),
        )
    ]


def cohere(setup: Setup) -> list[Program]:
    """Prepare cohere's, with each of its libraries for the CPU."""
    phasing = _import("cohere_core.controller.phasing", "pip install cohere_core")
    _alone(setup)
    return [_cohere(setup, phasing, library) for library in ("np", "torch")]


def _cohere(setup: Setup, phasing: Any, library: str) -> Steps:
    from scipy.fft import set_workers

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        data = str(Path(folder) / "data.npy")
        np.save(data, np.fft.ifftshift(setup.amplitudes))
        np.save(Path(folder) / "image.npy", setup.start[0].conj())
        # 8 bits: the default, int64, makes it slower.
        np.save(Path(folder) / "support.npy", setup.support.astype(np.uint8))
        options = {"algorithm_sequence": "1*HIO", "hio_beta": BETA, "continue_dir": folder}
        rec = phasing.create_rec(options, data, library, -1, debug=True)
    begin = rec.ds_image

    def start() -> Any:
        phasing.set_lib_from_pkg(library)  # of the module, not of the reconstruction
        return begin

    def step(x: Any) -> Any:
        rec.ds_image = x
        with set_workers(setup.threads):
            rec.to_reciprocal_space()
            rec.rs_amplitudes *= rec.get_ratio(rec.iter_data, abs(rec.rs_amplitudes))
            rec.to_direct_space()
        rec.hio()
        return rec.ds_image

    return Steps(start, step, lambda x: np.conj(np.asarray(x))[None], library)


def solvephase(setup: Setup) -> list[Program]:
    """Prepare solvephase's."""
    module = _import("solvephase", "pip install solvephase")
    if len(setup.grid) != 2:
        raise UnsupportedError("it solves pictures alone")
    return [_Solvephase(setup, module)]


class _Solvephase:
    setting = "single precision"

    def __init__(self, setup: Setup, module: Any) -> None:
        self._setup, self._module = setup, module
        self._stamps: list[float] = []
        self._second: NDArray[np.complex64] | None = None
        noted = self

        class Noting(module.Backend):
            def fft2(self, array: Any, **options: Any) -> Any:
                noted._stamps.append(time.perf_counter())
                if len(noted._stamps) == 2:
                    noted._second = array
                return super().fft2(array, **options)

        self._backend = Noting(device="cpu", precision="single")

    def first(self) -> NDArray[np.complex64]:
        """See :class:`Program`."""
        self._run(1)
        assert self._second is not None
        return self._second.copy()

    def seconds(self, iterations: int) -> float:
        """See :class:`Program`."""
        self._run(iterations + 1)
        # Each iteration begins with a transform; the one after the last belongs to the final estimate.
        return (self._stamps[iterations + 1] - self._stamps[1]) / iterations

    def _run(self, iterations: int) -> None:
        setup, grid = self._setup, self._setup.grid
        axes = tuple(range(1, len(grid) + 1))
        self._stamps.clear()
        # Left alone it takes what the machine has, and fewer for small arrays: told only where that is too many.
        few = setup.threads < (os.cpu_count() or 1)
        with _variable("AOCORE_FFT_WORKERS", setup.threads) if few else contextlib.nullcontext():
            self._module.cdi(
                np.fft.fftshift(setup.amplitudes) / np.sqrt(setup.amplitudes.size),  # its transforms are unitary
                np.fft.fftshift(setup.support),
                schedule=[("hio", iterations, BETA)],
                starts=len(setup.start),
                initial=np.fft.fftshift(setup.start, axes=axes),
                device=self._backend,
                check_every=iterations + 1,
            )


def cdi_st(setup: Setup) -> list[Program]:
    """Prepare CDI-ST's."""
    # That one module needs none of the window's many libraries.
    module = _import("cdi_st.nn_phase_retrieval", "pip install --no-deps cdi-stools")
    _alone(setup)
    if len(set(setup.grid)) != 1 or len(setup.grid) != 3:
        raise UnsupportedError("it solves cubes alone")
    amplitudes = np.fft.fftshift(setup.amplitudes)
    support = np.fft.fftshift(setup.support).astype(np.float32)
    begin = np.fft.fftshift(setup.start[0])

    def step(x: Any) -> Any:
        y = module._modulus_projection(x, amplitudes)
        return module._support_projection(y, support, mode="hio", beta=BETA, obj_prev=x)

    return [Steps(lambda: begin, step, lambda x: np.fft.ifftshift(x)[None], "one thread")]


def qoraphase(setup: Setup) -> list[Program]:
    """Prepare QoraPhase's."""
    with _variable("NPROC", setup.threads):  # read when jax makes its threads
        module = _import("qoraphase", "pip install qoraphase, which needs Python 3.12")
        jax = importlib.import_module("jax")
        cpu = jax.devices("cpu")[0]
    axes = tuple(range(1, setup.start.ndim))
    amplitudes = np.fft.fftshift(setup.amplitudes) / np.float32(np.sqrt(setup.amplitudes.size))  # unitary transforms
    problem = module.CDI(amplitudes**2, support=np.fft.fftshift(setup.support))
    algorithm = module.HIO(1, beta=BETA)
    count, key = jax.numpy.int32(0), jax.random.key(0)

    def one(x: Any, problem: Any) -> Any:
        state = module.ReconState(obj=x, support=problem.support, iteration=count, key=key)
        return algorithm.step(state, problem)[0].obj

    compiled = jax.jit(jax.vmap(one, in_axes=(0, None)))
    with jax.default_device(cpu):
        begin = jax.numpy.asarray(np.fft.fftshift(setup.start, axes=axes))
    return [
        Steps(
            lambda: begin,
            lambda x: compiled(x, problem).block_until_ready(),
            lambda x: np.fft.ifftshift(np.asarray(x), axes=axes),
            "compiled",
        )
    ]


@contextlib.contextmanager
def _variable(name: str, value: int) -> Iterator[None]:
    """Set an environment variable for a while, unless it is set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = str(value)
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _import(module: str, how: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == module.partition(".")[0]:
            raise UnsupportedError(f"not installed ({how})") from error
        raise UnsupportedError(f"cannot be imported: {error}") from error


def _alone(setup: Setup) -> None:
    if len(setup.start) != 1:
        raise UnsupportedError("it solves one start at a time")
