"""Image metrics under a mask: one function per formula. They align nothing and print nothing.

Every metric takes the ground truth first, the estimate second, and an optional boolean mask. It returns a
`Score`: the value, and the reason where it is undefined. Definitions, sources and tests: docs/explanation/metrics.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.number]
"""(H, W), real or complex, any precision."""

RealImage = NDArray[np.float64]
"""(H, W) float64."""

ComplexImage = NDArray[np.complexfloating]
"""(H, W) complex, any precision."""

Mask = NDArray[np.bool_]
"""(H, W) bool."""


class Score(NamedTuple):
    """The value of a metric, with a remark.

    Parameters
    ----------
    value : float
        NaN where the metric is undefined.
    reason : str
        Why the value is NaN, or what limits its meaning; empty otherwise.
    censored : bool
        True if the value is only a bound, such as a resolution beyond Nyquist.
    """

    value: float
    reason: str = ""
    censored: bool = False


def undefined(reason: str) -> Score:
    """Return NaN with its reason."""
    return Score(math.nan, reason)


def why_not_comparable(truth: Image, estimate: Image, mask: Mask | None = None) -> str:
    """Return why two images cannot be compared, or an empty string if they can.

    Parameters
    ----------
    truth, estimate : (H, W) real or complex
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Returns
    -------
    str
        A reason that lies in the data: no pixel, or values that are not finite.

    Raises
    ------
    ValueError
        If the shapes differ or the mask is not boolean: an error of the calling program.
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
    """Return R, the largest minus the smallest value of a real ground truth in the mask.

    Parameters
    ----------
    truth : (H, W) real
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Returns
    -------
    float
        NaN if no pixel counts, or one is not finite.

    Examples
    --------
    >>> peak_to_peak(np.array([[0.2, 1.0], [9.0, 0.5]]), np.array([[True, True], [False, True]]))
    0.8
    """
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

    Returns
    -------
    Score
        In the unit of the images.

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    Examples
    --------
    >>> mae(np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])).value
    1.5
    """
    if reason := why_not_comparable(truth, estimate, mask):
        return undefined(reason)
    return Score(float(np.abs(_difference(truth, estimate, mask)).mean()))


def mse(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return the mean squared error, mean |truth - estimate|², over the mask's pixels.

    Parameters
    ----------
    truth, estimate : (H, W) real or complex
        Images in the same unit.
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Returns
    -------
    Score
        In the square of the unit of the images.

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    Examples
    --------
    >>> mse(np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])).value
    2.5
    """
    if reason := why_not_comparable(truth, estimate, mask):
        return undefined(reason)
    return Score(float((np.abs(_difference(truth, estimate, mask)) ** 2).mean()))


def psnr(truth: Image, estimate: Image, *, mask: Mask | None = None, data_range: float | None = None) -> Score:
    """Return the peak signal-to-noise ratio 10·log10(R²/MSE) in dB.

    Parameters
    ----------
    truth, estimate : (H, W) real
    mask : (H, W) bool, optional
        The pixels that count; all by default.
    data_range : float, optional
        R; the peak-to-peak of the truth in the mask by default. Published PtychoPINN figures use R = 255
        whatever the data, which adds 48.13 dB to data of range 1: never compare the two.

    Returns
    -------
    Score
        In dB. Infinite for equal images; NaN if R is zero.

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    Examples
    --------
    R = 1 and an error of 0.1 everywhere: 10·log10(1 / 0.01) dB.

    >>> truth = np.array([[0.0, 1.0], [0.5, 0.5]])
    >>> round(psnr(truth, truth + 0.1).value, 9)
    20.0
    """
    if reason := why_not_comparable(truth, estimate, mask):
        return undefined(reason)
    span = peak_to_peak(truth, mask) if data_range is None else float(data_range)
    if span <= 0:
        return undefined("the ground truth is constant")
    error = mse(truth, estimate, mask=mask).value
    return Score(10 * math.log10(span**2 / error)) if error else Score(math.inf, "equal images")


def normalised_complex_error(truth: Image, estimate: Image, *, mask: Mask | None = None) -> Score:
    """Return E0 = Σ|O - γÔ|² / Σ|O|² with γ = Σ O·Ô* / Σ|Ô|²: blind to a global phase and scale.

    Parameters
    ----------
    truth, estimate : (H, W) complex
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Returns
    -------
    Score
        Between 0 (equal up to a complex factor) and 1 (uncorrelated).

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    References
    ----------
    .. [1] A. M. Maiden, J. M. Rodenburg, Ultramicroscopy 109, 1256 (2009).

    Examples
    --------
    The second pixel is missing; γ = 1/2 fits the first, and half of the power is left.

    >>> normalised_complex_error(np.array([[1.0, 1.0j]]), np.array([[2.0, 0.0]])).value
    0.5
    """
    if reason := why_not_comparable(truth, estimate, mask):
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
    """Return the contrast (std/rms) of the estimate divided by that of the truth.

    1 if the estimate varies as much as the truth, whatever its scale; 0 if it is constant. A reconstruction
    below `metrics_table.COLLAPSE_CONTRAST` counts as collapsed. Noise has contrast, too: a high value proves
    nothing.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        A phase ramp counts as contrast.
    mask : (H, W) bool, optional
        The pixels that count; all by default.

    Returns
    -------
    Score
        NaN if the truth is constant.

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    Examples
    --------
    >>> wave = np.exp(2j * np.pi * np.arange(8) / 8)[None]
    >>> round(contrast(wave, 1 + 0.1 * wave).value, 6) == round(0.1 / 1.01**0.5, 6)
    True
    """
    if reason := why_not_comparable(truth, estimate, mask):
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
