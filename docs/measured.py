"""The figures, tables and pictures of measured.md: two measurements from their raw counts, step by step.

python docs/measured.py DATA OUT

DATA is the folder of measured data that NAPARI_DIPR_DATA names elsewhere; in OUT come the figures as measured.json and
the ring's first support. The pictures go beside this script.
"""

import gzip
import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from measured_pictures import HEADER, draw_ring, draw_scan54
from scipy import ndimage

from napari_dipr.ensembles.alignment import align
from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.io.read import read
from napari_dipr.lattice import crystal_of, lattice
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import propose, suited_shrinkwrap
from napari_dipr.networks.zoo import fitting_model
from napari_dipr.physics.placement import centred
from napari_dipr.physics.prtf import TransferFunction, transfer_function
from napari_dipr.preparation.extent import find_extent
from napari_dipr.solvers.problem import Problem, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

FREE = 0.03

# The pixel's size is a Timepix's nominal one: it is not in the files.
SCAN54 = (
    "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.2200042, chi=90, phi=-5, "
    "rock=theta, step=0.005"
)
# With a growth of 1.2, as by default, that bound held the support from the flat field on: all starts had the same size.
CRYSTAL = "(raar*80 + er*20)*5; shrinkwrap(threshold=0.1, growth=2)"
SEEDS = range(5)

# By the file's lambda 32, detector_distance 50 and pixel_size 0.02, in nm, mm and mm: it does not say of what.
RING = "wavelength=32, distance=0.05, pixel=20"
DISC = 30
RING_SEEDS = range(32)
# Starts that the transfer function is of, where most fail: the best by free χ², at each step as many.
BEST = 8


@dataclass
class Step:
    """What came of a measurement that was prepared so far.

    Attributes
    ----------
    name
        What was done last.
    measurement
        The pattern.
    runs
        A reconstruction for each start, the least free χ² first.
    curve
        Their transfer function.
    figures
        Of the best, and of all.
    """

    name: str
    measurement: Measurement
    runs: list[Reconstruction]
    curve: TransferFunction
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def object(self) -> torch.Tensor:
        """The best object."""
        return self.runs[0].object[0]


def free_chi2(run: Reconstruction) -> float:
    """Return the error on the pixels that were held back."""
    return float(run.history[-1].free_chi2)


def step(
    name: str, measurement: Measurement, runs: list[Reconstruction], count: int, judged: np.ndarray | None, basis: Any
) -> Step:
    """Gather the figures of starts; the transfer function is of the best ``count``, on the pixels ``judged``."""
    runs = sorted(runs, key=free_chi2)
    best = runs[0]
    laid, _ = align(torch.stack([run.object[0].to(torch.complex128) for run in runs[:count]]))
    measured = measurement.measured if judged is None else measurement.measured & judged
    curve = transfer_function(
        laid,
        torch.from_numpy(measurement.cornered_amplitudes()),
        torch.from_numpy(np.fft.ifftshift(measured)),
        basis,
    )
    flat = laid.flatten(1) / laid.flatten(1).norm(dim=1, keepdim=True)
    alike = (flat @ flat.conj().T).abs()
    extent = find_extent(measurement)
    figures = {
        "step": name,
        "chi2": float(best.chi2[0]),
        "r_factor": float(best.r_factor[0]),
        "free_chi2": free_chi2(best),
        "free_chi2_all": [free_chi2(run) for run in runs],
        "chi2_all": [float(run.chi2[0]) for run in runs],
        "support": int(best.support.sum()),
        "support_all": [int(run.support.sum()) for run in runs],
        "extent": extent.pixels,
        "extent_is_cut": extent.is_cut,
        "alike_lowest": float(alike.min()),
        "prtf_mean": curve.mean,
        "prtf_resolution_nm": curve.resolution,
        "prtf_finest_nm": float(1 / (2 * curve.frequency[-1])),
        "prtf_at_edge": float(curve.value[-3:].mean()),
        "unmeasured": int((~measurement.measured).sum()),
        "seconds": sum(run.seconds for run in runs) / len(runs),
    }
    return Step(name, measurement, runs, curve, figures)


