"""Crossing points: how many patterns one model needs for what the other reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, model_phrase, select
from ptycho_lib.study.results.headline import AT_ONCE, NEVER, Crossing
from ptycho_lib.study.results.statistics import (
    CONFIDENCE,
    MIN_TRIALS,
    N_RESAMPLES,
    better_of,
    expanded_level,
    times_drawn,
)

Floats = NDArray[np.float64]


def matched_size(
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
    rows = select(table, may_be_empty=True, **wanted)
    found = _crossings(
        rows,
        [n_train],
        wanted,
        model=model,
        reference=reference,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )
    return next(found)


def _crossings(
    rows: pd.DataFrame,
    n_train_sizes: Iterable[int],
    wanted: dict[str, str],
    *,
    model: str,
    reference: str,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Iterator[Crossing]:
    """Find the crossings of several sizes; `rows` hold one metric, component, alignment and condition."""
    what = f"{wanted['component']} {wanted['metric']}"
    own, other = _by_trial(rows, model, what), _by_trial(rows, reference, what)
    begun = rows[rows["model"] == model].groupby("n_train")["trial"].agg(set)
    sizes = other.columns.to_numpy(dtype=float)
    smallest, largest, log_sizes = int(sizes[0]), int(sizes[-1]), np.log2(sizes)
    sign = 1 if better_of(wanted["metric"]) == "higher" else -1
    # Sizes with the same trials, which is to say nearly always all of them, share their means.
    means: dict[tuple[int, ...], list[tuple[Floats, Floats, Floats]]] = {}
    for n_train in n_train_sizes:
        if n_train not in own.columns:
            _by_trial(rows[rows["n_train"] == n_train], model, f"n_train {n_train}, {what}")  # raises
        column = own.columns.get_loc(n_train)
        trials = tuple(sorted(begun[n_train] & set(other.index)))
        if trials not in means:
            draws = [np.ones((1, len(trials)))]
            if len(trials) >= MIN_TRIALS:
                draws.append(times_drawn(len(trials), n_resamples, seed))
            means[trials] = []
            for draw in draws:
                rated, curve = (sign * _mean(draw, each.reindex(trials).to_numpy()) for each in (own, other))
                means[trials].append((rated, curve, np.fmax.accumulate(curve, axis=0)))
        rated, curve, best = means[trials][0]
        point = math.nan
        if trials:
            point = float(_first_reach(rated[column], curve, best, log_sizes)[0])
        low = high = math.nan
        if len(trials) >= MIN_TRIALS and not math.isnan(point):
            drawn, curves, bests = means[trials][1]
            found = _first_reach(drawn[column], curves, bests, log_sizes)
            level = expanded_level(confidence, len(trials))
            # Quantiles that are members of the distribution: nothing is interpolated towards "never".
            tails = [(1 - level) / 2, (1 + level) / 2]
            if not np.isnan(found).any():
                low, high = np.quantile(found, tails, method="closest_observation")
        yield Crossing(
            model=model,
            reference=reference,
            n_train=int(n_train),
            **wanted,
            value=sign * float(rated[column, 0]),
            needed=_size(point, smallest, largest),
            low=_size(low, smallest, largest),
            high=_size(high, smallest, largest),
            confidence=confidence,
            n_trials=len(trials),
            smallest=smallest,
            largest=largest,
        )


def matched_sizes(
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
    the largest of its sizes that the other reaches within the study; if there is none, at the smallest that
    the other does not reach.
    """
    wanted = {"metric": metric, "component": component, "alignment": alignment, "condition": condition}
    rows = select(table, may_be_empty=True, **wanted)
    means = rows.groupby(["n_train", "model"])["value"].mean().unstack("model")
    if not {model, reference} <= set(means.columns):
        both = f"{model_phrase(model)} and {model_phrase(reference)}"
        return f"The study holds no {component} {METRICS[metric].label} of both {both}: nothing to compare."
    lead = (means[model] - means[reference]).mean() * (1 if better_of(metric) == "higher" else -1)
    ahead, behind = (reference, model) if lead < 0 else (model, reference)
    sizes = means[ahead].dropna().index
    crossings = list(_crossings(rows, sizes, wanted, model=ahead, reference=behind))
    if not crossings:
        return f"No {component} {METRICS[metric].label} of {model_phrase(ahead)} is defined."
    reached = [crossing for crossing in crossings if AT_ONCE < crossing.needed < NEVER]
    missed = [crossing for crossing in crossings if crossing.needed == NEVER]
    return (reached[-1] if reached else (missed or crossings)[0]).sentence()


def _all_crossings(table: pd.DataFrame, model: str, reference: str, n_resamples: int) -> Iterator[Crossing]:
    keys = ["metric", "component", "alignment", "condition"]
    for values, rows in table.groupby(keys, sort=False):
        if not {model, reference} <= set(rows["model"]):
            continue
        sizes = sorted(rows.loc[rows["model"] == model, "n_train"].unique())
        wanted = dict(zip(keys, values, strict=True))
        yield from _crossings(rows, sizes, wanted, model=model, reference=reference, n_resamples=n_resamples)


def _by_trial(rows: pd.DataFrame, model: str, what: str) -> pd.DataFrame:
    """Return trials × sizes of one model; NaN where a run is missing or its value undefined."""
    own = rows[rows["model"] == model]
    if own.empty:
        there = ", ".join(sorted(rows["model"].unique())) or "none"
        raise ValueError(f"the table holds no value of model '{model}' for {what}; models with one: {there}")
    return own.set_index(["trial", "n_train"])["value"].unstack("n_train")


def _mean(times: Floats, values: Floats) -> Floats:
    """Return the means (columns, draws) of trials × columns, each trial taken so many times.

    NaN where nothing is finite.
    """
    defined = np.isfinite(values)
    if defined.all() and len(values):
        return np.ascontiguousarray((times @ values).T) / times.sum(axis=-1)
    count = times @ defined.astype(float)
    total = times @ np.where(defined, values, 0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).T


def _first_reach(value: Floats, curve: Floats, best: Floats, log_sizes: Floats) -> Floats:
    """Return log2 n where curves (sizes, draws) first reach values (draws,); more is better.

    `best` is the running maximum of the curves. The result is one unit above the sizes if a curve never
    reaches its value, one below if it does at the smallest. An undefined size counts as not reached.
    """
    short = ~(best >= value)  # the sizes at which it has not reached it yet
    right = short.sum(axis=0, dtype=np.uint16).astype(np.intp) % len(curve)
    left = np.maximum(right - 1, 0)
    draws = np.arange(len(value))
    before, after = curve[left, draws] - value, curve[right, draws] - value
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(after > before, -before / (after - before), 1.0)
    result = log_sizes[left] + share * (log_sizes[right] - log_sizes[left])
    result = np.where(right == 0, log_sizes[0] - 1, result)
    result = np.where(after >= 0, result, log_sizes[-1] + 1)
    undefined = np.isnan(after)
    if undefined.any():
        undefined &= np.isnan(curve).all(axis=0) | np.isnan(value)
    return np.where(undefined, np.nan, result)


def _size(log_size: float, smallest: int, largest: int) -> float:
    """Turn log2 n into a number of patterns, or NEVER, or AT_ONCE."""
    if math.isnan(log_size):
        return math.nan
    if log_size > math.log2(largest) + 1e-9:
        return NEVER
    return AT_ONCE if log_size < math.log2(smallest) - 1e-9 else float(2**log_size)
