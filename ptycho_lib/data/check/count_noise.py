"""Whether counts vary as photons do: detectors for electrons give several counts for one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from ptycho_lib.data.check.diagnosis import Diagnosis, diagnose
from ptycho_lib.data.check.findings import Finding, finding
from ptycho_lib.data.check.sample import Fit, Sample, fit

CLASSES = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Limits of classes of pixels by the events that they are predicted to receive. An error of the model shows in the
bright ones, a background in the dim ones, several counts for each event in all: the smallest ratio counts."""
EVEN = 1.5
"""Largest ratio of the classes over the smallest, where they must be equal."""
ENOUGH = 2000
"""So many such values are needed."""
CALIBRATED = 1.4
"""The mean of each class must be predicted within this factor: else the errors of the model are larger than noise."""
SPREAD = 1.6
"""Ratio of variance and mean above which one event gives several counts."""


def diagnose_counts(sample: Sample, counts_per_photon: float = 1.0) -> tuple[Diagnosis, list[Finding]]:
    """Search for the conventions that explain a sample, with noise as the counts show it.

    Parameters
    ----------
    sample : Sample
    counts_per_photon : float
        By which its photons were divided already.

    Returns
    -------
    Diagnosis, list of Finding
        One finding if an event gives several counts; the diagnosis then allows for that.
    """
    photons = sample.photons_per_pattern
    if photons is None:
        return diagnose(sample), []
    ratio = counts_per_event(sample, fit(sample), flat=True)
    result = diagnose(_with_photons(sample, photons / ratio))
    seen = counts_per_event(replace(result.sample, photons_per_pattern=photons), result.best)
    if ratio > SPREAD and not CALIBRATED > seen / ratio > 1 / CALIBRATED:  # conventions were wrong
        result = diagnose(sample)
        seen = counts_per_event(result.sample, result.best)
    if not seen > SPREAD:
        return result, []
    if not ratio > SPREAD:
        ratio = seen
        result = diagnose(_with_photons(sample, photons / ratio))
    each = float(f"{ratio * counts_per_photon:.2g}")
    message = f"the counts vary {ratio:.2g} times as much as single photons or electrons: one gives several counts"
    fix = f"Run `ptycho-study prepare --counts-per-photon {each:g}`, or what the detector's maker says."
    return result, [finding("spread-counts", message, {"counts_per_photon": each}, fix=fix)]


def _with_photons(sample: Sample, photons: float) -> Sample:
    return sample if photons == sample.photons_per_pattern else replace(sample, photons_per_pattern=photons)


def counts_per_event(sample: Sample, found: Fit, *, flat: bool = False) -> float:
    """Return variance over mean of the counts, 1 if nothing can be said.

    With φ counts for each event the variance is φ times the mean, however bright a pixel is. This shows only where
    object and probe predict dim pixels, too: where they do not (further modes, background), nothing is said.

    Parameters
    ----------
    sample : Sample
    found : Fit
        Of the sample.
    flat : bool
        Demand the same ratio of dim and bright pixels: with wrong conventions it grows with the mean.

    Returns
    -------
    float
    """
    predicted, photons = found.predicted, sample.photons_per_pattern
    if photons is None or predicted is None or not predicted.any():
        return 1.0
    live = np.ones(sample.measured.shape[1:], bool) if sample.mask is None else sample.mask
    counts, mean = (np.square(stack, dtype=np.float64)[:, live] for stack in (sample.measured, predicted))
    counts *= photons * len(counts) / max(counts.sum(), 1e-300)
    mean *= photons * len(mean) / max(mean.sum(), 1e-300)
    ratio = 1.0
    for _ in range(4):  # what is dim depends on the counts of an event
        edges = np.array(CLASSES) * ratio
        chosen = [(mean >= low) & (mean < high) for low, high in pairwise(edges)]
        ratios = [_ratio(counts[some], mean[some]) for some in chosen]
        known = [one for one in ratios if one is not None]
        if not known or min(known) == 0.0 or (flat and max(known) > EVEN * min(known)):
            return 1.0
        ratio = max(1.0, min(known))
    return ratio


def _ratio(counts: np.ndarray, mean: np.ndarray) -> float | None:
    """Return variance over mean about the prediction; None of too few, 0 if their mean is not as predicted."""
    if len(counts) < ENOUGH or not counts.sum() > 0:
        return None
    off = counts.mean() / mean.mean()
    if not 1 / CALIBRATED < off < CALIBRATED:
        return 0.0
    own = mean * off
    return float(np.mean(np.square(counts - own)) / counts.mean())
