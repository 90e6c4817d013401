import math

import numpy as np
import pytest

pytest.importorskip("pyqtgraph")

from napari_dipr.physics.fsc import ShellCorrelation
from napari_dipr.physics.prtf import TransferFunction
from napari_dipr.solvers.position import Record
from napari_dipr.ui.plots import ConvergencePlot, ResolutionPlot, marks_of

HISTORY = (
    Record(1, 0.5, 0.6, 400.0, stage="hio"),
    Record(10, 0.2, 0.3, 380.0, stage="hio"),
    Record(20, 0.1, 0.2, 300.0, stage="hio", edits=1),
    Record(30, 0.05, 0.1, 300.0, stage="er", edits=3),
)


def test_stages_and_edits_are_marked_where_they_are_first_recorded():
    assert list(marks_of(HISTORY)) == [(20, ""), (30, ""), (30, "er")]
    assert list(marks_of(HISTORY[:1])) == list(marks_of(())) == []


def test_the_curves_are_those_of_the_history(qtbot):
    plot = ConvergencePlot()
    qtbot.addWidget(plot)
    plot.show_history(HISTORY)
    assert list(plot.curves["support_pixels"].getData()[1]) == [400, 380, 300, 300]
    assert plot.curves["free_chi2"].getData()[0] is None
    assert plot.marks == [(20, ""), (30, ""), (30, "er")]
    assert "free" not in plot.errors.titleLabel.text
    plot.show_history(())
    assert plot.marks == []


def test_the_errors_axis_is_logarithmic_until_it_is_not(qtbot):
    plot = ConvergencePlot()
    qtbot.addWidget(plot)
    plot.show_history(HISTORY)
    assert plot.curves["chi2"].getData()[1][0] == pytest.approx(-0.30103, abs=1e-4)
    plot.logarithmic.setChecked(False)
    assert list(plot.curves["chi2"].getData()[1]) == [0.5, 0.2, 0.1, 0.05]
    assert plot.curves["support_pixels"].getData()[1][0] == 400


def test_what_agrees_is_drawn_with_what_it_is_held_against_and_where_it_ends(qtbot):
    plot = ResolutionPlot()
    qtbot.addWidget(plot)
    frequency, pixels = np.array([0, 0.1, 0.2]), np.array([1, 8, 16])
    prtf = TransferFunction(frequency, np.array([1, 0.6, 0.1]), pixels, 0.5, 9)
    fsc = ShellCorrelation(frequency, np.array([1, 0.9, 0.8]), pixels, np.array([0.7, 0.6, 0.4]))
    plot.show_curves(prtf, fsc, "nm")
    assert list(plot.curves["PRTF"].getData()[1]) == [1, 0.6, 0.1]
    assert list(plot.curves["PRTF's level"].getData()[1]) == [math.exp(-1)] * 3
    assert list(plot.curves["FSC's level"].getData()[1]) == [0.7, 0.6, 0.4]
    title = plot.plot.titleLabel.text
    assert f"PRTF, 1/e: {prtf.resolution:.3g} nm" in title
    assert "FSC, half-bit<" in title  # it stays above
    assert plot.plot.getAxis("bottom").labelText == "cycles per nm"
    plot.show_curves(None, fsc, "voxels")
    assert set(plot.curves) == {"FSC", "FSC's level"}
    assert "PRTF" not in plot.plot.titleLabel.text
