import subprocess
import sys
import threading

import pytest
import torch

from napari_dipr.physics.fourier import mirrored
from napari_dipr.solvers import magnitudes, passes
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.projections import HIO, RAAR

pytest.importorskip("napari_dipr.solvers.loops")
if magnitudes._library() is None:
    pytest.skip("this torch has no oneMKL that can be called", allow_module_level=True)

# Odd sides, one column more than a thread takes, a volume, lines longer than a vector.
SHAPES = [(1, 7, 9), (3, 16, 17), (2, 131, 133), (2, 5, 6, 4), (1, 8, 9, 7), (2, 72, 72)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(magnitudes, "SMALL", 0)


def draw(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem_of(shape, *, halved=False, mask=None, dtype=torch.float32):
    amplitudes = draw(shape, 1, dtype).abs()
    if halved:  # a real object's: of another spectrum, its half says nothing that all transforms agree on
        amplitudes = amplitudes + mirrored(amplitudes)
    problem = Problem(amplitudes, None if mask is None else draw(shape if mask == "each" else shape[1:], 9) < 0.7)
    return problem.halved() if halved else problem


def by_torch(monkeypatch, problem, x):
    with monkeypatch.context() as patch:
        patch.setattr(magnitudes, "_library", lambda: None)
        return problem.project_magnitude(x)


@pytest.mark.parametrize("mask", [None, "one", "each"])
@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_objects_are_projected_as_torch_does_and_left_as_they_were(monkeypatch, shape, dtype, halved, mask):
    problem = problem_of(shape, halved=halved, mask=mask, dtype=dtype)
    x = draw(shape, 2, problem.dtype)
    given = x.clone()
    projected, expected = magnitudes.project_magnitude(problem, x), by_torch(monkeypatch, problem, x)
    assert torch.equal(x, given)
    assert projected.shape == expected.shape
    assert projected.dtype == expected.dtype == problem.dtype
    assert projected.is_contiguous()
    exact = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(projected, expected, **exact)


@pytest.mark.parametrize("halved", [False, True])
def test_the_problem_uses_it(monkeypatch, halved):
    problem = problem_of((2, 8, 12), halved=halved)
    x = draw((2, 8, 12), 2, problem.dtype)
    assert torch.equal(problem.project_magnitude(x), magnitudes.project_magnitude(problem, x))
    marker = torch.zeros(1)
    monkeypatch.setattr(magnitudes, "project_magnitude", lambda problem, x: marker)
    assert problem.project_magnitude(x) is marker


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_to_the_last_bit(threads):
    problem, before = problem_of((1, 33, 35), mask="one"), torch.get_num_threads()
    x = draw((1, 33, 35), 2, torch.complex64)
    expected = magnitudes.project_magnitude(problem, x)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(magnitudes.project_magnitude(problem, x), expected)
    finally:
        torch.set_num_threads(before)


def test_one_pattern_serves_a_batch(monkeypatch):
    problem, x = problem_of((1, 9, 8), mask="each"), draw((3, 9, 8), 2, torch.complex64)
    torch.testing.assert_close(magnitudes.project_magnitude(problem, x), by_torch(monkeypatch, problem, x))


def test_where_arrays_begin_and_how_they_lie_does_not_matter(monkeypatch):
    problem, room = problem_of((1, 9, 8)), draw(73, 2, torch.complex64)
    for x in (
        room[1:].view(1, 9, 8),
        room[:72].view(1, 8, 9).transpose(1, 2),
        room[:72].view(1, 9, 8).conj(),
        room[:8].expand(1, 9, 8),
    ):
        torch.testing.assert_close(magnitudes.project_magnitude(problem, x), by_torch(monkeypatch, problem, x))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("halved", [False, True])
def test_a_diverged_sample_is_seen_and_its_neighbour_is_not_touched(halved, bad):
    problem = problem_of((2, 9, 8), halved=halved)
    x = draw((2, 9, 8), 2, problem.dtype)
    x[0, 1, 2] = bad
    projected = magnitudes.project_magnitude(problem, x)
    assert not projected[0].isfinite().any()
    assert projected[1].isfinite().all()


def test_what_it_cannot_do_is_left_to_torch():
    problem, x = problem_of((1, 9, 8)), draw((1, 9, 8), 2, torch.complex64)
    assert magnitudes.project_magnitude(problem, x.clone().requires_grad_()) is None
    assert magnitudes.project_magnitude(problem, x.real) is None
    assert magnitudes.project_magnitude(problem, x.to("meta")) is None
    blurred = problem.seen_with(torch.ones(1, 1, 1))
    assert magnitudes.project_magnitude(blurred, x) is None
    assert blurred.project_magnitude(x).shape == x.shape


def test_small_complex_objects_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(magnitudes, "SMALL", 72)
    assert magnitudes.project_magnitude(problem_of((1, 9, 8)), draw((1, 9, 8), 2, torch.complex64)) is None
    assert magnitudes.project_magnitude(problem_of((1, 9, 9)), draw((1, 9, 9), 2, torch.complex64)) is not None
    assert magnitudes.project_magnitude(problem_of((1, 9, 8), halved=True), draw((1, 9, 8), 2)) is not None


def test_without_the_loops_torch_does_it(monkeypatch):
    monkeypatch.setattr(passes, "_loops", False)
    assert magnitudes.project_magnitude(problem_of((1, 9, 8)), draw((1, 9, 8), 2, torch.complex64)) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_runs_prepare_and_transform_at_once(dtype):
    """Each as it does alone; nobody has had these sizes before."""
    magnitudes._transform.cache_clear()
    problems = [problem_of((1, 60 + k, 50 + k), dtype=dtype, halved=k % 2 == 1) for k in range(6)]
    starts = [random_start(p, torch.ones(p.shape, dtype=torch.bool), seed=3) for p in problems]

    def run(problem, state):
        for _ in range(5):
            state = RAAR().step(problem, HIO().step(problem, state))
        return state.object

    together = [None] * len(problems)

    def keep(k):
        together[k] = run(problems[k], starts[k])

    workers = [threading.Thread(target=keep, args=(k,)) for k in range(len(problems))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for problem, state, object in zip(problems, starts, together, strict=True):
        assert torch.equal(object, run(problem, state))


def test_transforms_are_prepared_once_and_kept_for_a_few_sizes():
    magnitudes._transform.cache_clear()
    x = draw((1, 9, 8), 2, torch.complex64)
    for _ in range(3):
        magnitudes.project_magnitude(problem_of((1, 9, 8)), x)
    assert magnitudes._transform.cache_info().misses == 3
    for n in range(4, 24):
        magnitudes.project_magnitude(problem_of((1, n, 8)), draw((1, n, 8), 2, torch.complex64))
    assert magnitudes._transform.cache_info().currsize <= 32


def test_a_transform_that_is_forgotten_while_it_is_used_still_works(monkeypatch):
    monkeypatch.setattr(magnitudes, "_transform", magnitudes._transform.__wrapped__)
    problem, x = problem_of((1, 9, 8)), draw((1, 9, 8), 2, torch.complex64)
    torch.testing.assert_close(magnitudes.project_magnitude(problem, x), by_torch(monkeypatch, problem, x))


def test_a_torch_without_such_a_library_or_without_its_functions_is_enough(monkeypatch):
    fresh = magnitudes._library.__wrapped__
    assert fresh() is not None
    monkeypatch.setattr(magnitudes.ctypes, "CDLL", lambda name: object())
    assert fresh() is None

    def none(name):
        raise OSError("no such file")

    monkeypatch.setattr(magnitudes.ctypes, "CDLL", none)
    assert fresh() is None
    monkeypatch.setattr(magnitudes, "_library", fresh)
    problem, x = problem_of((1, 9, 8)), draw((1, 9, 8), 2, torch.complex64)
    assert magnitudes.project_magnitude(problem, x) is None
    torch.testing.assert_close(problem.forward(problem.project_magnitude(x)).abs(), problem.amplitudes)


def test_what_the_library_refuses_is_told():
    with pytest.raises(RuntimeError, match="refuse"):
        magnitudes._check(3)


PRINT = """
import torch
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.projections import HIO
problem = Problem(torch.rand(1, 160, 136, generator=torch.Generator().manual_seed(0)))
state = random_start(problem, torch.rand(1, 160, 136, generator=torch.Generator().manual_seed(1)) < 0.02)
for _ in range(10):
    state = HIO().step(problem, state)
print(state.object.numpy().tobytes().hex())
"""


def test_another_process_ends_with_the_same_object_to_the_last_bit():
    """HIO is chaotic: were a transform chosen by its speed, as FFTW does, a seed would not tell the result."""
    outs = [
        subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True).stdout for _ in "12"
    ]
    assert outs[0] == outs[1]
    assert len(outs[0]) > 160 * 136
