from dataclasses import replace

import numpy as np
import pytest

from ptycho_lib.data.bad_pixels import find_bad_pixels
from ptycho_lib.data.dataset import check_dataset
from ptycho_lib.data.prepare.detector import (
    bin_pixels,
    crop,
    cut_centre,
    drop_bad_patterns,
    repair_pixels,
    resample,
)
from ptycho_lib.data.reprojection import reprojection
from ptycho_lib.data.simulation.scan import simulate_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.physics import objects, probes, scan
from ptycho_lib.physics.diffraction import back_propagate, far_field
from tests.conftest import simulate_small


@pytest.fixture(scope="module")
def smooth():
    """A noise-free scan of a smooth object: what is resampled is resolved."""
    rng = np.random.default_rng(0)
    positions, shape = scan.frame(scan.fermat_spiral(40, 4.0), 48)
    field = objects.gaussian_random_field(shape, rng, exponent=3.0)
    probe = probes.defocus(probes.disc(48, 16, smoothing_px=2.5), 4.0)
    return simulate_dataset(objects.transmission(field), probe, positions)


def faulty(dataset, place, value):
    changed = np.array(dataset.diffraction)
    changed[place] = value
    return replace(dataset, diffraction=changed)


def test_the_real_detector_is_clean_and_a_simulated_one(small_dataset, star_raw):
    counts = np.load(star_raw)["diff3d"]
    star = replace(small_dataset, diffraction=np.sqrt(counts.astype(np.float32)))
    for dataset in (star, small_dataset):
        dead, hot = find_bad_pixels(replace(dataset, positions_px=np.zeros((len(dataset.diffraction), 2))))
        assert not dead.any()
        assert not hot.any()


def test_dead_and_hot_pixels_are_found_and_repaired(small_dataset):
    truth = np.asarray(small_dataset.diffraction)
    broken = faulty(small_dataset, (slice(None), 18, 15), 0)
    broken = faulty(broken, (slice(None), 5, 28), 300)
    dead, hot = find_bad_pixels(broken)
    np.testing.assert_array_equal(np.argwhere(dead), [[18, 15]])
    np.testing.assert_array_equal(np.argwhere(hot), [[5, 28]])
    repaired = np.asarray(repair_pixels(broken, "repair").diffraction)
    good = ~(dead | hot)
    np.testing.assert_array_equal(repaired[:, good], truth[:, good])
    assert repaired[:, 5, 28].max() < 10
    ratio = np.mean(repaired[:, 18, 15] ** 2) / np.mean(truth[:, [17, 19, 18, 18], [15, 15, 14, 16]] ** 2)
    assert 0.5 < ratio < 2


def test_repair_takes_the_mean_intensity_of_good_neighbours(small_dataset):
    block = np.zeros((60, 32, 32), np.float32)
    block[:] = np.sqrt(np.arange(32, dtype=np.float32))  # intensity rises along the columns
    dataset = replace(small_dataset, diffraction=block)
    named = np.zeros((32, 32), bool)
    named[10, 10] = named[10, 11] = True
    repaired = np.asarray(repair_pixels(replace(dataset, mask=~named), "repair").diffraction)
    expected = (9 * 3 + 10 * 2 + 11 * 2) / 7
    assert repaired[3, 10, 10] ** 2 == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -3.0])
@pytest.mark.parametrize("how", ["repair", "zero"])
def test_single_bad_values_are_repaired_where_they_are(small_dataset, value, how):
    broken = faulty(small_dataset, (7, 16, 20), value)
    fixed = repair_pixels(broken, how)
    patterns = np.asarray(fixed.diffraction)
    assert check_dataset(fixed) == []
    assert (patterns[7, 16, 20] == 0) == (how == "zero")
    np.testing.assert_array_equal(patterns[8], small_dataset.diffraction[8])
    assert "NaN, infinite and negative values" in fixed.history[-1]


def test_bad_patterns_are_left_out(small_dataset):
    broken = faulty(faulty(small_dataset, 11, 0), (30, 0, 0), np.nan)
    kept = drop_bad_patterns(broken)
    assert len(kept) == 58
    np.testing.assert_array_equal(kept.positions_px, np.delete(small_dataset.positions_px, [11, 30], axis=0))
    assert kept.history[-1].startswith("bad patterns: 2 of 60 left out (NaN or infinite values: 1, zeros only: 1)")
    assert len(drop_bad_patterns(small_dataset)) == 60
    twice = small_dataset.select(np.array([0, 1, 2, 1, 5, 0]))
    kept = drop_bad_patterns(twice)
    np.testing.assert_array_equal(kept.positions_px, small_dataset.positions_px[[0, 1, 2, 5]])
    assert kept.history[-1] == "bad patterns: 2 of 6 left out (copies: 2)"
    with pytest.raises(InputError, match="no good pattern"):
        drop_bad_patterns(faulty(small_dataset, slice(None), 0))


