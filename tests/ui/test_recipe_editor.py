import pytest

from napari_dipr.solvers.recipe import ALGORITHMS, Recipe
from napari_dipr.ui.recipe_editor import NAMES
from napari_dipr.ui.refine_panel import WRITTEN


@pytest.fixture
def editing(workflow, idle):
    """A workflow whose recipe is written: two stages, twice, and one more."""
    refine = workflow.refine
    refine.text.value = "(hio(beta=0.8)*90 + raar*90)*2 + er*60; shrinkwrap(threshold=0.1)"
    refine.algorithm.value = WRITTEN
    refine.editor.read()  # the window of a test is not shown, which would do it
    idle(lambda: refine.editor.table.rowCount() == 5)
    return workflow


def choose(editor, row):
    editor.table.selectRow(row)


def test_the_names_are_those_that_there_are():
    assert tuple(ALGORITHMS) == NAMES


def test_a_text_becomes_rows(editing):
    hio, raar = ("hio", 90, "beta=0.8"), ("raar", 90, "")
    assert editing.refine.editor.rows == [hio, raar, hio, raar, ("er", 60, "")]


def test_rows_are_changed_added_moved_and_deleted_and_the_text_follows(editing):
    editor, text = editing.refine.editor, editing.refine.text
    choose(editor, 3)
    editor.delete_button.click()
    choose(editor, 2)
    editor.delete_button.click()
    assert text.value == "hio(beta=0.8)*90 + raar*90 + er*60; shrinkwrap(threshold=0.1)"
    choose(editor, 2)
    editor.up_button.click()
    assert text.value.startswith("hio(beta=0.8)*90 + er*60 + raar*90;")
    editor.down_button.click()
    editor.add_button.click()
    editor.table.cellWidget(3, 0).setCurrentText("poisson")
    editor.table.cellWidget(3, 1).setValue(7)
    editor.table.cellWidget(0, 2).setText("beta=0.7")
    editor.table.cellWidget(0, 2).editingFinished.emit()
    assert text.value == "hio(beta=0.7)*90 + raar*90 + er*60 + poisson*7; shrinkwrap(threshold=0.1)"
    assert Recipe.parse(text.value).shrinkwrap.threshold == 0.1


def test_a_recipe_keeps_a_stage(editing, told):
    editor = editing.refine.editor
    for _ in range(5):
        editor.delete_button.click()
    assert len(editor.rows) == 1
    assert "a stage at least" in told.messages()[-1]


def test_a_text_that_is_no_recipe_is_told_in_place_and_the_rows_stay(editing, idle, told):
    refine = editing.refine
    before = refine.editor.rows
    refine.text.value = "hoi*300"
    refine.text.native.editingFinished.emit()
    idle(lambda: "'hoi*300' was not understood" in refine.editor.words.text())
    assert refine.editor.rows == before
    assert told.messages() == []
    refine.text.value = "hio*300"
    refine.text.native.editingFinished.emit()
    idle(lambda: refine.editor.rows == [("hio", 300, "")])
    assert refine.editor.words.text() == ""


def test_a_preset_can_be_taken_apart(workflow, idle):
    refine = workflow.refine
    refine.iterations.value, refine.beta.value = 200, 0.8
    assert not refine.editor.isVisibleTo(refine)
    refine.edit_button.click()
    idle(lambda: refine.algorithm.value == WRITTEN)
    refine.editor.read()
    idle(lambda: refine.editor.rows == [("hio", 180, "beta=0.8"), ("er", 20, "")])
    assert refine.algorithm.value == WRITTEN
    assert refine.editor.isVisibleTo(refine)


def test_the_rows_are_what_is_run(loaded, idle, finished):
    refine = loaded.refine
    refine.iterations.value = 30
    refine.edit_button.click()
    idle(lambda: refine.algorithm.value == WRITTEN)
    refine.editor.read()
    idle(lambda: len(refine.editor.rows) == 2)
    refine.editor.table.cellWidget(1, 1).setValue(13)
    refine.bar.start.click()
    finished(loaded.session)
    assert loaded.session.history.results[-1].recipe == "hio*27 + er*13"


def test_an_option_that_is_none_is_told_as_soon_as_it_is_written(editing, idle):
    editor = editing.refine.editor
    line = editor.table.cellWidget(0, 2)
    line.setText("gamma=2")
    line.editingFinished.emit()
    idle(lambda: "gamma" in editor.words.text())
    line.setText("beta=0.7")
    line.editingFinished.emit()
    idle(lambda: editor.words.text() == "")


def test_the_rows_are_those_of_a_text_that_was_written_while_another_was_read(workflow, idle):
    refine = workflow.refine
    refine.editor.read()
    refine.text.value = "hio*27 + er*3"
    idle(lambda: refine.editor.rows == [("hio", 27, ""), ("er", 3, "")])
