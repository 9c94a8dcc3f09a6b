import numpy as np
import pytest

from ptycho_lib.physics import objects

RANDOM = [
    objects.lines,
    objects.gaussian_random_field,
    objects.blobs,
    objects.manhattan,
    objects.natural_image,
]


@pytest.mark.parametrize("make", RANDOM)
def test_patterns_fill_the_range_and_follow_their_seed(make):
    first, again, other = (make((90, 70), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (90, 70)
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.ptp(first) > 0.5
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_star_has_its_spokes():
    star = objects.siemens_star((200, 200), spokes=12, rings=0)
    angle = (np.arange(720) + 0.5) * np.pi / 360
    circle = star[(100 + 60 * np.sin(angle)).astype(int), (100 + 60 * np.cos(angle)).astype(int)] > 0.5
    assert np.count_nonzero(circle != np.roll(circle, 1)) == 24
    assert star[0, 0] == 0


def test_lines_are_as_wide_as_asked():
    thin, wide = (objects.lines((120, 120), np.random.default_rng(0), count=30, width_px=w) for w in (1.0, 4.0))
    assert (wide > 0.1).mean() > 2 * (thin > 0.1).mean()


def test_the_spectrum_of_a_random_field_falls_as_asked():
    field = objects.gaussian_random_field((256, 256), np.random.default_rng(0), exponent=2.0)
    spectrum = np.abs(np.fft.fft2(field)) ** 2
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    low, high = (spectrum[(k > f) & (k < 1.1 * f)].mean() for f in (0.04, 0.16))
    assert np.log(low / high) / np.log(4) == pytest.approx(4, rel=0.1)


def test_every_image_named_is_shipped():
    for name in objects.NATURAL_IMAGES:
        assert objects.natural_image((24, 24), np.random.default_rng(0), name=name).shape == (24, 24)
    with pytest.raises(ValueError, match="'lena' is unknown; choose one of astronaut"):
        objects.natural_image((24, 24), np.random.default_rng(0), name="lena")


def test_transmission_maps_the_contrast():
    pattern = np.array([[0.0, 1.0]])
    coupled = objects.transmission(pattern, amplitude=(0.6, 0.9), phase_rad=(0.1, 1.5))
    np.testing.assert_allclose(np.abs(coupled), [[0.9, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(np.angle(coupled), [[0.1, 1.5]], rtol=1e-6)
    apart = objects.transmission(pattern, 1 - pattern, phase_rad=(0.0, 1.0))
    np.testing.assert_allclose(np.angle(apart), [[1.0, 0.0]], atol=1e-6)


def test_a_constant_pattern_is_stretched_to_nothing():
    np.testing.assert_array_equal(objects.stretch(np.full((3, 3), 7.0)), np.zeros((3, 3)))
