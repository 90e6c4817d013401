"""The arrays of a file as a tree, to choose one."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_dipr.io.listing import Entry

HEADINGS = ("array", "shape", "type", "")
KEY = Qt.ItemDataRole.UserRole


class ArrayChoice(QDialog):
    """Shows a file's arrays in their groups; those that could be a measurement stand out.

    Parameters
    ----------
    parent
        Widget that it belongs to.
    name
        The file's.
    entries
        What :func:`~napari_dipr.io.listing.listing` says.
    chosen
        Gets the key of the array that a person takes.
    """

    def __init__(self, parent: QWidget, name: str, entries: Sequence[Entry], chosen: Callable[[str], None]) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Arrays of {name}")
        self.resize(720, 420)
        self._chosen = chosen
        self.tree = tree = QTreeWidget()
        tree.setHeaderLabels(HEADINGS)
        groups: dict[str, QTreeWidgetItem] = {}
        for entry in entries:
            self._add(groups, entry)
        tree.expandAll()
        tree.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(tree)
        layout.addWidget(self.buttons)
        tree.itemSelectionChanged.connect(self._enable)
        tree.itemDoubleClicked.connect(lambda item, column: self.accept())
        self._enable()

    def _add(self, groups: dict[str, QTreeWidgetItem], entry: Entry) -> None:
        key = entry.key or ""
        *path, last = key.split("/") if key else ["(the array)"]
        parent = self.tree.invisibleRootItem()
        for depth in range(len(path)):
            at = "/".join(path[: depth + 1])
            if at not in groups:
                groups[at] = QTreeWidgetItem(parent, [path[depth]])
                groups[at].setFlags(Qt.ItemFlag.ItemIsEnabled)
            parent = groups[at]
        shape = "" if entry.shape is None else " × ".join(map(str, entry.shape)) or "one number"
        item = QTreeWidgetItem(parent, [last, shape, entry.dtype or "", "; ".join(entry.about)])
        item.setToolTip(3, "; ".join(entry.about))
        if entry.shape is None:
            item.setFlags(Qt.ItemFlag.NoItemFlags)
        else:
            item.setData(0, KEY, key)
        if entry.is_likely:
            font = item.font(0)
            font.setBold(True)
            item.setFont(0, font)

    @property
    def key(self) -> str | None:
        """The array that is selected; None where a group is, or nothing."""
        selected = self.tree.selectedItems()
        return selected[0].data(0, KEY) if selected else None

    def _enable(self) -> None:
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(self.key is not None)

    def accept(self) -> None:
        """Take the array that is selected; nothing happens where none is."""
        if (key := self.key) is not None:
            super().accept()
            self._chosen(key)
