"""The missing centre of a pattern from what an autocorrelation must be: zero outside twice the object.

A wrong value in an unmeasured pixel adds a plane wave to the autocorrelation, everywhere. Where the object leaves room
round it, most of the autocorrelation is zero, and the few waves that a missing centre makes are told by what is seen
there, if the centre is not so wide that they hide behind the object.
"""

import math

import torch
from torch import Tensor

from napari_dipr.physics.axes import along
from napari_dipr.physics.fourier import autocorrelation, forward

# Most values that are solved for; where more are missing the brightest, if they hold so much of what is missing.
UNKNOWNS = 512
ENOUGH = 0.9
# Side of the pattern's middle that is looked at, by the number of dimensions: a centre is coarse, and finer details
# tell nothing of it.
MIDDLE = {2: 64, 3: 48}
# It ends softly, and what it shows by less than this factor is left as it was filled.
SEEN = 0.25
# What counts as zero, as a share of the autocorrelation's origin: from the first to the last, in so many rounds. From a
# tenth of the first on, at least so many times the value that a fifth of the pixels are below, which is noise by then.
FIRST, LAST, ROUNDS = 0.1, 3e-3, 24
ABOVE_NOISE = 3.0
# Of Tikhonov's term, relative to waves that are seen everywhere: it holds to the fill what the object hides.
RIDGE = 1e-5
# A solution is believed where so much of the autocorrelation is zero, and so little of the values is below zero.
EMPTY, NEGATIVE = 0.6, 0.02


def restore_unmeasured(filled: Tensor, measured: Tensor | None) -> Tensor:
    """Correct filled patterns where few values are missing, such that their autocorrelations are mostly zero.

    The values ``y`` at unmeasured ``q`` minimize ``Σ_r w(r) |ρ(r)|² + λ Σ_q (y − fill)²`` of the autocorrelation ``ρ``,
    with the weights ``w = exp(−|ρ|²/2s²)`` of the round before: least squares on what is about zero already (Welsch's
    robust estimate [1]_), as ``s`` decreases from round to round.

    Parameters
    ----------
    filled
        ``[batch, *grid]``, cornered: patterns as :func:`~napari_dipr.physics.fill.fill_unmeasured` returns them.
    measured
        Boolean, broadcastable to them; None where all are measured.

    Returns
    -------
    Tensor
        ``[batch, *grid]``; measured pixels as they were, and unmeasured ones where too many are missing, or most of the
        autocorrelation would not be zero: then the object leaves too little room, or the centre is too wide.

    References
    ----------
    .. [1] P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", Commun.
       Stat. Theory Methods 6, 813 (1977).
    """
    if measured is None or bool(measured.all()):
        return filled
    masks = measured.expand(filled.shape)
    return torch.stack([_restored(each, mask) for each, mask in zip(filled, masks, strict=True)])


def _restored(pattern: Tensor, measured: Tensor) -> Tensor:
    # Which pixels are the pattern's middle; few enough to be worked on at once, and so on any machine's processor.
    sides = [min(n, MIDDLE[pattern.ndim]) for n in pattern.shape]
    middle = torch.meshgrid(
        *[torch.fft.fftfreq(m, 1 / m).round().long() % n for m, n in zip(sides, pattern.shape, strict=True)],
        indexing="ij",
    )
    small, missing = pattern.cpu()[middle], measured.cpu()[middle].logical_not()
    at = (missing & (_taper(small.shape) > SEEN)).nonzero()
    fill = small[tuple(at.T)]
    if not len(at) or not fill.sum() > 0:
        return pattern
    brightest = fill.argsort(descending=True, stable=True)[:UNKNOWNS]
    if fill[brightest].sum() < ENOUGH * fill.sum():
        return pattern
    at = at[brightest]
    found = _solved(small, at)
    if found is None:
        return pattern
    restored = pattern.clone()
    where = tuple(axis[tuple(at.T)].to(pattern.device) for axis in middle)
    restored[where] = found.to(pattern)
    return restored


def _solved(small: Tensor, at: Tensor) -> Tensor | None:
    """Return the values of a pattern at pixels ``[count, dimensions]``, or None where they cannot be believed."""
    places = tuple(at.T)
    taper = _taper(small.shape)
    seen = small / small.max() * taper
    apart = tuple((a[:, None] - a) % n for a, n in zip(places, small.shape, strict=True))
    start = autocorrelation(seen[None])[0]
    rho, change = start, torch.zeros(len(at))
    for tolerance in torch.logspace(math.log10(FIRST), math.log10(LAST), ROUNDS).tolist():
        weights = _weights(rho, tolerance)
        # The waves' products and their overlap with what is seen, both in the weights' transform.
        products = forward(weights.to(torch.complex64)[None])[0].real[apart] / weights.numel()
        overlap = forward((weights * start)[None])[0].real[places]
        damped = products.double() + RIDGE * torch.eye(len(at), dtype=torch.double)
        change = torch.linalg.solve(damped, overlap.double()).to(seen.dtype)
        corrected = seen.index_put(places, seen[places] - change)
        rho = autocorrelation(corrected[None])[0]
    values = (seen[places] - change) / taper[places] * small.max()
    below = values.clamp_max(0).norm() / values.norm()
    if _weights(rho, LAST).mean() < EMPTY or below > NEGATIVE:
        return None
    return values.clamp_min(0)


def _weights(rho: Tensor, tolerance: float) -> Tensor:
    size = rho.abs()
    scale = tolerance * size.max()
    if tolerance <= FIRST / 10:
        scale = torch.maximum(scale, ABOVE_NOISE * torch.quantile(size.flatten(), 0.2))
    return torch.exp(-(size / scale.clamp_min(1e-30)).square() / 2)


def _taper(shape: torch.Size) -> Tensor:
    """Return what lets a pattern end softly: 1 in its middle, cornered, and 0 at its edge."""
    taper = torch.ones(shape)
    for dim, n in enumerate(shape):
        taper = taper * along(torch.cos(math.pi * torch.fft.fftfreq(n)).square(), dim, len(shape))
    return taper
