"""What a preparation comes to, before it is used: pictures beside the data."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_dipr.io.arrays import Loaded
from napari_dipr.io.read import corrected_from
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.extent import find_extent
from napari_dipr.preparation.steps import Preparation, placed
from napari_dipr.ui.canvas import GAP, TAG, logarithm
from napari_dipr.ui.mask import COLOUR

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session

NAME = "napari-dipr preview"


class Bench:
    """Prepares data again and again: dark and flat field and bad pixels anew only when they changed."""

    def __init__(self) -> None:
        self._done: tuple[Any, Measurement] | None = None

    def prepare(
        self, loaded: Loaded, preparation: Preparation, painted: NDArray[np.bool_] | None
    ) -> tuple[Measurement, str]:
        """Return the measurement, and its object's extent in words; ``painted`` is True where nothing was measured."""
        if "shape" not in loaded.source:  # a layer's values, which no file of ours was read for
            array = np.asarray(loaded.array)
            source = {**loaded.source, "sha256_of_values": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()}
            loaded = loaded._replace(array=array, source=source)
        key = (
            str(loaded.source),
            preparation.first_part,
            [path.stat().st_mtime_ns for path in _files(preparation) if path.exists()],
            None if painted is None else hashlib.sha256(np.ascontiguousarray(painted).data).digest(),
        )
        done = self._done
        if done is None or done[0] != key:
            measured = None if painted is None or not painted.any() else ~painted
            done = self._done = (key, corrected_from(loaded, preparation, measured))
        measurement = placed(done[1], preparation)
        measurement = replace(measurement, source={**measurement.source, "preparation": preparation.as_json()})
        return measurement, str(find_extent(measurement))


def _files(p: Preparation) -> list[Path]:
    return [path for path in (p.dark, p.white, p.mask, p.bad_map) if path is not None]


class Preview:
    """The pattern as it would be, and what is left out of it, to the left of the data."""

    def __init__(self, session: "Session") -> None:
        self.session = session

    def show(self, measurement: Measurement) -> None:
        """Show a measurement that is not used yet."""
        viewer = self.session.viewer
        picture, mask = logarithm(measurement.intensities), (~measurement.measured).astype(np.uint8)
        place = (*(0.0,) * (picture.ndim - 1), -(1 + GAP) * picture.shape[-1])
        layers = self._layers()
        if layers and layers[0].ndim == picture.ndim:
            image, labels = layers
            image.data, labels.data = picture, mask
            image.translate = labels.translate = place
            image.reset_contrast_limits()
            return
        self.remove()
        options: Any = {"translate": place, "axis_labels": ("z", "y", "x")[-picture.ndim :]}
        selected = set(viewer.layers.selection)
        image = viewer.add_image(
            picture, name="preview (log)", colormap="inferno", metadata={TAG: (NAME, "preview")}, **options
        )
        labels = viewer.add_labels(
            mask,
            name="preview: left out",
            colormap=DirectLabelColormap(color_dict={0: "transparent", 1: COLOUR, None: COLOUR}),
            opacity=0.7,
            metadata={TAG: (NAME, "left out")},
            **options,
        )
        labels.editable = False
        viewer.layers.selection = selected
        if picture.ndim == 3:
            viewer.dims.set_point(0, picture.shape[0] // 2)
        viewer.reset_view()

    def remove(self) -> None:
        """Take the pictures away."""
        for layer in self._layers():
            _remove_later(self.session.viewer.layers, layer)

    def _layers(self) -> list[Any]:
        """Return the picture and what is left out of it; nothing, where a person removed one of them."""
        layers = self.session.viewer.layers
        found = sorted(
            (layer for layer in layers if (layer.metadata.get(TAG) or ("",))[0] == NAME),
            key=lambda layer: isinstance(layer, Labels),
        )
        if len(found) == 1:
            layers.remove(found[0])
            return []
        return found


def _remove_later(layers: Any, layer: Any) -> None:
    """Hide a layer, and remove it when the canvas was drawn.

    An image and a labels layer that are removed in one go and made anew can end the process in OpenGL (napari 0.9).
    """
    layer.visible = False
    layer.metadata.pop(TAG)
    QTimer.singleShot(0 if isinstance(layer, Labels) else 50, lambda: layer in layers and layers.remove(layer))
