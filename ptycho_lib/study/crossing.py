"""Crossing points: how many patterns one model needs for what the other reaches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ptycho_lib.config import NOMINAL
from ptycho_lib.study.answer import AT_ONCE, NAMES, NEVER, Crossing
from ptycho_lib.study.statistics import CONFIDENCE, MIN_TRIALS, N_RESAMPLES, better_of, expanded_level
from ptycho_lib.tidy import METRICS

Floats = NDArray[np.float64]


def crossing_point(
    table: pd.DataFrame,
    n_train: int,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
    model: str = "pinn",
    reference: str = "baseline",
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Crossing:
    """Find the size at which the reference reaches what the model reaches with `n_train` patterns.

    The reference's curve is its mean over the trials, linear in log2 n between the sizes; its first crossing
    counts. For the interval, trials are drawn anew with replacement, the same ones for both models and all
    sizes (paired bootstrap, level expanded as in `statistics.mean_interval`).

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `tidy.COLUMNS`.
    n_train : int
        Size of the model.
    metric, component, alignment, condition : str
        Which values.
    model, reference : str
    confidence : float
    n_resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If the table holds no value of one of the models; the message says which.
    """
    wanted = {"metric": metric, "component": component, "alignment": alignment, "condition": condition}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in wanted.items()])]
    own = _by_trial(rows[rows["n_train"] == n_train], model, f"n_train {n_train}, {component} {metric}")
    other = _by_trial(rows, reference, f"{component} {metric}")
    trials = sorted(set(own.index) & set(other.index))
    both = np.hstack([own.reindex(trials).to_numpy(), other.reindex(trials).to_numpy()])
    sizes = other.columns.to_numpy(dtype=float)
    higher = better_of(metric) == "higher"

    everyone = np.arange(len(trials))

    def needed(chosen: NDArray[np.int64], axis: int = -1) -> Floats:
        means = _mean(_times_drawn(np.moveaxis(np.asarray(chosen), axis, -1), len(trials)), both)
        return _first_reach(means[..., 0], means[..., 1:], np.log2(sizes), higher)

    point = float(needed(everyone)) if trials else math.nan
    low = high = math.nan
    if len(trials) >= MIN_TRIALS and not math.isnan(point):
        level = expanded_level(confidence, len(trials))
        found = stats.bootstrap(
            (everyone,),
            needed,
            vectorized=True,
            method="percentile",
            confidence_level=level,
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
        # Quantiles that are members of the distribution: nothing is interpolated towards "never".
        tails = [(1 - level) / 2, (1 + level) / 2]
        if not np.isnan(found).any():
            low, high = np.quantile(found, tails, method="closest_observation")
    smallest, largest = int(sizes[0]), int(sizes[-1])
    return Crossing(
        model=model,
        reference=reference,
        n_train=int(n_train),
        **wanted,
        value=float(_mean(np.ones(len(trials)), both)[0]),
        needed=_size(point, smallest, largest),
        low=_size(low, smallest, largest),
        high=_size(high, smallest, largest),
        confidence=confidence,
        n_trials=len(trials),
        smallest=smallest,
        largest=largest,
    )


def crossing_points(
    table: pd.DataFrame, *, model: str = "pinn", reference: str = "baseline", n_resamples: int = N_RESAMPLES
) -> pd.DataFrame:
    """Return the crossings of every size, metric, component, alignment and condition, with their sentences.

    Returns
    -------
    DataFrame
        The fields of `Crossing`, and `sentence`; empty if one of the models is not in the table.
    """
    rows = [
        asdict(crossing) | {"sentence": crossing.sentence()}
        for crossing in _all_crossings(table, model, reference, n_resamples)
    ]
    return pd.DataFrame(rows, columns=[*Crossing.__dataclass_fields__, "sentence"])


def headline(
    table: pd.DataFrame,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
    model: str = "pinn",
    reference: str = "baseline",
) -> str:
    """Return the one sentence that answers the study.

    It is told from the side of the model that is better on average over the sizes both were trained at: at
    the largest of its sizes that the other reaches within the study, or at its smallest if there is none.
    """
    wanted = {"metric": metric, "component": component, "alignment": alignment, "condition": condition}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in wanted.items()])]
    means = rows.groupby(["n_train", "model"])["value"].mean().unstack("model")
    if not {model, reference} <= set(means.columns):
        both = f"{NAMES.get(model, model)} and {NAMES.get(reference, reference)}"
        return f"The study holds no {component} {METRICS[metric].label} of both {both}: nothing to compare."
    lead = (means[model] - means[reference]).mean() * (1 if better_of(metric) == "higher" else -1)
    ahead, behind = (reference, model) if lead < 0 else (model, reference)
    crossings = [
        crossing_point(
            table,
            size,
            metric=metric,
            component=component,
            alignment=alignment,
            condition=condition,
            model=ahead,
            reference=behind,
        )
        for size in means[ahead].dropna().index
    ]
    if not crossings:
        return f"No {component} {METRICS[metric].label} of {NAMES.get(ahead, ahead)} is defined."
    reached = [crossing for crossing in crossings if AT_ONCE < crossing.needed < NEVER]
    return (reached[-1] if reached else crossings[0]).sentence()


def _all_crossings(table: pd.DataFrame, model: str, reference: str, n_resamples: int) -> Iterator[Crossing]:
    keys = ["metric", "component", "alignment", "condition"]
    for values, rows in table.groupby(keys, sort=False):
        if not {model, reference} <= set(rows["model"]):
            continue
        for size in sorted(rows.loc[rows["model"] == model, "n_train"].unique()):
            chosen = dict(zip(keys, values, strict=True))
            yield crossing_point(
                rows, size, **chosen, model=model, reference=reference, n_resamples=n_resamples
            )


def _by_trial(rows: pd.DataFrame, model: str, what: str) -> pd.DataFrame:
    """Return trials × sizes of one model; NaN where a run is missing or its value undefined."""
    own = rows[rows["model"] == model]
    if own.empty:
        there = ", ".join(sorted(rows["model"].unique())) or "none"
        raise ValueError(f"the table holds no value of model '{model}' for {what}; models with one: {there}")
    return own.set_index(["trial", "n_train"])["value"].unstack("n_train")


def _times_drawn(chosen: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how often each of `count` trials stands in the last axis of (..., n) trial numbers."""
    rows = chosen.reshape(-1, chosen.shape[-1])
    cells = rows + count * np.arange(len(rows))[:, None]
    times = np.bincount(cells.ravel(), minlength=count * len(rows))
    return times.reshape(*chosen.shape[:-1], count)


