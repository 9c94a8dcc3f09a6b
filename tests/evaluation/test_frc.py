"""Fourier ring correlation: cases whose answer is known on paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ptycho_lib.evaluation import frc


def white(seed, shape=(128, 128)):
    return np.random.default_rng(seed).normal(size=shape)


def low_pass(image, cutoff):
    """Keep frequencies up to `cutoff` cycles per pixel, on both axes alike."""
    row, column = np.meshgrid(*(np.fft.fftfreq(side) for side in image.shape), indexing="ij")
    return np.fft.ifft2(np.fft.fft2(image) * (np.hypot(row, column) <= cutoff)).real


def test_thresholds_at_100_samples_are_the_published_ones():
    assert frc.half_bit_threshold(100) == pytest.approx(0.3067, abs=5e-5)
    assert frc.one_bit_threshold(100) == pytest.approx(0.4517, abs=5e-5)


def test_equal_images_correlate_fully_and_are_censored_at_nyquist():
    curve = frc.frc_curve(white(0), white(0))
    assert curve.correlation == pytest.approx(np.ones(64), abs=1e-12)
    assert curve.frequency[0] == pytest.approx(1 / 128)
    assert curve.frequency[-1] == pytest.approx(frc.NYQUIST)
    resolution = frc.frc50(curve)
    assert resolution.value == frc.NYQUIST
    assert resolution.censored
    assert frc.frc_area(curve).value == pytest.approx(1.0)


def test_an_inverted_image_correlates_negatively():
    curve = frc.frc_curve(white(0), -white(0))
    assert curve.correlation == pytest.approx(-np.ones(64), abs=1e-12)
    assert frc.frc50(curve).value < frc.LEAST_SAMPLES / 128 / 2
    assert not frc.frc50(curve).censored


def test_independent_noise_scatters_by_one_over_root_n():
    deviations = []
    for seed in range(20):
        curve = frc.frc_curve(white(2 * seed), white(2 * seed + 1), taper_px=0)
        deviations.append(curve.correlation * np.sqrt(curve.samples))
    deviations = np.array(deviations)[:, 3:]
    assert abs(deviations.mean()) < 0.15
    assert deviations.std() == pytest.approx(1.0, abs=0.08)


def test_independent_samples_of_a_tapered_ring_still_scatter_by_one_over_root_n():
    deviations = []
    for seed in range(20):
        curve = frc.frc_curve(white(2 * seed), white(2 * seed + 1), taper_px=20)
        deviations.append(curve.correlation * np.sqrt(curve.samples))
    assert np.array(deviations)[:, 3:].std() == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("snr", [3.0, 1.0, 1 / 3])
@pytest.mark.parametrize("taper", [0, None])
def test_white_noise_of_known_ratio_gives_the_analytic_correlation(snr, taper):
    """Against the truth FRC = sqrt(SNR / (1 + SNR)); between two noisy images SNR / (1 + SNR)."""
    shape = (256, 256)
    truth = white(0, shape)
    first, second = (truth + white(seed, shape) / math.sqrt(snr) for seed in (1, 2))
    against_truth = frc.frc_curve(truth, first, taper_px=taper).correlation[8:].mean()
    between_halves = frc.frc_curve(first, second, taper_px=taper).correlation[8:].mean()
    assert against_truth == pytest.approx(math.sqrt(snr / (1 + snr)), abs=0.01)
    assert between_halves == pytest.approx(snr / (1 + snr), abs=0.015)


def test_one_seventh_of_half_data_states_the_same_as_one_half_against_the_truth():
    """SNR 1/3 of the whole is 1/6 of each half (Rosenthal & Henderson 2003)."""
    snr_whole = 1 / 3
    assert math.sqrt(snr_whole / (1 + snr_whole)) == pytest.approx(0.5)
    snr_half = snr_whole / 2
    assert snr_half / (1 + snr_half) == pytest.approx(1 / 7)
    shape = (256, 256)
    truth = white(0, shape)
    halves = [truth + white(seed, shape) / math.sqrt(snr_half) for seed in (1, 2)]
    assert frc.frc_curve(*halves).correlation[8:].mean() == pytest.approx(1 / 7, abs=0.015)


@pytest.mark.parametrize("shape", [(128, 128), (96, 160), (161, 97)])
def test_a_band_limited_image_is_resolved_to_its_limit_on_both_axes(shape):
    truth = white(0, shape)
    estimate = low_pass(truth, 0.2) + 0.01 * white(1, shape)
    resolution = frc.frc50(frc.frc_curve(truth, estimate, taper_px=0))
    assert resolution.value == pytest.approx(0.2, abs=1.5 / min(shape))
    assert not resolution.censored


def test_the_crossing_is_interpolated_linearly():
    frequency, samples = np.array([0.1, 0.2, 0.3]), np.full(3, 100.0)
    curve = frc.FrcCurve(frequency, np.array([0.9, 0.6, 0.2]), samples)
    assert frc.frc50(curve).value == pytest.approx(0.225)
    half_bit = 0.2 + 0.1 * (0.6 - 0.30673) / 0.4
    assert frc.frc_crossing(curve, frc.half_bit_threshold).value == pytest.approx(half_bit, abs=1e-4)
    unresolved = frc.FrcCurve(frequency, np.array([0.25, 0.9, 0.9]), samples)
    assert frc.frc50(unresolved).value == pytest.approx(0.1 * (1 - 0.5) / 0.75)  # from 1 at frequency 0


def test_a_later_revival_does_not_count():
    curve = frc.FrcCurve(np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.1, 0.9]), np.full(3, 50.0))
    assert frc.frc50(curve).value == pytest.approx(0.15)


def test_area_by_hand():
    curve = frc.FrcCurve(np.array([0.25, 0.5]), np.array([0.5, 0.0]), np.full(2, 50.0))
    assert frc.frc_area(curve).value == pytest.approx((0.75 * 0.25 + 0.25 * 0.25) / 0.5)


def test_full_period_in_nanometres():
    curve = frc.frc_curve(white(0), white(0))
    resolution = frc.full_period_nm(frc.frc50(curve), 50e-9)
    assert resolution.value == pytest.approx(100.0)  # two pixels a period
    assert resolution.censored


def test_mask_is_cropped_and_outside_does_not_count():
    truth, estimate = white(0, (60, 70)), white(0, (60, 70)) + 0.7 * white(1, (60, 70))
    mask = np.zeros((60, 70), bool)
    mask[5:45, 10:60] = True
    box = np.s_[5:45, 10:60]
    inside = frc.frc_curve(truth[box], estimate[box])
    masked = frc.frc_curve(np.where(mask, truth, np.nan), np.where(mask, estimate, 1e9), mask=mask)
    assert masked.correlation == pytest.approx(inside.correlation, abs=1e-12)


def test_a_common_offset_is_no_correlation():
    noisy = [white(seed) + 1000 for seed in (0, 1)]
    assert abs(frc.frc_curve(*noisy).correlation).max() < 0.7
    assert abs(frc.frc_curve(*noisy).correlation[10:]).max() < 0.3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10), phase=st.floats(-3.1, 3.1))
def test_symmetric_bounded_and_blind_to_scale(seed, scale, phase):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 24, 30)) + 1j * rng.normal(size=(2, 24, 30))
    curve = frc.frc_curve(first, second)
    assert np.all(np.abs(curve.correlation) <= 1)
    assert frc.frc_curve(second, first).correlation == pytest.approx(curve.correlation, abs=1e-9)
    assert frc.frc_curve(first, scale * second).correlation == pytest.approx(curve.correlation, abs=1e-9)
    first, second = np.exp(1j * phase) * first, np.exp(1j * phase) * second
    assert frc.frc_curve(first, second).correlation == pytest.approx(curve.correlation, abs=1e-9)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (np.full((32, 32), 0.1), "the second image is constant"),
        (np.full((32, 32), np.nan), "the estimate is not finite"),
    ],
)
def test_degenerate_input_gives_nan_with_a_reason(second, reason):
    curve = frc.frc_curve(white(0, (32, 32)), second)
    assert curve.frequency.size == 0
    for score in (frc.frc50(curve), frc.frc_area(curve), frc.frc_crossing(curve, frc.half_bit_threshold)):
        assert math.isnan(score.value)
        assert score.reason == reason
    assert frc.full_period_nm(frc.frc50(curve), 1e-9).reason == reason


def test_a_tiny_area_has_no_curve():
    assert frc.frc_curve(white(0, (32, 6)), white(1, (32, 6))).reason == "the compared area is only 6 px wide"


def test_a_low_first_ring_of_few_samples_is_no_resolution():
    """Star amplitude: FRC50 read 0.01 from a first ring of 17 samples, although all rings beyond agreed."""
    frequency, samples = np.arange(1, 7) / 12, np.array([8.0, 17.0, 31.0, 40.0, 50.0, 60.0])
    curve = frc.FrcCurve(frequency, np.array([0.1, 0.4, 0.9, 0.8, 0.3, 0.2]), samples)
    assert frc.frc50(curve).value == pytest.approx((4 + 0.3 / 0.5) / 12)
    assert frc.frc_crossing(curve, frc.half_bit_threshold).value > 4 / 12
    few = frc.FrcCurve(frequency[:2], np.array([0.9, 0.8]), samples[:2])
    assert math.isnan(frc.frc50(few).value)
    assert "no ring holds 30 independent samples" in frc.frc50(few).reason


def test_an_offset_that_differs_across_the_image_does_not_hide_the_resolution():
    """A slow error spoils the innermost rings alone."""
    truth = low_pass(white(0), 0.3)
    slow = 3 * truth.std() * np.cos(2 * np.pi * np.arange(128) / 128)[:, None]
    curve = frc.frc_curve(truth, truth + slow)
    assert curve.correlation[0] < 0.5
    assert frc.frc50(curve).value > 0.25
