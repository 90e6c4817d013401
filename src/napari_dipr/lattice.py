"""From a reconstructed Bragg object to the crystal's lattice, in nanometres."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import Geometry
from napari_dipr.measurement import Measurement
from napari_dipr.physics.displacement import displacement, strain, unwrapped, without_ramp
from napari_dipr.physics.orthogonal import Cubes
from napari_dipr.physics.placement import centred

Frame = Literal["laboratory", "sample"]
# Share of the median amplitude in the support from which on a voxel is the crystal's: those on its edge, which it fills
# to a part, say little of its phase: with them, the strain of simulated noisy crystals had five times the error.
SOLID = 0.5


@dataclass(frozen=True, eq=False)
class Lattice:
    """A crystal on cubic voxels, arrays ``[z, y, x]``; see :mod:`~napari_dipr.physics.displacement` for the signs.

    Attributes
    ----------
    amplitude
        In the object's unit.
    displacement
        Along Q in nm, less its mean and mean slope, which are not known; NaN outside of the crystal.
    strain
        Along Q, from the same reference; NaN outside of the crystal and where a neighbour is.
    voxel
        The cubes' edge, nm.
    bragg
        Q in the arrays' frame ``[3]`` (x, y, z), 1/nm (2π included).
    frame
        What x, y and z are: the laboratory's at the scan's middle (see :mod:`~napari_dipr.geometry`), or the sample's.
    """

    amplitude: NDArray[np.float32]
    displacement: NDArray[np.float64]
    strain: NDArray[np.float64]
    voxel: float
    bragg: NDArray[np.float64]
    frame: Frame

    @property
    def figures(self) -> dict[str, Any]:
        """What is said of it in numbers: lengths in nm, Q in 1/nm, the volume in nm³, strain as it is."""
        there = np.isfinite(self.displacement)
        sides = [self.voxel * float(np.ptp(where) + 1) for where in np.nonzero(there)]
        return {
            "frame": self.frame,
            "q": self.bragg.tolist(),
            "d_spacing": 2 * np.pi / float(np.linalg.norm(self.bragg)),
            "voxel": self.voxel,
            "size_zyx": sides,
            "volume": float(there.sum()) * self.voxel**3,
            "displacement_rms": float(np.sqrt(np.nanmean(self.displacement**2))),
            "strain_rms": float(np.sqrt(np.nanmean(self.strain**2))),
        }

    def __str__(self) -> str:
        """Say what it is, and what no intensity tells."""
        f = self.figures
        size = " × ".join(f"{side:.0f}" for side in f["size_zyx"])
        return (
            f"crystal of {size} nm (z, y, x in the {self.frame} frame), voxels of {self.voxel:.3g} nm; along Q, planes "
            f"{f['d_spacing']:.4g} nm apart: displacement {1e3 * f['displacement_rms']:.1f} pm rms, strain "
            f"{f['strain_rms']:.2g} rms. Its twin, turned about its middle with the displacement's sign changed, fits "
            "the intensities as well"
        )


def lattice(
    x: NDArray[np.complexfloating],
    support: NDArray[np.bool_],
    geometry: Geometry,
    *,
    frame: Frame = "laboratory",
    voxel: float | None = None,
) -> Lattice:
    """Work out displacement and strain of an object.

    The crystal is where the amplitude is at least :data:`SOLID` of its median in the support. Phases are unwrapped and
    differences taken on the axes that were measured, and resampled after: on cubes both would have errors twice as
    large.

    Parameters
    ----------
    x, support
        ``[*grid]`` with the axes of the pattern: frames, rows, columns; about the grid's middle, in one piece.
    geometry
        With a scan.
    frame
        That the result shall be in.
    voxel
        Edge of its cubes, nm; None takes the finest that the object has.

    Raises
    ------
    MeasurementError
        If no scan is known, the support is empty, or there would be too many voxels.
    """
    turn = geometry.to_sample() if frame == "sample" else np.eye(3)
    basis, q = turn @ geometry.basis(x.shape), turn @ geometry.bragg()
    cubes = Cubes.holding(support, basis, voxel)
    amplitude = np.abs(x)
    solid = support & (amplitude >= SOLID * np.median(amplitude[support]))
    u = displacement(unwrapped(without_ramp(x), solid), float(np.linalg.norm(q)))
    along = cubes.field(strain(u, basis, q))
    if not np.isfinite(along).any():
        raise MeasurementError(
            "The crystal is too thin for a strain: nowhere are there neighbours on both sides along Q."
        )
    return Lattice(np.abs(cubes.object(x)), cubes.field(u), along, cubes.voxel, q, frame)


def crystal_of(
    measurement: Measurement, x: NDArray[np.complexfloating], support: NDArray[np.bool_], frame: Frame = "laboratory"
) -> Lattice | None:
    """Return the crystal that an object of a measurement is, wherever it lies; None where no scan's geometry is known.

    Raises
    ------
    MeasurementError
        As of :func:`lattice`.
    """
    if not measurement.is_rocking_scan:
        return None
    assert measurement.geometry is not None
    return lattice(*centred(x, support), measurement.geometry, frame=frame)
