"""The form of a preparation: what is done to a detector's data, with undo, and as a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QGridLayout, QPushButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dipr.io.write import write_json
from napari_dipr.preparation.bad import PLAIN, REASONS
from napari_dipr.preparation.steps import Preparation
from napari_dipr.preparation.written import preparation_from, read_settings
from napari_dipr.ui.forms import Form, button
from napari_dipr.ui.memory import FormMemory

# After the last key stroke, before a change counts as one.
SETTLES = 400
MEANINGS = {
    "NaN": "no number, or infinite",
    "negative": "gaps of many detectors",
    "saturated": "at the top of what the detector counts",
    "gap": "rows or columns of zeros between detector modules",
    "dead": "0 amid bright neighbours",
    "hot": "ten times as bright as any neighbour",
    "silent": "never counts in a whole scan, unlike its neighbours",
}
AUTOMATIC, PIXEL = "automatic", "pixel"


class PrepareForm(QWidget):
    """The settings of a :class:`~napari_dipr.preparation.steps.Preparation`, in its order.

    ``changed`` is emitted once a change has settled; each can be undone.
    """

    changed = Signal()

    def __init__(self, memory: str) -> None:
        super().__init__()
        self.kind = ComboBox(
            choices=["intensity", "amplitude"], label="values are", tooltip="Intensity |F|² (counts), or amplitude |F|"
        )
        self.zero_frequency = ComboBox(
            choices=["guess", "centre", "corner"],
            label="zero frequency",
            tooltip="Where the direct beam is: near the middle of the array, or at its corner [0, 0]",
        )
        self.rocking_axis = SpinBox(
            value=0, min=0, max=2, label="rocking axis", tooltip="Axis of a scan along which its frames follow"
        )
        self.dark = LineEdit(label="dark field", tooltip="A file with the counts without light, which are subtracted")
        self.white = LineEdit(label="flat field", tooltip="A file with even light, which the data are divided by")
        self.bad_map = LineEdit(label="bad pixels", tooltip="A file that is not 0 where pixels are bad")
        self.mask = LineEdit(label="mask file", tooltip="A file that is true or 1 where pixels were measured")
        self.origin = LineEdit(
            value="0, 0",
            label="origin",
            tooltip="Row and column of the detector at which the data begin, for fields of the whole detector",
        )
        self.leave_out: dict[str, CheckBox] = {
            reason: CheckBox(value=reason in PLAIN, text=reason, tooltip=f"Leave out pixels: {MEANINGS[reason]}")
            for reason in REASONS
        }
        self.saturation = LineEdit(
            label="saturated from", tooltip="Counts from which on pixels are saturated; empty guesses"
        )
        self.grow = SpinBox(value=0, min=0, max=32, label="grow by", tooltip="Leave out so many pixels beside, too")
        self.background = LineEdit(
            label="background", tooltip="Counts that are subtracted; rim: the median at the array's edge; empty: none"
        )
        self.threshold = LineEdit(label="threshold", tooltip="Intensities below this count as 0; empty: none do")
        self.centre = ComboBox(
            choices=[AUTOMATIC, "peak", "centroid", "friedel", "array", PIXEL],
            label="centre",
            tooltip="Zero frequency, which the crop is centred on. automatic: the peak of a crop; friedel: "
            "what the pattern is symmetric about, also where that is missing",
        )
        self.pixel = LineEdit(tooltip="Row, column (of a scan: frame, row, column) of the centre")
        self.crop = LineEdit(
            label="crop to",
            tooltip="Sides to cut out: 128, or 128, 96; inside: all that the data fill; empty: nothing",
        )
        self.bin = LineEdit(value="1", label="bin", tooltip="So many pixels become one: 2, or one number for each axis")
        self.geometry = LineEdit(
            label="geometry",
            tooltip="energy=9 (keV), distance=0.5 (m), pixel=55 (µm); of a rocking scan also beamline=34-ID-C, "
            "rock=theta, step=0.005 and angles: delta=32.174, … (degrees). Empty: the file's, where it tells",
        )
        self.undo_button = button("Undo", "Take the last change of this form back", lambda: self._travel(-1))
        self.redo_button = button("Redo", "Make it again", lambda: self._travel(1))
        self.load_button = button(
            "Load settings…", "Settings from a JSON file, also a result's provenance", self._choose_load
        )
        self.save_button = button(
            "Save settings…", "These settings as a JSON file, for napari-dipr prepare", self._choose_save
        )
        self._lay_out()
        # The rest is of one detector or one measurement.
        kept = ("kind", "zero_frequency", "rocking_axis", "grow", *self.leave_out)
        self.memory = FormMemory(memory, {name: self._widgets[name] for name in kept})
        self._states, self._now = [self.words], 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._settle)
        for widget in self._widgets.values():
            widget.changed.connect(lambda value: self._timer.start(SETTLES))
        self.centre.changed.connect(lambda value: self._enable())
        self._enable()

    def _lay_out(self) -> None:
        whole, detector, bad, region = Form(), Form(), Form(), Form()
        whole.add(self.kind, self.zero_frequency)
        detector.add(self.rocking_axis)
        for widget in (self.dark, self.white, self.bad_map, self.mask):
            detector.add(widget, beside=self._browser(widget))
        detector.add(self.origin)
        checks = QGridLayout()
        for index, check in enumerate(self.leave_out.values()):
            checks.addWidget(check.native, index // 3, index % 3)
        bad.addRow(checks)
        bad.add(self.saturation, self.grow)
        region.add(self.background, self.threshold)
        region.add(self.centre, beside=self.pixel.native)
        region.add(self.crop, self.bin, self.geometry)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(whole)
        for title, form in (("Detector: fields and masks", detector), ("Bad pixels to leave out", bad)):
            inner = QWidget()
            inner.setLayout(form)
            section = QCollapsible(title)
            section.addWidget(inner)
            layout.addWidget(section)
        layout.addLayout(region)
        grid = QGridLayout()
        for index, one in enumerate((self.undo_button, self.redo_button, self.load_button, self.save_button)):
            grid.addWidget(one, index // 2, index % 2)
        layout.addLayout(grid)

    def _browser(self, widget: LineEdit) -> QPushButton:
        def choose() -> None:
            path, _ = QFileDialog.getOpenFileName(self, f"Choose the {widget.label}")
            if path:
                widget.value = path

        browse = button("…", f"Choose the {widget.label}", choose)
        browse.setMaximumWidth(30)
        return browse

    @property
    def _widgets(self) -> dict[str, Any]:
        fields = [*Preparation.model_fields, "pixel"]
        plain = {name: getattr(self, name) for name in fields if name != "leave_out"}
        return plain | self.leave_out

    @property
    def words(self) -> dict[str, Any]:
        """What the form holds, by widget."""
        return {name: widget.value for name, widget in self._widgets.items()}

    @property
    def preparation(self) -> Preparation:
        """What the form says.

        Raises
        ------
        MeasurementError
            If some of it is not understood.
        """
        words = {name: value for name, value in self.words.items() if value not in ("", "guess", AUTOMATIC)}
        pixel = words.pop("pixel", "")
        words["leave_out"] = tuple(reason for reason in REASONS if words.pop(reason))
        if words.get("centre") == PIXEL:
            words["centre"] = pixel
        return preparation_from(words)

    def enter(self, settings: dict[str, Any]) -> None:
        """Fill the form in with a preparation's settings; those that are not there are as by default.

        Raises
        ------
        MeasurementError
            If there is one that is not known, or out of its range.
        """
        p = Preparation.of(**settings)

        def listed(value: Any) -> str:
            return ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)

        words: dict[str, Any] = {name: listed(getattr(p, name)) for name in Preparation.model_fields}
        words |= {"rocking_axis": p.rocking_axis, "grow": p.grow, "pixel": ""}
        words["threshold"] = repr(p.threshold) if p.threshold else ""
        words |= {"zero_frequency": p.zero_frequency or "guess", "centre": p.centre or AUTOMATIC}
        if isinstance(p.centre, tuple):
            words |= {"centre": PIXEL, "pixel": listed(p.centre)}
        words["geometry"] = "" if p.geometry is None else p.geometry.written()
        del words["leave_out"]
        words |= {reason: reason in p.leave_out for reason in REASONS}
        self._show(words)
        self._settle()

    def reset(self) -> None:
        """Bring the form to its defaults."""
        self.enter({})
        self.memory.save()

    def _show(self, words: dict[str, Any]) -> None:
        for name, widget in self._widgets.items():
            widget.value = words[name]

    def _settle(self) -> None:
        """Take what the form holds for a change that can be undone, if it is one."""
        self._timer.stop()
        if self.words == self._states[self._now]:
            return
        self._states = [*self._states[: self._now + 1], self.words]
        self._now += 1
        self._enable()
        self.changed.emit()

    def _travel(self, by: int) -> None:
        self._settle()
        if 0 <= self._now + by < len(self._states):
            self._now += by
            self._show(self._states[self._now])
            self._timer.stop()
            self._enable()
            self.changed.emit()

    def _enable(self) -> None:
        self.undo_button.setEnabled(self._now > 0)
        self.redo_button.setEnabled(self._now < len(self._states) - 1)
        self.pixel.native.setVisible(self.centre.value == PIXEL)

    def _choose_load(self) -> None:
        self._with_file(QFileDialog.getOpenFileName, "Load settings", lambda path: self.enter(read_settings(path)))

    def _choose_save(self) -> None:
        settings = self.preparation.as_json()
        self._with_file(QFileDialog.getSaveFileName, "Save settings", lambda path: write_json(path, settings))

    def _with_file(self, ask: Callable[..., Any], title: str, act: Callable[[Path], None]) -> None:
        path, _ = ask(self, title, filter="Settings (*.json)")
        if path:
            act(Path(path))
