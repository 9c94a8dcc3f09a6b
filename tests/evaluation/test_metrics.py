"""Image metrics: against scikit-image, TensorFlow and hand-derived values; properties; degenerate input."""

import math

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings, strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from ptycho_lib.evaluation import metrics
from ptycho_lib.evaluation.ssim import ms_ssim, ssim


@pytest.fixture(scope="module")
def images():
    truth = skimage.data.camera()[100:292, 100:300] / 255.0
    noise = np.random.default_rng(0).normal(0, 0.08, truth.shape)
    return truth, truth + noise


@pytest.fixture(scope="module")
def mask(images):
    inside = np.zeros(images[0].shape, bool)
    inside[20:170, 30:180] = True
    inside[40:60, 50:70] = False
    return inside


def random_complex(seed, shape=(12, 14)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def test_errors_equal_those_of_scikit_image(images):
    truth, estimate = images
    assert metrics.mse(truth, estimate).value == pytest.approx(mean_squared_error(truth, estimate), rel=1e-12)
    for data_range in (1.0, 255.0):
        expected = peak_signal_noise_ratio(truth, estimate, data_range=data_range)
        assert metrics.psnr(truth, estimate, data_range=data_range).value == pytest.approx(expected, rel=1e-12)


def test_ssim_map_is_that_of_scikit_image_averaged_over_the_mask(images, mask):
    truth, estimate = images
    span = float(np.ptp(truth[mask]))
    filled = [np.where(mask, image, truth[mask].mean()) for image in images]
    _, similarity = structural_similarity(
        *filled, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim(truth, estimate, mask=mask).value == pytest.approx(similarity[mask].mean(), rel=1e-12)


def test_ms_ssim_equals_tensorflow(images):
    import tensorflow as tf

    truth, estimate = images
    tensors = [tf.constant(image[:, :192, None]) for image in images]
    expected = float(tf.image.ssim_multiscale(*tensors, max_val=1.0))
    found = ms_ssim(truth[:, :192], estimate[:, :192], data_range=1.0)
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert found.reason == ""


def test_ms_ssim_says_how_many_scales_fit(images):
    truth, estimate = (image[:60, :60] for image in images)
    score = ms_ssim(truth, estimate)
    assert 0 < score.value < 1
    assert score.reason == "only 3 of 5 scales fit the compared area"


def test_psnr_by_hand_and_the_published_convention():
    truth = np.array([[0.0, 1.0], [0.5, 0.5]])
    estimate = truth + 0.1
    assert metrics.psnr(truth, estimate).value == pytest.approx(20.0)  # R = 1, MSE = 0.01
    shift = metrics.psnr(truth, estimate, data_range=255).value - metrics.psnr(truth, estimate).value
    assert shift == pytest.approx(48.13, abs=0.005)


def test_data_range_is_the_truths_peak_to_peak_in_the_mask():
    truth = np.array([[0.0, 2.0], [100.0, 1.0]])
    inside = np.array([[True, True], [False, True]])
    assert metrics.peak_to_peak(truth, inside) == 2.0
    expected = 10 * math.log10(2.0**2 / 0.25)
    assert metrics.psnr(truth, truth + 0.5, mask=inside).value == pytest.approx(expected)


def test_pixels_outside_the_mask_never_count(images, mask):
    truth, estimate = images
    spoiled = np.where(mask, estimate, np.nan)
    for metric in (metrics.mae, metrics.mse, metrics.psnr, ssim, ms_ssim):
        assert metric(truth, spoiled, mask=mask) == metric(truth, estimate, mask=mask), metric.__name__


def test_unsigned_integers_do_not_wrap():
    truth, estimate = np.array([[1, 2]], np.uint8), np.array([[3, 1]], np.uint8)
    assert metrics.mae(truth, estimate).value == 1.5
    assert metrics.mse(truth, estimate).value == 2.5


def test_complex_error_by_hand():
    truth = np.array([[1.0, 1.0j]])
    orthogonal = np.array([[1.0, -1.0j]])  # vdot = 1 - 1 = 0
    assert metrics.normalised_complex_error(truth, orthogonal).value == pytest.approx(1.0)
    assert metrics.normalised_complex_error(truth, np.array([[2.0, 0.0]])).value == pytest.approx(0.5)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), phase=st.floats(-3.1, 3.1), scale=st.floats(0.1, 10))
