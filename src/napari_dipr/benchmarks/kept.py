"""What a benchmark keeps on disk to go on from: it must have been computed as the rest will be."""

import json
from pathlib import Path
from typing import Any

from napari_dipr.errors import DiprError
from napari_dipr.io.write import writable_folder, write_json


def same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write settings to a folder; where some are there, of the same name, they must be the same.

    Raises
    ------
    DiprError
        If they differ, or the folder cannot be written to.
    """
    file = writable_folder(folder) / "settings.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if differing := [key for key, value in settings.items() if before.get(key, value) != value]:
        was = ", ".join(f"{key} {before[key]}" for key in differing)
        raise DiprError(f"What is kept in {folder} was computed with another {was}. Name another folder.")
    write_json(file, {**before, **settings})
