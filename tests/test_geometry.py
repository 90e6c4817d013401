import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_dipr.errors import MeasurementError
from napari_dipr.geometry import BEAMLINES, HC, Geometry, RockingScan

SCAN54 = (
    "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6346, theta=0.2200042, chi=90, "
    "phi=-5, rock=theta, step=0.005"
)
AT_ID01 = "energy=8, distance=1, pixel=55, beamline=ID01, nu=5, delta=35, eta=18, phi=12, rock=eta, step=0.01"
ANGLES = st.floats(-80, 80)


@st.composite
def scanned(draw):
    name = draw(st.sampled_from(list(BEAMLINES)))
    line = BEAMLINES[name]
    angles = {circle: draw(ANGLES) for circle in (*line.detector, *line.sample)}
    motor, step = draw(st.sampled_from(list(line.sample))), draw(st.floats(0.001, 0.1)) * draw(st.sampled_from((-1, 1)))
    try:
        scan = RockingScan(
            beamline=name,
            motor=motor,
            step=step,
            detector={circle: angles[circle] for circle in line.detector},
            sample={circle: angles[circle] for circle in line.sample},
        )
    except ValidationError:  # rocking that leads along the detector's plane
        assume(False)
    pixel = (draw(st.floats(20, 200)), draw(st.floats(20, 200)))
    return Geometry(
        wavelength=draw(st.floats(0.05, 0.3)), distance=draw(st.floats(0.1, 5)), pixel_size=pixel, scan=scan
    )


@given(scanned(), st.tuples(*[st.integers(16, 300)] * 3))
def test_basis_and_steps_are_those_of_the_discrete_transform(geometry, grid):
    products = geometry.basis(grid).T @ geometry.steps()
    np.testing.assert_allclose(products, np.diag(2 * np.pi / np.array(grid)), atol=1e-9)
    np.testing.assert_allclose(geometry.voxel_size(grid), np.linalg.norm(geometry.basis(grid), axis=0))


@given(scanned())
def test_q_is_as_long_as_braggs_law_says_and_the_frames_differ_by_a_rotation(geometry):
    angles = geometry.scan.detector
    two_theta = np.arccos(np.prod([np.cos(np.deg2rad(angle)) for angle in angles.values()]))
    assume(two_theta > 1e-3)  # below, the cosines tell no angle
    assert np.linalg.norm(geometry.bragg()) == pytest.approx(4 * np.pi / geometry.wavelength * np.sin(two_theta / 2))
    turn = geometry.to_sample()
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


@given(scanned())
def test_json_gives_the_same_geometry_back(geometry):
    assert Geometry.model_validate(geometry.model_dump(mode="json")) == geometry
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry


@given(scanned(), st.tuples(*[st.integers(1, 4)] * 3))
def test_binning_keeps_the_box_that_the_voxels_sample(geometry, factors):
    # Of fewer and larger pixels the voxels are the same.
    fine, coarse = geometry.basis([48 * f for f in factors]), geometry.binned(factors).basis((48, 48, 48))
    np.testing.assert_allclose(coarse, fine, rtol=1e-9, atol=1e-9 * np.abs(fine).max())
    flat = geometry.binned(factors[1:])
    assert flat.scan == geometry.scan
    assert flat.pixel_size == geometry.binned(factors).pixel_size


def test_the_steps_are_the_differences_between_pixels_and_frames():
    """Of 34-ID-C, with its circles written out by hand."""
    geometry = Geometry.parse(SCAN54.replace("pixel=55", "pixel=55x75"))
    k = 2 * np.pi * 9 / HC
    delta, gamma = np.deg2rad([32.174, 12.6346])

    def seen(down, across):
        # At angles of 0 the pixel is at (across, −down, distance); gamma lifts it, then delta takes it to +x.
        x, y, z = across, -down, 0.5
        y, z = y * np.cos(gamma) + z * np.sin(gamma), z * np.cos(gamma) - y * np.sin(gamma)
        x, z = x * np.cos(delta) + z * np.sin(delta), z * np.cos(delta) - x * np.sin(delta)
        return k * (np.array([x, y, z]) / np.linalg.norm([x, y, z]) - [0, 0, 1])

    q, turn = seen(0, 0), np.deg2rad(0.005)
    # Theta takes z towards x; the crystal sees q turn back.
    back = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    frame = back @ q - q
    expected = np.stack([frame, seen(55e-6, 0) - q, seen(0, 75e-6) - q], axis=1)
    np.testing.assert_allclose(geometry.bragg(), q, rtol=1e-12)
    np.testing.assert_allclose(geometry.steps(), expected, atol=1e-4 * np.abs(expected).max())


