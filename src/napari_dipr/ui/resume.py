"""A run of the window that was cut off: kept while it goes, and gone on with."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_dipr.io.cutoff import INTERVAL, CutOff
from napari_dipr.io.provenance import about_measurement, as_json
from napari_dipr.measurement import Measurement
from napari_dipr.ui.restore import truth_of
from napari_dipr.ui.worker import Mailbox, Wish, load_torch

if TYPE_CHECKING:
    from napari_dipr.io.checkpoint import Claim, Kept
    from napari_dipr.solvers.recipe import Recipe
    from napari_dipr.ui.session import Session

# In the settings of runs and of many starts that were begun in the window.
KIND = "window"


class Keeper:
    """Keeps a run's state from its worker, with what a person has asked for and the solver has not taken yet.

    ``settings`` are those of the run, which change on the way; ``claim`` is the run that is gone on with.
    """

    def __init__(self, measurement: Measurement, settings: dict[str, Any], claim: "Claim | None" = None) -> None:
        self.measurement, self.settings, self.claim = measurement, settings, claim
        self._checkpoints: Any = None
        self._kept: tuple[int, int] | None = None

    def begin(self, recipe: Any) -> None:
        """Begin, once the worker has made the recipe."""
        from napari_dipr.io.checkpoint import Checkpoints

        told = {"kind": KIND}
        self._checkpoints = Checkpoints(
            self.measurement, recipe, told, interval=INTERVAL, tell=show_warning, claim=self.claim
        )

    def look(self, iterate: Any, mailbox: Mailbox) -> None:
        """Keep where the run is, if it is time to and anything is new; also while it is held."""
        now = iterate.iteration, mailbox.posted
        if now != self._kept and self._checkpoints.look(iterate, lambda: self._more(mailbox)):
            self._kept = now

    def keep(self, iterate: Any, mailbox: Mailbox) -> None:
        """Keep where the run is now, and wait for it."""
        self._checkpoints.keep(iterate, lambda: self._more(mailbox))

    def _more(self, mailbox: Mailbox) -> dict[str, Any]:
        return {"wishes": mailbox.pending(), "settings": json.dumps(as_json(dict(self.settings)))}

    def close(self, cut_off: bool) -> None:
        """Delete what was kept; of a run that is cut off, leave it to be offered."""
        if self._checkpoints is not None:
            (self._checkpoints.leave if cut_off else self._checkpoints.end)()
        elif self.claim is not None:  # it came to nothing
            self.claim.leave()


@dataclass(frozen=True, eq=False)
class TakenUp:
    """A run that was cut off, as a session has it.

    Attributes
    ----------
    claim, kept
        The hold on it, and its state.
    measurement, truth
        What it is of, and the object where it is known.
    settings
        What the run was started with, and what was changed on the way.
    wishes
        What a person had asked for that the solver had not taken.
    """

    claim: "Claim"
    kept: "Kept"
    measurement: Measurement
    truth: NDArray[np.complex64] | None
    settings: dict[str, Any]
    wishes: tuple[Wish, ...]

    def painted(self) -> tuple[NDArray[np.bool_], NDArray[np.int8] | None]:
        """Return the support with all that was painted, and the strokes that are pinned in it."""
        state = self.kept.state
        support = state.support[0].numpy().copy()
        pinned = np.zeros_like(support) if state.pinned is None else state.pinned[0].numpy().copy()
        for wish in self.wishes:
            pinned &= not wish.unpin
            if wish.edit is not None:
                support = (support | (wish.edit > 0)) & (wish.edit >= 0)
                pinned |= (wish.edit != 0) & wish.pin
        return support, strokes_of(pinned, support)


def strokes_of(pinned: NDArray[np.bool_] | None, support: NDArray[np.bool_]) -> NDArray[np.int8] | None:
    """Return what is pinned as a session has it: 1 in the support, −1 out of it; None where nothing is."""
    if pinned is None or not pinned.any():
        return None
    return np.where(pinned, np.where(support, 1, -1), 0).astype(np.int8)


def taken_up(run: CutOff) -> TakenUp:
    """Read a run that was cut off; for a worker.

    Raises
    ------
    FileError
        If another program has it, or it is damaged.
    """
    load_torch()
    from napari_dipr.io.checkpoint import Claim

    claim = Claim(run)
    try:
        measurement, kept = claim.measurement(), claim.load()
        wishes = [
            {**wish, "edit": None if wish["edit"] is None else wish["edit"].numpy()} for wish in kept.more["wishes"]
        ]
        settings = {**json.loads(kept.more["settings"]), "recipe": kept.recipe}
        asked = tuple(Wish(**wish) for wish in wishes)
        return TakenUp(claim, kept, measurement, truth_of(measurement), settings, asked)
    except BaseException:
        claim.leave()
        raise


def go_on(session: "Session", found: TakenUp) -> None:
    """Bring the run's session back, and let the run go on."""
    settings, recipe = found.settings, found.kept.recipe
    try:
        session.use(found.measurement, found.truth)
        support, strokes = found.painted()
        session.show_support(support, str(settings.get("support_from")), strokes)
        session.begun_with = found.kept.position.first[0].numpy()
        keeper = Keeper(found.measurement, settings, found.claim)
        session.refinement.go_on(_preparation(found), settings, keeper, found.wishes)
    except BaseException:
        found.claim.leave()
        raise
    fill_in(session, found.measurement, recipe, settings, start={"seed": settings.get("seed")})


def fill_in(
    session: "Session", measurement: Measurement, recipe: "Recipe", settings: dict[str, Any], **more: Any
) -> None:
    """Fill the panels' forms in with what was asked for, told as a result's file does."""
    about, stages = about_measurement(measurement), {"text": str(recipe), **recipe.model_dump(mode="json")}
    session.restored.emit({**settings, "measurement": about, "recipe": stages, **more})


def _preparation(found: TakenUp) -> Any:
    """Return what builds problem, recipe, state and position, to be called in the worker."""

    def prepare() -> tuple[Any, ...]:
        from napari_dipr.device import find_device
        from napari_dipr.solvers.problem import Problem

        place = find_device(device_of(found.settings))
        found.settings["device"] = str(place)
        kept = found.kept if place.type == "cpu" else found.claim.load(place)
        problem = Problem.of(
            found.measurement,
            positive=found.settings["positive"],
            free=found.settings["free_share"],
            coherent=kept.state.psf is None and kept.recipe.coherence is None,
            device=place,
        )
        return problem, kept.recipe, kept.state, kept.position

    return prepare


def device_of(settings: dict[str, Any]) -> str:
    """Return the device that something was run on, or ``auto`` where it is not there any more."""
    from napari_dipr.device import available_devices

    device = str(settings.get("device"))
    return device if device.split(":")[0] in available_devices() else "auto"
