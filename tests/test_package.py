import subprocess
import sys

import pytest

# Everything below the window; cli may open one, contributions are called by napari.
WINDOWS = ("napari_dipr.ui", "napari_dipr.cli", "napari_dipr.contributions")
TOOLKITS = ("qtpy", "napari", "magicgui", "superqt", "pyqtgraph", "vispy")


def imported_by(code):
    """Run code in a fresh interpreter; return the top-level modules that it left loaded."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_imports_neither_torch_nor_a_window():
    assert not imported_by("import napari_dipr") & {"torch", *TOOLKITS}


def test_nothing_below_the_window_imports_a_toolkit():
    found = imported_by(
        f"""
import importlib, pkgutil, napari_dipr
for module in pkgutil.walk_packages(napari_dipr.__path__, "napari_dipr.", onerror=lambda name: None):
    if not module.name.startswith({WINDOWS!r}):
        importlib.import_module(module.name)
"""
    )
    assert {"napari_dipr", "torch", "lightning"} <= found  # it did import them
    assert not found & set(TOOLKITS)


@pytest.mark.parametrize(
    "module", ["measurement", "samples", "errors", "networks.zoo", "networks.spec", "device", "io.read"]
)
def test_what_a_form_needs_before_anything_runs_does_not_wait_for_torch_or_dask(module):
    assert not imported_by(f"import napari_dipr.{module}") & {"torch", "dask"}
