import json

import pytest

from napari_dipr.errors import FileError, MeasurementError
from napari_dipr.preparation.bad import REASONS
from napari_dipr.preparation.steps import Preparation
from napari_dipr.preparation.written import preparation_from, read_settings


def test_what_is_written_out_is_understood():
    p = preparation_from(
        {
            "crop": "128, 96",
            "bin": "2",
            "origin": "3,4",
            "centre": "12,13",
            "leave_out": "nan, HOT",
            "background": "2.5",
            "geometry": "energy=9, distance=0.5, pixel=55",
            "dark": None,
        }
    )
    assert (p.crop, p.bin, p.origin, p.centre) == ((128, 96), 2, (3, 4), (12, 13))
    assert (p.leave_out, p.background) == (("NaN", "hot"), 2.5)
    assert p.geometry.wavelength == pytest.approx(0.13776, rel=1e-4)
    words = preparation_from({"crop": "inside", "centre": "friedel", "leave_out": "all", "background": "rim"})
    assert (words.crop, words.centre, words.leave_out, words.background) == ("inside", "friedel", REASONS, "rim")
    assert preparation_from({"leave_out": "none"}).leave_out == ()


def test_what_is_given_counts_before_the_settings():
    assert preparation_from({"crop": "32", "bin": None}, {"crop": 64, "bin": 2}) == Preparation.of(crop=32, bin=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"crop": "wide"}, "crop is 'wide': give whole numbers with commas between them, or inside"),
        ({"bin": "2,x"}, "bin is '2,x'"),
        ({"background": "dim"}, "background is 'dim': give a number, or rim"),
        ({"leave_out": "ugly"}, "ugly"),
        ({"geometry": "energy=9"}, "lacks distance and pixel"),
    ],
)
def test_what_is_not_understood_is_said(words, says):
    with pytest.raises(MeasurementError, match=says):
        preparation_from(words)


def test_settings_come_from_a_file_of_their_own_or_from_a_results(tmp_path):
    settings = Preparation.of(crop=32, dark="dark.tif").as_json()
    path = tmp_path / "p.json"
    for whole in (settings, {"measurement": {"source": {"preparation": settings}}}):
        path.write_text(json.dumps(whole))
        assert read_settings(path) == settings
    for text in ("[1]", "{", '{"measurement": {}}'):
        path.write_text(text)
        with pytest.raises(FileError, match=r"p\.json"):
            read_settings(path)
