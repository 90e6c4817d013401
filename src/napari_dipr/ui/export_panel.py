"""The Export panel: the reconstruction in one or several formats, with its history inside."""

import os
from pathlib import Path

import napari
from magicgui.widgets import CheckBox, FileEdit, LineEdit
from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from napari_dipr.errors import DiprError, FileError
from napari_dipr.io.record import FORMATS, crystal_paths, files_of
from napari_dipr.io.write import FORBIDDEN, file_name
from napari_dipr.ui.forms import Form, button, follow, remark
from napari_dipr.ui.memory import FormMemory
from napari_dipr.ui.session import session_of

ABOUT = "All settings are in the files; .cxi and .npz hold the measurement, too."
COLUMNS = 3


class ExportPanel(QWidget):
    """Choose a folder and formats, and write the object, its support and all settings."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.folder = FileEdit(
            mode="d", value=Path.home() / "napari-dipr", label="folder", tooltip="Made where it is missing"
        )
        self.name = LineEdit(label="name", tooltip="What the files' names begin with")
        self.formats = {
            ending: CheckBox(value=ending == ".tif", text=ending, tooltip=kind.about)
            for ending, kind in FORMATS.items()
        }
        self.export_button = button(
            "Export", "Write the object and its support, with all settings inside", self._export, "Ctrl+Alt+E"
        )
        self.memory = FormMemory("export", {"folder": self.folder, **self.formats})
        self.state = remark(ABOUT)
        form = Form()
        form.add(self.folder, self.name)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        grid = QGridLayout()
        for number, box in enumerate(self.formats.values()):
            grid.addWidget(box.native, *divmod(number, COLUMNS))
        layout.addLayout(grid)
        layout.addWidget(self.export_button)
        layout.addWidget(self.state)
        layout.addStretch()
        self.summary = self._given = self._measured = ""
        self._asked: list[Path] = []
        self._found: list[Path] = []
        for widget in (self.name, self.folder, *self.formats.values()):
            widget.changed.connect(lambda value: self._enable())
        follow(self, session.measurement_changed, self._measurement_changed)
        follow(self, session.refinement.advanced, self._enable)
        follow(self, session.support_changed, self._enable)
        follow(self, session.refinement.changed, self._enable)
        self._measurement_changed()

    def _measurement_changed(self) -> None:
        measurement = self.session.measurement
        if measurement is not None and measurement.name != self._measured:  # not for another mask
            self._measured = measurement.name
            self.summary = self._given = self.name.value = ""
        self._enable()

    def _enable(self) -> None:
        """Name the files after the run, and say what would be written, and over what."""
        session, result = self.session, self.session.history.current("")
        self.export_button.setEnabled(result is not None and any(box.value for box in self.formats.values()))
        if result is not None and self.name.value == self._given:
            self._given = file_name(f"{result.measurement.name}_run{result.number}")
            with self.name.changed.blocked():
                self.name.value = self._given
        also, support = "", session.support
        if (
            result is not None
            and support is not None
            and session.refinement.state == "idle"
            and (support != result.snapshot.support).any()
        ):
            also += " The support has changed since the last run: that run's own is written."
        if session.crystal.is_possible:
            also += " The crystal in nanometres is written beside."
        if there := self._there():
            names = ", ".join(path.name for path in there)
            also += f" {names} {'is' if len(there) == 1 else 'are'} in this folder already and would be replaced."
        self.export_button.setText("Replace" if there else "Export")
        self.state.setText(ABOUT + also)

    def _there(self) -> list[Path]:
        """Return which of the files are there already; a disk is not asked at each stroke of a brush."""
        try:
            paths = self._paths()
            if self.session.crystal.is_possible:
                paths += crystal_paths(paths)
            asked = [file for path in paths for file in files_of(path).values()]
        except DiprError:  # told when it is written to
            return []
        if asked != self._asked:
            self._asked, self._found = asked, [path for path in asked if os.path.exists(path)]
        return self._found

    def _paths(self) -> list[Path]:
        folder, name = self._folder(), self.name.value
        if name in ("", ".", "..") or set(name) & FORBIDDEN:
            raise FileError(f"{name!r} cannot begin a file's name. Use letters, digits, dots, hyphens and underscores.")
        return [folder / f"{name}{ending}" for ending, box in self.formats.items() if box.value]

    def _folder(self) -> Path:
        try:
            return Path(self.folder.value).expanduser()
        except RuntimeError as error:
            raise FileError("The folder begins with nobody's home folder. Choose another one.") from error

    def _export(self) -> None:
        paths = self._paths()
        self.memory.save()
        self.session.export(paths, self._exported)

    def _exported(self, paths: dict[str, Path]) -> None:
        folder = next(iter(paths.values())).parent
        self.summary = f"in {folder.name}"
        self._asked = []
        self._enable()
        self.state.setText(f"Written to {folder}: {', '.join(path.name for path in paths.values())}")
        self.session.exported.emit(paths)
