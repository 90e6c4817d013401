"""The live curves: how well the object explains the measurement, and how large its support is."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyqtgraph
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

# Readable on dark and on light.
CURVES = {"chi2": ("χ²", "#12a5bd"), "r_factor": ("R", "#e08300"), "free_chi2": ("free χ²", "#a06cd5")}
SUPPORT_COLOUR = "#3fa45b"
STAGE_COLOUR = "#7f8790"


class ConvergencePlot(QWidget):
    """χ² and R-factor against the iteration, χ² on free pixels where some are held back, and the support's size.

    Vertical lines mark where a stage begins (grey, named) and where a person edited the support (green).
    """

    def __init__(self) -> None:
        super().__init__()
        self.view = view = pyqtgraph.GraphicsLayoutWidget()
        view.setBackground(None)
        view.ci.layout.setContentsMargins(0, 0, 0, 0)
        view.ci.layout.setVerticalSpacing(0)
        self.errors: pyqtgraph.PlotItem = view.addPlot(row=0, col=0)
        self.size: pyqtgraph.PlotItem = view.addPlot(row=1, col=0)
        view.ci.layout.setRowStretchFactor(0, 3)
        view.ci.layout.setRowStretchFactor(1, 1)
        for plot in (self.errors, self.size):
            plot.setDownsampling(auto=True, mode="peak")
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(False, False)
            plot.showGrid(y=True, alpha=0.25)
            plot.getAxis("left").setWidth(48)  # one left edge for both
        self.size.setXLink(self.errors)
        self.size.setLabel("bottom", "iteration")
        self.size.getAxis("left").setStyle(maxTickLevel=0)
        self.errors.getAxis("bottom").setStyle(showValues=False)
        self.curves = {
            key: self.errors.plot([], [], pen=pyqtgraph.mkPen(colour, width=2)) for key, (_, colour) in CURVES.items()
        }
        self.curves["support_pixels"] = self.size.plot([], [], pen=pyqtgraph.mkPen(SUPPORT_COLOUR, width=2))
        self.marks: list[tuple[int, str]] = []
        self._lines: list[pyqtgraph.InfiniteLine] = []
        self._history: Sequence[Any] = ()
        self.logarithmic = QCheckBox("logarithmic")
        self.logarithmic.setToolTip("The errors' axis: decades, or the values as they are")
        self.logarithmic.toggled.connect(self._scale)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(view)
        layout.addWidget(self.logarithmic)
        self.setFixedHeight(270)
        self.logarithmic.setChecked(True)
        self.show_history(())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme: what is behind the curves is kept as a picture."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self.view.resetCachedContent()

    def _scale(self, logarithmic: bool) -> None:
        self.errors.setLogMode(y=logarithmic)
        axis = self.errors.getAxis("left")
        axis.setStyle(maxTickLevel=0 if logarithmic else 2)  # of a logarithm decades only
        axis.setTickSpacing(*((1, 1) if logarithmic else ()))
        self.show_history(self._history)

    def show_history(self, history: Sequence[Any]) -> None:
        """Draw the error history, :class:`~napari_dipr.solvers.run.Record` s; what is not known is left out."""
        self._history = history
        for plot in (self.errors, self.size):
            (plot.enableAutoRange if history else plot.disableAutoRange)()
        if not history:
            self.errors.setYRange(*((-4, 0) if self.logarithmic.isChecked() else (0, 1)))
        self._name_curves([key for key in CURVES if not key.startswith("free") or _known(history[-1:], key)])
        for key, curve in self.curves.items():
            known = _known(history, key)
            # A logarithm has no zero: noise-free data can be matched to the last bit.
            curve.setData(
                [record.iteration for record in known], [max(getattr(record, key), 1e-16) for record in known]
            )
        if (marks := list(marks_of(history))) != self.marks:
            self._mark(marks)

    def _mark(self, marks: list[tuple[int, str]]) -> None:
        for line in self._lines:
            self.errors.removeItem(line)
        self.marks = marks
        self._lines = [
            pyqtgraph.InfiniteLine(
                iteration,
                pen=pyqtgraph.mkPen(STAGE_COLOUR if stage else SUPPORT_COLOUR, width=1),
                label=stage or None,
                labelOpts={"position": 0.92, "color": STAGE_COLOUR, "anchors": [(0, 0.5), (0, 0.5)]},
            )
            for iteration, stage in marks
        ]
        for line in self._lines:
            self.errors.addItem(line, ignoreBounds=True)

    def _name_curves(self, keys: Sequence[str]) -> None:
        # In the title: a legend would lie over the curves.
        named = [CURVES[key] for key in keys] + [("support, pixels", SUPPORT_COLOUR)]
        names = (f'<span style="color: {colour}">{name}</span>' for name, colour in named)
        self.errors.setTitle(" &nbsp; ".join(names), size="9pt")


def marks_of(history: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Return the iterations at which a stage began, with its name, and those before which a person edited, without.

    As exactly as there are records.
    """
    for before, record in pairwise(history):
        if record.edits > before.edits:
            yield record.iteration, ""
        if record.stage != before.stage:
            yield record.iteration, record.stage


def _known(history: Sequence[Any], key: str) -> list[Any]:
    return [record for record in history if getattr(record, key) is not None]
