"""The Starts panel: many starts of one measurement, whether they agree, and their mean."""

from typing import Any

import napari
from magicgui.widgets import ComboBox, FloatSpinBox, SpinBox
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_dipr.errors import DiprError
from napari_dipr.ui.forms import Form, button, follow, remark, told
from napari_dipr.ui.memory import FormMemory
from napari_dipr.ui.plots import ResolutionPlot
from napari_dipr.ui.refinement import WORDS
from napari_dipr.ui.session import session_of
from napari_dipr.ui.starts_table import KEEP, StartsTable

# Of the bar.
FULL = 1000
NOT_FREE = "No pixels are held back: the starts will be ranked by χ² of what was fitted, which rewards every freedom."


class StartsPanel(QWidget):
    """How many starts and from where, how far they are, their table, and what is said of their mean."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.starts = starts = session.starts
        self.count = SpinBox(value=20, min=2, max=1000, label="starts", tooltip="How many")
        self.most = SpinBox(
            value=5,
            min=2,
            max=1000,
            label="keep at most",
            tooltip="The best of those whose error is within 1.5 times the least; they are averaged",
        )
        self.begin = ComboBox(
            choices=[],
            label="begin with",
            tooltip="Random phases in the support that is painted, which are independent of each other; or one object, "
            "disturbed by another random one each time",
        )
        self.amount = FloatSpinBox(
            value=0.5, min=0.01, max=10, step=0.1, label="disturbed by", tooltip="Amplitude of what is added, relative"
        )
        self.seed = SpinBox(value=0, min=0, max=2**31 - 1, label="seed", tooltip="Of the first start")
        self.memory = FormMemory(
            "starts", {"count": self.count, "most": self.most, "amount": self.amount, "seed": self.seed}
        )
        self.recipe = remark()
        self.free_button = button("Hold 5 % back", "Tick free pixels in the Refine panel", self._hold_back)
        self.run_button = button("Run starts", "Run them with the recipe of the Refine panel", self._run)
        self.stop_button = button("Stop", "Give up those that run now, and average those that are done", starts.stop)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(10)
        self.state = remark()
        self.table = StartsTable()
        self.average_button = button("Average", "Average the starts that are ticked", self._average)
        self.mean_button = button("Show mean", "Show the mean of those that were averaged last", self._show_mean)
        self.keep_button = button("Keep as run", "Put the start that is shown among the runs", starts.keep_shown)
        self.words = remark()
        self.plot = ResolutionPlot()
        form = Form()
        form.add(self.count, self.most, self.begin, self.amount, self.seed)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.recipe)
        for buttons in (
            (self.free_button,),
            (self.run_button, self.stop_button),
            (self.average_button, self.mean_button, self.keep_button),
        ):
            row = QHBoxLayout()
            for one in buttons:
                row.addWidget(one)
            layout.addLayout(row)
            if self.run_button in buttons:
                for widget in (self.progress, self.state, self.table):
                    layout.addWidget(widget)
        layout.addWidget(self.words)
        layout.addWidget(self.plot)
        layout.addStretch()
        self._outcome: Any = None  # that the table shows
        self.begin.changed.connect(lambda value: self._enable())
        self.most.changed.connect(lambda value: self._choose())
        self.table.cellClicked.connect(told(self._clicked))
        self.table.itemActivated.connect(told(lambda item: self._clicked(item.row(), item.column())))
        self.table.itemChanged.connect(lambda item: self._enable())
        for signal in (starts.changed, session.measurement_changed):
            follow(self, signal, self._show)
        follow(self, starts.advanced, self._advanced)
        follow(self, session.restored, lambda provenance: self.memory.enter(provenance.get("starts_form", {})))
        run, history = session.refinement, session.history
        for signal in (session.support_changed, run.changed, run.advanced):
            follow(self, signal, self._offer)
        for signal in (
            session.support_changed,
            run.changed,
            session.busy_changed,
            history.form_changed,
            history.changed,
        ):
            follow(self, signal, self._enable)
        self._offer()
        self._show()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Look again whether there is a Refine panel."""
        super().showEvent(event)
        self._enable()

    def _run(self) -> None:
        asked = self.session.history.docked_form("run them").asked()
        self.memory.save()
        self.starts.start(
            count=self.count.value,
            most=self.most.value,
            begin=self.begin.value,
            amount=self.amount.value,
            seed=self.seed.value,
            **asked,
        )

    def _hold_back(self) -> None:
        self.session.history.docked_form("hold pixels back").free.value = True

    def _average(self) -> None:
        self.starts.average(self.table.kept)

    def _show_mean(self) -> None:
        self.starts.show_mean()
        self.table.clearSelection()

    def _clicked(self, row: int, column: int) -> None:
        if column != KEEP:
            self.starts.show(self.table.place(row))

    def _choose(self) -> None:
        """Tick those that would be kept now."""
        if self._outcome is not None and self.starts.course is None and len(self._outcome.rows) >= 2:
            self.table.tick(self._outcome.best(self.most.value))
            self._enable()

    def _offer(self) -> None:
        """Offer what there is to begin with."""
        offered = self.session.refinement.available_starts()[::-1]
        if offered != tuple(self.begin.choices):
            self.begin.choices = [
                (f"{WORDS[start]}{'' if start == 'random' else ', disturbed'}", start) for start in offered
            ]

    def _show(self) -> None:
        """Show what the starts came to, and how far those are that run."""
        self._outcome = self._latest()
        self._fill(self._outcome)
        self._advanced()
        self._enable()

    def _advanced(self) -> None:
        """Show how far they are."""
        course, outcome = self.starts.course, self._latest()
        if outcome is not self._outcome:
            self._outcome = outcome
            self._fill(outcome)
        words = self._words(course, outcome)
        self.state.setText(words)
        self.state.setVisible(bool(words))
        self.progress.setVisible(course is not None)
        if course is not None:
            self.progress.setRange(0, 0 if course.progress is None else FULL)
            self.progress.setValue(round(FULL * course.share))
        self.stop_button.setEnabled(course is not None and course.progress is not None and not course.stopped)

    def _latest(self) -> Any:
        """Return the starts to show: those that run, once there is something to say of them."""
        course = self.starts.course
        return self.starts.outcome if course is None or course.outcome is None else course.outcome

    def _words(self, course: Any, outcome: Any) -> str:
        if course is not None:
            return "Stopping …" if course.stopped and course.progress is not None else str(course)
        if outcome is None or outcome.ensemble is not None:
            return ""
        done = len(outcome.rows)
        words = f"{done} of {outcome.count} starts came to {'its' if done == 1 else 'their'} end"
        return f"{words}: press Average." if done >= 2 else f"{words}: of fewer than two nothing can be said."

    def _fill(self, outcome: Any) -> None:
        there = outcome is not None and bool(outcome.rows)
        for widget in (self.table, self.average_button, self.mean_button, self.keep_button, self.words):
            widget.setVisible(there)
        ensemble = outcome.ensemble if there else None
        if ensemble is not None:
            kept = ensemble.kept
        else:  # while they run, nothing is to be chosen
            is_over = there and self.starts.course is None and len(outcome.rows) >= 2
            kept = outcome.best(self.most.value) if is_over else ()
        if there:
            self.table.fill(outcome.rows, outcome.pictures, kept, outcome.criterion.name)
        else:
            self.table.fill((), (), (), "chi2")
        sentences = outcome.sentences() if there else []
        self.words.setText("".join(f"<p style='margin: 0 0 4px 0'>{words}</p>" for words in sentences))
        self.plot.setVisible(ensemble is not None)
        if ensemble is not None:
            self.plot.show_curves(ensemble.consensus.prtf, ensemble.consensus.fsc, ensemble.unit)

    def _enable(self) -> None:
        session, starts, outcome = self.session, self.starts, self.starts.outcome
        idle = session.refinement.state == "idle" and starts.course is None and not session.busy
        support = session.support
        try:
            form = session.history.docked_form("run them")
            words = f"As the Refine panel says: {form.words}."
            is_free = form.free.value
        except DiprError as error:
            words, is_free = str(error), True
        self.recipe.setText(words if is_free else f"{words} {NOT_FREE}")
        self.free_button.setVisible(not is_free)
        for widget in (self.count, self.begin, self.seed):
            widget.enabled = starts.course is None
        self.amount.enabled = starts.course is None and self.begin.value != "random"
        self.run_button.setEnabled(idle and support is not None and bool(support.any()))
        kept = self.table.kept
        averaged = None if outcome is None or outcome.ensemble is None else list(outcome.ensemble.kept)
        self.average_button.setEnabled(idle and outcome is not None and sum(kept) >= 2 and kept != averaged)
        mean = None if outcome is None else outcome.mean
        self.mean_button.setEnabled(idle and mean is not None and session.refinement.snapshot is not mean)
        self.keep_button.setEnabled(idle and starts.is_start_shown and session.history.shown is None)

    @property
    def summary(self) -> str:
        """What the panel holds, in words."""
        outcome = self.starts.outcome
        if outcome is None or outcome.verdict is None:
            return ""
        return f"{outcome.title}: {outcome.verdict.short}"
