"""How far the resolutions that starts of one measurement claim are from the truth, by simulated objects.

Each object is measured with several numbers of photons, and an ensemble of it compared with the truth by shell. Beside
what the starts say of themselves stands a control: the same counts are dealt out to two measurements by a fair coin for
each photon, which makes two Poisson patterns that are independent of each other, and an ensemble of each is compared
with that of the other.

What is true is said by the correlation ``C`` of the mean's spectrum with the truth's. Of two halves with independent
noise, whose correlation is FSC, it is ``√(2·FSC/(1+FSC))`` [1]_: .5 between halves is .82 to the truth, and the
half-bit criterion's .17 is .54. The level that [1]_ gives reasons for is ``C = .5``, a phase error of 60°: it is the
measure that all claims are held against, and each is held against its own counterpart too. That of PRTF is
``T = ⟨|F|·cos(φ − φ_true)/A⟩`` at 1/e: PRTF itself takes the starts' common phase for the true one.

References
----------
.. [1] P. B. Rosenthal, R. Henderson, "Optimal determination of particle orientation, absolute hand, and contrast loss
   in single-particle electron cryomicroscopy", J. Mol. Biol. 333, 721 (2003).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.benchmarks.bragg import AT_34_ID_C, DISTANCES, FACETS, LARGEST, RADIUS
from napari_dipr.benchmarks.verdict import blot
from napari_dipr.ensembles.consensus import whole_pattern
from napari_dipr.ensembles.ensemble import Ensemble, ensemble
from napari_dipr.ensembles.starts import Starts
from napari_dipr.experiment import Experiment
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import backward, forward
from napari_dipr.physics.fsc import HALF, shell_correlation
from napari_dipr.physics.orthogonal import finest
from napari_dipr.physics.prtf import LEVEL
from napari_dipr.physics.registration import register
from napari_dipr.physics.shells import first_below, half_period, shells, sums_in
from napari_dipr.simulation import bragg_scan, polyhedron
from napari_dipr.solvers.problem import Problem
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

PHOTONS = (1e4, 1e5, 1e6, 1e7)
RECIPE = "(raar*80 + er*20)*5"
FREE = 0.03
# Of a 2-D object's pixel, nm.
PIXEL = 10.0
# Of the correlation with the truth, and of the relative error: where as much of a shell is wrong as is right.
TRUE, AS_WRONG = 0.5, 0.5
# Objects, and whether their support is given: else it begins as the autocorrelation's, and shrink-wrap finds it.
KINDS = {"crystal": False, "crystal, support known": True, "flat, support known": True}
# What is claimed, with the curve that it is of: PRTF of the kept starts, of all, and of all beyond chance.
CLAIMS = {
    "prtf": "prtf",
    "prtf_all": "prtf_all",
    "prtf_beyond_chance": "prtf_beyond_chance",
    "fsc": "fsc",
    "fsc_half_bit": "fsc",
    "split": "split",
    "split_half_bit": "split",
}
Array = NDArray[np.float64]


def resolution(
    objects: int = 3,
    photons: Sequence[float] = PHOTONS,
    *,
    starts: int = 20,
    keep: int = 5,
    seed: int = 0,
    side: int = 40,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, Any]:
    """Compare claimed resolutions with true ones, of strained crystals of :data:`AT_34_ID_C` and of flat objects.

    Parameters
    ----------
    objects
        Of each kind.
    photons
        In each pattern, in turn.
    starts, keep
        Of each ensemble, and how many of the best are averaged at most.
    seed
        Of objects, noise and starts.
    side
        Of the crystal's scan, pixels; the flat objects have 2.5 times as many.
    progress
        Told the case that comes next, and how many are done.

    Returns
    -------
    dict
        Plain JSON: what was asked for; ``cases``, each with its ``curves`` by shell, and in nm (None where a curve
        never falls below its level, to the array's ``edge``) what is ``claimed``, what is ``true`` at ``C = .5`` and
        where the relative error passes ½ (``error``), and the claims' ``counterparts``; ``true_phases`` as
        :func:`with_true_phases` finds them; and ``bias`` of each kind and claim, see :func:`bias`.
    """
    cases: list[dict[str, Any]] = []
    for kind in KINDS:
        for number in range(objects):
            for count in photons:
                progress(f"{kind} {number + 1}, {count:.0e} photons", len(cases))
                rng = np.random.default_rng([seed, number])
                measurement, truth, basis = (_crystal if "crystal" in kind else _flat)(rng, side, count)
                support = torch.from_numpy(truth != 0) if KINDS[kind] else None
                curves, figures = compare(
                    measurement, truth, basis, support, starts=starts, keep=keep, seed=seed + number
                )
                figures["true_phases"] = with_true_phases(measurement, truth, basis, seed + number)
                cases.append({"kind": kind, "number": number, "photons": count, "curves": curves, **figures})
    asked = {"seed": seed, "starts": starts, "keep": keep, "side": side, "photons": list(photons), "recipe": RECIPE}
    return asked | {"cases": cases, "bias": {kind: bias([c for c in cases if c["kind"] == kind]) for kind in KINDS}}


def compare(
    measurement: Measurement,
    truth: NDArray[Any],
    basis: Array,
    support: Tensor | None,
    *,
    starts: int,
    keep: int,
    seed: int,
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Run an ensemble of a measurement in counts and two of its halves, and compare them with the truth ``[*grid]``.

    Returns
    -------
    curves, figures : tuple
        As a case of :func:`resolution` has them.
    """
    found, one, two = (
        _ensemble(part, basis, support, starts, keep, seed + i)
        for i, part in enumerate((measurement, *halves(measurement, seed)))
    )
    other = two.consensus.mean
    other = register(other, one.consensus.mean).remove(other.to(torch.complex128))
    common, everyone = found.consensus, found.keeping([True] * starts)
    kept = _over_truth(common.mean, truth)
    fsc, prtf, prtf_all = common.fsc, common.prtf, everyone.consensus.prtf
    assert fsc is not None
    assert prtf is not None
    assert prtf_all is not None
    split = shell_correlation(one.consensus.mean, other, basis)
    true = shell_correlation(kept, torch.from_numpy(truth), basis)
    q = true.frequency
    all_mean = _over_truth(everyone.consensus.mean, truth)
    curves = {
        "frequency": q,
        "prtf": np.interp(q, prtf.frequency, prtf.value),
        "prtf_all": np.interp(q, prtf_all.frequency, prtf_all.value),
        "prtf_beyond_chance": np.interp(q, prtf_all.frequency, prtf_all.beyond_chance),
        "fsc": fsc.value,
        "half_bit": fsc.half_bit,
        "split": split.value,
        "true": true.value,
        "error": _error(kept, truth, basis),
        "true_prtf": _true_prtf(found, kept, truth, basis),
        "true_prtf_all": _true_prtf(found, all_mean, truth, basis),
    }
    levels: dict[str, tuple[str, Any, str, Any]] = {
        "prtf": ("prtf", LEVEL, "true_prtf", LEVEL),
        "prtf_all": ("prtf_all", LEVEL, "true_prtf_all", LEVEL),
        "prtf_beyond_chance": ("prtf_beyond_chance", LEVEL, "true_prtf_all", LEVEL),
    }
    for name in ("fsc", "split"):
        levels[name] = (name, HALF, "true", to_truth(HALF))
        levels[f"{name}_half_bit"] = (name, fsc.half_bit, "true", to_truth(fsc.half_bit))

    def below(curve: Array, level: Any) -> float | None:
        # From the first shell on: a resolution of the second's, not an infinite one.
        found = half_period(first_below(q, curve, level))
        return None if found is None else min(found, 1 / (2 * float(q[1])))

    return {name: curve.tolist() for name, curve in curves.items()}, {
        "nmse": 1 - register(kept, torch.from_numpy(truth)).correlation ** 2,
        "kept": sum(found.kept),
        "edge": half_period(float(q[-1])),
        "claimed": {claim: below(curves[curve], level) for claim, (curve, level, _, _) in levels.items()},
        "true": below(curves["true"], TRUE),
        "error": below(-curves["error"], -AS_WRONG),
        "counterparts": {claim: below(curves[curve], level) for claim, (_, _, curve, level) in levels.items()},
    }


def to_truth(fsc: Any) -> Any:
    """Return what halves with independent noise and the correlation FSC have in common with the truth, both averaged.

    The noise of the mean is half of theirs: ``FSC = s/(1+s)`` of the signal-to-noise ratio s, ``C² = 2s/(1+2s)``.
    """
    return np.sqrt(2 * fsc / (1 + fsc))


def halves(measurement: Measurement, seed: int) -> tuple[Measurement, Measurement]:
    """Deal the counts of a measurement out to two, each photon by a fair coin: independent patterns of half as many."""
    counts = measurement.intensities.astype(np.int64)
    first = np.random.default_rng([seed, 7]).binomial(counts, 0.5)
    one, two = (replace(measurement, intensities=part.astype(np.float32)) for part in (first, counts - first))
    return one, two


def with_true_phases(measurement: Measurement, truth: NDArray[Any], basis: Array, seed: int) -> dict[str, float]:
    """Return how much too high the correlation is that split counts foretell, with nothing wrong but the moduli.

    No solver has a part in it: moduli from the counts, the truth's phases. Averaged over the shells, ``whole`` of the
    objects as they come, and ``cut`` of those cut to the true support, as a solver's are.
    """
    t = torch.from_numpy(truth).to(torch.complex128)
    phases = torch.sgn(forward(t[None]))
    patterns = (measurement, *halves(measurement, seed))
    objects = [backward(torch.from_numpy(m.cornered_amplitudes()) * phases)[0] for m in patterns]
    found = {}
    for name, window in (("whole", torch.ones_like(t.real)), ("cut", (t != 0).to(t.real.dtype))):
        x, one, two = (y * window for y in objects)
        true, split = (shell_correlation(a, b, basis).value for a, b in ((x, t), (one, two)))
        found[name] = float((to_truth(split) - true).mean())
    return found


def bias(cases: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return how far claims are from the truth: claimed over true resolution, below 1 where too much is claimed.

    A curve that never falls below its level has the array's edge for its resolution.

    Returns
    -------
    dict
        For each claim: of the ratio to the truth at ``C = .5`` and (``own``) to the claim's counterpart the geometric
        ``mean``, ``spread`` (a factor: e to the standard deviation of the logarithm), ``least`` and ``most``; how many
        cases are at the array's ``edge`` in one of the two, or ``both``, where the ratio is but a bound or 1; and
        ``excess``, what the claim's curve is above its counterpart, averaged over the shells, once it is brought to
        the truth by :func:`to_truth`.
    """
    return {
        claim: {
            **_ratios(cases, [(case["claimed"][claim], case["true"]) for case in cases]),
            "own": _ratios(cases, [(case["claimed"][claim], case["counterparts"][claim]) for case in cases]),
            "excess": float(np.mean([_excess(case["curves"], claim) for case in cases])),
        }
        for claim in CLAIMS
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the curves of each kind's first object, as a PNG."""
    from matplotlib.figure import Figure

    shown = [case for case in result["cases"] if case["number"] == 0]
    kinds = list(dict.fromkeys(case["kind"] for case in shown))
    columns = len(shown) // len(kinds)
    figure = Figure(figsize=(3.2 * columns, 2.7 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), columns, squeeze=False, sharey=True)
    for ax, case in zip(grid.flat, shown, strict=True):
        curves = {name: np.array(values) for name, values in case["curves"].items()}
        q = curves["frequency"]
        ax.plot(q, curves["true"], "k", lw=2, label="mean with the truth, C")
        ax.plot(q, to_truth(curves["fsc"]), "C3", label="C that FSC of starts foretells")
        ax.plot(q, to_truth(curves["split"]), "C0", label="C that FSC of split counts foretells")
        ax.plot(q, curves["prtf"], "C1", label=f"PRTF, best {case['kept']}")
        ax.plot(q, curves["prtf_all"], "C2", label="PRTF, all starts")
        ax.plot(q, curves["true_prtf_all"], "C2--", lw=1, label="that against the truth")
        for level in (TRUE, LEVEL):
            ax.axhline(level, color="grey", lw=0.5, ls=":")
        ax.locator_params("x", nbins=4)
        ax.set_title(f"{case['kind']}, {case['photons']:.0e} photons", fontsize=8)
    for ax in grid[-1]:
        ax.set_xlabel("frequency / nm⁻¹")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center")
    figure.savefig(path, dpi=100)


def _ensemble(
    measurement: Measurement, basis: Array, support: Tensor | None, starts: int, keep: int, seed: int
) -> Ensemble:
    problem = Problem.of(measurement, free=FREE)
    recipe = Recipe.parse(f"{RECIPE}; {'shrinkwrap(threshold=0.1)' if support is None else 'no shrinkwrap'}")
    first = Starts(autocorrelation_support(problem) if support is None else support, seed=seed)
    return ensemble(problem, recipe, first, starts, most=keep, basis=basis, interval=float("inf"))


def _flat(rng: np.random.Generator, side: int, photons: float) -> tuple[Measurement, NDArray[Any], Array]:
    """Make a flat object, the same for every number of photons: its measurement, truth, and pixel in nm."""
    n = 2 * round(side * 1.25)
    x, noise = blot(rng, n, n * 0.36), int(rng.integers(1 << 30))
    exposed = Experiment.of(photons=photons, seed=noise).expose(x, "simulated to judge resolutions")
    return *exposed, PIXEL * np.eye(2)


def _crystal(rng: np.random.Generator, side: int, photons: float) -> tuple[Measurement, NDArray[Any], Array]:
    """Make a strained crystal, as :func:`_flat` an object."""
    geometry, grid = Geometry.parse(AT_34_ID_C), (side,) * 3
    basis, q = geometry.basis(grid), geometry.bragg()
    radius = RADIUS * finest(basis * np.asarray(grid))
    normals = np.asarray(FACETS) + rng.uniform(-0.2, 0.2, (len(FACETS), 3))
    inside = polyhedron(normals, radius * np.asarray(DISTANCES) * rng.uniform(0.85, 1.15, len(DISTANCES)))
    a, b, c = rng.normal(size=3)

    def displacement(r: Array) -> Array:
        x, y, z = np.moveaxis(r / radius, -1, 0)
        return (LARGEST * (a * x**2 + b * y * z + c * z**3))[..., None] * q / np.linalg.norm(q)

    noise = int(rng.integers(1 << 30))
    return *bragg_scan(geometry, grid, inside, displacement, photons=photons, seed=noise), basis


def _over_truth(x: Tensor, truth: NDArray[Any]) -> Tensor:
    registration = register(x, torch.from_numpy(truth))
    return registration.remove(x.to(torch.complex128)).resolve_conj()


def _spectra(x: Tensor, truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    f, g = (forward(y[None].to(torch.complex128))[0].numpy() for y in (x, torch.from_numpy(truth)))
    return f, g


def _error(x: Tensor, truth: NDArray[Any], basis: Array) -> Array:
    """Return ``Σ|F − F_true|²/Σ|F_true|²`` by shell."""
    f, g = _spectra(x, truth)
    _, sums = sums_in(shells(truth.shape, basis)[1])
    return sums(np.abs(f - g) ** 2) / sums(np.abs(g) ** 2)


def _true_prtf(found: Ensemble, x: Tensor, truth: NDArray[Any], basis: Array) -> Array:
    """Return the transfer function of a mean with the true phases, by shell of all: ``⟨|F|·cos(φ − φ_true)/A⟩``."""
    f, g = _spectra(x, truth)
    amplitudes, measured = whole_pattern(found.problem)
    a = amplitudes.double().numpy()
    counts = (a > 0) if measured is None else (a > 0) & measured.numpy()
    size, shell = shells(truth.shape, basis)
    ratio = (f * g.conj()).real[counts] / np.maximum(np.abs(g[counts]), np.finfo(float).tiny) / a[counts]
    pixels, sums = sums_in(shell[counts])
    all_pixels, all_sums = sums_in(shell)
    return np.interp(all_sums(size) / all_pixels, sums(size[counts]) / pixels, sums(ratio) / pixels)


def _ratios(cases: Sequence[dict[str, Any]], pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    bounded = [
        [case["edge"] if value is None else value for value in pair] for case, pair in zip(cases, pairs, strict=True)
    ]
    logs = np.log([claimed / true for claimed, true in bounded])
    ends = [sum(value is None for value in pair) for pair in pairs]
    return {
        "mean": float(np.exp(logs.mean())),
        "spread": float(np.exp(logs.std(ddof=min(1, len(logs) - 1)))),
        "least": float(np.exp(logs.min())),
        "most": float(np.exp(logs.max())),
        "edge": ends.count(1),
        "both": ends.count(2),
    }


def _excess(curves: dict[str, list[float]], claim: str) -> float:
    curve = np.asarray(curves[CLAIMS[claim]])
    if claim == "prtf":
        return float((curve - curves["true_prtf"]).mean())
    if claim.startswith("prtf"):
        return float((curve - curves["true_prtf_all"]).mean())
    return float((to_truth(curve) - curves["true"]).mean())
