"""The Export panel: the reconstruction as TIFF, with its history inside."""

import os
from pathlib import Path

import napari
from magicgui.widgets import FileEdit, LineEdit
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dipr.errors import DiprError, FileError
from napari_dipr.io.write import file_name, result_paths
from napari_dipr.ui.forms import Form, button, follow, remark
from napari_dipr.ui.memory import FormMemory
from napari_dipr.ui.session import session_of

ABOUT = "Amplitude and phase as 32-bit, support as 8-bit TIFF; ImageJ opens them."


class ExportPanel(QWidget):
    """Choose a folder and write amplitude, phase and support."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.folder = FileEdit(
            mode="d", value=Path.home() / "napari-dipr", label="folder", tooltip="Made where it is missing"
        )
        self.name = LineEdit(label="name", tooltip="What the files' names begin with")
        self.export_button = button(
            "Export TIFF", "Write amplitude, phase and support, with all settings inside", self._export, "Ctrl+Alt+E"
        )
        self.memory = FormMemory("export", {"folder": self.folder})
        self.state = remark(ABOUT)
        form = Form()
        form.add(self.folder, self.name)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.export_button)
        layout.addWidget(self.state)
        layout.addStretch()
        self.summary = self._given = self._measured = ""
        self._asked, self._found = Path(), False
        self.name.changed.connect(lambda name: self._enable())
        self.folder.changed.connect(lambda folder: self._enable())
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
        self.export_button.setEnabled(result is not None)
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
        if is_there := self._is_there():
            also += f" {self.name.value} is in this folder already: it would be replaced."
        self.export_button.setText("Replace TIFF" if is_there else "Export TIFF")
        self.state.setText(ABOUT + also)

    def _is_there(self) -> bool:
        """Say whether there are files of that name; a disk is not asked at each stroke of a brush."""
        try:
            amplitude = result_paths(self._folder(), self.name.value)["amplitude"]
        except DiprError:  # told when it is written to
            return False
        if amplitude != self._asked:
            self._asked, self._found = amplitude, os.path.exists(amplitude)
        return self._found

    def _folder(self) -> Path:
        try:
            return Path(self.folder.value).expanduser()
        except RuntimeError as error:
            raise FileError("The folder begins with nobody's home folder. Choose another one.") from error

    def _export(self) -> None:
        folder = self._folder()
        self.memory.save()
        self.session.export(folder, self.name.value, self._exported)

    def _exported(self, paths: dict[str, Path]) -> None:
        folder = next(iter(paths.values())).parent
        self.summary = f"in {folder.name}"
        self._asked = Path()
        self._enable()
        self.state.setText(f"Written to {folder}: {', '.join(path.name for path in paths.values())}")
        self.session.exported.emit(paths)
