"""The workflow: the panels in one dock, and the run's buttons at its foot."""

import napari
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dipr.ui.export_panel import ExportPanel
from napari_dipr.ui.forms import follow
from napari_dipr.ui.measurement_panel import MeasurementPanel
from napari_dipr.ui.offer import Offer
from napari_dipr.ui.refine_panel import RefinePanel
from napari_dipr.ui.runs_panel import RunsPanel
from napari_dipr.ui.session import session_of
from napari_dipr.ui.starts_panel import StartsPanel
from napari_dipr.ui.support_panel import SupportPanel

TITLES = ("Measurement", "Support", "Refine", "Starts", "Runs", "Export")


class Section(QCollapsible):
    """A section that is as high as its panel needs, also when that has come to need more."""

    def __init__(self) -> None:
        super().__init__()
        self.toggled.connect(self._fit)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the panel's layout; text that wraps needs more height where it is narrow."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest) and self.isExpanded():
            self._fit(True)
        return False

    def _fit(self, is_open: bool) -> None:
        # superqt opens it as high as its panel would be without wrapping, also where it is open already.
        content, layout = self.content(), self.content().layout()
        if not is_open:
            content.setMinimumHeight(0)
            return
        wraps = layout.hasHeightForWidth()
        height = layout.totalHeightForWidth(content.width()) if wraps else content.sizeHint().height()
        content.setMaximumHeight(height + 10)
        content.setMinimumHeight(height)


class Workflow(QWidget):
    """*Phase retrieval*: Measurement, Support, Refine, Starts, Runs, Export, top to bottom.

    The step that is next is open; the others say in their title what they hold.
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session = session_of(viewer)
        self.measurement = MeasurementPanel(viewer)
        self.support = SupportPanel(viewer)
        self.refine = RefinePanel(viewer, with_bar=False)
        self.starts = StartsPanel(viewer)
        self.runs = RunsPanel(viewer)
        self.export = ExportPanel(viewer)
        self.sections: list[QCollapsible] = []
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        for panel in self.panels:
            section = Section()
            section.setDuration(0)
            # A long title is cut, and does not make the panel wide.
            section.toggleButton().setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            section.addWidget(panel)
            section.layout().setContentsMargins(0, 0, 0, 0)
            self.sections.append(section)
            column.addWidget(section)
        column.addStretch()
        self.scroll = scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        self.offer = Offer(session)
        layout.addWidget(self.offer)
        layout.addWidget(scroll)
        layout.addWidget(self.refine.bar)
        self.setMinimumWidth(360)

        self._step = -1
        self._leading: QPushButton | None = None
        self._theme = ""
        for signal in (
            session.measurement_changed,
            session.support_changed,
            session.refinement.changed,
            session.history.changed,
            session.starts.changed,
            session.exported,
            self.measurement.source.changed,
        ):
            follow(self, signal, self._show)
        follow(self, session.refinement.advanced, lambda: self._name(TITLES.index("Refine")))
        follow(self, session.viewer.events.theme, lambda event: self._show())
        self._show()

    def sizeHint(self) -> QSize:  # noqa: N802
        """As wide as the longest label needs, and no wider: the canvas wants the room."""
        return QSize(380, 760)

    @property
    def panels(self) -> tuple[QWidget, ...]:
        """The panels, in their order."""
        return (self.measurement, self.support, self.refine, self.starts, self.runs, self.export)

    @property
    def hint(self) -> str:
        """What is missing, or under way, in words."""
        if self.session.measurement is None:
            return "there is no measurement. Open one, or take a sample, in the Measurement panel."
        if self.session.busy or self.session.refinement.state != "idle":
            return "something is under way. Wait for it, or stop it."
        return "there is no support, or no network that fits. See the Support panel."

    def _show(self) -> None:
        """Write the titles, and open the next step when it changes; what a person opened stays open until then."""
        for index in range(len(TITLES)):
            self._name(index)
        run = self.session.refinement
        if self.session.measurement is None:
            step = 0
        elif self.session.support_layer is None:
            step = 1
        elif run.state == "idle" and run.snapshot is not None and run.snapshot.ended:
            step = 3
        else:
            step = 2
        self._highlight(step)
        if step == self._step:
            return
        # The support stays at hand while the run goes: it can be edited all along.
        mean = None if (outcome := self.session.starts.outcome) is None else outcome.mean
        with_starts = run.snapshot is not None and run.snapshot is mean
        opened = {0: (0,), 1: (1,), 2: (1, 2), 3: (3, 5) if with_starts else (2, 5)}[step]
        # Who simulates reads what came of it, and tries another setting.
        if step == 1 and self.sections[0].isExpanded() and self.measurement.simulating.isExpanded():
            opened = (0, 1)
        for index, section in enumerate(self.sections):
            (section.expand if index in opened else section.collapse)(animate=False)
        self._step = step

    def _name(self, index: int) -> None:
        summary = self.panels[index].summary
        done = f"✓ {index + 1}" if summary else f"   {index + 1}"
        self.sections[index].setText(f"{done}  {TITLES[index]}" + (f"   {summary}" if summary else ""))

    def _highlight(self, step: int) -> None:
        """Give the button that leads on the theme's colour."""
        leading = (
            self.measurement.use_button if self.measurement.source.is_chosen else self.measurement.source.open_button,
            self.support.propose_button
            if self.support.propose_button.isEnabled()
            else self.support.autocorrelation_button,
            self.refine.bar.start,
            self.export.export_button,
        )[step]
        theme = self.session.viewer.theme
        if (leading, theme) == (self._leading, self._theme):
            return
        self._theme = theme
        colour = get_theme(theme).current.as_hex()
        if self._leading is not None:
            self._leading.setStyleSheet("")
        leading.setStyleSheet(f"QPushButton:enabled {{ background-color: {colour}; }}")
        self._leading = leading
