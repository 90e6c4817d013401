import numpy as np
import pytest

from napari_dipr.benchmarks.bragg import AT_34_ID_C, AT_ID01, bragg


@pytest.mark.parametrize("geometry", [AT_34_ID_C, AT_ID01], ids=["34-ID-C", "ID01"])
def test_a_crystals_displacement_strain_and_size_come_out_of_its_pattern(geometry):
    recovery = bragg(geometry, (32, 32, 32), None, known_support=True, starts=1)
    figures = recovery.figures
    assert figures["correlation"] > 0.9999
    assert figures["displacement_error"] < 0.12 * figures["displacement_rms"]
    assert figures["strain_error"] < 0.12 * figures["strain_rms"]
    assert abs(figures["volume_error"]) < 0.05
    assert abs(figures["radius_error"]) < 0.03
    assert np.isfinite(recovery.found.strain).sum() > 500


def test_so_they_do_with_noise_and_a_support_of_its_own_in_the_sample_frame():
    figures = bragg(grid=(36, 36, 36), frame="sample").figures
    assert figures["correlation"] > 0.97
    assert figures["displacement_error"] < 0.2 * figures["displacement_rms"]
    assert figures["strain_error"] < 0.4 * figures["strain_rms"]
    assert abs(figures["volume_error"]) < 0.1
