"""Compare an object with the truth: one mask for all models, every metric and component, raw and aligned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ptycho_lib.evaluation import frc, metrics
from ptycho_lib.evaluation.alignment import Alignment, align
from ptycho_lib.evaluation.metrics import Image, Mask, Score
from ptycho_lib.evaluation.ssim import ms_ssim, ssim
from ptycho_lib.metrics_table import SCORE_COLUMNS
from ptycho_lib.physics.scan import resolved_area


def comparison_mask(
    positions_px: frc.Floats,
    probe: Image,
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
    probe : (N, N) complex
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
    truth: Image,
    estimate: Image,
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
        Columns `tidy.SCORE_COLUMNS`. Undefined values are NaN and say why in `reason`.
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
                    "value": float(score),
                    "data_range": data_range,
                    "censored": score.censored,
                    "reason": score.reason,
                    **audit,
                }
            )
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def phase_images(truth: Image, estimate: Image, mask: Mask) -> tuple[frc.Floats, frc.Floats]:
    """Return the phases (rad) of truth and estimate such that their difference is the wrapped error.

    The truth's phase is taken about its circular mean in the mask; the estimate's is the truth's plus
    arg(Ô·O*). No metric then sees a jump of 2π where the estimate is right.

    Parameters
    ----------
    truth, estimate : (H, W) complex
        The estimate without its global phase (`alignment.align`).
    mask : (H, W) bool
    """
    pixels = truth[mask]
    amplitude = np.abs(pixels)
    mean = np.sum(pixels / np.where(amplitude > 0, amplitude, 1)) if pixels.size else 1.0
    reference = np.angle(truth * np.exp(-1j * np.angle(mean)))
    # A pixel of amplitude zero has no phase; it counts as the mean phase, not as the truth's.
    error = np.where(estimate == 0, -reference, np.angle(estimate * truth.conj()))
    return reference, reference + np.where(np.isfinite(estimate), error, np.nan)


def compare_halves(
    first: Image,
    second: Image,
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
    truth: Image, estimate: Image, mask: Mask, pixel_size_m: float | None
) -> Iterator[tuple[str, str, Score, float]]:
    """Yield component, metric, score and data range (NaN where none enters)."""
    phases = phase_images(truth, estimate, mask)
    images = {"amplitude": (np.abs(truth), np.abs(estimate)), "phase": phases, "complex": (truth, estimate)}
    for component, (reference, guess) in images.items():
        yield component, "mae", metrics.mae(reference, guess, mask=mask), math.nan
        yield component, "mse", metrics.mse(reference, guess, mask=mask), math.nan
        if component == "complex":
            yield component, "e0", metrics.normalised_complex_error(reference, guess, mask=mask), math.nan
            yield component, "contrast", metrics.contrast(reference, guess, mask=mask), math.nan
        else:
            # One data range for all models: that of the truth. Complex images have no accepted one.
            span = metrics.peak_to_peak(reference, mask)
            for metric in (metrics.psnr, ssim, ms_ssim):
                yield component, metric.__name__, metric(reference, guess, mask=mask, data_range=span), span
        for name, score in _resolution(reference, guess, mask, pixel_size_m):
            yield component, name, score, math.nan


def _resolution(truth: Image, estimate: Image, mask: Mask, pixel_size_m: float | None) -> Iterator[tuple[str, Score]]:
    curve = frc.frc_curve(truth, estimate, mask=mask)
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
