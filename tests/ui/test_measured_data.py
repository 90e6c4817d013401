"""A measured pattern through the same widgets as a person uses."""

import numpy as np
from skimage.measure import label


def test_a_measured_crystal_stays_compact(workflow, finished, idle, measured_data):
    session = workflow.session
    workflow.measurement.source.frame.value = 99
    workflow.measurement.source.open(measured_data / "scan54" / "stack_raw_counts.npz")
    idle(lambda: "256 × 256" in workflow.measurement.source.found.text())
    workflow.measurement.prepare.threshold.value, workflow.measurement.prepare.crop.value = "3", "128"
    workflow.measurement.use_button.click()
    idle(lambda: session.measurement is not None)
    assert session.measurement.grid == (128, 128)
    workflow.support.autocorrelation_button.click()
    idle(lambda: session.support is not None)
    first = session.support.sum()
    workflow.refine.bar.start.click()
    finished(session)
    support = session.refinement.snapshot.support
    pieces = np.bincount(label(support).ravel())[1:]
    assert pieces.max() > 0.9 * support.sum()
    assert 200 < support.sum() < first
    assert session.refinement.snapshot.history[-1].chi2 < 0.03
    workflow.grab()
