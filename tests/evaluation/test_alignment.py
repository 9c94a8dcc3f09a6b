"""Alignment: known distortions are found and removed; nothing is ever made worse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter

from ptycho_lib.evaluation.alignment import align, fit_ramp
from ptycho_lib.evaluation.metrics import normalised_complex_error

SHAPE = (90, 76)  # not square: an exchange of axes must show
ROWS, COLUMNS = np.indices(SHAPE)


def smooth(seed, sigma=2.0, shape=SHAPE):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field / field.std()


def make_object(seed=0, phase=0.5, shape=SHAPE):
    return (1 + 0.2 * smooth(seed, shape=shape)) * np.exp(1j * phase * smooth(seed + 1, shape=shape))


@pytest.fixture(scope="module")
def mask():
    inside = np.zeros(SHAPE, bool)
    inside[8:80, 9:70] = True
    inside[30:40, 9:20] = False
    return inside


def shifted_pair(shift, phase=0.5):
    """Cut truth and estimate from one fine object: an exact shift by quarters of a pixel."""
    height, width = SHAPE
    fine = make_object(3, phase, shape=(4 * height + 64, 4 * width + 64))
    fine = gaussian_filter(fine.real, 6) + 1j * gaussian_filter(fine.imag, 6)

    def cut(row, column):
        return fine[32 - row : 32 - row + 4 * height : 4, 32 - column : 32 - column + 4 * width : 4]

    # Moving the estimate by `shift` puts it onto the truth.
    return cut(0, 0), cut(*(int(-4 * s) for s in shift))


@pytest.mark.parametrize("phase", [0.0, 1.0, -2.9])
def test_global_phase_and_scale_are_removed_and_reported(mask, phase):
    truth = make_object()
    result = align(truth, 1.7 * np.exp(1j * phase) * truth, mask)
    assert result.aligned == pytest.approx(truth)
    assert np.abs(result.raw) == pytest.approx(1.7 * np.abs(truth))
    assert np.angle(result.raw / truth) == pytest.approx(np.zeros(SHAPE), abs=1e-9)
    assert result.phase_rad == pytest.approx(-phase)
    assert result.amplitude_scale == pytest.approx(1 / 1.7)
    assert result.shift_px == (0.0, 0.0)


@pytest.mark.parametrize("ramp", [(0.013, -0.021), (0.2, 0.35), (-1.1, 0.004)])
def test_ramps_of_many_turns_are_found_without_unwrapping(mask, ramp):
    truth = make_object()
    noise = 0.3 * (smooth(7, 0) + 1j * smooth(8, 0))
    estimate = (truth + noise) * np.exp(1j * (ramp[0] * ROWS + ramp[1] * COLUMNS))
    assert fit_ramp(truth, estimate, mask) == pytest.approx(ramp, abs=5e-4)
    result = align(truth, estimate, mask)
    expected = normalised_complex_error(truth, truth + noise, mask=mask).value
    assert result.ramp_rad_per_px == pytest.approx(ramp, abs=5e-4)
    assert result.error_aligned == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("shift", [(0.25, 0.0), (0.5, -1.25), (-1.75, 0.75)])
@pytest.mark.parametrize("phase", [0.5, 0.05])
def test_sub_pixel_shift_of_strong_and_weak_objects(mask, shift, phase):
    truth, estimate = shifted_pair(shift, phase)
    result = align(truth, estimate, mask)
    assert result.shift_px == pytest.approx(shift, abs=0.03)
    assert not result.shift_capped
    assert result.error_aligned < 0.01 * result.error_raw


def test_ramp_and_shift_together_are_separated(mask):
    truth, estimate = shifted_pair((0.75, -0.5))
    estimate = estimate * np.exp(1j * (0.02 * ROWS - 0.05 * COLUMNS))
    result = align(truth, estimate, mask)
    assert result.shift_px == pytest.approx((0.75, -0.5), abs=0.03)
    assert result.ramp_rad_per_px == pytest.approx((0.02, -0.05), abs=1e-3)


def test_a_large_shift_is_capped_not_applied(mask):
    truth, estimate = shifted_pair((4.0, 0.0))
    result = align(truth, estimate, mask, max_shift_px=2.0)
    assert result.shift_capped
    assert result.shift_px == (0.0, 0.0)
    assert align(truth, estimate, mask, max_shift_px=6.0).shift_px == pytest.approx((4.0, 0.0), abs=0.03)


def test_unknown_pixels_outside_the_mask_do_no_harm(mask):
    truth, estimate = shifted_pair((0.5, 0.5))
    clean = align(truth, estimate, mask)
    for unknown in (0.0, np.nan):
        result = align(truth, np.where(mask, estimate, unknown), mask)
        assert result.shift_px == pytest.approx(clean.shift_px, abs=0.05)
        assert result.error_aligned < 0.1 * result.error_raw


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 4), noise=st.floats(0, 5), weight=st.floats(0, 1))
def test_alignment_never_raises_the_complex_error(seed, noise, weight):
    truth = make_object(seed)[:40, :36]
    rng = np.random.default_rng(seed)
    garbage = rng.normal(size=(40, 36)) + 1j * rng.normal(size=(40, 36))
    estimate = weight * truth + noise * garbage + 0.01
    inside = np.ones(truth.shape, bool)
    result = align(truth, estimate, inside)
    assert result.error_aligned <= result.error_raw + 1e-9
    found = normalised_complex_error(truth, result.aligned, mask=inside).value
    assert found == pytest.approx(result.error_aligned, abs=1e-6)


@pytest.mark.parametrize(
    ("estimate", "reason"),
    [
        (np.zeros(SHAPE, complex), "the estimate is zero"),
        (np.full(SHAPE, np.nan), "the estimate is not finite"),
    ],
)
def test_what_cannot_be_aligned_says_why(mask, estimate, reason):
    result = align(make_object(), estimate, mask)
    assert result.reason == reason
    assert math.isnan(result.phase_rad)
    assert result.aligned is estimate


def test_a_constant_estimate_survives(mask):
    result = align(make_object(), np.ones(SHAPE, complex), mask)
    assert result.reason == ""
    assert not result.shift_capped
    assert np.isfinite(result.aligned).all()
