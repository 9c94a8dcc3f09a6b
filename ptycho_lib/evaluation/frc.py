"""Fourier ring correlation: up to which spatial frequency two images agree.

Frequencies are in cycles per pixel, so that Nyquist is 0.5 on both axes of any image. The correlation keeps
its sign: an inverted image correlates negatively and does not count as resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from ptycho_lib.evaluation.metrics import Image, Mask, RealImage, Score, undefined, why_not_comparable

Floats = NDArray[np.float64]
"""(m,) float64, one value a ring."""

NYQUIST = 0.5

LEAST_SAMPLES = 30
"""Independent samples from which on the correlation of a ring counts; of uncorrelated images it scatters by
one over the square root of their number."""


@dataclass(frozen=True, eq=False)
class FrcCurve:
    """A Fourier ring correlation.

    Parameters
    ----------
    frequency : (m,) float64
        Centres of the rings, cycles per pixel, rising to Nyquist (0.5).
    correlation : (m,) float64
        Signed correlation of each ring, in [-1, 1].
    samples : (m,) float64
        Independent Fourier samples of each ring.
    reason : str
        Why the curve is empty; an empty string if it is not.
    """

    frequency: Floats
    correlation: Floats
    samples: Floats
    reason: str = ""


def frc_curve(first: Image, second: Image, *, mask: Mask | None = None, taper_px: float | None = None) -> FrcCurve:
    """Correlate two images ring by ring in Fourier space.

    FRC(k) = Re Σ F₁F₂* / sqrt(Σ|F₁|² Σ|F₂|²) over ring k [1]_, with k = 1 … N/2 and N the shorter side.

    Parameters
    ----------
    first, second : (H, W) real or complex
        Registered images: a reconstruction and its truth, or two reconstructions of half the data each.
    mask : (H, W) bool, optional
        The pixels that count. The images are cropped to its bounding box, their means in the taper are
        removed, and both are multiplied by the same soft edge.
    taper_px : float, optional
        Width of the soft edge: a squared sine of the distance to the mask's border. A tenth of the shorter
        side by default; 0 switches the taper off.

    Returns
    -------
    FrcCurve
        Empty, with a reason, if an image is constant, not finite or smaller than 8 px.

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    Notes
    -----
    A taper w correlates neighbouring Fourier pixels; in the plane the share (Σw²)²/(HW·Σw⁴) of them is
    independent, along a ring one pixel wide the square root of that share, which gives `samples`.

    References
    ----------
    .. [1] W. O. Saxton, W. Baumeister, J. Microsc. 127, 127 (1982).
    .. [2] M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005).

    Examples
    --------
    A scaled image correlates fully, its negative with -1 in every ring:

    >>> image = np.random.default_rng(0).normal(size=(16, 16))
    >>> frc_curve(image, 3 * image).correlation.round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> frc_curve(image, -image, taper_px=0).correlation.min().round(6) + 0.0
    np.float64(-1.0)
    """
    if reason := why_not_comparable(first, second, mask):
        return no_curve(reason)
    inside = np.ones(first.shape, bool) if mask is None else mask
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = inside[box]
    side = min(inside.shape)
    if side < 8:
        return no_curve(f"the compared area is only {side} px wide")
    taper = soft_edge(inside, max(2.0, 0.1 * side) if taper_px is None else taper_px)

    spectra = []
    scale = max(float(np.abs(image[box][inside]).max()) for image in (first, second))
    for name, image in (("first", first[box]), ("second", second[box])):
        if np.abs(image[inside] - image[inside].mean()).max() <= 1e-6 * scale:
            return no_curve(f"the {name} image is constant")
        values = np.where(inside, image, 0)
        values = values - (values * taper).sum() / taper.sum()
        spectra.append(np.fft.fft2(values * taper))

    row, column = np.meshgrid(*(np.fft.fftfreq(length) for length in inside.shape), indexing="ij")
    ring = np.rint(np.hypot(row, column) * side).astype(int).ravel()
    count = side // 2 + 1
    ring[ring >= count] = count  # the corners beyond Nyquist

    def ring_sum(values: RealImage) -> Floats:
        return np.bincount(ring, values.ravel(), minlength=count + 1)[1:count].astype(np.float64)

    cross = ring_sum((spectra[0] * spectra[1].conj()).real)
    power = ring_sum(np.abs(spectra[0]) ** 2) * ring_sum(np.abs(spectra[1]) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(power > 0, cross / np.sqrt(power), 0.0)
    independent = float((taper**2).sum() / np.sqrt(taper.size * (taper**4).sum()))
    return FrcCurve(
        frequency=np.arange(1, count) / side,
        correlation=np.clip(correlation, -1, 1),
        samples=ring_sum(np.ones(inside.shape)) * independent,
    )


def half_bit_threshold(samples: ArrayLike) -> Floats:
    """Return the FRC at which a ring of n independent samples carries half a bit a sample.

    It is (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n).

    References
    ----------
    .. [1] M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. 17.

    Examples
    --------
    >>> round(float(half_bit_threshold(100)), 4)
    0.3067
    """
    root = np.sqrt(np.asarray(samples, float))
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def one_bit_threshold(samples: ArrayLike) -> Floats:
    """Return the FRC at which a ring of n independent samples carries one bit a sample.

    It is (0.5 + 2.4142/√n) / (1.5 + 1.4142/√n), eq. 14 of the paper that `half_bit_threshold` cites.

    Examples
    --------
    >>> round(float(one_bit_threshold(100)), 4)
    0.4517
    """
    root = np.sqrt(np.asarray(samples, float))
    return (0.5 + 2.4142 / root) / (1.5 + 1.4142 / root)


def frc_crossing(curve: FrcCurve, threshold: float | Callable[[Floats], Floats]) -> Score:
    """Return the frequency (cycles per pixel) at which the curve first falls below a threshold.

    It is interpolated linearly between rings, from FRC = 1 at frequency 0. The innermost rings, with fewer
    than `LEAST_SAMPLES` independent samples, do not count: a low correlation of a dozen samples is no
    resolution. A curve that never falls below the threshold is resolved to Nyquist: 0.5, censored.

    Parameters
    ----------
    curve : FrcCurve
    threshold : float or callable
        0.5 against a noise-free truth; 1/7 between two half-data reconstructions, which states the same
        signal-to-noise ratio [1]_; or a function of the rings' samples such as `half_bit_threshold`.

    Returns
    -------
    Score
        NaN if the curve is empty or no ring holds `LEAST_SAMPLES` samples.

    References
    ----------
    .. [1] P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003).

    Examples
    --------
    The first ring holds 12 samples and is ignored; between 0.2 and 0.3 the curve falls from 0.6 to 0.2.

    >>> curve = FrcCurve(np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.6, 0.2]), np.array([12.0, 40.0, 60.0]))
    >>> round(frc_crossing(curve, 0.5).value, 6)
    0.225
    """
    if curve.reason:
        return undefined(curve.reason)
    trusted = np.flatnonzero(curve.samples >= LEAST_SAMPLES)
    if trusted.size == 0:
        return undefined(f"the compared area is too small: no ring holds {LEAST_SAMPLES} independent samples")
    rings = slice(int(trusted[0]), None)
    correlation, samples = curve.correlation[rings], curve.samples[rings]
    limit = threshold(samples) if callable(threshold) else np.full(samples.shape, threshold)
    frequency = np.concatenate(([0.0], curve.frequency[rings]))
    # The threshold has no meaning at frequency 0; there the correlation is 1 and above any threshold.
    excess = np.concatenate(([1 - limit[0]], correlation - limit))
    below = np.flatnonzero(excess < 0)
    if below.size == 0:
        return Score(NYQUIST, "never below the threshold: resolved to Nyquist", censored=True)
    right = int(below[0])
    left = right - 1
    share = excess[left] / (excess[left] - excess[right])
    return Score(float(frequency[left] + share * (frequency[right] - frequency[left])))


def frc50(curve: FrcCurve) -> Score:
    """Return the frequency, in cycles per pixel, at which the FRC against the truth first falls below 0.5."""
    return frc_crossing(curve, 0.5)


def frc_area(curve: FrcCurve) -> Score:
    """Return the area under the curve from frequency 0 (where FRC = 1) to Nyquist, divided by Nyquist.

    Examples
    --------
    Trapezoids of mean height 0.75 and 0.25, each over half of the frequencies:

    >>> frc_area(FrcCurve(np.array([0.25, 0.5]), np.array([0.5, 0.0]), np.array([50.0, 50.0]))).value
    0.5
    """
    if curve.reason:
        return undefined(curve.reason)
    frequency = np.concatenate(([0.0], curve.frequency))
    correlation = np.concatenate(([1.0], curve.correlation))
    return Score(float(np.trapezoid(correlation, frequency) / frequency[-1]))


def full_period_nm(frequency: Score, pixel_size_m: float) -> Score:
    """Return the full period in nm of a frequency in cycles per pixel.

    It is twice the half-period that some papers quote.

    Parameters
    ----------
    frequency : Score
        Cycles per pixel.
    pixel_size_m : float
        Object pixel.

    Returns
    -------
    Score
        NaN if the frequency is NaN or zero; censored if the frequency is.

    Examples
    --------
    Nyquist is two pixels a period:

    >>> full_period_nm(Score(0.5), 50e-9).value
    100.0
    """
    if not frequency.value > 0:
        return undefined(frequency.reason or "nothing is resolved")
    return frequency._replace(value=pixel_size_m * 1e9 / frequency.value)


def soft_edge(inside: Mask, width_px: float) -> RealImage:
    """Return a window: 0 outside, a squared sine of the distance to the border, 1 from `width_px` on.

    Parameters
    ----------
    inside : (H, W) bool
    width_px : float
        0 gives `inside` itself.

    Returns
    -------
    (H, W) float64

    Examples
    --------
    >>> soft_edge(np.ones((1, 5), bool), 1)[0].round(2).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]
    """
    if width_px <= 0:
        return inside.astype(float)
    distance = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return np.sin(np.pi / 2 * np.clip(distance / (width_px + 1), 0, 1)) ** 2


def no_curve(reason: str) -> FrcCurve:
    """Return an empty curve with its reason."""
    nothing = np.empty(0)
    return FrcCurve(nothing, nothing, nothing, reason)
