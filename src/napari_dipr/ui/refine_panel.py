"""The Refine panel: choose an algorithm, start it, watch it, stop it."""

from functools import partial
from typing import Any

import napari
from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from qtpy.compat import isalive
from qtpy.QtWidgets import QGridLayout, QMainWindow, QProgressBar, QVBoxLayout, QWidget

from napari_dipr.device import NAMES
from napari_dipr.solvers import ITERATIONS
from napari_dipr.solvers.projections import HIO, RAAR
from napari_dipr.ui.forms import Form, bounds_of, button, follow, number_for, remark
from napari_dipr.ui.memory import FormMemory, setting
from napari_dipr.ui.pictures import Extra
from napari_dipr.ui.plots import ConvergencePlot
from napari_dipr.ui.recipe_editor import RecipeEditor
from napari_dipr.ui.refinement import WORDS
from napari_dipr.ui.session import session_of
from napari_dipr.ui.worker import load_torch

WRITTEN = "as written below"
ALGORITHMS = {
    "HIO, then ER": "hio",
    "RAAR, then ER": "raar",
    "ALM": "alm",
    "thorough": "thorough",
    "auto": "auto",
    WRITTEN: "",
}
# Share of the pixels that the box "free pixels" holds back.
FREE = 0.05
# Of the presets whose algorithm has a β: what bounds it.
WITH_BETA = {"hio": HIO, "raar": RAAR}


