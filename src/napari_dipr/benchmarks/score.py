"""How well objects and supports are recovered: the errors that every benchmark tells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from napari_dipr import samples
from napari_dipr.physics.symmetry import find_alignment, nmse

# An object counts as solved below this nmse.
SOLVED = 0.01


@dataclass(frozen=True)
class Outcome:
    """What a method makes of a batch.

    Attributes
    ----------
    object
        Complex ``[batch, *grid]``, inside the support.
    support
        Boolean ``[batch, *grid]``; None where the method finds none.
    ffts
        Transforms spent on each image by solvers. A network's own autocorrelation is not counted.
    """

    object: Tensor
    support: Tensor | None
    ffts: int


class Errors(TypedDict):
    """Of each object of a batch: both errors of :func:`~napari_dipr.physics.symmetry.nmse`, and its support's overlap.

    That is None for methods that find no support.
    """

    nmse: list[float]
    nmse_full: list[float]
    support_iou: list[float] | None


def errors_of(outcome: Outcome, truth: Tensor, window: Tensor | None = None, inside: Tensor | None = None) -> Errors:
    """Compare what a batch came to with the truth, ``[batch, *grid]``.

    Parameters
    ----------
    outcome, truth
        Of the batch; the truth is zero outside the window.
    window
        Boolean ``[*grid]``; None for the field of FashionMNIST's images.
    inside
        The true supports, boolean ``[batch, *grid]``; None for where the truth is not 0.

    Returns
    -------
    Errors
        ``support_iou`` is |S ∩ T|/|S ∪ T| with S the method's support and T the true one, S shifted and turned as
        brings the object's largest overlap with the truth (the alignment of ``nmse_full``).
    """
    window = torch.from_numpy(samples.field_window()) if window is None else window
    inside = truth != 0 if inside is None else inside
    error, error_full = nmse(outcome.object, truth, window)
    shares = None
    if outcome.support is not None:
        shares = []
        for x, support, t, wanted in zip(outcome.object, outcome.support, truth, inside, strict=True):
            # Shift and twin alone: a support has neither phase nor scale.
            symmetry = replace(find_alignment(x, t), phase=0.0, scale=1.0)
            found = symmetry.remove(support.to(torch.complex64)).real > 0.5
            shares.append(float((found & wanted).sum() / (found | wanted).sum()))
    return {"nmse": error.tolist(), "nmse_full": error_full.tolist(), "support_iou": shares}


def summary(batches: Sequence[Errors]) -> dict[str, float | None]:
    """Return ``nmse_mean``, ``nmse_median``, ``nmse_full_mean``, ``solved`` and ``support_iou`` over all objects.

    ``solved`` is the share of objects whose nmse is below ``SOLVED``, ``support_iou`` the mean, or None.
    """
    error, error_full = (np.concatenate([batch[key] for batch in batches]) for key in ("nmse", "nmse_full"))
    shares = [share for batch in batches for share in batch["support_iou"] or []]
    return {
        "nmse_mean": float(error.mean()),
        "nmse_median": float(np.median(error)),
        "nmse_full_mean": float(error_full.mean()),
        "solved": float((error < SOLVED).mean()),
        "support_iou": float(np.mean(shares)) if shares else None,
    }


def score(
    outcomes: Sequence[Outcome], truth: Tensor, window: Tensor | None = None, inside: Tensor | None = None
) -> dict[str, float | None]:
    """Return the :func:`summary` of batches one after the other; see :func:`errors_of` for the rest."""
    sizes = [len(outcome.object) for outcome in outcomes]
    truths = truth.split(sizes)
    supports = (None,) * len(sizes) if inside is None else inside.split(sizes)
    parts = zip(outcomes, truths, supports, strict=True)
    return summary([errors_of(outcome, t, window, wanted) for outcome, t, wanted in parts])
