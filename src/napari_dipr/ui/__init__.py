"""The napari plugin: panels, session, worker."""

import os

# Before torch loads OpenMP: threads that wait for each other sleep instead of spinning. Beside a window that draws, two
# spinning threads on two processors lose most of their time to each other (1024²: 16 against 90 iterations a second
# beside one busy process); alone they are a tenth faster, which is why the command line leaves them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
