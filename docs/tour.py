"""Make the pictures of the tour, and the README's animation, through the real widgets: ``make pictures``."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_dipr.benchmarks.bragg import bragg
from napari_dipr.experiment import simulate
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement
from napari_dipr.samples import sample
from napari_dipr.ui.app import open_window
from napari_dipr.ui.demo import SAMPLE, wait_for
from napari_dipr.ui.memory import unremembered
from napari_dipr.ui.workflow import Workflow

IMAGES = Path(__file__).parent / "images"
LONG = 1_000_000


@contextmanager
def window(source: str | None = None) -> Iterator[tuple[Any, Workflow]]:
    """Open the program, its forms as they are at first."""
    with unremembered():
        viewer, workflow = open_window(source)
        try:
            yield viewer, workflow
        finally:
            viewer.close()


def photograph(viewer: Any, name: str) -> None:
    """Keep a picture of the window."""
    wait_for(lambda: True, "the picture")
    viewer.screenshot(str(IMAGES / f"tour-{name}.png"), canvas_only=False, flash=False)


def show(workflow: Workflow, *numbers: int) -> None:
    """Open these sections of the dock, and close the others."""
    for number, section in enumerate(workflow.sections, 1):
        (section.expand if number in numbers else section.collapse)(animate=False)


def look_at(workflow: Workflow, widget: Any) -> None:
    """Scroll the dock to a widget, once its sections are as high as their panels need."""
    wait_for(lambda: True, "the sections")
    workflow.scroll.ensureWidgetVisible(widget)


def is_over(workflow: Workflow, runs: int) -> None:
    """Wait until so many runs are over."""
    wait_for(lambda: len(workflow.session.history.results) == runs, "the run")


def mask() -> None:
    """Have the mask suggested for a detector with a gap and bad pixels."""
    measurement, _ = sample("fashion-8")
    counts = (
        np.random.default_rng(0).poisson(measurement.intensities / measurement.intensities.max() * 3e7).astype(float)
    )
    counts[:, 44:46] = 0
    counts[[12, 30, 55], [20, 38, 14]] = 3e6
    with window() as (viewer, workflow):
        session, panel = workflow.session, workflow.measurement
        session.use(Measurement.of(counts, zero_frequency="centre", name="counts"))
        panel.suggest_button.click()
        wait_for(lambda: session.mask.is_drawn, "the suggestion")
        show(workflow, 1)
        panel.masking.expand(animate=False)
        look_at(workflow, panel.mask_words)
        photograph(viewer, "1-mask")


def prepared() -> None:
    """Prepare a detector's frame: off its centre, saturated there, with hot pixels and a background."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((40, 40)) - 20
    ring = (np.hypot(rows, columns) < 18) & (np.hypot(rows - 2, columns + 3) > 8)
    counts = simulate(ring, oversampling=10, photons=2e8)[0].intensities[40:, 70:]
    counts = rng.poisson(counts + 3).clip(max=40_000).astype(np.uint16)
    counts[rng.integers(0, 360, 40), rng.integers(0, 330, 40)] += 9_000
    with window() as (viewer, workflow), tempfile.TemporaryDirectory() as folder:
        panel, form = workflow.measurement, workflow.measurement.prepare
        np.save(Path(folder) / "frame.npy", counts)
        panel.source.open(Path(folder) / "frame.npy")
        wait_for(lambda: panel.source.is_chosen, "the file")
        form.leave_out["hot"].value = form.leave_out["dead"].value = True
        form.background.value, form.centre.value = "rim", "friedel"
        form.crop.value, form.bin.value = "inside", "3"
        panel.preview_box.value = True
        wait_for(lambda: "preview (log)" in viewer.layers and not workflow.session.busy, "the preview")
        look_at(workflow, panel.outcome)
        photograph(viewer, "10-prepared")


