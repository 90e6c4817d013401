"""The recipe as rows: one a stage, with what stands beside the stages kept as it is written."""

import re
from collections.abc import Callable
from typing import Any

from magicgui.widgets import LineEdit
from qtpy.compat import isalive
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QSpinBox,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from napari_dipr.errors import DiprError
from napari_dipr.ui.forms import button, remark
from napari_dipr.ui.worker import in_background, load_torch

COLUMNS = ("stage", "iterations", "options")
# As napari_dipr.solvers.recipe has them, which would bring torch along.
NAMES = ("er", "hio", "raar", "dm", "rrr", "alm", "detwin", "poisson", "gaussian")
STAGE = re.compile(r"(?P<name>\w+)(\((?P<options>[^()]*)\))?\*(?P<iterations>\d+)")


class RecipeEditor(QWidget):
    """Rows of stages, and the text that says the same.

    Parameters
    ----------
    text
        The recipe's text; it is what counts. Rows are written into it, and it into rows when it was edited.
    """

    def __init__(self, text: LineEdit) -> None:
        super().__init__()
        self.text = text
        self._read = ""
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        self.table.setColumnWidth(0, 100)
        header.setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setFixedHeight(150)
        self.add_button = button("Add", "A stage below the one that is chosen", self._add)
        self.delete_button = button("Delete", "Leave this stage out", self._delete)
        self.up_button = button("Up", "This stage earlier", lambda: self._move(-1))
        self.down_button = button("Down", "This stage later", lambda: self._move(1))
        self.words = remark()
        buttons = QHBoxLayout()
        for one in (self.add_button, self.delete_button, self.up_button, self.down_button):
            buttons.addWidget(one)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        layout.addWidget(self.words)
        text.native.editingFinished.connect(self.read)

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """Name, iterations and options of each stage."""
        widget = self.table.cellWidget
        return [
            (widget(row, 0).currentText(), widget(row, 1).value(), widget(row, 2).text().strip())
            for row in range(self.table.rowCount())
        ]

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Read the text when somebody looks at the rows, and not before: that needs torch."""
        super().showEvent(event)
        self.read()

    def read(self) -> None:
        """Bring the rows to the text, unless they are there already; a text that is no recipe is told."""
        text = self.text.value
        if text != self._read:
            self._read = text
            self._parse(self._fill)

    def _parse(self, then: Callable[[list[tuple[str, int, str]]], None]) -> None:
        """Say what is wrong with the text; where nothing is, hand the rows that it comes to on."""
        text = self.text.value

        def stages() -> Any:
            load_torch()
            from napari_dipr.solvers.recipe import Recipe

            try:
                return [str(stage) for stage in Recipe.parse(text).stages]
            except DiprError as error:
                return str(error)

        def done(found: list[str] | str) -> None:
            if not isalive(self):
                return
            if text != self.text.value:  # edited meanwhile
                self.read()
                return
            if isinstance(found, str):
                self.words.setText(found)
                return
            self.words.setText("")
            matches = [match for match in map(STAGE.fullmatch, found) if match]
            then([(match["name"], int(match["iterations"]), match["options"] or "") for match in matches])

        # Off the main thread: it is the first to need torch, perhaps. Nothing waits for it, a run neither.
        in_background(stages, done, lambda: None, "Reading the recipe")

    def _fill(self, rows: list[tuple[str, int, str]], chosen: int = 0) -> None:
        self.table.setRowCount(0)
        for row, (name, iterations, options) in enumerate(rows):
            self.table.insertRow(row)
            names, number, line = QComboBox(), QSpinBox(), QLineEdit(options)
            names.addItems(NAMES)
            names.setCurrentText(name)
            number.setRange(1, 1_000_000)
            number.setValue(iterations)
            line.setPlaceholderText("beta=0.8, …")
            names.currentTextChanged.connect(self._write)
            number.valueChanged.connect(self._write)
            line.editingFinished.connect(self._write)
            for column, widget in enumerate((names, number, line)):
                self.table.setCellWidget(row, column, widget)
        if rows:
            self.table.selectRow(min(chosen, len(rows) - 1))

    def _write(self, value: Any = None) -> None:
        stages = [
            f"{name}({options})*{number}" if options else f"{name}*{number}" for name, number, options in self.rows
        ]
        beside = self.text.value.partition(";")[2]
        self._read = " + ".join(stages) + (f";{beside}" if beside else "")
        self.text.value = self._read
        self._parse(lambda rows: None)

    def _change(self, rows: list[tuple[str, int, str]], chosen: int) -> None:
        self._fill(rows, chosen)
        self._write()

    def _add(self) -> None:
        rows, at = self.rows, self.table.currentRow() + 1
        self._change([*rows[:at], rows[at - 1] if at else ("hio", 100, ""), *rows[at:]], at)

    def _delete(self) -> None:
        rows, at = self.rows, self.table.currentRow()
        if len(rows) < 2:
            raise DiprError("A recipe has a stage at least.")
        if at >= 0:
            self._change(rows[:at] + rows[at + 1 :], at)

    def _move(self, by: int) -> None:
        rows, at = self.rows, self.table.currentRow()
        if at >= 0 and 0 <= at + by < len(rows):
            rows[at], rows[at + by] = rows[at + by], rows[at]
            self._change(rows, at + by)
