"""Objects to train on and to test with: FashionMNIST as the paper uses it, and simulated ones."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dipr import samples
from napari_dipr.errors import FileError
from napari_dipr.networks.spec import ModelSpec, Schedule
from napari_dipr.training import simulated

# Draws the batch of a number on a device: objects [batch, *window], and the generator to go on with.
Draw = Callable[[int, torch.device], tuple[Tensor, torch.Generator]]

TEST_SEED = 2021

# Debian's package dataset-fashion-mnist.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    "test": ("t10k-images-idx3-ubyte.gz", "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
}
SOURCE = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"


def fashion_mnist(split: Literal["train", "test"], folder: Path | None = None) -> NDArray[np.uint8]:
    """Return the FashionMNIST images of a split, ``[60000 or 10000, 28, 28]``.

    They are looked for in ``folder``, then in Debian's package ``dataset-fashion-mnist``; else they are fetched once
    into the user's cache and checked.

    Raises
    ------
    FileError
        If they are in none of these places, or not in the IDX format.
    """
    name, known_hash = FILES[split]
    if folder is not None and not (folder / name).is_file():
        raise FileError(f"There is no {name} in {folder}. Give the folder that holds FashionMNIST's four .gz files.")
    path = next((p / name for p in (folder, DEBIAN) if p is not None and (p / name).is_file()), None)
    if path is None:
        import pooch

        try:
            path = Path(pooch.retrieve(SOURCE + name, known_hash, fname=name, path=pooch.os_cache("napari-dipr")))
        except (OSError, ValueError) as error:
            raise FileError(
                f"FashionMNIST's {name} could not be fetched ({error}). Install Debian's package "
                "dataset-fashion-mnist, or give a folder that holds it."
            ) from error
    try:
        raw = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} cannot be unpacked: {error}. Fetch it again.") from error
    if raw[:4].tolist() != [0, 0, 8, 3] or (raw.size - 16) % (28 * 28) or raw.size <= 16:
        raise FileError(f"{path} is not a file of 28 × 28 images in IDX format.")
    return raw[16:].reshape(-1, 28, 28)


def source(spec: ModelSpec, folder: Path | None = None) -> Draw:
    """Return what draws a training's batches; they depend on its seed and their number alone.

    Parameters
    ----------
    spec
        What is trained.
    folder
        Of FashionMNIST's files, see :func:`fashion_mnist`.

    Raises
    ------
    FileError
        If FashionMNIST is asked for and not to be had.
    """
    t, window = spec.training, spec.network.window

    if t.objects == "simulated":

        def draw(number: int, device: torch.device) -> tuple[Tensor, torch.Generator]:
            random = _generator(t, number, device)
            return simulated.draw(t.batch_size, window, t.variety, random), random

        return draw
    return placed_images(t, folder)


def placed_images(t: Schedule, folder: Path | None = None) -> Draw:
    """Return what draws batches of FashionMNIST's training images as the paper uses them; see :func:`source`."""
    images = fashion_mnist("train", folder)

    def draw(number: int, device: torch.device) -> tuple[Tensor, torch.Generator]:
        chosen = np.random.default_rng([t.seed, number]).integers(0, len(images), t.batch_size)
        fields = samples.place(images[chosen], [t.seed, number, 1])
        return torch.from_numpy(fields).to(device), _generator(t, number, device)

    return draw


def _generator(t: Schedule, number: int, device: torch.device) -> torch.Generator:
    state = np.random.SeedSequence([t.seed, number, 2]).generate_state(1, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]))


def unseen_objects(spec: ModelSpec, count: int = 256) -> Tensor:
    """Return objects ``[count, *window]`` to test a model with: of the kind it is for, and in no training."""
    if spec.training.objects == "fashion-mnist":
        return torch.from_numpy(samples.place(samples.shipped_images()[:count]))
    return simulated.clean(count, spec.network.window, TEST_SEED)
