"""The true object, where it is known, and how far a reconstruction is from it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.io.read import SAMPLE
from napari_dipr.io.record import read_record
from napari_dipr.physics.symmetry import nmse
from napari_dipr.samples import field_window, sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dipr.measurement import Measurement


def known_object(
    input: str, file: Path | None, measurement: "Measurement"
) -> "tuple[NDArray[np.generic] | None, NDArray[np.bool_] | None, str]":
    """Return the true object where it is known, the window it is in (None: anywhere), and a remark or nothing.

    Raises
    ------
    FileError
        If the file does not hold one for this measurement.
    """
    if file is not None:
        try:
            known: NDArray[np.generic] = read_record(file).object
        except FileError:  # an array, then
            known = np.squeeze(load_array(file).array)
        if known.shape != measurement.grid or not np.isfinite(known).all() or not known.any():
            raise FileError(
                f"{file.name} is no truth for this measurement: it must have the shape {measurement.grid}, this is "
                f"{known.shape}, and finite values that are not all zero."
            )
        return known, None, ""
    if not input.startswith(SAMPLE):
        return None, None, ""
    _, known = sample(input.removeprefix(SAMPLE))
    if known.shape != measurement.grid:
        return None, None, "cropped, the sample has another pixel size than its truth: not compared"
    return known, field_window(), ""


def compared(
    estimate: "NDArray[np.generic]", truth: "NDArray[np.generic]", window: "NDArray[np.bool_] | None"
) -> float:
    """Return the symmetry-adjusted error of a ``[*grid]`` object."""
    inside = None if window is None else torch.from_numpy(window)
    return float(nmse(torch.from_numpy(estimate)[None], torch.from_numpy(truth)[None], inside)[0])
