"""What several trials say together: mean, spread, Student's interval, gain over the control, paired differences.

No trial is left out for its outcome. A collapsed trial counts with the values it has. Undefined values (NaN)
cannot enter a mean; their number is reported beside it, and the median ranks them as the worst.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from ptycho_lib.metrics_table import METRICS
from ptycho_lib.model_names import UNTRAINED

KEYS = ("n_train", "model", "condition", "component", "alignment", "metric")
"""What identifies one row of a summary; its trials are summed up."""

CONFIDENCE = 0.95
MIN_TRIALS = 3
"""Fewer trials get no interval and no ranking."""
UNDECIDED = "undecided"
"""In the place of the better model where the interval of the difference includes zero."""

Floats = NDArray[np.float64]


def summarize(
    table: pd.DataFrame, outcomes: pd.DataFrame | None = None, *, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Sum up the trials of each size, model, condition, component, alignment and metric.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    outcomes : DataFrame, optional
        `aggregate.run_outcomes`; fills the columns n_collapsed and n_failed.
    confidence : float
        Level of the intervals.

    Returns
    -------
    DataFrame
        `KEYS`, then

        - n: trials with a finite value; n_undefined, n_censored: trials without one, and with a bound;
        - mean, median, std (of the sample, n - 1);
        - low, high: confidence interval of the mean (`mean_interval`); NaN with fewer than three trials;
        - gain_over_untrained, gain_low, gain_high: mean minus the value of the model `untrained` under the
          same condition, with the sign that makes positive better, and its interval; NaN without that model;
        - n_collapsed, n_failed: trials that collapsed (counted above), and planned trials without a result
          (not counted above); missing without `outcomes`.

    Raises
    ------
    ValueError
        If the table holds an unknown metric.
    """
    matrix = _by_trial(table, KEYS, "value")
    low, high = mean_interval(matrix, confidence=confidence)
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
    return _with_outcomes(_with_gains(summary), outcomes)


