"""Which model is ahead along the overlap of the scan and along the dose, in words."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import model_phrase
from ptycho_lib.report.results import StudyResults
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import bullets, escape, listed, paragraph
from ptycho_lib.study.results.condition_series import ConditionSeries, crossovers, find_series, series_values
from ptycho_lib.study.results.words import capitalized

AXES = {"overlap": "overlap", "photons_per_pattern": "photons per pattern"}


def study_series(results: StudyResults) -> list[ConditionSeries]:
    """Return the series of test conditions of a study (`results.condition_series.find_series`)."""
    return find_series(results.config.conditions, results.tables.costs)


def change_places(results: StudyResults, *, metric: str = "ssim", component: str = "phase") -> str:
    """Return where, along each series of conditions, two models change places.

    Models that need no training are compared with each that does; without such a model all are compared.
    """
    found = study_series(results)
    if not found:
        return ""
    rows = select(results.table, metric=metric, component=component, alignment="aligned")
    costs = results.tables.costs
    items = [
        sentence(series, pair, series_values(rows, costs, series), metric)
        for series in found
        for pair in _pairs(costs)
        if set(pair) <= set(rows["model"])
    ]
    title = metric_title(metric, component).rstrip(" ↑↓")
    size = rows["n_train"].max()
    text = f"By aligned {component} {title}, networks trained with {size} patterns, means of the trials:"
    return paragraph(escape(text)) + bullets(items)


def sentence(series: ConditionSeries, pair: tuple[str, str], rows: pd.DataFrame, metric: str) -> str:
    """Return which of two models is ahead along a series, and where they change places.

    Parameters
    ----------
    series : ConditionSeries
    pair : (str, str)
        Models.
    rows : DataFrame
        `results.condition_series.series_values`.
    metric : str
        Says which values are better.
    """
    means = rows.pivot_table("value", "condition", "model").reindex(series.conditions)
    first, second = (means[name].to_numpy(float) for name in pair)
    logarithmic = series.axis == "photons_per_pattern"
    x = np.log10(series.values) if logarithmic else np.asarray(series.values)
    places = [10.0**at if logarithmic else at for at in crossovers(x, first, second)]
    sign = 1 if metric not in METRICS or METRICS[metric].better == "higher" else -1
    gap = sign * (first - second)
    decided = gap[np.isfinite(gap) & (gap != 0)]
    names = [model_phrase(name) for name in (pair if decided.size and decided[0] > 0 else pair[::-1])]
    span = f"{_value(series, series.values[0])} to {_value(series, series.values[-1])}"
    where = f"{capitalized(AXES[series.axis])} {span}" + (f" ({series.fixed})" if series.fixed else "")
    if not decided.size:
        return escape(f"{where}: {names[0]} and {names[1]} cannot be told apart.")
    if not places:
        return escape(f"{where}: {names[0]} is ahead of {names[1]} throughout.")
    at = listed(_value(series, place) for place in places)
    return f"{escape(where)}: {escape(names[0])} begins ahead of {escape(names[1])}; they change places at {at}."


def series_alt(results: StudyResults) -> str:
    """Return the alternative text of the series figure."""
    ranges = [
        f"{AXES[one.axis]} from {_value(one, one.values[0])} to {_value(one, one.values[-1])}"
        + (f" ({one.fixed})" if one.fixed else "")
        for one in study_series(results)
    ]
    models = listed(map(model_phrase, model_looks(results.table["model"])))
    return f"SSIM of amplitude and phase against {listed(ranges)}, with the area compared, by {models}."


def _pairs(costs: pd.DataFrame) -> list[tuple[str, str]]:
    trained = set(costs[costs["training_s"] > 0]["model"])
    models = list(model_looks(costs["model"]))
    mixed = [(a, b) for a in models for b in models if a in trained and b not in trained]
    return mixed or list(combinations(models, 2))


def _value(series: ConditionSeries, value: float) -> str:
    return f"{value:.2f}" if series.axis == "overlap" else f"{float(f'{value:.2g}'):,.0f}".replace(",", "\u202f")
