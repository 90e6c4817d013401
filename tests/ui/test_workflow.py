import numpy as np
import pytest
from qtpy.QtGui import QImage

from napari_dipr.networks.zoo import model_names
from napari_dipr.samples import sample
from napari_dipr.ui import demo
from napari_dipr.ui.workflow import Workflow


def opened(workflow):
    return [index for index, section in enumerate(workflow.sections, 1) if section.isExpanded()]


def test_the_next_step_is_open_and_the_others_say_what_they_hold(workflow, finished):
    session = workflow.session
    assert opened(workflow) == [1]
    measurement, truth = sample("fashion-0")
    session.use(measurement, truth)
    assert opened(workflow) == [2]
    assert "fashion-0 · 72 × 72" in workflow.sections[0].text()
    session.show_support(np.abs(truth) > 0, "test")
    assert opened(workflow) == [2, 3]
    assert f"{(np.abs(truth) > 0).sum()} px" in workflow.sections[1].text()
    workflow.refine.iterations.value = 30
    workflow.refine.bar.start.click()
    finished(session)
    assert opened(workflow) == [3, 6]
    assert "after 30" in workflow.sections[2].text()


def test_a_simulation_stays_open_for_its_figures_and_the_next_try(workflow, idle):
    session, form = workflow.session, workflow.measurement.simulation
    workflow.measurement.simulating.expand(animate=False)
    form.picture.value = session.viewer.add_image(np.random.default_rng(0).random((20, 20)), name="picture")
    for _ in range(2):
        before = session.measurement
        form.simulate_button.click()
        idle(lambda before=before: session.measurement is not before and not session.busy)
        assert opened(workflow) == [1, 2]
        assert workflow.measurement.simulating.isExpanded()
        assert form.words.isVisibleTo(workflow)
        assert "oversampling" in form.words.text()
        session.show_support(np.abs(session.truth) > 0, "test")
        assert opened(workflow) == [2, 3]
        workflow.sections[0].expand(animate=False)


def test_the_button_that_leads_on_stands_out(workflow, idle):
    def leading():
        panels, bar = workflow, workflow.refine.bar
        buttons = {
            "open": panels.measurement.source.open_button,
            "use": panels.measurement.use_button,
            "propose": panels.support.propose_button,
            "autocorrelation": panels.support.autocorrelation_button,
            "start": bar.start,
            "export": panels.export.export_button,
        }
        return [name for name, button in buttons.items() if button.styleSheet()]

    assert leading() == ["open"]
    layer = workflow.session.viewer.add_image(np.random.default_rng(0).random((64, 64)), name="mine")
    workflow.measurement.source.layer.value = layer
    assert leading() == ["use"]
    workflow.measurement.use_button.click()
    idle(lambda: workflow.session.measurement is not None)
    assert leading() == ["propose"]
    workflow.support.autocorrelation_button.click()
    idle(lambda: workflow.session.support is not None)
    assert leading() == ["start"]


def test_the_widget_can_be_closed_and_opened_again(loaded, finished, qtbot):
    session, viewer = loaded.session, loaded.session.viewer
    loaded.refine.iterations.value = 30
    loaded.refine.bar.start.click()
    viewer.window.remove_dock_widget(loaded)
    loaded.close()
    loaded.deleteLater()
    qtbot.wait(50)
    finished(session)
    again = Workflow(viewer)
    viewer.window.add_dock_widget(again)
    assert again.session is session
    assert "fashion-0" in again.sections[0].text()
    assert again.export.export_button.isEnabled()


def test_it_needs_no_more_than_360_pixels(workflow):
    assert workflow.minimumSizeHint().width() <= 360
    for panel in workflow.panels:
        assert panel.minimumSizeHint().width() <= 340


def test_a_section_grows_with_what_its_panel_shows(viewer, qtbot):
    workflow = Workflow(viewer)
    qtbot.addWidget(workflow)
    workflow.resize(workflow.sizeHint())
    with qtbot.waitExposed(workflow):
        workflow.show()
    panel, layout = workflow.starts, workflow.starts.layout()
    workflow.sections[3].expand(animate=False)
    qtbot.waitUntil(lambda: panel.height() >= layout.totalHeightForWidth(panel.width()) > 100)
    before = panel.height()
    panel.words.setText("words that wrap " * 40)
    for widget in (panel.table, panel.words, panel.plot):
        widget.show()
    qtbot.waitUntil(lambda: panel.height() >= layout.totalHeightForWidth(panel.width()) > before + 400)
    workflow.sections[3].expand(animate=False)  # though it is open
    content = workflow.sections[3].content()
    assert content.maximumHeight() >= content.minimumHeight() == panel.height()
    workflow.sections[3].collapse(animate=False)
    qtbot.waitUntil(lambda: content.height() == 0)


@pytest.mark.skipif("passive-fashion" not in model_names(), reason="the weights are not there")
def test_the_demo_goes_through_the_whole_way(viewer, workflow, tmp_path):
    workflow.session.use(*sample("fashion-0"))
    written = demo.go_through(viewer, workflow, tmp_path)
    assert sorted(path.suffix for path in written) == [".png"] * 4 + [".tif"] * 2
    assert workflow.session.refinement.settings["support_edited_by_hand"]
    picture = QImage(str(written[-1]))
    assert picture.width() > 300
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 7) for y in range(0, picture.height(), 7)}
    assert len(colours) > 50  # not a black window
