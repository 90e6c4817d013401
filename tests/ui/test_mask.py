import numpy as np
import pytest

from napari_dipr.errors import DiprError
from napari_dipr.measurement import Measurement
from napari_dipr.samples import sample


@pytest.fixture
def counted(workflow):
    """A workflow with counts in which a pixel is hot, one dead, and a corner was not measured."""
    measurement, _ = sample("fashion-0")
    counts = (
        np.random.default_rng(0).poisson(measurement.intensities / measurement.intensities.max() * 3e6).astype(float)
    )
    counts[2, 3] = 1e5
    counts[36, 37] = 0
    measured = np.ones(counts.shape, bool)
    measured[-4:, -4:] = False
    workflow.session.use(Measurement.of(counts, zero_frequency="centre", measured=measured, name="counts"))
    return workflow


def test_bad_pixels_are_suggested_and_then_unmeasured(counted, idle):
    session, panel = counted.session, counted.measurement
    assert "16 of 5184 pixels are unmeasured" in panel.mask_words.text()
    assert not panel.mask_button.isEnabled()
    panel.suggest_button.click()
    idle(lambda: session.mask.is_drawn)
    idle(lambda: "1 dead, 1 hot" in panel.mask_words.text())
    assert session.measurement.measured[2, 3]
    panel.mask_button.click()
    assert not session.measurement.measured[2, 3]
    assert not session.measurement.measured[36, 37]
    assert (~session.measurement.measured).sum() == 18
    assert "18 of 5184" in panel.mask_words.text()
    assert not panel.mask_button.isEnabled()


def test_a_suggestion_can_be_undone_and_what_was_erased_counts_again(counted, idle):
    session, panel = counted.session, counted.measurement
    panel.suggest_button.click()
    idle(lambda: session.mask.is_drawn)
    panel.mask_button.click()
    layer = session.mask.layer
    layer.brush_size = 1
    layer.paint((2, 3), 0)
    layer.paint((70, 70), 0)  # was never measured: there is no value to go back to
    idle(lambda: panel.mask_button.isEnabled())
    panel.mask_button.click()
    assert session.measurement.measured[2, 3]
    assert session.measurement.intensities[2, 3] == 1e5
    assert not session.measurement.measured[70, 70]
    assert layer.data[70, 70] == 1


def test_support_and_runs_stay_with_another_mask(loaded, finished, idle):
    session, panel = loaded.session, loaded.measurement
    loaded.refine.iterations.value = 20
    loaded.refine.bar.start.click()
    finished(session)
    support, canvas = session.support, session.canvas
    panel.draw_button.click()
    layer = session.mask.layer
    assert session.viewer.layers.selection.active is layer
    layer.brush_size = 5
    layer.paint((36, 36), 1)
    idle(lambda: panel.mask_button.isEnabled())
    panel.mask_button.click()
    assert not session.measurement.measured[36, 36]
    assert session.canvas is canvas
    np.testing.assert_array_equal(session.support, support)
    (first,) = session.history.results
    assert first.measurement.measured.all()
    loaded.refine.bar.start.click()
    finished(session)
    assert not session.history.results[1].measurement.measured[36, 36]
    loaded.runs.choose(first)
    loaded.runs.show_button.click()  # with the mask that it had
    assert session.measurement.measured.all()
    assert not session.mask.layer.data.any()


def test_a_mask_that_leaves_nothing_is_refused_and_the_measurement_stays(loaded, told, idle):
    session, panel = loaded.session, loaded.measurement
    before = session.measurement
    panel.draw_button.click()
    session.mask.layer.data_setitem(np.nonzero(np.ones((72, 72))), 1)
    idle(lambda: panel.mask_button.isEnabled())
    panel.mask_button.click()
    assert "leaves no measured pixel" in told.messages()[-1]
    assert session.measurement is before
    assert session.mask.layer.data.all()


def test_no_mask_is_used_during_a_run(loaded, idle, finished):
    session, panel = loaded.session, loaded.measurement
    panel.draw_button.click()
    session.mask.layer.paint((36, 36), 1)
    loaded.refine.iterations.value = 1_000_000
    loaded.refine.bar.start.click()
    idle(lambda: not panel.mask_button.isEnabled())
    with pytest.raises(DiprError, match="A run is under way"):
        session.mask.use()
    loaded.refine.bar.stop.click()
    finished(session)
    assert panel.mask_button.isEnabled()
