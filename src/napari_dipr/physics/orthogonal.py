"""From the skewed axes that a rocking scan's object comes on to cubic voxels along x, y and z."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.placement import phase_ramp, with_ramp

# Of the new grid: four times a 512³ pattern's.
MOST_VOXELS = 2**29


class Orthogonal(NamedTuple):
    """An object on cubic voxels.

    Attributes
    ----------
    object
        Complex64 ``[z, y, x]`` of the frame that the basis was given in; its middle (n//2) is the skewed grid's.
    support
        Boolean, of the same shape.
    voxel
        The cubes' edge in nm.
    """

    object: NDArray[np.complex64]
    support: NDArray[np.bool_]
    voxel: float

    @property
    def basis(self) -> NDArray[np.float64]:
        """The steps of one voxel along the array's axes, as columns ``[3, 3]`` (x, y, z), nm."""
        return self.voxel * np.eye(3)[::-1]


def positions(grid: tuple[int, ...], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the voxels of a grid are, ``[*grid, 3]`` in nm from its middle (index n//2 of each axis)."""
    steps = np.meshgrid(*(np.arange(n) - n // 2 for n in grid), indexing="ij")
    return np.stack(steps, axis=-1) @ basis.T


def finest(basis: NDArray[np.float64]) -> float:
    """Return the distance of the grid's planes where they are closest, nm: nothing finer is in the object."""
    return float(1 / np.linalg.norm(np.linalg.inv(basis), axis=1).max())


def orthogonal(
    x: NDArray[np.complexfloating],
    support: NDArray[np.bool_],
    basis: NDArray[np.float64],
    voxel: float | None = None,
) -> Orthogonal:
    """Resample an object onto cubic voxels, by cubic splines.

    The complex values are resampled, not amplitude and phase: where neighbours' phases differ, what lies between them
    follows from both, it needs no unwrapping, and a vortex stays one. A steep ramp would cost amplitude between the
    voxels. So the object's ramp is taken off before and is put back after, exactly.

    Parameters
    ----------
    x
        ``[*grid]``, 3-D, in one piece within the grid, its middle about the grid's.
    support
        Boolean ``[*grid]``; the new grid is as large as it takes to hold it.
    basis
        Steps of one voxel along the axes as columns ``[3, 3]``, nm: :meth:`~napari_dipr.geometry.Geometry.basis`, or
        that turned into the sample's frame.
    voxel
        Edge of the cubes in nm; None takes the finest that the object has (see :func:`finest`).

    Raises
    ------
    MeasurementError
        If the support is empty, or the voxels are so small that there would be too many.
    """
    if not support.any():
        raise MeasurementError("The support is empty: there is nothing to resample.")
    edge = finest(basis) if voxel is None else voxel
    reach = np.abs(positions(x.shape, basis)[support]).max(0)[::-1] / edge
    # Room for the splines' last voxel, by the skewed grid's largest step.
    margin = np.abs(basis).sum(1).max() / edge
    shape = tuple(2 * math.ceil(half + margin) + 1 for half in reach)
    if math.prod(shape) > MOST_VOXELS:
        raise MeasurementError(f"Voxels of {edge:g} nm would be {math.prod(shape):.2g}. Take larger ones.")
    from scipy.ndimage import affine_transform

    # From the new grid's index (z, y, x) to the old one's.
    matrix = edge * np.linalg.inv(basis)[:, ::-1]
    offset = np.array([n // 2 for n in x.shape]) - matrix @ np.array([n // 2 for n in shape])
    ramp = phase_ramp(x)
    flat = with_ramp(x.astype(np.complex64), tuple(-slope for slope in ramp))
    resampled = affine_transform(flat, matrix, offset, shape, order=3, mode="constant")
    inside = affine_transform(support.astype(np.float32), matrix, offset, shape, order=1, mode="constant") > 0.5
    slopes = tuple(float(slope) for slope in np.asarray(ramp) @ matrix)
    return Orthogonal(with_ramp(resampled, slopes), inside, edge)
