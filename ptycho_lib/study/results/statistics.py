"""What several trials say together: mean, spread, interval, and the paired difference of two models.

Nothing is filtered by outcome. A collapsed trial counts with the values that it has. Undefined values (NaN)
cannot enter a mean, so their number stands beside it, and the median takes them for the worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from ptycho_lib.metrics_table import METRICS

KEYS = ("n_train", "model", "condition", "component", "alignment", "metric")
"""What distinguishes one value of a summary; the trials are what it sums up."""

CONFIDENCE = 0.95
N_RESAMPLES = 9999
MIN_TRIALS = 3
"""Fewer trials get no interval: two points say nothing about their spread that could be believed."""

ROWS_AT_ONCE = 128
"""Bootstrapped together: their resampled means (10 MB) stay near the processor."""


def summarize(
    table: pd.DataFrame,
    outcomes: pd.DataFrame | None = None,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Sum up the trials of each size, model, condition, component, alignment and metric.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `tidy.COLUMNS`.
    outcomes : DataFrame, optional
        `aggregate.run_outcomes`; fills the columns n_collapsed and n_failed.
    confidence : float
        Level of the interval.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        `KEYS`, then

        - n: trials with a finite value; n_undefined, n_censored: those without, and those with a bound;
        - mean, median, std (of the sample, n - 1);
        - low, high: confidence interval of the mean (`mean_interval`); NaN with fewer than three trials;
        - n_collapsed, n_failed: trials that collapsed (and are counted above), and planned trials without
          a result (which are not); missing without `outcomes`.
    """
    matrix = _by_trial(table, KEYS, "value")
    low, high = mean_interval(matrix, confidence=confidence, n_resamples=n_resamples, seed=seed)
    groups = table.groupby(list(KEYS), sort=False)
    values = pd.DataFrame(matrix).replace([np.inf, -np.inf], np.nan)
    summary = table[list(KEYS)].drop_duplicates(ignore_index=True)
    summary = summary.assign(
        n=values.notna().sum(axis=1),
        n_undefined=groups["trial"].nunique().to_numpy() - values.notna().sum(axis=1),
        n_censored=groups["censored"].sum().to_numpy(dtype=int),
        mean=values.mean(axis=1),
        median=_medians(table),
        std=values.std(axis=1),
        low=low,
        high=high,
    )
    return _with_outcomes(summary, outcomes)


def mean_interval(
    samples: NDArray[np.float64],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bootstrap confidence intervals of means, row by row.

    Parameters
    ----------
    samples : (rows, trials) float
        NaN and infinite values are left out of their row.
    confidence : float
    n_resamples, seed : int

    Returns
    -------
    low, high : (rows,) float64
        NaN where fewer than three values are left.

    Notes
    -----
    The percentile bootstrap is too narrow for few trials (about 84 % instead of 95 % at five). Its level is
    therefore expanded [1]_ such that normal data would get the width of Student's interval. With fewer than
    about eight trials the interval still cannot leave the range of the data, and falls short of its level.

    References
    ----------
    .. [1] T. C. Hesterberg, "What teachers should know about the bootstrap", Am. Stat. 69, 371 (2015).
    """
    samples = np.atleast_2d(np.asarray(samples, dtype=float))
    low, high = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    defined = np.isfinite(samples)
    # Rows with the same trials missing share their resamples.
    patterns, group = np.unique(defined, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        count = int(pattern.sum())
        if count < MIN_TRIALS:
            continue
        rows = np.flatnonzero(group.ravel() == number)
        tail = (1 - expanded_level(confidence, count)) / 2
        times = times_drawn(count, n_resamples, seed).T
        for some in np.array_split(rows, math.ceil(len(rows) / ROWS_AT_ONCE)):
            means = samples[some][:, pattern] @ times / count
            low[some], high[some] = np.percentile(means, [100 * tail, 100 * (1 - tail)], axis=-1, overwrite_input=True)
    return low, high


@lru_cache(maxsize=8)
def times_drawn(count: int, n_resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of `count` trials is drawn in each bootstrap resample.

    The same draws for every metric, size and model of a study: what is compared shares its luck.

    Returns
    -------
    (n_resamples, count) float64
        Whole numbers; each row adds up to `count`. A mean over a resample is a product with its row.
    """
    drawn = np.random.default_rng(seed).integers(0, count, (n_resamples, count))
    cells = drawn + count * np.arange(n_resamples)[:, None]
    times = np.bincount(cells.ravel(), minlength=count * n_resamples)
    return times.reshape(n_resamples, count).astype(float)


def expanded_level(confidence: float, n: int) -> float:
    """Return the level at which a percentile interval of n values is as wide as Student's at `confidence`."""
    quantile = np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + confidence) / 2)
    return float(min(1 - 2 * special.ndtr(-quantile), 1 - 1e-9))