def test_complex_error_ignores_a_complex_factor_and_stays_in_bounds(seed, phase, scale):
    truth, estimate = random_complex(seed), random_complex(seed + 1)
    error = metrics.normalised_complex_error(truth, estimate).value
    turned = metrics.normalised_complex_error(truth, scale * np.exp(1j * phase) * estimate).value
    assert turned == pytest.approx(error, rel=1e-9)
    assert 0 <= error <= 1 + 1e-12


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_errors_are_symmetric_and_zero_for_equal_images(seed):
    first, second = random_complex(seed), random_complex(seed + 1)
    for metric in (metrics.mae, metrics.mse):
        assert metric(first, second).value == pytest.approx(metric(second, first).value)
        assert metric(first, first).value == 0
    assert metrics.mse(first, second).value >= metrics.mae(first, second).value ** 2  # Jensen


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_noise_is_never_better(seed):
    truth = np.abs(random_complex(seed, (40, 40)))
    noise = np.random.default_rng(seed + 1).normal(size=truth.shape)
    levels = [truth + level * noise for level in (0.05, 0.2, 0.8)]
    for metric, sign in ((metrics.mae, 1), (metrics.mse, 1), (metrics.psnr, -1), (ssim, -1)):
        values = [sign * metric(truth, estimate).value for estimate in levels]
        assert values == sorted(values), metric.__name__


ERRORS = (metrics.mae, metrics.mse, metrics.normalised_complex_error)
ALL = (*ERRORS, metrics.psnr, ssim, ms_ssim)


@pytest.mark.parametrize("metric", ALL)
def test_nothing_to_compare_is_nan_with_a_reason(metric):
    image = np.ones((20, 20))
    score = metric(image, image, mask=np.zeros((20, 20), bool))
    assert math.isnan(score.value)
    assert score.reason == "no pixel to compare"


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("which", ["estimate", "ground truth"])
def test_not_finite_is_nan_and_names_the_image(metric, which):
    good, bad = np.random.default_rng(0).normal(size=(2, 20, 20))
    bad[3, 3] = np.inf
    score = metric(*((good, bad) if which == "estimate" else (bad, good)))
    assert math.isnan(score.value)
    assert score.reason == f"the {which} is not finite"


@pytest.mark.parametrize("metric", [metrics.psnr, ssim, ms_ssim])
def test_a_constant_truth_has_no_range(metric):
    score = metric(np.ones((20, 20)), np.zeros((20, 20)))
    assert math.isnan(score.value)
    assert score.reason == "the ground truth is constant"


def test_equal_images_have_infinite_psnr_and_say_so():
    image = np.arange(4.0).reshape(2, 2)
    score = metrics.psnr(image, image)
    assert score.value == math.inf
    assert score.reason == "equal images"


def test_a_zero_truth_has_no_complex_error():
    zero, one = np.zeros((2, 2)), np.ones((2, 2))
    assert metrics.normalised_complex_error(zero, one).reason == "the ground truth is zero"
    assert metrics.normalised_complex_error(one, zero).value == 1.0


def test_contrast_is_blind_to_scale_and_zero_for_a_constant():
    truth = random_complex(0)
    assert metrics.contrast(truth, 3j * truth).value == pytest.approx(1)
    assert metrics.contrast(truth, np.full(truth.shape, 2 + 1j)).value == pytest.approx(0, abs=1e-9)
    assert metrics.contrast(truth, np.zeros(truth.shape)).value == 0
    assert metrics.contrast(np.ones((2, 2)), np.ones((2, 2))).reason == "the ground truth is constant"
    wave = np.exp(2j * np.pi * np.arange(8) / 8)[None]  # std = rms = 1
    assert metrics.contrast(wave, 1 + 0.1 * wave).value == pytest.approx(0.1 / np.sqrt(1.01))


def test_shapes_that_differ_are_an_error_of_the_caller():
    with pytest.raises(ValueError, match=r"\(2, 2\) and estimate \(3, 3\)"):
        metrics.mae(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="mask must be boolean"):
        metrics.mae(np.ones((2, 2)), np.ones((2, 2)), mask=np.ones((2, 2)))
