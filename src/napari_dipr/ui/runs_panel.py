"""The Runs panel: every run, to show, continue, compare, delete; and to settle what no intensity tells."""

from functools import partial
from pathlib import Path
from typing import Any

import napari
from magicgui.widgets import ComboBox
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dipr.errors import DiprError
from napari_dipr.io.record import READABLE
from napari_dipr.ui.crystal_form import CrystalForm
from napari_dipr.ui.forms import Form, button, follow, icon_of, remark
from napari_dipr.ui.history import Result, Settled
from napari_dipr.ui.pictures import SMALL
from napari_dipr.ui.session import session_of

COLUMNS = ("run", "χ²", "free χ²", "its", "pixels", "recipe")
TURNS: dict[str, tuple[Settled, str]] = {
    "Twin": ("twin", "Flip and conjugate the object: its intensities stay the same"),
    "Recentre": ("centre", "Shift the object to the middle: its intensities stay the same"),
    "Remove phase ramp": ("ramp", "Take the mean slope off the phase, in what is shown and exported"),
}
KNOWN, FILE = "the known object", "a file …"


class RunsPanel(QWidget):
    """The table of runs, and what can be done with one."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.history = history = session.history
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setIconSize(QSize(SMALL, SMALL))
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(170)
        self.show_button: QPushButton = button("Show", "Show this run's object, support and measurement", self._show)
        self.continue_button = button(
            "Continue",
            "Show this run, with the mask that it had, and start the form's recipe from its object",
            self._continue,
        )
        self.table.itemDoubleClicked.connect(lambda item: self.show_button.click())
        self.delete_button = button("Delete", "Forget this run; what is shown stays", self._delete)
        self.other = ComboBox(choices=[], label="compare with", tooltip="What the run chosen above is compared with")
        self.compare_button = button("Compare", "Align it with the run chosen above, and show both", self._compare)
        self.turns = {name: button(name, words, partial(history.settle, what)) for name, (what, words) in TURNS.items()}
        self.words = remark()
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        for buttons in ((self.show_button, self.continue_button, self.delete_button), self.turns.values()):
            row = QHBoxLayout()
            for one in buttons:
                row.addWidget(one)
            layout.addLayout(row)
        form = Form()
        form.add(self.other)
        form.addRow("", self.compare_button)
        layout.addLayout(form)
        layout.addWidget(self.words)
        self.crystal = CrystalForm(session)
        self.crystal_section = QCollapsible("Crystal: nanometres, displacement, strain")
        self.crystal_section.addWidget(self.crystal)
        layout.addWidget(self.crystal_section)
        layout.addStretch()
        self.table.itemSelectionChanged.connect(self._selected)
        follow(self, history.changed, self._fill)
        follow(self, session.refinement.changed, self._fill)
        follow(self, session.busy_changed, self._enable)
        follow(self, session.refinement.advanced, self._advanced)
        self._fill()

    @property
    def chosen(self) -> Result | None:
        """The run of the row that is selected; without one, that which is shown."""
        row = self.table.currentRow()
        return self.history.results[row] if 0 <= row < len(self.history.results) else self.history.shown

    def choose(self, result: Result) -> None:
        """Select a run's row."""
        self.table.selectRow(self.history.results.index(result))

    def _advanced(self) -> None:
        if self.history.shown is not self._shown:
            self._fill()

    def _fill(self) -> None:
        results, shown = self.history.results, self.history.shown
        self.words.setText("")  # what was compared may be gone, or turned
        self._shown = shown
        with_measurement = len({result.measurement.name for result in results}) > 1
        before = self.table.rowCount()
        self.table.setRowCount(len(results))
        for row, result in enumerate(results):
            snapshot, last = result.snapshot, result.snapshot.history[-1]
            name = f"{result.number}{' (shown)' if result is shown else ''}"
            name += f"\n{title}" if (title := result.settings.get("title")) else ""
            name += f"\n{result.measurement.name}" if with_measurement else ""
            free = "" if last.free_chi2 is None else f"{last.free_chi2:.2e}"
            cells = (
                name,
                f"{last.chi2:.2e}",
                free,
                str(snapshot.iteration),
                str(int(snapshot.support.sum())),
                result.recipe,
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(_described(result))
                if column == 0:
                    item.setIcon(icon_of(result.picture))
                elif column < len(COLUMNS) - 1:
                    item.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
                self.table.setItem(row, column, item)
            self.table.setRowHeight(row, SMALL + 6)
        self.table.setColumnHidden(2, all(result.snapshot.history[-1].free_chi2 is None for result in results))
        if len(results) > before:  # the newest is what people ask about
            self.table.selectRow(len(results) - 1)
        self._selected()

    def _selected(self) -> None:
        """Offer what the chosen run can be compared with."""
        chosen = self.chosen
        others: list[tuple[str, Any]] = []
        if chosen is not None:
            grid = chosen.measurement.grid
            results = [r for r in self.history.results if r is not chosen and r.measurement.grid == grid]
            name = chosen.measurement.name
            others += [
                (r.name if r.measurement.name == name else f"{r.name}, {r.measurement.name}", r) for r in results[::-1]
            ]
            others += [(KNOWN, KNOWN)] if chosen.truth is not None else []
            others.append((FILE, FILE))
        self.other.choices = others
        self._enable()

    def _enable(self) -> None:
        idle, chosen = self.session.refinement.state == "idle" and not self.session.busy, self.chosen
        for one in (self.show_button, self.continue_button, self.compare_button):
            one.setEnabled(idle and chosen is not None)
        self.delete_button.setEnabled(chosen is not None and chosen in self.history.results)
        for one in self.turns.values():
            one.setEnabled(idle and self.history.shown is not None)

    def _show(self) -> None:
        if (chosen := self.chosen) is not None:
            self.history.show(chosen)

    def _continue(self) -> None:
        form = self.history.docked_form("go on")
        if self.chosen is not self.history.shown:  # else whatever was masked or painted since counts
            self._show()
        form.go_on()

    def _delete(self) -> None:
        if (chosen := self.chosen) is not None:
            self.history.delete(chosen)

    def _compare(self) -> None:
        chosen, other = self.chosen, self.other.value
        if chosen is None:
            raise DiprError("There is no run yet. Start a refinement first.")
        if other == FILE:
            kinds = " ".join(f"*{ending}" for ending in READABLE)
            path, _ = QFileDialog.getOpenFileName(self, "Compare with", filter=f"Results ({kinds})")
            if not path:
                return
            other = Path(path)
        self.history.compare(chosen, None if other == KNOWN else other, partial(self._compared, chosen))

    def _compared(self, chosen: Result, name: str, found: dict[str, Any]) -> None:
        amplitudes, objects = found["amplitude_correlation"], found["complex_correlation"]
        self.words.setText(
            f"{chosen.name.capitalize()} and {name}: amplitudes correlate at {amplitudes:.3f}, complex objects at "
            f"{objects:.3f}. Removed from {name}: {found['removed']}."
        )

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        count = len(self.history.results)
        return f"{count} kept" if count else ""


def _described(result: Result) -> str:
    settings = result.settings
    lines = [
        f"{result.name} of {result.measurement.name}: {result.ended}",
        f"recipe {settings.get('recipe', '')}",
        f"from {settings.get('start')}, support from {settings.get('support_from')}",
        f"{result.snapshot.seconds:.1f} s on {settings.get('device')}",
    ]
    return "\n".join([*lines, *settings.get("settled_by_hand", ())])
