import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from napari_dipr.ui.support_tools import TOOLS, filled, grown, largest_piece, shrunk

supports = arrays(bool, array_shapes(min_dims=2, max_dims=3, min_side=3, max_side=8))


def ring(side=7):
    support = np.zeros((side, side), bool)
    support[1:-1, 1:-1] = True
    support[3, 3] = False
    return support


@given(supports)
def test_shrinking_is_growing_what_is_outside(support):
    inner = tuple(slice(1, -1) for _ in support.shape)
    np.testing.assert_array_equal(shrunk(support)[inner], ~grown(~support)[inner])


@given(supports)
def test_grown_is_what_has_a_neighbour_inside(support):
    expected = support.copy()
    for axis in range(support.ndim):
        for shift in (1, -1):
            moved = np.roll(support, shift, axis)
            moved[(slice(None),) * axis + (0 if shift == 1 else -1,)] = False
            expected |= moved
    np.testing.assert_array_equal(grown(support), expected)


@given(supports)
def test_filling_adds_and_is_done_once(support):
    once = filled(support)
    assert not (support & ~once).any()
    np.testing.assert_array_equal(filled(once), once)


def test_a_hole_is_filled_and_a_bay_is_not():
    support = ring()
    assert filled(support)[3, 3]
    support[3, 4:] = False
    assert not filled(support)[3, 3]


@given(supports)
def test_the_largest_piece_is_a_part_that_no_other_surpasses(support):
    kept = largest_piece(support)
    assert not (kept & ~support).any()
    assert kept.any() == support.any()
    assert kept.sum() >= largest_piece(support & ~kept).sum()


def test_pieces_that_touch_at_a_corner_hang_together():
    support = np.eye(4, dtype=bool)
    support[0, 3] = True
    np.testing.assert_array_equal(largest_piece(support), np.eye(4, dtype=bool))


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_leaves_what_it_was_given(name):
    support = ring()
    before = support.copy()
    result = TOOLS[name][0](support)
    assert (result.dtype, result.shape) == (bool, support.shape)
    np.testing.assert_array_equal(support, before)
