"""The comparison of two models in one sentence: a matched training size, or that nothing can be said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import model_phrase
from ptycho_lib.study.results.matched_size import MODELS, MatchedSize, matched_size
from ptycho_lib.study.results.reach import Status, by_trial
from ptycho_lib.study.results.statistics import CONFIDENCE, MIN_TRIALS, mean_interval, sign_of
from ptycho_lib.study.results.words import capitalized, interval_words, signed


def headline(
    table: pd.DataFrame,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
    models: tuple[str, str] = MODELS,
) -> str:
    """Return the one sentence that compares two models.

    A model is called better only if Student's interval of its lead, averaged over the sizes within each trial,
    excludes zero: one test at 5 %, whatever the number of sizes. Then the sentence gives the patterns that it
    needs to match the other model at the largest size at which that is defined within the study.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    metric, component, alignment, condition : str
        Which values.
    models : (str, str)

    Returns
    -------
    str
        With fewer than three trials, or a lead that cannot be told from zero, the sentence says that and
        names no better model.

    Raises
    ------
    ValueError
        If the metric is unknown.
    """
    wanted: dict[str, Any] = {"metric": metric, "component": component, "alignment": alignment, "condition": condition}
    measure = f"{alignment} {component} {METRICS[metric].label}"
    first, second = map(model_phrase, models)
    rows = select(table, may_be_empty=True, **wanted)
    if not set(models) <= set(rows["model"]):
        return f"The study holds no {measure} of both {first} and {second}; they cannot be compared."
    lead = lead_by_trial(rows, models, metric)
    if len(lead) < MIN_TRIALS:
        trials = {0: "no trial", 1: "one trial"}.get(len(lead), f"{len(lead)} trials")
        needed = f"at least {MIN_TRIALS} trials of each size are needed for an interval"
        return f"With {trials} in which both are defined, {first} and {second} cannot be ranked: {needed}."
    (low,), (high,) = mean_interval(lead.to_numpy()[None], confidence=CONFIDENCE)
    if low <= 0 <= high:
        difference = f"{signed(float(lead.mean()), 2)} ({interval_words(low, high, 2)}; {len(lead)} trials)"
        return (
            f"{capitalized(first)} and {second} cannot be told apart: the lead of {first} in {measure}, "
            f"averaged over the training sizes, is {difference}."
        )
    ahead, behind = models if low > 0 else models[::-1]
    sizes = [int(size) for size in by_trial(select(rows, model=behind)).columns]
    found = [matched_size(table, size, **wanted, model=ahead, reference=behind) for size in sizes]
    return _most_telling(found).sentence()


def lead_by_trial(rows: pd.DataFrame, models: tuple[str, str], metric: str) -> pd.Series:
    """Return by how much the first model is better than the second, averaged over their sizes, trial by trial.

    Parameters
    ----------
    rows : DataFrame
        Rows of one metric, component, alignment and condition of the tidy table.
    models : (str, str)
    metric : str
        Says which values are better.

    Returns
    -------
    Series
        Indexed by trial; trials without a size at which both are defined are missing.
    """
    first, second = (by_trial(select(rows, model=name)) for name in models)
    lead = sign_of(metric) * (first - second)
    return lead.where(np.isfinite(lead)).mean(axis=1).dropna()


def _most_telling(found: list[MatchedSize]) -> MatchedSize:
    """Return the match at the largest size for which fewer patterns suffice, else at the largest at all."""
    saving = [one for one in found if one.status is Status.WITHIN and one.size < one.n_train]
    at_once = [one for one in found if one.status is Status.AT_SMALLEST]
    return (saving or at_once or found)[-1]