def crystal() -> None:
    """Work out a simulated strained crystal in nanometres, and look at its surface."""
    measurement = bragg().measurement
    with window() as (viewer, workflow):
        session, form = workflow.session, workflow.runs.crystal
        session.use(measurement)
        workflow.support.autocorrelation_button.click()
        wait_for(lambda: session.support_layer is not None, "the support")
        workflow.refine.bar.start.click()
        is_over(workflow, 1)
        wait_for(lambda: not session.busy, "the sections")
        form.work_out_button.click()
        wait_for(lambda: session.crystal.lattice is not None and not session.busy, "the crystal")
        show(workflow, 5)
        workflow.runs.crystal_section.expand(animate=False)
        viewer.reset_view()
        look_at(workflow, form.words)
        photograph(viewer, "11-crystal")
        form.surface_button.click()
        wait_for(lambda: session.crystal.is_surface_shown, "the surface")
        photograph(viewer, "12-surface")


def run() -> None:
    """Go from a proposal to runs that are compared."""
    with window(SAMPLE) as (viewer, workflow):
        session, refine, support = workflow.session, workflow.refine, workflow.support
        support.propose_button.click()
        wait_for(lambda: session.support_layer is not None, "the proposal")
        photograph(viewer, "2-proposal")

        layer = session.support_layer
        layer.brush_size, layer.mode = 3, "paint"
        for column in range(30, 44, 2):
            layer.paint((24, column), 1)
        layer.selected_label = 0
        for row in range(40, 48, 2):
            layer.paint((row, 49), 0)
        layer.selected_label = 1
        wait_for(lambda: session.strokes is not None, "the strokes")
        show(workflow, 2)
        photograph(viewer, "3-painted")

        refine.text.value, refine.algorithm.value = "hio*600 + raar*60000 + er*100", "as written below"
        refine.bar.start.click()
        wait_for(lambda: run_of(workflow) > 700, "iterates")
        layer.paint((20, 50), 1)
        wait_for(lambda: bool(session.refinement.snapshot.support[20, 50]), "the stroke")
        wait_for(lambda: any(not stage for _, stage in refine.plot.marks), "the edit's mark")
        show(workflow, 3)
        look_at(workflow, refine.plot)
        photograph(viewer, "4-running")
        refine.bar.stop.click()
        is_over(workflow, 1)

        session.show_support(session.proposal.support, "the network")
        refine.algorithm.value, refine.iterations.value = "HIO, then ER", 300
        refine.edit_button.click()
        wait_for(lambda: len(refine.editor.rows) == 2, "the stages")
        refine.start.value = "guess"
        refine.bar.start.click()
        is_over(workflow, 2)
        show(workflow, 3)
        photograph(viewer, "5-recipe")

        refine.start.value = "random"
        refine.bar.start.click()
        is_over(workflow, 3)
        show(workflow, 5)
        workflow.runs.other.value = session.history.results[1]
        workflow.runs.compare_button.click()
        wait_for(lambda: bool(workflow.runs.words.text()), "the comparison")
        photograph(viewer, "6-compared")

        viewer.theme = "light"
        show(workflow, 3)
        photograph(viewer, "9-light")


def colours() -> None:
    """Show a complex object in colours, and what is left unexplained."""
    rows, columns = np.indices((48, 48)) - 24
    crystal = (abs(rows) + abs(columns) < 18) & (abs(rows) < 14)
    x = crystal * (1 + 0.1 * np.cos(columns / 3)) * np.exp(2j * np.sin(rows / 6) * np.cos(columns / 8))
    measurement, truth = simulate(x, oversampling=2, photons=1e9, name="strained crystal")
    with window() as (viewer, workflow):
        session, refine = workflow.session, workflow.refine
        session.use(measurement, truth)
        workflow.support.propose_button.click()
        wait_for(lambda: session.support_layer is not None, "the proposal")
        refine.extras["colours"].value = refine.extras["difference"].value = True
        refine.bar.start.click()
        is_over(workflow, 1)
        show(workflow, 3)
        photograph(viewer, "7-colours")