def scan54(data: Path) -> list[Step]:
    """Reconstruct the nanocrystal, before and after each step."""
    folder, geometry = data / "scan54", Geometry.parse(SCAN54)
    bad, flat = {"bad_map": folder / "dark.tif"}, {"white": folder / "whitefield.tif"}
    prepared = {
        name: read(folder / "stack_raw_counts.npz", crop=128, geometry=geometry, **settings)
        # The flat field moves the brightest pixel by one row and column: all are cut out round the same.
        for name, settings in {
            "raw counts": {"centre": (99, 127, 128)},
            "+ bad map": {"centre": (99, 127, 128), **bad},
            "+ flat field": {"centre": (99, 127, 128), **bad, **flat},
            "+ threshold 3": {**bad, **flat, "threshold": 3},
        }.items()
    }
    *_, last = prepared.values()
    steps = []
    for name, measurement in prepared.items():
        problem = Problem.of(measurement, free=FREE)
        support, recipe = autocorrelation_support(problem), Recipe.parse(CRYSTAL, problem=problem)
        runs = [solve(problem, recipe, random_start(problem, support, seed)) for seed in SEEDS]
        seeds = [seed for _, seed in sorted((free_chi2(run), seed) for seed, run in zip(SEEDS, runs, strict=True))]
        steps.append(step(name, measurement, runs, len(runs), last.intensities > 0, geometry.basis(measurement.grid)))
        steps[-1].figures |= {"best_seed": seeds[0], "first_support": int(support.sum())}
        best = steps[-1].runs[0]
        crystal = crystal_of(measurement, best.object[0].numpy(), best.support[0].numpy())
        steps[-1].figures |= {"crystal": crystal.figures, "spread": spread(steps[-1].runs, measurement)}
        say(steps[-1])
    return steps


def spread(runs: list[Reconstruction], measurement: Measurement) -> dict[str, float]:
    """Return how far displacement (pm) and strain of the starts are apart: standard deviation, rms over the crystal.

    All in the support of the best.
    """
    laid = align(torch.stack([run.object[0].to(torch.complex128) for run in runs]))[0].numpy()
    support = runs[0].support[0].numpy()
    crystals = [lattice(*centred(x, support), measurement.geometry) for x in laid]
    u, strain = (np.stack([getattr(c, name) for c in crystals]) for name in ("displacement", "strain"))
    return {
        name: float(scale * np.sqrt(np.nanmean(values.var(0, ddof=1))))
        for name, values, scale in (("displacement_pm", u, 1e3), ("strain", strain, 1.0))
    }


