"""What lies where on napari's canvas.

Pattern and object live in two spaces: drawn over each other they would mislead. Four pictures of one size stand side
by side instead, each under a caption::

    measurement   first guess, or what is compared   difference   of calculated and measured amplitude
    amplitude     phase                              colours      of the object, streaming
    sections      and another   variance   unwrapped  of a volume's amplitude, of many starts, and the object's phase
    crystal       displacement  strain                on cubic voxels, where the geometry of a scan is known

The mask lies over the measurement; the support, over what is pinned of it, over the object's amplitude. What is not in
the first four places is there where it is asked for. There is one layer a quantity; one that a person removes is made
anew when its quantity next changes, and one that is hidden gets its data when it is shown again.
"""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes, Surface
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

TAG = "napari-dipr"
GAP = 0.14
ROWS = (
    ("measurement mask", "guess compared", "difference"),
    ("amplitude support outline pins", "phase", "colours"),
    ("sections", "", "variance", "unwrapped"),
    ("crystal", "displacement", "strain", "surface"),
)
CELLS = {
    role: (row, column) for row, cells in enumerate(ROWS) for column, cell in enumerate(cells) for role in cell.split()
}
# Where the grid has two axes: there are no sections then.
FLAT = {"variance": (2, 0), "unwrapped": (2, 1)}
SUPPORT_COLOUR = "#00e5ff"
# Of what a person painted into the support and out of it.
PIN_COLOURS = {0: "transparent", 1: "#3ddc84", 2: "#ff5c8a", None: "transparent"}
# Of the support, by the number of displayed axes: drawn as a volume it must not hide the object in it.
OPACITY = {2: 0.9, 3: 0.2}
FRAME_COLOUR = "#3c434a"
# By how much contrast limits must change for the picture to follow: changing them costs as much as the data.
SAME = 0.03


