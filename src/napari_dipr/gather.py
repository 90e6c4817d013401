"""Many starts of a measurement, from the request to what they have in common, as it is asked for without a window."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from napari_dipr.ensembles.ensemble import Ensemble, Progress
from napari_dipr.ensembles.generations import guided
from napari_dipr.ensembles.ranking import figures_of
from napari_dipr.ensembles.report import report
from napari_dipr.ensembles.starts import Starts
from napari_dipr.ensembles.verdict import Verdict, verdict
from napari_dipr.errors import RecipeError
from napari_dipr.io.provenance import provenance
from napari_dipr.io.record import Record
from napari_dipr.measurement import Measurement
from napari_dipr.reconstruct import Asked, Keeping, Request, with_enough_memory

# Of the pixels, held back to rank by where nothing else is asked for.
FREE = 0.05


@dataclass(frozen=True, eq=False)
class Gathered:
    """What many starts came to.

    Attributes
    ----------
    ensemble, verdict
        The starts, and what is said of them.
    asked, starts
        What was solved, and from where.
    request, measurement
        As it was asked for, and of what.
    generations
        How many, of which these starts are the last one.
    """

    ensemble: Ensemble
    verdict: Verdict
    asked: Asked = field(repr=False)
    starts: Starts
    request: Request
    measurement: Measurement = field(repr=False)
    generations: int = 1

    @cached_property
    def figures(self) -> dict[str, Any]:
        """All figures, of the starts, of what they have in common, and the curves; plain numbers and words."""
        return {
            **report(self.ensemble, self.verdict),
            "begun": str(self.starts),
            "generations": self.generations,
            "mean": {**figures_of(self.ensemble.errors), "support_voxels": int(self.ensemble.support.sum())},
        }

    def record(self, **more: Any) -> Record:
        """Return the mean as a result, its variance as a field; ``more`` is told in the provenance."""
        kept = len(self.ensemble.members)
        after = f", after {self.generations} guided generations" if self.generations > 1 else ""
        told = provenance(
            self.measurement,
            self.asked.recipe,
            start=f"the mean of the best {kept} of {len(self.ensemble.rows)} starts: {self.starts}{after}",
            seed=self.starts.seed,
            ensemble=self.figures,
            **{**self.request.told(self.asked), "errors": self.figures["mean"]},
            **more,
        )
        return Record.of(
            self.ensemble.object.numpy(),
            self.ensemble.support.numpy(),
            told,
            measurement=self.measurement,
            voxel_size_nm=self.measurement.voxel_size,
            fields={"variance": self.ensemble.consensus.variance.numpy()},
        )


def gather(
    request: Request,
    measurement: Measurement,
    count: int,
    *,
    keep: int | None = None,
    perturb: float | None = None,
    generations: int = 1,
    keeping: Keeping | None = None,
    progress: Callable[[Progress], bool | None] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Gathered:
    """Run many starts of a measurement, and judge them.

    Parameters
    ----------
    request
        How; the seed is that of the first start. Where nothing is said of it, :data:`FREE` of the pixels are held back.
    measurement
        Of what.
    count, keep
        How many starts, and how many to average at most; None leaves that to their errors.
    perturb
        None begins each with phases at random in the first support: they are independent. Else each begins near the
        network's object, disturbed by so much of its amplitude.
    generations
        Of starts that the best one guides, see :mod:`~napari_dipr.ensembles.generations`; 1: each for itself.
    keeping
        How the starts are kept that came to their end, and those of an ensemble that was cut off are found.
    progress
        Told where it is; where it returns True, what is done is judged.
    say
        Told in words of what went otherwise, such as a start that diverged and is left out.

    Raises
    ------
    RecipeError
        If they shall begin near a network's object, and none is asked for.
    SolverError
        As :func:`~napari_dipr.ensembles.generations.guided`.
    """
    if perturb is not None and request.model is None:
        raise RecipeError(f"There is no network's object to disturb by {perturb:g}. Name a model, or leave it out.")
    if request.free is None:
        request = replace(request, free=FREE)

    def on(device: str) -> Gathered:
        asked = request.asked(measurement, device)
        first = None if perturb is None else asked.object
        starts = Starts(asked.support, first, 0.0 if perturb is None else perturb, request.seed)
        options: Any = {"most": keep, "basis": measurement.voxel_basis, "progress": progress}
        if keeping is not None:
            kept = keeping.begin_starts(measurement, count * generations, say)

            def keep_and_tell(at: Progress) -> bool | None:
                kept.keep((*at.before, *at.ended))
                return None if progress is None else progress(at)

            options |= {"progress": keep_and_tell, "done": kept.load()}
        found = guided(asked.problem, asked.recipe, starts, count, generations, **options)
        for one in found.diverged:
            say(str(one))
        return Gathered(found, verdict(found, measurement), asked, starts, request, measurement, generations)

    return with_enough_memory(request.device, on, say)
