"""Two reconstructions of one measurement beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import load_array
from napari_dipr.physics.symmetry import find_alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_result(path: Path) -> "NDArray[np.complex64]":
    """Return the object that was exported, from its amplitude's file, or the folder that holds one.

    Raises
    ------
    FileError
        If there is none, or more than one.
    """
    found = sorted(path.glob("*_amplitude.tif")) if path.is_dir() else [path]
    if len(found) != 1 or not found[0].name.endswith("_amplitude.tif"):
        raise FileError(f"{path} is no single result: name an exported ..._amplitude.tif, or a folder with one.")
    name = found[0].name.removesuffix("_amplitude.tif")
    amplitude, phase = (load_array(found[0].with_name(f"{name}_{what}.tif")).array for what in ("amplitude", "phase"))
    return (amplitude * np.exp(1j * phase)).astype(np.complex64)


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
