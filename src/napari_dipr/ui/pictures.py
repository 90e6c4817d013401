"""What is shown of an object: amplitude, phase, sections of a volume, and pictures that are drawn where asked for."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_dipr.io.figure import brightest, colours
from napari_dipr.measurement import Measurement
from napari_dipr.physics.placement import boxed, offset_from_centre

if TYPE_CHECKING:
    from napari_dipr.ui.session import Session
    from napari_dipr.ui.worker import Snapshot

Extra = Literal["colours", "difference", "sections"]
# The caption and the colours of each.
STYLES: dict[Extra, tuple[str, str]] = {
    "colours": ("object in colours", "gray"),
    "difference": ("difference of |F|", "coolwarm"),
    "sections": ("amplitude, z–x and z–y through the middle", "gray"),
}
# Pixels along the longer side of a small picture.
SMALL = 44
# Voxels along the longest side of a volume that is drawn as one during a run.
STREAMED = 64


class Pictures:
    """The pictures of a session's object.

    Attributes
    ----------
    extras
        Those that are asked for besides amplitude and phase; sections are of volumes alone.
    """

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.extras: set[Extra] = {"sections"}

    def show_object(self, amplitude: NDArray[np.float32], phase: NDArray[np.float32], inside: NDArray) -> None:
        """Show an object as amplitude, up to what is :func:`brightest` inside, and phase."""
        self.show_amplitude(amplitude, brightest(amplitude, inside))
        self.show_phase(phase)

    def show_amplitude(self, amplitude: NDArray[np.float32], limit: float, every: int = 1) -> None:
        """Show an amplitude, up to a limit."""
        style: Any = {"colormap": "gray", "limits": (0.0, limit), "every": every}
        self._canvas().show_image("amplitude", amplitude, "object amplitude", **style)

    def show_phase(self, phase: NDArray[np.float32], every: int = 1) -> None:
        """Show a phase, radians; nothing where it is NaN."""
        style: Any = {"colormap": "twilight_shifted", "limits": (-np.pi, np.pi), "every": every}
        self._canvas().show_image("phase", phase, "object phase", **style)

    def steps(self, snapshot: "Snapshot", streaming: bool = False) -> list[Callable[[], None]]:
        """Return what shows an iterate, one picture a step, so that the window can answer in between.

        A volume that is drawn as one, and will soon be another, is shown in fewer voxels: all of them take long to be
        handed to the graphics card.
        """
        s, every = snapshot, 1
        if streaming and self.session.viewer.dims.ndisplay == 3:
            every = -(-max(s.support.shape) // STREAMED)
        limit = s.limit or brightest(s.amplitude, s.support)
        extras = [partial(self._show_extra, what, picture) for what, picture in s.extras.items()]
        return [
            partial(self.show_amplitude, s.amplitude, limit, every),
            partial(self.show_phase, s.phase, every),
            *extras,
        ]

    def show_snapshot(self, snapshot: "Snapshot") -> None:
        """Show an iterate at once, and draw the extra pictures that it lacks where nothing runs."""
        for step in self.steps(snapshot):
            step()
        if self.session.refinement.state == "idle":
            for what in self._possible() - set(snapshot.extras):
                self._draw(what, snapshot)

    def show_extra(self, what: Extra, shown: bool) -> None:
        """Show one of the extra pictures from now on, or no longer."""
        (self.extras.add if shown else self.extras.discard)(what)
        if self.session.canvas is None:
            return
        if (layer := self.session.canvas.find(what)) is not None:
            layer.visible = shown  # its caption goes with it
        if what in self._possible() and (snapshot := self.session.refinement.snapshot) is not None:
            self._draw(what, snapshot)

    def remove_extras(self) -> None:
        """Take the extra pictures of an object away that is not shown any more; the next run makes them anew."""
        canvas = self._canvas()
        for layer in [layer for what in STYLES if (layer := canvas.find(what)) is not None]:
            canvas.viewer.layers.remove(layer)

    def wanted(self) -> tuple[Extra, ...]:
        """Return the extra pictures that are asked for and not hidden."""
        canvas = self._canvas()
        return tuple(what for what in self._possible() if canvas.find(what) is None or canvas.is_seen(what))

    def _possible(self) -> set[Extra]:
        return self.extras - ({"sections"} if len(self._canvas().grid) == 2 else set())

    def show_compared(self, amplitude: NDArray[np.float32], name: str) -> None:
        """Show the amplitude of another object beside that of this one, in the place of the first guess."""
        canvas = self._canvas()
        if (guess := canvas.find("guess")) is not None:
            guess.visible = False
        limits = 0.0, brightest(amplitude, amplitude > 0.01 * amplitude.max())
        if (layer := canvas.find("compared")) is not None:
            layer.visible = True
        canvas.show_image("compared", amplitude, name, colormap="gray", limits=limits)

    def show_variance(self, variance: NDArray[np.float32], inside: NDArray, caption: str) -> None:
        """Show how far starts differ from each other, up to what is :func:`brightest` inside."""
        limits = 0.0, brightest(variance, inside)
        self._canvas().show_image("variance", variance, caption, colormap="magma", limits=limits)

    def end_comparison(self) -> None:
        """Give the first guess its place back."""
        canvas = self._canvas()
        if canvas.is_seen("compared"):
            canvas.find("compared").visible = False
            if (guess := canvas.find("guess")) is not None:
                guess.visible = True

    def _draw(self, what: Extra, snapshot: "Snapshot") -> None:
        s, measurement = snapshot, self.session.measurement
        assert measurement is not None

        def drawn(picture: NDArray[Any]) -> None:
            # A run that goes has brought newer ones.
            if what in self.extras and self.session.refinement.snapshot is snapshot:
                self._show_extra(what, picture)

        self.session.do(lambda: draw(what, measurement, s.object, s.support, s.psf), drawn, f"Drawing the {what}")

    def _show_extra(self, what: Extra, picture: NDArray[Any]) -> None:
        caption, colormap = STYLES[what]
        end = float(np.quantile(np.abs(picture[::3, ::3]), 0.995)) or 1.0
        limits = (-end if what == "difference" else 0.0, end)
        self._canvas().show_image(what, picture, caption, colormap=colormap, limits=limits)

    def _canvas(self) -> Any:
        assert self.session.canvas is not None
        return self.session.canvas


def one_a_pass(steps: list[Callable[[], None]], goes_on: Callable[[], bool], over: Callable[[], None]) -> None:
    """Take steps, one in each pass of the event loop, as long as it goes on; at the end call ``over``, in any case."""
    if steps and goes_on():
        try:
            steps.pop(0)()
        finally:
            QTimer.singleShot(0, lambda: one_a_pass(steps, goes_on, over))
    else:
        # The frame is drawn between two more passes.
        QTimer.singleShot(0, lambda: QTimer.singleShot(0, over))


def draw(
    what: Extra, measurement: Measurement, x: NDArray[np.complex64], inside: NDArray, psf: NDArray | None
) -> NDArray:
    """Draw an extra picture of an object ``[*grid]``: its :func:`colours`, :func:`difference` or :func:`sections`."""
    if what == "colours":
        return colours(x, brightest(np.abs(x), inside))
    return difference(measurement, x, psf) if what == "difference" else sections(x, inside)


def difference(measurement: Measurement, x: NDArray[np.complex64], psf: NDArray | None) -> NDArray[np.float32]:
    """Return ``√(|F(x)|² ⊗ PSF) − √I`` ``[*grid]``, zero frequency at the centre; 0 where nothing was measured."""
    import torch

    from napari_dipr.physics.fourier import coherence_of

    axes = tuple(range(x.ndim))
    power = torch.fft.fftn(torch.from_numpy(x), dim=axes).abs().square_()
    if psf is not None:
        seen = coherence_of(torch.from_numpy(psf)[None], x.shape)[0]
        power = torch.fft.irfftn(torch.fft.rfftn(power, dim=axes).mul_(seen), s=x.shape, dim=axes).clamp_min_(0)
    calculated = torch.fft.fftshift(power.sqrt_(), dim=axes).numpy()
    return np.where(measurement.measured, calculated - np.sqrt(measurement.intensities), 0).astype(np.float32)


def sections(x: NDArray[np.complex64], inside: NDArray) -> NDArray[np.float32]:
    """Return a volume's amplitude along z and x, and beside it along z and y, through the middle of what is inside."""
    _, row, column = (n // 2 + o for n, o in zip(inside.shape, offset_from_centre(inside), strict=True))
    gap = np.zeros((len(x), max(2, len(x) // 10)))
    return np.hstack([np.abs(x[:, row]), gap, np.abs(x[:, :, column])]).astype(np.float32)


def thumbnail(amplitude: NDArray, inside: NDArray) -> NDArray[np.uint8]:
    """Return a small grey picture of what is inside; of a volume, its mean along the first axis."""
    if not inside.any():
        return np.zeros((SMALL, SMALL), np.uint8)
    picture = boxed(amplitude, inside)
    picture = picture.mean(0) if picture.ndim == 3 else picture
    every = -(-max(picture.shape) // SMALL)
    picture = picture[::every, ::every]
    return np.round(255 * np.minimum(picture / (np.quantile(picture, 0.99) or 1), 1)).astype(np.uint8)
