"""Compare an object with the truth: one mask for all models, every metric and component, raw and aligned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import label
from skimage.restoration import unwrap_phase

from ptycho_lib.evaluation import frc, metrics
from ptycho_lib.evaluation.alignment import Alignment, align
from ptycho_lib.evaluation.metrics import ComplexImage, Image, Mask, RealImage, Score
from ptycho_lib.evaluation.ssim import ms_ssim, ssim
from ptycho_lib.metrics_table import SCORE_COLUMNS
from ptycho_lib.physics.scan import resolved_area

LEAST_RESULTANT = 0.5
"""Mean resultant length |mean exp(i·error)| from which on phase errors are small. Normal errors reach 0.5 at a
standard deviation of 1.18 rad, and then 0.8 % of them are beyond π."""


def comparison_mask(
    positions_px: NDArray[np.float64],
    probe: NDArray[np.complexfloating],
    shape: tuple[int, int],
    *,
    coverage: Mask | None = None,
    min_illumination: float = 0.1,
) -> Mask:
    """Return the pixels on which every model is compared.

    A pixel counts if the test scan illuminated it enough, if it lies in the resolved central N/2 x N/2 of
    at least one pattern, and if `coverage` allows. The mask depends on the test data alone, never on a model.

    Parameters
    ----------
    positions_px : (n, 2) float
        Positions of the test patterns, (row, column).
    probe : (N, N) or (m, N, N) complex
        All modes count.
    shape : (int, int)
        (H, W) of the object.
    coverage : (H, W) bool, optional
        Where the ground truth may be compared; everywhere by default.
    min_illumination : float
        Least summed probe intensity, relative to the largest.
    """
    inside = resolved_area(probe, positions_px, shape, min_illumination=min_illumination)
    return inside if coverage is None else inside & np.asarray(coverage, dtype=bool)


def compare_objects(
    truth: ComplexImage,
    estimate: ComplexImage,
    mask: Mask,
    *,
    max_shift_px: float = 2.0,
    pixel_size_m: float | None = None,
) -> pd.DataFrame:
    """Return every metric of an estimate against the truth, one value a row.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        On the same pixel grid.
    mask : (H, W) bool
        The pixels compared; see `comparison_mask`.
    max_shift_px : float
        Cap of the sub-pixel registration.
    pixel_size_m : float, optional
        Object pixel; adds the resolution in nm.

    Returns
    -------
    DataFrame
        Columns `metrics_table.SCORE_COLUMNS`. Undefined values are NaN, with the reason in the column `reason`.
    """
    alignment = align(truth, estimate, mask, max_shift_px=max_shift_px)
    rows: list[dict[str, object]] = []
    for name, image in (("raw", alignment.raw), ("aligned", alignment.aligned)):
        audit = _audit(alignment, aligned=name == "aligned")
        for component, metric, score, data_range in _scores(truth, image, mask, pixel_size_m):
            rows.append(
                {
                    "component": component,
                    "alignment": name,
                    "metric": metric,
                    "value": score.value,
                    "data_range": data_range,
                    "censored": score.censored,
                    "reason": score.reason,
                    **audit,
                }
            )
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


class PhaseImages(NamedTuple):
    """Phases of truth and estimate to be compared; see `phase_images`.

    Parameters
    ----------
    truth, estimate : (H, W) float64
        Images in rad.
    error : (H, W) float64
        Wrapped error arg(Ô·O*), rad; NaN where the estimate is not finite.
    reason : str
        Why the truth has no phase image; empty if it has one.
    """

    truth: RealImage
    estimate: RealImage
    error: RealImage
    reason: str = ""


def phase_images(truth: ComplexImage, estimate: ComplexImage, mask: Mask) -> PhaseImages:
    """Return the phase images (rad) of truth and estimate in which no metric meets a jump of 2π.

    The phase of the truth is taken about its circular mean in the mask and unwrapped if it wraps there [1]_.
    The estimate's is that of the truth plus the wrapped error arg(Ô·O*): of the values 2π apart the one
    nearest to the truth. This choice is only an estimate's own where its errors are smaller than π. Where
    they are as good as random (mean resultant length below `LEAST_RESULTANT`), it would copy the truth into
    the estimate; then the estimate's image is its own wrapped phase about its circular mean.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        The estimate without its global phase (`alignment.align`).
    mask : (H, W) bool

    Returns
    -------
    PhaseImages
        With a reason if the truth wraps and cannot be unwrapped, because its phase turns by 2π about some
        points (vortices). Then only the metrics of the error, MAE and MSE, are defined.

    References
    ----------
    .. [1] M. A. Herráez, D. R. Burton, M. J. Lalor, M. A. Gdeisat, Appl. Opt. 41, 7437 (2002).

    Examples
    --------
    A truth of 9 rad comes out unwrapped, an error of 0.2 rad stays 0.2 rad:

    >>> truth = np.exp(1j * np.linspace(0, 9, 64).reshape(1, 64)).repeat(4, axis=0)
    >>> images = phase_images(truth, truth * np.exp(0.2j), np.ones((4, 64), bool))
    >>> round(float(np.ptp(images.truth)), 6), round(float((images.estimate - images.truth).max()), 6)
    (9.0, 0.2)
    """
    reference = _about_circular_mean(truth, mask)
    reason = ""
    if _wraps(reference, mask):
        reference, reason = _unwrapped(reference, mask)
    # A pixel of amplitude zero has no phase; it counts as the mean phase, not as the truth's.
    turned = np.where(estimate == 0, np.exp(-1j * reference), estimate * truth.conj())
    finite = np.isfinite(turned)
    error = np.where(finite, np.angle(np.where(finite, turned, 1)), np.nan)
    rotors = np.exp(1j * error[mask])
    guess = reference + error
    if rotors.size and np.abs(rotors.mean()) < LEAST_RESULTANT:
        guess = np.where(finite, _about_circular_mean(estimate, mask), np.nan)
    return PhaseImages(reference, guess, error, reason)


def phase_frc(images: PhaseImages, mask: Mask) -> frc.FrcCurve:
    """Return the Fourier ring correlation of two phase images; empty with the reason if the truth has none."""
    if images.reason:
        return frc.no_curve(images.reason)
    return frc.frc_curve(images.truth, images.estimate, mask=mask)


def _about_circular_mean(obj: ComplexImage, mask: Mask) -> RealImage:
    """Return the wrapped phase (H, W) about its circular mean in the mask; 0 where the amplitude is zero."""
    pixels = obj[mask]
    amplitude = np.abs(pixels)
    mean = np.sum(pixels / np.where(amplitude > 0, amplitude, 1)) if pixels.size else 1.0
    return np.asarray(np.where(obj == 0, 0.0, np.angle(obj * np.exp(-1j * np.angle(mean)))))


def _wraps(phase: RealImage, mask: Mask) -> bool:
    """Return whether neighbouring pixels of the mask differ by more than π."""
    return any(bool((np.abs(np.diff(phase, axis=axis)) > np.pi)[_both(mask, axis)].any()) for axis in (0, 1))


def _both(mask: Mask, axis: int) -> Mask:
    """Return where a pixel and its next neighbour along an axis are in the mask; one shorter along it."""
    first, second = (np.delete(mask, end, axis=axis) for end in (-1, 0))
    return first & second


def _unwrapped(phase: RealImage, mask: Mask) -> tuple[RealImage, str]:
    """Return the unwrapped phase, each connected part about zero to within π, or why there is none."""
    down, right = (np.angle(np.exp(1j * np.diff(phase, axis=axis))) for axis in (0, 1))
    turns = down[:, :-1] + right[1:] - down[:, 1:] - right[:-1]
    vortices = int((np.abs(turns) > np.pi)[_both(mask, 0)[:, :-1] & _both(mask, 0)[:, 1:]].sum())
    if vortices:
        return (
            phase,
            f"the truth's phase cannot be unwrapped: it turns by 2π about {vortices} point{'s' * (vortices > 1)}",
        )
    smooth = np.ma.filled(unwrap_phase(np.ma.masked_array(phase, mask=~mask)), 0.0)
    parts, count = label(mask)
    for part in range(1, count + 1):
        inside = parts == part
        smooth[inside] -= 2 * np.pi * np.rint(smooth[inside].mean() / (2 * np.pi))
    return np.where(mask, smooth, phase), ""


def compare_halves(
    first: ComplexImage,
    second: ComplexImage,
    mask: Mask,
    *,
    max_shift_px: float = 2.0,
) -> tuple[frc.FrcCurve, dict[str, Score]]:
    """Measure resolution without a truth, from two reconstructions of half the data each.

    The second half is aligned to the first, as an estimate to a truth, then correlated.

    Returns
    -------
    curve : FrcCurve
    resolution : dict of Score
        Crossings in cycles per pixel: `one_seventh` (which states of half data what 0.5 states against a
        noise-free truth), `half_bit`, `one_bit`.
    """
    aligned = align(first, second, mask, max_shift_px=max_shift_px).aligned
    curve = frc.frc_curve(first, aligned, mask=mask)
    return curve, {
        "one_seventh": frc.frc_crossing(curve, 1 / 7),
        "half_bit": frc.frc_crossing(curve, frc.half_bit_threshold),
        "one_bit": frc.frc_crossing(curve, frc.one_bit_threshold),
    }


def _scores(
    truth: ComplexImage, estimate: ComplexImage, mask: Mask, pixel_size_m: float | None
) -> Iterator[tuple[str, str, Score, float]]:
    """Yield component, metric, score and data range (NaN where none enters)."""
    amplitudes, phases = (np.abs(truth), np.abs(estimate)), phase_images(truth, estimate, mask)
    no_error = np.zeros(truth.shape)
    curves = {
        "amplitude": frc.frc_curve(*amplitudes, mask=mask),
        "phase": phase_frc(phases, mask),
        "complex": frc.frc_curve(truth, estimate, mask=mask),
    }
    pairs: dict[str, tuple[Image, Image]] = {
        "amplitude": amplitudes,
        "phase": (no_error, phases.error),
        "complex": (truth, estimate),
    }
    for component, pair in pairs.items():
        yield component, "mae", metrics.mae(*pair, mask=mask), math.nan
        yield component, "mse", metrics.mse(*pair, mask=mask), math.nan
        if component == "complex":
            yield component, "e0", metrics.normalised_complex_error(truth, estimate, mask=mask), math.nan
            yield component, "contrast", metrics.contrast(truth, estimate, mask=mask), math.nan
        else:
            yield from _image_scores(component, amplitudes if component == "amplitude" else phases, mask)
        for name, score in _resolution(curves[component], pixel_size_m):
            yield component, name, score, math.nan


def _image_scores(
    component: str, images: tuple[RealImage, RealImage] | PhaseImages, mask: Mask
) -> Iterator[tuple[str, str, Score, float]]:
    """Yield what needs the range of the truth, the same for all models. Complex images have no accepted one."""
    reason = images.reason if isinstance(images, PhaseImages) else ""
    truth, estimate = images[:2]
    span = math.nan if reason else metrics.peak_to_peak(truth, mask)
    for metric in (metrics.psnr, ssim, ms_ssim):
        score = metrics.undefined(reason) if reason else metric(truth, estimate, mask=mask, data_range=span)
        yield component, metric.__name__, score, span


def _resolution(curve: frc.FrcCurve, pixel_size_m: float | None) -> Iterator[tuple[str, Score]]:
    half = frc.frc50(curve)
    yield "frc50", half
    yield "frc_half_bit", frc.frc_crossing(curve, frc.half_bit_threshold)
    yield "frc_one_bit", frc.frc_crossing(curve, frc.one_bit_threshold)
    yield "frc_auc", frc.frc_area(curve)
    if pixel_size_m is not None:
        yield "frc50_nm", frc.full_period_nm(half, pixel_size_m)


def _audit(alignment: Alignment, *, aligned: bool) -> dict[str, object]:
    """Return what was removed from the image: all terms if aligned, else the global phase alone."""
    nothing = math.nan if alignment.reason else 0.0
    ramp, shift = (alignment.ramp_rad_per_px, alignment.shift_px) if aligned else ((nothing,) * 2,) * 2
    return {
        "phase_rad": alignment.phase_rad if aligned else alignment.raw_phase_rad,
        "amplitude_scale": alignment.amplitude_scale if aligned else 1.0 + nothing,
        "ramp_row_rad_px": ramp[0],
        "ramp_col_rad_px": ramp[1],
        "shift_row_px": shift[0],
        "shift_col_px": shift[1],
        "shift_capped": aligned and alignment.shift_capped,
    }
