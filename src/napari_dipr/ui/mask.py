"""The mask of a session: which pixels were not measured, as a labels layer that people paint on the pattern."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.bad import suspicious_pixels

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session

# No colour of the pattern, which is black to yellow.
COLOUR = "#3da5ff"


class Mask:
    """Unmeasured pixels: 1 in the layer. What was unmeasured when the data came stays so."""

    changed = Signal()

    def __init__(self, session: "Session") -> None:
        self.session = session
        # As they came, by name: what is masked by hand has its values there.
        self._originals: dict[str, Measurement] = {}

    @property
    def layer(self) -> Labels | None:
        """The labels layer; None while there is none."""
        canvas = self.session.canvas
        return canvas.find("mask", Labels) if canvas is not None else None

    @property
    def is_drawn(self) -> bool:
        """Whether the layer is another than what is unmeasured now."""
        layer, measurement = self.layer, self.session.measurement
        if layer is None or measurement is None:
            return False
        return bool(((np.asarray(layer.data) > 0) == measurement.measured).any())

    def original(self, measurement: Measurement) -> Measurement:
        """Return a measurement as it came, with the values under what was masked since."""
        return self._originals.get(measurement.name, measurement)

    def begin(self, measurement: Measurement) -> None:
        """Remember a measurement as it came, and show what is unmeasured of it."""
        self._originals[measurement.name] = measurement
        if not measurement.measured.all():
            self._make()

    def show(self) -> None:
        """Bring the layer to what is unmeasured now; Undo brings back what was painted and not used."""
        if (layer := self.layer) is not None and self.session.measurement is not None:
            unmeasured = ~self.session.measurement.measured
            where = np.nonzero((np.asarray(layer.data) > 0) != unmeasured)
            if len(where[0]):
                layer.data_setitem(where, unmeasured[where].astype(layer.data.dtype))
        self.changed.emit()

    def draw(self) -> Labels:
        """Return the layer, ready for painting; it is made where there is none."""
        layer = self.layer or self._make()
        self.session.viewer.layers.selection = {layer}
        layer.mode = "paint"
        return layer

    def suggest(self, done: Callable[[dict[str, int]], None]) -> None:
        """Paint what is likely to be the detector's, off the main thread; Undo takes it back.

        ``done`` gets how many pixels, by reason.
        """
        measurement = self.session.need_measurement()

        def found(suspects: Any) -> None:
            layer = self.draw()
            for mask in suspects.values():
                where = np.nonzero(mask & (np.asarray(layer.data) == 0))
                if len(where[0]):
                    layer.data_setitem(where, 1)
            done({reason: int(mask.sum()) for reason, mask in suspects.items()})

        self.session.do(
            lambda: suspicious_pixels(measurement.intensities, measurement.measured), found, "Looking for bad pixels"
        )

    def use(self) -> None:
        """Take what is painted as unmeasured. Support, proposal and earlier runs stay.

        Raises
        ------
        DiprError
            If a run is under way, there is no mask, or nothing would be left.
        """
        layer, session = self.layer, self.session
        original = self._originals[session.need_measurement().name]
        session.refinement.must_be_idle()
        if session.busy:  # what it comes to would be of another mask
            raise DiprError(f"{session.busy[-1]} is under way. Wait for it.")
        if layer is None:
            raise DiprError("There is no mask yet. Draw one, or let it be suggested.")
        unmeasured = np.asarray(layer.data) > 0
        session.measurement = original.with_mask(~unmeasured) if (unmeasured & original.measured).any() else original
        self.show()
        session.measurement_changed.emit()
        session.support_changed.emit()

    def _make(self) -> Labels:
        canvas, measurement = self.session.need_canvas(), self.session.need_measurement()
        layer = canvas.show_labels("mask", ~measurement.measured, "unmeasured pixels", COLOUR)
        layer.contour, layer.opacity = 0, 0.7
        for event in (layer.events.paint, layer.events.set_data):
            event.connect(lambda event: QTimer.singleShot(0, self.changed.emit))
        self.changed.emit()
        return layer
