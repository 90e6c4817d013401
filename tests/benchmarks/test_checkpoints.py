import pytest

from napari_dipr.benchmarks.checkpoints import checkpoints


def test_every_recipe_is_measured_on_every_grid(monkeypatch):
    monkeypatch.setattr("napari_dipr.benchmarks.checkpoints.SHORTEST", 0.01)
    found = checkpoints(((16, 18), (16, 16, 16)), writes=1, pairs=1, seconds=0.05)
    assert [(row["grid"], row["recipe"][:3]) for row in found["rows"]] == [
        ([16, 18], "hio"),
        ([16, 18], "alm"),
        ([16, 16, 16], "hio"),
        ([16, 16, 16], "alm"),
    ]
    for row in found["rows"]:
        assert row["share"] * found["interval"] * 1e3 == pytest.approx(row["cost_ms"])
        assert row["write_ms"] > 0
        assert row["ratio"] > 0
    image, curved = found["rows"][:2]
    assert image["megabytes"] * 1e6 > 16 * 18 * 10  # object, support and first support
    assert curved["megabytes"] > 3 * image["megabytes"]  # multipliers and curvature
