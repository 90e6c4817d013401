"""The runs of a session: what each ended with, to be shown again, compared, continued, exported."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import napari
import numpy as np
import qtpy
from numpy.typing import NDArray
from psygnal import Signal

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.physics.placement import offset_from_centre, phase_ramp, twinned, with_ramp
from napari_dipr.ui.canvas import Canvas
from napari_dipr.ui.pictures import thumbnail
from napari_dipr.ui.worker import Snapshot

if TYPE_CHECKING:
    from napari_dipr.lattice import Frame
    from napari_dipr.ui.session import Session

Settled = Literal["twin", "centre", "ramp"]


@dataclass(frozen=True, eq=False)
class Result:
    """What a run came to, with all that it takes to show, continue and export it.

    Attributes
    ----------
    number
        Counted from 1 in a session; 0 of what is shown and not kept.
    measurement, truth, canvas
        What it was made of, the known object or None, and the layers that it is shown in.
    snapshot, settings
        The last good iterate; what the run was started with, and what was changed on the way.
    ended
        Why it ended, in words.
    """

    number: int
    measurement: Measurement
    truth: NDArray[np.complex64] | None
    canvas: Canvas
    snapshot: Snapshot
    settings: dict[str, Any]
    ended: str

    @property
    def name(self) -> str:
        """What people call it: its number, and a title where it has one."""
        number = f"run {self.number}" if self.number else ""
        return ", ".join(filter(None, (number, self.settings.get("title"))))

    @property
    def recipe(self) -> str:
        """The recipe's stages, as text; it is known once the worker has made it."""
        return str(self.settings.get("recipe", "")).split(";")[0]

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """A small grey picture of the amplitude, ``[rows, columns]``."""
        return thumbnail(self.snapshot.amplitude, self.snapshot.support)

    def write(self, paths: Sequence[Path], frame: "Frame" = "laboratory") -> dict[str, Path]:
        """Write it with the measurement and all settings; see :func:`~napari_dipr.io.record.write_records`."""
        import torch

        from napari_dipr.io.provenance import convergence, provenance
        from napari_dipr.io.record import Record, write_records
        from napari_dipr.lattice import crystal_of
        from napari_dipr.solvers.coherence import widths

        snapshot, measurement = self.snapshot, self.measurement
        psf = None if snapshot.psf is None else torch.from_numpy(snapshot.psf)[None]
        errors = {
            **asdict(snapshot.history[-1]),
            "support_voxels": int(snapshot.support.sum()),
            "iterations": snapshot.iteration,
            "psf_sigma": None if psf is None else widths(psf),
            "ended": self.ended,
        }
        window = {"napari": napari.__version__, qtpy.API_NAME: qtpy.QT_VERSION}
        told = provenance(
            measurement, **self.settings, errors=errors, window=window, convergence=convergence(snapshot.history)
        )
        voxel = measurement.voxel_size
        known: dict[str, Any] = {"measurement": measurement, "voxel_size_nm": voxel, "fields": snapshot.fields}
        record = Record.of(snapshot.object, snapshot.support, told, **known)
        return write_records(paths, record, crystal_of(measurement, snapshot.object, snapshot.support, frame))


