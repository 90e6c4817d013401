"""The window: one state per viewer, the thread work, and one panel a file."""

import os

from napari_dipr.device import share_one_heap

# Before torch loads OpenMP. By default its threads spin for a millisecond and more where they wait for each other.
# Beside a window that draws, two spinning threads on two processors lose most of their time to each other; these give
# up soon.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("KMP_BLOCKTIME", "0")
share_one_heap()