class Canvas:
    """The layers that one measurement has in a viewer.

    Parameters
    ----------
    viewer
        A napari viewer.
    name
        The measurement's; all layer names begin with it.
    grid
        Shape of the measurement, and of the object.
    voxel
        The object's, nanometres along each axis; None where it is not known. Layers are then in pixels. The pattern is
        drawn as large as the object: the lengths of the viewer's axes are the object's.
    """

    def __init__(self, viewer: Any, name: str, grid: Sequence[int], voxel: Sequence[float] | None = None) -> None:
        self._viewer = weakref.ref(viewer)
        self.name, self.grid = name, tuple(grid)
        self.voxel = (1.0,) * len(self.grid) if voxel is None else tuple(voxel)
        self.unit = "pixel" if voxel is None else "nm"
        self._cells = CELLS if len(self.grid) == 3 else CELLS | FLAT
        self._captions: dict[str, str] = {}
        self._captioned = False
        self._limits: dict[str, tuple[float, float]] = {}
        self._waiting: dict[str, Callable[[], Any]] = {}
        self._hidden: set[str] = set()
        self._every: dict[str, int] = {}
        viewer.dims.events.ndisplay.connect(self._turned)

    @property
    def viewer(self) -> Any:
        """The viewer; held weakly, for the session of a viewer must not keep it alive."""
        return self._viewer()

    def find(self, role: str, kind: type[Layer] = Layer) -> Any:
        """Return the layer of a role and kind, unless it was removed, or turned into another kind (with its tag)."""
        tagged = (layer for layer in self.viewer.layers if layer.metadata.get(TAG) == self._tag(role))
        return next((layer for layer in tagged if isinstance(layer, kind)), None)

    def adopt(self, layer: Layer, role: str, caption: str) -> None:
        """Take a layer that is there already for a role."""
        layer.metadata[TAG] = self._tag(role)
        layer.name = f"{self.name} · {caption}"
        layer.visible = True
        where = self._where(role)
        layer.scale, layer.units, layer.translate = where["scale"], where["units"], where["translate"]
        layer.events.visible.connect(lambda event: self._looked_at(role))
        self._caption(role, caption)

    def show_image(
        self,
        role: str,
        data: NDArray[Any],
        caption: str,
        *,
        colormap: str = "inferno",
        limits: tuple[float, float] | None = None,
        every: int = 1,
        voxel: float | None = None,
    ) -> Image:
        """Show data as the image of a role: the layer that is there gets new data, and new limits where given.

        Of data that are not new, ``every`` second, third … pixel along each axis alone, in the same place. ``voxel`` is
        the edge of cubes, where the data are not on the object's grid.
        """
        layer = self.find(role, Image)
        self._waiting.pop(role, None)
        if layer is not None and not layer.visible:
            self._waiting[role] = partial(
                self.show_image, role, data, caption, colormap=colormap, limits=limits, every=every, voxel=voxel
            )
            return layer
        is_rgb = data.ndim > len(self.grid) and data.shape[-1] == 3
        limits = (0, 255) if is_rgb else limits or _limits(data)
        # A contrast that a person has set stays.
        is_ours = layer is None or self._limits.get(role) == tuple(layer.contrast_limits)
        if layer is not None:
            _replace_data(layer, data[(slice(every // 2, None, every),) * layer.ndim])
            if (before := self._every.get(role, 1)) != every:
                layer.scale = np.asarray(layer.scale) * every / before
                shift = np.asarray(self.voxel[-layer.ndim :]) * (every // 2 - before // 2)
                layer.translate = np.asarray(layer.translate) + shift
                self._every[role] = every
            if voxel is not None:
                where = self._where(role, data.ndim, (voxel, data.shape))
                layer.scale, layer.translate = where["scale"], where["translate"]
            layer.name = f"{self.name} · {caption}"
            if is_ours and not is_rgb and not np.allclose(limits, layer.contrast_limits, rtol=SAME):
                layer.contrast_limits_range = limits
                layer.contrast_limits = limits
        else:
            selected = set(self.viewer.layers.selection)
            self._every.pop(role, None)  # of the layer before, which was removed
            layer = self.viewer.add_image(
                data.copy(),  # the layer's own: it is written into
                name=f"{self.name} · {caption}",
                rgb=is_rgb,
                **({} if is_rgb else {"colormap": colormap, "contrast_limits": limits}),
                interpolation2d="nearest",
                **self._where(role, data.ndim - is_rgb, None if voxel is None else (voxel, data.shape)),
            )
            layer.events.visible.connect(lambda event: self._looked_at(role))
            self._below_labels(layer)
            if selected:  # a new picture must not take the brush from the support
                self.viewer.layers.selection = selected
            _frame(layer)
        if is_ours:
            self._limits[role] = tuple(layer.contrast_limits)
        self._caption(role, caption)
        return layer

    def show_labels(self, role: str, inside: NDArray[np.bool_], caption: str, colour: str) -> Labels:
        """Show a mask as a new labels layer of a role, 1 inside, in sight."""
        layer = self.viewer.add_labels(
            inside.astype(np.uint8),
            name=f"{self.name} · {caption}",
            colormap=DirectLabelColormap(color_dict={0: "transparent", 1: colour, None: colour}),
            **self._where(role),
        )
        layer.brush_size = max(3, round(min(self.grid) / 24))
        layer.opacity = OPACITY[self.viewer.dims.ndisplay]
        layer.contour = 1
        _frame(layer)
        if not self._has_picture(role):
            self._point_camera()
        return layer

    def show_outline(self, colour: str) -> Shapes:
        """Show a layer, empty yet, to draw outlines in."""
        return self.viewer.add_shapes(
            name=f"{self.name} · outline",
            ndim=len(self.grid),
            edge_color=colour,
            face_color="transparent",
            edge_width=max(0.5, min(self.grid) / 200),
            **self._where("outline"),
        )

    def show_surface(
        self,
        surface: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]],
        caption: str,
        limits: tuple[float, float],
        cubes: tuple[float, tuple[int, ...]],
    ) -> None:
        """Show a surface, and nothing else: vertices in cubes (their edge, and number), triangles, vertices' values."""
        layer = self.find("surface", Surface)
        if layer is not None:
            self.viewer.layers.remove(layer)  # its data cannot be replaced by such of another shape without a warning
        layer = self.viewer.add_surface(
            surface,
            name=f"{self.name} · {caption}",
            colormap="coolwarm",
            contrast_limits=limits,
            shading="smooth",
            **self._where("surface", 3, cubes),
        )
        self.viewer.dims.ndisplay = 3
        self.viewer.reset_view(layers=[layer] if self.viewer.dims.ndim == 3 else None)

    def show_pins(self, strokes: NDArray[np.int8] | None) -> None:
        """Show what a person painted into the support (1) and out of it (−1), under the support's layer."""
        layer = self.find("pins", Labels)
        pins = None if strokes is None else np.where(strokes < 0, 2, strokes).astype(np.uint8)
        if layer is not None:
            layer.data[...] = 0 if pins is None else pins
            layer.refresh()
        if layer is not None or pins is None:
            return
        selected = set(self.viewer.layers.selection)
        layer = self.viewer.add_labels(
            pins,
            name=f"{self.name} · pinned",
            colormap=DirectLabelColormap(color_dict=PIN_COLOURS),
            opacity=0.6,
            **self._where("pins"),
        )
        layer.editable = False
        self._below_labels(layer)
        self.viewer.layers.selection = selected  # the brush stays with the support

    def _looked_at(self, role: str) -> None:
        self.caption_anew()
        if self.is_seen(role) and role in self._waiting:
            self._waiting.pop(role)()

    def is_seen(self, role: str) -> bool:
        """Say whether there is a layer of a role, and it is not hidden."""
        layer = self.find(role)
        return layer is not None and bool(layer.visible)

    def hide(self) -> None:
        """Put these layers out of sight; they stay in the list."""
        self._hidden = {layer.metadata[TAG][1] for layer in self.layers if layer.visible} - {"captions"}
        for role in self._hidden:
            self.find(role).visible = False

    def show(self) -> None:
        """Put into sight again what was hidden, and point the camera at it."""
        for role in self._hidden:
            if (layer := self.find(role)) is not None:
                layer.visible = True
        self._hidden = set()
        self._point_camera()

    @property
    def layers(self) -> list[Layer]:
        """The layers that there are, hidden ones included."""
        return [layer for layer in self.viewer.layers if (layer.metadata.get(TAG) or ("",))[0] == self.name]

    def show_middle(self) -> None:
        """Show the middle plane of a volume, wherever other layers end."""
        self.viewer.dims.set_point(0, self.grid[0] // 2 * self.voxel[0])

    def _point_camera(self) -> None:
        # What others have in the viewer does not count, hidden or not, where napari can leave it out.
        is_alone = self.viewer.dims.ndim == max(layer.ndim for layer in self.layers)
        self.viewer.reset_view(layers=self.layers if is_alone else None)

    def _tag(self, role: str) -> tuple[str, str]:
        return (self.name, role)

    def _place(self, role: str) -> tuple[float, ...]:
        row, column = self._cells[role]
        step = (1 + GAP) * max(n * size for n, size in zip(self.grid[-2:], self.voxel[-2:], strict=True))
        return (*(0.0,) * (len(self.grid) - 2), row * step, column * step)

    def _where(
        self, role: str, dims: int | None = None, cubes: tuple[float, tuple[int, ...]] | None = None
    ) -> dict[str, Any]:
        """Return where a role's layer is; ``cubes`` of another grid, their edge and number, about the same middle."""
        dims = dims or len(self.grid)
        scale, place = self.voxel[-dims:], self._place(role)[-dims:]
        if cubes is not None:
            middle = np.array([n // 2 * size for n, size in zip(self.grid, self.voxel, strict=True)])
            scale = (cubes[0],) * dims
            place = tuple(place + middle - cubes[0] * (np.array(cubes[1]) // 2))
        return {
            "translate": place,
            "scale": scale,
            "units": (self.unit,) * dims,
            "axis_labels": ("z", "y", "x")[-dims:],
            "metadata": {TAG: self._tag(role)},
        }

    def _below_labels(self, layer: Layer) -> None:
        # A picture that is made after the support must not lie on top of it.
        layers = self.viewer.layers
        labels = [i for i, other in enumerate(layers) if isinstance(other, Labels) and other is not layer]
        if labels and layers.index(layer) > labels[0]:
            layers.move(layers.index(layer), labels[0])

    def _caption(self, role: str, text: str) -> None:
        if self._captions.get(role) == text:
            return
        is_new = not self._has_picture(role)
        self._captions[role] = text
        self._write_captions(may_add=True)
        if is_new:
            self._point_camera()

    def _has_picture(self, role: str) -> bool:
        """Say whether the camera was pointed at a role's place before."""
        return self._cells[role] in {self._cells[other] for other in self._captions}

    def _turned(self, event: Any = None) -> None:
        self.caption_anew()
        layer = None if self.viewer is None else self.find("support")
        if layer is not None and layer.opacity in OPACITY.values():  # else a person has chosen it
            layer.opacity = OPACITY[self.viewer.dims.ndisplay]

    def caption_anew(self, event: Any = None) -> None:
        """Write over each picture what is seen there: one was shown, hidden or removed."""
        if self.viewer is not None:
            self._write_captions(may_add=False)  # while all layers are cleared, one more would never end it

    def _write_captions(self, may_add: bool) -> None:
        self._captions = {role: text for role, text in self._captions.items() if self.find(role) is not None}
        seen = {self._cells[role]: text for role, text in self._captions.items() if self.is_seen(role)}
        # Text among volumes would turn with them.
        is_wanted = bool(seen) and self.viewer.dims.ndisplay == 2
        roles = {cell: role for role, cell in reversed(self._cells.items())}
        # A picture that is not seen has its empty caption at the measurement's, where it does not move the camera.
        corners = [self._place(roles[cell if cell in seen else (0, 0)])[-2:] for cell in roles]
        positions = np.asarray(corners) - (0.02 * self.grid[-2] * self.voxel[-2], 0)
        captions = [seen.get(cell, "") for cell in roles]
        layer = self.find("captions", Points)
        if layer is not None:
            if list(layer.features["caption"]) != captions:
                layer.data, layer.features = positions, {"caption": captions}
            if is_wanted != self._captioned:
                layer.visible = self._captioned = is_wanted
            return
        if not (seen and may_add):
            return
        self._captioned = is_wanted
        selected = set(self.viewer.layers.selection)
        self.viewer.add_points(
            positions,
            name=f"{self.name} · captions",
            features={"caption": captions},
            text={"string": "{caption}", "anchor": "upper_left", "color": "#8a929a", "size": 11},
            size=0.01 * self.voxel[-1],
            canvas_size_limits=(0, 100),
            face_color="transparent",
            visible=is_wanted,
            border_width=0,
            units=(self.unit,) * 2,
            axis_labels=("y", "x"),
            metadata={TAG: self._tag("captions")},
        )
        self.viewer.layers.selection = selected


def is_foreign(layer: Layer) -> bool:
    """Say whether a layer is a person's own, and none of ours."""
    return TAG not in layer.metadata


def logarithm(intensities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return intensities as people look at them: log10, down to a floor seven decades below the brightest."""
    top = float(intensities.max())
    lowest = float(intensities[intensities > 0].min()) if top > 0 else 1.0
    return np.log10(np.maximum(intensities, max(lowest, 1e-7 * top))).astype(np.float32)


def _frame(layer: Layer) -> None:
    # Most of an object's picture is black, and a support may be empty: a frame shows where it ends.
    layer.bounding_box.visible, layer.bounding_box.points = True, False
    layer.bounding_box.line_color, layer.bounding_box.line_thickness = FRAME_COLOUR, 1


def _replace_data(layer: Image, data: NDArray[Any]) -> None:
    old = layer.data
    if isinstance(old, np.ndarray) and (old.shape, old.dtype) == (data.shape, data.dtype) and old.flags.writeable:
        # Half the price of new data, which napari takes for a new extent of everything.
        old[...] = data
        layer.refresh(extent=False, highlight=False)
    else:
        layer.data = data.copy()


def _limits(data: NDArray[Any]) -> tuple[float, float]:
    low, high = float(np.nanmin(data)), float(np.nanmax(data))
    return (low, high) if high > low else (low, low + 1.0)
