import numpy as np
import pytest

from ptycho_lib.physics import probes
from ptycho_lib.physics.diffraction import far_field
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
