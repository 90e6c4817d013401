"""Sample measurements with known truth: FashionMNIST test images, as in the paper.

The first 256 test images are part of the package (MIT licence, beside the data). Image ``k`` is laid at a random place
of a black 36² field, turned by 180° or not (:func:`place`, seed 2020), the field lies in the centre of a 72² grid, and
its diffraction intensities are computed.
"""

import hashlib
import re
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.measurement import Measurement

FIELD = 36
GRID = 72
SEED = 2020
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@cache
def shipped_images() -> NDArray[np.uint8]:
    """Return the first 256 FashionMNIST test images, ``[256, 28, 28]``."""
    return _shipped()["images"]


@cache
def shipped_labels() -> NDArray[np.uint8]:
    """Return the classes of :func:`shipped_images`, ``[256]``; their names are in ``CLASSES``."""
    return _shipped()["labels"]


def place(images: NDArray[np.uint8], seed: int | list[int] = SEED) -> NDArray[np.float32]:
    """Lay images ``[n, 28, 28]`` at random in a black field, flipped at random: ``[n, 36, 36]``, values 0…1.

    The flip is in both directions at once (a rotation by 180°), as in the paper. The first k of n are the same for any
    n with the same seed.
    """
    n, height, width = images.shape
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, [FIELD - height + 1, FIELD - width + 1, 2], size=(n, 3))
    turned = np.where(draws[:, 2, None, None] == 1, images[:, ::-1, ::-1], images)
    fields = np.zeros((n, FIELD, FIELD), np.float32)
    rows = draws[:, 0, None, None] + np.arange(height)[:, None]
    columns = draws[:, 1, None, None] + np.arange(width)
    fields[np.arange(n)[:, None, None], rows, columns] = turned
    return fields / np.float32(255)


def on_grid(fields: NDArray[np.float32], grid: int = GRID) -> NDArray[np.float32]:
    """Lay fields ``[n, 36, 36]`` in the centre of a zero grid: ``[n, grid, grid]``."""
    before = grid // 2 - fields.shape[-1] // 2
    after = grid - before - fields.shape[-1]
    return np.pad(fields, ((0, 0), (before, after), (before, after)))


def field_window(grid: int = GRID) -> NDArray[np.bool_]:
    """Return where :func:`on_grid` lays the field: boolean ``[grid, grid]``."""
    return on_grid(np.ones((1, FIELD, FIELD), np.float32), grid)[0] > 0


def sample(name: str) -> tuple[Measurement, NDArray[np.complex64]]:
    """Return a sample measurement and the object that it is of.

    Parameters
    ----------
    name
        ``fashion-K`` with K from 0 to 255.

    Returns
    -------
    measurement, truth : tuple
        The truth is complex64 ``[72, 72]``, inside :func:`field_window`.

    Raises
    ------
    FileError
        If there is no such sample.
    """
    count = len(shipped_images())
    match = re.fullmatch(r"fashion-(\d+)", name)
    if match is None or int(match[1]) >= count:
        raise FileError(f"There is no sample {name!r}. The samples are fashion-0 to fashion-{count - 1}.")
    k = int(match[1])
    truth = on_grid(place(shipped_images()[: k + 1])[k:])[0]
    intensities = np.abs(np.fft.fftshift(np.fft.fft2(truth.astype(np.float64)))) ** 2
    source = {
        "sample": name,
        "what": f"FashionMNIST test image {k} ({CLASSES[shipped_labels()[k]]}), placed with seed {SEED}",
        # Of the object: the last bits of its transform differ from machine to machine.
        "sha256": hashlib.sha256(truth.astype("<f4").tobytes()).hexdigest(),
    }
    measurement = Measurement.of(
        intensities,
        zero_frequency="centre",
        name=name,
        history=("simulated from a shipped image, without noise",),
        source=source,
    )
    return measurement, truth.astype(np.complex64)


def _shipped() -> dict[str, NDArray[np.uint8]]:
    with files("napari_dipr").joinpath("data/fashion_mnist_test_256.npz").open("rb") as file, np.load(file) as archive:
        return {key: archive[key] for key in archive.files}
