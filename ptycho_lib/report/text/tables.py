"""Tables for people: one run, one study; as HTML for notebooks and as LaTeX for papers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ptycho_lib.config import HYBRIDS, ITERATIVE, NOMINAL
from ptycho_lib.metrics_table import ALIGNMENTS, COMPONENTS, METRICS, select
from ptycho_lib.report.figures.study import STUDY_METRICS
from ptycho_lib.report.style import metric_title, model_looks
from ptycho_lib.report.text.html_elements import escape, scrolling

FORMATS = {"psnr": ".2f", "ssim": ".3f", "ms_ssim": ".3f", "frc50_nm": ".0f"}
LATEX = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "²": r"$^2$", "–": "--", " %": r"\,\%"}


class Table(NamedTuple):
    """A table ready to be set: its texts (with named index levels) and which of them are the best."""

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
    """
    rows = select(scores, condition=condition)
    looks = model_looks(rows["model"])
    values = rows.pivot_table("value", ["component", "metric"], ["alignment", "model"])
    order = [(c, m) for c in COMPONENTS for m in METRICS if (c, m) in values.index]
    alignments = [name for name in reversed(ALIGNMENTS) if name in values.columns]
    columns = [(a, m) for a in alignments for m in looks if (a, m) in values.columns]
    text, best = [], []
    for component, metric in order:
        row = values.loc[(component, metric)]
        text.append([number_text(metric, row[column]) for column in columns])
        groups = [row[[column for column in columns if column[0] == a]] for a in alignments]
        best.append([wins for group in groups for wins in best_of(metric, group)])
    index = pd.MultiIndex.from_tuples([(c, metric_title(m, c)) for c, m in order], names=["component", "metric"])
    header = pd.MultiIndex.from_tuples([(a, looks[m].label) for a, m in columns])
    caption = (
        "Best of each row in bold; the arrow points to better. Raw: only the global phase is removed. "
        "Aligned: also amplitude scale, phase ramp and sub-pixel shift."
    )
    return Table(pd.DataFrame(text, index, header), pd.DataFrame(best, index, header), caption)


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

    With several trials and a `summary`, ± half of the width of the 95 % interval follows each mean.

    Parameters
    ----------
    table, summary : DataFrame
        As for `study_figure`.
    """
    rows = select(table, alignment=alignment, condition=condition)
    looks = model_looks(rows["model"])
    means = rows.groupby(["component", "n_train", "model", "metric"])["value"].mean()
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    half = _half_widths(rows, summary, alignment, condition)
    text, best, index = [], [], []
    for component, size in itertools.product(components, sorted(rows["n_train"].unique())):
        keys = {m: (component, size, m) for m in looks if (component, size, m) in means.index.droplevel(3)}
        block = pd.DataFrame({m: {k: means.get((*keys[k], m), np.nan) for k in keys} for m in metrics})
        wins = pd.DataFrame({m: best_of(m, block[m]) for m in metrics})
        index += [(component, size or "none", looks[model].label) for model in keys]
        text += [[number_text(m, block.loc[k, m], half.get((*keys[k], m), np.nan)) for m in metrics] for k in keys]
        best += wins.to_numpy().tolist()
    names = pd.MultiIndex.from_tuples(index, names=["component", "patterns", "model"])
    header = [metric_title(metric, "") for metric in metrics]
    spread = "Mean ± half of the 95 % bootstrap interval. " if np.isfinite([*half.values()]).any() else ""
    caption = (
        f"{spread}Trials: {rows['trial'].nunique()}. Best of each size in bold; the arrow points to better. "
        f"Phase errors are in rad and rad². Alignment: {alignment}; test condition: {condition}."
    )
    return Table(pd.DataFrame(text, names, header), pd.DataFrame(best, names, header), caption)


def winner_table(
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    alignment: str = "aligned",
    condition: str = NOMINAL,
) -> Table:
    """Return which network is better where: a row a component and metric, a column a size.

    Parameters
    ----------
    summary : DataFrame
        `study.statistics.summarize`.
    differences : DataFrame
        `study.statistics.paired_differences`; where its interval includes zero the winner is put in
        brackets, where it excludes zero the winner is bold.
    """
    rows = select(summary, alignment=alignment, condition=condition)
    rows = rows[rows["metric"].isin(metrics) & ~rows["model"].isin([ITERATIVE, *HYBRIDS])]
    looks = model_looks(rows["model"])
    means = rows.pivot_table("mean", ["component", "metric", "n_train"], "model")
    chosen = select(differences, may_be_empty=True, alignment=alignment, condition=condition)
    verdicts = chosen.set_index(["component", "metric", "n_train"])["verdict"]
    sizes = sorted(rows["n_train"].unique())
    keys = [(c, m) for c in ("amplitude", "phase") for m in metrics if (c, m) in means.index.droplevel(2)]
    text, best = [], []
    for key in keys:
        winners = [_winner(means, (*key, size)) for size in sizes]
        decided = [verdicts.get((*key, size), "") for size in sizes]
        labels = [looks[winner].label if winner else "–" for winner in winners]
        text.append([f"({a})" if v == "undecided" else a for a, v in zip(labels, decided, strict=True)])
        best.append([verdict in looks for verdict in decided])
    names = pd.MultiIndex.from_tuples([(c, metric_title(m, c)) for c, m in keys], names=["component", "metric"])
    header = [f"{size} patterns" for size in sizes]
    caption = (
        "The model with the better mean. Bold: the 95 % interval of the difference, paired by trial, "
        "excludes zero; in brackets: it does not; neither: too few trials for an interval."
    )
    return Table(pd.DataFrame(text, names, header), pd.DataFrame(best, names, header), caption)


def _winner(means: pd.DataFrame, key: tuple[str, str, int]) -> str:
    """Return the model with the best mean; empty if fewer than two models have one, or they are equal."""
    if key not in means.index:
        return ""
    wins = best_of(key[1], means.loc[key])
    return str(means.columns[wins.index(True)]) if sum(wins) == 1 else ""


def to_html(table: Table, note: str = "") -> str:
    """Return a table as HTML that scrolls sideways where the page is too narrow; all texts are escaped.

    A note ends the caption.
    """
    caption = f"{table.caption} {note}".strip()
    levels = table.text.index.nlevels
    head = "".join(_header_rows(table.text))
    spans = list(_spans(table.text.index))
    body = []
    for row, (texts, wins) in enumerate(zip(table.text.to_numpy(), table.best.to_numpy(), strict=True)):
        heads = [
            f'<th scope="{"rowgroup" if spans[row][level] > 1 else "row"}" rowspan="{spans[row][level]}">'
            f"{escape(table.text.index[row][level])}</th>"
            for level in range(levels)
            if spans[row][level]
        ]
        cells = [
            f"<td><strong>{escape(text)}</strong></td>" if win else f"<td>{escape(text)}</td>"
            for text, win in zip(texts, wins, strict=True)
        ]
        body.append(f"<tr>{''.join(heads + cells)}</tr>")
    return scrolling(
        f"<table><caption>{escape(caption)}</caption><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>",
        table.caption,
    )


def to_latex(table: Table, label: str = "tab:generalization", note: str = "") -> str:
    """Return a table as LaTeX for the packages booktabs and multirow; a note ends the caption."""
    caption = " ".join(filter(None, (table.caption, re.sub(r"([&#_$])", r"\\\1", note))))
    weights = table.best.map(lambda wins: "font-weight: bold;" if wins else "")
    styler = (
        table.text.style.format(escape="latex")
        .format_index(escape="latex", axis=1)
        .format_index(escape="latex", axis=0)
    )
    source = styler.apply(lambda _: weights, axis=None).to_latex(
        hrules=True, convert_css=True, label=label, position_float="centering", caption=caption
    )
    for character, command in LATEX.items():
        source = source.replace(character, command)
    return "% \\usepackage{booktabs,multirow}\n" + source


def number_text(metric: str, value: float, margin: float = np.nan) -> str:
    """Return a value as the tables print it; with a margin, to the margin's first digit."""
    if not np.isfinite(value):
        return "–"
    if not np.isfinite(margin) or margin <= 0:
        return f"{value:{FORMATS.get(metric, '.3g')}}"
    first_of_margin = -int(np.floor(np.log10(margin)))
    fifth_of_value = 4 - int(np.floor(np.log10(abs(value)))) if value else first_of_margin
    decimals = max(0, min(first_of_margin, fifth_of_value))
    least = 10.0**-decimals
    spread = f"{margin:.{decimals}f}" if margin >= least / 2 else f"<{least:.{decimals}f}"
    return f"{value:.{decimals}f} ± {spread}"


