"""The figure of a result shows the object, to scale."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from napari_dipr.io.figure import caption, nice_length
from napari_dipr.io.record import Record, write_record


def disk(shape, **known):
    away = np.add.outer((np.arange(shape[-2]) - shape[-2] // 2) ** 2, (np.arange(shape[-1]) - shape[-1] // 2) ** 2)
    inside = np.broadcast_to(away < 60, shape)
    x = np.where(inside, np.exp(0.5j), 0)
    told = {"measurement": {"name": "a disk"}, "errors": {"chi2": 0.0123, "r_factor": 0.0371, "free_chi2": None}}
    return Record.of(x, inside, told, **known)


def drawn(monkeypatch, path, record):
    """Write a figure, and return matplotlib's own of it."""
    from matplotlib.figure import Figure

    figures, honest = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **b: figures.append(figure) or honest(figure, *a, **b))
    write_record(path, record)
    return figures[0]


def test_amplitude_and_phase_are_beside_each_other_with_a_scale_bar(tmp_path, monkeypatch):
    figure = drawn(monkeypatch, tmp_path / "a.png", disk((40, 64), voxel_size_nm=(10, 10)))
    amplitude, phase = [axes for axes in figure.axes if axes.images]
    assert (amplitude.get_title(), phase.get_title()) == ("amplitude", "phase / rad")
    assert phase.images[0].get_clim() == (-np.pi, np.pi)
    shown = phase.images[0].get_array()
    assert (~shown.mask).sum() == disk((40, 64)).support.sum()  # nothing of it is cut off, nothing beside it shown
    (bar,) = amplitude.patches
    (words,) = [text.get_text() for text in amplitude.texts if text.get_text()]
    assert words == f"{bar.get_width():g} nm"
    left, right = amplitude.get_xlim()
    assert 0.1 < bar.get_width() / (right - left) < 0.34
    assert figure.get_suptitle() == "a disk"
    assert figure.get_supxlabel() == "χ² 0.0123, R 0.0371, support 185 pixels of 10 × 10 nm"


def test_a_volume_is_shown_in_three_planes_and_its_fields_too(tmp_path, monkeypatch):
    record = disk((18, 40, 64))
    record = Record.of(record.object, record.support, {}, fields={"strain": record.support * 1e-3})
    figure = drawn(monkeypatch, tmp_path / "a.png", record)
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 9
    assert [axes.get_title() for axes in pictures][:3] == ["amplitude", "phase / rad", "strain"]
    assert not any(axes.patches for axes in pictures)  # no scale without voxels
    assert {text.get_text() for axes in pictures for text in axes.texts} - {""} == {
        "yx plane at z = 9", "zx plane at y = 20", "zy plane at x = 32"
    }  # fmt: skip
    assert {axes.get_xlim() for axes in pictures} == {pictures[0].get_xlim()}


def test_a_name_is_no_formula(tmp_path):
    record = disk((40, 64), fields={"u $x^ (nm)": disk((40, 64)).support})
    record.provenance["measurement"]["name"] = "$a_{ \udcff"
    assert write_record(tmp_path / "a.png", record)["png"].exists()


def test_the_file_tells_how_it_came_about(tmp_path):
    from PIL import Image

    path = write_record(tmp_path / "a.png", disk((40, 64)))["png"]
    with Image.open(path) as picture:
        assert json.loads(picture.text["Description"])["measurement"]["name"] == "a disk"
        assert min(picture.size) > 600


def test_an_object_of_which_nothing_is_known_is_shown_all_the_same(tmp_path):
    record = Record(np.zeros((20, 20)), np.zeros((20, 20)), fields={"u": np.full((20, 20), np.nan)})
    assert caption(record) == "support 0 pixels"
    assert write_record(tmp_path / "a.png", record)["png"].stat().st_size > 1000


@pytest.mark.parametrize(("most", "length"), [(1, 1), (0.99, 0.5), (4.9, 2), (5, 5), (730, 500), (0.0021, 0.002)])
def test_scale_bars_have_round_lengths(most, length):
    assert nice_length(most) == pytest.approx(length)
