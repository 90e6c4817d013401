"""What the program remembers for a person: the settings page's choices, and what was entered in a form last."""

import contextlib
import json
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from napari.settings import get_plugin_settings

from napari_dipr.io.write import write_json

PLUGIN = "napari-dipr"
_remembering = ContextVar("remembering", default=True)


def setting(page: str, name: str) -> Any:
    """Return a choice of the settings page (napari: *File › Preferences*), as the manifest declares it."""
    return getattr(getattr(get_plugin_settings(PLUGIN), page), name)


@contextlib.contextmanager
def unremembered() -> Iterator[None]:
    """Have forms begin at their defaults and keep nothing: benchmarks and pictures are no person's choices."""
    before = _remembering.set(False)
    try:
        yield
    finally:
        _remembering.reset(before)


class FormMemory:
    """Remembers what a form held when it was last used, beside napari's own settings.

    Parameters
    ----------
    name
        The form's.
    widgets
        Widgets of magicgui by the names that their values are kept under.
    """

    def __init__(self, name: str, widgets: dict[str, Any]) -> None:
        self.name, self.widgets = name, widgets
        self.defaults = {key: widget.value for key, widget in widgets.items()}
        self.enter(self._read().get(name, {}))

    def save(self) -> None:
        """Remember what the form holds. A place that cannot be written to is no reason to stop."""
        if not _remembering.get():
            return
        held = {key: _plain(widget.value) for key, widget in self.widgets.items()}
        with contextlib.suppress(Exception):
            write_json(_file(), {**self._read(), self.name: held})

    def reset(self) -> None:
        """Bring the form to its defaults, and forget the rest."""
        self.enter(self.defaults)
        self.save()

    def enter(self, values: dict[str, Any]) -> None:
        """Fill the form in, as far as values are known and fit."""
        for key, value in values.items():
            # A value of another version, or edited by hand, may not fit.
            with contextlib.suppress(Exception):
                self.widgets[key].value = value

    def _read(self) -> dict[str, Any]:
        if not _remembering.get():
            return {}
        try:
            read = json.loads(_file().read_text(encoding="utf-8"))
            return read if isinstance(read, dict) else {}
        except (OSError, ValueError):
            return {}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _file() -> Path:
    path = get_plugin_settings(PLUGIN).config_path
    if path is None:
        raise OSError("napari keeps no settings.")
    return Path(path).with_name(f"{PLUGIN}-forms.json")
