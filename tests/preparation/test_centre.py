import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import MeasurementError
from napari_dipr.experiment import simulate
from napari_dipr.measurement import Measurement
from napari_dipr.preparation.centre import find_centre


def scattering(grid, centre, seed=0, photons=1e6):
    """Counts of a real object's scattering with zero frequency at a pixel: symmetric about it."""
    rng = np.random.default_rng(seed)
    wide = tuple(2 * n + 8 for n in grid)
    counts = simulate(rng.random(tuple(n // 6 for n in wide)), oversampling=6)[0].intensities.astype(np.float64)
    cut = tuple(slice(m // 2 - c, m // 2 - c + n) for m, c, n in zip(counts.shape, centre, grid, strict=True))
    counts = counts[cut]
    assert counts.shape == grid
    return rng.poisson(counts * photons / counts.sum()).astype(np.float64)


def of(counts, measured=None):
    return Measurement.of(counts, zero_frequency="centre", measured=measured)


@given(st.tuples(st.integers(20, 50), st.integers(25, 40)), st.integers(0, 1000))
def test_all_ways_find_the_centre_of_scattering(centre, seed):
    measurement = of(scattering((64, 60), centre, seed))
    assert find_centre(measurement, "peak") == centre
    assert find_centre(measurement, "friedel") == centre
    assert np.abs(np.subtract(find_centre(measurement, "centroid"), centre)).max() <= 2


@given(st.tuples(st.integers(20, 44), st.integers(24, 36)))
def test_symmetry_finds_a_centre_that_was_not_measured(centre):
    counts = scattering((64, 60), centre)
    measured = np.ones(counts.shape, bool)
    measured[centre[0] - 3 : centre[0] + 5, centre[1] - 4 : centre[1] + 3] = False
    measurement = of(counts, measured)
    assert find_centre(measurement, "friedel") == centre
    assert find_centre(measurement, "peak") != centre


def test_symmetry_is_found_in_volumes_and_large_frames():
    assert find_centre(of(scattering((24, 26, 28), (11, 14, 13))), "friedel") == (11, 14, 13)
    # Larger than what is looked at closely.
    assert find_centre(of(scattering((700, 560), (400, 250), photons=1e8)), "friedel") == (400, 250)


def test_what_has_no_centre_is_refused():
    noise = of(np.random.default_rng(0).random((64, 64)))
    with pytest.raises(MeasurementError, match="not symmetric about any point"):
        find_centre(noise, "friedel")
    with pytest.raises(MeasurementError, match="peak, centroid, friedel, not by 'middle'"):
        find_centre(noise, "middle")
