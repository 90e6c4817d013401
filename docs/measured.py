"""The figures, tables and pictures of measured.md: two measurements from their raw counts, step by step.

python docs/measured.py DATA OUT

DATA is the folder of measured data that NAPARI_DIPR_DATA names elsewhere; in OUT come the figures as measured.json and
the ring's first support. The pictures go beside this script.
"""

import gzip
import json
import math
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tifffile
import torch
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from scipy import ndimage

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.io.figure import nice_length
from napari_dipr.io.read import read
from napari_dipr.lattice import Lattice, crystal_of
from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import propose, suited_shrinkwrap
from napari_dipr.networks.zoo import fitting_model
from napari_dipr.physics.placement import centred, twinned
from napari_dipr.physics.prtf import LEVEL, TransferFunction, aligned, transfer_function
from napari_dipr.physics.symmetry import find_alignment
from napari_dipr.preparation.extent import find_extent
from napari_dipr.solvers.problem import Problem, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "images"
FREE = 0.03
UNMEASURED = "#d9822b"
LOOK = {"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False}

# The pixel's size is a Timepix's nominal one: it is not in the files.
SCAN54 = (
    "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.2200042, chi=90, phi=-5, "
    "rock=theta, step=0.005"
)
CRYSTAL = "(raar*80 + er*20)*5; shrinkwrap(threshold=0.1)"
SEEDS = range(5)

# By the file's lambda 32, detector_distance 50 and pixel_size 0.02, in nm, mm and mm: it does not say of what.
RING = "wavelength=32, distance=0.05, pixel=20"
HEADER = (690, 608)
SYMMETRIC = (883, 609)  # as --centre friedel finds it, and says
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
    laid = aligned(torch.stack([run.object[0].to(torch.complex64) for run in runs[:count]]))
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
        found = crystal_of(measurement, *lying_as(steps[-1].runs[0], None))
        steps[-1].figures["crystal"] = None if found is None else found.figures
        say(steps[-1])
    return steps


def lying_as(run: Reconstruction, reference: torch.Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Return object and support, turned into their twin where that lies as the reference."""
    x, support = run.object[0].numpy(), run.support[0].numpy()
    if reference is not None and find_alignment(run.object[0], reference).twin:
        return twinned(x), twinned(support)
    return x, support


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


def ring_runs(measurement: Measurement, diameter: float = DISC) -> tuple[list[Reconstruction], bool]:
    """Reconstruct from random starts in a disc; says whether the object could be taken to be positive."""
    try:
        problem, positive = Problem.of(measurement, positive=True, free=FREE), True
    except MeasurementError:  # symmetric about another point than zero frequency: no real object is
        problem, positive = Problem.of(measurement, free=FREE), False
    recipe = Recipe.parse("thorough", shrinkwrap=suited_shrinkwrap(None), problem=problem)
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
    others: dict[str, Any] = {}
    best = {**base, **prepared["+ grown by 2"]}
    for diameter in (22, 26, 36):
        others[f"disc of {diameter}"] = sum(
            is_ring(r.object[0].numpy()) for r in ring_runs(steps[3].measurement, diameter)[0]
        )
    for name, settings in {f"grow {n}": {"grow": n} for n in (1, 3, 4)}.items():
        others[name] = sum(is_ring(r.object[0].numpy()) for r in ring_runs(read(file, **{**best, **settings}))[0])
    for crop in (800, "inside"):
        others[f"crop {crop}"] = sum(
            is_ring(r.object[0].numpy()) for r in ring_runs(read(file, **{**best, "crop": crop}))[0]
        )
    for free in (0.0, FREE):
        for n in range(5):
            others[f"network, grow {n}, free {free:g}"] = from_network(read(file, **{**best, "grow": n}), free)
    for name, value in others.items():
        print(f"{name}: {value}")  # noqa: T201
    raw = read(file, leave_out=())
    return steps, raw.intensities, others


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
    with_rings = "rings" in steps[0].figures
    head = ["prepared", *(["object", "rings"] if with_rings else []), "χ²", "R", "free χ²", "alike"]
    head += ["PRTF, mean", "resolution / nm", "extent", "support"]
    lines = [head, ["---"] * len(head)]
    for f in (one.figures for one in steps):
        nm = f["prtf_resolution_nm"]
        at = f"≤ {f['prtf_finest_nm']:.3g}" if nm is None else "none" if math.isinf(nm) else f"{nm:.3g}"
        extent = " × ".join(("≥ " if c else "") + str(p) for p, c in zip(f["extent"], f["extent_is_cut"], strict=True))
        own = ["positive" if f["positive"] else "complex", f"{f['rings']} of {f['starts']}"] if with_rings else []
        lines.append(
            [f["step"], *own, *(f"{f[key]:.4f}".lstrip("0") for key in ("chi2", "r_factor", "free_chi2"))]
            + [f"{f[key]:.2f}".lstrip("0") for key in ("alike_lowest", "prtf_mean")]
            + [at, extent, str(f["support"])]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bare(ax: Any, title: str = "") -> None:
    """Leave out the axes."""
    ax.set(xticks=[], yticks=[])
    ax.set_title(title)
    for spine in ax.spines.values():
        spine.set_visible(False)


def scale_bar(ax: Any, colour: str) -> None:
    """Draw a bar of a round length, for axes in nm."""
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    length, low = nice_length((right - left) / 3), 0 if ax.get_ylim()[0] > ax.get_ylim()[1] else 1
    base = (top - bottom) * (0.04 if low else 0.93) + bottom
    ax.add_patch(Rectangle((left + 0.05 * (right - left), base), length, 0.015 * (top - bottom), color=colour))
    word = f"{length:g} nm" if length < 1000 else f"{length / 1000:g} µm"
    beside = left + 0.05 * (right - left) + length / 2
    ax.text(beside, base + (0.03 if low else -0.01) * (top - bottom), word, color=colour, ha="center", va="bottom")


def show_pattern(ax: Any, intensities: np.ndarray, measured: np.ndarray, title: str, most: float) -> Any:
    """Draw counts on a logarithmic scale; what was not measured in a colour."""
    look = plt.get_cmap("gray").copy()
    look.set_bad("black")
    shown = np.ma.masked_where(intensities <= 0, intensities)
    image = ax.imshow(shown, cmap=look, norm=LogNorm(1, most), interpolation="nearest")
    if not measured.all():
        over = np.ma.masked_where(measured, np.ones(measured.shape))
        ax.imshow(over, cmap=mpl.colors.ListedColormap([UNMEASURED]), interpolation="nearest")
    bare(ax, title)
    return image


def show_curves(ax: Any, steps: list[Step], unit: float, label: str) -> None:
    """Draw transfer functions; the last is the one that counts."""
    colours = plt.get_cmap("viridis")(np.linspace(0.85, 0.1, len(steps)))
    for one, colour in zip(steps, colours, strict=True):
        last = one is steps[-1]
        ax.plot(one.curve.frequency * unit, one.curve.value, color=colour, lw=1.8 if last else 1, label=one.name)
    ax.axhline(LEVEL, color="0.6", lw=0.8, ls="--")
    ax.text(ax.get_xlim()[1], LEVEL, "1/e", color="0.4", ha="right", va="bottom")
    ax.set(xlabel=label, ylabel="PRTF", ylim=(0, 1.15), xlim=(0, None))
    ax.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1))


def show_errors(ax: Any, steps: list[Step]) -> None:
    """Draw the errors of every start, by step."""
    for key, colour, name in (("free_chi2_all", "#b2182b", "free χ²"), ("chi2_all", "#2166ac", "χ²")):
        for number, one in enumerate(steps):
            values = one.figures[key]
            ax.plot([number] * len(values), values, "o", color=colour, ms=3, mfc="none", mew=0.7)
            ax.plot(number, values[0], "o", color=colour, ms=5, label=name if number == 0 else None)
    ax.set_xticks(range(len(steps)), [textwrap.fill(one.name, 12) for one in steps])
    ax.set(xlim=(-0.5, len(steps) - 0.5), ylabel="error of each start", title="filled: the best by free χ²")
    ax.legend(frameon=False)


def draw_scan54(steps: list[Step]) -> None:
    """Draw the nanocrystal's way."""
    figure = plt.figure(figsize=(9, 10.6), layout="constrained")
    patterns, objects, fields, plots = figure.subfigures(4, 1, height_ratios=[1.15, 1.1, 1.15, 1.25])
    axes = patterns.subplots(1, 4)
    most = max(one.measurement.intensities.max() for one in steps)
    for ax, one in zip(axes, steps, strict=True):
        m = one.measurement
        image = show_pattern(ax, m.intensities[64], m.measured[64], one.name, most)
    patterns.colorbar(image, ax=axes, shrink=0.8, label="counts")
    patterns.suptitle("Frame of the peak, 128² pixels; not measured: orange", fontsize=9)

    final = steps[-1].object
    crystals = [crystal_of(one.measurement, *lying_as(one.runs[0], final)) for one in steps]
    axes = objects.subplots(1, 4)
    widest = max(max(c.amplitude.shape[1:]) * c.voxel for c in crystals)
    for ax, one, crystal in zip(axes, steps, crystals, strict=True):
        image = show_section(
            ax, crystal.amplitude / np.quantile(crystal.amplitude, 0.999), crystal, 0, widest, "gray", 0, 1
        )
        bare(ax, one.name)
        scale_bar(ax, "w")
    objects.colorbar(image, ax=axes, shrink=0.8, label="amplitude")
    objects.suptitle("What comes of it: amplitude, section across the beam (x to the right, y up)", fontsize=9)

    crystal = crystals[-1]
    left, right = fields.subfigures(1, 2)
    for part, values, name, scale in (
        (left, crystal.displacement * 1e3, "displacement along Q / pm", 1),
        (right, crystal.strain * 1e4, "strain along Q / 10⁻⁴", 1),
    ):
        axes = part.subplots(1, 2)
        limit = float(np.nanquantile(np.abs(values), 0.98)) * scale
        for ax, axis, title in zip(axes, (0, 2), ("x to the right, y up", "z to the right, y up"), strict=True):
            image = show_section(ax, values, crystal, axis, widest, "RdBu_r", -limit, limit)
            bare(ax, title)
            scale_bar(ax, "k")
        part.colorbar(image, ax=axes, shrink=0.8, label=name)
    fields.suptitle(f"After the last step: sections through the middle, cubes of {crystal.voxel:.3g} nm", fontsize=9)

    left, right = plots.subplots(1, 2)
    show_curves(left, steps, 1, "frequency / nm⁻¹")
    show_errors(right, steps)
    figure.savefig(IMAGES / "measured-scan54.png", dpi=110)
    plt.close(figure)


def show_section(
    ax: Any, values: np.ndarray, crystal: Lattice, axis: int, width: float, colours: str, low: float, high: float
) -> Any:
    """Draw the section through the middle of the crystal across an axis of ``[z, y, x]``, with y up."""
    there = np.isfinite(crystal.displacement)
    middle = round(float(ndimage.center_of_mass(there)[axis]))
    section = values.take(middle, axis)
    section = section.T if axis == 2 else section  # rows are y: of [z, y] they are the columns
    tall, wide = (n * crystal.voxel / 2 for n in section.shape)
    image = ax.imshow(
        section,
        extent=(-wide, wide, -tall, tall),
        origin="lower",
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    ax.set_facecolor("k" if colours == "gray" else "w")
    ax.set(xlim=(-width / 2, width / 2), ylim=(-width / 2, width / 2))
    return image


def draw_ring(steps: list[Step], raw: np.ndarray) -> None:
    """Draw the ring's way."""
    way, final = steps[:4], steps[3]
    figure = plt.figure(figsize=(9, 8.6), layout="constrained")
    patterns, objects, plots = figure.subfigures(3, 1, height_ratios=[1.35, 1.1, 1.25])
    axes = patterns.subplots(1, 4, width_ratios=[1, 1.25, 1.25, 1.25])
    image = show_pattern(axes[0], raw, np.ones(raw.shape, bool), "raw frame, 1544 × 1028", raw.max())
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    for (row, column), word, colour, away in (
        (HEADER, "header's centre", "#2166ac", -60),
        (SYMMETRIC, "centre of symmetry", "#b35806", 140),
    ):
        axes[0].plot(column, row, "+", color=colour, ms=9, mew=1.5)
        axes[0].text(column, row + away, word, color=colour, ha="center", va="bottom", bbox=box, fontsize=7)
    for ax, one, title in zip(
        axes[1:],
        (steps[0], steps[1], final),
        ("header's centre", "+ saturated left out", "+ centre, grown by 2"),
        strict=True,
    ):
        m = one.measurement
        show_pattern(ax, m.intensities, m.measured, title, raw.max() * 64)
    patterns.suptitle("Prepared: 784² pixels, binned by 8; not measured: orange", fontsize=9)
    patterns.colorbar(image, ax=axes, shrink=0.7, label="counts of the raw frame")

    axes = objects.subplots(1, 5)
    for ax, one in zip(axes, steps, strict=True):
        x, support = lying_as(one.runs[0], final.object)
        x, _ = centred(x, support)
        window = tuple(slice(n // 2 - 15, n // 2 + 15) for n in x.shape)
        a, side = np.abs(x)[window], one.measurement.voxel_size
        half = [15 * s for s in side]
        ax.imshow(a, cmap="gray", vmin=0, extent=(-half[1], half[1], half[0], -half[0]), interpolation="nearest")
        f = one.figures
        kind = "positive" if f["positive"] else "complex"
        name = one.name.replace(", ", ",\n") if one is steps[4] else one.name
        bare(ax, f"{name}\n{kind}, rings: {f['rings']} of {f['starts']}")
        scale_bar(ax, "w")
    objects.suptitle("The best of the starts by free χ²: amplitude", fontsize=9)

    left, right = plots.subplots(1, 2)
    show_curves(left, way, 1e3, "frequency / µm⁻¹")
    show_errors(right, way)
    right.set_yscale("log")
    figure.savefig(IMAGES / "measured-ring.png", dpi=110)
    plt.close(figure)


def main(data: Path, out: Path) -> None:
    """Make it all."""
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    crystal = scan54(data)
    rings, raw, others = ring(data, out)
    with plt.rc_context(LOOK):
        draw_scan54(crystal)
        draw_ring(rings, raw)
    print(f"\n{table(crystal)}\n\n{table(rings)}\n\n{time.perf_counter() - begun:.0f} s")  # noqa: T201
    figures = {"scan54": [one.figures for one in crystal], "ring": [one.figures for one in rings], "others": others}
    (out / "measured.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