@pytest.mark.parametrize("size", [40, 36, 60, 96])
def test_a_cropped_or_padded_detector_is_explained_by_the_resampled_object(smooth, size):
    assert reprojection(smooth).value < 1e-5
    cut = crop(smooth, size)
    assert cut.diffraction.shape == (40, size, size)
    assert cut.probe.shape == (size, size)
    np.testing.assert_allclose(cut.positions_px, smooth.positions_px * size / 48)
    after = reprojection(cut)
    assert after.value < 0.06
    assert after.scale == pytest.approx(1, abs=0.02)
    assert check_dataset(cut) == []


def test_cropping_scales_the_pixel_and_the_coverage(smooth):
    coverage = np.zeros(smooth.obj.shape, bool)
    coverage[20:60, 30:50] = True
    cut = crop(replace(smooth, pixel_size_m=1e-8, coverage=coverage), 24)
    assert cut.pixel_size_m == pytest.approx(2e-8)
    rows, columns = np.nonzero(cut.coverage)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (10, 30, 15, 25)
    assert "object pixels 2 times as large" in cut.history[-1]


def test_odd_detectors_are_cut_about_dc(small_dataset):
    wide = np.zeros((60, 41, 35), np.float32)
    wide[:, 20 - 16 : 20 + 16, 17 - 16 : 17 + 16] = small_dataset.diffraction
    cut = crop(replace(small_dataset, diffraction=wide), 32)
    np.testing.assert_array_equal(np.asarray(cut.diffraction), small_dataset.diffraction)
    assert "has this size already" in cut.history[-1]
    with pytest.raises(InputError, match=r"a probe of \(32, 32\) for patterns of 41×35"):
        crop(replace(small_dataset, diffraction=wide), 30)


def test_cutting_and_padding_about_the_centre():
    image = np.zeros((1, 8, 9))
    image[0, 4, 4] = 1
    for size in (4, 6, 12):
        assert cut_centre(image, size)[0, size // 2, size // 2] == 1


def test_resampling_keeps_what_is_resolved():
    y, x = np.indices((60, 48))
    image = np.exp(2j * np.pi * (y / 20 + x / 16))
    fine = resample(image, 12, 24)
    assert fine.shape == (120, 96)
    np.testing.assert_allclose(fine[::2, ::2][10:-10, 10:-10], image[10:-10, 10:-10], atol=0.02)
    np.testing.assert_allclose(resample(fine, 24, 12)[10:-10, 10:-10], image[10:-10, 10:-10], atol=0.02)


def test_binning_sums_the_intensity(small_dataset):
    binned = bin_pixels(small_dataset, 2)
    intensity = np.asarray(binned.diffraction).astype(float) ** 2
    assert intensity.shape == (60, 16, 16)
    expected = small_dataset.diffraction[5, 16:18, 14:16].astype(float) ** 2
    assert intensity[5, 8, 7] == pytest.approx(expected.sum(), rel=1e-5)
    assert intensity.sum() == pytest.approx((small_dataset.diffraction.astype(float) ** 2).sum(), rel=1e-5)
    np.testing.assert_array_equal(binned.positions_px, small_dataset.positions_px)


def test_a_binned_detector_is_explained_by_a_narrower_window(smooth):
    """A probe that fills little of its array: binned patterns are samples of the same field."""
    wide = crop(smooth, 48)
    padded = probes.resize(wide.probe, 96)
    positions, shape = scan.frame(wide.positions_px, 96)
    dataset = simulate_dataset(np.pad(wide.obj, 24)[: shape[0] + 60, : shape[1] + 60], padded, positions)
    assert reprojection(bin_pixels(dataset, 2)).value < 0.1


def test_the_phase_ramp_of_binning_points_the_right_way():
    """A small probe beside the centre: the mean of two neighbouring samples lies half a pixel beside them."""
    probe = np.zeros((32, 32), complex)
    probe[13:17, 14:18] = 1
    field = far_field(probe)
    half = far_field(back_propagate(field) * np.exp(-1j * np.pi / 32 * (np.indices((32, 32)).sum(axis=0) - 32)))
    intensity = np.abs(field) ** 2
    binned = np.sqrt(intensity.reshape(16, 2, 16, 2).mean(axis=(1, 3)))
    mirrored = np.abs(far_field(probe * np.exp(1j * np.pi / 32 * (np.indices((32, 32)).sum(axis=0) - 32))))
    right = np.abs(binned - np.abs(half)[::2, ::2]).sum()
    assert right < 0.25 * np.abs(binned - mirrored[::2, ::2]).sum()


@pytest.mark.parametrize("factor", [3, 16])
def test_bins_that_do_not_fit_are_refused(small_dataset, factor):
    with pytest.raises(InputError, match=f"32 pixels in bins of {factor}"):
        bin_pixels(small_dataset, factor)


def test_steps_are_lazy():
    dataset = simulate_small(8, seed=1)
    calls = []

    class Watched:
        shape, dtype, ndim = dataset.diffraction.shape, dataset.diffraction.dtype, 3

        def __getitem__(self, key):
            calls.append(key)
            return dataset.diffraction[key]

    cut = crop(bin_pixels(replace(dataset, diffraction=Watched()), 2), 14)
    assert not calls
    assert cut.diffraction[2:4].shape == (2, 14, 14)
    assert len(calls) == 1