def best_of(metric: str, values: pd.Series) -> list[bool]:
    """Say of each value whether it is the best; of fewer than two finite values none is."""
    numbers = values.to_numpy(dtype=float)
    finite = numbers[np.isfinite(numbers)]
    if len(finite) < 2 or metric not in METRICS:
        return [False] * len(numbers)
    target = finite.max() if METRICS[metric].better == "higher" else finite.min()
    return [bool(number == target) for number in numbers]


def _half_widths(
    rows: pd.DataFrame, summary: pd.DataFrame | None, alignment: str, condition: str
) -> dict[tuple[object, ...], float]:
    if summary is None or rows["trial"].nunique() < 2:
        return {}
    chosen = select(summary, may_be_empty=True, alignment=alignment, condition=condition)
    keys = chosen[["component", "n_train", "model", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, (chosen["high"] - chosen["low"]) / 2, strict=True))


def _header_rows(text: pd.DataFrame) -> Iterator[str]:
    levels = text.columns.nlevels
    corner = [f'<th scope="col" rowspan="{levels}">{escape(name)}</th>' for name in text.index.names]
    for level in range(levels):
        names = [column[level] if levels > 1 else column for column in text.columns]
        runs = [(name, len(list(group))) for name, group in itertools.groupby(names)]
        merged = runs if level < levels - 1 else [(name, 1) for name in names]
        cells = [
            f'<th scope="{"colgroup" if span > 1 else "col"}" colspan="{span}">{escape(name)}</th>'
            for name, span in merged
        ]
        yield f"<tr>{''.join((corner if level == 0 else []) + cells)}</tr>"


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
