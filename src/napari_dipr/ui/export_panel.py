"""The Export panel: the reconstruction as TIFF, with its history inside."""

import os
from pathlib import Path

import napari
from magicgui.widgets import FileEdit, LineEdit
from qtpy.QtWidgets import QVBoxLayout, QWidget

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
        self.summary, self._given = "", ""
        self.name.changed.connect(lambda name: self._enable())
        self.folder.changed.connect(lambda folder: self._enable())
        follow(self, session.measurement_changed, self._measurement_changed)
        follow(self, session.refinement.advanced, self._enable)
        follow(self, session.support_changed, self._enable)
        follow(self, session.refinement.changed, self._enable)
        self._measurement_changed()

    def _measurement_changed(self) -> None:
        self.summary = self._given = self.name.value = ""
        self._enable()

    def _enable(self) -> None:
        """Name the files after the run, and say what would be written, and over what."""
        session, snapshot, support = self.session, self.session.refinement.snapshot, self.session.support
        self.export_button.setEnabled(snapshot is not None)
        if session.refinement.state != "idle":
            return
        if (result := session.history.current("")) is not None and self.name.value == self._given:
            self._given = file_name(f"{result.measurement.name}_run{result.number}")
            with self.name.changed.blocked():
                self.name.value = self._given
        also = ""
        if snapshot is not None and support is not None and (support != snapshot.support).any():
            also += " The support has changed since the last run: that run's own is written."
        amplitude = result_paths(Path(self.folder.value).expanduser(), self.name.value)["amplitude"]
        if is_there := os.path.exists(amplitude):  # no error for a name that cannot be
            also += f" {self.name.value} is in this folder already: it would be replaced."
        self.export_button.setText("Replace TIFF" if is_there else "Export TIFF")
        self.state.setText(ABOUT + also)

    def _export(self) -> None:
        self.memory.save()
        self.session.export(Path(self.folder.value).expanduser(), self.name.value, self._exported)

    def _exported(self, paths: dict[str, Path]) -> None:
        folder = next(iter(paths.values())).parent
        self.summary = f"in {folder.name}"
        self._enable()
        self.state.setText(f"Written to {folder}: {', '.join(path.name for path in paths.values())}")
        self.session.exported.emit(paths)
