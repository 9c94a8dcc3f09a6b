"""Remove from an estimate what the measurement cannot determine: phase, scale, phase ramp, small shift.

Diffraction does not depend on a global phase. An amplitude scale, a phase ramp and a shift of the object can
be exchanged for those of the probe. Each term that is removed is reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, shift as shift_image
from scipy.optimize import minimize
from skimage.registration import phase_cross_correlation

from ptycho_lib.evaluation.frc import soft_edge
from ptycho_lib.evaluation.metrics import ComplexImage, Mask, normalised_complex_error, why_not_comparable

_ROUNDS = 3
"""Registration under a mask is biased towards zero shift; repeating it on the shifted image removes the bias."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """An estimate, aligned to the truth, and what was removed.

    Parameters
    ----------
    raw : (H, W) complex
        The estimate with only its global phase removed: exp(i·arg γ)·Ô.
    aligned : (H, W) complex
        The estimate with ramp, shift, amplitude scale and global phase removed.
    raw_phase_rad : float
        arg γ of `raw`.
    phase_rad : float
        arg γ of `aligned`, at the mask's centroid.
    amplitude_scale : float
        Σ|O||Ô| / Σ|Ô|²: factor that the estimate's amplitude was multiplied with in `aligned`.
    ramp_rad_per_px : (float, float)
        Phase gradient (row, column) of the estimate against the truth that was removed.
    shift_px : (float, float)
        Movement (row, column) that was applied to the estimate.
    shift_capped : bool
        True if a shift beyond the cap would have lowered the error. It is not applied: such a shift is an
        error of the frame and not an alignment term.
    error_raw, error_aligned : float
        Normalised complex error E0 before and after; alignment never raises it.
    reason : str
        Why nothing could be aligned; empty otherwise.
    """

    raw: ComplexImage
    aligned: ComplexImage
    raw_phase_rad: float
    phase_rad: float
    amplitude_scale: float
    ramp_rad_per_px: tuple[float, float]
    shift_px: tuple[float, float]
    shift_capped: bool
    error_raw: float
    error_aligned: float
    reason: str = ""


def align(
    truth: ComplexImage,
    estimate: ComplexImage,
    mask: Mask,
    *,
    max_shift_px: float = 2.0,
) -> Alignment:
    """Align an estimate to the truth over the mask.

    With q = Ô·O*, the ramp is the k that maximises |Σ q·exp(-i k·r)|, the peak of a Fourier transform: no
    phase is unwrapped. The shift follows from the cross-correlation of the ramp-free complex fields about
    their means under a soft-edged mask [1]_. On weak objects a ramp and a shift can imitate each other, so
    each is kept only if it lowers the complex error, and the ramp is fitted again after the shift. Last come
    the global phase, arg Σ O·Ô*, and the amplitude scale, Σ|O||Ô| / Σ|Ô|². The scale is fitted on
    amplitudes: that of the complex fit, |Σ O·Ô*| / Σ|Ô|², would darken an estimate for its phase errors.

    Parameters
    ----------
    truth, estimate : (H, W) complex
    mask : (H, W) bool
        The pixels compared. Outside of it the estimate may be zero or NaN where it is unknown.
    max_shift_px : float
        Cap of the shift on each axis.

    Returns
    -------
    Alignment

    Raises
    ------
    ValueError
        If shapes differ or the mask is not boolean.

    References
    ----------
    .. [1] M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, Opt. Lett. 33, 156 (2008).

    Examples
    --------
    Twice the truth, turned by 0.3 rad, with a ramp of 0.01 rad/px along the rows:

    >>> rng = np.random.default_rng(0)
    >>> truth = 1 + 0.3 * (rng.normal(size=(32, 32)) + 1j * rng.normal(size=(32, 32)))
    >>> ramp = np.exp(0.01j * (np.arange(32) - 15.5))[:, None]
    >>> found = align(truth, 2 * np.exp(0.3j) * ramp * truth, np.ones((32, 32), bool))
    >>> [round(float(value), 4) + 0.0 for value in (found.amplitude_scale, found.phase_rad, *found.ramp_rad_per_px)]
    [0.5, -0.3, 0.01, 0.0]
    """
    if reason := why_not_comparable(truth, estimate, mask):
        return _unaligned(estimate, reason)
    if not np.abs(estimate[mask]).any():
        return _unaligned(estimate, "the estimate is zero")
    truth = truth.astype(np.complex128)
    guess = _extended(estimate.astype(np.complex128), mask)
    gamma = _gamma(truth, guess, mask)
    raw = guess * np.exp(1j * np.angle(gamma))
    before = error = normalised_complex_error(truth, guess, mask=mask).value
    tolerance = 1e-9

    ramp = np.zeros(2)
    change = fit_ramp(truth, guess, mask)
    flat = _without_ramp(guess, change, mask)
    if (trial := normalised_complex_error(truth, flat, mask=mask).value) < error - tolerance:
        ramp, guess, error = change, flat, trial

    shift, capped = np.zeros(2), False
    moved = guess
    for _ in range(_ROUNDS):
        step = estimate_shift(truth, moved, mask)
        candidate = _shifted(guess, shift + step)
        trial = normalised_complex_error(truth, candidate, mask=mask).value
        if trial >= error - tolerance:
            break
        if np.abs(shift + step).max() > max_shift_px:
            capped = True
            break
        shift, moved, error = shift + step, candidate, trial
        if np.abs(step).max() < 0.02:
            break

    if shift.any():
        change = fit_ramp(truth, moved, mask)
        flat = _without_ramp(moved, change, mask)
        if (trial := normalised_complex_error(truth, flat, mask=mask).value) < error - tolerance:
            ramp, moved, error = ramp + change, flat, trial

    final = amplitude_scale(truth, moved, mask) * np.exp(1j * np.angle(_gamma(truth, moved, mask)))
    return Alignment(
        raw=raw,
        aligned=final * moved,
        raw_phase_rad=float(np.angle(gamma)),
        phase_rad=float(np.angle(final)),
        amplitude_scale=float(np.abs(final)),
        ramp_rad_per_px=(float(ramp[0]), float(ramp[1])),
        shift_px=(float(shift[0]), float(shift[1])),
        shift_capped=capped,
        error_raw=before,
        error_aligned=error,
    )


def amplitude_scale(truth: ComplexImage, estimate: ComplexImage, mask: Mask) -> float:
    """Return Σ|O||Ô| / Σ|Ô|², the factor that brings the estimate's amplitude nearest to the truth's.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        Finite in the mask, the estimate not zero everywhere.
    mask : (H, W) bool

    Returns
    -------
    float

    Examples
    --------
    Phase errors do not matter; the complex fit would give |1 + 1j| / 8 = 0.18 here.

    >>> amplitude_scale(np.array([[1, 1]]), np.array([[2, 2j]]), np.ones((1, 2), bool))
    0.5
    """
    guess = np.abs(estimate[mask])
    return float(np.sum(np.abs(truth[mask]) * guess) / np.sum(guess**2))


def fit_ramp(truth: ComplexImage, estimate: ComplexImage, mask: Mask) -> NDArray[np.float64]:
    """Return the phase gradient (rad per pixel; row, column) of the estimate against the truth.

    It maximises |Σ q·exp(-i k·r)|, q = Ô·O* in the mask: the maximum-likelihood frequency of a phase ramp in
    white noise. The search starts at the peak of the Fourier transform and is refined by a quasi-Newton method.

    Parameters
    ----------
    truth, estimate : (H, W) complex
    mask : (H, W) bool

    Returns
    -------
    (2,) float64
        Zeros if q is zero.

    Examples
    --------
    >>> ramp = np.exp(1j * (0.05 * np.arange(16)[:, None] - 0.2 * np.arange(24)))
    >>> fit_ramp(np.ones((16, 24), complex), ramp, np.ones((16, 24), bool)).round(6).tolist()
    [0.05, -0.2]
    """
    q = np.where(mask, estimate * truth.conj(), 0)
    spectrum = np.abs(np.fft.fft2(q))
    peak = np.unravel_index(int(np.argmax(spectrum)), spectrum.shape)
    rows, columns = (np.arange(length) - length / 2 for length in q.shape)
    norm = float(np.abs(q).sum())
    if norm == 0:
        return np.zeros(2)

    # In cycles over the image the maximum is about one unit wide, on both axes.
    unit = 2 * np.pi / np.array(q.shape)
    start = np.array([np.fft.fftfreq(length, 1 / length)[i] for length, i in zip(q.shape, peak, strict=True)])

    def negative(cycles: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        k = cycles * unit
        by_row, by_column = np.exp(-1j * k[0] * rows), np.exp(-1j * k[1] * columns)
        along = q @ by_column
        total = by_row @ along / norm
        slope = np.array([(-1j * rows * by_row) @ along, by_row @ (q @ (-1j * columns * by_column))]) / norm
        return -float(np.abs(total) ** 2), -2 * np.real(np.conj(total) * slope) * unit

    best = minimize(negative, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    return np.asarray(best.x * unit)


def estimate_shift(truth: ComplexImage, estimate: ComplexImage, mask: Mask) -> NDArray[np.float64]:
    """Return the movement (row, column; px) that registers the estimate with the truth, to 0.02 px.

    It is the peak of the cross-correlation of the complex fields about their means under a soft-edged mask,
    not whitened (`normalization=None`): whitening would weight empty frequencies as much as the object's.

    Parameters
    ----------
    truth, estimate : (H, W) complex
    mask : (H, W) bool

    Returns
    -------
    (2,) float64
        Zeros if one of the fields is constant.

    Examples
    --------
    A Gaussian spot two rows too low and one column too far right must move by (-2, -1):

    >>> row, column = np.indices((48, 48)) - 24.0
    >>> spot, low = (1 + np.exp(-((row - a) ** 2 + (column - b) ** 2) / 20 + 0j) for a, b in ((0, 0), (2, 1)))
    >>> estimate_shift(spot, low, np.ones((48, 48), bool)).round(1).tolist()
    [-2.0, -1.0]
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window = soft_edge(mask[box], max(2.0, 0.1 * min(mask[box].shape)))
    fields = []
    for image in (truth, estimate * _gamma(truth, estimate, mask)):
        field = np.where(mask, image, 0)[box]
        fields.append((field - (field * window).sum() / window.sum()) * window)
    if not all(np.abs(field).any() for field in fields):
        return np.zeros(2)
    shift, _, _ = phase_cross_correlation(fields[0], fields[1], normalization=None, upsample_factor=50)
    return np.asarray(shift, dtype=float)


