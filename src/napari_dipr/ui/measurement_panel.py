"""The Measurement panel: from a layer, a file or a picture to a measurement."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dipr.errors import DiprError
from napari_dipr.io.arrays import READERS, Loaded, load_array
from napari_dipr.measurement import Measurement, guess_zero_frequency, simulate
from napari_dipr.preparation.bad import bad_pixels
from napari_dipr.ui.canvas import TAG
from napari_dipr.ui.forms import Form, button, follow, layer_choice, remark, told
from napari_dipr.ui.memory import FormMemory
from napari_dipr.ui.prepare_form import PrepareForm
from napari_dipr.ui.preview import Bench, Preview
from napari_dipr.ui.session import FILE_TAG, session_of

FILES = f"Patterns ({' '.join(f'*{ending}' for ending in READERS)});;All files (*)"


class MeasurementPanel(QWidget):
    """Choose data, say what they are, and make a measurement of them."""

    source_changed = Signal()

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self._file: tuple[str | Path, Loaded] | None = None
        self._asked, self._key, self._read = 0, "", ("", -1)
        self._bench, self._wanted = Bench(), 0

        self.layer = layer_choice(
            session.viewer,
            Image,
            "layer",
            "An image layer with measured intensities or amplitudes",
            lambda layer: TAG not in layer.metadata,
        )
        self.open_button = button(
            "Open file…",
            "Read a pattern from TIFF, NPY, NPZ, HDF5 (CXI, NeXus), EDF, CBF, MRC or MAT",
            self._choose_file,
        )
        self.found = remark("Choose a layer, open a file, or take File › Open Sample › Phase retrieval.")
        self.key = LineEdit(label="array", tooltip="Name of the array in an NPZ or HDF5 file; empty: found by itself")
        self.frame = SpinBox(
            value=-1,
            min=-1,
            max=1_000_000,
            label="frame",
            tooltip="Frame of a stack, from 0; −1 takes the whole volume",
        )
        self.mask = layer_choice(
            session.viewer,
            Labels,
            "unmeasured",
            "A labels layer: what is painted in it was not measured (beamstop, gaps, hot pixels)",
            lambda layer: TAG not in layer.metadata,
        )
        self.prepare = PrepareForm("preparation")
        self.preview = Preview(session)
        self.preview_box = CheckBox(
            text="preview", tooltip="Show what these settings come to beside the data, anew after each change"
        )
        self.outcome = remark()
        self.use_button = button("Use as measurement", "Make a measurement of these data and show it", self._use)

        self.loaded = ComboBox(
            choices=[], label="at work", tooltip="One of the measurements that were loaded, as it was left"
        )
        loaded = Form()
        loaded.add(self.loaded)
        self.loaded_row = QWidget()
        self.loaded_row.setLayout(loaded)
        form = Form()
        form.add(self.layer)
        form.addRow("", self.open_button)
        form.addRow(self.found)
        form.add(self.key, self.frame, self.mask)
        layout = QVBoxLayout(self)
        layout.addWidget(self.loaded_row)
        layout.addLayout(form)
        layout.addWidget(self.prepare)
        layout.addWidget(self.preview_box.native)
        layout.addWidget(self.use_button)
        layout.addWidget(self.outcome)
        layout.addWidget(self._masking())
        layout.addWidget(self._simulation())

        self.memory = FormMemory("simulation", {"oversampling": self.oversampling, "photons": self.photons})
        layout.addWidget(button("Reset form", "All of this form as it was at first", self._reset))
        layout.addStretch()
        self.layer.changed.connect(told(self._layer_chosen))
        self.loaded.changed.connect(told(session.take_up))
        follow(self, session.measurement_changed, self._list_loaded)
        follow(self, session.shelf.changed, self._list_loaded)
        self._list_loaded()
        follow(self, session.busy_changed, lambda: self.use_button.setEnabled(not session.busy))
        # Not at every key stroke.
        self.key.native.editingFinished.connect(self._key_entered)
        self.frame.native.setKeyboardTracking(False)
        self.frame.changed.connect(self._file_again)
        self.key.enabled = False
        self.preview_box.changed.connect(told(self._previewed))
        self.prepare.changed.connect(told(self._preview_again))
        self.source_changed.connect(told(self._preview_again))

    def _reset(self) -> None:
        self.prepare.reset()
        self.memory.reset()

    def _list_loaded(self) -> None:
        names = self.session.loaded
        with self.loaded.changed.blocked():
            self.loaded.choices = names
            if names:
                self.loaded.value = names[-1]
        self.loaded_row.setVisible(len(names) > 1)

    def _masking(self) -> QCollapsible:
        mask = self.session.mask
        self.draw_button = button("Draw", "A layer on the pattern in which unmeasured pixels are painted", mask.draw)
        self.suggest_button = button(
            "Suggest",
            "Paint saturated, dead and hot pixels and gaps between detectors into the layer",
            lambda: mask.suggest(self._suggested),
        )
        self.mask_button = button("Use mask", "Take what is painted as unmeasured; support and runs stay", mask.use)
        self.mask_words = remark()
        self._suggestion = ""
        buttons = QHBoxLayout()
        for one in (self.draw_button, self.suggest_button, self.mask_button):
            buttons.addWidget(one)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addLayout(buttons)
        column.addWidget(self.mask_words)
        self.masking = section = QCollapsible("Mask: pixels that were not measured")
        section.addWidget(inner)
        session = self.session
        for signal in (mask.changed, session.measurement_changed, session.refinement.changed, session.busy_changed):
            follow(self, signal, self._mask_changed)
        self._mask_changed()
        return section

    def _suggested(self, found: dict[str, int]) -> None:
        counts = ", ".join(f"{number} {reason}" for reason, number in found.items())
        self._suggestion = f" Suggested: {counts}." if counts else " Nothing looks suspicious."
        self._mask_changed()

    def _mask_changed(self) -> None:
        measurement, mask = self.session.measurement, self.session.mask
        idle = self.session.refinement.state == "idle" and not self.session.busy and measurement is not None
        self.draw_button.setEnabled(measurement is not None)
        self.suggest_button.setEnabled(measurement is not None)
        self.mask_button.setEnabled(idle and mask.is_drawn)
        if measurement is None:
            self._suggestion = ""
            self.mask_words.setText("Load a measurement first.")
            return
        words = f"{int((~measurement.measured).sum())} of {measurement.measured.size} pixels are unmeasured."
        words += " What is painted differs: press Use mask." if mask.is_drawn else ""
        self.mask_words.setText(
            f"Blue (1) was not measured, and is left free; erase (0) what was. {words}{self._suggestion}"
        )

    def _simulation(self) -> QCollapsible:
        self.picture = layer_choice(
            self.session.viewer,
            Image,
            "picture",
            "Any image layer: the object whose pattern is simulated",
            lambda layer: TAG not in layer.metadata,
        )
        self.oversampling = FloatSpinBox(
            value=2,
            min=2,
            max=16,
            step=0.5,
            label="oversampling",
            tooltip="Side of the pattern over that of the object",
        )
        self.photons = FloatSpinBox(
            value=0, min=0, max=1e15, step=1e6, label="photons", tooltip="In the whole pattern; 0: no noise"
        )
        form = Form()
        form.add(self.picture, self.oversampling, self.photons)
        self.simulate_button = button(
            "Simulate", "Make the pattern of this picture, and use it as measurement", self._simulate
        )
        form.addRow("", self.simulate_button)
        inner = QWidget()
        inner.setLayout(form)
        section = QCollapsible("Simulate from a picture")
        section.addWidget(inner)
        return section

    # --- sources -----------------------------------------------------------------------------------------------------

    def open(self, path: str | Path) -> None:
        """Read a file, off the main thread; it is used when *Use as measurement* is pressed."""
        key, frame = self.key.value or None, self.frame.value
        self._key = self.key.value
        self._asked += 1
        asked = self._asked

        def done(loaded: Loaded) -> None:
            if asked == self._asked:  # else another file, or frame, was asked for meanwhile
                self._read = (key or "", frame)
                self._file_read(path, loaded)

        self.session.do(
            lambda: load_array(path, key=key, frame=frame if frame >= 0 else None),
            done,
            f"Reading {Path(path).name}",
            whatever_is_loaded=True,
        )

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a pattern", filter=FILES)
        if path:
            self._file = None
            self.key.value, self.frame.value = "", -1
            self.open(path)

    def _file_again(self, value: Any = None) -> None:
        if self._file is not None:
            self.open(self._file[0])

    def _file_read(self, path: str | Path, loaded: Loaded) -> None:
        self._file = (path, loaded)
        self.layer.value = None
        self.key.enabled = True
        self._tell(loaded.array, Path(path).name, loaded.notes)

    def _layer_chosen(self, layer: Image | None) -> None:
        if layer is not None:
            self._file = None
            self.key.enabled = False
            self._tell(self._array(layer), layer.name, ())

    @staticmethod
    def _array(layer: Image) -> Any:
        if layer.rgb:
            raise DiprError(f"{layer.name!r} is a colour picture. Split its channels, or convert it to grey first.")
        read = layer.metadata.get(FILE_TAG)
        return layer.data if read is not None and layer.data is read.array else np.asarray(layer.data)

    def _key_entered(self) -> None:
        if self._file is not None and self.key.value != self._key:
            self._file_again()

    def _tell(self, array: Any, name: str, notes: tuple[str, ...]) -> None:
        """Say what was found, and what is guessed about it."""
        lines = [f"{name}: {' × '.join(map(str, array.shape))}, {array.dtype}", *notes]
        if not isinstance(array, np.ndarray):
            lines.append("too large to look through: the frame, or all of it, is read when it is used")
        elif array.dtype.kind in "buif" and array.ndim in (2, 3):
            lines.append(f"from {np.nanmin(array):.4g} to {np.nanmax(array):.4g}")
            lines.append(f"zero frequency guessed: {guess_zero_frequency(array)}")
            lines += [f"{int(mask.sum())} pixels {reason}" for reason, mask in bad_pixels(array).items()]
        self.found.setText("\n".join(lines))
        self.source_changed.emit()

    # --- to a measurement --------------------------------------------------------------------------------------------

    def _source(self) -> tuple[Loaded, str]:
        """Return what is chosen, and its name."""
        if self._file is not None:
            loaded = self._file[1]
            if (self.key.value, self.frame.value) != self._read:
                raise DiprError(
                    f"Array {self.key.value!r} and frame {self.frame.value} of the form are not what was read from the "
                    f"file: {self._read[0]!r} and {self._read[1]}. Wait until it is read, or correct them."
                )
            return loaded, loaded.source["file"]
        if self.layer.value is None:
            raise DiprError("Choose an image layer or open a file first.")
        layer = self.layer.value
        array, frame = self._array(layer), None
        if self.frame.value >= 0 and array.ndim == 3:
            if self.frame.value >= len(array):
                raise DiprError(f"{layer.name!r} has {len(array)} frames; there is no frame {self.frame.value}.")
            frame = self.frame.value
            array = array[frame]
        if (read := layer.metadata.get(FILE_TAG)) is not None:  # by our reader, with what the file says of it
            return read._replace(array=array, source={**read.source, "frame": frame}), layer.name
        source = {"file": layer.name, "path": layer.source.path, "key": None, "frame": frame}
        return Loaded(array, source, ()), layer.name

    def _prepared(self, done: Callable[[Measurement, str], None], description: str) -> None:
        """Prepare what is chosen as the form says, off the main thread; ``done`` gets it, and its extent in words."""
        loaded, name = self._source()
        preparation = self.prepare.preparation
        painted = None if self.mask.value is None else np.asarray(self.mask.value.data) > 0
        if painted is not None and painted.shape != np.squeeze(loaded.array).shape:
            shape = np.squeeze(loaded.array).shape
            raise DiprError(f"The layer of unmeasured pixels is {painted.shape}, the data are {shape}.")
        self.session.do(
            lambda: self._bench.prepare(loaded, preparation, painted),
            lambda result: done(*result),
            f"{description} {name}",
            whatever_is_loaded=True,
        )

    def _use(self) -> None:
        source = None if self._file is not None else self.layer.value

        def used(measurement: Measurement, extent: str) -> None:
            if source is not None:
                source.visible = False  # the same data as the measurement's picture, in another place
            self.preview_box.value = False
            self.session.use(measurement)
            self._tell_outcome(measurement, extent)

        self._prepared(used, "Preparing")
        self.prepare.memory.save()
        self.memory.save()

    def _previewed(self, wanted: bool) -> None:
        if wanted:
            self._preview_again()
        else:
            self.preview.remove()

    def _preview_again(self) -> None:
        if not (self.preview_box.value and self.has_source):
            return
        self._wanted += 1
        wanted = self._wanted

        def seen(measurement: Measurement, extent: str) -> None:
            if wanted == self._wanted and self.preview_box.value:  # else the form says something else by now
                self.preview.show(measurement)
                self._tell_outcome(measurement, extent)

        self._prepared(seen, "Preview of")

    def _tell_outcome(self, measurement: Measurement, extent: str) -> None:
        self.outcome.setText("\n".join([*measurement.history, extent]))

    def _simulate(self) -> None:
        layer = self.picture.value
        if layer is None:
            raise DiprError("Choose an image layer as the picture first. File › Open Sample has some.")
        self.memory.save()
        array, photons = self._array(layer), self.photons.value or None
        name, oversampling = f"{layer.name} simulated", self.oversampling.value

        def used(result: Any) -> None:
            layer.visible = False
            self.session.use(*result)

        job = lambda: simulate(array, oversampling=oversampling, photons=photons, name=name)  # noqa: E731
        self.session.do(job, used, f"Simulating {layer.name}")

    @property
    def has_source(self) -> bool:
        """Whether a layer or a file is chosen."""
        return self._file is not None or self.layer.value is not None

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        measurement = self.session.measurement
        if measurement is None:
            return ""
        return f"{measurement.name} · {' × '.join(map(str, measurement.grid))}"
