"""Where a learning curve first reaches a value, with an interval that keeps its level at three trials."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.study.results.statistics import CONFIDENCE, MIN_TRIALS, mean_interval

Floats = NDArray[np.float64]

POINTS_PER_INTERVAL = 32
"""Sizes looked at between two sizes of the study; between them the bounds are taken as straight lines."""


class Status(StrEnum):
    """Where a value is reached."""

    WITHIN = "within"
    AT_SMALLEST = "at the smallest size"
    NOT_REACHED = "not reached"
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class Reach:
    """The training size at which a curve first reaches a value.

    Parameters
    ----------
    status : Status
    size : float
        Patterns, interpolated linearly in log2 n; NaN unless the status is WITHIN or AT_SMALLEST.
    low, high : float
        Ends of the interval, within the sizes of the study; NaN with fewer than three trials.
    low_open, high_open : bool
        Whether the interval goes on below the smallest size, and above the largest.
    n_trials : int
    """

    status: Status
    size: float
    low: float
    high: float
    low_open: bool
    high_open: bool
    n_trials: int


def first_reach(excess: pd.DataFrame, *, confidence: float = CONFIDENCE) -> Reach:
    """Find the size at which a mean curve first reaches a value.

    Parameters
    ----------
    excess : DataFrame
        Trials × sizes (columns, rising): by how much each trial exceeds the value, positive if it is better;
        NaN where undefined.
    confidence : float

    Returns
    -------
    Reach

    Notes
    -----
    Each trial's curve is a straight line in log2 n between two sizes. The interval inverts the paired t-test [1]_:
    it holds the sizes at which the mean excess cannot be told from zero. Its lower end is the first size at
    which the upper bound of the mean excess is not negative, its upper end the first at which the lower bound is
    not. Unlike a bootstrap it keeps its level at three trials (docs/explanation/statistics.md).

    References
    ----------
    .. [1] E. C. Fieller, "Some problems in interval estimation", J. R. Stat. Soc. B 16, 175 (1954).
    """
    sizes = excess.columns.to_numpy(dtype=float)
    log_sizes, values = np.log2(sizes), excess.to_numpy(dtype=float)
    n_trials = int(np.isfinite(values).any(axis=1).sum())
    if n_trials == 0:
        return Reach(Status.UNDEFINED, np.nan, np.nan, np.nan, False, False, 0)
    at, curves = _refined(log_sizes, values)
    counts = np.isfinite(curves).sum(axis=1)
    mean = np.where(counts > 0, np.nansum(curves, axis=1) / np.maximum(counts, 1), np.nan)
    place = _first_not_negative(at, mean)
    size = float(2**place) if np.isfinite(place) else np.nan
    status = Status.NOT_REACHED if np.isnan(place) else Status.AT_SMALLEST if place == at[0] else Status.WITHIN
    lower, upper = mean_interval(curves, confidence=confidence)
    if n_trials < MIN_TRIALS or not np.isfinite(upper).any():
        return Reach(status, size, np.nan, np.nan, False, False, n_trials)
    low, high = _first_not_negative(at, upper), _first_not_negative(at, lower)
    return Reach(
        status,
        size,
        low=float(2 ** (at[-1] if np.isnan(low) else low)),
        high=float(2 ** (at[-1] if np.isnan(high) else high)),
        low_open=bool(low == at[0]),
        high_open=bool(np.isnan(high)),
        n_trials=n_trials,
    )


def by_trial(rows: pd.DataFrame) -> pd.DataFrame:
    """Return trials × sizes of one model's values; NaN where a run is missing or its value undefined."""
    return rows.pivot(index="trial", columns="n_train", values="value").astype(float)


def _refined(log_sizes: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return finer sizes (log2) and the trials' straight lines there, (sizes, trials)."""
    steps = np.arange(POINTS_PER_INTERVAL * (len(log_sizes) - 1) + 1) / POINTS_PER_INTERVAL
    left = np.minimum(steps.astype(int), max(len(log_sizes) - 2, 0))
    right = np.minimum(left + 1, len(log_sizes) - 1)
    share = steps - left
    at = (1 - share) * log_sizes[left] + share * log_sizes[right]
    # At a size of the study itself the other end, which may be undefined, has no say.
    first, second = values[:, left], values[:, right]
    curves = np.where(share == 0, first, np.where(share == 1, second, (1 - share) * first + share * second))
    return at, curves.T


def _first_not_negative(at: Floats, curve: Floats) -> float:
    """Return where a curve first is not negative, straight between the points; NaN if it is nowhere."""
    reached = np.flatnonzero(curve >= -1e-12)
    if not len(reached):
        return np.nan
    i = int(reached[0])
    if i == 0 or np.isnan(curve[i - 1]):
        return float(at[i])
    rise = curve[i] - curve[i - 1]
    return float(at[i - 1] + (at[i] - at[i - 1]) * min(1.0, -curve[i - 1] / rise))
