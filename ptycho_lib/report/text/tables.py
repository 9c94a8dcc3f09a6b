"""Tables for people: one run, one study, what training adds; as HTML for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ptycho_lib.config import NETWORKS, NOMINAL
from ptycho_lib.metrics_table import ALIGNMENTS, COMPONENTS, METRICS, select
from ptycho_lib.model_names import UNTRAINED, model_label, model_phrase
from ptycho_lib.report.figures.study import STUDY_METRICS
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import grouped_table
from ptycho_lib.study.results.statistics import clear_best
from ptycho_lib.study.results.words import joined

DECIMALS = {"psnr": 2, "ssim": 3, "ms_ssim": 3, "frc50_nm": 0}
MOST_DECIMALS = 5
NOT_MEASURED, UNDECIDED = "–", "undecided"


class Table(NamedTuple):
    """A table ready to be set.

    Parameters
    ----------
    text : DataFrame
        Its cells as text, with named index levels.
    best : DataFrame of bool
        Cells to be set in bold.
    caption : str
    """

    text: pd.DataFrame
    best: pd.DataFrame
    caption: str


def run_table(scores: pd.DataFrame, *, condition: str = NOMINAL) -> Table:
    """Return all scores of one run: a row a metric, a column a model, aligned first and raw beside it.

    Parameters
    ----------
    scores : DataFrame
        Tidy table of one run.
    condition : str
        Test condition.

    Returns
    -------
    Table
        Nothing is bold: one trial ranks no model.
    """
    rows = select(scores, condition=condition)
    looks = model_looks(rows["model"])
    values = rows.pivot_table("value", ["component", "metric"], ["alignment", "model"])
    order = [(c, m) for c in COMPONENTS for m in METRICS if (c, m) in values.index]
    alignments = [name for name in reversed(ALIGNMENTS) if name in values.columns]
    columns = [(a, m) for a in alignments for m in looks if (a, m) in values.columns]
    text = [
        numbers_text(metric, [values.loc[(component, metric), column] for column in columns])
        for component, metric in order
    ]
    index = pd.MultiIndex.from_tuples([(c, metric_title(m, c)) for c, m in order], names=["component", "metric"])
    header = pd.MultiIndex.from_tuples([(a, looks[m].label) for a, m in columns])
    caption = (
        "Scores of one run; the arrow points to better. One trial ranks no model. Raw: only the global phase is "
        "removed. Aligned: also amplitude scale, phase ramp and sub-pixel shift."
    )
    return Table(pd.DataFrame(text, index, header), pd.DataFrame(False, index, header), caption)


def study_table(
    table: pd.DataFrame,
    summary: pd.DataFrame | None = None,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    components: Sequence[str] = ("amplitude", "phase"),
    alignment: str = "aligned",
    condition: str = NOMINAL,
) -> Table:
    """Return the means of a study: a row a component, size and model, a column a metric.

    Parameters
    ----------
    table, summary : DataFrame
        As for `study_figure`; with a summary, half of the width of the 95 % interval follows each mean.
    metrics, components : sequence of str
    alignment, condition : str

    Returns
    -------
    Table
        Bold is the model of a size that is better than every other one (`statistics.clear_best`).
    """
    rows = select(table, alignment=alignment, condition=condition)
    looks = model_looks(rows["model"])
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    keys = [
        (component, size, model)
        for component, size in itertools.product(components, sorted(rows["n_train"].unique()))
        for model in looks
        if model in set(rows.loc[(rows["component"] == component) & (rows["n_train"] == size), "model"])
    ]
    means = rows.groupby(["component", "n_train", "model", "metric"])["value"].mean()
    half = _half_widths(summary, alignment, condition)
    text, best = {}, {}
    for metric in metrics:
        values = [means.get((*key, metric), np.nan) for key in keys]
        text[metric_title(metric, "")] = numbers_text(
            metric, values, [half.get((*key, metric), np.nan) for key in keys]
        )
        winners = {
            (component, size): clear_best(own.pivot_table("value", "trial", "model"), metric)
            for (component, size), own in rows[rows["metric"] == metric].groupby(["component", "n_train"])
        }
        best[metric_title(metric, "")] = [winners.get(key[:2]) == key[2] for key in keys]
    index = pd.MultiIndex.from_tuples(
        [(component, str(size or "none"), looks[model].label) for component, size, model in keys],
        names=["component", "patterns", "model"],
    )
    spread = "Mean ± half of the 95 % interval (Student's t). " if np.isfinite([*half.values()]).any() else ""
    models = joined(map(model_phrase, looks))
    caption = (
        f"Reconstructions of the same test patterns by {models}, against the number of training patterns. "
        f"{spread}Trials: {rows['trial'].nunique()}. Bold: better than every other model of that size, by the 95 % "
        "interval of the difference paired by trial. The arrow points to better. "
        f"Phase errors are in rad and rad². Alignment: {alignment}; test condition: {condition}."
    )
    return Table(pd.DataFrame(text, index), pd.DataFrame(best, index), caption)


def gain_table(
    summary: pd.DataFrame,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    alignment: str = "aligned",
    condition: str = NOMINAL,
) -> Table | None:
    """Return what training adds to the untrained first guess; None without that control.

    Parameters
    ----------
    summary : DataFrame
        `study.results.statistics.summarize`.
    metrics : sequence of str
    alignment, condition : str

    Returns
    -------
    Table or None
        A row a component, size and model, a column a metric; positive is better. Bold: the interval excludes zero.
    """
    rows = select(summary, may_be_empty=True, alignment=alignment, condition=condition)
    rows = rows[rows["gain_over_untrained"].notna() & (rows["model"] != UNTRAINED)]
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    if rows.empty or not metrics:
        return None
    caption = (
        f"Gain over {model_phrase(UNTRAINED)}, positive where training helps, ± half of the 95 % interval. "
        "Bold: the interval excludes zero. Phase errors are in rad and rad². "
        f"Alignment: {alignment}; test condition: {condition}."
    )
    names = ("gain_over_untrained", "gain_low", "gain_high")
    return _interval_table(rows, metrics, names, caption)


def gap_table(
    gaps: pd.DataFrame, *, metrics: Sequence[str] = STUDY_METRICS, alignment: str = "aligned"
) -> Table | None:
    """Return the generalization gap of each model and size; None where it was not measured.

    Parameters
    ----------
    gaps : DataFrame
        `study.results.statistics.generalization_gaps`.
    metrics : sequence of str
    alignment : str

    Returns
    -------
    Table or None
        As `gain_table`; positive is worse on the test scan.
    """
    rows = select(gaps, may_be_empty=True, alignment=alignment)
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    if rows.empty or not metrics:
        return None
    caption = (
        "Generalization gap: how much worse the same network is on the test scan than on its own training scan, "
        "± half of the 95 % interval. Bold: the interval excludes zero. Phase errors are in rad and rad². "
        f"Alignment: {alignment}."
    )
    return _interval_table(rows, metrics, ("gap", "low", "high"), caption)


def winner_table(
    differences: pd.DataFrame,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    alignment: str = "aligned",
    condition: str = NOMINAL,
) -> Table:
    """Return which network is better where: a row a component and metric, a column a size.

    Parameters
    ----------
    differences : DataFrame
        `study.results.statistics.paired_differences`.
    metrics : sequence of str
    alignment, condition : str

    Returns
    -------
    Table
        A model is named only where the interval of the difference excludes zero.
    """
    rows = select(differences, may_be_empty=True, alignment=alignment, condition=condition)
    better = rows.set_index(["component", "metric", "n_train"])["better"]
    sizes = sorted(rows["n_train"].unique())
    present = set(zip(rows["component"], rows["metric"], strict=True))
    keys = [(c, m) for c in ("amplitude", "phase") for m in metrics if (c, m) in present]
    found = [[str(better.get((*key, size), "")) for size in sizes] for key in keys]
    labels = {"": NOT_MEASURED, UNDECIDED: UNDECIDED} | {name: model_label(name) for name in NETWORKS}
    index = pd.MultiIndex.from_tuples([(c, metric_title(m, c)) for c, m in keys], names=["component", "metric"])
    header = [f"{size} patterns" for size in sizes]
    caption = (
        "The better network, where the 95 % interval of the difference, paired by trial, excludes zero; "
        f"{UNDECIDED}: it does not; {NOT_MEASURED}: fewer than three trials."
    )
    text = [[labels.get(name, name) for name in row] for row in found]
    best = [[name not in ("", UNDECIDED) for name in row] for row in found]
    return Table(pd.DataFrame(text, index, header), pd.DataFrame(best, index, header), caption)


def to_html(table: Table | None, note: str = "") -> str:
    """Return a table as HTML that scrolls sideways where the page is too narrow; all texts are escaped.

    Parameters
    ----------
    table : Table or None
    note : str
        Ends the caption.

    Returns
    -------
    str
        Empty without a table.
    """
    if table is None:
        return ""
    rows = zip(table.text.index, _spans(table.text.index), table.text.to_numpy(), table.best.to_numpy(), strict=True)
    body = [
        (
            [(str(name), span) for name, span in zip(names, spans, strict=True) if span],
            [(str(text), bool(win)) for text, win in zip(texts, wins, strict=True)],
        )
        for names, spans, texts, wins in rows
    ]
    return grouped_table(f"{table.caption} {note}".strip(), _header_rows(table.text), body, label=table.caption)


def number_text(metric: str, value: float) -> str:
    """Return one value as the tables print it; a dash if it is undefined."""
    return numbers_text(metric, [value])[0]


def numbers_text(metric: str, values: Sequence[float], margins: Sequence[float] = ()) -> list[str]:
    """Return the values of a column, all with the same number of decimals.

    Parameters
    ----------
    metric : str
        Says how many decimals a value without a margin gets.
    values, margins : sequence of float
        With margins, the decimals are those of the median margin's first digit.

    Returns
    -------
    list of str
        Such as `0.948 ± 0.010`; a dash where a value is undefined.
    """
    known = [margin for margin in margins if np.isfinite(margin) and margin > 0]
    if known:
        decimals = -int(np.floor(np.log10(np.median(known))))
    elif metric in DECIMALS:
        decimals = DECIMALS[metric]
    else:
        sizes = [abs(value) for value in values if np.isfinite(value) and value]
        decimals = 2 - int(np.floor(np.log10(np.median(sizes)))) if sizes else 0
    decimals = min(max(decimals, 0), MOST_DECIMALS)
    least = 10.0**-decimals
    texts = []
    for value, margin in itertools.zip_longest(values, margins, fillvalue=np.nan):
        text = f"{value:.{decimals}f}".replace("-", "−") if np.isfinite(value) else NOT_MEASURED
        if np.isfinite(value) and np.isfinite(margin):
            text += f" ± {margin:.{decimals}f}" if margin >= least / 2 or margin == 0 else f" ± <{least:.{decimals}f}"
        texts.append(text)
    return texts


def _interval_table(rows: pd.DataFrame, metrics: Sequence[str], names: tuple[str, str, str], caption: str) -> Table:
    """Return a value with its interval: a row a component, size and model, a column a metric."""
    value, low, high = names
    looks = model_looks(rows["model"])
    places = rows.set_index(["component", "n_train", "model", "metric"])[list(names)]
    present = set(places.index.droplevel("metric"))
    sizes = sorted(rows["n_train"].unique())
    keys = [key for key in itertools.product(("amplitude", "phase"), sizes, looks) if key in present]
    text, best = {}, {}
    for metric in metrics:
        own = places.reindex([(*key, metric) for key in keys])
        text[metric_title(metric, "").rstrip(" ↑↓")] = numbers_text(
            metric, own[value].tolist(), ((own[high] - own[low]) / 2).tolist()
        )
        best[metric_title(metric, "").rstrip(" ↑↓")] = ((own[low] > 0) | (own[high] < 0)).tolist()
    index = pd.MultiIndex.from_tuples(
        [(component, str(size or "none"), looks[model].label) for component, size, model in keys],
        names=["component", "patterns", "model"],
    )
    return Table(pd.DataFrame(text, index), pd.DataFrame(best, index), caption)


def _half_widths(summary: pd.DataFrame | None, alignment: str, condition: str) -> dict[tuple[Hashable, ...], float]:
    if summary is None:
        return {}
    chosen = select(summary, may_be_empty=True, alignment=alignment, condition=condition)
    keys = chosen[["component", "n_train", "model", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, (chosen["high"] - chosen["low"]) / 2, strict=True))


def _header_rows(text: pd.DataFrame) -> list[list[tuple[str, int, int]]]:
    """Return the rows of headings, each (text, rows, columns)."""
    levels = text.columns.nlevels
    found = []
    for level in range(levels):
        names = [column[level] if levels > 1 else column for column in text.columns]
        runs = [(name, len(list(group))) for name, group in itertools.groupby(names)]
        merged = runs if level < levels - 1 else [(name, 1) for name in names]
        found.append([(str(name), 1, span) for name, span in merged])
    found[0] = [(str(name), levels, 1) for name in text.index.names] + found[0]
    return found


def _spans(index: pd.MultiIndex) -> Iterator[list[int]]:
    """Yield, for each row, how many rows each of its headings covers; 0 where an earlier one covers it."""
    keys = list(index)
    for row, key in enumerate(keys):
        spans = []
        for prefix in (key[: level + 1] for level in range(index.nlevels)):
            same = [other[: len(prefix)] == prefix for other in keys]
            end = same.index(False, row) if False in same[row:] else len(keys)
            spans.append(0 if row and same[row - 1] else end - row)
        yield spans