def test_the_sample_frame_goes_with_the_innermost_circle():
    geometry = Geometry.parse("energy=9, distance=1, pixel=9, beamline=34-ID-C, delta=30, chi=90, rock=theta, step=.01")
    # Chi (z−) at 90° takes the sample's y to the laboratory's x.
    np.testing.assert_allclose(geometry.to_sample() @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    at_id01 = Geometry.parse("energy=9, distance=1, pixel=55, beamline=ID01, delta=30, eta=90, rock=eta, step=.01")
    # Eta (x−) at 90° takes the sample's z to the laboratory's y: its surface, which was level, faces the beam.
    np.testing.assert_allclose(at_id01.to_sample() @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_the_measured_crystals_plane_distance_is_golds_within_a_percent():
    geometry = Geometry.parse(SCAN54)
    assert 2 * np.pi / np.linalg.norm(geometry.bragg()) == pytest.approx(0.2355, rel=0.01)
    assert geometry.voxel_size((128, 128, 128)) == pytest.approx((23.7355, 10.0269, 10.0827), abs=1e-3)


def test_the_voxel_is_wavelength_times_distance_over_the_detectors_width():
    geometry = Geometry(wavelength=0.1, distance=5.0, pixel_size=(50.0, 100.0))
    # 0.1 nm · 5 m / (200 · 50 µm) = 50 nm
    assert geometry.voxel_size((200, 200)) == pytest.approx((50.0, 25.0))
    assert geometry.voxel_size((200, 200, 200)) is None
    for what in (geometry.bragg, geometry.steps, geometry.to_sample, lambda: geometry.basis((20, 20, 20))):
        with pytest.raises(MeasurementError, match="give the geometry a beamline and angles"):
            what()
    with pytest.raises(MeasurementError, match=r"3 dimensions, \(20, 20\) has 2"):
        Geometry.parse(SCAN54).basis((20, 20))


def test_a_written_geometry_is_read_and_told_in_words():
    geometry = Geometry.parse(" Energy = 9 ,distance=0.5,pixel=55x75")
    assert (geometry.wavelength, geometry.pixel_size, geometry.scan) == (pytest.approx(HC / 9), (55, 75), None)
    assert Geometry.parse(f"wavelength={HC / 9!r}, distance=0.5, pixel=55×75") == geometry
    assert str(geometry) == (
        "wavelength 0.13776 nm, detector at 0.5 m, its pixels 55 × 75 µm; that no optics are between is assumed"
    )
    told = str(Geometry.parse(AT_ID01))
    assert "ID01 at nu 5°, delta 35°, mu 0°, eta 18°, phi 12° (mu not given: taken as 0), eta rocked by +0.01°" in told
    assert told.endswith("that the angles are those of the pattern's middle pixel and frame is assumed")
    assert Geometry.parse(AT_ID01.replace("ID01", "id01").replace("rock=eta", "rock=Eta")) == Geometry.parse(AT_ID01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has '' where NAME=VALUE"),
        ("energy", "has 'energy' where NAME=VALUE"),
        ("energy=9, energy=8", "says energy twice"),
        ("energy=9, wavelength=.1, distance=1, pixel=55", "Give one of them"),
        ("distance=1, pixel=55", "Give one of them"),
        ("energy=9", "lacks distance and pixel"),
        ("energy=0, distance=1, pixel=55", r"wavelength: .* greater than 0 \(got 0.0\)"),
        ("energy=nan, distance=1, pixel=55", "wavelength"),
        ("energy=nine, distance=1, pixel=55", "energy=nine is no number"),
        ("energy=9, distance=1, pixel=55x55x55", "pixel_size"),
        ("energy=9, distance=1, pixel=x", "pixel= is no number"),
        ("energy=9, distance=1, pixel=55, delta=3", "'delta=3' was not understood. Known are .*34-ID-C, ID01"),
        ("energy=9, distance=1, pixel=55, beamline=P06", "beamline 'P06' is not known; these are: 34-ID-C, ID01"),
        ("energy=9, distance=1, pixel=55, beamline=ID01, step=1", "lacks rock"),
        (AT_ID01 + ", theta=3", "'theta=3' was not understood. Known are .*nu, delta, mu, eta, phi"),
        (AT_ID01.replace("rock=eta", "rock=nu"), "'nu' is no circle of the sample at ID01, which has mu, eta, phi"),
        (AT_ID01.replace("step=0.01", "step=0"), "rocking eta by 0° does not lead out of the detector's plane"),
        (AT_ID01.replace("nu=5, delta=35", "nu=0, delta=0"), "does not lead out of the detector's plane"),
        (AT_ID01.replace("rock=eta", "rock=mu").replace("nu=5", "nu=0"), "rocking mu by"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(MeasurementError, match=message):
        Geometry.parse(text)


def test_nothing_else_is_taken():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Geometry.model_validate({"wavelength": 0.1, "distance": 1, "pixel_size": [55, 55], "energy": 9})
    with pytest.raises(ValidationError, match="no circle of the detector"):
        RockingScan(beamline="ID01", motor="eta", step=0.1, detector={"gamma": 3})
    for factors in ((2,), (1, 1, 1, 1), (0, 1)):
        with pytest.raises(MeasurementError, match="give 2 or 3 factors"):
            Geometry.parse(AT_ID01).binned(factors)


@pytest.mark.parametrize(
    "text",
    [
        "wavelength=0.15, distance=2, pixel=55x75",
        "energy=9, distance=0.5, pixel=55, beamline=34-ID-C, delta=32.174, gamma=12.6, rock=theta, step=-0.005",
    ],
)
def test_what_is_written_is_read_as_the_same_geometry(text):
    geometry = Geometry.parse(text)
    assert Geometry.parse(geometry.written()) == geometry
