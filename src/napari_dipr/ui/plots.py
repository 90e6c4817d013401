"""Curves: how well the object explains the measurement, and how large its support is; how far out starts agree."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyqtgraph
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

# Readable on dark and on light.
CURVES = {"chi2": ("χ²", "#12a5bd"), "r_factor": ("R", "#e08300"), "free_chi2": ("free χ²", "#a06cd5")}
SUPPORT_COLOUR = "#3fa45b"
STAGE_COLOUR = "#7f8790"
PRTF_COLOUR, FSC_COLOUR = "#12a5bd", "#e08300"


class Curves(QWidget):
    """A place for curves, behind which the theme is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.view = view = pyqtgraph.GraphicsLayoutWidget()
        view.setBackground(None)
        view.ci.layout.setContentsMargins(0, 0, 0, 0)
        view.ci.layout.setVerticalSpacing(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(view)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme: what is behind the curves is kept as a picture."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self.view.resetCachedContent()

    def add_plot(self, row: int = 0) -> pyqtgraph.PlotItem:
        """Add a plot that is looked at and not touched."""
        plot = self.view.addPlot(row=row, col=0)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.showGrid(y=True, alpha=0.25)
        plot.getAxis("left").setWidth(48)  # one left edge for all
        return plot


def named(plot: pyqtgraph.PlotItem, names: Sequence[tuple[str, str]], size: str = "9pt") -> None:
    """Name curves by their colours in the title: a legend would lie over them."""
    words = (f'<span style="color: {colour}">{name}</span>' for name, colour in names)
    plot.setTitle(" &nbsp; ".join(words), size=size)


class ConvergencePlot(Curves):
    """χ² and R-factor against the iteration, χ² on free pixels where some are held back, and the support's size.

    Vertical lines mark where a stage begins (grey, named) and where a person edited the support (green).
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors, self.size = self.add_plot(), self.add_plot(1)
        self.view.ci.layout.setRowStretchFactor(0, 3)
        self.view.ci.layout.setRowStretchFactor(1, 1)
        for plot in (self.errors, self.size):
            plot.setDownsampling(auto=True, mode="peak")
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
        self.layout().addWidget(self.logarithmic)
        self.setFixedHeight(270)
        self.logarithmic.setChecked(True)
        self.show_history(())

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
        named(self.errors, [*(CURVES[key] for key in keys), ("support, pixels", SUPPORT_COLOUR)])


class ResolutionPlot(Curves):
    """How far out starts agree: PRTF and FSC against the frequency.

    Dashed is what each is held against, 1/e and the half-bit curve; ½, of the FSC, is dotted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plot = self.add_plot()
        self.plot.setYRange(0, 1.05)
        self.plot.getAxis("left").setTickSpacing(0.2, 0.2)
        self.plot.getAxis("bottom").enableAutoSIPrefix(False)
        self.view.ci.layout.setContentsMargins(0, 0, 8, 6)  # the last number, and the letters that hang down
        self.curves: dict[str, Any] = {}
        self.setFixedHeight(200)

    def show_curves(self, prtf: Any, fsc: Any, unit: str) -> None:
        """Draw them; None leaves one out. The unit is that of the lengths."""
        from napari_dipr.physics.fsc import HALF
        from napari_dipr.physics.prtf import LEVEL

        self.plot.clear()
        self.curves, names = {}, []
        if prtf is not None:
            self._draw("PRTF", PRTF_COLOUR, prtf.frequency, prtf.value, [LEVEL] * len(prtf.value))
            names.append((f"PRTF, 1/e{_at(prtf.resolution, unit)}", PRTF_COLOUR))
        if fsc is not None:
            self._draw("FSC", FSC_COLOUR, fsc.frequency, fsc.value, fsc.half_bit)
            self.plot.addLine(y=HALF, pen=pyqtgraph.mkPen(FSC_COLOUR, style=Qt.PenStyle.DotLine))
            names.append((f"FSC, half-bit{_at(fsc.half_bit_resolution, unit)}", FSC_COLOUR))
        self.plot.setLabel("bottom", f"cycles per {unit.removesuffix('s')}")
        named(self.plot, names, "8pt")

    def _draw(self, name: str, colour: str, frequency: Any, value: Any, level: Any) -> None:
        dashed = pyqtgraph.mkPen(colour, style=Qt.PenStyle.DashLine)
        self.curves[name] = self.plot.plot(frequency, value, pen=pyqtgraph.mkPen(colour, width=2))
        self.curves[f"{name}'s level"] = self.plot.plot(frequency, level, pen=dashed)


def _at(resolution: float | None, unit: str) -> str:
    return "" if not resolution or resolution == float("inf") else f": {resolution:.3g} {unit}"


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
