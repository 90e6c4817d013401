"""The Support panel: let a network propose a support, or take the autocorrelation's, and edit it."""

from functools import partial
from typing import Any

import napari
import numpy as np
from magicgui.widgets import ComboBox, FloatSlider
from napari.layers import Image, Labels, Shapes
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_dipr.device import NAMES
from napari_dipr.errors import DiprError, ModelError
from napari_dipr.ui.canvas import TAG
from napari_dipr.ui.forms import Form, button, follow, layer_choice, remark
from napari_dipr.ui.memory import setting
from napari_dipr.ui.outline import BY_HAND
from napari_dipr.ui.session import session_of
from napari_dipr.ui.support_tools import TOOLS


class SupportPanel(QWidget):
    """Propose a support; the labels layer is then edited with napari's own brushes."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.model = ComboBox(choices=[], label="model", tooltip="The network that proposes")
        self.device = ComboBox(
            choices=NAMES, label="device", tooltip="Where the network runs; auto: the graphics card where there is one"
        )
        self.threshold = FloatSlider(
            value=0.1,
            min=0.01,
            max=0.6,
            step=0.01,
            label="threshold",
            tooltip="Share of the largest amplitude that is inside; every proposal chooses its own first",
        )
        self.device.value = setting("running", "device")
        self.propose_button = button(
            "Propose", "Let the network propose object and support", self._propose, "Ctrl+Alt+P"
        )
        self.autocorrelation_button = button(
            "From autocorrelation",
            "A first support from the data alone: a little wider than the object is likely to be",
            session.proposer.propose_autocorrelation,
        )
        self.empty_button = button("Empty", "An empty support, to paint by hand", self._empty)
        self.tools = {
            name: button(name, f"{words}; what you painted stays", partial(session.reshape, change))
            for name, (change, words) in TOOLS.items()
        }
        self.reset_button = button(
            "Reset",
            "The support as it was proposed, at this threshold; without a proposal, as runs began with it before they "
            "changed it: two seeds are to be compared from the same one",
            self._reset,
        )
        self.unpin_button = button(
            "Unpin all", "Let shrink-wrap and the threshold change what you painted, too", session.unpin
        )
        self.box_button = button(
            "Box",
            "Draw a box on the object's amplitude: what is in it is put into the support",
            partial(session.outline.draw, "rectangle"),
        )
        self.ellipse_button = button(
            "Ellipse",
            "Draw an ellipse: what is in it is put into the support",
            partial(session.outline.draw, "ellipse"),
        )
        self.other = layer_choice(
            session.viewer,
            (Labels, Image, Shapes),
            "from layer",
            "A layer of the measurement's size: its labels, its values above 0, or what its shapes enclose",
            lambda layer: (layer.metadata.get(TAG) or ("", "support"))[1] == "support",
        )
        self.take_button = button("Take", "Take the support from this layer", self._take)
        self.reason = remark()
        self.state = remark()
        form = Form()
        form.add(self.model, self.device, self.threshold)
        buttons = QHBoxLayout()
        buttons.addWidget(self.propose_button)
        buttons.addWidget(self.autocorrelation_button)
        buttons.addWidget(self.empty_button)
        tools = QGridLayout()
        drawn = (self.box_button, self.ellipse_button)
        for number, tool in enumerate((*self.tools.values(), self.reset_button, self.unpin_button, *drawn)):
            tools.addWidget(tool, number // 3, number % 3)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addLayout(tools)
        others = Form()
        others.add(self.other, beside=self.take_button)
        layout.addLayout(others)
        layout.addWidget(self.reason)
        layout.addWidget(self.state)
        layout.addStretch()

        self.model.changed.connect(self._model_changed)
        self.threshold.changed.connect(session.proposer.rethreshold)
        follow(self, session.measurement_changed, self._measurement_changed)
        follow(self, session.support_changed, self._support_changed)
        follow(self, session.refinement.changed, self._enable)
        follow(self, session.busy_changed, self._enable)
        self._measurement_changed()
        self._support_changed()

    def _take(self) -> None:
        if self.other.value is None:
            raise DiprError("Choose a layer first: labels, an image, or shapes of the measurement's size.")
        self.session.outline.take_from(self.other.value)

    def _propose(self) -> None:
        self.session.proposer.propose(self.model.value, self.device.value)

    def _empty(self) -> None:
        measurement = self.session.measurement
        if measurement is not None:
            self.session.proposal = None
            self.session.show_support(np.zeros(measurement.grid, bool), BY_HAND)

    def _measurement_changed(self) -> None:
        from napari_dipr.networks.zoo import fitting_model, misfit, model_names

        measurement, wanted = self.session.measurement, setting("running", "model")
        self.model.choices = model_names()
        if measurement is not None:
            preferred = _described(wanted) if wanted in self.model.choices else None
            if preferred is not None and not misfit(measurement, preferred):
                self.model.value = wanted
            elif fitting := fitting_model(measurement):
                self.model.value = fitting
        self._model_changed()

    def _model_changed(self, value: Any = None) -> None:
        from napari_dipr.networks.zoo import fit, misfit

        measurement, model = self.session.measurement, self.model.value
        about = ""
        if model is None:
            why_not: str | None = "There is no model. Reinstall the package, or use the autocorrelation."
        elif measurement is None:
            why_not = "Load a measurement first."
        elif not (spec := _described(model)):
            why_not = f"{model}/model.toml does not describe a model. Take another one."
        else:
            why_not = misfit(measurement, spec)
            about = f"{spec.model.purpose} {'' if why_not else fit(measurement, spec).capitalize() + '.'}"
            why_not = why_not and f"{why_not} Take another model, or the autocorrelation."
            self.model.tooltip = spec.model.purpose
        self._why_not, self._about = why_not, about
        self._enable()

    def _enable(self) -> None:
        idle = self.session.refinement.state == "idle" and not self.session.busy
        self.reason.setText(self._why_not or self._about)
        self.reason.setVisible(bool(self._why_not or self._about))
        self.propose_button.setEnabled(idle and self._why_not is None)
        loaded = self.session.measurement is not None
        for other in (self.autocorrelation_button, self.empty_button, self.take_button):
            other.setEnabled(idle and loaded)
        for other in (self.box_button, self.ellipse_button):
            other.setEnabled(loaded)
        self.threshold.enabled = idle and self.session.proposal is not None
        support = self.session.support
        there = support is not None and bool(support.any())
        for tool in self.tools.values():
            tool.setEnabled(there)
        first = self.session.proposal is not None or self.session.begun_with is not None
        self.reset_button.setEnabled(support is not None and first)
        self.unpin_button.setEnabled(self.session.strokes is not None)

    def _reset(self) -> None:
        proposal, begun = self.session.proposal, self.session.begun_with
        if proposal is not None:
            self.session.reshape(lambda support: proposal.support, edited=False)
        elif begun is not None:
            self.session.reshape(lambda support: begun)

    def _support_changed(self) -> None:
        self._enable()
        support = self.session.support
        if support is None:
            self.state.setText("")
            return
        origin = self.session.support_from
        words = f"{int(support.sum())} pixels ({support.mean():.1%} of the grid), "
        words += origin if origin == BY_HAND else f"from {origin}"
        words += ", edited by hand" if self.session.is_edited and origin != BY_HAND else ""
        if (strokes := self.session.strokes) is not None:
            words += f", {np.count_nonzero(strokes)} pinned"
        if (proposal := self.session.proposal) is not None:
            with self.threshold.changed.blocked():
                self.threshold.value = min(max(proposal.threshold, self.threshold.min), self.threshold.max)
            sure = f"its answers to mirrored patterns agree to {proposal.agreement:.0%}"
            words += f". The network's object has χ² {proposal.chi2:.2g}; {sure}"
        self.state.setText(f"{words}. Paint 1 to put pixels in, erase to take them out; a running refinement follows.")

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        support = self.session.support
        return "" if support is None else f"{int(support.sum())} px{', edited' if self.session.is_edited else ''}"


def _described(model: str) -> Any:
    """Return what a model is, or None where its file cannot be read."""
    from napari_dipr.networks.zoo import describe_model

    try:
        return describe_model(model)
    except ModelError:
        return None
