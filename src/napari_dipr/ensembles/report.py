"""What many starts came to, in plain numbers and words: for a provenance, a table, a file of figures."""

from dataclasses import asdict
from typing import Any

from napari_dipr.ensembles.ensemble import Ensemble
from napari_dipr.ensembles.verdict import Verdict
from napari_dipr.physics.fsc import ShellCorrelation
from napari_dipr.physics.prtf import TransferFunction

# What JSON knows no number for.
NOWHERE = "none"


def report(ensemble: Ensemble, verdict: Verdict) -> dict[str, Any]:
    """Return all figures of the starts and of what the kept ones have in common, the curves among them.

    Starts are counted from 1, as people do. Resolutions are in the ``unit`` that is told: None where a curve never
    falls to its level, :data:`NOWHERE` where it is below from the first shell on.
    """
    e, common = ensemble, ensemble.consensus
    rank = {place: i + 1 for i, place in enumerate(e.order)}
    prtf, fsc = common.prtf, common.fsc
    return {
        "starts": [
            {**asdict(row), "number": row.ordinal, "rank": rank[i], "kept": e.kept[i]} for i, row in enumerate(e.rows)
        ],
        "diverged": [{**asdict(one), "number": one.number + 1} for one in e.diverged],
        "independent": e.independent,
        "criterion": {"by": e.criterion.words, "warning": e.criterion.warning},
        "kept": [e.rows[i].ordinal for i in e.members],
        "spread": common.spread,
        "mode_shares": common.modes.shares.tolist(),
        "unit": e.unit,
        "prtf": None
        if prtf is None
        else {
            **_curve(prtf),
            "mean": prtf.mean,
            "chance": prtf.chance,
            "beyond_chance": prtf.beyond_chance.tolist(),
            "resolution_beyond_chance": _plain(prtf.resolution_beyond_chance),
        },
        "fsc": None
        if fsc is None
        else {**_curve(fsc), "half_bit": fsc.half_bit.tolist(), "half_bit_resolution": _plain(fsc.half_bit_resolution)},
        "verdict": asdict(verdict),
    }


def _curve(curve: TransferFunction | ShellCorrelation) -> dict[str, Any]:
    return {
        "frequency": curve.frequency.tolist(),
        "value": curve.value.tolist(),
        "resolution": _plain(curve.resolution),
    }


def _plain(resolution: float | None) -> float | str | None:
    return NOWHERE if resolution == float("inf") else resolution