def _gamma(truth: ComplexImage, estimate: ComplexImage, mask: Mask) -> complex:
    """Return γ = Σ O·Ô* / Σ|Ô|², the complex factor that brings the estimate nearest to the truth."""
    guess = estimate[mask]
    return complex(np.vdot(guess, truth[mask]) / np.vdot(guess, guess).real)


def _without_ramp(estimate: ComplexImage, ramp: NDArray[np.float64], mask: Mask) -> ComplexImage:
    """Take a ramp out, about the mask's centroid: the global phase there stays."""
    centre = [float(index.mean()) for index in np.nonzero(mask)]
    rows, columns = (np.arange(side) - middle for side, middle in zip(estimate.shape, centre, strict=True))
    return estimate * (np.exp(-1j * ramp[0] * rows)[:, None] * np.exp(-1j * ramp[1] * columns))


def _extended(estimate: ComplexImage, mask: Mask) -> ComplexImage:
    """Give unknown pixels (zero or NaN, outside the mask) their nearest known value."""
    # A shift would otherwise bring the edge of the known area into the mask.
    unknown = ~mask & ((estimate == 0) | ~np.isfinite(estimate))
    if not unknown.any():
        return estimate
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return estimate[tuple(nearest)]


def _shifted(estimate: ComplexImage, shift_px: NDArray[np.float64]) -> ComplexImage:
    """Move an image by cubic splines: local, unlike a Fourier shift, which would ring from every edge."""
    parts = (estimate.real, estimate.imag)
    real, imag = (shift_image(part, shift_px, order=3, mode="nearest") for part in parts)
    return np.asarray(real + 1j * imag)


def _unaligned(estimate: ComplexImage, reason: str) -> Alignment:
    nan = math.nan
    return Alignment(estimate, estimate, nan, nan, nan, (nan, nan), (nan, nan), False, nan, nan, reason)
