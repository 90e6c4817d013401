"""A strained crystal whose displacement is known, simulated on a beamline's circles, reconstructed, and compared.

The crystal has seven facets and is not its own mirror image. Its displacement along Q is a polynomial of the place, in
closed form: nothing of the truth is resampled or differenced on the grid that it is compared on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipr.geometry import Geometry
from napari_dipr.lattice import SOLID, Frame, Lattice, lattice
from napari_dipr.measurement import Measurement
from napari_dipr.physics.orthogonal import finest, positions
from napari_dipr.physics.registration import register
from napari_dipr.simulation import FINE, bragg_scan, polyhedron
from napari_dipr.solvers.problem import Problem, as_support, random_start
from napari_dipr.solvers.recipe import Recipe
from napari_dipr.solvers.run import solve
from napari_dipr.solvers.shrinkwrap import autocorrelation_support

AT_34_ID_C = (
    "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.22, chi=90, phi=-5, "
    "rock=theta, step=0.008"
)
AT_ID01 = "energy=8, distance=1, pixel=55, beamline=ID01, nu=5, delta=35, eta=18, phi=12, rock=eta, step=0.005"
FACETS = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1), (0, -1, 0.2), (-1, 0, 0))
# From the middle, in the crystal's radius; and that in the narrowest side of the box that the pattern's sampling makes.
DISTANCES = (1, 1.1, 0.9, 1, 1.2, 0.8, 1)
RADIUS = 0.16
# Of the displacement, nm: phases of ±3 rad for gold's 111.
LARGEST = 0.025
RECIPE = "(raar*80 + er*20)*5"
SCANS = {"34-ID-C": AT_34_ID_C, "ID01": AT_ID01}
# Photons, and whether the support is known.
CASES: tuple[tuple[float | None, bool], ...] = ((None, True), (1e7, False), (1e6, False))


@dataclass(frozen=True, eq=False)
class Recovery:
    """What came of a crystal.

    Attributes
    ----------
    figures
        As :func:`bragg` says.
    measurement
        The simulated pattern.
    found
        The crystal that was reconstructed, on cubic voxels.
    inside, displacement, strain
        The true crystal in closed form on the same voxels; NaN outside of it.
    """

    figures: dict[str, Any]
    measurement: Measurement
    found: Lattice
    inside: NDArray[np.bool_]
    displacement: NDArray[np.float64]
    strain: NDArray[np.float64]


def bragg(
    geometry: Geometry | str = AT_34_ID_C,
    grid: Sequence[int] = (40, 40, 40),
    photons: float | None = 1e7,
    *,
    known_support: bool = False,
    starts: int = 3,
    frame: Frame = "laboratory",
    recipe: str = RECIPE,
) -> Recovery:
    """Simulate a crystal, reconstruct it, and compare displacement, strain and size with the truth.

    Parameters
    ----------
    geometry
        With a scan, or the text of one.
    grid
        Frames, rows and columns.
    photons
        In the whole pattern; None for no noise.
    known_support
        Whether the support is given. Otherwise it begins as the autocorrelation's, and shrink-wrap finds it.
    starts
        Of which the one of the least χ² is taken.
    frame
        That the comparison is made in.
    recipe
        As :class:`~napari_dipr.solvers.recipe.Recipe` reads it.

    Returns
    -------
    Recovery
        Its figures: ``chi2``; ``correlation`` of the complex objects and whether a ``twin`` was undone; the ``voxel``
        of the cubes and the d-spacing ``2π/|Q|``, nm; ``displacement_rms``, ``displacement_error`` (rms, nm) and
        ``strain_rms``, ``strain_error`` (rms) where both crystals are, of the error less the reference that no
        intensity tells (mean and mean slope); ``volume`` and ``volume_error`` (relative), and ``radius_error``
        (relative, of the rms distance from the middle).
    """
    geometry = Geometry.parse(geometry) if isinstance(geometry, str) else geometry
    basis, q = geometry.basis(grid), geometry.bragg()
    radius = RADIUS * finest(basis * np.asarray(grid))
    inside = polyhedron(FACETS, radius * np.asarray(DISTANCES))
    measurement, truth = bragg_scan(
        geometry, grid, inside, lambda r: _displacement(r / radius)[..., None] * q / np.linalg.norm(q), photons=photons
    )
    problem = Problem.of(measurement)
    first = as_support(truth != 0, problem) if known_support else autocorrelation_support(problem)
    plan = Recipe.parse(f"{recipe}; {'no shrinkwrap' if known_support else 'shrinkwrap(threshold=0.1)'}")
    runs = [solve(problem, plan, random_start(problem, first, seed)) for seed in range(starts)]
    best = min(runs, key=lambda run: float(run.chi2[0]))

    alignment = register(best.object[0], torch.from_numpy(truth))
    x = alignment.remove(best.object[0].to(torch.complex128)).resolve_conj().numpy()
    found = lattice(x, alignment.remove_from_support(best.support[0]).numpy(), geometry, frame=frame)

    # Where the cubes are, in the laboratory's frame.
    r = positions(found.amplitude.shape, found.voxel * np.eye(3)[:, ::-1])
    r = r @ geometry.to_sample() if frame == "sample" else r
    there = inside(r)
    u = np.where(there, _displacement(r / radius), np.nan)
    along = np.where(there, _gradient(r / radius) @ (q / np.linalg.norm(q)) / radius, np.nan)
    both, strained = np.isfinite(found.displacement - u), np.isfinite(found.strain - along)
    # Mean and mean slope are a reference that no intensity tells.
    flat = np.stack([np.ones(int(both.sum())), *r[both].T], axis=1)
    u_true, u_error = (_without(flat, values[both]) for values in (u, found.displacement - u))
    level = SOLID * np.median(found.amplitude[np.isfinite(found.displacement)])
    solid = r[found.amplitude >= level]
    # Of the true crystal the cubes are cut into smaller ones: its edge goes through them anywhere.
    fine = positions((FINE,) * 3, found.voxel / FINE * np.eye(3)).reshape(-1, 3)
    filled = np.concatenate([(r + part)[inside(r + part)] for part in fine])
    volume = len(filled) * (found.voxel / FINE) ** 3
    figures = {
        "chi2": float(best.chi2[0]),
        "correlation": alignment.correlation,
        "twin": alignment.twin,
        "voxel": found.voxel,
        "d_spacing": float(2 * np.pi / np.linalg.norm(q)),
        "displacement_rms": float(np.std(u_true)),
        "displacement_error": float(np.std(u_error)),
        "strain_rms": float(np.std(along[strained])),
        "strain_error": float(np.std((found.strain - along)[strained])),
        "volume": volume,
        "volume_error": len(solid) * found.voxel**3 / volume - 1,
        "radius_error": _rms_radius(solid) / _rms_radius(filled) - 1,
    }
    return Recovery(figures, measurement, found, there, u, along)


def table(
    grid: Sequence[int] = (40, 40, 40),
    *,
    starts: int = 3,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, Any]:
    """Run :func:`bragg` on each beamline's scan in each of :data:`CASES`.

    Parameters
    ----------
    grid, starts
        As there.
    progress
        Told the case that comes next, and how many are done.

    Returns
    -------
    dict
        Plain JSON: the grid, the starts, and the figures of each case as a row.
    """
    rows: list[dict[str, Any]] = []
    for name, geometry in SCANS.items():
        for photons, known in CASES:
            progress(name, len(rows))
            figures = bragg(geometry, grid, photons, known_support=known, starts=starts).figures
            rows.append({"scan": name, "photons": photons, "known_support": known, **figures})
    return {"grid": list(grid), "starts": starts, "recipe": RECIPE, "rows": rows}


def _displacement(s: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = np.moveaxis(s, -1, 0)
    return LARGEST * (x**2 - y * z / 2 + 0.7 * z**3)


def _gradient(s: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = np.moveaxis(s, -1, 0)
    return LARGEST * np.stack([2 * x, -z / 2, -y / 2 + 2.1 * z**2], axis=-1)


def _without(known: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - known @ np.linalg.lstsq(known, values, rcond=None)[0]


def _rms_radius(r: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(r - r.mean(0)).sum(-1).mean()))
