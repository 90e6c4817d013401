"""Packages that are not always installed: they come with an extra of this one."""

from importlib.util import find_spec

from napari_dipr.errors import DiprError


def require(what: str, package: str, extra: str) -> None:
    """Refuse to begin what needs a package that is not there.

    Raises
    ------
    DiprError
        Which says how to install it.
    """
    if find_spec(package) is None:
        raise DiprError(f'{what} needs {package}: pip install "napari-dipr[{extra}]"')