class History:
    """The results of a session, oldest first; they outlive the dock, and other measurements.

    Attributes
    ----------
    results
        All that were not deleted.
    forms
        The Refine panels of this viewer, those of closed docks among them.
    """

    changed = Signal()
    form_changed = Signal()

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.results: list[Result] = []
        self._count = 0
        self._forgotten: Result | None = None
        self.forms: weakref.WeakSet[Any] = weakref.WeakSet()

    def docked_form(self, what: str) -> Any:
        """Return the Refine panel that is docked, which says how to do something.

        Raises
        ------
        DiprError
            If none is.
        """
        form = next((form for form in self.forms if form.is_docked), None)
        if form is None:
            raise DiprError(f"The Refine panel says how to {what}. Open it: Plugins › Phase retrieval › Refine.")
        return form

    def keep(self, ended: str) -> None:
        """Keep what the refinement has come to as the result of a run."""
        result = self.current(ended)
        assert result is not None
        self._count += 1
        self.results.append(result)
        self.changed.emit()

    @property
    def shown(self) -> Result | None:
        """The result that the next run can go on from; None before the first, and while a run shows its own."""
        now = self.session.refinement.snapshot
        return next((result for result in self.results if result.snapshot is now), None)

    def current(self, ended: str) -> Result | None:
        """Return the result that is shown; without one, what the refinement has come to; None before it has."""
        session, run = self.session, self.session.refinement
        if (shown := self.shown) is not None:
            return shown
        if self._forgotten is not None and self._forgotten.snapshot is run.snapshot:
            return self._forgotten
        if run.snapshot is None or session.measurement is None or session.canvas is None:
            return None
        facts = session.measurement, session.truth, session.canvas, run.snapshot, run.settings
        return Result(self._count + 1, *facts, run.snapshot.ended or ended)

    def show(self, result: Result, strokes: NDArray[np.int8] | None = None) -> None:
        """Show a result again, with its measurement and its support; a run can then go on from it.

        ``strokes`` are put into its support, and pinned.

        Raises
        ------
        DiprError
            If a run is under way.
        """
        self.session.refinement.must_be_idle()
        session = self.session
        if result.canvas is not session.canvas or result.measurement is not session.measurement:
            session.return_to(result.measurement, result.truth, result.canvas)
        self._place(result)
        support = result.snapshot.support
        support = support if strokes is None else (support | (strokes > 0)) & (strokes >= 0)
        session.show_support(support, result.name, strokes)

    def delete(self, result: Result) -> None:
        """Forget a result. What the layers show stays."""
        self.results.remove(result)
        self._forgotten = result
        self.changed.emit()

    def settle(self, what: Settled) -> None:
        """Settle what no intensity tells, in the result that is shown: turn it into its twin, centre it, level it.

        Support, pins and proposal are moved with the object. The phase ramp is taken off what is shown and exported; a
        run that goes on from there puts it on again, since the measurement asks for it.

        Raises
        ------
        DiprError
            If a run is under way, or there is no result.
        """
        self.session.refinement.must_be_idle()
        result = self.shown
        if result is None:
            raise DiprError("No run is shown. Start a refinement, or show one of the runs.")
        old = result.snapshot
        if what == "ramp":
            ramp = phase_ramp(old.object)
            levelled = with_ramp(old.object, tuple(-slope for slope in ramp))
            levelled *= np.exp(-1j * np.angle(np.vdot(np.abs(levelled), levelled))).astype(np.complex64)
            total = tuple(a + b for a, b in zip(old.ramp or (0.0,) * len(ramp), ramp, strict=True))
            new = old.with_object(levelled, old.support, ramp=total)
            words = f"phase ramp of ({', '.join(f'{slope:+.3g}' for slope in ramp)}) rad per pixel removed"
        else:
            axes = tuple(range(old.object.ndim))
            offset = offset_from_centre(old.support)

            def moved(x: NDArray) -> NDArray:
                return twinned(x) if what == "twin" else np.roll(x, [-o for o in offset], axes)

            words = "twin" if what == "twin" else f"shifted by ({', '.join(f'{-o:+d}' for o in offset)})"
            self.session.move_support(moved)
            new = old.with_object(moved(old.object), moved(old.support), ramp=old.ramp)
            new = replace(new, fields={name: moved(values) for name, values in old.fields.items()})
        settled = [*result.settings.get("settled_by_hand", ()), words]
        settings = {**result.settings, "settled_by_hand": settled, "phase_ramp_removed": new.ramp}
        changed = replace(result, snapshot=new, settings=settings)
        self.results[self.results.index(result)] = changed
        self._place(changed)

    def compare(
        self, result: Result, other: "Result | Path | None", done: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """Align another result, a file's or (None) the known object with a result, and show both, off the main thread.

        ``done`` gets the other's name, and what :func:`~napari_dipr.compare.compare` says.
        """
        if result is not self.shown:
            self.show(result)
        if other is None and result.truth is None:
            raise DiprError("The object of this measurement is not known. Compare with a run, or with a file.")
        name = other.name if isinstance(other, Result | Path) else "known object"
        reference = result.snapshot.object

        def job() -> Any:
            from napari_dipr.compare import align, load_result

            if isinstance(other, Path):
                return align(load_result(other), reference)
            x = result.truth if other is None else other.snapshot.object
            assert x is not None
            return align(x, reference)

        def aligned(found: Any) -> None:
            self.session.pictures.show_compared(np.abs(found[0]), f"{name}, aligned")
            done(name, found[1])

        self.session.do(job, aligned, f"Comparing with {name}")

    def _place(self, result: Result) -> None:
        self.session.refinement.take_up(result.snapshot, result.settings)
        self.session.pictures.show_snapshot(result.snapshot)
        self.changed.emit()
