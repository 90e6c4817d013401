"""The form of a source: an image layer, or a file and what of it, with what was found."""

from pathlib import Path
from typing import Any

import numpy as np
from magicgui.widgets import LineEdit, SpinBox
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_dipr.errors import DiprError
from napari_dipr.io.arrays import READERS, Loaded, load_lazily_where_large
from napari_dipr.io.listing import listing
from napari_dipr.io.record import is_result
from napari_dipr.io.region import Region
from napari_dipr.measurement import guess_zero_frequency
from napari_dipr.preparation.bad import bad_pixels
from napari_dipr.ui.array_choice import ArrayChoice
from napari_dipr.ui.canvas import is_foreign
from napari_dipr.ui.forms import Form, button, data_of, follow, layer_choice, remark, told
from napari_dipr.ui.session import FILE_TAG, Session

# Numbers that can be looked through in no time.
SMALL = 4_000_000
FILES = f"Patterns ({' '.join(f'*{ending}' for ending in READERS)});;All files (*)"


class SourceForm(QWidget):
    """Choose data, and what of them.

    ``changed`` is emitted when there are others.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._file: tuple[str | Path, Loaded] | None = None
        self._asked, self._read = 0, ("", -1, "")
        self.layer = layer_choice(
            session.viewer,
            Image,
            "layer",
            "An image layer with measured intensities or amplitudes",
            is_foreign,
        )
        self.open_button = button(
            "Open file…",
            "Read a pattern from TIFF, NPY, NPZ, HDF5 (CXI, NeXus), EDF, CBF, MarCCD, MRC or MAT",
            self._choose_file,
        )
        self.found = remark("Choose a layer, open a file, or take File › Open Sample › Phase retrieval.")
        self.key = LineEdit(
            label="array", tooltip="Name of the array in an NPZ, MAT or HDF5 file; empty: found by itself"
        )
        self.list_button = button("…", "Choose among the arrays of the file", self._list)
        self.list_button.setMaximumWidth(30)
        self.frame = SpinBox(
            value=-1,
            min=-1,
            max=1_000_000,
            label="frame",
            tooltip="Frame of a stack, from 0; −1 takes the whole volume",
        )
        self.region = LineEdit(
            label="region",
            tooltip="The part to read, start:stop by axis: 10:150, :, 30:286; of the frame where one is chosen; empty: "
            "all of it",
        )
        form = Form(self)
        form.add(self.layer)
        form.addRow("", self.open_button)
        form.addRow(self.found)
        form.add(self.key, beside=self.list_button)
        form.add(self.frame, self.region)
        self.layer.changed.connect(told(self._layer_chosen))
        # Not at every key stroke.
        self.key.native.editingFinished.connect(self._again)
        self.region.native.editingFinished.connect(self._again)
        self.frame.native.setKeyboardTracking(False)
        self.frame.changed.connect(lambda value: self._again())
        self._of_file(False)
        follow(self, session.busy_changed, lambda: self.list_button.setEnabled(self._file is not None))

    def open(self, path: str | Path) -> None:
        """Read a file, off the main thread; a large one only as far as it is used. A result brings its session back."""
        if is_result(path):
            self.session.restore(path)
            return
        asked_for = self._asked_for
        key, frame, region = asked_for
        self._asked += 1
        asked = self._asked

        def done(loaded: Loaded) -> None:
            if asked == self._asked and isalive(self):  # else another file, or frame, was asked for meanwhile
                self._read = asked_for
                self._file = (path, loaded)
                self.layer.value = None
                self._of_file(True)
                self._tell(loaded.array, Path(path).name, loaded.notes)

        part = Region.parse(region) if region else None
        self.session.do(
            lambda: load_lazily_where_large(path, key=key or None, frame=frame if frame >= 0 else None, region=part),
            done,
            f"Reading {Path(path).name}",
            whatever_is_loaded=True,
        )

    @property
    def is_chosen(self) -> bool:
        """Whether a layer or a file is chosen."""
        return self._file is not None or self.layer.value is not None

    def chosen(self) -> tuple[Loaded, str, Image | None]:
        """Return what is chosen, its name, and its layer, where it is one's.

        Raises
        ------
        DiprError
            If nothing is, or the form says something else than what was read.
        """
        if self._file is not None:
            loaded = self._file[1]
            if self._asked_for != self._read:
                raise DiprError(
                    f"Array, frame and region of the form, {self._asked_for}, are not what was read from the file: "
                    f"{self._read}. Wait until it is read, or correct them."
                )
            return loaded, loaded.source["file"], None
        layer = self.layer.value
        if layer is None:
            raise DiprError("Choose an image layer or open a file first.")
        array, frame = data_of(layer), None
        is_as_read = (read := layer.metadata.get(FILE_TAG)) is not None and layer.data is read.array
        if self.frame.value >= 0 and array.ndim == 3:
            if self.frame.value >= len(array):
                raise DiprError(f"{layer.name!r} has {len(array)} frames; there is no frame {self.frame.value}.")
            frame = self.frame.value
            array = array[frame]
        if is_as_read:  # by our reader, with what the file says of it
            return read._replace(array=array, source={**read.source, "frame": frame}), layer.name, layer
        source = {"file": layer.name, "path": layer.source.path, "key": None, "frame": frame}
        return Loaded(array, source, ()), layer.name, layer

    @property
    def _asked_for(self) -> tuple[str, int, str]:
        return self.key.value, self.frame.value, self.region.value

    def _of_file(self, is_file: bool) -> None:
        """Enable what can be chosen of files alone."""
        self.key.enabled = self.region.enabled = is_file
        self.list_button.setEnabled(is_file)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a pattern", filter=FILES)
        if path:
            with self.frame.changed.blocked():
                self.key.value, self.frame.value, self.region.value = "", -1, ""
            self.open(path)

    @told
    def _again(self) -> None:
        if self._file is None:
            self.changed.emit()
        elif self._asked_for != self._read:
            self.open(self._file[0])

    def _list(self) -> None:
        assert self._file is not None
        path = self._file[0]

        def chosen(key: str) -> None:
            self.key.value = key
            self._again()

        self.session.do(
            lambda: listing(path),
            lambda entries: ArrayChoice(self, Path(path).name, entries, chosen).open() if isalive(self) else None,
            f"Looking into {Path(path).name}",
            whatever_is_loaded=True,
        )

    def _layer_chosen(self, layer: Image | None) -> None:
        if layer is not None:
            self._file = None
            self._asked += 1
            self._of_file(False)
            with self.frame.changed.blocked():
                self.frame.value = -1
            self._tell(data_of(layer), layer.name, ())

    def _tell(self, array: Any, name: str, notes: tuple[str, ...]) -> None:
        """Say what was found, and what is guessed about it; of much data off the main thread."""
        lines = [f"{name}: {' × '.join(map(str, array.shape))}, {array.dtype}", *notes]
        asked = self._asked

        def seen(more: list[str]) -> None:
            if asked == self._asked and isalive(self):  # else something else was chosen meanwhile
                self.found.setText("\n".join([*lines, *more]))

        if not isinstance(array, np.ndarray):
            seen([f"{array.nbytes / 1e9:.3g} GB: read when it is used or previewed; a frame or a region is less"])
        elif array.size <= SMALL:
            seen(_seen(array))
        else:
            seen([])
            self.session.do(lambda: _seen(array), seen, f"Looking at {name}", whatever_is_loaded=True)
        self.changed.emit()


def _seen(array: NDArray[Any]) -> list[str]:
    """Say what the numbers are like."""
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        return []
    return [
        f"from {np.nanmin(array):.4g} to {np.nanmax(array):.4g}",
        f"zero frequency guessed: {guess_zero_frequency(array)}",
        *(f"{int(mask.sum())} pixels {reason}" for reason, mask in bad_pixels(array).items()),
    ]
