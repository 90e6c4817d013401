"""What many starts of one measurement came to: each of them, their mean, and what is said of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import Canvas
from napari_dipr.ui.pictures import thumbnail
from napari_dipr.ui.resume import strokes_of
from napari_dipr.ui.worker import Snapshot, pictures_of

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dipr.ensembles.ensemble import Diverged, Ensemble, Finished
    from napari_dipr.ensembles.ranking import Criterion, Row
    from napari_dipr.ensembles.starts import Starts
    from napari_dipr.ensembles.verdict import Verdict
    from napari_dipr.solvers.problem import Problem

# Of a row, what an entry of a run's history has too.
FIGURES = tuple(f"{part}{name}" for part in ("", "free_") for name in ("chi2", "r_factor", "likelihood"))


@dataclass(frozen=True, eq=False)
class Outcome:
    """Starts that came to their end, and what they have in common once they are averaged.

    Attributes
    ----------
    measurement, truth, canvas
        What they are of, the known object or None, and the layers that it is shown in.
    problem, starts, count
        What was solved, where it began, and how many there were to be.
    settings
        What all of them were run with, for the provenance.
    finished, pictures
        Those that are done, in the order of their numbers, and a small grey picture of each; an ensemble has the former
        instead.
    diverged
        Those that are left out, for they did not come to their end.
    ensemble, verdict, mean
        Of those averaged last; None before.
    """

    measurement: Measurement
    truth: NDArray[np.complex64] | None
    canvas: Canvas
    problem: "Problem" = field(repr=False)
    starts: "Starts"
    count: int
    settings: dict[str, Any]
    finished: "tuple[Finished, ...]" = ()
    pictures: tuple[NDArray[np.uint8], ...] = ()
    diverged: "tuple[Diverged, ...]" = ()
    ensemble: "Ensemble | None" = None
    verdict: "Verdict | None" = None
    mean: Snapshot | None = None

    @property
    def rows(self) -> "tuple[Row, ...]":
        """What became of each, in the order of their numbers."""
        return tuple(f.row for f in self.finished) if self.ensemble is None else self.ensemble.rows

    @property
    def criterion(self) -> "Criterion":
        """What they are ranked by; of one or more."""
        from napari_dipr.ensembles.ranking import criterion_of

        return criterion_of(self.rows)

    def best(self, most: int) -> tuple[bool, ...]:
        """Say of each start whether it is among the better ones, ``most`` of them; of two or more."""
        from napari_dipr.ensembles.ranking import kept

        return kept(self.rows, self.criterion, most)

    def averaged(self, kept: Sequence[bool] | None, most: int | None, say: Callable[[str], None]) -> "Outcome":
        """Average those that are kept; for a worker.

        Parameters
        ----------
        kept
            As a person chose them; None for those within a factor of the best.
        most
            Of these, how many at most; None for all.
        say
            Told what is done, for it takes long of large volumes.

        Raises
        ------
        SolverError
            If fewer than two are.
        """
        from napari_dipr.ensembles.ensemble import combine
        from napari_dipr.ensembles.verdict import verdict

        ensemble, judged, pictures = self.ensemble, self.verdict, self.pictures
        if ensemble is None:
            say(f"laying {len(self.finished)} starts over each other")
            ensemble = combine(
                self.problem,
                (*self.finished, *self.diverged),
                most=most,
                basis=self.measurement.voxel_basis,
                independent=self.starts.independent,
            )
            pictures = tuple(map(picture_of, ensemble.objects, ensemble.supports))  # as they lie now
        if kept is not None and tuple(kept) != ensemble.kept:
            say(f"averaging {sum(kept)} starts")
            ensemble = ensemble.keeping(kept)
        if judged is None:  # it is of the better ones, kept or not
            say("judging them")
            judged = verdict(ensemble, self.measurement)
        mean = _mean(ensemble, self.truth)
        return replace(self, finished=(), pictures=pictures, ensemble=ensemble, verdict=judged, mean=mean)

    def start(self, place: int) -> Snapshot:
        """Return a start as an iterate to show, laid over the others where they are averaged."""
        row = self.rows[place]
        if self.ensemble is None:
            x, support = self.finished[place].object, self.finished[place].support
        else:
            x, support = self.ensemble.objects[place], self.ensemble.supports[place]
        known = {name: getattr(row, name) for name in FIGURES}
        before = None if self.mean is None else self.mean.object
        return _snapshot(x, support, before, row.iterations, row.seconds, known, row.ended)

    def settings_of(self, place: int) -> dict[str, Any]:
        """Return what a start was run with."""
        row = self.rows[place]
        told = {"begun": str(self.starts), "number": row.ordinal, "of": self.count}
        return {**self.settings, "seed": row.seed, "title": f"start {told['number']} of {self.count}", "ensemble": told}

    @property
    def title(self) -> str:
        """What people call the mean."""
        return "" if self.ensemble is None else f"mean of {len(self.ensemble.members)} starts"

    @property
    def mean_settings(self) -> dict[str, Any]:
        """What the mean is made of."""
        return {**self.settings, "title": self.title, "ensemble": self._told()}

    def _told(self) -> dict[str, Any]:
        from napari_dipr.ensembles.report import report

        assert self.ensemble is not None
        assert self.verdict is not None
        return {**report(self.ensemble, self.verdict), "begun": str(self.starts), "asked_for": self.count}

    @property
    def strokes(self) -> NDArray[np.int8] | None:
        """What a person had painted, and pinned, when they began, as a session has it; None where nothing was."""
        pinned = None if self.starts.pinned is None else self.starts.pinned.numpy()
        return strokes_of(pinned, self.starts.support.numpy())

    def sentences(self) -> list[str]:
        """Say what the mean is worth: verdict and cause, spread, modes, and resolutions; and which starts diverged."""
        from napari_dipr.physics.shells import reached

        ensemble, judged = self.ensemble, self.verdict
        left_out = [str(one) for one in self.diverged]
        if ensemble is None or judged is None:
            return left_out
        common, unit = ensemble.consensus, ensemble.unit
        numbers = ", ".join(str(ensemble.rows[i].ordinal) for i in ensemble.members)
        said = [f"<b>{judged.kind.capitalize()}</b>{judged.words.removeprefix(judged.kind)}."]
        if judged.cause:
            said.append(f"Likeliest cause: {judged.cause}.")
        said.append(
            f"Averaged: {len(ensemble.members)} of {len(ensemble.rows)}, ranked by {ensemble.criterion.words} "
            f"({numbers}). Spread {common.spread:.2g}; the first mode has {common.modes.shares[0]:.1%} of their energy."
        )
        if self.mean is not None and self.mean.nmse is not None:
            said.append(f"nmse of the mean {self.mean.nmse:.2g} against the known object.")
        if common.prtf is not None:
            curve = common.prtf
            said.append(f"PRTF: {reached(curve.frequency, curve.resolution, unit, '1/e')}.")
            said.append(
                f"Of {curve.starts} starts chance alone leaves {curve.chance:.2f}; beyond it the PRTF is "
                f"{reached(curve.frequency, curve.resolution_beyond_chance, unit, '1/e')}."
            )
        else:
            said.append("No PRTF: the starts are not independent of each other.")
        if (fsc := common.fsc) is not None:
            half, bit = (
                reached(fsc.frequency, resolution, unit, level)
                for resolution, level in ((fsc.resolution, "½"), (fsc.half_bit_resolution, "half a bit"))
            )
            said.append(f"FSC of two halves: {half}, {bit}. (Resolutions are half periods.)")
        if ensemble.criterion.warning:
            said.append(f"{ensemble.criterion.warning}.")
        return said + left_out


def picture_of(x: "Tensor", support: "Tensor") -> NDArray[np.uint8]:
    """Return a small grey picture of the amplitude of an object ``[*grid]``."""
    return thumbnail(x.abs().numpy(), support.numpy())


def _mean(ensemble: "Ensemble", truth: NDArray[np.complex64] | None) -> Snapshot:
    """Return the mean as an iterate to show, in the support that most of those averaged have."""
    import torch

    from napari_dipr.ensembles.ranking import figures_of
    from napari_dipr.physics.symmetry import nmse

    x, known = ensemble.object, figures_of(ensemble.errors)
    rows = [ensemble.rows[i] for i in ensemble.members]
    error = None if truth is None else float(nmse(x[None], torch.from_numpy(truth)[None])[0])
    seconds = sum(row.seconds for row in ensemble.rows)
    ended = f"the mean of {len(rows)} of {len(ensemble.rows)} starts"
    snapshot = _snapshot(x, ensemble.support, None, max(row.iterations for row in rows), seconds, known, ended)
    variance = ensemble.consensus.variance.float().numpy()
    return replace(snapshot, nmse=error, fields={"variance": variance})


def _snapshot(
    x: "Tensor",
    support: "Tensor",
    before: NDArray[np.complex64] | None,
    iterations: int,
    seconds: float,
    known: dict[str, Any],
    ended: str,
) -> Snapshot:
    from napari_dipr.solvers.position import Record

    return Snapshot(
        **pictures_of(x[None], support[None], before),
        iteration=iterations,
        total=max(iterations, 1),
        stage="",
        seconds=seconds,
        history=(Record(iteration=iterations, support_pixels=float(support.sum()), **known),),
        taken=0,
        ended=ended,
    )
