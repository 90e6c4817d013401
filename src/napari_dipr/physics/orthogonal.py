"""From the skewed axes that a rocking scan's object comes on to cubic voxels along x, y and z."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.placement import phase_ramp, with_ramp

# Of the cubic grid: four times a 512³ pattern's.
MOST_VOXELS = 2**29


def positions(grid: tuple[int, ...], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the voxels of a grid are, ``[*grid, 3]`` in nm from its middle (index n//2 of each axis)."""
    steps = np.meshgrid(*(np.arange(n) - n // 2 for n in grid), indexing="ij")
    return np.stack(steps, axis=-1) @ basis.T


def finest(basis: NDArray[np.float64]) -> float:
    """Return the distance of the grid's planes where they are closest, nm: nothing finer is in the object."""
    return float(1 / np.linalg.norm(np.linalg.inv(basis), axis=1).max())


@dataclass(frozen=True, eq=False)
class Cubes:
    """A grid of cubic voxels that holds what is on a skewed one; its middle (n//2) is the skewed grid's.

    Attributes
    ----------
    shape
        Voxels along z, y, x of the frame that the skewed basis is in.
    voxel
        The cubes' edge, nm.
    matrix, offset
        ``matrix @ index + offset`` is the skewed grid's index.
    """

    shape: tuple[int, ...]
    voxel: float
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def holding(cls, support: NDArray[np.bool_], basis: NDArray[np.float64], voxel: float | None = None) -> "Cubes":
        """Return the cubes that hold a support.

        Parameters
        ----------
        support
            Boolean ``[*grid]``, 3-D, in one piece about the grid's middle.
        basis
            Steps of one voxel along the axes as columns ``[3, 3]``, nm: :meth:`~napari_dipr.geometry.Geometry.basis`,
            or that turned into the sample's frame.
        voxel
            Edge of the cubes, nm; None takes the finest that the object has (see :func:`finest`).

        Raises
        ------
        MeasurementError
            If the support is empty, or the voxels are so small that there would be too many.
        """
        if not support.any():
            raise MeasurementError("The support is empty: there is nothing to resample.")
        edge = finest(basis) if voxel is None else voxel
        # With room for one skewed voxel more on each side, in which the object fades.
        reach = np.abs(positions(support.shape, basis)[support]).max(0) + np.abs(basis).sum(1)
        shape = tuple(2 * math.ceil(half / edge) + 1 for half in reach[::-1])
        if math.prod(shape) > MOST_VOXELS:
            raise MeasurementError(f"Of voxels of {edge:g} nm there would be {math.prod(shape):.2g}. Take larger ones.")
        matrix = (edge * np.linalg.inv(basis)[:, ::-1]).astype(np.float64)
        offset = np.array([n // 2 for n in support.shape]) - matrix @ np.array([n // 2 for n in shape])
        return cls(shape, edge, matrix, offset)

    @property
    def basis(self) -> NDArray[np.float64]:
        """The steps of one cube along the array's axes (z, y, x) as columns ``[3, 3]``, nm."""
        return self.voxel * np.eye(3)[:, ::-1]

    def object(self, x: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Resample an object ``[*grid]`` by cubic splines: complex64 ``[z, y, x]``.

        The complex values are resampled, not amplitude and phase: that needs no unwrapping, a vortex stays one, and
        what is outside of the object has no say. Where neighbours' phases differ much, amplitude would be lost between
        them: so the ramp is taken off before, and put back after, exactly.
        """
        ramp = phase_ramp(x)
        flat = with_ramp(x.astype(np.complex64), tuple(-slope for slope in ramp))
        return with_ramp(self._resampled(flat, 3), tuple((np.asarray(ramp) @ self.matrix).tolist()))

    def field(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Resample real values ``[*grid]``, NaN where there are none, linearly from those that there are.

        NaN ``[z, y, x]`` where they have less than half the weight: a support's edge stays where it is.
        """
        known = np.isfinite(values)
        weight = self._resampled(known.astype(np.float64), 1)
        total = self._resampled(np.where(known, values, 0.0), 1)
        return np.where(weight >= 0.5, total / np.maximum(weight, 0.5), np.nan)

    def _resampled(self, values: NDArray[Any], order: int) -> NDArray[Any]:
        from scipy.ndimage import affine_transform

        return affine_transform(values, self.matrix, self.offset, self.shape, order=order)
