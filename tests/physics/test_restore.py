import pytest
import torch

from napari_dipr.physics import restore
from napari_dipr.physics.fill import fill_unmeasured
from napari_dipr.physics.fourier import embed_window, forward
from napari_dipr.physics.restore import ENOUGH, UNKNOWNS, restore_unmeasured


def pattern(seed, window, grid):
    """A full window of positive values and weak phases: its pattern is brightest at its centre."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(1, *window, generator=generator) + 0.5
    return forward(embed_window(torch.polar(x, torch.rand(1, *window, generator=generator)), grid)).abs().square()


def centreless(grid, radius):
    """False in a ball round the corner."""
    axes = torch.meshgrid(*[torch.fft.fftfreq(n, 1 / n) for n in grid], indexing="ij")
    return (sum(axis.square() for axis in axes) >= radius**2)[None]


def restored(y, measured):
    filled = fill_unmeasured(y, measured)
    return filled, restore_unmeasured(filled, measured)


def error(found, y, measured):
    missing = ~measured.expand(y.shape)
    return float((found - y)[missing].norm() / y[missing].norm())


@pytest.mark.parametrize(
    ("grid", "window", "radius"),
    [((72, 72), (20, 17), 2), ((65, 90), (16, 22), 2), ((192, 160), (64, 40), 2), ((40, 36, 44), (11, 9, 12), 2)],
)
def test_a_missing_centre_is_restored_where_there_is_room_round_the_object(grid, window, radius):
    y, measured = pattern(1, window, grid), centreless(grid, radius)
    filled, found = restored(y, measured)
    assert error(filled, y, measured) > 0.3
    assert error(found, y, measured) < 0.03
    assert torch.equal(found[measured], y[measured])


def test_a_pattern_of_double_precision_is_restored_as_such():
    y, measured = pattern(1, (20, 17), (72, 72)).double(), centreless((72, 72), 2)
    _, found = restored(y, measured)
    assert found.dtype == torch.float64
    assert error(found, y, measured) < 0.03


def test_noise_and_dead_pixels_leave_the_centre_nearly_right():
    clean, measured = pattern(2, (20, 17), (72, 72)), centreless((72, 72), 2)
    generator = torch.Generator().manual_seed(3)
    scale = 1e6 / clean.sum()
    y = torch.poisson(clean * scale, generator) / scale
    dead = torch.rand(measured.shape, generator=generator) < 0.05
    filled, found = restored(y, measured & ~dead)
    assert error(filled, clean, measured) > 0.3
    assert error(found, clean, measured) < 0.1


@pytest.mark.parametrize(("window", "radius"), [((60, 60), 2), ((30, 30), 6.5)])
def test_an_object_without_room_round_it_and_a_wide_centre_leave_the_fill(window, radius):
    filled, found = restored(pattern(1, window, (72, 72)), centreless((72, 72), radius))
    assert torch.equal(found, filled)


def test_more_missing_values_than_can_be_solved_for_are_not_tried(monkeypatch):
    measured, y = centreless((72, 72), 20), pattern(1, (12, 12), (72, 72))
    assert (~measured).sum() > UNKNOWNS / ENOUGH
    monkeypatch.setattr(restore, "_solved", lambda small, at: pytest.fail(f"{len(at)} values were solved for"))
    filled, found = restored(y, measured)
    assert torch.equal(found, filled)


def test_values_that_hold_little_may_be_missing_too():
    y, measured = pattern(1, (20, 17), (72, 72)), centreless((72, 72), 2)
    dim = (y < 0.02 * y.mean()) & measured
    assert dim.sum() > UNKNOWNS
    _, found = restored(y, measured & ~dim)
    assert error(found, y, measured) < 0.1


def test_each_pattern_is_restored_alone():
    y = torch.cat([pattern(1, (20, 17), (72, 72)), pattern(1, (60, 60), (72, 72))])
    measured = torch.cat([centreless((72, 72), 2), centreless((72, 72), 3)])
    filled, together = restored(y, measured)
    for k in range(2):
        assert torch.equal(together[k : k + 1], restore_unmeasured(filled[k : k + 1], measured[k : k + 1]))
    assert not torch.equal(together[0], filled[0])


def test_the_unit_of_the_intensities_does_not_matter():
    y, measured = pattern(1, (20, 17), (72, 72)), centreless((72, 72), 2)
    for unit in (1e-6, 1e9):
        torch.testing.assert_close(restored(unit * y, measured)[1], unit * restored(y, measured)[1], rtol=1e-2, atol=0)


def test_where_everything_was_measured_or_nothing_is_bright_nothing_is_done():
    y = pattern(1, (8, 9), (32, 32))
    assert restore_unmeasured(y, None) is y
    assert restore_unmeasured(y, torch.ones(32, 32, dtype=torch.bool)) is y
    dark, measured = torch.zeros(1, 32, 32), centreless((32, 32), 2)
    assert torch.equal(restore_unmeasured(dark, measured), dark)
    assert torch.equal(restore_unmeasured(dark, torch.zeros_like(measured)), dark)
