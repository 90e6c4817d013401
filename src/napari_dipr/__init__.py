"""Deep-learning-initialised phase retrieval: a small library, and a napari plugin on top of it.

Importing the package imports neither torch nor Qt; take what is needed from the submodules.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-dipr")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
