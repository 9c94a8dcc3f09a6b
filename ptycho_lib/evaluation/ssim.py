"""Structural similarity under a mask, at one scale and at several.

Like every metric: the ground truth first, the estimate second; a `metrics.Score` is returned.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from ptycho_lib.evaluation.metrics import Image, Mask, RealImage, Score, peak_to_peak, undefined, why_not_comparable

SSIM_SIGMA_PX = 1.5
MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli & Bovik 2003, section 3.2)."""

_WINDOW_PX = 11
"""Side of the Gaussian SSIM window (Wang et al. 2004: 11 x 11, sigma = 1.5)."""


def ssim(truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None) -> Score:
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

    Examples
    --------
    A constant offset of R leaves the luminance term alone; of two alternating values 0 and 1 and their window
    mean 1/2, (2·0.5·1.5 + C1) / (0.5² + 1.5² + C1) = 0.6 with C1 = 0.0001.

    >>> stripes = np.tile([0.0, 1.0], (24, 12))
    >>> round(ssim(stripes, stripes + 1).value, 2)
    0.6
    """
    if reason := why_not_comparable(truth, estimate, mask):
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


def ms_ssim(truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None) -> Score:
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
    if reason := why_not_comparable(truth, estimate, mask):
        return undefined(reason)
    span = peak_to_peak(truth, mask) if data_range is None else float(data_range)
    if span <= 0:
        return undefined("the ground truth is constant")
    inside = np.ones(truth.shape, bool) if mask is None else mask
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    first, second = (image[box] for image in _filled(truth, estimate, inside))
    inside = inside[box]

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
    return Score(value, remark)


def _filled(truth: Image, estimate: Image, inside: Mask) -> tuple[RealImage, RealImage]:
    """Return both images in double precision, outside the mask the truth's mean in it."""
    mean = truth[inside].astype(np.float64).mean()
    first, second = (np.where(inside, image, mean).astype(np.float64) for image in (truth, estimate))
    return first, second


def _halve(image: RealImage) -> RealImage:
    """Average 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = (side // 2 for side in image.shape)
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))


def _ssim_terms(first: RealImage, second: RealImage, span: float) -> tuple[RealImage, RealImage]:
    """Return luminance and contrast-structure maps where the whole window lies inside the image."""
    offset = np.arange(_WINDOW_PX) - _WINDOW_PX // 2
    window = np.exp(-(offset**2) / (2 * SSIM_SIGMA_PX**2))
    window /= window.sum()
    border = _WINDOW_PX // 2

    def mean(image: RealImage) -> RealImage:
        smooth = correlate1d(correlate1d(image, window, axis=0), window, axis=1)
        return smooth[border:-border, border:-border]

    mean_1, mean_2 = mean(first), mean(second)
    variance = mean(first**2) - mean_1**2 + mean(second**2) - mean_2**2
    covariance = mean(first * second) - mean_1 * mean_2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return luminance, (2 * covariance + c2) / (variance + c2)
