"""The form of an experiment that is simulated: a picture, and how it is measured."""

from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, LineEdit, SpinBox
from napari.layers import Image
from qtpy.compat import isalive
from qtpy.QtWidgets import QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dipr.errors import DiprError
from napari_dipr.experiment import Experiment, with_phase
from napari_dipr.exposure import Exposure
from napari_dipr.geometry import Geometry
from napari_dipr.preparation.extent import find_extent
from napari_dipr.ui.canvas import is_foreign
from napari_dipr.ui.forms import Form, button, data_of, follow, layer_choice, remark
from napari_dipr.ui.memory import FormMemory
from napari_dipr.ui.session import Session

# Labels of the settings that are written, and what an empty one means.
WRITTEN = {
    "oversampling": ("oversampling", "2"),
    "photons": ("photons", "no noise"),
    "coherence": ("coherence σ", "fully coherent"),
    "background": ("background", "none"),
    "beamstop": ("beam stop", "none"),
    "arm": ("its arm", "none"),
    "gaps": ("gaps", "none"),
    "saturation": ("saturated from", "never"),
    "dead": ("dead share", "none"),
}


class SimulateForm(QWidget):
    """The settings of an :class:`~napari_dipr.experiment.Experiment` on an image layer."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        fields = Experiment.model_fields
        self.picture = layer_choice(
            session.viewer, Image, "picture", "Any image layer, 2-D or 3-D: the object that is measured", is_foreign
        )
        self.phase = layer_choice(
            session.viewer, Image, "phase", "An image layer of the same shape: the object's phase", is_foreign
        )
        self.span = LineEdit(
            label="phase spans", tooltip="Radians between the phase's least and largest value; empty: they are radians"
        )
        self.written: dict[str, LineEdit] = {}
        for name, (label, empty) in WRITTEN.items():
            self.written[name] = LineEdit(label=label, tooltip=str(fields[name].description))
            self.written[name].native.setPlaceholderText(empty)
        self.subtract = CheckBox(text="subtract", tooltip=str(fields["subtract"].description))
        self.seed = SpinBox(value=0, min=0, max=2**31 - 1, label="seed", tooltip=str(fields["seed"].description))
        self.geometry = LineEdit(label="geometry", tooltip="energy=9 (keV), distance=0.5 (m), pixel=55 (µm)")
        self.geometry.native.setPlaceholderText("resolutions in px")
        self.simulate_button = button(
            "Simulate", "Make the pattern of this picture, and use it as measurement", self._simulate
        )
        self.words = remark()
        self._lay_out()
        kept = {"subtract": self.subtract, "seed": self.seed, "geometry": self.geometry, "span": self.span}
        self.memory = FormMemory("experiment", {**self.written, **kept})
        follow(self, session.busy_changed, lambda: self.simulate_button.setEnabled(not session.busy))

    def _lay_out(self) -> None:
        whole, more = Form(), Form()
        whole.add(self.picture, self.phase, self.span, self.written["oversampling"], self.written["photons"])
        more.add(self.written["coherence"])
        more.add(self.written["background"], beside=self.subtract.native)
        more.add(*(self.written[name] for name in ("beamstop", "arm", "gaps", "saturation", "dead")))
        more.add(self.seed, self.geometry)
        inner = QWidget()
        inner.setLayout(more)
        self.section = QCollapsible("Light and detector")
        self.section.addWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(whole)
        layout.addWidget(self.section)
        layout.addWidget(self.simulate_button)
        layout.addWidget(self.words)

    @property
    def experiment(self) -> Experiment:
        """What the form says.

        Raises
        ------
        MeasurementError
            If some of it is not understood.
        """
        words = {name: widget.value for name, widget in self.written.items() if widget.value.strip()}
        return Experiment.of(**words, subtract=self.subtract.value, seed=self.seed.value)

    def reset(self) -> None:
        """Bring the form to its defaults."""
        self.memory.reset()

    def _simulate(self) -> None:
        layer, phase = self.picture.value, self.phase.value
        if layer is None:
            raise DiprError("Choose an image layer as the picture first. File › Open Sample has some.")
        experiment, span = self.experiment, _radians(self.span.value)
        geometry = Geometry.parse(self.geometry.value) if self.geometry.value.strip() else None
        data, angle = data_of(layer), None if phase is None else data_of(phase)
        known: dict[str, Any] = {
            "name": f"{layer.name} simulated",
            "geometry": geometry,
            "source": {"object": {"layer": layer.name}, "experiment": experiment.as_json()},
        }
        self.memory.save()

        def job() -> tuple[Any, ...]:
            x = np.asarray(data)
            if angle is not None:
                x = with_phase(x, np.asarray(angle), span)
            measurement, truth = experiment.measure(x, **known)
            return measurement, truth, f"{Exposure.of(experiment, measurement, truth)}\n{find_extent(measurement)}"

        def used(result: tuple[Any, ...]) -> None:
            measurement, truth, words = result
            for one in (layer, phase):
                if one is not None:
                    one.visible = False
            self.session.use(measurement, truth)
            if isalive(self):  # else the dock was closed meanwhile
                self.words.setText(words)

        self.session.do(job, used, f"Simulating {layer.name}")


def _radians(text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise DiprError(f"The phase spans {text!r}: give a number of radians.") from None
