"""Small parts of forms: widgets from the fields of option models, lists of layers, errors told to the person."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox
from napari.layers import Image, Layer
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from pydantic import BaseModel
from qtpy.QtGui import QIcon, QImage, QKeySequence, QPixmap
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_dipr.errors import DiprError


def told(action: Callable[..., Any]) -> Callable[..., None]:
    """Make an action of a button tell its :class:`DiprError` as a notification."""

    @wraps(action)
    def told_action(*arguments: Any, **options: Any) -> None:
        try:
            action(*arguments, **options)
        except DiprError as error:
            show_error(str(error))

    return told_action


def follow(owner: QWidget, signal: Any, action: Callable[..., Any]) -> None:
    """Connect a signal of the session or the viewer to an action of a widget for as long as the widget lives."""
    signal.connect(action)
    owner.destroyed.connect(lambda: signal.disconnect(action))


STEP = 0.05


def bounds_of(model: type[BaseModel], name: str) -> tuple[float, float]:
    """Return the smallest and largest number that a model's field takes, a step off a bound that is excluded."""
    bounds = {
        key: getattr(constraint, key)
        for constraint in model.model_fields[name].metadata
        for key in ("ge", "gt", "le", "lt")
        if hasattr(constraint, key)
    }
    low = bounds["gt"] + STEP if "gt" in bounds else bounds.get("ge", 0.0)
    high = bounds["lt"] - STEP if "lt" in bounds else bounds.get("le", 1e6)
    return low, high


def number_for(model: type[BaseModel], name: str, label: str) -> FloatSpinBox:
    """Return a number box with the default, bounds and description that a model's field has."""
    field = model.model_fields[name]
    low, high = bounds_of(model, name)
    return FloatSpinBox(value=field.default, min=low, max=high, step=STEP, label=label, tooltip=field.description or "")


def layer_choice(
    viewer: Any, kinds: type[Layer] | tuple[type[Layer], ...], label: str, tooltip: str, accept: Callable[[Any], bool]
) -> ComboBox:
    """Return a list of the viewer's layers of some kinds that follows the layer list."""
    exactly = kinds if isinstance(kinds, tuple) else (kinds,)  # labels are images too
    box = ComboBox(
        choices=lambda widget: [
            (layer.name, layer) for layer in viewer.layers if type(layer) in exactly and accept(layer)
        ],
        nullable=True,
        label=label,
        tooltip=tooltip,
    )

    def listed(event: Any) -> None:
        box.reset_choices()

    for event in (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered):
        follow(box.native, event, listed)
    return box


def data_of(layer: Image) -> Any:
    """Return an image layer's data as they are, lazy ones too.

    Raises
    ------
    DiprError
        If it is a colour picture.
    """
    if layer.rgb:
        raise DiprError(f"{layer.name!r} is a colour picture. Split its channels, or convert it to grey first.")
    return layer.data


class Form(QFormLayout):
    """Rows of a label and a widget of magicgui; the tooltip is on both."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setContentsMargins(0, 0, 0, 0)
        self.setVerticalSpacing(4)
        self.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def add(self, *widgets: Any, beside: QWidget | None = None) -> None:
        """Add a row for each magicgui widget, with another one ``beside`` it."""
        for widget in widgets:
            label = QLabel("" if isinstance(widget, CheckBox) else widget.label)  # a check box says it beside the box
            label.setToolTip(widget.tooltip or "")
            widget.native.setMinimumWidth(60)
            if beside is None:
                self.addRow(label, widget.native)
            else:
                row = QHBoxLayout()
                row.addWidget(widget.native, 1)
                row.addWidget(beside)
                self.addRow(label, row)


def button(text: str, tooltip: str, action: Callable[..., Any], keys: str = "") -> QPushButton:
    """Return a push button whose errors are told; ``keys`` press it too, wherever the window's focus is."""
    pressed = told(action)
    result = QPushButton(text)
    result.setToolTip(f"{tooltip} ({keys})" if keys else tooltip)
    if keys:
        result.setShortcut(QKeySequence(keys))
    result.clicked.connect(lambda checked=False: pressed())
    return result


def remark(text: str = "") -> QLabel:
    """Return a line of small print that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.setObjectName("remark")
    label.setStyleSheet("QLabel#remark { font-size: 11px; }")
    return label


def icon_of(picture: NDArray[Any]) -> QIcon:
    """Return a grey picture ``[rows, columns]`` of bytes as an icon."""
    rows, columns = picture.shape
    image = QImage(picture.copy().data, columns, rows, columns, QImage.Format.Format_Grayscale8)
    return QIcon(QPixmap.fromImage(image))
