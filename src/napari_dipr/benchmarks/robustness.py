"""Rows of Table 1 where measurements are not perfect: few photons, a missing centre; and pictures of what they make.

Photons are those in a whole pattern, Poisson distributed. Pixels of a missing centre are told not to be measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_dipr.benchmarks.score import summary
from napari_dipr.benchmarks.table1 import METHODS, STARTS, batch_of, batches, first_objects, known, run_on
from napari_dipr.device import find_device
from napari_dipr.networks.spec import Flaws
from napari_dipr.physics.symmetry import find_alignment
from napari_dipr.samples import field_window

ROWS = ("hio_shrinkwrap", "passive", "passive_refined_hio", "unrolled", "unrolled_refined")
PHOTONS = (1e3, 1e4, 1e5, 1e6, 1e7, None)
# Of the missing centre, pixels; 0 for none.
WIDTHS = (0, 3, 7, 11)
# Of the choice of images to draw.
SEED = 4


def robustness(
    images: int = 64,
    methods: Sequence[str] = ROWS,
    *,
    device: str = "auto",
    seed: int = 0,
    starts: int = STARTS,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Run rows of Table 1 on flawed measurements of the first FashionMNIST test images.

    Parameters
    ----------
    images, methods, device, seed, starts
        As :func:`~napari_dipr.benchmarks.table1.table1` takes them.
    progress
        Told what is worked on, how many points are done, and of how many.

    Returns
    -------
    dict
        ``{"images", "photons": [{"photons", "rows": {method: summary}}], "missing_centre": [{"width", "rows"}]}``, see
        :func:`~napari_dipr.benchmarks.score.summary`; ``photons`` is None without noise.

    Raises
    ------
    DiprError
        If a method is not known, or its model or the images are not at hand.
    """
    known(methods)
    truth, where = first_objects(images), find_device(device)

    def point(flaws: Flaws | None) -> dict[str, Any]:
        rows = {}
        for name in methods:
            parts = []
            for first, part in batches(name, truth):
                batch = batch_of(part, seed + first, where, flaws)
                parts.append(run_on(METHODS[name], batch, starts)["errors"])
            rows[name] = summary(parts)
        return rows

    photons: list[dict[str, Any]] = []
    widths: list[dict[str, Any]] = []
    total = len(PHOTONS) + len(WIDTHS)
    for count in PHOTONS:
        progress("no noise" if count is None else f"{count:g} photons", len(photons), total)
        flaws = None if count is None else Flaws(noisy=1, photons=(count, count), hidden=0, dead=0)
        photons.append({"photons": count, "rows": point(flaws)})
    for width in WIDTHS:
        progress(f"missing centre, {width} px", len(photons) + len(widths), total)
        # Without noise and with nothing missing is the same measurement.
        missing = Flaws(noisy=0, hidden=1, radius=(width / 2, width / 2), dead=0)
        widths.append({"width": width, "rows": point(missing) if width else photons[-1]["rows"]})
    return {"images": images, "photons": photons, "missing_centre": widths}


def draw_curves(result: dict[str, Any], path: Path) -> None:
    """Draw the errors of :func:`robustness` as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name in result["photons"][0]["rows"]:
        *counted, perfect = ((row["photons"], row["rows"][name]["nmse_mean"]) for row in result["photons"])
        (line,) = left.loglog(*zip(*counted, strict=True), "o-", label=name)
        left.axhline(perfect[1], ls=":", color=line.get_color())
        points = [(row["width"], row["rows"][name]["nmse_mean"]) for row in result["missing_centre"]]
        right.semilogy(*zip(*points, strict=True), "o-")
    left.set(xlabel="photons in the pattern (dotted: no noise)", ylabel="nmse")
    right.set(xlabel="width of the missing centre, pixels of 72")
    left.legend(fontsize=7)
    figure.suptitle(f"The first {result['images']} FashionMNIST test images", fontsize=10)
    figure.savefig(path, dpi=100)


def draw_images(
    path: Path,
    methods: Sequence[str],
    *,
    among: int = 256,
    rows: int = 6,
    device: str = "auto",
    seed: int = 0,
    starts: int = STARTS,
) -> None:
    """Draw what methods make of test images chosen at random, as the paper's Fig. 4 does: each aligned with the truth.

    They are a batch of their own: from other random starts than in the table.

    Raises
    ------
    DiprError
        If a method is not known, or its model or the images are not at hand.
    """
    from matplotlib.figure import Figure

    known(methods)
    truth = first_objects(among)
    chosen = np.sort(np.random.default_rng(SEED).choice(among, min(rows, among), replace=False))
    batch = batch_of(truth[torch.from_numpy(chosen)], seed, find_device(device))
    columns = {"truth": batch.truth.cpu()}
    columns |= {name: METHODS[name].run(batch, starts).object.cpu() for name in methods}
    inside = np.ix_(*(np.flatnonzero(field_window().any(axis)) for axis in (1, 0)))
    figure = Figure(figsize=(1.25 * len(columns), 1.2 * len(chosen) + 0.4), layout="constrained")
    grid = figure.subplots(len(chosen), len(columns), squeeze=False)
    for axes, (name, objects) in zip(grid.T, columns.items(), strict=True):
        axes[0].set_title(name.replace("_", "\n"), fontsize=7)
        for ax, x, t in zip(axes, objects, columns["truth"], strict=True):
            ax.imshow(find_alignment(x, t).remove(x).abs().numpy()[inside], cmap="gray", vmin=0, vmax=1)
    for ax, number in zip(grid[:, 0], chosen, strict=True):
        ax.set_ylabel(str(number), fontsize=7)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
