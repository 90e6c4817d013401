"""The pictures of measured.md, which measured.py has drawn."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from scipy import ndimage

from napari_dipr.io.figure import nice_length
from napari_dipr.lattice import Lattice, crystal_of
from napari_dipr.physics.placement import centred, twinned
from napari_dipr.physics.prtf import LEVEL
from napari_dipr.physics.symmetry import find_alignment
from napari_dipr.solvers.run import Reconstruction

if TYPE_CHECKING:
    from measured import Step

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "images"
UNMEASURED = "#d9822b"
LOOK = {"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False}
# Of the ring's frame: what its file says, and what --centre friedel finds and says.
HEADER, SYMMETRIC = (690, 608), (883, 609)


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


def show_curves(ax: Any, steps: "list[Step]", chosen: "Step", unit: float, label: str) -> None:
    """Draw transfer functions, that of the step that was chosen thicker."""
    colours = plt.get_cmap("viridis")(np.linspace(0.85, 0.1, len(steps)))
    for one, colour in zip(steps, colours, strict=True):
        ax.plot(one.curve.frequency * unit, one.curve.value, color=colour, lw=2 if one is chosen else 1, label=one.name)
    ax.axhline(LEVEL, color="0.6", lw=0.8, ls="--")
    ax.text(ax.get_xlim()[1], LEVEL, "1/e", color="0.4", ha="right", va="bottom")
    ax.set(xlabel=label, ylabel="PRTF", ylim=(0, 1.15), xlim=(0, None))
    ax.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1))


def show_errors(ax: Any, steps: "list[Step]") -> None:
    """Draw the errors of every start, by step."""
    for key, colour, name in (("free_chi2_all", "#b2182b", "free χ²"), ("chi2_all", "#2166ac", "χ²")):
        for number, one in enumerate(steps):
            values = one.figures[key]
            ax.plot([number] * len(values), values, "o", color=colour, ms=3, mfc="none", mew=0.7)
            ax.plot(number, values[0], "o", color=colour, ms=5, label=name if number == 0 else None)
    ax.set_xticks(range(len(steps)), [textwrap.fill(one.name, 12) for one in steps])
    ax.set(xlim=(-0.5, len(steps) - 0.5), ylabel="error of each start")
    ax.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1), title="filled: the best by free χ²")


@mpl.rc_context(LOOK)
def draw_scan54(steps: "list[Step]") -> None:
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

    chosen = min(steps, key=lambda one: one.figures["free_chi2"])
    crystals = [crystal_of(one.measurement, *lying_as(one.runs[0], chosen.object)) for one in steps]
    axes = objects.subplots(1, 4)
    widest = max(max(c.amplitude.shape) * c.voxel for c in crystals)
    for ax, one, crystal in zip(axes, steps, crystals, strict=True):
        image = show_section(
            ax, crystal.amplitude / np.quantile(crystal.amplitude, 0.999), crystal, 0, widest, "gray", 0, 1
        )
        bare(ax, one.name)
        scale_bar(ax, "w")
    objects.colorbar(image, ax=axes, shrink=0.8, label="amplitude")
    objects.suptitle("What comes of it: amplitude, section across the beam (x to the right, y up)", fontsize=9)

    crystal = crystals[steps.index(chosen)]
    left, right = fields.subfigures(1, 2)
    for part, values, name, scale in (
        (left, crystal.displacement * 1e3, "displacement along Q / pm", 1),
        (right, crystal.strain * 1e4, "strain along Q / 10⁻⁴", 1),
    ):
        axes = part.subplots(1, 2)
        limit = float(np.nanquantile(np.abs(values), 0.98)) * scale
        for ax, axis, title in zip(axes, (0, 2), ("x to the right, y up", "z to the right, y up"), strict=True):
            image = show_section(ax, values, crystal, axis, 0.75 * widest, "RdBu_r", -limit, limit)
            bare(ax, title)
            scale_bar(ax, "k")
        part.colorbar(image, ax=axes, shrink=0.8, label=name)
    fields.suptitle(
        f"Of the least free χ² ({chosen.name}): sections through the middle, cubes of {crystal.voxel:.3g} nm",
        fontsize=9,
    )

    left, right = plots.subplots(1, 2)
    show_curves(left, steps, chosen, 1, "frequency / nm⁻¹")
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


@mpl.rc_context(LOOK)
def draw_ring(steps: "list[Step]", raw: np.ndarray) -> None:
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
    show_curves(left, way, final, 1e3, "frequency / µm⁻¹")
    show_errors(right, way)
    right.set_yscale("log")
    figure.savefig(IMAGES / "measured-ring.png", dpi=110)
    plt.close(figure)


def lying_as(run: Reconstruction, reference: torch.Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Return object and support, turned into their twin where that lies as the reference."""
    x, support = run.object[0].numpy(), run.support[0].numpy()
    if reference is not None and find_alignment(run.object[0], reference).twin:
        return twinned(x), twinned(support)
    return x, support
