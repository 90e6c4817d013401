"""The figures and pictures of scan54 in networks.md: proposals on measured data, and what refinement makes of them.

NAPARI_DIPR_DATA=... python docs/proposals.py
"""

import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from napari_dipr.measurement import Measurement
from napari_dipr.networks.propose import Proposal, propose, suited_shrinkwrap
from napari_dipr.physics.symmetry import find_alignment
from napari_dipr.solvers.problem import Problem, as_support, random_start, start_from
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import Reconstruction, solve
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "images"
FRAMES = (93, 96, 99, 102, 105)


def refined(measurement: Measurement, proposal: Proposal, text: str) -> list[Reconstruction]:
    """Refine from the proposal, and from random phases in the autocorrelation's support (seeds 0 and 1)."""
    problem = Problem.of(measurement)
    support = as_support(proposal.support, problem)
    starts = [start_from(problem, torch.from_numpy(proposal.object)[None], support)]
    starts += [random_start(problem, autocorrelation_support(problem), seed) for seed in (0, 1)]
    recipe = Recipe.parse(text, shrinkwrap=suited_shrinkwrap(proposal.model))
    results = [solve(problem, recipe, start) for start in starts]
    amplitudes = [result.object[0].abs() for result in results]
    alike = [find_alignment(a, b).correlation for a, b in zip(amplitudes, amplitudes[1:] + amplitudes[:1], strict=True)]
    print(f"{measurement.name}: proposal χ² {proposal.chi2:.3f}, agreement {proposal.agreement:.3f}, ", end="")  # noqa: T201
    print(f"{int(proposal.support.sum())} voxels; from it, seed 0, seed 1: ", end="")  # noqa: T201
    print([(round(float(r.chi2[0]), 4), int(r.support.sum())) for r in results], end="")  # noqa: T201
    print(f"; alike {[round(c, 3) for c in alike]}")  # noqa: T201
    return results


def show(columns: list[tuple[str, list[np.ndarray]]], titles: list[str], name: str) -> None:
    """Draw columns of pictures under their headings."""
    figure, axes = plt.subplots(len(titles), len(columns), figsize=(2.2 * len(columns), 2.2 * len(titles)))
    for column, (heading, pictures) in zip(axes.T, columns, strict=True):
        column[0].set_title(heading, fontsize=9)
        for ax, picture in zip(column, pictures, strict=True):
            ax.imshow(picture, cmap="gray")
            ax.set(xticks=[], yticks=[])
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_ylabel(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=60)


def main() -> None:
    """Print the figures and draw the pictures."""
    counts = np.load(Path(os.environ["NAPARI_DIPR_DATA"]) / "scan54/stack_raw_counts.npz")["data"].astype(float)
    middle = (slice(32, 96),) * 2
    columns = []
    for frame in FRAMES:
        measurement = Measurement.of(counts[frame], zero_frequency="centre", name=f"frame {frame}")
        measurement = measurement.thresholded(3).cropped(128)
        proposal = propose(measurement, "unrolled-objects-2d")
        results = refined(measurement, proposal, "(hio*90 + raar*90)*3 + er*60")
        # Symmetries hold everywhere: each result is shown as the proposal lies.
        lying = torch.from_numpy(proposal.object)
        shown = [find_alignment(r.object[0], lying).remove(r.object[0]).abs().numpy()[middle] for r in results]
        pictures = [
            np.log1p(measurement.intensities),
            np.abs(proposal.object)[middle],
            proposal.support[middle],
            *shown,
        ]
        columns.append((f"frame {frame}", pictures))
    show(columns, ["pattern", "network", "its support", "refined from it", "seed 0", "seed 1"], "scan54-proposals.png")

    volume = Measurement.of(counts, zero_frequency="centre", name="scan54").thresholded(3).cropped(128)
    proposal = propose(volume, "unrolled-objects-3d")
    results = refined(volume, proposal, "raar*450 + er*50")
    lying = torch.from_numpy(proposal.object)
    arrays = {"network": np.abs(proposal.object), "its support": proposal.support.astype(float)}
    for heading, result in zip(("refined from it", "seed 0", "seed 1"), results, strict=True):
        arrays[heading] = find_alignment(result.object[0], lying).remove(result.object[0]).abs().numpy()
    columns = [(heading, [array.sum(axis)[middle] for axis in range(3)]) for heading, array in arrays.items()]
    show(columns, ["along the rocking axis", "along rows", "along columns"], "scan54-volume-proposal.png")


if __name__ == "__main__":
    main()