def is_ring(x: np.ndarray) -> bool:
    """Say whether the largest piece of what is above a fifth of the maximum has a hole with its centre of mass in it.

    The hole counts from an eighth of the piece's area.
    """
    a = np.abs(x)
    a = np.roll(
        a, [n // 2 - int(p) for n, p in zip(a.shape, np.unravel_index(a.argmax(), a.shape), strict=True)], (0, 1)
    )
    pieces, _ = ndimage.label(a > 0.2 * a.max(), np.ones((3, 3)))
    piece = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    hole = ndimage.binary_fill_holes(piece) & ~piece
    return bool(hole[tuple(round(c) for c in ndimage.center_of_mass(piece))] and 8 * hole.sum() >= piece.sum())


def disc(grid: tuple[int, ...], diameter: float) -> np.ndarray:
    """Return a disc about the grid's middle."""
    rows, columns = np.meshgrid(*(np.arange(n) - n // 2 for n in grid), indexing="ij")
    return np.hypot(rows, columns) <= diameter / 2


def ring_runs(measurement: Measurement, diameter: float | None = DISC) -> tuple[list[Reconstruction], bool]:
    """Reconstruct from random starts in a disc, None: in the autocorrelation's support.

    Says whether the object could be taken to be positive.
    """
    try:
        problem, positive = Problem.of(measurement, positive=True, free=FREE), True
    except MeasurementError:  # symmetric about another point than zero frequency: no real object is
        problem, positive = Problem.of(measurement, free=FREE), False
    recipe = Recipe.parse("thorough", shrinkwrap=suited_shrinkwrap(None), problem=problem)
    if diameter is None:
        support = autocorrelation_support(problem)
    else:
        support = as_support(disc(measurement.grid, diameter), problem)
    return [solve(problem, recipe, random_start(problem, support, seed)) for seed in RING_SEEDS], positive


def ring(data: Path, out: Path) -> tuple[list[Step], np.ndarray, dict[str, Any]]:
    """Reconstruct the ring, before and after each step; the raw frame and figures of other choices come with it."""
    file = out / "raw_ring.h5"
    file.write_bytes(gzip.decompress((data / "ring" / "raw_ring.h5.gz").read_bytes()))
    base = {"crop": 784, "bin": 8, "geometry": Geometry.parse(RING)}
    prepared = {
        "header's centre": {"centre": HEADER, "leave_out": ()},
        "+ saturated left out": {"centre": HEADER},
        "+ centre of symmetry": {"centre": "friedel"},
        "+ grown by 2": {"centre": "friedel", "grow": 2},
        "centre of symmetry, saturated taken": {"centre": "friedel", "leave_out": ()},
    }
    steps = []
    for name, settings in prepared.items():
        measurement = read(file, **base, **settings)
        runs, positive = ring_runs(measurement)
        seed = min(RING_SEEDS, key=lambda seed, runs=runs: free_chi2(runs[seed]))
        steps.append(step(name, measurement, runs, BEST, None, np.diag(measurement.voxel_size)))
        rings = [is_ring(run.object[0].numpy()) for run in steps[-1].runs]
        steps[-1].figures |= {"positive": positive, "rings": sum(rings), "starts": len(runs), "best_seed": seed}
        steps[-1].figures |= {"rings_of_best": sum(rings[:BEST])}
        say(steps[-1])
    tifffile.imwrite(out / "disc.tif", disc(steps[3].measurement.grid, DISC).astype(np.uint8))
    others = other_choices(file, {**base, **prepared["+ grown by 2"]})
    for name, value in others.items():
        print(f"{name}: {value}")  # noqa: T201
    return steps, read(file, leave_out=()).intensities, others


def other_choices(file: Path, best: dict[str, Any]) -> dict[str, Any]:
    """Count rings where one thing is other than in the best preparation; and say what the network's start gives."""

    def rings(diameter: float | None = DISC, **settings: Any) -> int:
        runs, _ = ring_runs(read(file, **{**best, **settings}), diameter)
        return sum(is_ring(run.object[0].numpy()) for run in runs)

    others: dict[str, Any] = {f"disc of {diameter}": rings(diameter) for diameter in (22, 26, 36)}
    others["autocorrelation"] = rings(None)
    others |= {f"grow {n}": rings(grow=n) for n in (1, 3, 4)}
    others |= {f"crop {crop}": rings(crop=crop) for crop in (800, "inside")}
    for free in (0.0, FREE):
        for n in range(5):
            others[f"network, grow {n}, free {free:g}"] = from_network(read(file, **{**best, "grow": n}), free)
    return others


def from_network(measurement: Measurement, free: float) -> dict[str, Any]:
    """Reconstruct the ring from the likeliest network's proposal."""
    model = fitting_model(measurement)
    problem = Problem.of(measurement, positive=True, free=free)
    proposal = propose(measurement, model)
    start = start_from(problem, torch.from_numpy(proposal.object)[None], as_support(proposal.support, problem))
    run = solve(problem, Recipe.parse("thorough", shrinkwrap=suited_shrinkwrap(model), problem=problem), start)
    return {
        "model": model,
        "chi2": float(run.chi2[0]),
        "free_chi2": run.history[-1].free_chi2,
        "ring": is_ring(run.object[0].numpy()),
    }


def say(done: Step) -> None:
    """Print the figures of a step."""
    print({key: value for key, value in done.figures.items() if not key.endswith("_all")}, flush=True)  # noqa: T201


def table(steps: list[Step]) -> str:
    """Return the figures as a table in Markdown."""
    rows = [columns_of(one.figures) for one in steps]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def columns_of(f: dict[str, Any]) -> dict[str, str]:
    """Return the figures of a step as they are written, by heading."""
    nm, finest = f["prtf_resolution_nm"], f["prtf_finest_nm"]
    row = {"prepared": f["step"]}
    if "rings" in f:
        row |= {"object": "positive" if f["positive"] else "complex", "rings": f"{f['rings']} of {f['starts']}"}
    row |= {
        name: f"{f[key]:.{digits}f}".lstrip("0")
        for name, key, digits in (
            ("χ²", "chi2", 4),
            ("R", "r_factor", 3),
            ("free χ²", "free_chi2", 4),
            ("alike", "alike_lowest", 2),
            ("PRTF", "prtf_mean", 2),
        )
    }
    row["resolution / nm"] = f"≤ {finest:.3g}" if nm is None else "none" if math.isinf(nm) else f"{nm:.3g}"
    if "spread" in f:
        row["u / pm"] = f"{f['crystal']['displacement_rms'] * 1e3:.1f} ± {f['spread']['displacement_pm']:.1f}"
        row["ε / 10⁻⁴"] = f"{f['crystal']['strain_rms'] * 1e4:.1f} ± {f['spread']['strain'] * 1e4:.1f}"
    row["extent"] = " × ".join(
        ("≥ " if cut else "") + str(side) for side, cut in zip(f["extent"], f["extent_is_cut"], strict=True)
    )
    return row | {"support": str(f["support"])}


def main(data: Path, out: Path) -> None:
    """Make it all."""
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    crystal = scan54(data)
    rings, raw, others = ring(data, out)
    draw_scan54(crystal)
    draw_ring(rings, raw)
    print(f"\n{table(crystal)}\n\n{table(rings)}\n\n{time.perf_counter() - begun:.0f} s")  # noqa: T201
    figures = {"scan54": [one.figures for one in crystal], "ring": [one.figures for one in rings], "others": others}
    (out / "measured.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
