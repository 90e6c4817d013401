"""Starts laid over each other: one of them or their mean stays, the others lose what no intensity tells."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr.physics.registration import Registration, register

# Rounds of alignment to the mean end once all lie still to so much of a pixel.
STILL = 1e-3


def align(objects: Tensor, reference: int = 0, *, ramp: bool = False) -> tuple[Tensor, list[Registration]]:
    """Lay objects ``[n, *grid]`` over one of them, to fractions of a pixel.

    Parameters
    ----------
    objects
        Of one measurement.
    reference
        Which stays as it is.
    ramp
        Whether they may differ by a phase ramp, see :func:`~napari_dipr.physics.registration.register`.

    Returns
    -------
    objects, registrations : tuple
        The objects as they lie over the reference, in their own precision, and what was taken off each.
    """
    return _over(objects, objects[reference], ramp)


def align_to_mean(
    objects: Tensor, rounds: int = 1, *, members: Sequence[int] | None = None, ramp: bool = False
) -> Tensor:
    """Lay objects ``[n, *grid]`` that lie over each other over their mean, which is less noisy than any.

    Parameters
    ----------
    objects
        :func:`align`-ed.
    rounds
        The mean of those laid over it is another one: how often at most.
    members
        Those that make the mean, and are laid over it; None for all. The others stay.
    ramp
        As in :func:`align`.
    """
    which = list(range(len(objects))) if members is None else list(members)
    objects = objects.clone()
    for _ in range(rounds):
        objects[which], found = _over(objects[which], objects[which].mean(0), ramp)
        if max(abs(s) for registration in found for s in registration.shift) <= STILL:
            break
    return objects


def correlations(objects: Tensor) -> NDArray[np.float64]:
    """Return what each two of objects ``[n, *grid]`` have in common, laid over each other: 0…1, ``[n, n]``."""
    n = len(objects)
    found = np.eye(n)
    for i in range(n):
        for j in range(i):
            found[i, j] = found[j, i] = register(objects[j], objects[i]).correlation
    return found


def _over(objects: Tensor, reference: Tensor, ramp: bool) -> tuple[Tensor, list[Registration]]:
    found = [register(x, reference, ramp=ramp) for x in objects]
    kind = torch.promote_types(objects.dtype, torch.complex64)
    laid = [registration.remove(x.to(kind)).to(kind) for registration, x in zip(found, objects, strict=True)]
    return torch.stack(laid), found
