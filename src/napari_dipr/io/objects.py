"""Objects to simulate measurements of, out of pictures, volumes, results and samples."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import FileError
from napari_dipr.io.arrays import digest, load_array, naming
from napari_dipr.io.read import SAMPLE
from napari_dipr.io.record import read_record
from napari_dipr.physics.placement import boxed
from napari_dipr.samples import field_window, sample

PICTURES = (".png", ".jpg", ".jpeg")


def load_object(path: str | Path, **part: Any) -> tuple[NDArray[Any], str, dict[str, Any]]:
    """Load an object: real or complex numbers, 2-D or 3-D.

    Parameters
    ----------
    path
        A file that :func:`~napari_dipr.io.arrays.load_array` reads, a grey PNG or JPEG, ``sample:fashion-K``, or a
        result, of which the object inside its support is taken, as far as that reaches.
    **part
        Key, frame and region of :func:`~napari_dipr.io.arrays.load_array`.

    Returns
    -------
    array, name, source : tuple
        The name for people; the source for the provenance.

    Raises
    ------
    FileError
        If it cannot be read, or is a colour picture.
    """
    asked = [name for name, value in part.items() if value is not None]
    if str(path).startswith(SAMPLE):
        name = str(path).removeprefix(SAMPLE)
        measurement, truth = sample(name)
        if asked:
            raise FileError(f"{path} is a sample, of which all is known: leave out the {', '.join(asked)}.")
        return _within(truth, field_window()), name, measurement.source
    path = Path(path)
    if path.suffix.lower() in PICTURES and not asked:
        return _picture(path), path.stem, _told(path)
    if not asked:
        try:
            record = read_record(path)
        except FileError:  # an array, then
            pass
        else:
            return _within(record.object, record.support), path.stem, _told(path)
    loaded = load_array(path, **part)
    return np.squeeze(loaded.array), path.stem, loaded.source


def _picture(path: Path) -> NDArray[Any]:
    from skimage.io import imread

    if not path.exists():
        raise FileError(f"There is no file {path}.")
    with naming(path):
        array = np.asarray(imread(path))
    if array.ndim != 2:
        raise FileError(f"{path.name} is a colour picture, {array.shape}. Make it grey first.")
    return array


def _within(x: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[Any]:
    if not inside.any():
        raise FileError("The result's support is empty: there is no object in it.")
    return boxed(x, inside)


def _told(path: Path) -> dict[str, Any]:
    return {"file": path.name, "path": str(path.absolute()), "sha256": digest(path)}
