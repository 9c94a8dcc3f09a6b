import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.physics.diffraction import (
    add_patches,
    amplitude,
    back_propagate,
    diffract,
    exit_wave,
    extract_patches,
    far_field,
    poisson_counts,
    shifted,
)


def complex_noise(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def test_a_whole_position_is_a_plain_cut():
    obj = np.arange(20 * 30).reshape(20, 30).astype(complex)
    patch = extract_patches(obj, np.array([[9, 17]]), 8)[0]
    np.testing.assert_array_equal(patch, obj[5:13, 13:21])


def test_the_first_coordinate_is_the_row():
    rows, columns = np.indices((40, 50)).astype(float)
    patch = extract_patches(rows + 1j * columns, np.array([[10.25, 30.5]]), 4)[0]
    np.testing.assert_allclose(patch.real, 10.25 - 2 + np.arange(4)[:, None] + np.zeros(4))
    np.testing.assert_allclose(patch.imag, 30.5 - 2 + np.arange(4)[None, :] + np.zeros((4, 1)))


def test_the_far_edge_can_be_reached_and_not_passed():
    obj = np.ones((16, 20), complex)
    assert extract_patches(obj, np.array([[4, 4], [12, 16]]), 8).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"1 of 2 positions .* 16×20 .* 1: \(12.01, 16\)"):
        extract_patches(obj, np.array([[4, 4], [12.01, 16]]), 8)


def test_nan_positions_are_outside():
    with pytest.raises(ValueError, match="nan"):
        extract_patches(np.ones((16, 16), complex), np.array([[8.0, np.nan]]), 8)


def test_single_precision_stays_single():
    patches = extract_patches(np.ones((16, 16), np.complex64), np.array([[8.3, 8.7]]), 8)
    assert patches.dtype == np.complex64
    np.testing.assert_allclose(patches, 1, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), size=st.sampled_from([2, 4, 10]))
def test_adding_is_the_adjoint_of_extracting(seed, n, size):
    rng = np.random.default_rng(seed)
    shape = (17, 23)
    positions = rng.uniform(size / 2, np.array(shape) - size / 2, (n, 2))
    obj, patches = complex_noise(rng, *shape), complex_noise(rng, n, size, size)
    forward = np.vdot(patches, extract_patches(obj, positions, size))
    backward = np.vdot(add_patches(patches, positions, shape), obj)
    np.testing.assert_allclose(forward, backward, rtol=1e-10)


def test_adding_counts_overlaps_and_keeps_the_sum():
    positions = np.array([[5, 6], [5, 6], [8.5, 9.25]])
    total = add_patches(np.ones((3, 4, 4)), positions, (16, 16))
    assert total.dtype == np.float64
    assert total[5, 6] == 2
    assert total.sum() == pytest.approx(3 * 16)


def test_more_patches_than_a_chunk_make_no_difference():
    rng = np.random.default_rng(0)
    obj = complex_noise(rng, 30, 30)
    positions = rng.uniform(4, 26, (600, 2))
    patches = extract_patches(obj, positions, 8)
    np.testing.assert_array_equal(patches[599:], extract_patches(obj, positions[599:], 8))
    single = sum(add_patches(patches[k : k + 1], positions[k : k + 1], (30, 30)) for k in range(600))
    np.testing.assert_allclose(add_patches(patches, positions, (30, 30)), single, rtol=1e-10)


def test_parseval():
    wave = complex_noise(np.random.default_rng(1), 3, 16, 16)
    np.testing.assert_allclose(np.sum(abs(far_field(wave)) ** 2), np.sum(abs(wave) ** 2))
    np.testing.assert_allclose(back_propagate(far_field(wave)), wave, atol=1e-12)


def test_a_plane_wave_goes_to_one_pixel():
    rows, columns = np.indices((16, 16))
    field = far_field(np.exp(2j * np.pi * (3 * rows - 5 * columns) / 16))
    assert np.unravel_index(np.abs(field).argmax(), field.shape) == (8 + 3, 8 - 5)
    np.testing.assert_allclose(np.abs(field).max(), 16)


def test_the_far_field_is_the_sum_that_defines_it():
    wave = complex_noise(np.random.default_rng(2), 6, 6)
    k = np.arange(6) - 3
    kernel = np.exp(-2j * np.pi * np.outer(k, np.arange(6)) / 6) / np.sqrt(6)
    np.testing.assert_allclose(far_field(wave), kernel @ wave @ kernel.T, atol=1e-12)


def test_a_shifted_object_turns_the_phase_of_the_far_field_only():
    rng = np.random.default_rng(3)
    obj, probe = np.zeros((40, 40), complex), np.ones((16, 16))
    obj[16:20, 15:22] = complex_noise(rng, 4, 7)
    still, moved = extract_patches(obj, np.array([[18, 18], [16, 21]]), 16)
    np.testing.assert_allclose(amplitude(still[None], probe), amplitude(moved[None], probe), atol=1e-5)
    k = np.arange(16) - 8
    ramp = np.exp(-2j * np.pi * (2 * k[:, None] - 3 * k) / 16)  # the content moved by (+2, -3) in the patch
    np.testing.assert_allclose(far_field(moved), far_field(still) * ramp, atol=1e-10)


def test_incoherent_modes_add_their_intensities():
    rng = np.random.default_rng(4)
    patches, modes = complex_noise(rng, 5, 8, 8), complex_noise(rng, 3, 8, 8)
    apart = sum(amplitude(patches, mode).astype(float) ** 2 for mode in modes)
    np.testing.assert_allclose(amplitude(patches, modes).astype(float) ** 2, apart, rtol=1e-5)
    np.testing.assert_allclose(exit_wave(patches, modes[0])[2], patches[2] * modes[0])


