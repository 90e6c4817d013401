"""Supports from what a person drew elsewhere: boxes and ellipses on the object, and other layers."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels, Layer, Shapes
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_dipr.errors import DiprError
from napari_dipr.ui.canvas import SUPPORT_COLOUR
from napari_dipr.ui.support_tools import inside_of

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session


# Where a support comes from that nothing but a person made.
BY_HAND = "drawn by hand"


class Outline:
    """Boxes and ellipses in a layer over the object's amplitude, which is empty once they were put into the support."""

    def __init__(self, session: "Session") -> None:
        self.session = session

    def draw(self, shape: Literal["rectangle", "ellipse"]) -> Shapes:
        """Return the layer, ready for one more outline; it is made where there is none.

        Raises
        ------
        DiprError
            If there is no measurement, or napari shows volumes.
        """
        session = self.session
        canvas = session.need_canvas()
        if session.viewer.dims.ndisplay == 3:
            raise DiprError("Outlines are drawn in a plane. Leave napari's 3D display first.")
        layer = canvas.find("outline", Shapes)
        self._support_layer()  # where to draw is seen then
        if layer is None:
            layer = canvas.show_outline(SUPPORT_COLOUR)
            layer.mouse_drag_callbacks.append(self._dragged)
        session.viewer.layers.selection = {layer}
        layer.mode = f"add_{shape}"
        return layer

    def _dragged(self, layer: Shapes, event: Any) -> Generator[None, None, None]:
        yield
        while event.type == "mouse_move":
            yield
        # After napari's own callback, which finishes the shape.
        QTimer.singleShot(0, self.take)

    def take(self) -> None:
        """Put what was drawn into the support."""
        canvas = self.session.canvas
        layer = canvas.find("outline", Shapes) if canvas is not None and canvas.viewer is not None else None
        if canvas is None or layer is None or not len(layer.data):
            return
        try:
            inside = inside_of(layer, canvas.grid)
        except DiprError:
            show_error("The outline lies beside the object's amplitude. Draw it on the picture.")
            inside = np.zeros(canvas.grid, bool)
        layer.selected_data = set(range(len(layer.data)))
        layer.remove_selected()
        self._put_in(inside)

    def _put_in(self, inside: NDArray[np.bool_]) -> None:
        """Put pixels into the support as a person's stroke does, and give the brush back to it."""
        layer = self._support_layer()
        where = np.nonzero(inside & (np.asarray(layer.data) == 0))
        if len(where[0]):
            layer.data_setitem(where, 1)
        self.session.viewer.layers.selection = {layer}

    def _support_layer(self) -> Labels:
        """Return the support's layer; where there is none, one with nothing in it."""
        if self.session.support_layer is None:
            self.session.show_support(np.zeros(self.session.need_canvas().grid, bool), BY_HAND)
        assert self.session.support_layer is not None
        return self.session.support_layer

    def take_from(self, layer: Layer) -> None:
        """Take the support from another layer: its labels, its values above 0, or what its shapes enclose.

        Raises
        ------
        DiprError
            If there is no measurement, a run is under way, or the layer does not do.
        """
        session = self.session
        measurement = session.need_measurement()
        session.refinement.must_be_idle()
        session.show_support(inside_of(layer, measurement.grid), f"layer {layer.name}")