class RefinePanel(QWidget):
    """The recipe's form, the error curve and the run's buttons.

    Parameters
    ----------
    viewer
        The napari viewer.
    with_bar
        Whether the run's buttons are part of the panel; the workflow has them at its foot, always in sight.
    """

    def __init__(self, viewer: "napari.viewer.Viewer", with_bar: bool = True) -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.algorithm = ComboBox(
            choices=list(ALGORITHMS),
            label="algorithm",
            tooltip="HIO and RAAR search; ALM polishes what is nearly right; thorough ends with the likelihood; auto "
            "chooses by the measurement and stops when nothing improves",
        )
        self.iterations = SpinBox(
            value=ITERATIONS,
            min=1,
            max=1_000_000,
            step=50,
            label="iterations",
            tooltip="In all; the last tenth of HIO and RAAR is ER",
        )
        self.text = LineEdit(
            value="(hio*90 + raar*90)*3 + er*60; shrinkwrap(threshold=0.2)",
            label="recipe",
            tooltip="Stages NAME*ITERATIONS joined by +, of er, hio, raar, dm, rrr, alm, detwin, poisson and gaussian, "
            "with options in brackets: hio(beta=0.8)*300 + er*50. After semicolons shrinkwrap(...) or no shrinkwrap, "
            "coherence(...) and settling(...)",
        )
        self.beta = number_for(HIO, "beta", "β")
        self.start = ComboBox(choices=[], label="start from", tooltip="The first object")
        self.seed = SpinBox(value=0, min=0, max=2**31 - 1, label="seed", tooltip="Of the random phases")
        self.shrink_wrap = CheckBox(
            value=True, text="shrink-wrap", tooltip="Let the support follow the object; strokes of yours stay"
        )
        self.positive = CheckBox(value=False, text="real and ≥ 0", tooltip="Hold the object real and not negative")
        self.coherence = CheckBox(
            value=False,
            text="partial coherence",
            tooltip="Find along the way how far the light's lack of coherence blurs the pattern",
        )
        self.free = CheckBox(
            value=False,
            text="free pixels",
            tooltip=f"Hold {FREE:.0%} of the pixels back, and draw χ² on them: it rises when noise is fitted",
        )
        self.device = ComboBox(choices=NAMES, label="device", tooltip="Where the solver runs")
        self.extras: dict[Extra, CheckBox] = {
            "colours": CheckBox(
                text="in colours", tooltip="The object in one picture: its amplitude is brightness, its phase is hue"
            ),
            "difference": CheckBox(
                text="difference", tooltip="Calculated less measured amplitude, zero frequency at the centre"
            ),
            "sections": CheckBox(
                value=True, text="sections", tooltip="Of a volume: its amplitude along z and x, and along z and y"
            ),
        }
        self.plot = ConvergencePlot()
        form = Form()
        form.add(self.algorithm, self.text, self.iterations, self.beta, self.start, self.seed, self.device)
        checks = QGridLayout()
        checks.addWidget(self.shrink_wrap.native, 0, 0)
        checks.addWidget(self.positive.native, 0, 1)
        checks.addWidget(self.coherence.native, 1, 0)
        checks.addWidget(self.free.native, 1, 1)
        form.addRow("", checks)
        shown = QGridLayout()
        for number, box in enumerate(self.extras.values()):
            shown.addWidget(box.native, number // 2, number % 2)
        form.addRow("also show", shown)
        follow(self, session.measurement_changed, self._show_extras)
        self.device.value = setting("running", "device")
        self.memory = FormMemory(
            "refine",
            {
                "algorithm": self.algorithm,
                "recipe": self.text,
                "iterations": self.iterations,
                "beta": self.beta,
                "seed": self.seed,
                "shrink-wrap": self.shrink_wrap,
                "positive": self.positive,
                "coherence": self.coherence,
                "free": self.free,
                **{str(what): box for what, box in self.extras.items()},
            },
        )
        self.reset_button = button("Reset form", "All of this form as it was at first", self.reset)
        form.addRow("", self.reset_button)
        self.editor = RecipeEditor(self.text)
        self.edit_button = button("Edit its stages", "Write this algorithm as a recipe, to be changed", self._edit)
        form.addRow("", self.edit_button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.editor)
        layout.addWidget(self.plot)
        self.bar = RunBar(self)
        if with_bar:
            layout.addWidget(self.bar)
        layout.addStretch()

        for what, box in self.extras.items():
            session.pictures.show_extra(what, box.value)
            box.changed.connect(partial(session.pictures.show_extra, what))
        for widget in (*self.memory.widgets.values(), self.device):
            widget.changed.connect(lambda value: session.history.form_changed.emit())
        self.beta.changed.connect(session.refinement.set_beta)
        self.algorithm.changed.connect(lambda name: self._enable())
        follow(self, session.refinement.changed, self._enable)
        follow(self, session.refinement.advanced, self._advanced)
        session.history.forms.add(self)
        follow(self, session.support_changed, self._support_changed)
        follow(self, session.measurement_changed, self._advanced)
        follow(self, session.restored, self._restored)
        self._support_from = ""
        self._enable()
        self._support_changed()
        self._show_extras()

    def run(self) -> None:
        """Start the refinement that the form describes."""
        asked = self.asked()
        self.memory.save()
        self.session.refinement.start(start=self.start.value, seed=self.seed.value, **asked)

    def asked(self) -> dict[str, Any]:
        """Return recipe, device and what is known of the object, as :meth:`.Refinement.start` takes them."""
        algorithm, beta = ALGORITHMS[self.algorithm.value] or self.text.value, self.beta.value
        iterations = None if self.algorithm.value == WRITTEN else self.iterations.value
        shrinks, blurred = self.shrink_wrap.value, self.coherence.value
        proposal = self.session.proposal
        model = None if proposal is None else proposal.model

        def recipe(problem):  # type: ignore[no-untyped-def]  # in the worker, which is the first to need torch
            from napari_dipr.networks.propose import suited_shrinkwrap
            from napari_dipr.solvers.coherence import PartialCoherence
            from napari_dipr.solvers.recipe import Recipe

            options = {"beta": beta} if algorithm in WITH_BETA else {}
            return Recipe.parse(
                algorithm,
                iterations=iterations,
                shrinkwrap=suited_shrinkwrap(model) if shrinks else None,
                coherence=PartialCoherence() if blurred else None,
                problem=problem,
                **options,
            )

        return {
            "recipe": recipe,
            "device": self.device.value,
            "positive": self.positive.value,
            "free": FREE if self.free.value else 0.0,
        }

    @property
    def words(self) -> str:
        """What the form describes, in words; where a run starts is not among them."""
        written = self.algorithm.value == WRITTEN
        parts = [self.text.value if written else f"{self.algorithm.value}, {self.iterations.value} iterations"]
        boxes = (self.shrink_wrap, self.positive, self.coherence)
        parts += [box.text for box in boxes if box.value]
        parts += [f"{FREE * 100:g} % free pixels" if self.free.value else "no free pixels", self.device.value]
        return " · ".join(parts)

    def _restored(self, provenance: dict[str, Any]) -> None:
        """Fill the form in as it was for a result."""
        if text := (provenance.get("recipe") or {}).get("text"):
            self.text.value, self.algorithm.value = text, WRITTEN
            for box, name in ((self.shrink_wrap, "shrinkwrap"), (self.coherence, "coherence")):
                box.value = provenance["recipe"].get(name) is not None
        if (seed := (provenance.get("start") or {}).get("seed")) is not None:
            self.seed.value = seed
        self.positive.value = bool(provenance.get("positive"))
        self.free.value = bool(provenance.get("free_share"))

    def reset(self) -> None:
        """Bring the form to its defaults: those of the settings page for the device, the likeliest for the start."""
        self.memory.reset()
        self.device.value, self._support_from = setting("running", "device"), ""
        self._support_changed()

    def _edit(self) -> None:
        """Write the chosen preset out as text and rows."""
        algorithm, iterations = ALGORITHMS[self.algorithm.value], self.iterations.value
        options = {"beta": self.beta.value} if algorithm in WITH_BETA else {}

        def written() -> str:
            load_torch()
            from napari_dipr.solvers.recipe import Recipe

            # Shrink-wrap is what the box, and the model, say.
            return str(Recipe.parse(algorithm, iterations=iterations, **options)).partition(";")[0]

        def done(text: str) -> None:
            self.text.value, self.algorithm.value = text, WRITTEN

        self.session.do(written, done, "Writing the recipe", whatever_is_loaded=True)

    def _show_extras(self) -> None:
        measurement = self.session.measurement
        self.extras["sections"].native.setVisible(measurement is not None and len(measurement.grid) == 3)

    @property
    def is_docked(self) -> bool:
        """Whether a window holds the panel: napari lets go of a closed dock's, and keeps it alive."""
        return isalive(self) and isinstance(self.window(), QMainWindow)

    def go_on(self) -> None:
        """Start what the form describes from the object that is shown."""
        self._support_changed()
        self.start.value = "last"
        self.run()

    def _support_changed(self) -> None:
        """Offer what there is to start from; a new first support starts from where it came from."""
        refinement = self.session.refinement
        starts = refinement.available_starts()
        self.start.choices = [(WORDS[start], start) for start in starts]
        if self.session.support_from != self._support_from:
            self._support_from = self.session.support_from
            self.start.value = "guess" if "guess" in starts else "random"

    def _advanced(self) -> None:
        snapshot = self.session.refinement.snapshot
        self.plot.show_history(snapshot.history if snapshot is not None else ())
        if len(self.start.choices) != len(self.session.refinement.available_starts()):
            self._support_changed()

    def _enable(self) -> None:
        idle = self.session.refinement.state == "idle"
        written = self.algorithm.value == WRITTEN
        form = (self.algorithm, self.start, self.seed, self.device)
        for widget in (*form, self.shrink_wrap, self.positive, self.coherence, self.free):
            widget.enabled = idle
        self.reset_button.setEnabled(idle)
        self.text.enabled, self.iterations.enabled = idle and written, idle and not written
        self.editor.setVisible(written)
        self.editor.setEnabled(idle)
        self.edit_button.setVisible(not written)
        self.edit_button.setEnabled(idle)
        model = WITH_BETA.get(ALGORITHMS[self.algorithm.value])
        self.beta.enabled = model is not None
        if model is not None:
            self.beta.max = bounds_of(model, "beta")[1]

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        snapshot = self.session.refinement.snapshot
        if snapshot is None or not snapshot.history:
            return ""
        return f"χ² {snapshot.history[-1].chi2:.2g} after {snapshot.iteration}"


class RunBar(QWidget):
    """Start, Pause, Step, Stop, and how far the run is."""

    def __init__(self, panel: RefinePanel) -> None:
        super().__init__()
        self.session = session = panel.session
        run = session.refinement
        self.start = button("Start", "Start the refinement", panel.run, "Ctrl+Alt+R")
        self.pause = button(
            "Pause", "Hold the run; what is painted meanwhile counts when it goes on", run.pause, "Ctrl+Alt+H"
        )
        self.steps = SpinBox(value=1, min=1, max=100_000, tooltip="Iterations of a step")
        self.step = button(
            "Step", "Some iterations of a run that is held", lambda: run.step(self.steps.value), "Ctrl+Alt+N"
        )
        self.stop = button("Stop", "End the run with what there is", run.stop, "Ctrl+Alt+S")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(10)
        self.words = remark()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        buttons = (self.start, self.pause, self.step, self.steps.native, self.stop)
        for column, widget in enumerate(buttons):
            layout.addWidget(widget, 0, column)
        layout.addWidget(self.progress, 1, 0, 1, len(buttons))
        layout.addWidget(self.words, 2, 0, 1, len(buttons))
        for signal in (
            run.changed,
            run.advanced,
            session.support_changed,
            session.measurement_changed,
            session.busy_changed,
        ):
            follow(self, signal, self._show)
        self._show()

    def _show(self) -> None:
        session, run = self.session, self.session.refinement
        support = session.support
        ready = session.measurement is not None and support is not None and bool(support.any())
        self.start.setEnabled(run.state == "idle" and ready and not session.busy)
        self.pause.setEnabled(run.state in ("running", "paused"))
        text, keys = "Resume" if run.state == "paused" else "Pause", self.pause.shortcut()
        if text != self.pause.text():
            self.pause.setText(text)
            self.pause.setShortcut(keys)  # another text takes it away
        self.step.setEnabled(run.state == "paused")
        self.steps.enabled = run.state == "paused"
        self.stop.setEnabled(run.state in ("running", "paused"))
        snapshot = run.snapshot
        if session.busy:
            self.progress.setRange(0, 0)
            self.words.setText(f"{session.busy[-1]} …")
            return
        if snapshot is None:
            self.progress.setRange(0, 0 if run.state == "running" else 1)
            self.progress.setValue(0)
            missing = "Load a measurement first."
            if session.measurement is not None:
                missing = (
                    "Now a support: step 2." if support is None else "The support is empty: paint where the object is."
                )
            self.words.setText("Starting …" if run.state == "running" else "Ready to start." if ready else missing)
            return
        self.progress.setRange(0, snapshot.total)
        self.progress.setValue(snapshot.total if snapshot.ended and run.state == "idle" else snapshot.iteration)
        words = f"{snapshot.iteration} of {snapshot.total}"
        if run.state == "running" and (rate := run.rate):
            words += f" · {rate:.0f} it/s, {_duration((snapshot.total - snapshot.iteration) / rate)} left"
        elif snapshot.ended and snapshot.seconds > 0:
            words += f" in {_duration(snapshot.seconds)}"
        if snapshot.history:
            words += f" · χ² {snapshot.history[-1].chi2:.2e}"
        if snapshot.ended:
            words += f" · {snapshot.ended}"
            if snapshot.nmse is not None:
                words += f" · nmse {snapshot.nmse:.3f} against the known object"
        elif run.state != "running":
            kept = session.history.shown
            ended = "ended early: the last good iterate is shown" if kept is None else kept.ended
            words += f" · {run.state if run.state != 'idle' else ended}"
        self.words.setText(words)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
