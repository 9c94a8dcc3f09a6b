"""Fourier ring correlation: to which spatial frequency two images agree.

Frequencies are in cycles per pixel, so that Nyquist is 0.5 on both axes of any image. The correlation keeps
its sign: an inverted image correlates negatively and must not pass as resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from ptycho_lib.evaluation.metrics import Image, Mask, Score, problem_of, undefined

Floats = NDArray[np.float64]

NYQUIST = 0.5


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

    Notes
    -----
    A taper w correlates neighbouring Fourier pixels; in the plane the share (Σw²)²/(HW·Σw⁴) of them is
    independent, along a ring one pixel wide its square root. So many of a ring's pixels count as `samples`.

    References
    ----------
    .. [1] W. O. Saxton, W. Baumeister, J. Microsc. 127, 127 (1982).
    .. [2] M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005).
    """
    if reason := problem_of(first, second, mask):
        return _empty(reason)
    inside = np.ones(first.shape, bool) if mask is None else mask
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = inside[box]
    side = min(inside.shape)
    if side < 8:
        return _empty(f"the compared area is only {side} px wide")
    taper = soft_edge(inside, max(2.0, 0.1 * side) if taper_px is None else taper_px)

    spectra = []
    scale = max(float(np.abs(image[box][inside]).max()) for image in (first, second))
    for name, image in (("first", first[box]), ("second", second[box])):
        if np.abs(image[inside] - image[inside].mean()).max() <= 1e-6 * scale:
            return _empty(f"the {name} image is constant")
        values = np.where(inside, image, 0)
        values = values - (values * taper).sum() / taper.sum()
        spectra.append(np.fft.fft2(values * taper))

    row, column = np.meshgrid(*(np.fft.fftfreq(length) for length in inside.shape), indexing="ij")
    ring = np.rint(np.hypot(row, column) * side).astype(int).ravel()
    count = side // 2 + 1
    ring[ring >= count] = count  # the corners beyond Nyquist

    def ring_sum(values: Image) -> Floats:
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

    (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n); 0.3067 at n = 100.

    References
    ----------
    .. [1] M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. 17.
    """
    root = np.sqrt(np.asarray(samples, float))
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def one_bit_threshold(samples: ArrayLike) -> Floats:
    """Return the FRC at which a ring of n independent samples carries one bit a sample.

    (0.5 + 2.4142/√n) / (1.5 + 1.4142/√n); 0.4517 at n = 100; eq. 14 of the paper that
    `half_bit_threshold` cites.
    """
    root = np.sqrt(np.asarray(samples, float))
    return (0.5 + 2.4142 / root) / (1.5 + 1.4142 / root)


def frc_crossing(curve: FrcCurve, threshold: float | Callable[[Floats], Floats]) -> Score:
    """Return the frequency (cycles per pixel) at which the curve first falls below a threshold.

    Linear interpolation between rings, starting from FRC = 1 at frequency 0. A curve that never
    falls below it is resolved to Nyquist: 0.5, censored.

    Parameters
    ----------
    curve : FrcCurve
    threshold : float or callable
        0.5 against a noise-free truth; 1/7 between two half-data reconstructions, which states the same
        signal-to-noise ratio [1]_; or a function of the rings' samples such as `half_bit_threshold`.

    References
    ----------
    .. [1] P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    if curve.reason:
        return undefined(curve.reason)
    limit = threshold(curve.samples) if callable(threshold) else np.full(curve.samples.shape, threshold)
    frequency = np.concatenate(([0.0], curve.frequency))
    # The threshold has no meaning at frequency 0; there the correlation is 1 and above any threshold.
    excess = np.concatenate(([1 - limit[0]], curve.correlation - limit))
    below = np.flatnonzero(excess < 0)
    if below.size == 0:
        return Score(NYQUIST, censored=True, reason="never below the threshold: resolved to Nyquist")
    right = int(below[0])
    left = right - 1
    share = excess[left] / (excess[left] - excess[right])
    return Score(float(frequency[left] + share * (frequency[right] - frequency[left])))


def frc50(curve: FrcCurve) -> Score:
    """Return the frequency, in cycles per pixel, at which the FRC against the truth first falls below 0.5."""
    return frc_crossing(curve, 0.5)


def frc_area(curve: FrcCurve) -> Score:
    """Return the area under the curve from frequency 0 (where FRC = 1) to Nyquist, divided by Nyquist."""
    if curve.reason:
        return undefined(curve.reason)
    frequency = np.concatenate(([0.0], curve.frequency))
    correlation = np.concatenate(([1.0], curve.correlation))
    return Score(float(np.trapezoid(correlation, frequency) / frequency[-1]))


def full_period_nm(frequency: Score, pixel_size_m: float) -> Score:
    """Turn cycles per pixel into the full period in nm (twice the half-period that some papers quote)."""
    if not frequency > 0:
        return undefined(frequency.reason or "nothing is resolved")
    return Score(pixel_size_m * 1e9 / frequency, reason=frequency.reason, censored=frequency.censored)


def soft_edge(inside: Mask, width_px: float) -> Floats:
    """Return a window: 0 outside, a squared sine of the distance to the border, 1 from `width_px` on."""
    if width_px <= 0:
        return inside.astype(float)
    distance = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return np.sin(np.pi / 2 * np.clip(distance / (width_px + 1), 0, 1)) ** 2


def _empty(reason: str) -> FrcCurve:
    nothing = np.empty(0)
    return FrcCurve(nothing, nothing, nothing, reason)
