import json

import pytest
from magicgui.widgets import ComboBox, SpinBox
from napari.settings import get_plugin_settings

from napari_dipr.ui.memory import FormMemory, setting, unremembered
from napari_dipr.ui.workflow import Workflow


def forms():
    return get_plugin_settings("napari-dipr").config_path.with_name("napari-dipr-forms.json")


def widgets():
    return {"kind": ComboBox(choices=["a", "b"], value="a"), "number": SpinBox(value=3, max=9)}


def test_a_form_is_as_it_was_when_it_was_used_last(qapp):
    first = widgets()
    memory = FormMemory("form", first)
    first["kind"].value, first["number"].value = "b", 7
    memory.save()
    FormMemory("another", widgets()).save()
    second = widgets()
    FormMemory("form", second)
    assert (second["kind"].value, second["number"].value) == ("b", 7)


def test_reset_forgets(qapp):
    first = widgets()
    memory = FormMemory("form", first)
    first["number"].value = 7
    memory.save()
    memory.reset()
    assert first["number"].value == 3
    again = widgets()
    FormMemory("form", again)
    assert again["number"].value == 3


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"form": {"kind": "gone", "number": 1e9, "unknown": 1}}', '{"form": {"number": "many"}}']
)
def test_what_does_not_fit_is_passed_over(qapp, content):
    forms().write_text(content)
    held = widgets()
    memory = FormMemory("form", held)
    assert (held["kind"].value, held["number"].value) == ("a", 3)
    held["number"].value = 4
    memory.save()
    assert json.loads(forms().read_text())["form"]["number"] == 4


def test_a_place_that_cannot_be_written_to_stops_nobody(qapp, monkeypatch):
    memory = FormMemory("form", widgets())
    forms().mkdir()
    memory.save()
    assert forms().is_dir()


def test_the_settings_page_says_where_to_begin(viewer):
    settings = get_plugin_settings("napari-dipr")
    assert setting("running", "device") == "auto"
    settings.running.device, settings.running.model = "cpu", "passive-fashion"
    settings.running.interval = 2.0
    workflow = Workflow(viewer)
    assert workflow.refine.device.value == workflow.support.device.value == "cpu"
    from napari_dipr.samples import sample

    workflow.session.use(*sample("fashion-0"))
    assert workflow.support.model.value == "passive-fashion"
    workflow.close()


def test_the_refine_form_comes_back_as_it_was_run(loaded, viewer, finished):
    loaded.refine.algorithm.value, loaded.refine.iterations.value = "RAAR, then ER", 40
    loaded.refine.extras["difference"].value = True
    loaded.refine.bar.start.click()
    finished(loaded.session)
    again = Workflow(viewer)
    assert (again.refine.algorithm.value, again.refine.iterations.value) == ("RAAR, then ER", 40)
    assert again.refine.extras["difference"].value
    again.refine.reset_button.click()
    assert (again.refine.algorithm.value, again.refine.iterations.value) == ("HIO, then ER", 300)
    again.close()


def test_what_is_no_person_s_choice_is_neither_read_nor_kept(qapp):
    first = widgets()
    memory = FormMemory("form", first)
    first["number"].value = 7
    memory.save()
    with unremembered():
        second = widgets()
        other = FormMemory("form", second)
        assert second["number"].value == 3
        second["number"].value = 5
        other.save()
    third = widgets()
    FormMemory("form", third)
    assert third["number"].value == 7
