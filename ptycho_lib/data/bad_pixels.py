"""Detector pixels and values that are no measurement: dead and hot pixels, dead areas, single hits."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, find_objects, label, median_filter

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.data.value_checks import inside
from ptycho_lib.io.lazy_stack import Array, blocks
from ptycho_lib.physics.diffraction import diffract

HOT_FACTOR = 8.0
"""A pixel is hot if its mean intensity exceeds that of its neighbourhood so many times ..."""
NEVER_ZERO = 25.0
"""A pixel for which so many counts are expected is not zero by chance (1e-11)."""
ZINGER = 30.0
"""A single value is an outlier if it exceeds its pixel's mean so many times, ..."""
ZINGER_SHARE = 0.02
"""... and holds this share of a pattern's light."""
PREDICTED = 64
"""Patterns from which the expected mean pattern is made."""
ALIKE = 0.9
"""Correlation of mean amplitudes above which object and probe explain the mean pattern."""
HOT_SIGMA = 8.0
"""... and by so many standard deviations of the counting noise of the mean."""


def find_bad_pixels(dataset: PtychoDataset) -> tuple[Array, Array]:
    """Return (dead, hot) pixels, (N, N) bool each, from the mean pattern; one pass.

    Dead: a region of pixels that are zero in every pattern, whose border counts clearly. Hot: far above the
    median of the 5 × 5 neighbourhood. Where object and probe explain the mean pattern, they must contradict the
    pixel, too: the sharp rings of a weak object under an even probe are no fault. Masked pixels are neither.
    """
    return bad_pixels(dataset, summed(dataset), len(dataset))


def summed(dataset: PtychoDataset) -> Array:
    """Return Σ diffraction² over the patterns, (N, N); what is no measurement counts as zero."""
    total = np.zeros(dataset.diffraction.shape[1:])
    for _, block in blocks(dataset.diffraction):
        good = np.isfinite(block) & (block > 0)
        total += np.sum(np.square(block, dtype=np.float64), axis=0, where=good)
    return total


def single_hits(counts: Array, total: Array, number: int) -> Array:
    """Return the values of patterns that a cosmic ray or zinger hit, bool as `counts`.

    Parameters
    ----------
    counts : (k, N, N) array
        Intensity of some patterns.
    total : (N, N) array
        Intensity of all patterns, summed.
    number : int
        How many patterns these are.

    Returns
    -------
    (k, N, N) bool array
        True for values that exceed the mean of their pixel in the other patterns `ZINGER` times, and hold more
        than `ZINGER_SHARE` of the light of a pattern.
    """
    if number < 8:
        return np.zeros(counts.shape, bool)
    others = np.maximum(total - counts, 0) / (number - 1)
    return np.asarray((counts > ZINGER * others) & (counts > ZINGER_SHARE * total.sum() / number))


def bad_pixels(dataset: PtychoDataset, total: Array, count: int) -> tuple[Array, Array]:
    """Return what `find_bad_pixels` returns, from the summed intensity of all patterns.

    Parameters
    ----------
    dataset : PtychoDataset
    total : (N, N) array
        Σ diffraction² over the patterns.
    count : int
        Number of patterns.

    Returns
    -------
    dead, hot : (N, N) bool array
    """
    if not total.any():
        return np.zeros(total.shape, bool), np.zeros(total.shape, bool)
    measured = np.ones(total.shape, bool) if dataset.mask is None else dataset.mask
    around = median_filter(total, size=5, mode="mirror")
    counts = 1.0 if dataset.photons_per_pattern is None else dataset.photons_per_pattern * count / total.sum()
    hot = (total > HOT_FACTOR * around) & (total > around + HOT_SIGMA * np.sqrt(around + 1)) & (total > count)
    hot &= ~_core(total.shape)
    expected = _expected_total(dataset, total) if ((total == 0) & measured).any() or hot.any() else None
    dead = _enclosed(total, counts, expected)
    if expected is not None:
        dead &= expected * counts > NEVER_ZERO
        hot &= total > HOT_FACTOR * expected
    return dead & measured, hot & measured


def _expected_total(dataset: PtychoDataset, total: Array) -> Array | None:
    """Return the summed intensity (N, N) that object and probe predict, scaled to the measured one.

    None if they cannot, or if the mean pattern is another one where something was measured: then they say
    nothing about pixels.
    """
    size, probe = dataset.patch_size, dataset.probe
    chosen = spread_indices(len(dataset), PREDICTED)
    positions = dataset.positions_px[chosen]
    if probe.shape[-2:] != total.shape or dataset.obj.ndim != 2 or not inside(positions, size, dataset.obj.shape).all():
        return None
    predicted = diffract(dataset.obj, probe, positions)
    mean = np.square(predicted, dtype=np.float64).mean(axis=0)
    live = total > 0
    around = median_filter(total, size=5, mode="mirror")
    live &= total <= HOT_FACTOR * np.maximum(around, 1e-300)  # a hot pixel says nothing of the others
    power = max(mean[live].sum() * total[live].sum(), 1e-300)
    alike = np.sum(np.sqrt(mean[live] * total[live])) / np.sqrt(power)
    return mean * (total[live].sum() / max(mean[live].sum(), 1e-300)) if alike > ALIKE else None


def _enclosed(total: Array, counts: float, expected: Array | None) -> Array:
    """Return the regions of zeros whose border counts clearly: dead pixels, module gaps, a beam stop.

    Where the intensity is known that object and probe predict, the border must show at least half of it: where
    too much background was subtracted, zeros have dark borders.
    """
    regions, _ = label(total == 0)
    dead = np.zeros(total.shape, bool)
    for region, place in enumerate(find_objects(regions), 1):
        wide = tuple(slice(max(part.start - 2, 0), part.stop + 2) for part in place)
        inner = regions[wide] == region
        border = binary_dilation(inner, iterations=2) & (regions[wide] == 0)
        if not border.any():
            continue
        if expected is None:
            clear = np.median(total[wide][border]) * counts > NEVER_ZERO
        else:
            clear = total[wide][border].sum() > 0.5 * expected[wide][border].sum()
        dead[wide] |= inner & clear
    return dead


def _core(shape: tuple[int, ...]) -> Array:
    """Return the pixels about DC, where the direct beam may well stand out."""
    rows, columns = np.indices(shape)
    return np.hypot(rows - shape[0] // 2, columns - shape[1] // 2) <= max(2, shape[0] // 16)
