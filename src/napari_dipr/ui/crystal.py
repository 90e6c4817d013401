"""The crystal of a session: the shown object on cubic voxels, in nanometres, with displacement and strain."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_dipr.errors import DiprError

if TYPE_CHECKING:
    from napari_dipr.lattice import Frame, Lattice
    from napari_dipr.ui.session import Session

Colour = Literal["displacement", "strain"]
ROLES = ("crystal", "displacement", "strain", "unwrapped", "surface")
UNITS = {"displacement": " nm", "strain": ""}


class Crystal:
    """What is worked out of the result that is shown.

    Attributes
    ----------
    lattice
        The last one; None before, and where another result is shown.
    frame
        That it was, and is to be written, in.
    """

    changed = Signal()

    def __init__(self, session: "Session") -> None:
        self.session = session
        self._lattice: tuple[Any, Lattice] | None = None
        self._hidden: tuple[Any, ...] = ()
        self._shown: tuple[Any, Any] | None = None
        self.frame: Frame = "laboratory"

    def follow(self) -> None:
        """Take the pictures away that are of another object than that which is shown."""
        if self._shown is not None and self._shown[1] is not self.session.refinement.snapshot:
            canvas, _ = self._shown
            self.leave_surface()
            self._shown = None
            for role in ROLES:
                if (layer := canvas.find(role)) is not None:
                    canvas.viewer.layers.remove(layer)
            self.changed.emit()

    @property
    def lattice(self) -> "Lattice | None":
        """The crystal of the object that is shown."""
        snapshot = self.session.refinement.snapshot
        return None if self._lattice is None or self._lattice[0] is not snapshot else self._lattice[1]

    @property
    def is_possible(self) -> bool:
        """Whether the geometry of a rocking scan is known."""
        measurement = self.session.measurement
        return measurement is not None and measurement.is_rocking_scan

    def work_out(self, frame: "Frame") -> None:
        """Work the crystal out, off the main thread, and show it.

        Raises
        ------
        DiprError
            If there is no result, or no geometry of a scan.
        """
        measurement, snapshot = self.session.need_measurement(), self._snapshot()
        if not self.is_possible:
            raise DiprError(
                "Nanometres need the geometry of a rocking scan. Give it in the Measurement panel, with beamline, rock "
                "and step, and use the measurement again."
            )
        self.frame = frame

        def job() -> "Lattice | None":
            from napari_dipr.lattice import crystal_of

            return crystal_of(measurement, snapshot.object, snapshot.support, frame)

        def done(found: "Lattice") -> None:
            if self.session.refinement.snapshot is not snapshot:  # another is shown by now
                return
            self._lattice, self._shown = (snapshot, found), (self.session.canvas, snapshot)
            self._show(found)
            self.changed.emit()

        self.session.do(job, done, "Working out the crystal")

    def unwrap(self) -> None:
        """Show the phase of the shown object without jumps by 2π, off the main thread."""
        snapshot = self._snapshot()

        def done(phase: NDArray[np.float64]) -> None:
            if self.session.refinement.snapshot is not snapshot:  # another is shown by now
                return
            self._shown = self.session.canvas, snapshot
            style: Any = {"colormap": "viridis", "limits": (float(np.nanmin(phase)), float(np.nanmax(phase)) + 1e-9)}
            self.session.need_canvas().show_image(
                "unwrapped", phase.astype(np.float32), "object phase, unwrapped", **style
            )

        def job() -> NDArray[np.float64]:
            from napari_dipr.physics.displacement import unwrapped

            return unwrapped(snapshot.object, snapshot.support)

        self.session.do(job, done, "Unwrapping the phase")

    def show_surface(self, colour: Colour) -> None:
        """Show the crystal's surface in 3-D, coloured; the other pictures are hidden until :meth:`leave_surface`."""
        found, canvas = self.lattice, self.session.need_canvas()
        if found is None:
            raise DiprError("Work the crystal out first.")
        values = getattr(found, colour)

        def shown(surface: Any) -> None:
            if self.lattice is not found:  # another is shown by now
                return
            if not self._hidden:
                canvas.hide()
                self._hidden = (canvas, self.session.viewer.dims.ndisplay)
            limits, cubes = _around_zero(values), (found.voxel, found.amplitude.shape)
            canvas.show_surface(surface, f"surface, {colour} up to {limits[1]:.2g}{UNITS[colour]}", limits, cubes)
            self.changed.emit()

        self.session.do(lambda: _surface(found.amplitude, values), shown, "Drawing the surface")

    @property
    def is_surface_shown(self) -> bool:
        """Whether the surface stands in for the other pictures."""
        return bool(self._hidden)

    def leave_surface(self) -> None:
        """Hide the surface, and show again what it hid."""
        if self._hidden:
            canvas, ndisplay = self._hidden
            self._hidden = ()
            if (layer := canvas.find("surface")) is not None:
                layer.visible = False
            self.session.viewer.dims.ndisplay = ndisplay
            if canvas is self.session.canvas:
                self.session.need_canvas().show()
            self.changed.emit()

    def _snapshot(self) -> Any:
        self.session.refinement.must_be_idle()
        snapshot = self.session.refinement.snapshot
        if snapshot is None:
            raise DiprError("There is no object yet. Start a refinement first.")
        return snapshot

    def _show(self, found: "Lattice") -> None:
        canvas = self.session.need_canvas()
        limits = 0.0, float(found.amplitude.max())
        words = f"crystal, {found.frame}"
        canvas.show_image("crystal", found.amplitude, words, colormap="gray", limits=limits, voxel=found.voxel)
        for role, unit in UNITS.items():
            values = getattr(found, role).astype(np.float32)
            limits, words = _around_zero(values), f"{role},{unit}" if unit else role
            canvas.show_image(role, values, words, colormap="coolwarm", limits=limits, voxel=found.voxel)


def _around_zero(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits that leave out the outermost hundredth."""
    limit = float(np.nanpercentile(np.abs(values), 99)) or 1.0
    return -limit, limit


def _surface(
    amplitude: NDArray[np.float32], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the surface of half the crystal's amplitude, each vertex with the nearest value there is."""
    from scipy import ndimage
    from skimage.measure import marching_cubes

    from napari_dipr.lattice import SOLID

    there = np.isfinite(values)
    padded = np.pad(amplitude, 1)
    vertices, faces, *_ = marching_cubes(padded, SOLID * float(np.median(amplitude[there])))
    vertices = vertices - 1
    nearest = ndimage.distance_transform_edt(~there, return_distances=False, return_indices=True)
    index = tuple(np.clip(np.round(vertices.T).astype(int), 0, np.array(values.shape)[:, None] - 1))
    return vertices, faces, values[tuple(axis[index] for axis in nearest)]
