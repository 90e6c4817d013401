import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import qmc

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import HC, Geometry
from napari_dipr.physics.orthogonal import finest, positions
from napari_dipr.simulation import bragg_scan, ellipsoid, polyhedron

GRID = (16, 18, 18)
FACETS = [[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, -1], [0, -1, 0.2], [-1, 0, 0]]

# Geometry as text, and once more as circles that turn matrices: sample, detector, the one that rocks, kilovolts.
CASES = {
    "34-ID-C": (
        "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.22, chi=90, phi=-5, "
        "rock=theta, step=0.008",
        [("y", 0.22), ("z", -90), ("y", -5)],
        [("y", 32.174), ("x", -12.6346)],
        0,
    ),
    "ID01": (
        "energy=8, distance=1, pixel=55, beamline=ID01, nu=5, delta=35, mu=0.5, eta=18, phi=12, rock=eta, step=-0.005",
        [("y", -0.5), ("x", -18), ("y", -12)],
        [("y", -5), ("x", -35)],
        1,
    ),
}


def turned(circles):
    matrix = np.eye(3)
    for axis, angle in circles:
        matrix = matrix @ Rotation.from_euler(axis, angle, degrees=True).as_matrix()
    return matrix


def scattered(geometry, sample, detector, rocks, atoms):
    """Sum ``exp(−iq·r)`` of atoms that the goniometer turns, at each pixel as the detector stands."""
    k, beam = 2 * np.pi / geometry.wavelength, np.array([0, 0, 1])
    down, across = np.meshgrid(*(np.arange(n) - n // 2 for n in GRID[1:]), indexing="ij")
    height, width = (1e-6 * size for size in geometry.pixel_size)
    # Rows run down and columns along x at both.
    pixels = np.stack([across * width, -down * height, np.full(down.shape, geometry.distance)], axis=-1)
    pixels = pixels @ turned(detector).T
    q = (k * pixels / np.linalg.norm(pixels, axis=-1, keepdims=True) - k * beam).reshape(-1, 3)
    frames = []
    for number in np.arange(GRID[0]) - GRID[0] // 2:
        rocked = [
            (axis, angle + number * geometry.scan.step * turn)
            for (axis, angle), turn in zip(sample, rocks, strict=True)
        ]
        now = atoms @ (turned(rocked) @ turned(sample).T).T
        phases = q @ now.T
        frames.append((np.cos(phases) - 1j * np.sin(phases)).sum(1).reshape(down.shape))
    return np.array(frames)


def correlation(a, b):
    return abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("case", CASES)
def test_the_transform_is_the_sum_over_atoms_that_the_goniometer_turns(case):
    """Checks the basis, the phase's sign and the handedness: nothing in the sum is linear or of the package's."""
    text, sample, detector, motor = CASES[case]
    geometry = Geometry.parse(text)
    sign = [-1 if angle < 0 else 1 for _, angle in sample]
    rocks = [sign[motor] * (i == motor) for i in range(3)]
    radius = 0.18 * finest(geometry.basis(GRID) * np.asarray(GRID))
    inside = polyhedron(FACETS, radius * np.array([1, 1.1, 0.9, 1, 1.2, 0.8, 1]))
    k = 2 * np.pi * float(text[7]) / HC
    q = k * (turned(detector) @ [0, 0, 1] - np.array([0, 0, 1]))
    along, beside = q / np.linalg.norm(q), np.cross(q / np.linalg.norm(q), [0, 1, 0])

    def u(r):
        x, y, z = np.moveaxis(r / radius, -1, 0)
        return 0.05 * (x**2 - y * z / 2 + 0.7 * z**3)[..., None] * along + 0.04 * x[..., None] * beside

    points = (qmc.Sobol(3, seed=0).random(2**14) - 0.5) * 3.6 * radius
    points = points[inside(points)]
    # Atoms are on the lattice's planes.
    phases = points @ q
    points = points - np.outer(phases - 2 * np.pi * np.round(phases / (2 * np.pi)), q) / (q @ q)
    expected = scattered(geometry, sample, detector, rocks, points + u(points))

    measurement, truth = bragg_scan(geometry, GRID, inside, u)
    found = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(truth)))
    np.testing.assert_allclose(np.sqrt(measurement.intensities), np.abs(found), rtol=1e-3, atol=1e-3)
    assert correlation(found, expected) > 0.98
    assert np.corrcoef(np.abs(found).ravel(), np.abs(expected).ravel())[0, 1] > 0.98
    # A pattern that is mirrored, or that of the other sign of the phase, is another one.
    other = np.fft.fftshift(np.fft.fftn(np.conj(truth)))
    for wrong in (found[::-1], found[:, ::-1], found[..., ::-1], other):
        assert np.corrcoef(np.abs(wrong).ravel(), np.abs(expected).ravel())[0, 1] < 0.9


def test_the_truth_has_the_crystals_volume_and_the_displacements_phase():
    geometry = Geometry.parse(CASES["34-ID-C"][0])
    basis, q = geometry.basis((32, 32, 32)), geometry.bragg()
    axes = np.array([250.0, 200, 300])
    shift = 0.03 * q / np.linalg.norm(q)
    measurement, truth = bragg_scan(
        geometry, (32, 32, 32), ellipsoid(axes), lambda r: shift * r[..., :1] / 300, photons=1e6, name="egg"
    )
    volume = np.abs(truth).sum() / np.abs(truth).max() * abs(np.linalg.det(basis))
    assert volume == pytest.approx(4 / 3 * np.pi * axes.prod(), rel=0.01)
    whole = np.abs(truth) > 0.99 * np.abs(truth).max()
    phases = -(positions(truth.shape, basis) @ [1, 0, 0] / 300 * 0.03 * np.linalg.norm(q))
    np.testing.assert_allclose(np.angle(truth[whole]), phases[whole], atol=1e-3)
    assert (measurement.name, measurement.geometry, measurement.photons_per_unit) == ("egg", geometry, 1.0)
    assert measurement.intensities.sum() == pytest.approx(1e6, rel=0.01)
    assert "34-ID-C" in measurement.history[0]


def test_a_crystal_smaller_than_a_voxel_is_refused():
    geometry = Geometry.parse(CASES["ID01"][0])
    with pytest.raises(MeasurementError, match="No voxel is inside the crystal"):
        bragg_scan(geometry, GRID, lambda r: np.zeros(r.shape[:-1], bool), np.zeros_like)
