"""The table of starts: what each came to, which are kept."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem
from superqt.utils import signals_blocked

from napari_dipr.ui.forms import icon_of

# Heading, what it is of a row, how it is written, and what it says.
COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("start", "number", "", "Its number; click to look at it"),
    ("χ²", "chi2", ".2e", "Σ(|F|−A)²/ΣA² on the pixels that were fitted"),
    ("free χ²", "free_chi2", ".2e", "The same on the pixels that were held back"),
    ("free LL", "free_likelihood", "#.3g", "Poisson's deviance on the pixels that were held back, of each pixel"),
    ("pixels", "support_pixels", "d", "Of the support"),
    ("✓", "", "", "Whether it is averaged; press Average after a change"),
)
# Six columns are to fit; of a box that is not ticked the theme shows next to nothing.
STYLE = (
    "QTableView, QHeaderView::section { font-size: 11px; padding: 1px; }"
    "QTableView::indicator:unchecked { border: 1px solid #7f8790; }"
)
# Pixels along a start's picture: a row is narrow.
PICTURE = 34
# Rows that are seen without scrolling.
SEEN = 7
KEEP = len(COLUMNS) - 1
NAMES = [name for _, name, _, _ in COLUMNS]


class StartsTable(QTableWidget):
    """Starts by rank, or as a heading says that is clicked."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        for column, (heading, _, _, about) in enumerate(COLUMNS):
            item = QTableWidgetItem(heading)
            item.setToolTip(about)
            self.setHorizontalHeaderItem(column, item)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setIconSize(QSize(PICTURE, PICTURE))
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column in (0, KEEP):
            self.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setMinimumSectionSize(20)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.setStyleSheet(STYLE)
        self._ranked_by = ""

    def fill(self, rows: Sequence[Any], pictures: Sequence[NDArray], kept: Sequence[bool], ranked_by: str) -> None:
        """Show starts, :class:`~napari_dipr.ensembles.ranking.Row` s, by the attribute that they are ranked by.

        ``kept`` is empty where nothing is to be chosen yet.
        """
        with signals_blocked(self):
            self.setSortingEnabled(False)  # else rows would move while they are filled in
            self.setRowCount(len(rows))
            self.setFixedHeight(min(max(len(rows), 2), SEEN) * (PICTURE + 4) + 30)
            for place, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
                for column, (_, name, form, _) in enumerate(COLUMNS):
                    value = getattr(row, name) if name else bool(kept) and kept[place]
                    item = _Item(value, _written(name, value, form))
                    item.setData(Qt.ItemDataRole.UserRole, place)
                    if column == 0:
                        item.setIcon(icon_of(picture))
                    elif name:
                        item.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
                    elif kept:
                        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                        self._tick(item, value)
                    item.setToolTip(f"Seed {row.seed}: {row.ended}, {row.seconds:.1f} s")
                    self.setItem(place, column, item)
                self.setRowHeight(place, PICTURE + 4)
            for column, (_, name, _, _) in enumerate(COLUMNS[1:KEEP], 1):
                self.setColumnHidden(column, bool(rows) and all(getattr(row, name) is None for row in rows))
            if ranked_by != self._ranked_by:
                self._ranked_by = ranked_by
                self.horizontalHeader().setSortIndicator(NAMES.index(ranked_by), Qt.SortOrder.AscendingOrder)
            self.setSortingEnabled(True)

    def tick(self, kept: Sequence[bool]) -> None:
        """Tick those that are to be kept."""
        with signals_blocked(self):
            self.setSortingEnabled(False)
            for row in range(self.rowCount()):
                self._tick(self.item(row, KEEP), kept[self.place(row)])
            self.setSortingEnabled(True)

    @staticmethod
    def _tick(item: "_Item", kept: bool) -> None:
        item.setCheckState(Qt.CheckState.Checked if kept else Qt.CheckState.Unchecked)

    def place(self, row: int) -> int:
        """Return which start is in a row of the table, counted in the order of their numbers."""
        return int(self.item(row, 0).data(Qt.ItemDataRole.UserRole))

    @property
    def kept(self) -> list[bool]:
        """Whether each start is to be averaged, in the order of their numbers."""
        found = {self.place(row): self.item(row, KEEP).checkState() for row in range(self.rowCount())}
        return [found[place] == Qt.CheckState.Checked for place in range(self.rowCount())]


class _Item(QTableWidgetItem):
    """A cell that is sorted by its value; what is not known comes last."""

    def __init__(self, value: Any, text: str) -> None:
        super().__init__(text)
        self.value = float("inf") if value is None else value

    def __lt__(self, other: Any) -> bool:
        if self.column() == KEEP:  # those that are ticked first
            return self.checkState() == Qt.CheckState.Checked != other.checkState()
        return self.value < other.value


def _written(name: str, value: Any, form: str) -> str:
    if not name or value is None:
        return ""
    return str(value + 1) if name == "number" else f"{value:{form}}".replace("e-0", "e-")