def _mean(times: NDArray, values: Floats) -> Floats:
    """Return the means of trials × columns, each trial taken so many times; NaN where nothing is finite."""
    defined = np.isfinite(values)
    count = times @ defined
    total = times @ np.where(defined, values, 0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _first_reach(value: Floats, curve: Floats, log_sizes: Floats, higher: bool) -> Floats:
    """Return log2 n where a curve (..., sizes) first reaches a value (...).

    One unit above the sizes if it never does, one below if it does at the smallest. An undefined size of
    the curve counts as not reached.
    """
    excess = (curve - np.asarray(value)[..., None]) * (1 if higher else -1)
    reached = excess >= 0
    right = reached.argmax(axis=-1)[..., None]
    left = np.maximum(right - 1, 0)
    before, after = (np.take_along_axis(excess, index, -1)[..., 0] for index in (left, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(after > before, -before / (after - before), 1.0)
    log_left, log_right = (log_sizes[index[..., 0]] for index in (left, right))
    result = log_left + share * (log_right - log_left)
    result = np.where(right[..., 0] == 0, log_sizes[0] - 1, result)
    result = np.where(reached.any(axis=-1), result, log_sizes[-1] + 1)
    return np.where(np.isnan(value) | np.isnan(curve).all(axis=-1), np.nan, result)


def _size(log_size: float, smallest: int, largest: int) -> float:
    """Turn log2 n into a number of patterns, or NEVER, or AT_ONCE."""
    if math.isnan(log_size):
        return math.nan
    if log_size > math.log2(largest) + 1e-9:
        return NEVER
    return AT_ONCE if log_size < math.log2(smallest) - 1e-9 else float(2**log_size)
