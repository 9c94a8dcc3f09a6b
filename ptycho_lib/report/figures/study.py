"""The figure that answers a study: every metric against the number of training patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.report.figures.axes import (
    BAND,
    CENSORED,
    DIRECTION,
    GRID,
    TRIAL,
    least_span,
    reading_key,
    size_axis,
    training_sizes,
)
from ptycho_lib.report.style import FULL_WIDTH, ModelLook, letter, metric_title, model_looks, new_figure, styled

ARROW = {"arrowstyle": "->", "linestyle": ":", "linewidth": 0.9, "color": "#333333"}
SAVED = Line2D([], [], linestyle=":", marker="<", markersize=4, color="#333333", label="same value, fewer patterns")
STUDY_METRICS = ("mae", "mse", "psnr", "ssim", "frc50")
MIN_PANEL = 1.3
"""Inches that a panel with its labels needs."""
MOST_POINTS = 12
"""Trials of a size that are shown one by one; more would hide the line and its band."""


@styled
def study_figure(
    table: pd.DataFrame,
    summary: pd.DataFrame | None = None,
    matched_sizes: pd.DataFrame | None = None,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    components: Sequence[str] = ("amplitude", "phase"),
    alignment: str = "aligned",
    condition: str = NOMINAL,
    seconds: Mapping[str, float] | None = None,
    width: float = FULL_WIDTH,
) -> Figure:
    """Show every metric against the number of training patterns: the figure that answers the study.

    The line joins the means. With several trials (up to `MOST_POINTS`) each one is a dot, and the band is the 95 %
    interval of `summary`; with one trial there is no band. Censored values (FRC resolved to Nyquist) are open points.
    What needs no training, as the untrained control, is a horizontal line. No axis spans less than
    `axes.LEAST_SPANS`. A key below the panels explains dots, bands and arrows.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    summary : DataFrame, optional
        `study.statistics.summarize` of the table: columns ``mean``, ``low``, ``high`` beside the keys.
    matched_sizes : DataFrame, optional
        `study.results.matched_size.matched_sizes` of the table: an arrow leads from the largest training size of
        one model to the smaller size with which the other matches it.
    metrics, components : sequence of str
        Columns and rows of panels; rows and columns where `width` is too small for that.
    alignment : str
        ``aligned`` or ``raw``.
    condition : str
        Test condition.
    seconds : mapping of str to float, optional
        Times for the legend, by model.
    width : float
        Greatest width of the figure, inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the table holds none of the values asked for.
    """
    rows = select(table, alignment=alignment, condition=condition)
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    if not metrics:
        raise ValueError("none of the metrics asked for is in the table")
    looks = _timed(model_looks(rows["model"]), seconds or {})
    upright = width < MIN_PANEL * len(metrics)
    n_rows, n_columns = (len(metrics), len(components)) if upright else (len(components), len(metrics))
    if len(metrics) == len(components) == 1:
        figure = new_figure(min(3.2, 0.75 * width + 0.4), width=min(4.8, width))
    else:
        wanted = width if upright else max(FULL_WIDTH * n_columns / 5, 2.8)
        figure = new_figure(1.55 * n_rows + 0.6, width=min(wanted, width), used=0.985)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    for component, axes in zip(components, panels.T if upright else panels, strict=True):
        for metric, ax in zip(metrics, axes, strict=True):
            of_panel = rows[(rows["component"] == component) & (rows["metric"] == metric)]
            intervals = _intervals(summary, component, metric, alignment, condition)
            for model, look in looks.items():
                own = of_panel["model"] == model
                _draw_model(ax, of_panel[own], look, intervals[intervals["model"] == model])
            for match in _matched(matched_sizes, component, metric, alignment, condition):
                ends = {"xy": (match.size, match.value), "xytext": (match.n_train, match.value)}
                ax.annotate("", **ends, arrowprops=ARROW)
            ax.set_title(metric_title(metric, component), loc="center")
            ax.margins(x=0.08)
            ax.ticklabel_format(axis="y", useOffset=False)
            ax.grid(axis="y", **GRID)
            least_span(ax, metric)
        if upright:
            axes[0].set_title(f"{component}\n{axes[0].get_title()}", loc="center")
        else:
            axes[0].set_ylabel(component, fontweight="bold")
    size_axis(panels[-1], training_sizes(rows))
    for ax in panels[-1]:
        ax.set_xlabel("training patterns")
    reading_key(figure, *_key(rows, summary, arrows=any(ax.texts for ax in panels.flat)))
    letter(panels.ravel(), left_pt=14)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    columns = max(1, min(len(labels), 4, int(figure.get_figwidth() / 1.7)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


def _key(rows: pd.DataFrame, summary: pd.DataFrame | None, *, arrows: bool) -> list[Any]:
    """Return what the key explains: only what the panels show."""
    trials = rows.groupby("n_train")["trial"].nunique().max()
    banded = summary is not None and summary["low"].notna().any()
    parts = {
        TRIAL: 1 < trials <= MOST_POINTS,
        BAND: trials > 1 and banded,
        CENSORED: rows["censored"].fillna(False).astype(bool).any(),
        SAVED: arrows,
        DIRECTION: True,
    }
    return [handle for handle, shown in parts.items() if shown]


def _draw_model(ax: Axes, rows: pd.DataFrame, look: ModelLook, intervals: pd.DataFrame) -> None:
    """Draw one model in one panel: band, line of means, points."""
    if rows.empty:
        return
    if (rows["n_train"] == 0).all():
        ax.axhline(rows["value"].mean(), color=look.colour, ls=look.line, lw=1.2, label=look.label)
        return
    means = rows.groupby("n_train")["value"].mean()
    n_trials = rows.groupby("n_train")["trial"].nunique().max()
    band = intervals.sort_values("n_train")
    if n_trials > 1 and band["low"].notna().any():
        ax.fill_between(band["n_train"], band["low"], band["high"], color=look.colour, alpha=0.18, linewidth=0)
        ax.vlines(band["n_train"], band["low"], band["high"], color=look.colour, alpha=0.35, linewidth=1)
    marker = look.marker
    size = 4 if len(means) <= MOST_POINTS else 2.5
    ax.plot(means.index, means, look.line, marker=marker, markersize=size, color=look.colour, label=look.label)
    if 1 < n_trials <= MOST_POINTS:
        ax.plot(rows["n_train"], rows["value"], marker, markersize=3, color=look.colour, alpha=0.5, mew=0)
    censored = rows[rows["censored"].fillna(False).astype(bool)]
    if not censored.empty:
        points = ax.plot(censored["n_train"], censored["value"], marker, markersize=5, color=look.colour)
        points[0].set_markerfacecolor("white")


def _timed(looks: Mapping[str, ModelLook], seconds: Mapping[str, float]) -> dict[str, ModelLook]:
    """Return the looks with the times in their labels."""
    return {
        model: replace(look, label=f"{look.label} ({seconds[model]:.3g} s)") if model in seconds else look
        for model, look in looks.items()
    }


def _intervals(summary: pd.DataFrame | None, *of_panel: str) -> pd.DataFrame:
    columns = ["n_train", "model", "low", "high"]
    if summary is None:
        return pd.DataFrame(columns=columns)
    return _of_panel(summary, *of_panel)[columns]


def _matched(matched_sizes: pd.DataFrame | None, *of_panel: str) -> Iterable[Any]:
    """Return the row of the largest size that fewer patterns of the other model match, if there are intervals."""
    if matched_sizes is None or matched_sizes.empty:
        return ()
    rows = _of_panel(matched_sizes, *of_panel)
    saving = rows[(rows["status"] == "within") & rows["low"].notna() & (rows["size"] < rows["n_train"])]
    return saving.sort_values("n_train").tail(1).itertuples()


def _of_panel(rows: pd.DataFrame, component: str, metric: str, alignment: str, condition: str) -> pd.DataFrame:
    wanted = {"component": component, "metric": metric, "alignment": alignment, "condition": condition}
    return select(rows, may_be_empty=True, **wanted)
