"""The Export panel: the reconstruction as TIFF, with its history inside."""

from pathlib import Path

import napari
from magicgui.widgets import FileEdit, LineEdit
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dipr.io.write import file_name
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
        self.summary = ""
        follow(self, session.measurement_changed, self._measurement_changed)
        follow(self, session.refinement.advanced, self._enable)
        follow(self, session.support_changed, self._enable)
        follow(self, session.refinement.changed, self._enable)
        self._measurement_changed()

    def _measurement_changed(self) -> None:
        measurement = self.session.measurement
        if measurement is not None:
            self.name.value = file_name(measurement.name)
        self.summary = ""
        self._enable()

    def _enable(self) -> None:
        snapshot, support = self.session.refinement.snapshot, self.session.support
        self.export_button.setEnabled(snapshot is not None)
        if snapshot is not None and self.session.refinement.state == "idle":
            stale = support is not None and (support != snapshot.support).any()
            also = " The support has changed since the last run: that run's own is written." if stale else ""
            self.state.setText(ABOUT + also)

    def _export(self) -> None:
        self.memory.save()
        self.session.export(Path(self.folder.value).expanduser(), self.name.value, self._exported)

    def _exported(self, paths: dict[str, Path]) -> None:
        folder = next(iter(paths.values())).parent
        self.summary = f"in {folder.name}"
        self.state.setText(f"Written to {folder}: {', '.join(path.name for path in paths.values())}")
        self.session.exported.emit(paths)
