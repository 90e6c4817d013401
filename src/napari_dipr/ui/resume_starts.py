"""Many starts of the window that were cut off: gone on with, those that are missing, on to their mean."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr.io.cutoff import CutOff
from napari_dipr.measurement import Measurement
from napari_dipr.ui.restore import truth_of
from napari_dipr.ui.resume import device_of, fill_in, strokes_of
from napari_dipr.ui.starts_course import KEPT, Order
from napari_dipr.ui.worker import load_torch

if TYPE_CHECKING:
    from napari_dipr.io.checkpoint import Claim
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.ui.session import Session


@dataclass(frozen=True, eq=False)
class TakenUp:
    """Starts that were cut off, as a session has them.

    Attributes
    ----------
    claim
        The hold on them.
    measurement, truth
        What they are of, and the object where it is known.
    recipe, device
        What all are run with, and where.
    settings
        As of an :class:`~napari_dipr.ui.starts_course.Order`.
    begun
        :data:`~napari_dipr.ui.starts_course.KEPT` of it.
    """

    claim: "Claim"
    measurement: Measurement
    truth: NDArray[np.complex64] | None
    recipe: "Recipe"
    device: str
    settings: dict[str, Any]
    begun: dict[str, Any]


def taken_up(run: CutOff) -> TakenUp:
    """Read starts that were cut off; for a worker. The starts themselves are read when they go on.

    Raises
    ------
    FileError
        If another program has them, or what they begin with is damaged.
    """
    load_torch()
    from torch import Tensor

    from napari_dipr.io.checkpoint import Claim
    from napari_dipr.solvers.recipe import Recipe

    claim = Claim(run)
    try:
        measurement = claim.measurement()
        told = claim.begun()
        try:
            recipe = Recipe.of(json.loads(told["recipe"]))
            settings = json.loads(told["settings"])
            begun = {name: x.numpy() if isinstance(x := told[name], Tensor) else x for name in KEPT}
        except (KeyError, ValueError) as error:  # another version's
            raise claim.useless(error) from error
        return TakenUp(claim, measurement, truth_of(measurement), recipe, device_of(settings), settings, begun)
    except BaseException:
        claim.leave()
        raise


def go_on(session: "Session", found: TakenUp) -> None:
    """Bring the session of the starts back, and run those that are missing."""
    settings, begun, count = found.settings, found.begun, found.claim.run.total
    try:
        session.starts.must_be_free()  # before anything takes the place of what is at hand
        session.use(found.measurement, found.truth)
        support = begun["support"]
        session.show_support(support, str(settings.get("support_from")), strokes_of(begun["pinned"], support))
        session.begun_with = support.copy()
        order = Order(
            measurement=session.need_measurement(),
            truth=session.truth,
            canvas=session.need_canvas(),
            recipe=lambda problem: found.recipe,
            device=found.device,
            positive=bool(settings["positive"]),
            free=float(settings["free_share"]),
            settings=settings,
            count=count,
            claim=found.claim,
            **begun,
        )
        session.starts.carry_out(order)
    except BaseException:
        found.claim.leave()
        raise
    form = {"count": count, **{name: begun[name] for name in ("most", "amount", "seed")}}
    fill_in(session, found.measurement, found.recipe, settings, start={}, starts_form=form)
