"""Rocking scans of crystals whose shape and displacement are known, in nanometres."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.experiment import Experiment
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement
from napari_dipr.physics.orthogonal import positions

Points = NDArray[np.float64]
# Points along each edge of a voxel whose mean it has: an edge of the crystal may go through it anywhere.
FINE = 3


def ellipsoid(semi_axes: ArrayLike) -> Callable[[Points], NDArray[np.bool_]]:
    """Return what tells of points ``[..., 3]`` (nm) whether they are in an ellipsoid with semi-axes along x, y, z."""
    return lambda r: np.square(r / np.asarray(semi_axes)).sum(-1) < 1


def polyhedron(normals: ArrayLike, distances: ArrayLike) -> Callable[[Points], NDArray[np.bool_]]:
    """Return what tells of points whether they are below all facets, ``n·r < d``: unit ``[facets, 3]`` and nm."""
    n = np.asarray(normals, np.float64)
    return lambda r: (r @ (n / np.linalg.norm(n, axis=1, keepdims=True)).T < np.asarray(distances)).all(-1)


def bragg_scan(
    geometry: Geometry,
    grid: Sequence[int],
    inside: Callable[[Points], NDArray[np.bool_]],
    displacement: Callable[[Points], Points],
    *,
    photons: float | None = None,
    seed: int = 0,
    name: str = "simulated crystal",
) -> tuple[Measurement, NDArray[np.complex64]]:
    """Make a measurement of a crystal: fill the skewed voxels, transform, add photon noise where asked.

    Parameters
    ----------
    geometry
        With a scan.
    grid
        Frames, rows and columns. The pattern's middle is at Q.
    inside
        Of points ``[..., 3]`` in the laboratory's frame at the scan's middle, nm from the crystal's: whether they are
        in the crystal. See :func:`ellipsoid`, :func:`polyhedron`.
    displacement
        Of such points: how far the lattice is displaced there, ``[..., 3]`` nm.
    photons, seed
        Of the :class:`~napari_dipr.experiment.Experiment`.
    name
        Of the measurement.

    Returns
    -------
    measurement, truth : tuple
        The truth is the object ``exp(−iQ·u)`` inside the crystal, complex64 ``[*grid]``, in the grid's middle; on the
        crystal's edge each voxel has the mean over its volume.

    Raises
    ------
    MeasurementError
        If no scan is known, nothing is inside, or the numbers are out of range.
    """
    basis = geometry.basis(grid)
    r = positions(tuple(grid), basis)
    truth = np.zeros(r.shape[:-1], np.complex128)
    for part in positions((FINE,) * 3, basis / FINE).reshape(-1, 3):
        at = r + part
        truth += inside(at) * np.exp(-1j * (displacement(at) @ geometry.bragg())) / FINE**3
    if not truth.any():
        raise MeasurementError(
            f"No voxel is inside the crystal: they have edges of {geometry.voxel_size(grid)} nm. Make it larger."
        )
    experiment = Experiment.of(photons=photons, seed=seed)
    return experiment.expose(truth, f"simulated from a crystal in {geometry}", name=name, geometry=geometry)
