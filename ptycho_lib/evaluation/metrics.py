"""Image metrics under a mask: one formula a function, no alignment, no printing.

Every metric takes the ground truth first, the estimate second, and an optional boolean mask. It returns a
`Score`: a float that also says why it is NaN. Definitions, sources and outside checks: docs/metrics.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

Image = NDArray[Any]
Mask = NDArray[np.bool_]

SSIM_SIGMA_PX = 1.5
MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli & Bovik 2003, section 3.2)."""

_WINDOW_PX = 11
"""Side of the Gaussian SSIM window (Wang et al. 2004: 11 x 11, sigma = 1.5)."""


class Score(float):
    """A metric's value with its remark.

    Parameters
    ----------
    value : float
        The number; NaN where the metric is undefined.
    reason : str
        Why it is NaN, or what a reader must know about the value.
    censored : bool
        True if the value is only a bound, such as a resolution beyond Nyquist.
    """

    reason: str
    censored: bool

    def __new__(cls, value: float, *, reason: str = "", censored: bool = False) -> Score:
        """Make a float that carries its remark."""
        score = super().__new__(cls, value)
        score.reason = reason
        score.censored = censored
        return score


def undefined(reason: str) -> Score:
    """Return NaN with its reason."""
    return Score(math.nan, reason=reason)


def fault_of(truth: Image, estimate: Image, mask: Mask | None = None) -> str:
    """Return why two images cannot be compared at all, or an empty string.

    Raises
    ------
    ValueError
        If the shapes differ or the mask is not boolean: a fault of the program, not of the data.
    """
    if truth.shape != estimate.shape or truth.ndim != 2:
        raise ValueError(f"truth {truth.shape} and estimate {estimate.shape} must be 2-D and of equal shape")
    if mask is not None and (mask.shape != truth.shape or mask.dtype != np.bool_):
        raise ValueError(f"mask must be boolean of shape {truth.shape}, not {mask.dtype} {mask.shape}")
    if truth.size == 0 or (mask is not None and not mask.any()):
        return "no pixel to compare"
    if not np.isfinite(_pixels(truth, mask)).all():
        return "the ground truth is not finite"
    if not np.isfinite(_pixels(estimate, mask)).all():
        return "the estimate is not finite"
    return ""


def peak_to_peak(truth: Image, mask: Mask | None = None) -> float:
    """Return R, the largest minus the smallest value of a real ground truth in the mask; NaN without any."""
    pixels = _pixels(truth, mask)
    return float(np.ptp(pixels)) if pixels.size and np.isfinite(pixels).all() else math.nan


