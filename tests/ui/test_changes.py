from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_dipr.ui.changes import MANY, Changes

SHAPE = (4, 5)
supports = arrays(bool, SHAPE)


@given(st.lists(supports, min_size=2, max_size=6), st.integers(1, 5))
def test_going_back_any_number_of_changes_is_known_and_gives_their_pins(states, back):
    states = [state for i, state in enumerate(states) if i == 0 or (state != states[i - 1]).any()]
    changes, pins = Changes(), [None]
    for before, after in pairwise(states):
        changes.add(before, after, pins[-1])
        drawn = after.astype(np.int8) - before.astype(np.int8)
        pins.append(drawn if pins[-1] is None else np.where(drawn == 0, pins[-1], drawn))
    target = max(0, len(states) - 1 - back)
    if (states[target] == states[-1]).all():
        return
    found = changes.undone(states[-1], states[target], pins[-1])
    assert found is not None
    # An earlier state may have been the same: the latest is meant.
    latest = max(i for i in range(len(states) - 1) if (states[i] == states[target]).all())
    expected = pins[latest]
    if expected is None or not expected.any():
        assert found == (None,)
    else:
        np.testing.assert_array_equal(found[0], expected)


def test_something_new_is_not_taken_for_an_undo():
    before, after, other = np.zeros(SHAPE, bool), np.ones(SHAPE, bool), np.eye(*SHAPE, dtype=bool)
    changes = Changes()
    changes.add(before, after, None)
    assert changes.undone(after, other, None) is None
    assert changes.undone(after, before, None) == (None,)
    assert changes.undone(after, before, None) is None  # forgotten with it


def test_the_oldest_changes_are_forgotten():
    changes = Changes()
    states = [np.arange(20).reshape(SHAPE) < number for number in range(1, 20)] * 2
    for before, after in pairwise(states):
        changes.add(before, after, None)
    assert len(changes._last) == MANY
