import os
import subprocess
import sys
import threading

import pytest
import torch

from napari_dipr.solvers import passes
from napari_dipr.solvers.problem import random_start
from napari_dipr.solvers.projections import HIO

loops = pytest.importorskip("napari_dipr.solvers.loops")

PRECISIONS = [torch.float32, torch.float64]


def draw(shape, seed, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw_mask(shape, seed, share=0.7):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def mask_of(kind, shape):
    """Return no mask, one for all samples, or one for each."""
    return None if kind is None else draw_mask(shape if kind == "each" else shape[1:], 3)


def spectrum(shape, dtype, kind=None, modelled=False):
    """Return what the passes take: coefficients, amplitudes, a mask and model intensities."""
    f = draw(shape, 0, torch.promote_types(dtype, torch.complex64))
    model = draw(shape, 2, dtype).square() if modelled else None
    return f, draw(shape, 1, dtype).abs(), mask_of(kind, shape), model


@pytest.fixture
def on_both(monkeypatch):
    """Do a thing with the compiled loops and with torch's operations; returns both results."""

    def do(thing):
        used = []
        monkeypatch.setattr(loops, "call", lambda loop, *args: used.append(loop) or loop(*args))
        monkeypatch.setattr(passes, "_loops", loops)
        compiled = thing()
        assert used
        monkeypatch.setattr(passes, "_loops", False)
        done = len(used)
        plain = thing()
        assert len(used) == done
        return compiled, plain

    return do


# One sample, several, and more pixels than one thread takes at a time with a rest that fills no vector.
SHAPES = [(1, 7, 9), (3, 7, 9), (2, 5, 6, 4), (2, 131, 133)]
KINDS = [None, "one", "each"]
COMBINATIONS = [(None, False), ("one", False), ("each", False), ("one", True), ("each", True)]


def close(a, b, dtype):
    torch.testing.assert_close(a, b, **({"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {}))


@pytest.mark.parametrize(("kind", "modelled"), COMBINATIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_magnitudes_are_imposed_alike_with_and_without_compiled_loops(on_both, dtype, shape, kind, modelled):
    f, amplitudes, measured, model = spectrum(shape, dtype, kind, modelled)

    def impose():
        given = f.clone()
        changed = passes.impose_magnitude(given, amplitudes, measured, None if model is None else model.clone())
        assert changed.data_ptr() == given.data_ptr()
        return changed

    compiled, plain = on_both(impose)
    assert compiled.dtype == plain.dtype == f.dtype
    close(compiled, plain, dtype)
    size = f.abs() if model is None else model.sqrt()
    expected = f * amplitudes / size if measured is None else torch.where(measured, f * amplitudes / size, f)
    close(compiled, expected, dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_all_coefficients_are_scaled_on_the_way_those_that_were_not_measured_too(on_both, dtype, kind):
    f, amplitudes, measured, _ = spectrum((2, 7, 9), dtype, kind)
    expected = 0.25 * passes.impose_magnitude(f.clone(), amplitudes, measured)
    for result in on_both(lambda: passes.impose_magnitude(f.clone(), amplitudes, measured, scale=0.25)):
        close(result, expected, dtype)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("is_real", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_iterates_are_relaxed_alike_with_and_without_compiled_loops(on_both, dtype, shape, is_real, positive):
    kind = dtype if is_real else torch.promote_types(dtype, torch.complex64)
    x, y, support = draw(shape, 1, kind), draw(shape, 2, kind), draw_mask(shape, 3, 0.4)
    if positive:
        x = x.real.to(kind)
    compiled, plain = on_both(lambda: passes.relax(y.clone(), x, support, 0.7, -0.4, positive=positive))
    assert compiled.dtype == plain.dtype == kind
    close(compiled, plain, dtype)
    inside = support & (y.real >= 0) if positive else support
    value = y.real.to(kind) if positive else y
    close(compiled, torch.where(inside, value, 0.7 * x - 0.4 * value), dtype)


@pytest.mark.parametrize(("kind", "modelled"), COMBINATIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_misfits_are_summed_alike_with_and_without_compiled_loops(on_both, dtype, shape, kind, modelled):
    f, amplitudes, measured, model = spectrum(shape, dtype, kind, modelled)
    amplitudes[0].view(-1)[:5] = 0  # pixels without a photon
    compiled, plain = on_both(lambda: passes.misfits(f, amplitudes, measured, model, photons=30.0))
    assert compiled.shape == (shape[0], 3)
    assert compiled.dtype == plain.dtype == torch.float64
    torch.testing.assert_close(compiled, plain, rtol=1e-11 if dtype == torch.float64 else 2e-5, atol=1e-9)

    size, a = (f.abs() if model is None else model.sqrt()).double(), amplitudes.double()
    o, c = 30 * size**2 + passes.LEAST, 30 * a**2
    known = torch.ones(shape, dtype=torch.bool) if measured is None else measured.expand(shape)
    terms = [(size - a) ** 2, (size - a).abs(), o - c + torch.where(c > 0, c * (c / o).log(), 0)]
    direct = torch.stack([torch.where(known, t, 0).flatten(1).sum(1) for t in terms], 1)
    torch.testing.assert_close(compiled, direct, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_s_weight_is_how_often_its_pixels_count(on_both, shape):
    f, amplitudes, _, _ = spectrum(shape, torch.float32)
    weights = torch.arange(shape[-1], dtype=torch.float32)
    size = f.abs()
    expected = (weights * (size - amplitudes).abs()).double().flatten(1).sum(1)
    repeated = [w for w in range(shape[-1]) for _ in range(w)]
    whole = passes.misfits(f[..., repeated], amplitudes[..., repeated], photons=2.0)
    for sums in on_both(lambda: passes.misfits(f, amplitudes, photons=2.0, weights=weights)):
        torch.testing.assert_close(sums[:, 1], expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(sums, whole, rtol=1e-5, atol=0)


def test_where_photons_are_not_known_there_is_no_deviance(on_both):
    f, amplitudes, _, _ = spectrum((2, 7, 9), torch.float32)
    for sums in on_both(lambda: passes.misfits(f, amplitudes)):
        assert not sums[:, 2].any()
        assert (sums[:, :2] > 0).all()


@pytest.mark.parametrize("amplitude", [1e2, 1e4, 1e6])
def test_the_deviance_of_bright_pixels_is_not_lost_in_their_counts(on_both, amplitude):
    """What is summed is of the order of 1, of terms of the order of the counts."""
    amplitudes = torch.full((1, 64, 64), amplitude)
    f = torch.complex(amplitudes + draw((1, 64, 64), 5, torch.float32), torch.zeros(1, 64, 64))
    difference = f.real.double() - amplitudes
    expected = 2 * difference.square().sum()
    for sums in on_both(lambda: passes.misfits(f, amplitudes, photons=1.0)):
        torch.testing.assert_close(sums[0, 2], expected, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("where", "bad"),
    [("coefficient", torch.nan), ("coefficient", torch.inf), ("amplitude", torch.nan), ("model", torch.nan)],
)
def test_what_is_not_finite_is_seen_as_such_after_magnitudes_are_imposed(on_both, where, bad):
    f, amplitudes, _, model = spectrum((2, 7, 9), torch.float32, modelled=where == "model")
    {"coefficient": f, "amplitude": amplitudes, "model": model}[where][1, 3, 4] = bad
    for result in on_both(
        lambda: passes.impose_magnitude(f.clone(), amplitudes, None, None if model is None else model.clone())
    ):
        assert not result[1, 3, 4].isfinite()
        assert result[0].isfinite().all()


def test_what_is_not_finite_stays_so_where_nothing_was_measured(on_both):
    f, amplitudes, measured, _ = spectrum((2, 7, 9), torch.float32, "each")
    hidden = tuple((~measured).nonzero()[0])
    f[hidden] = torch.nan
    for result in on_both(lambda: passes.impose_magnitude(f.clone(), amplitudes, measured)):
        assert not result[hidden].isfinite()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_seen_as_such_after_relaxing(on_both, bad, inside, positive):
    x, y = draw((2, 7, 9), 1, torch.float32), draw((2, 7, 9), 2, torch.float32)
    support = torch.full((2, 7, 9), inside)
    y[1, 2, 3] = bad
    for result in on_both(lambda: passes.relax(y.clone(), x, support, 1, -0.9, positive=positive)):
        assert not result[1, 2, 3].isfinite()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_what_is_not_finite_is_seen_in_the_misfits_of_its_sample_alone(on_both, bad):
    f, amplitudes, _, _ = spectrum((2, 7, 9), torch.float32)
    f[1, 2, 3] = bad
    for sums in on_both(lambda: passes.misfits(f, amplitudes, photons=2.0)):
        assert not sums[1, 0].isfinite()
        assert sums[0].isfinite().all()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_coefficient_that_is_zero_stays_zero(on_both, dtype):
    f, amplitudes, _, _ = spectrum((1, 7, 9), dtype)
    f[0, 2] = 0
    for result, sums in on_both(
        lambda: (passes.impose_magnitude(f.clone(), 1e6 * amplitudes), passes.misfits(f, amplitudes, photons=1.0))
    ):
        assert not result[0, 2].any()
        assert result.isfinite().all()
        assert sums.isfinite().all()


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e-19, 1e-17, 1e-10, 1e15])
def test_no_coefficient_gets_more_than_the_measured_magnitude_however_small_it_is(on_both, size):
    f, amplitudes, _, _ = spectrum((1, 7, 9), torch.float32)
    for result in on_both(lambda: passes.impose_magnitude(f / f.abs() * size, amplitudes)):
        assert (result.abs() <= 1.0001 * amplitudes).all()
        if size >= 1e-17:
            torch.testing.assert_close(result.abs(), amplitudes)


@pytest.mark.parametrize("amount", [1, 3])
def test_one_mask_serves_a_whole_batch(on_both, amount):
    x, y = draw((amount, 7, 9), 1, torch.complex64), draw((amount, 7, 9), 2, torch.complex64)
    support = draw_mask((7, 9), 4)
    expected = torch.where(support, y, x - 0.5 * y)
    for given in (support, support[None]):
        for result in on_both(lambda given=given: passes.relax(y.clone(), x, given, 1, -0.5)):
            torch.testing.assert_close(result, expected)


def test_one_measurement_serves_a_whole_batch(on_both):
    f, amplitudes, _, _ = spectrum((3, 7, 9), torch.float32)
    one = amplitudes[:1]
    for imposed, sums in on_both(lambda: (passes.impose_magnitude(f.clone(), one), passes.misfits(f, one))):
        torch.testing.assert_close(imposed.abs(), one.expand(3, 7, 9))
        torch.testing.assert_close(sums[:, 1], (f.abs() - one).abs().flatten(1).sum(1).double())


@pytest.mark.parametrize("amount", [2, 4])
def test_a_batch_of_another_length_is_refused_and_not_read_past_its_end(on_both, amount):
    f, amplitudes, _, _ = spectrum((3, 7, 9), torch.float32)
    other = amplitudes[:1].repeat(amount, 1, 1)

    for act in (passes.impose_magnitude, passes.misfits):
        with pytest.raises(RuntimeError, match="expand"):
            act(f.clone(), other)


def test_memory_in_another_order_changes_nothing(on_both):
    """Transforms of a transposed object have transposed memory, on which a loop that takes rows must not run."""
    f, amplitudes, measured, _ = spectrum((2, 9, 7), torch.float32, "each")
    turned = f.transpose(1, 2).contiguous().transpose(1, 2)
    for result in on_both(lambda: passes.impose_magnitude(turned.clone(), amplitudes, measured)):
        torch.testing.assert_close(result, passes.impose_magnitude(f.clone(), amplitudes, measured))
    x = draw((2, 9, 7), 7, torch.complex64)
    expected = torch.where(measured, f, 0.3 * x + 0.4 * f)
    for y, z in ((turned, x), (f, x.conj().resolve_conj().conj()), (f, x.transpose(1, 2).contiguous().transpose(1, 2))):
        for result in on_both(lambda y=y, z=z: passes.relax(y.clone(), z, measured, 0.3, 0.4)):
            torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    """Nor does the order of sums: the same recipe with the same seed must end at the same bits."""
    shape = (3, 200, 251)  # four pieces a sample, the last of them short
    assert shape[1] * shape[2] > 3 * loops.PIECE
    f, amplitudes, measured, _ = spectrum(shape, torch.float32, "one")
    x, support = draw(shape, 8, torch.complex64), draw_mask(shape, 9)

    def results():
        imposed = passes.impose_magnitude(f.clone(), amplitudes, measured)
        relaxed = passes.relax(imposed.clone(), x, support, 1, -0.9)
        return imposed, relaxed, passes.misfits(f, amplitudes, measured, photons=3.0)

    before = torch.get_num_threads()
    expected = results()
    try:
        torch.set_num_threads(threads)
        again = results()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


def test_threads_that_call_at_once_do_not_disturb_each_other():
    shape, amount = (2, 131, 133), 4
    cases = [spectrum(shape, torch.float32) for _ in range(amount)]
    cases = [(f * (k + 1), amplitudes, None, None) for k, (f, amplitudes, _, _) in enumerate(cases)]
    expected = [(passes.impose_magnitude(f.clone(), a), passes.misfits(f, a)) for f, a, _, _ in cases]
    wrong, began = [], threading.Barrier(amount)

    def work(k):
        f, a, _, _ = cases[k]
        began.wait(30)
        for _ in range(20):
            imposed, sums = passes.impose_magnitude(f.clone(), a), passes.misfits(f, a)
            if not (torch.equal(imposed, expected[k][0]) and torch.equal(sums, expected[k][1])):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(amount)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import torch
torch.set_num_threads(1)
from napari_dipr.solvers import passes
from napari_dipr.solvers.problem import Problem, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
amplitudes, support = torch.load(sys.argv[1])
problem = Problem(amplitudes, positive=True)
end = solve(problem, Recipe.parse("hio*10 + raar*5 + er*5"), random_start(problem, support))
assert passes._loops is False
torch.save((end.object, end.chi2), sys.argv[2])
"""


def test_without_numba_a_recipe_runs_and_ends_at_the_same(planted, tmp_path):
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.solvers.run import solve

    problem, _, support = planted((16, 16), batch=2, positive=True)
    torch.save((problem.amplitudes, support), tmp_path / "in.pt")
    arguments = [sys.executable, "-c", WITHOUT_NUMBA, str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    x, chi2 = torch.load(tmp_path / "out.pt")
    end = solve(problem, Recipe.parse("hio*10 + raar*5 + er*5"), random_start(problem, support))
    assert float((end.object - x).norm() / x.norm()) < 1e-4
    torch.testing.assert_close(end.chi2, chi2, rtol=1e-3, atol=0)


def test_loops_are_used_on_the_cpu_for_plain_tensors_alone():
    x = torch.zeros(1, 4, 4)
    assert passes.compiled(x) is loops
    assert passes.compiled(torch.nn.Parameter(x)) is None
    assert passes.compiled(x.to("meta")) is None


def test_a_start_in_another_memory_order_goes_as_one_in_the_usual(planted):
    """As an object from a file in Fortran's order has it, or a twin, which torch conjugates when it is needed."""
    problem, truth, support = planted((12, 15))
    x = truth + 0.3 * draw(truth.shape, 3, truth.dtype)
    expected = HIO().step(problem, random_start(problem, support).advance(x, 0)).object
    for same in (x.transpose(1, 2).contiguous().transpose(1, 2), x.conj().resolve_conj().conj()):
        state = random_start(problem, support).advance(same, 0)
        torch.testing.assert_close(HIO().step(problem, state).object, expected)


@pytest.mark.parametrize("shape", [(1, 63), (3, 63), (2, 17423)])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_values_above_levels_are_counted_alike_with_and_without_compiled_loops(on_both, dtype, shape):
    values = draw(shape, 0, dtype)
    levels = torch.stack((values[:, 5], values.amax(1), values.amin(1) - 1), 1)  # a value is not above itself
    compiled, plain = on_both(lambda: passes.count_above(values, levels))
    assert torch.equal(compiled, plain)
    assert torch.equal(compiled[:, 1:], torch.tensor([[0, shape[1]]] * shape[0]))
    assert torch.equal(compiled[:, 0], (values > values[:, 5:6]).sum(1))


WORKQUEUE = """
import numba, numpy as np

@numba.njit(parallel=True)
def grow(x):
    for i in numba.prange(x.size):
        x[i] += 1

grow(np.zeros(100))  # as napari does when it draws labels before torch, and with it OpenMP, is there
import torch
from napari_dipr.solvers import passes
f = passes.impose_magnitude(torch.ones(1, 4, 4, dtype=torch.complex64), torch.full((1, 4, 4), 3.0))
print(numba.threading_layer(), passes.compiled(f), float(f.abs().max()))
"""


COUNT = """
import torch
torch.set_num_threads(1)
import napari_dipr.solvers.loops
print(torch.get_num_threads())
"""


def test_compiled_loops_leave_torch_as_many_threads_as_it_was_told_to_use():
    pytest.importorskip("numba")
    out = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["1"]


def test_threads_that_must_not_be_shared_are_left_to_napari():
    pytest.importorskip("numba")
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    out = subprocess.run([sys.executable, "-c", WORKQUEUE], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["workqueue", "None", "3.0"]