def volume() -> None:
    """Refine a volume: slices, and two sections."""
    grid = np.indices((32, 32, 32)) - 16
    inside = (abs(grid).sum(0) < 16) & (abs(grid[0]) < 10)
    x = inside * np.exp(1j * np.sin(grid[1] / 4))
    measurement, truth = simulate(x, oversampling=2, photons=1e8, name="crystal in 3-D")
    with window() as (viewer, workflow):
        session = workflow.session
        session.use(measurement, truth)
        workflow.support.propose_button.click()
        wait_for(lambda: session.support_layer is not None, "the proposal")
        workflow.refine.bar.start.click()
        is_over(workflow, 1)
        show(workflow, 3)
        photograph(viewer, "8-volume")


def starts() -> None:
    """Run many starts of a crystal that gave few photons, and average the better ones."""
    rows, columns = np.indices((64, 64)) - 32
    crystal = (abs(rows) + abs(columns) < 26) & (abs(rows) < 20) & (columns < 18)
    x = crystal * (1 + 0.2 * np.cos(columns / 3)) * np.exp(1j * np.sin(rows / 8) * np.cos(columns / 9))
    measurement, truth = simulate(x, oversampling=2, photons=1e5, name="few photons")
    geometry = Geometry.parse("energy=8, distance=1.5, pixel=55")
    with window() as (viewer, workflow):
        session, panel = workflow.session, workflow.starts
        session.use(replace(measurement, geometry=geometry), truth)
        workflow.support.autocorrelation_button.click()
        wait_for(lambda: session.support_layer is not None, "the support")
        workflow.refine.algorithm.value, workflow.refine.free.value = "RAAR, then ER", True
        panel.run_button.click()
        wait_for(lambda: session.starts.course is None, "the starts")
        show(workflow, 4)
        look_at(workflow, panel.plot)
        photograph(viewer, "13-starts")


def painting() -> None:
    """Make the animation: a support that is painted while the solver runs."""
    frames: list[Image.Image] = []
    with window(SAMPLE) as (viewer, workflow):
        session, refine = workflow.session, workflow.refine
        box = np.zeros((72, 72), bool)
        box[20:54, 17:57] = True
        session.show_support(box, "a box")
        show(workflow, 3)
        refine.shrink_wrap.value, refine.iterations.value = False, LONG
        refine.start.value = "random"
        refine.bar.start.click()
        wait_for(lambda: run_of(workflow) > 300, "the first iterates")
        for _ in range(4):
            frame(viewer, frames)
        truth = abs(session.truth) > 0
        support = session.support_layer
        rows, columns = np.nonzero(session.support & ~grown_by(truth, 2))
        turns = np.argsort(np.arctan2(rows - rows.mean(), columns - columns.mean()))
        support.brush_size, support.mode = 1, "erase"
        for some in np.array_split(turns, 40):
            for pixel in some:
                support.paint((int(rows[pixel]), int(columns[pixel])), 0)
            frame(viewer, frames)
        for _ in range(16):
            frame(viewer, frames)
        refine.bar.stop.click()
        is_over(workflow, 1)
    # One palette for all: that of some of them, side by side, for pins and marks come on the way.
    some = np.hstack([np.asarray(picture) for picture in frames[::6]])
    palette = Image.fromarray(some).quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in frames]
    times = [140] * (len(frames) - 1) + [3000]
    first.save(IMAGES / "painting.gif", save_all=True, append_images=others, duration=times, loop=0)


def frame(viewer: Any, frames: list[Image.Image]) -> None:
    """Keep a small picture of the window as a frame, a while after the one before."""
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    frames.append(picture.resize((900, round(900 * picture.height / picture.width)), Image.Resampling.LANCZOS))


def grown_by(inside: Any, pixels: int) -> Any:
    """Return a mask wider by some pixels."""
    for _ in range(pixels):
        for axis in (0, 1):
            inside = inside | np.roll(inside, 1, axis) | np.roll(inside, -1, axis)
    return inside


def run_of(workflow: Workflow) -> int:
    """Return how far the run is."""
    snapshot = workflow.session.refinement.snapshot
    return 0 if snapshot is None else snapshot.iteration


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for make in (mask, prepared, run, colours, volume, crystal, starts, painting):
        make()
