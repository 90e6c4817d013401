"""Two reconstructions of one measurement beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_dipr.errors import FileError
from napari_dipr.io.record import READABLE, ending_of, read_record, told_by
from napari_dipr.io.tiff import support_beside
from napari_dipr.physics.symmetry import find_alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_result(path: Path) -> "NDArray[np.complex64]":
    """Return the object of a result: of a file that is read as one, or of the folder that holds one.

    Files of one name and several endings are one result.

    Raises
    ------
    FileError
        If there is none, or more than one.
    """
    if not path.is_dir():
        return read_record(path).object
    found = {file: ending for file in path.iterdir() if (ending := ending_of(file)) in READABLE}
    crystals = {file for file in found if "crystal" in told_by(file)}
    results = found.keys() - crystals - {support_beside(file) for file in found}
    if len({file.name.lower().split(str(found[file]))[0] for file in results}) != 1:
        raise FileError(f"{path} is no single result: name its file ({', '.join(READABLE)}), or a folder with one.")
    return read_record(min(results)).object


def compare(result: "NDArray[np.complex64]", reference: "NDArray[np.complex64]") -> dict[str, Any]:
    """Return the correlations of amplitudes and of complex objects, each aligned, and what was removed in words.

    Raises
    ------
    FileError
        If the shapes differ.
    """
    return align(result, reference)[1]


def align(
    result: "NDArray[np.complex64]", reference: "NDArray[np.complex64]"
) -> tuple["NDArray[np.complex64]", dict[str, Any]]:
    """Return a result with shift, twin, phase and scale taken out of it, and what :func:`compare` says."""
    if result.shape != reference.shape:
        raise FileError(f"Results of different shapes, {result.shape} and {reference.shape}, are not comparable.")
    x, y = torch.from_numpy(result), torch.from_numpy(reference)
    alignment = find_alignment(x, y)
    amplitudes = find_alignment(x.abs(), y.abs())
    told = {
        "amplitude_correlation": amplitudes.correlation,
        "complex_correlation": alignment.correlation,
        "removed": str(alignment),
    }
    return alignment.remove(x).resolve_conj().numpy().astype(np.complex64), told
