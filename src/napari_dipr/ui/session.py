"""What the panels share: one session per viewer, with the data, the layers and the run.

The session does the work and says what changed; panels show it and ask. All of it lives on the main thread, except for
the jobs handed to ``worker``.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import SUPPORT_COLOUR, TAG, Canvas, logarithm
from napari_dipr.ui.changes import Changes
from napari_dipr.ui.crystal import Crystal
from napari_dipr.ui.history import History
from napari_dipr.ui.mask import Mask
from napari_dipr.ui.outline import BY_HAND, Outline
from napari_dipr.ui.pictures import Pictures
from napari_dipr.ui.proposer import Proposer
from napari_dipr.ui.refinement import Refinement
from napari_dipr.ui.shelf import Shelf
from napari_dipr.ui.starts_outcome import Outcome
from napari_dipr.ui.starts_run import StartsRun
from napari_dipr.ui.worker import in_background

SAMPLE_TAG, FILE_TAG, RESULT_TAG = "napari-dipr sample", "napari-dipr file", "napari-dipr result"


class Session:
    """One viewer's measurement, guess, support and reconstruction.

    Attributes
    ----------
    measurement, truth
        What was measured, and the object where it is known; None before.
    proposal
        What a network proposed; None where none did.
    support_from
        Where the support came from, in words.
    known_support
        The support that program and solver know of; where the layer differs, a person painted just now.
    strokes
        Int8 ``[*grid]``: what a person painted before that, 1 into the support and −1 out of it; None where nothing
        was. These pixels are pinned: neither shrink-wrap nor another threshold changes them.
    begun_with
        The support that runs of this measurement began with, before shrink-wrap changed it; None before the first.
    busy
        What is being worked on off the main thread, in words.
    outcome_of_starts
        What many starts of this measurement came to last; None before.
    proposer, refinement, starts, history, pictures, crystal, mask, outline, shelf
        First guesses, the run, many of them from several starts, those before it, what is shown of their objects, and
        what that says of a lattice, which pixels were not measured, what is drawn, and the measurements that are
        loaded beside this one.
    """

    measurement_changed = Signal()
    support_changed = Signal()
    busy_changed = Signal()
    exported = Signal(dict)
    restored = Signal(dict)

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self.measurement: Measurement | None = None
        self.truth: NDArray[np.complex64] | None = None
        self.canvas: Canvas | None = None
        self.proposal: Any = None
        self.support_from = BY_HAND
        self.known_support: NDArray[np.bool_] | None = None
        self.busy: list[str] = []
        self.strokes: NDArray[np.int8] | None = None
        self.begun_with: NDArray[np.bool_] | None = None
        self.outcome_of_starts: Outcome | None = None
        self._edited, self._changes = False, Changes()
        self.refinement, self.history, self.pictures = Refinement(self), History(self), Pictures(self)
        self.mask, self.outline, self.proposer = Mask(self), Outline(self), Proposer(self)
        self.shelf, self.crystal, self.starts = Shelf(), Crystal(self), StartsRun(self)
        for signal in (self.refinement.advanced, self.refinement.changed):
            signal.connect(self.crystal.follow)
            signal.connect(self.starts.follow)
        viewer.layers.events.inserted.connect(self._layer_inserted)
        viewer.layers.events.removed.connect(self._layer_removed)
        for layer in list(viewer.layers):
            self._take_sample(layer)

    @property
    def viewer(self) -> Any:
        """The viewer, None once it is gone."""
        return self._viewer()

    # --- measurement -------------------------------------------------------------------------------------------------

    def use(
        self, measurement: Measurement, truth: NDArray[np.complex64] | None = None, layer: Image | None = None
    ) -> None:
        """Take a measurement and show it; what belonged to the one before is hidden, not removed.

        ``layer`` is an image of its logarithm that is there already.
        """
        measurement = replace(measurement, name=self._free_name(measurement.name, layer))
        canvas = Canvas(self.viewer, measurement.name, measurement.grid, measurement.voxel_size)
        self._take(measurement, truth, canvas)
        if layer is None:
            self._show_measurement()
        else:
            canvas.adopt(layer, "measurement", "measurement (log)")
        self.mask.begin(measurement)
        if len(measurement.grid) == 3:
            canvas.show_middle()
        self.measurement_changed.emit()
        self.support_changed.emit()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of the measurements that can be worked on, that at hand last."""
        return (*self.shelf, *(() if self.measurement is None else (self.measurement.name,)))

    def take_up(self, name: str) -> None:
        """Work on one of the loaded measurements again, as it was left: proposal, pins and run."""
        if name in self.shelf:
            left = self.shelf[name]
            self.return_to(left.measurement, left.truth, left.canvas)

    def return_to(self, measurement: Measurement, truth: NDArray[np.complex64] | None, canvas: Canvas) -> None:
        """Take up a measurement that was used before, with the layers that it has."""
        left = self.measurement if canvas is self.canvas else getattr(self.shelf.get(canvas.name), "measurement", None)
        self._take(measurement, truth, canvas)
        if canvas.find("measurement") is None:
            self._show_measurement()
        canvas.show()
        if measurement is not left:  # with another mask, which it had then
            self.mask.show()
        self.measurement_changed.emit()
        self.support_changed.emit()

    def _take(self, measurement: Measurement, truth: NDArray[np.complex64] | None, canvas: Canvas) -> None:
        self.crystal.leave_surface()
        self.starts.abandon()
        run = self.refinement
        run.pass_edits_on()
        outcome = run.snapshot, run.settings
        run.abandon()
        if self.canvas is not None and self.canvas is not canvas:
            self.canvas.hide()
        self.shelf.put(self, outcome)
        outcome = self.shelf.take(self, canvas.name)
        self.measurement, self.truth, self.canvas = measurement, truth, canvas
        self.begun_with = None
        self.known_support = self.support
        run.take_up(*outcome)

    def _show_measurement(self) -> None:
        picture = logarithm(self.mask.original(self.need_measurement()).intensities)
        self.need_canvas().show_image("measurement", picture, "measurement (log)")

    def _free_name(self, name: str, layer: Image | None) -> str:
        # Names tell the layers of two measurements apart.
        taken = {(other.metadata.get(TAG) or ("",))[0] for other in self.viewer.layers if other is not layer}
        # Their layers may be gone.
        taken |= {result.measurement.name for result in self.history.results} | set(self.loaded)
        free, number = name, 2
        while free in taken:
            free, number = f"{name} ({number})", number + 1
        return free

    def _layer_inserted(self, event: Any) -> None:
        self._take_sample(event.value)

    def _take_sample(self, layer: Any) -> None:
        # A sample from napari's menu brings its measurement along.
        sample = layer.metadata.pop(SAMPLE_TAG, None)
        if sample is not None:
            measurement, truth = sample
            self.use(measurement, truth, layer)
        # A result's file brings all of its session.
        if (path := layer.metadata.pop(RESULT_TAG, None)) is not None:
            layer.visible = False
            self.restore(path)

    def restore(self, path: str | Path) -> None:
        """Bring back the session that a result's file holds, off the main thread; what is there is hidden."""
        from napari_dipr.ui.restore import restore, restored

        self.do(
            lambda: restored(path),
            lambda found: restore(self, found),
            f"Restoring {Path(path).name}",
            whatever_is_loaded=True,
        )

    def _layer_removed(self, event: Any) -> None:
        name, role = event.value.metadata.get(TAG) or ("", "")
        if role == "support":
            self.support_changed.emit()
        self.shelf.look_through()
        for canvas in (self.canvas, *(left.canvas for left in self.shelf.values())):
            if canvas is not None and canvas.name == name:
                canvas.caption_anew()

    # --- support -----------------------------------------------------------------------------------------------------

    @property
    def support(self) -> NDArray[np.bool_] | None:
        """The support as it is painted, ``[*grid]``; None while there is none."""
        layer = self.support_layer
        return None if layer is None else np.asarray(layer.data) > 0

    @property
    def support_layer(self) -> Labels | None:
        """The labels layer that people edit."""
        return self.canvas.find("support", Labels) if self.canvas is not None else None

    @property
    def is_edited(self) -> bool:
        """Whether a person changed the support since it was proposed."""
        return self._edited or self._differs()

    def _differs(self) -> bool:
        support, known = self.support, self.known_support
        return support is not None and known is not None and bool((support != known).any())

    def agree(self, support: NDArray[np.bool_]) -> None:
        """Take what a person painted as known: the solver has it, or will. It is pinned, unless it was undone."""
        known = self.known_support
        if known is not None and (drawn := support.astype(np.int8) - known.astype(np.int8)).any():
            before = self._changes.undone(known, support, self.strokes)
            if before is not None:
                self._pin(before[0])
            else:
                self._changes.add(known, support, self.strokes)
                # What is drawn from nothing is a support, and no correction of one.
                if known.any():
                    self._pin(drawn if self.strokes is None else np.where(drawn == 0, self.strokes, drawn))
                self._edited = True
        self.known_support = support.copy()

    def unpin(self) -> None:
        """Give what a person painted back to shrink-wrap and to the threshold; the support stays as it is."""
        self.refinement.pass_edits_on()
        self._pin(None)
        self.refinement.pass_pins_on()
        self.support_changed.emit()

    def _pin(self, strokes: NDArray[np.int8] | None) -> None:
        self.strokes = strokes
        self.need_canvas().show_pins(strokes)

    def but_pinned(self, support: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a support with what a person painted in or out of it."""
        return support if self.strokes is None else np.where(self.strokes == 0, support, self.strokes > 0)

    def reshape(self, change: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], edited: bool = True) -> None:
        """Change the support as a whole; what is pinned stays, and nothing more is. Undo takes it back.

        ``edited`` says whether it is then another than was proposed. Raises DiprError where no support would be left.
        """
        layer, known = self.support_layer, self.known_support
        if layer is None or known is None:
            raise DiprError("There is no support yet. Propose one, or take the autocorrelation's.")
        self.refinement.pass_edits_on()
        before, known = np.asarray(layer.data) > 0, self.known_support
        assert known is not None
        after = self.but_pinned(change(before))
        if not after.any():
            raise DiprError("Nothing would be left of the support: it stays as it is.")
        self.refinement.check(after)
        self._edited = (self._edited or bool((after != before).any())) if edited else self.strokes is not None
        if not edited and self.proposal is not None:
            self.support_from = f"model {self.proposal.model}"
        self.known_support = after
        self.refinement.pass_on(after.astype(np.int8) - known.astype(np.int8))
        self._write(layer, before, after)
        self.support_changed.emit()

    def move_support(self, move: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Move the support, what is pinned of it, and the proposal, as the object that belongs to them was moved."""
        strokes = None if self.strokes is None else move(self.strokes)
        if (proposal := self.proposal) is not None:
            self.proposal = replace(proposal, object=move(proposal.object), support=move(proposal.support))
            if self.need_canvas().find("guess") is not None:
                self.proposer.show()
        if self.support is not None:
            self.refinement.pass_edits_on()
            edited, after = self._edited, move(self.support)
            self.show_support(after, self.support_from, strokes)
            self._edited = edited
            self._forget_undo()

    def show_support(
        self, support: NDArray[np.bool_], support_from: str, strokes: NDArray[np.int8] | None = None
    ) -> None:
        """Show a support as the labels layer, ready for painting; ``strokes`` are in it and pinned.

        The one before it comes back with Undo.
        """
        layer = self.support_layer
        if layer is None:
            layer = self.need_canvas().show_labels("support", support, "support", SUPPORT_COLOUR)
            layer.events.paint.connect(self._painted)
            layer.events.set_data.connect(lambda event: self.support_changed.emit())
            layer.events.set_data.connect(self._undone)
        before = np.asarray(layer.data) > 0
        self.known_support, self.support_from, self._edited = support.copy(), support_from, strokes is not None
        self._write(layer, before, support)
        self.viewer.layers.selection = {layer}
        self._pin(strokes)
        self.support_changed.emit()

    def _forget_undo(self) -> None:
        """Have Undo end here: what was before belongs to an object that is elsewhere now."""
        layer = self.support_layer
        assert layer is not None
        mode = layer.mode
        layer.editable = False
        layer.editable = True
        layer.mode, self._changes = mode, Changes()

    def _undone(self, event: Any) -> None:
        # Undo and redo say nothing else; they count where something is pinned.
        if self.strokes is not None:
            QTimer.singleShot(0, self._look_at_strokes)

    def _painted(self, event: Any) -> None:
        # The event may come before the change.
        QTimer.singleShot(0, self._look_at_strokes)

    def _look_at_strokes(self) -> None:
        if self.viewer is None:
            return
        # At once, and not with the next picture of a run, which may be a second away.
        self.refinement.pass_edits_on()
        self.support_changed.emit()

    def _write(self, layer: Labels, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> None:
        # Through the layer's own history, so that a person can undo it.
        self._changes.add(before, after, self.strokes)
        changed = np.nonzero(before != after)
        if len(changed[0]):
            layer.data_setitem(changed, after[changed].astype(layer.data.dtype))

    def follow(self, support: NDArray[np.bool_]) -> None:
        """Bring a solver's support into the layer, unless a person's stroke is not passed on yet."""
        layer = self.support_layer
        if (
            layer is None
            or self._differs()
            or self.known_support is None
            or np.array_equal(support, self.known_support)
        ):
            return
        # In place and without an event: neither the undo history nor a stroke that is being drawn is touched.
        layer.data[...] = support
        layer.refresh()
        self.known_support = support
        self.support_changed.emit()

    # --- object ------------------------------------------------------------------------------------------------------

    def export(self, paths: Sequence[Path], done: Callable[[dict[str, Path]], None]) -> None:
        """Write what is shown, off the main thread; see :func:`~napari_dipr.io.record.write_records`.

        Raises
        ------
        DiprError
            If there is no reconstruction.
        """
        result = self.history.current("exported while it ran")
        if result is None:
            raise DiprError("There is nothing to export yet. Start a refinement first.")
        frame = self.crystal.frame
        self.do(lambda: result.write(paths, frame), done, "Exporting", whatever_is_loaded=True)

    # --- jobs --------------------------------------------------------------------------------------------------------

    def do(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], None],
        description: str,
        *,
        whatever_is_loaded: bool = False,
        over: Callable[[], None] = lambda: None,
    ) -> Any:
        """Run a job off the main thread; its result counts unless another measurement was loaded meanwhile.

        ``over`` is called at its end, also where it failed. Returns the worker.
        """
        measurement = self.measurement
        self.busy.append(description)
        self.busy_changed.emit()

        def ended() -> None:
            self.busy.remove(description)
            self.busy_changed.emit()

        def failed() -> None:
            ended()
            over()

        def finished(result: Any) -> None:
            ended()
            try:
                if self.viewer is not None and (whatever_is_loaded or measurement is self.measurement):
                    done(result)
            finally:
                over()

        return in_background(job, finished, failed, description)

    def need_measurement(self) -> Measurement:
        """Return the measurement. Raises DiprError where there is none."""
        if self.measurement is None:
            raise DiprError("There is no measurement yet. Open one, or take a sample, in the Measurement panel.")
        return self.measurement

    def need_canvas(self) -> Canvas:
        """Return where the measurement is shown. Raises DiprError where there is none."""
        self.need_measurement()
        assert self.canvas is not None
        return self.canvas


_sessions: "weakref.WeakKeyDictionary[Any, Session]" = weakref.WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the viewer's session, the same for every panel."""
    # Widgets get a public proxy of the viewer; what it wraps tells viewers apart.
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _sessions:
        _sessions[viewer] = Session(viewer)
    return _sessions[viewer]
