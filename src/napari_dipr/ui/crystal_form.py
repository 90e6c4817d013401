"""The form of a crystal: nanometres, displacement, strain and surface of the object that is shown."""

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from napari_dipr.ui.forms import Form, button, follow, remark
from napari_dipr.ui.session import Session


class CrystalForm(QWidget):
    """Work out what a Bragg object says of its lattice."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.crystal = session, session.crystal
        self.frame = ComboBox(
            choices=["laboratory", "sample"],
            label="frame",
            tooltip="Axes of the crystal's cubic voxels: the laboratory's at the scan's middle, or the sample's",
        )
        self.colour = ComboBox(choices=["displacement", "strain"], label="surface", tooltip="What colours the surface")
        self.work_out_button = button(
            "Crystal", "Cubic voxels in nm, with displacement and strain along Q", lambda: self._work_out()
        )
        self.unwrap_button = button("Unwrap phase", "The object's phase without jumps by 2π", self.crystal.unwrap)
        self.surface_button = button("Surface", "The crystal's surface in 3-D; again: back", self._surface)
        self.words = remark()
        form = Form()
        form.add(self.frame, self.colour)
        grid = QGridLayout()
        for column, one in enumerate((self.work_out_button, self.surface_button, self.unwrap_button)):
            grid.addWidget(one, 0, column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(grid)
        layout.addWidget(self.words)
        for signal in (
            session.measurement_changed,
            session.refinement.changed,
            session.busy_changed,
            session.history.changed,
            self.crystal.changed,
        ):
            follow(self, signal, self._enable)
        self._enable()

    def _work_out(self) -> None:
        self.crystal.work_out(self.frame.value)

    def _surface(self) -> None:
        if self.crystal.is_surface_shown:
            self.crystal.leave_surface()
        else:
            self.crystal.show_surface(self.colour.value)

    def _enable(self) -> None:
        run = self.session.refinement
        if run.state != "idle":
            self.crystal.leave_surface()  # a run shows its object
        idle = run.state == "idle" and not self.session.busy and run.snapshot is not None
        is_there = self.crystal.lattice is not None
        self.unwrap_button.setEnabled(idle)
        self.work_out_button.setEnabled(idle and self.crystal.is_possible)
        self.surface_button.setEnabled(self.crystal.is_surface_shown or (idle and is_there))
        self.surface_button.setText("Leave surface" if self.crystal.is_surface_shown else "Surface")
        if is_there:
            measurement = self.session.need_measurement()
            self.words.setText(f"{self.crystal.lattice}.\nFrom {measurement.geometry}.")
        else:
            self.words.setText(
                "" if self.crystal.is_possible else "Nanometres need a rocking scan's geometry: see Measurement."
            )
