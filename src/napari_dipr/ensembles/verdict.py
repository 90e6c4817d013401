"""A verdict on an ensemble in words, with the numbers behind it and the likeliest cause."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from napari_dipr.ensembles.alignment import correlations
from napari_dipr.ensembles.consensus import whole_pattern
from napari_dipr.ensembles.ensemble import Ensemble
from napari_dipr.ensembles.ranking import EXPLAINED, FEWEST
from napari_dipr.measurement import Measurement
from napari_dipr.physics.fourier import forward
from napari_dipr.physics.registration import twin_likeness
from napari_dipr.preparation.extent import find_extent

AGREE, TWIN, FAMILIES, NONE = KINDS = ("agree", "twin superposed", "distinct families", "no agreement")

# Chosen on the cases of ``napari-dipr benchmark verdict`` with the seeds 0 to 7, tested on those of its own seed.
# Correlation from which two starts are of one family, in the mean of the families' pairs.
SAME = 0.9
# Share of the starts that must be in the largest family to agree, and in the two largest to be distinct ones.
MOST = 0.75
# Correlation that two starts must have in the median to agree. Those that differ by chance alone are then each within
# an nmse of .07 of what they have in common, with room to .1 for what all have wrong. Chosen when seed 12 had two such.
AGREED = 0.93
# Likeness of a start to its own twin from which it may be superposed with it.
TWINNED = 0.75
# χ² from which a start does not explain the measurement, if it is so many times the photons' noise too, where they are
# known: measured patterns have flaws that no object explains, and few photons much noise.
UNEXPLAINED, EXCESS = 1e-2, 3.0
# Share of the amplitude in the brightest pixels, which hold BRIGHT of the energy, where a start has less than half of
# it: from DARK on it is dark along lines where the pattern is not. Superpositions have .004 to .13, solutions to .003.
BRIGHT, DARK = 0.9, 0.006
# Starts are judged by whose error is at most so many times the best one's.
WIDE = 3.0
# Of causes. Photons for each pixel of the object below which they are few; energy of a support's edge pixels, relative
# to the mean inside, from which it cuts the object and below which there is room round it; the support's share of the
# grid from which it holds too little; pixels round zero frequency; measured share of its surroundings in a dark place.
FEW, TIGHT, LOOSE, WIDE_SHARE, CENTRE, BLURRED = 10.0, 0.8, 0.01, 0.3, 2, 0.15
# Only so many of them are compared, the best ones: there are as many pairs as half their square.
COMPARED = 8


@dataclass(frozen=True)
class Verdict:
    """What an ensemble is found to be.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    words
        A sentence with the numbers.
    cause
        The likeliest cause in words, or nothing where they agree.
    figures
        ``agreement`` (median correlation of two starts), ``largest`` (share of the starts in the largest family),
        ``families`` (sizes), and medians: ``twin`` (likeness to the own twin), ``chi2``, and its ``limit``, above which
        a start is ``unexplained``; ``dark`` (see :data:`DARK`).
    """

    kind: str
    words: str
    cause: str
    figures: dict[str, Any]

    @property
    def short(self) -> str:
        """Its kind, and whether the starts do not explain what they agree on."""
        return f"{self.kind}, unexplained" if self.kind == AGREE and self.figures["unexplained"] else self.kind


def verdict(ensemble: Ensemble, measurement: Measurement | None = None) -> Verdict:
    """Say of an ensemble whether its better starts agree, kept or not.

    Twins on each other and objects that are their own twin, nearly as many crystals are, are both alike to their twin.
    They are told apart by the bright part of the pattern: a superposition's spectrum is ``F + e^{iα}F*``, of the size
    ``2|F|·|cos|``, and dark along lines where the pattern is not. An object that is its own twin has no such lines but
    those that were measured.

    Parameters
    ----------
    ensemble
        Of starts that came to their end.
    measurement
        What it is of, to look for causes in it; None where it is not at hand.
    """
    limit = _limit(ensemble)
    members = _judged(ensemble)
    objects = ensemble.objects[members]
    alike = correlations(objects)
    agreement = float(np.median(alike[np.triu_indices(len(members), 1)]))
    sizes = _families(alike)
    n = len(members)
    likeness = float(np.median([twin_likeness(x) for x in objects]))
    chi2 = float(np.median([ensemble.rows[i].chi2 for i in members]))
    dark = float(np.median(_dark(ensemble, members)))
    unexplained = chi2 > limit
    other = unexplained and dark >= DARK  # than what was measured
    largest = sizes[0] / n
    if likeness >= TWINNED and other:
        kind = TWIN
    elif largest >= MOST and agreement >= AGREED and not other:
        kind = AGREE
    elif len(sizes) > 1 and sizes[1] >= 2 and sum(sizes[:2]) / n >= MOST:
        kind = FAMILIES
    else:
        kind = NONE
    figures = {
        "agreement": agreement,
        "largest": largest,
        "families": sizes,
        "twin": likeness,
        "chi2": chi2,
        "limit": limit,
        "dark": dark,
        "unexplained": bool(unexplained),
    }
    families = "in one family" if len(sizes) == 1 else f"in families of {', '.join(map(str, sizes))}"
    left = len(ensemble.rows) - n
    words = f"{kind}: {n} starts correlate at {agreement:.3f} (median), {families}"
    if n < COMPARED and left:
        words += f"; the error of the other {left} is more than {WIDE:g} times the best one's"
    if kind == TWIN:
        words += f"; they are like their own twins at {likeness:.2f}, and dark where the pattern is not"
    elif kind == AGREE and unexplained:
        words += "; yet they do not explain the measurement"
    if kind == AGREE and ensemble.dependence:
        words += f"; {ensemble.dependence}"
    cause = "" if kind == AGREE and not unexplained else _cause(ensemble, members, measurement, kind)
    return Verdict(kind, words, cause, figures)


def _families(alike: NDArray[np.float64]) -> list[int]:
    """Return the sizes of the families, the largest first: average linkage of 1 − correlation."""
    apart = squareform((1 - alike).clip(0), checks=False)
    labels = fcluster(linkage(apart, "average"), 1 - SAME, "distance")
    return sorted(np.bincount(labels)[1:].tolist(), reverse=True)


def _judged(ensemble: Ensemble) -> list[int]:
    """Return the places of the starts to judge by: those near the best, and all that explain the measurement."""
    worth = [ensemble.criterion.of(row) for row in ensemble.rows]
    near = WIDE * worth[ensemble.order[0]]
    good = [i for i in ensemble.order if worth[i] <= near or ensemble.rows[i].chi2 <= EXPLAINED]
    return (good if len(good) >= FEWEST else list(ensemble.order[:FEWEST]))[:COMPARED]


def _dark(ensemble: Ensemble, members: list[int]) -> list[float]:
    """Return of each start the share that :data:`DARK` is a bound for."""
    amplitudes = whole_pattern(ensemble.problem)[0].double().cpu()
    energies = amplitudes.square().flatten().sort(descending=True).values
    last = int((energies.cumsum(0) < BRIGHT * energies.sum()).sum())
    bright = amplitudes >= energies[last].sqrt()
    shares = []
    for i in members:
        model = forward(ensemble.objects[i][None])[0].abs().double().cpu()
        shares.append(float(amplitudes[bright & (model < amplitudes / 2)].sum() / amplitudes[bright].sum()))
    return shares


def _limit(ensemble: Ensemble) -> float:
    """Return χ² above which a start does not explain the measurement."""
    problem = ensemble.problem
    if problem.photons is None:
        return UNEXPLAINED
    counts = whole_pattern(problem)[0].double().square() * problem.photons
    # Of √counts the noise is 1/4 where there are counts; where there are none, next to none is expected.
    return max(UNEXPLAINED, EXCESS * 0.25 * float((counts >= 0.5).sum()) / max(float(counts.sum()), 1.0))


def _cause(ensemble: Ensemble, members: list[int], measurement: Measurement | None, kind: str) -> str:
    """Return the likeliest cause in words: the first that is seen, in the order of how much it spoils."""
    if kind == TWIN:
        return "a support that is nearly its own twin, in which neither twin wins: cut one side off it, or add detwin"
    amplitudes, measured = whole_pattern(ensemble.problem)
    seen = [] if measurement is None else _seen_in(measurement)
    if ensemble.problem.photons is not None:
        photons = float(amplitudes.double().square().sum()) * ensemble.problem.photons
        pixels = float(np.median([ensemble.rows[i].support_pixels for i in members]))
        if photons < FEW * pixels:
            seen.append(f"few photons: {photons:.0f} for an object of {pixels:.0f} pixels")
    edge = float(np.median([_edge(ensemble.objects[i], ensemble.supports[i]) for i in members]))
    share = float(np.median([float(ensemble.supports[i].double().mean()) for i in members]))
    if edge > TIGHT:
        seen.append(f"a support that is too tight: its edge has {edge:.0%} of the mean energy inside")
    elif edge < LOOSE or share > WIDE_SHARE:
        seen.append(
            f"a support that is too loose: it has {share:.0%} of the grid, its edge {edge:.1%} of the mean energy"
        )
    if (filled := _filled_minima(ensemble, members, amplitudes, measured)) > BLURRED:
        seen.append(
            f"partial coherence or background: where the model is dark, {filled:.0%} of what is around was measured"
        )
    if seen:
        return seen[0]
    return {
        AGREE: "noise, or flaws of the measurement that no object explains",
        FAMILIES: "the measurement and the support allow more than one object: a tighter support would tell",
    }.get(kind, "too few iterations, or a search that does not suit")


def _seen_in(measurement: Measurement) -> list[str]:
    seen = []
    extent = find_extent(measurement)
    if any(extent.is_cut) or min(extent.oversampling) < 2:
        seen.append(f"oversampling too low: {extent}")
    middle = tuple(slice(n // 2 - CENTRE, n // 2 + CENTRE + 1) for n in measurement.grid)
    if missing := int((~measurement.measured[middle]).sum()):
        seen.append(f"a missing centre: {missing} pixels within {CENTRE} of zero frequency were not measured")
    return seen


def _edge(x: Tensor, support: Tensor) -> float:
    """Return the mean energy of the support's outermost pixels over that of all inside."""
    inside, energy = support.numpy(), x.abs().double().square().numpy()
    rim = inside & ~ndimage.binary_erosion(inside)
    return float(energy[rim].mean() / max(energy[inside].mean(), 1e-300)) if rim.any() else 0.0


def _filled_minima(ensemble: Ensemble, members: list[int], amplitudes: Tensor, measured: Tensor | None) -> float:
    """Return what was measured in the pattern's dark places, relative to what is around them.

    Those are measured pixels where the model has less than a twentieth of what it has around, in its bright part: an
    object has such places, and light that is not quite coherent fills them.
    """
    model = forward(ensemble.objects[members[0]][None])[0].abs().square().cpu().numpy()
    seen = amplitudes.double().square().cpu().numpy()
    around = ndimage.uniform_filter(seen, 5, mode="wrap")
    bright = around > np.quantile(around, 0.9)
    dark = bright & (model < ndimage.uniform_filter(model, 5, mode="wrap") / 20)
    dark = dark if measured is None else dark & measured.cpu().numpy()
    return float(seen[dark].sum() / max(around[dark].sum(), 1e-300)) if dark.any() else 0.0
