"""The Measurement panel: from a layer, a file or a picture to a measurement."""

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from magicgui.widgets import CheckBox, ComboBox
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.ui.canvas import is_foreign
from napari_dipr.ui.forms import Form, button, follow, layer_choice, remark, told
from napari_dipr.ui.prepare_form import PrepareForm
from napari_dipr.ui.preview import Bench, Preview
from napari_dipr.ui.session import session_of
from napari_dipr.ui.simulate_form import SimulateForm
from napari_dipr.ui.source_form import SourceForm

# Milliseconds until the layers of a preview are gone.
PREVIEW_LEAVES = 150


class MeasurementPanel(QWidget):
    """Choose data, say what they are, and make a measurement of them."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self._bench, self._wanted, self._previewing = Bench(), 0, False
        self._painted: Labels | None = None
        self.source = SourceForm(session)
        self.mask = layer_choice(
            session.viewer,
            Labels,
            "unmeasured",
            "A labels layer: what is painted in it was not measured (beamstop, gaps, hot pixels)",
            is_foreign,
        )
        self.prepare = PrepareForm("preparation")
        self.preview = Preview(session)
        self.preview_box = CheckBox(
            text="preview", tooltip="Show what these settings come to beside the data, anew after each change"
        )
        self.outcome = remark()
        self.use_button = button("Use as measurement", "Make a measurement of these data and show it", self._use)

        self.loaded = ComboBox(
            choices=[], label="at work", tooltip="One of the measurements that were loaded, as it was left"
        )
        loaded = Form()
        loaded.add(self.loaded)
        self.loaded_row = QWidget()
        self.loaded_row.setLayout(loaded)
        form = Form()
        form.add(self.mask)
        layout = QVBoxLayout(self)
        layout.addWidget(self.loaded_row)
        layout.addWidget(self.source)
        layout.addLayout(form)
        layout.addWidget(self.prepare)
        layout.addWidget(self.preview_box.native)
        layout.addWidget(self.use_button)
        layout.addWidget(self.outcome)
        layout.addWidget(self._masking())
        self.simulation = SimulateForm(session)
        self.simulating = QCollapsible("Simulate from a picture")
        self.simulating.addWidget(self.simulation)
        layout.addWidget(self.simulating)
        layout.addWidget(button("Reset form", "All of this form as it was at first", self._reset))
        layout.addStretch()
        self.loaded.changed.connect(told(session.take_up))
        follow(self, session.measurement_changed, self._list_loaded)
        follow(self, session.measurement_changed, self._tell_history)
        follow(self, session.shelf.changed, self._list_loaded)
        self._list_loaded()
        follow(self, session.restored, self._restored)
        follow(self, session.busy_changed, lambda: self.use_button.setEnabled(not session.busy))
        self.preview_box.changed.connect(told(self._previewed))
        self.prepare.changed.connect(told(self._preview_again))
        self.source.changed.connect(told(self._preview_again))
        self.mask.changed.connect(told(self._mask_chosen))

    @told
    def _restored(self, provenance: dict[str, Any]) -> None:
        """Fill the form in as it was for a result."""
        source = (provenance.get("measurement") or {}).get("source") or {}
        self.prepare.enter(source.get("preparation") or {})

    def _reset(self) -> None:
        self.prepare.reset()
        self.simulation.reset()

    def _list_loaded(self) -> None:
        names = self.session.loaded
        with self.loaded.changed.blocked():
            self.loaded.choices = names
            if names:
                self.loaded.value = names[-1]
        self.loaded_row.setVisible(len(names) > 1)

    def _masking(self) -> QCollapsible:
        mask = self.session.mask
        self.draw_button = button("Draw", "A layer on the pattern in which unmeasured pixels are painted", mask.draw)
        self.suggest_button = button(
            "Suggest",
            "Paint saturated, dead and hot pixels and gaps between detectors into the layer",
            lambda: mask.suggest(self._suggested),
        )
        self.mask_button = button("Use mask", "Take what is painted as unmeasured; support and runs stay", mask.use)
        self.mask_words = remark()
        self._suggestion = ""
        buttons = QHBoxLayout()
        for one in (self.draw_button, self.suggest_button, self.mask_button):
            buttons.addWidget(one)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addLayout(buttons)
        column.addWidget(self.mask_words)
        self.masking = section = QCollapsible("Mask: pixels that were not measured")
        section.addWidget(inner)
        session = self.session
        for signal in (mask.changed, session.measurement_changed, session.refinement.changed, session.busy_changed):
            follow(self, signal, self._mask_changed)
        self._mask_changed()
        return section

    def _suggested(self, found: dict[str, int]) -> None:
        counts = ", ".join(f"{number} {reason}" for reason, number in found.items())
        self._suggestion = f" Suggested: {counts}." if counts else " Nothing looks suspicious."
        self._mask_changed()

    def _mask_changed(self) -> None:
        measurement, mask = self.session.measurement, self.session.mask
        idle = self.session.refinement.state == "idle" and not self.session.busy and measurement is not None
        self.draw_button.setEnabled(measurement is not None)
        self.suggest_button.setEnabled(measurement is not None)
        self.mask_button.setEnabled(idle and mask.is_drawn)
        if measurement is None:
            self._suggestion = ""
            self.mask_words.setText("Load a measurement first.")
            return
        words = f"{int((~measurement.measured).sum())} of {measurement.measured.size} pixels are unmeasured."
        words += " What is painted differs: press Use mask." if mask.is_drawn else ""
        self.mask_words.setText(
            f"Blue (1) was not measured, and is left free; erase (0) what was. {words}{self._suggestion}"
        )

    # --- to a measurement --------------------------------------------------------------------------------------------

    def _prepared(
        self, done: Callable[[Measurement, str], None], description: str, over: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare what is chosen as the form says, off the main thread; ``done`` gets it, and its extent in words.

        ``over`` is called after that, and where it failed.
        """
        loaded, name, _ = self.source.chosen()
        preparation = self.prepare.preparation
        painted = None if self.mask.value is None else np.asarray(self.mask.value.data) > 0
        if painted is not None and painted.shape != np.squeeze(loaded.array).shape:
            shape = np.squeeze(loaded.array).shape
            raise DiprError(f"The layer of unmeasured pixels is {painted.shape}, the data are {shape}.")
        self.session.do(
            lambda: self._bench.prepare(loaded, preparation, painted),
            lambda result: done(*result),
            f"{description} {name}",
            whatever_is_loaded=True,
            over=over,
        )

    def _use(self) -> None:
        _, _, source = self.source.chosen()

        def used(measurement: Measurement, extent: str) -> None:
            if source is not None:
                source.visible = False  # the same data as the measurement's picture, in another place
            if not isalive(self):  # the dock was closed meanwhile
                self.session.use(measurement)
                return
            wait = PREVIEW_LEAVES if self.preview_box.value else 0
            self.preview_box.value = False
            # Pixels of the preview beside an object's nanometres would make napari warn.
            QTimer.singleShot(wait, lambda: take(measurement, extent))

        def take(measurement: Measurement, extent: str) -> None:
            self.session.use(measurement)
            if isalive(self):
                self._tell_outcome(measurement, extent)

        self._prepared(used, "Preparing")
        self.prepare.memory.save()

    def _previewed(self, wanted: bool) -> None:
        if wanted:
            self._preview_again()
        else:
            self.preview.remove()

    def _mask_chosen(self, layer: Labels | None) -> None:
        """Have the preview follow what is painted as unmeasured."""
        if self._painted is not None:
            self._painted.events.paint.disconnect(self._repainted)
            self._painted.events.set_data.disconnect(self._repainted)
        self._painted = layer
        if layer is not None:
            layer.events.paint.connect(self._repainted)
            layer.events.set_data.connect(self._repainted)
        self._preview_again()

    def _repainted(self, event: Any) -> None:
        QTimer.singleShot(0, told(self._preview_again))  # the event may come before the change

    def _preview_again(self) -> None:
        if not (self.preview_box.value and self.source.is_chosen):
            return
        self._wanted += 1
        if self._previewing:  # one after the other: when it is there, the last wish is done
            return
        wanted = self._wanted

        def seen(measurement: Measurement, extent: str) -> None:
            # Else the form says something else by now, or its dock was closed.
            if wanted == self._wanted and isalive(self) and self.preview_box.value:
                self.preview.show(measurement)
                self._tell_outcome(measurement, extent)

        def over() -> None:
            self._previewing = False
            if wanted != self._wanted and isalive(self):
                told(self._preview_again)()

        self._prepared(seen, "Preview of", over)
        self._previewing = True

    def _tell_history(self) -> None:
        measurement = self.session.measurement
        self.outcome.setText("" if measurement is None else "\n".join(measurement.history))

    def _tell_outcome(self, measurement: Measurement, extent: str) -> None:
        self.outcome.setText("\n".join([*measurement.history, extent]))

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        measurement = self.session.measurement
        if measurement is None:
            return ""
        return f"{measurement.name} · {' × '.join(map(str, measurement.grid))}"
