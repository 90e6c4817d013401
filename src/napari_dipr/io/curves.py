"""Figures of how far many starts agree, and of errors by threshold."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dipr.io.write import replacing
from napari_dipr.physics.fsc import HALF
from napari_dipr.physics.prtf import LEVEL
from napari_dipr.physics.shells import reached

if TYPE_CHECKING:
    from napari_dipr.ensembles.ensemble import Ensemble
    from napari_dipr.ensembles.thresholds import Point

DPI = 150
KEPT, DROPPED, CURVE, BOUND = "#1668a8", "#b8b8b8", "#1668a8", "#666666"


def draw_ensemble(path: Path, ensemble: "Ensemble", title: str) -> None:
    """Draw the starts' errors in their order, the transfer function, the shell correlation and the modes' shares.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.4), dpi=DPI, layout="constrained", facecolor="w")
    ranks, transfer, shells, modes = figure.subplots(1, 4)
    rows, criterion = ensemble.rows, ensemble.criterion
    for kept, colour in ((True, KEPT), (False, DROPPED)):
        places = [(rank + 1, i) for rank, i in enumerate(ensemble.order) if ensemble.kept[i] == kept]
        words = f"{len(places)} {'kept' if kept else 'left out'}"
        ranks.plot(
            [rank for rank, _ in places], [criterion.of(rows[i]) for _, i in places], "o", color=colour, label=words
        )
    ranks.set(xlabel="rank", ylabel=criterion.words, title="starts")
    ranks.set_ylim(0, 1.05 * ranks.get_ylim()[1])  # the worst one's dot is whole
    ranks.legend(frameon=False, loc="lower left")
    ranks.xaxis.get_major_locator().set_params(integer=True)
    common = ensemble.consensus
    axis = f"cycles per {ensemble.unit.removesuffix('s')}"
    transfer.set(title="PRTF", xlabel=axis, ylim=(0, 1.05))
    if common.prtf is None:
        transfer.text(0.5, 0.5, "none: the starts\nare not independent", ha="center", transform=transfer.transAxes)
    else:
        transfer.plot(common.prtf.frequency, common.prtf.value, color=CURVE)
        transfer.plot(
            common.prtf.frequency, common.prtf.beyond_chance, color=CURVE, ls=":", lw=1, label="beyond chance"
        )
        transfer.axhline(LEVEL, color=BOUND, ls="--", lw=1)
        transfer.legend(frameon=False, loc="upper right")
        transfer.set_title("PRTF: " + reached(common.prtf.frequency, common.prtf.resolution, ensemble.unit, "1/e"))
    shells.set(title="FSC", xlabel=axis, ylabel="of two halves", ylim=(0, 1.05))
    if common.fsc is not None:
        shells.plot(common.fsc.frequency, common.fsc.value, color=CURVE)
        shells.plot(common.fsc.frequency, common.fsc.half_bit, color=BOUND, ls=":", lw=1, label="half bit")
        shells.axhline(HALF, color=BOUND, ls="--", lw=1)
        shells.legend(frameon=False, loc="lower left")
        shells.set_title("FSC: " + reached(common.fsc.frequency, common.fsc.resolution, ensemble.unit, ".5"))
    shares = common.modes.shares
    modes.bar(range(1, len(shares) + 1), shares, color=CURVE)
    modes.set(title="eigenmodes", xlabel="mode", ylabel="share of the energy", ylim=(0, 1.05))
    for place in (ranks, transfer, shells, modes):
        place.title.set_size("medium")
    figure.suptitle(title, parse_math=False)
    _save(figure, path)


def draw_thresholds(path: Path, points: "Sequence[Point]", title: str) -> None:
    """Draw free and fitted errors of all starts, and the support's size, by shrink-wrap's threshold.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(9, 3.4), dpi=DPI, layout="constrained", facecolor="w")
    free, fitted, size = figure.subplots(1, 3)
    criterion = points[0].criterion
    panels = (
        (free, criterion.name, criterion.words),
        (fitted, "chi2", "χ²"),
        (size, "support_pixels", "support / voxels"),
    )
    thresholds = [point.threshold for point in points]
    for place, name, words in panels:
        for point in points:
            values = [getattr(row, name) for row in point.rows]
            place.plot([point.threshold] * len(values), values, "o", color=DROPPED, ms=3)
        place.plot(thresholds, [getattr(point.best, name) for point in points], "o-", color=CURVE)
        place.set(xlabel="threshold", title=words, xscale="log", yscale="log")
        for axis in (place.xaxis, place.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        place.tick_params(axis="x", rotation=45)
    figure.suptitle(title, parse_math=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with replacing(path.absolute()) as (new,):
        figure.savefig(new)
