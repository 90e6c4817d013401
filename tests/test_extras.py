import pytest

from napari_dipr.errors import DiprError
from napari_dipr.extras import require


def test_what_is_there_is_not_refused():
    require("Arithmetic", "numpy", "bench")


def test_what_is_not_there_is_refused_with_how_to_install_it():
    with pytest.raises(DiprError, match=r'Flying needs wings: pip install "napari-dipr\[bench\]"'):
        require("Flying", "wings", "bench")