def paired_differences(
    table: pd.DataFrame,
    *,
    model: str = "pinn",
    reference: str = "baseline",
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two models trial by trial: they saw the same patterns, so they share their luck.

    Returns
    -------
    DataFrame
        n_train, condition, component, alignment, metric, then

        - n: trials in which both values are defined;
        - mean, std, low, high: of model - reference;
        - n_better: trials in which the model is better, whichever way its metric points;
        - verdict: the better model if the interval excludes zero, "undecided" if it does not, empty
          without an interval.
    """
    keys = [key for key in KEYS if key != "model"]
    values = (table.loc[table["model"] == name, [*keys, "trial", "value"]] for name in (model, reference))
    pairs = pd.merge(*values, on=[*keys, "trial"], suffixes=("_model", "_reference"))
    difference = pairs["value_model"] - pairs["value_reference"]
    pairs["difference"] = difference.replace([np.inf, -np.inf], np.nan)
    result = pairs[keys].drop_duplicates(ignore_index=True)
    matrix = _by_trial(pairs, keys, "difference")
    low, high = mean_interval(matrix, confidence=confidence, n_resamples=n_resamples, seed=seed)
    higher = (result["metric"].map(better_of) == "higher").to_numpy()
    gain = np.where(higher, 1.0, -1.0)[:, None] * matrix
    least, most = np.where(higher, low, -high), np.where(higher, high, -low)
    frame = pd.DataFrame(matrix)
    return result.assign(
        n=frame.notna().sum(axis=1),
        mean=frame.mean(axis=1),
        std=frame.std(axis=1),
        low=low,
        high=high,
        n_better=(np.nan_to_num(gain) > 0).sum(axis=1),
        verdict=np.select([np.isnan(low), least > 0, most < 0], ["", model, reference], "undecided"),
    )


def better_of(metric: str) -> str:
    """Return which end of a metric is good, "lower" or "higher".

    Raises
    ------
    ValueError
        If the metric is unknown; the message lists the known ones.
    """
    if metric not in METRICS:
        raise ValueError(f"metric '{metric}' is unknown; choose one of {', '.join(METRICS)}")
    return METRICS[metric].better


def _by_trial(table: pd.DataFrame, keys: Sequence[str], column: str) -> NDArray[np.float64]:
    """Return keys × trials, the keys in their order in the table; NaN where a run is missing."""
    row = table.groupby(list(keys), sort=False).ngroup().to_numpy()
    trials, place = np.unique(table["trial"].to_numpy(), return_inverse=True)
    matrix = np.full((row.max(initial=-1) + 1, trials.size), np.nan)
    matrix[row, place] = table[column].to_numpy(dtype=float)
    return matrix


def _medians(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return medians in which an undefined value is the worst one; NaN if that makes them undefined."""
    worst = table["metric"].map(lambda name: -np.inf if better_of(name) == "higher" else np.inf)
    filled = table.assign(value=table["value"].fillna(worst))
    medians = filled.groupby(list(KEYS), sort=False)["value"].median()
    return medians.where(np.isfinite(medians), np.nan).to_numpy()


def _with_outcomes(summary: pd.DataFrame, outcomes: pd.DataFrame | None) -> pd.DataFrame:
    if outcomes is None:
        return summary.assign(n_collapsed=pd.NA, n_failed=pd.NA)
    keys = ["n_train", "model"]
    counts = (
        outcomes.assign(n_collapsed=outcomes["collapsed"], n_failed=outcomes["state"] != "complete")
        .groupby(keys)[["n_collapsed", "n_failed"]]
        .sum()
        .astype(int)
        .reset_index()
    )
    merged = summary.merge(counts, on=keys, how="left")
    return merged.astype({"n_collapsed": "Int64", "n_failed": "Int64"})