def mae(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return the mean absolute error, mean |truth - estimate|, over the mask's pixels.

    Parameters
    ----------
    truth, estimate : (H, W) real or complex
        Images in the same unit, which is also the unit of the result.
    mask : (H, W) bool, optional
        The pixels that count; all by default.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    return Score(float(np.abs(_difference(truth, estimate, mask)).mean()))


def mse(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return the mean squared error, mean |truth - estimate|², over the mask's pixels; arguments as `mae`."""
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    return Score(float((np.abs(_difference(truth, estimate, mask)) ** 2).mean()))


def psnr(
    truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None
) -> Score:
    """Return the peak signal-to-noise ratio 10·log10(R²/MSE) in dB.

    Parameters
    ----------
    truth, estimate : (H, W) real
    mask : (H, W) bool, optional
        The pixels that count; all by default.
    data_range : float, optional
        R; the peak-to-peak of the truth in the mask by default. Published PtychoPINN figures use R = 255
        whatever the data, which adds 48.13 dB to data of range 1: never compare the two.

    Notes
    -----
    Infinite for equal images; NaN if R is zero.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    span = peak_to_peak(truth, mask) if data_range is None else float(data_range)
    if span <= 0:
        return undefined("the ground truth is constant")
    error = mse(truth, estimate, mask=mask)
    return (
        Score(math.inf, reason="equal images")
        if float(error) == 0
        else Score(10 * math.log10(span**2 / error))
    )


def ssim(
    truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None
) -> Score:
    """Return the structural similarity: the mean of its map over the mask.

    The window is Gaussian with sigma = 1.5 px, variances are population variances, and values outside the
    mask are the truth's mean in the mask, in both images.

    Parameters
    ----------
    truth, estimate : (H, W) real
    mask : (H, W) bool, optional
        The pixels that count; all by default.
    data_range : float, optional
        R of the stabilising constants (0.01·R)² and (0.03·R)²; by default the peak-to-peak of the truth in
        the mask. R = 2π for a phase would hide the errors of weakly scattering objects.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, IEEE Trans. Image Process. 13, 600 (2004),
       eq. 13.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    span = peak_to_peak(truth, mask) if data_range is None else float(data_range)
    if span <= 0:
        return undefined("the ground truth is constant")
    if min(truth.shape) < _WINDOW_PX:
        return undefined(f"the image is smaller than the {_WINDOW_PX} px window")
    inside = np.ones(truth.shape, bool) if mask is None else mask
    first, second = _filled(truth, estimate, inside)
    _, similarity = structural_similarity(
        first,
        second,
        data_range=span,
        gaussian_weights=True,
        sigma=SSIM_SIGMA_PX,
        use_sample_covariance=False,
        full=True,
    )
    return Score(float(similarity[inside].mean()))


def ms_ssim(
    truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None
) -> Score:
    """Return the multi-scale structural similarity.

    The contrast-structure terms of five scales and the luminance term of the coarsest, each averaged over
    the mask, multiplied with the exponents of the paper. Between scales the images are averaged over 2 x 2
    pixels, then decimated. An image too small for five scales uses as many as fit, with renormalised
    exponents, and the score's reason says so. Negative terms count as zero.

    Parameters
    ----------
    truth, estimate : (H, W) real
    mask : (H, W) bool, optional
        The pixels that count; all by default. A coarse pixel counts if all four fine ones do. As in the
        paper, only pixels whose window lies inside the image are used.
    data_range : float, optional
        As in `ssim`.

    References
    ----------
    .. [1] Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality
       assessment", Proc. 37th Asilomar Conf. on Signals, Systems and Computers (2003), eq. 7.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    span = peak_to_peak(truth, mask) if data_range is None else float(data_range)
    if span <= 0:
        return undefined("the ground truth is constant")
    inside = np.ones(truth.shape, bool) if mask is None else mask
    first, second = (_bounding_box(image, inside) for image in _filled(truth, estimate, inside))
    inside = _bounding_box(inside, inside)

    luminance, contrasts = math.nan, []
    for scale in range(len(MS_SSIM_EXPONENTS)):
        if scale:
            first, second = _halve(first), _halve(second)
            inside = _halve(inside.astype(float)) == 1
        border = _WINDOW_PX // 2
        core = inside[border:-border, border:-border]
        if min(first.shape) < _WINDOW_PX or not core.any():
            break
        light, contrast = _ssim_terms(first, second, span)
        luminance = float((light * contrast)[core].mean())
        contrasts.append(float(contrast[core].mean()))
    if not contrasts:
        return undefined(f"the image is smaller than the {_WINDOW_PX} px window")

    # The coarsest scale in use contributes its full SSIM, the others contrast and structure alone.
    terms = np.maximum([*contrasts[:-1], luminance], 0)
    exponents = np.array(MS_SSIM_EXPONENTS[: len(terms)])
    value = float(np.prod(terms ** (exponents / exponents.sum() * sum(MS_SSIM_EXPONENTS))))
    missing = len(terms) < len(MS_SSIM_EXPONENTS)
    remark = f"only {len(terms)} of {len(MS_SSIM_EXPONENTS)} scales fit the compared area" if missing else ""
    return Score(value, reason=remark)


def normalised_complex_error(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return E0 = Σ|O - γÔ|² / Σ|O|² with γ = Σ O·Ô* / Σ|Ô|²: blind to a global phase and scale.

    Parameters
    ----------
    truth, estimate : (H, W) complex
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Notes
    -----
    Between 0 (equal up to a complex factor) and 1 (uncorrelated).

    References
    ----------
    .. [1] A. M. Maiden, J. M. Rodenburg, Ultramicroscopy 109, 1256 (2009), eq. 15 and 16.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    reference = _pixels(truth, mask).astype(np.complex128)
    guess = _pixels(estimate, mask).astype(np.complex128)
    power = float(np.vdot(reference, reference).real)
    if power == 0:
        return undefined("the ground truth is zero")
    guess_power = float(np.vdot(guess, guess).real)
    gamma = np.vdot(guess, reference) / guess_power if guess_power else 0.0
    residual = reference - gamma * guess
    return Score(float(np.vdot(residual, residual).real) / power)


def contrast(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return the relative contrast of the estimate in units of the truth's: std/rms of either, divided.

    1 if the estimate varies as much as the truth, whatever its scale; 0 if it is constant. A reconstruction
    below `tidy.COLLAPSE_CONTRAST` counts as collapsed. Noise has contrast too: a high value proves nothing.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        The estimate without a phase ramp, which would count as contrast.
    mask : (H, W) bool, optional
        The pixels that count; all by default.
    """
    if reason := fault_of(truth, estimate, mask):
        return undefined(reason)
    relative = []
    for image in (truth, estimate):
        pixels = _pixels(image, mask).astype(np.complex128)
        rms = float(np.sqrt((np.abs(pixels) ** 2).mean()))
        relative.append(float(pixels.std()) / rms if rms else 0.0)
    if relative[0] < 1e-6:
        return undefined("the ground truth is constant")
    return Score(relative[1] / relative[0])


def _pixels(image: Image, mask: Mask | None) -> Image:
    return image.ravel() if mask is None else image[mask]


def _difference(truth: Image, estimate: Image, mask: Mask | None) -> Image:
    # Double precision first: unsigned integers would wrap, float32 would lose digits in the mean.
    kind = np.complex128 if np.iscomplexobj(truth) or np.iscomplexobj(estimate) else np.float64
    return _pixels(truth, mask).astype(kind) - _pixels(estimate, mask).astype(kind)


def _filled(truth: Image, estimate: Image, inside: Mask) -> tuple[Image, Image]:
    """Return both images in double precision, outside the mask the truth's mean in it."""
    mean = truth[inside].astype(np.float64).mean()
    return tuple(np.where(inside, image, mean).astype(np.float64) for image in (truth, estimate))  # type: ignore[return-value]


def _bounding_box(image: Image, inside: Mask) -> Image:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _halve(image: Image) -> Image:
    """Average 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = (side // 2 for side in image.shape)
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))


def _ssim_terms(first: Image, second: Image, span: float) -> tuple[Image, Image]:
    """Return luminance and contrast-structure maps where the whole window lies inside the image."""
    offset = np.arange(_WINDOW_PX) - _WINDOW_PX // 2
    window = np.exp(-(offset**2) / (2 * SSIM_SIGMA_PX**2))
    window /= window.sum()
    border = _WINDOW_PX // 2

    def mean(image: Image) -> Image:
        smooth = correlate1d(correlate1d(image, window, axis=0), window, axis=1)
        return smooth[border:-border, border:-border]

    mean_1, mean_2 = mean(first), mean(second)
    variance = mean(first**2) - mean_1**2 + mean(second**2) - mean_2**2
    covariance = mean(first * second) - mean_1 * mean_2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return luminance, (2 * covariance + c2) / (variance + c2)
