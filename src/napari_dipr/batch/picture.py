"""The small pictures of a summary: a pattern and its object."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

from napari_dipr.io.figure import brightest, colours, planes_of
from napari_dipr.io.record import Record
from napari_dipr.measurement import Measurement

# Pixels along the longer side.
SIDE = 72
# Of a pattern's brightest pixel, what is shown black.
DARKEST = 1e-6


def pictures(measurement: Measurement, record: Record) -> list[str]:
    """Return a pattern and its object, each as a PNG in base64; of a volume the middle plane across its first axis.

    The pattern is shown by its logarithm, black where it was not measured; of the object what is round the support, its
    amplitude as brightness and its phase as hue.
    """
    x, plane = record.object, planes_of(record)[0]
    pattern = measurement.intensities
    pattern = pattern[len(pattern) // 2] if pattern.ndim == 3 else pattern
    level = np.log10(np.maximum(pattern / (pattern.max() or 1), DARKEST))
    grey = np.round(255 * (1 - level / np.log10(DARKEST))).astype(np.uint8)
    return [_png(grey), _png(colours(x[plane.cut], brightest(np.abs(x), record.support)))]


def _png(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    image = Image.fromarray(picture)
    factor = SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
