"""Objects to train on: FashionMNIST as the paper uses it."""

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError

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
