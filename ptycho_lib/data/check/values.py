"""Faults of the measured values: integers that wrapped, background, single outlying pixels, equalised patterns."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.bad_pixels import single_hits
from ptycho_lib.data.check.diagnosis import CLEARLY, EXPLAINED, Diagnosis
from ptycho_lib.data.check.findings import Finding, finding
from ptycho_lib.data.check.measurements import EQUAL, SEVERAL
from ptycho_lib.data.check.sample import Sample, compare
from ptycho_lib.io.lazy_stack import Array

UNEVEN = 0.005
"""Relative spread of predicted total intensities that no measurement would level to nothing."""
TOP_SHARE = 0.5
"""Values in the top quarter of an integer's range, over those in the quarter below: more, and they wrapped."""
BACKGROUND = 0.01
"""Share of the light that a background must hold to be named."""


def wrapped(sample: Sample) -> list[Finding]:
    """Find counts that overflowed their integer type and began again at the other end.

    Parameters
    ----------
    sample : Sample
        Negative amplitudes stand for negative counts.

    Returns
    -------
    list of Finding
    """
    counts = np.sign(sample.measured) * np.square(sample.measured)
    low, high = float(counts.min()), float(counts.max())
    for bits in (8, 16):
        half = 2.0 ** (bits - 1)
        if -half - 0.5 <= low < -0.9 * half and 0.9 * half < high < half:
            message = f"counts from {low:.0f} to {high:.0f}: they overflowed a signed integer of {bits} bits"
            return [finding("overflow", message)]
    return []


def wrapped_unsigned(sample: Sample) -> list[Finding]:
    """Find unsigned counts that wrapped; only meaningful where object and probe do not explain the patterns.

    Counts fall off towards their largest value; wrapped ones fill the range evenly up to its end.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    list of Finding
    """
    counts = np.square(sample.measured)
    high = float(counts.max())
    for bits in (8, 16):
        limit = 2.0**bits
        if not 0.97 * limit < high < limit:
            continue
        top = int(np.count_nonzero(counts > 0.75 * limit))
        below = int(np.count_nonzero((counts > 0.5 * limit) & (counts <= 0.75 * limit)))
        cut = int(np.count_nonzero(counts > limit - 1.5))
        if top > 20 and top > TOP_SHARE * below and cut < 0.2 * top:
            message = f"as many counts just below {limit:.0f} as at half of it: they overflowed {bits} bits"
            return [finding("overflow", message)]
    return []


def background(result: Diagnosis) -> list[Finding]:
    """Find a constant background, where that explains more.

    Parameters
    ----------
    result : Diagnosis

    Returns
    -------
    list of Finding
    """
    sample, predicted = result.sample, result.best.predicted
    if predicted is None or result.unexplained < EXPLAINED / 10:
        return []
    measured = np.square(sample.measured)
    live = np.ones(measured.shape[1:], bool) if sample.mask is None else sample.mask
    mean, model = measured.mean(axis=0)[live], np.square(predicted, dtype=np.float64).mean(axis=0)[live]
    level, scale = _line(mean, model)
    total = float(mean.sum())
    if level * live.sum() < BACKGROUND * total or scale <= 0:
        return []
    before = result.best
    reduced = np.sqrt(np.clip(measured - level, 0, None)) * live
    after = compare(reduced, predicted)
    # Misfits are relative to the light, which is less now.
    gain = after.mean * np.square(reduced).sum() / measured.sum()
    if gain < CLEARLY * before.mean:
        share = level * live.sum() / total
        message = f"a background of {level:.3g} in every pixel, {share:.0%} of the light"
        options = {"subtract_dark": f"{level:.3g}"}
        fix = f"Run `ptycho-study prepare --subtract-dark {level:.3g}`, or `file` for the file's dark image."
        return [finding("background", message, options if share > 5 * BACKGROUND else None, fix=fix)]
    return []


def _line(mean: Array, model: Array) -> tuple[float, float]:
    """Return level and scale of mean ≈ scale · model + level: the scale from bright pixels, the level from dim."""
    bright = model > np.quantile(model, 0.8)
    dim = model < np.quantile(model, 0.6)
    level, scale = 0.0, 1.0
    for _ in range(20):
        scale = float(np.sum((mean[bright] - level) * model[bright]) / max(np.square(model[bright]).sum(), 1e-300))
        level = float(np.mean(mean[dim] - scale * model[dim]))
    return level, scale


def outlying_values(sample: Sample) -> list[Finding]:
    """Find values far above what their pixel shows in other patterns: cosmic rays, zingers.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    list of Finding
    """
    counts = np.square(sample.measured)
    hits = int(single_hits(counts, counts.sum(axis=0), len(counts)).sum())
    if not hits:
        return []
    message = f"{hits} single values in {len(counts)} patterns far above their pixel's mean"
    return [finding("outlier-pixels", message, {"bad_pixels": "repair"})]


def equalised(sample: Sample) -> list[Finding]:
    """Find patterns of equal total intensity where object and probe predict unequal ones.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    list of Finding
    """
    predicted = sample.predicted()
    if predicted is None or len(predicted) < SEVERAL:
        return []
    measured, expected = (
        totals.std() / totals.mean()
        for totals in (np.square(stack).sum(axis=(1, 2)) for stack in (sample.measured, predicted))
    )
    if not measured < EQUAL < UNEVEN < expected:
        return []
    return [finding("normalised", f"all patterns have one total intensity; it should vary by {expected:.1%}")]
