"""A sample of patterns, and how well object and probe predict them.

The misfit of a pattern is Σ(x - s·A)² / mean Σx², one scale s for all patterns, over the measured pixels.
Photon noise leaves a part of it, which `Fit.noise` finds by drawing the predicted counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ptycho_lib.data.reprojection import residual, spread_indices
from ptycho_lib.data.value_checks import inside
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.diffraction import diffract

MOST_COUNTS = 2.0**62
"""Poisson numbers are drawn as 64-bit integers."""
FEW = 8
"""With fewer patterns there are no statistics."""
DOUBT = 4.0
"""Standard errors below which two hypotheses cannot be distinguished."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some patterns with what is needed to predict them.

    Parameters
    ----------
    measured : (k, N, N) float array
        What the file calls amplitude; zero at pixels that were not measured.
    index : (k,) int array
        Numbers of the patterns in the scan.
    scan_px : (n, 2) array
        All positions of the scan, pixels.
    probe : (m, N, N) complex array
    obj : (H, W) complex array
    mask : (N, N) bool array, optional
        Pixels that were measured.
    pixel_size_m, photons_per_pattern : float, optional
    axis_last : (k, N, N) float array, optional
        The same patterns if the last axis of the stack counted them; only where there are N patterns.
    converted : bool
        The square root of counts or intensity was taken already.
    """

    measured: Array
    index: Array
    scan_px: Array
    probe: Array
    obj: Array
    mask: Array | None = None
    pixel_size_m: float | None = None
    photons_per_pattern: float | None = None
    axis_last: Array | None = None
    converted: bool = False

    @property
    def positions_px(self) -> Array:
        """Positions of the sampled patterns, (k, 2)."""
        return self.scan_px[self.index]

    @property
    def size(self) -> int:
        """Edge N of a pattern."""
        return int(self.measured.shape[-1])

    def take(self, chosen: Array) -> Sample:
        """Return the sample with some of its patterns."""
        last = None if self.axis_last is None else self.axis_last[chosen]
        return replace(self, measured=self.measured[chosen], index=self.index[chosen], axis_last=last)

    def spread(self, number: int) -> Sample:
        """Return the sample with at most so many patterns, spread over the scan."""
        return self.take(spread_indices(len(self.index), number))

    def inside(self) -> Array:
        """Return which patches lie inside the object, (k,) bool."""
        return inside(self.positions_px, self.size, self.obj.shape)

    def predicted(self) -> Array | None:
        """Return the amplitudes (k, N, N) float32 of object × probe; None if a patch lies outside the object."""
        if not self.inside().all():
            return None
        predicted = diffract(self.obj, self.probe, self.positions_px)
        return predicted if self.mask is None else predicted * self.mask.astype(np.float32)

    def uniform(self) -> Sample:
        """Return the sample with an object that is one everywhere."""
        return replace(self, obj=np.ones_like(self.obj))


@dataclass(frozen=True, eq=False)
class Fit:
    """How well a hypothesis explains the sample.

    Parameters
    ----------
    residual : float
        R = Σ|s·A - x| / Σx; infinity if patches lie outside the object.
    misfit : (k,) array
        Of each pattern.
    scale : float
        s, the least-squares scale of the prediction A.
    predicted : (k, N, N) array or None
        A.
    photons_per_pattern : float, optional
        Gives the scale of the counts; without it the noise counts as zero.
    """

    residual: float
    misfit: Array
    scale: float
    predicted: Array | None = None
    photons_per_pattern: float | None = None

    @property
    def mean(self) -> float:
        """Mean misfit."""
        return float(self.misfit.mean())

    @cached_property
    def noise(self) -> Fit:
        """The fit of counts drawn from the prediction: what photon noise alone would leave."""
        nothing = Fit(0.0, np.zeros(len(self.misfit)), self.scale)
        if self.predicted is None or self.photons_per_pattern is None or not self.predicted.any():
            return nothing
        mean = np.square(self.predicted, dtype=np.float64)
        mean *= self.photons_per_pattern * len(mean) / mean.sum()
        if not mean.max() < MOST_COUNTS:  # NaN, too
            return nothing
        return compare(np.sqrt(np.random.default_rng(0).poisson(mean)), self.predicted)

    @property
    def beyond_noise(self) -> float:
        """Mean misfit that photon noise does not explain, at least 0."""
        return max(self.mean - self.noise.mean, 0.0)

    @property
    def within_noise(self) -> bool:
        """Whether photon noise explains all of the misfit; False where the photons are unknown."""
        if self.photons_per_pattern is None or not np.isfinite(self.residual):
            return False
        return self.mean - self.noise.mean < max(DOUBT * standard_error(self, self.noise), 0.02 * self.noise.mean)


def fit(sample: Sample) -> Fit:
    """Compare the sample's patterns with what object and probe predict."""
    return compare(sample.measured, sample.predicted(), sample.photons_per_pattern)


def compare(measured: Array, predicted: Array | None, photons_per_pattern: float | None = None) -> Fit:
    """Compare amplitudes (k, N, N) with a prediction up to one scale.

    Parameters
    ----------
    measured : (k, N, N) array
    predicted : (k, N, N) array or None
    photons_per_pattern : float, optional

    Returns
    -------
    Fit
        Infinite without a prediction, or where one side is zero.
    """
    found = None if predicted is None else residual(measured, predicted)
    if predicted is None or found is None or not np.isfinite(found.value):
        return Fit(np.inf, np.full(len(measured), np.inf), np.nan, None, photons_per_pattern)
    error = np.square(measured - found.scale * predicted).sum(axis=(1, 2))
    misfit = error * len(measured) / np.square(measured).sum()
    return Fit(found.value, misfit, found.scale, predicted, photons_per_pattern)


def lead(worse: Fit, better: Fit) -> float:
    """Return by how many standard errors one hypothesis beats another, pattern by pattern.

    What is common to both, noise above all, cancels: a weak object or a low dose is decided, too.

    Parameters
    ----------
    worse, better : Fit
        Of the same patterns.

    Returns
    -------
    float
        Infinity if the first predicts nothing; 0 for fewer than `FEW` patterns.
    """
    if not np.isfinite(worse.misfit).all():
        return np.inf
    gain = worse.misfit - better.misfit
    if len(gain) < FEW:
        return 0.0
    return float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-300))


def standard_error(one: Fit, two: Fit) -> float:
    """Return the standard error of the difference of two mean misfits.

    Parameters
    ----------
    one, two : Fit

    Returns
    -------
    float
    """
    return float(np.sqrt((one.misfit.var() + two.misfit.var()) / len(one.misfit)))