def mean_interval(samples: NDArray[np.floating], *, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Return Student's confidence intervals of means, row by row.

    Parameters
    ----------
    samples : (rows, trials) float
        NaN and infinite values are left out of their row.
    confidence : float

    Returns
    -------
    low, high : (rows,) float64
        mean -+ t s / sqrt(n), t the quantile of Student's distribution with n - 1 degrees of freedom; NaN where
        fewer than three values are left.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6, 1 (1908).
    """
    samples = np.atleast_2d(np.asarray(samples, dtype=float))
    defined = np.isfinite(samples)
    count = defined.sum(axis=1)
    enough = np.where(count >= MIN_TRIALS, count, np.nan)
    filled = np.where(defined, samples, 0.0)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=1) / enough
        variance = (np.where(defined, samples - mean[:, None], 0.0) ** 2).sum(axis=1) / (enough - 1)
        half = special.stdtrit(enough - 1, (1 + confidence) / 2) * np.sqrt(variance / enough)
    return mean - half, mean + half


def paired_differences(
    table: pd.DataFrame, *, model: str = "pinn", reference: str = "baseline", confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Compare two models trial by trial: both saw the same patterns in a trial.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    model, reference : str
    confidence : float

    Returns
    -------
    DataFrame
        n_train, condition, component, alignment, metric, then

        - n: trials in which both values are defined;
        - mean, std, low, high: of model - reference, with Student's interval;
        - n_better: trials in which the model is better, whichever way its metric points;
        - better: the better model if the interval excludes zero, "undecided" if it does not, empty without
          an interval.

    Raises
    ------
    ValueError
        If the table holds an unknown metric.
    """
    keys = [key for key in KEYS if key != "model"]
    values = (table.loc[table["model"] == name, [*keys, "trial", "value"]] for name in (model, reference))
    pairs = pd.merge(*values, on=[*keys, "trial"], suffixes=("_model", "_reference"))
    difference = pairs["value_model"] - pairs["value_reference"]
    pairs["difference"] = difference.replace([np.inf, -np.inf], np.nan)
    result = pairs[keys].drop_duplicates(ignore_index=True)
    matrix = _by_trial(pairs, keys, "difference")
    low, high = mean_interval(matrix, confidence=confidence)
    sign = result["metric"].map(sign_of).to_numpy(dtype=float)
    least, most = np.where(sign > 0, low, -high), np.where(sign > 0, high, -low)
    frame = pd.DataFrame(matrix)
    return result.assign(
        n=frame.notna().sum(axis=1),
        mean=frame.mean(axis=1),
        std=frame.std(axis=1),
        low=low,
        high=high,
        n_better=(np.nan_to_num(sign[:, None] * matrix) > 0).sum(axis=1),
        better=np.select([np.isnan(low), least > 0, most < 0], ["", model, reference], UNDECIDED),
    )


def clear_best(values: pd.DataFrame, metric: str, *, confidence: float = CONFIDENCE) -> str:
    """Return the model that is better than every other one beyond doubt; empty if there is none.

    Parameters
    ----------
    values : DataFrame
        Trials × models, of one metric and size.
    metric : str
    confidence : float

    Returns
    -------
    str
        The model with the best mean, if Student's interval of its difference to each other model, paired by
        trial, excludes zero.
    """
    means = sign_of(metric) * values.mean()
    if means.notna().sum() < 2:
        return ""
    best = str(means.idxmax())
    others = [name for name in values.columns if name != best and values[name].notna().any()]
    gaps = np.array([sign_of(metric) * (values[best] - values[name]) for name in others], dtype=float)
    low, _ = mean_interval(gaps, confidence=confidence)
    return best if bool((low > 0).all()) else ""


def generalization_gaps(table: pd.DataFrame, *, train: str, test: str) -> pd.DataFrame:
    """Return how much worse each model does on the test scan than on its own training scan.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    train, test : str
        Names of the two conditions.

    Returns
    -------
    DataFrame
        n_train, model, component, alignment, metric, then

        - n: trials with both values;
        - train, test: means over these trials;
        - gap, low, high: train - test with the sign that makes positive worse on the test scan, paired by
          trial, with Student's interval.

    Raises
    ------
    ValueError
        If the table holds an unknown metric.
    """
    keys = [key for key in KEYS if key != "condition"]
    values = (table.loc[table["condition"] == name, [*keys, "trial", "value"]] for name in (train, test))
    pairs = pd.merge(*values, on=[*keys, "trial"], suffixes=("_train", "_test"))
    finite = np.isfinite(pairs["value_train"]) & np.isfinite(pairs["value_test"])
    sign = pairs["metric"].map(sign_of)
    pairs = pairs.assign(gap=sign * (pairs["value_train"] - pairs["value_test"]))[finite]
    pairs["gap"] = pairs["gap"].astype(float)
    groups = pairs.groupby(keys, sort=False)
    low, high = mean_interval(_by_trial(pairs, keys, "gap"))
    means = groups[["value_train", "value_test", "gap"]].mean()
    means.columns = pd.Index(["train", "test", "gap"])
    means.insert(0, "n", groups.size())
    return means.assign(low=low, high=high).reset_index()


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


def sign_of(metric: str) -> int:
    """Return 1 if higher values of a metric are better, -1 if lower ones are; raises as `better_of` does."""
    return 1 if better_of(metric) == "higher" else -1


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


def _with_gains(summary: pd.DataFrame) -> pd.DataFrame:
    """Add what each row gains over the untrained first guess, which is one number without chance."""
    keys = ["condition", "component", "alignment", "metric"]
    control = summary.loc[summary["model"] == UNTRAINED, [*keys, "mean"]].rename(columns={"mean": "control"})
    value = summary[keys].merge(control, on=keys, how="left")["control"].to_numpy(dtype=float)
    value = np.where(summary["model"] == UNTRAINED, np.nan, value)
    sign = summary["metric"].map(sign_of).to_numpy(dtype=float)
    low, mean, high = (sign * (summary[name].to_numpy(dtype=float) - value) for name in ("low", "mean", "high"))
    return summary.assign(gain_over_untrained=mean, gain_low=np.fmin(low, high), gain_high=np.fmax(low, high))


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
