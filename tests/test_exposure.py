from itertools import pairwise

import numpy as np
import pytest

from napari_dipr.experiment import Experiment
from napari_dipr.exposure import BANDS, Exposure
from napari_dipr.geometry import Geometry

EDGE = 1.0  # half a period of half a cycle a pixel


def exposure(picture, geometry=None, **settings):
    experiment = Experiment.of(**settings)
    measurement, truth = experiment.measure(picture, geometry=geometry)
    return Exposure.of(experiment, measurement, truth), measurement, truth


def gaussian(sigma=3.0, n=32):
    r2 = sum((np.indices((n, n)) - n // 2) ** 2)
    return np.exp(-r2 / (2 * sigma**2))


def test_the_reach_of_a_gaussian_is_where_its_transform_has_a_photon_a_pixel():
    photons, sigma, n = 1e6, 3.0, 64
    told, _, _ = exposure(gaussian(sigma), photons=photons)
    # |F|² = A exp(−(2πσf)²), whose sum over n² pixels is A n² / (4πσ²).
    most = photons * 4 * np.pi * sigma**2 / n**2
    reach = np.sqrt(np.log(most)) / (2 * np.pi * sigma)
    assert told.resolution == pytest.approx(1 / (2 * reach), rel=0.03)
    assert told.above_background is None
    lit, _, _ = exposure(gaussian(sigma), photons=photons, background=20)
    assert lit.resolution == pytest.approx(told.resolution)
    reach = np.sqrt(np.log(most / 20)) / (2 * np.pi * sigma)
    assert lit.above_background == pytest.approx(1 / (2 * reach), rel=0.03)


def test_pixels_are_counted():
    told, measurement, _ = exposure(gaussian(), photons=1e5, beamstop=3, gaps="24+2")
    assert told.pixels == 64 * 64
    assert told.unmeasured == (~measurement.measured).sum()
    assert told.brightest == measurement.intensities.max()
    assert told.counted == (measurement.intensities > 0).sum()
    assert f"{told.unmeasured} of 4096 pixels are not measured" in str(told)
    assert f"{told.counted} are above 0" in str(told)


def test_bands_share_the_pixels_out_by_their_frequency():
    told, _, _ = exposure(gaussian(), photons=1e5, beamstop=3)
    assert len(told.bands) == BANDS
    assert told.bands[-1].resolution == pytest.approx(EDGE)
    assert all(a.resolution > b.resolution and a.photons > b.photons for a, b in pairwise(told.bands))
    assert told.bands[0].measured < 1
    assert [band.measured for band in told.bands[1:]] == [1] * (BANDS - 1)
    assert told.bands[0].counted == 1
    assert told.bands[-1].counted == 0


def test_enough_photons_reach_the_end_and_too_few_reach_nothing():
    picture = np.random.default_rng(0).random((20, 20))
    many, _, _ = exposure(picture, photons=1e9)
    assert many.resolution == pytest.approx(EDGE)
    few, _, _ = exposure(picture, photons=3)
    assert few.resolution == np.inf
    assert "nowhere" in str(few)


def test_a_geometry_makes_nanometres_of_pixels():
    flat = Geometry.parse("energy=9, distance=0.5, pixel=55x110")
    plain, _, _ = exposure(gaussian(), photons=1e9)
    told, seen, _ = exposure(gaussian(), photons=1e9, geometry=flat)
    assert (plain.unit, told.unit) == ("px", "nm")
    # The columns' pixels are twice as wide, so that they reach twice as far out.
    assert told.bands[-1].resolution == pytest.approx(min(seen.voxel_size))
    scan = Geometry.parse(
        "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32, gamma=12, theta=0.2, rock=theta, step=0.005"
    )
    volume, seen, _ = exposure(np.random.default_rng(0).random((10, 12, 14)), photons=1e9, geometry=scan)
    assert volume.unit == "nm"
    assert 0 < volume.bands[-1].resolution < max(seen.voxel_size)


def test_without_photons_only_what_is_hidden_is_told():
    told, _, _ = exposure(gaussian(), beamstop=3)
    assert told == Exposure(4096, told.unmeasured, "px")
    assert str(told) == f"{told.unmeasured} of 4096 pixels are not measured ({told.unmeasured / 4096:.1%})"
