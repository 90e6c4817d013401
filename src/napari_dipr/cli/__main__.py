"""``python -m napari_dipr.cli``."""

from napari_dipr.cli import app

app()
