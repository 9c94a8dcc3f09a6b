import numpy as np
import pytest

from ptycho_lib.physics import probes
from ptycho_lib.physics.diffraction import amplitude, far_field
from ptycho_lib.physics.scan import probe_diameter


def centroid(image):
    weight = np.abs(image) ** 2
    return [float((weight * axis).sum() / weight.sum()) for axis in np.indices(image.shape)]


@pytest.mark.parametrize("size", [32, 64])
def test_a_disc_is_centred_and_has_unit_power(size):
    probe = probes.disc(size, size * 0.4, smoothing_px=1.5)
    assert probe.dtype == np.complex64
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(centroid(probe), size / 2, atol=1e-3)
    assert probe_diameter(probe) == pytest.approx(size * 0.4, rel=0.15)


def test_defocus_keeps_the_intensity_and_widens_the_pattern():
    probe = probes.disc(64, 30, smoothing_px=2)
    curved = probes.defocus(probe, 20.0)
    np.testing.assert_allclose(np.abs(curved), np.abs(probe), atol=1e-6)
    assert probe_diameter(far_field(curved)) > 2 * probe_diameter(far_field(probe))
    assert np.angle(curved[32, 32 + 10] / probe[32, 42]) == pytest.approx(20 * (10 / 32) ** 2, abs=1e-3)


def test_a_zone_plate_has_an_annular_far_field():
    probe = probes.zone_plate(64, aperture_px=30, stop_fraction=0.5, defocus_rad=3.0)
    field = np.abs(far_field(probe))
    y, x = np.indices((64, 64)) - 32
    radius = np.hypot(y, x)
    assert field[radius > 16].max() < 1e-5
    assert field[radius < 7].max() < 1e-5
    np.testing.assert_allclose(field[(radius > 8) & (radius < 14)], field[32, 32 + 10], rtol=1e-3)
    np.testing.assert_allclose(centroid(probe), 32, atol=0.1)
    with pytest.raises(ValueError, match="stop_fraction 1"):
        probes.zone_plate(64, aperture_px=30, stop_fraction=1.0)


def test_modes_are_orthogonal_with_the_powers_asked_for():
    probe = probes.disc(32, 14, smoothing_px=2) * np.exp(1j * 0.3)
    modes = probes.incoherent_modes(probe, [6, 3, 1])
    flat = modes.reshape(3, -1)
    np.testing.assert_allclose(flat.conj() @ flat.T, np.diag([0.6, 0.3, 0.1]), atol=1e-6)
    np.testing.assert_allclose(modes[0] / np.sqrt(0.6), probe, atol=1e-6)
    with pytest.raises(ValueError, match="1 to 6"):
        probes.incoherent_modes(probe, [])


@pytest.mark.parametrize("size", [16, 32, 48])
def test_resizing_keeps_the_centre_pixel(size):
    probe = np.zeros((32, 32), complex)
    probe[16, 16] = 1
    resized = probes.resize(np.stack([probe, probe]), size)
    assert resized.shape == (2, size, size)
    assert resized[1, size // 2, size // 2] == 1


def test_nothing_cannot_be_normalised():
    with pytest.raises(ValueError, match="no intensity"):
        probes.normalise(np.zeros((4, 4)))


def mixture(powers=(6, 3, 1)):
    probe = probes.disc(32, 14, smoothing_px=2) * np.exp(1j * np.linspace(0, 2, 32))
    return probes.incoherent_modes(probe, powers)


def test_shares_are_those_of_the_light():
    np.testing.assert_allclose(probes.mode_shares(7 * mixture()), [0.6, 0.3, 0.1], rtol=1e-5)
    np.testing.assert_array_equal(probes.mode_shares(mixture()[0]), [1])
    np.testing.assert_array_equal(probes.mode_shares(np.zeros((2, 4, 4))), [0, 0])


@pytest.mark.parametrize(
    ("share", "most", "kept"), [(0.99, None, 3), (0.9, None, 2), (0.6, None, 1), (1.0, 2, 2), (0.01, 5, 1)]
)
def test_the_fewest_modes_that_hold_a_share(share, most, kept):
    modes = mixture()
    chosen = probes.significant_modes(modes[::-1], share=share, most=most)
    np.testing.assert_array_equal(chosen, modes[:kept])


def test_a_mode_without_light_is_left_out_and_a_single_one_stays():
    modes = np.concatenate([np.zeros((1, 32, 32), np.complex64), mixture((2, 1))])
    np.testing.assert_array_equal(probes.significant_modes(modes, share=1.0), modes[1:])
    np.testing.assert_array_equal(probes.significant_modes(modes[1]), modes[1:2])
    with pytest.raises(ValueError, match="share 0"):
        probes.significant_modes(modes, share=0)
    with pytest.raises(ValueError, match="most 0"):
        probes.significant_modes(modes, most=0)


def test_orthogonal_modes_give_the_same_patterns():
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((3, 32, 32)) + 1j * rng.standard_normal((3, 32, 32)) + 2 * mixture()[0]
    modes = probes.orthogonal_modes(mixed)
    gram = modes.reshape(3, -1).conj() @ modes.reshape(3, -1).T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9 * abs(gram).max())
    assert np.all(np.diff(np.diag(gram).real) < 0)
    patches = rng.standard_normal((4, 32, 32)) + 1j * rng.standard_normal((4, 32, 32))
    np.testing.assert_allclose(amplitude(patches, modes), amplitude(patches, mixed), rtol=1e-5)
    np.testing.assert_array_equal(probes.orthogonal_modes(mixed[0]), mixed[:1])


def test_modes_add_up_in_area_and_light():
    modes = mixture()
    light = np.sum(np.abs(modes) ** 2, axis=0)
    np.testing.assert_allclose(probes.total_intensity(modes), light, rtol=1e-5)
    assert probe_diameter(modes) == pytest.approx(probe_diameter(np.sqrt(light)), rel=1e-5)
