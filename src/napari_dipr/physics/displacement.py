"""What a Bragg object's phase says of its lattice: displacement and strain.

A lattice that is displaced by ``u(r)`` scatters near the peak Q with ``Σ exp(−iq·(r + u))``, which is the transform
``Σ x·exp(−i(q − Q)·r)`` of an object with the phase ``φ = −Q·u``: that u changes little while q is near Q
(``|q − Q||u| ≪ 1``) is taken. What is seen is u along Q, from a reference that no intensity tells: a global phase (a
shift of the whole), and a ramp where zero frequency is not that of the lattice meant (a mean strain and tilt).

A twin has ``u'(r) = −u(−r)``: mirrored in place and with the other sign, so that displacement is told up to that. Its
strain ``ε'(r) = ε(−r)`` keeps its sign. A positive strain is a lattice that is expanded along Q.

References
----------
.. [1] I. K. Robinson and R. Harder, "Coherent X-ray diffraction imaging of strain at the nanoscale", Nature Mater. 8,
   291 (2009).
"""

import numpy as np
from numpy.typing import NDArray

from napari_dipr.errors import MeasurementError
from napari_dipr.physics.placement import phase_ramp, with_ramp

# Of the largest component of Q along an array's axis: what is less is rounding.
NONE = 1e-9


def without_ramp(x: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
    """Return an object ``[*grid]`` without the mean slope of its phase, weighted with the energy."""
    return with_ramp(x.astype(np.complex64), tuple(-slope for slope in phase_ramp(x)))


def unwrapped(x: NDArray[np.complexfloating], support: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return an object's phase without jumps by 2π, radians; its mean is 0.

    Each piece of a support in several is unwrapped on its own: they may be off by multiples of 2π.

    Parameters
    ----------
    x, support
        ``[*grid]``, 2-D or 3-D.

    Returns
    -------
    ndarray
        ``[*grid]``; NaN outside the support.

    Raises
    ------
    MeasurementError
        If the support is empty.

    References
    ----------
    .. [1] M. A. Herráez et al., "Fast two-dimensional phase-unwrapping algorithm based on sorting by reliability
       following a noncontinuous path", Appl. Opt. 41, 7437 (2002).
    .. [2] H. Abdul-Rahman et al., "Fast and robust three-dimensional best path phase unwrapping algorithm", Appl. Opt.
       46, 6623 (2007).
    """
    if not support.any():
        raise MeasurementError("The support is empty: there is no phase to unwrap.")
    from skimage.restoration import unwrap_phase

    wrapped = np.ma.masked_array(np.angle(x).astype(np.float64), ~support)
    phase = np.ma.filled(unwrap_phase(wrapped, rng=0), np.nan)
    return phase - np.nanmean(phase)


def displacement(phase: NDArray[np.floating], q_length: float) -> NDArray[np.floating]:
    """Return ``u = −φ/|Q|``, the displacement along Q in nm, for |Q| in 1/nm (2π included)."""
    return -phase / q_length


def strain(
    u: NDArray[np.floating], basis: NDArray[np.float64], q_direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the strain along Q, ``∂u/∂r`` in Q's direction, by central differences.

    Parameters
    ----------
    u
        Displacement along Q ``[*grid]``, nm; NaN outside the support.
    basis
        Steps of one voxel along the array's axes as columns ``[3, 3]``, nm.
    q_direction
        Along Q, ``[3]`` in the basis' frame, of any length.

    Returns
    -------
    ndarray
        ``[*grid]``; NaN where a neighbour that it takes is outside of the support.
    """
    # A step of one nm along Q is so many voxels along each axis: ∂/∂r = Σ cᵢ ∂/∂nᵢ.
    voxels = np.linalg.solve(basis, q_direction / np.linalg.norm(q_direction))
    along = np.zeros(u.shape)
    for axis, count in enumerate(voxels):
        if abs(count) <= NONE * np.abs(voxels).max():
            continue
        v = np.moveaxis(u, axis, 0)
        difference = np.full(v.shape, np.nan)
        difference[1:-1] = (v[2:] - v[:-2]) / 2
        along += count * np.moveaxis(difference, 0, axis)
    return np.where(np.isfinite(u), along, np.nan)
