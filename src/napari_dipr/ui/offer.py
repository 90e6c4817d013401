"""What was cut off, offered when the dock opens."""

from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout

from napari_dipr.io.cutoff import CutOff, cut_off, hold
from napari_dipr.ui import resume, resume_starts
from napari_dipr.ui.forms import button, follow, remark, told
from napari_dipr.ui.session import Session


class Offer(QFrame):
    """A line above the panels where a run or many starts of the window were cut off; hidden where none were."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.runs: list[CutOff] = []
        self.words = remark()
        self.resume_button: QPushButton = button("Resume", "Bring its session back and let it go on", self._resume)
        self.discard_button = button("Discard", "Delete what was kept of it", self._discard)
        layout, row = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        row.addWidget(self.resume_button)
        row.addWidget(self.discard_button)
        layout.addLayout(row)
        follow(self, session.refinement.changed, self._enable)
        follow(self, session.busy_changed, self._enable)
        for signal in (session.refinement.failed, session.starts.changed):
            follow(self, signal, self.look)
        self.look()

    def look(self) -> None:
        """Look for what was cut off."""
        self.runs = [run for run in cut_off() if run.settings.get("kind") == resume.KIND]
        self.setVisible(bool(self.runs))
        if self.runs:
            run, more = self.runs[0], f" And {len(self.runs) - 1} more." if len(self.runs) > 1 else ""
            self.words.setText(f"{'Starts were' if run.of_starts else 'A run was'} left unfinished: {run}.{more}")
        self._enable()

    def _enable(self) -> None:
        idle = self.session.refinement.state == "idle" and not self.session.busy
        self.resume_button.setEnabled(idle)

    def _resume(self) -> None:
        self.session.refinement.must_be_idle()
        run = self.runs[0]
        how = resume_starts if run.of_starts else resume
        self.session.do(
            lambda: how.taken_up(run),
            told(lambda found: how.go_on(self.session, found)),
            f"Resuming {run.measurement}",
            whatever_is_loaded=True,
            over=self.look,
        )

    def _discard(self) -> None:
        run = self.runs[0]
        if (held := hold(run.folder)) is not None:
            held.delete()
        self.look()