def from_scratch(patches, modes):
    """The mixed-state amplitude by the sums that define it, in double precision."""
    size = patches.shape[-1]
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(size) - size // 2, np.arange(size)) / size) / np.sqrt(size)
    intensity = np.zeros(patches.shape)
    for k, patch in enumerate(patches):
        for mode in modes:
            intensity[k] += np.abs(kernel @ (patch * mode) @ kernel.T) ** 2
    return np.sqrt(intensity)


@pytest.mark.parametrize("powers", [(0.7, 0.3), (0.5, 0.5), (1.0, 0.0)])
def test_two_modes_from_scratch(powers):
    rng = np.random.default_rng(8)
    patches, modes = complex_noise(rng, 4, 12, 12), complex_noise(rng, 2, 12, 12)
    modes *= np.sqrt(np.array(powers) / np.sum(np.abs(modes) ** 2, axis=(1, 2)))[:, None, None]
    np.testing.assert_allclose(amplitude(patches, modes), from_scratch(patches, modes), rtol=1e-6)


def test_one_mode_keeps_its_digits():
    rng = np.random.default_rng(9)
    patches, probe = complex_noise(rng, 4, 12, 12).astype(np.complex64), complex_noise(rng, 12, 12).astype(np.complex64)
    plain = np.abs(far_field(patches * probe))
    np.testing.assert_array_equal(amplitude(patches, probe), plain)
    np.testing.assert_array_equal(amplitude(patches, probe[None]), plain)


def test_each_patch_meets_each_mode():
    rng = np.random.default_rng(10)
    patches, modes = complex_noise(rng, 4, 8, 8), complex_noise(rng, 2, 8, 8)
    waves = exit_wave(patches, modes)
    assert waves.shape == (4, 2, 8, 8)
    np.testing.assert_array_equal(waves[3, 1], patches[3] * modes[1])


def band_limited(rng, size, keep):
    """A smooth wave, and the function that evaluates its Fourier series anywhere."""
    k = np.arange(-keep, keep + 1)
    series = complex_noise(rng, len(k), len(k))

    def at(rows, columns):
        down, right = (np.exp(2j * np.pi * np.outer(axis, k) / size) for axis in (rows, columns))
        return down @ series @ right.T

    return at(np.arange(size), np.arange(size)), at


def test_a_band_limited_probe_is_shifted_exactly():
    probe, at = band_limited(np.random.default_rng(11), 16, 5)
    moved = shifted(probe, np.array([[0.3, -0.45], [0, 0], [2, 5]]))
    assert moved.shape == (3, 1, 16, 16)
    np.testing.assert_allclose(moved[0, 0], at(np.arange(16) - 0.3, np.arange(16) + 0.45), atol=1e-12)
    np.testing.assert_allclose(moved[1, 0], probe, atol=1e-12)
    np.testing.assert_allclose(moved[2, 0], np.roll(probe, (2, 5), (0, 1)), atol=1e-12)


def test_the_probe_moves_and_the_object_stays():
    """The pattern at a fraction of a pixel, from the sums that define it, with two modes."""
    rng = np.random.default_rng(12)
    (first, one), (second, two) = band_limited(rng, 12, 3), band_limited(rng, 12, 4)
    obj = complex_noise(rng, 30, 34)
    positions = np.array([[11.3, 17.0], [18.7, 9.45], [12, 20]])
    corners = np.array([[5, 11], [13, 3], [6, 14]])  # the nearest whole pixels
    for k, (corner, offset) in enumerate(zip(corners, positions - 6 - corners, strict=True)):
        window = obj[corner[0] : corner[0] + 12, corner[1] : corner[1] + 12]
        grid = (np.arange(12) - offset[0], np.arange(12) - offset[1])
        expected = from_scratch(window[None], [one(*grid), two(*grid)])[0]
        found = diffract(obj, np.stack([first, second]), positions)[k]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_at_whole_positions_both_ways_agree():
    rng = np.random.default_rng(13)
    obj, modes = complex_noise(rng, 30, 30), complex_noise(rng, 2, 8, 8)
    positions = rng.integers(4, 26, (300, 2))
    expected = amplitude(extract_patches(obj, positions, 8), modes)
    np.testing.assert_allclose(diffract(obj, modes, positions), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="outside the 30×30 object"):
        diffract(obj, modes, np.array([[4.0, 26.01]]))
    assert diffract(obj, modes, np.array([[4.0, 25.9]])).shape == (1, 8, 8)


def test_counts_have_poisson_statistics_and_the_right_mean():
    rng = np.random.default_rng(5)
    ideal = np.sqrt(rng.uniform(0.5, 2, (1, 8, 8))) * np.ones((4000, 1, 1))
    counts = poisson_counts(ideal, 640.0, rng)
    assert counts.dtype.kind == "i"
    assert counts.sum(axis=(1, 2)).mean() == pytest.approx(640, rel=0.005)
    np.testing.assert_allclose(counts.var(axis=0), counts.mean(axis=0), rtol=0.15)


def test_a_part_of_a_scan_can_be_drawn_on_the_scale_of_the_whole():
    ideal = np.ones((2, 8, 8)) * np.array([1.0, 3.0])[:, None, None]
    dark = poisson_counts(ideal[:1], 6400.0, np.random.default_rng(0), mean_intensity=64 * 5)
    assert dark.sum() == pytest.approx(6400 / 5, rel=0.1)
