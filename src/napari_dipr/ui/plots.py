"""The live error curve."""

from collections.abc import Sequence
from typing import Any

import pyqtgraph
from qtpy.QtWidgets import QVBoxLayout, QWidget

CURVES = {"chi2": ("χ²", "#00e5ff"), "r_factor": ("R", "#ff9500"), "free_chi2": ("free χ²", "#c792ea")}


class ConvergencePlot(QWidget):
    """χ² and R-factor against the iteration, logarithmic; χ² on free pixels where some are held back."""

    def __init__(self) -> None:
        super().__init__()
        self.plot = pyqtgraph.PlotWidget(background=None)
        self.plot.setLogMode(y=True)
        self.plot.setDownsampling(auto=True, mode="peak")
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(False, False)
        self.plot.setYRange(-4, 0)
        self.plot.showGrid(y=True, alpha=0.25)
        self.plot.setLabel("bottom", "iteration")
        self.plot.getAxis("left").setStyle(maxTickLevel=0)  # decades only
        self._name_curves([name for name in CURVES if not name.startswith("free")])
        self.curves = {
            key: self.plot.plot([], [], pen=pyqtgraph.mkPen(colour, width=2)) for key, (_, colour) in CURVES.items()
        }
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)
        self.setFixedHeight(190)

    def show_history(self, history: Sequence[Any]) -> None:
        """Draw the error history, records with ``iteration`` and what is drawn of them; None where it is not known."""
        (self.plot.enableAutoRange if history else self.plot.disableAutoRange)()
        if history:
            self._name_curves([key for key in CURVES if getattr(history[-1], key) is not None])
        for key, curve in self.curves.items():
            known = [record for record in history if getattr(record, key) is not None]
            # A logarithm has no zero: noise-free data can be matched to the last bit.
            curve.setData(
                [record.iteration for record in known], [max(getattr(record, key), 1e-16) for record in known]
            )

    def _name_curves(self, keys: Sequence[str]) -> None:
        # In the title: a legend would lie over the curves.
        names = (f'<span style="color: {CURVES[key][1]}">{CURVES[key][0]}</span>' for key in keys)
        self.plot.setTitle(" &nbsp; ".join(names), size="9pt")
