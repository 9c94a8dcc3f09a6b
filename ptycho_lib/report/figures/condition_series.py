"""Quality along ordered test conditions: against the overlap of the scan, against the dose; a line a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.report.figures.axes import DIRECTION, GRID, least_span, reading_key
from ptycho_lib.report.style import (
    FULL_WIDTH,
    ModelLook,
    letter,
    metric_title,
    model_looks,
    new_figure,
    styled,
)
from ptycho_lib.study.results.condition_series import ConditionSeries, series_values

AXES = {"overlap": "linear overlap of neighbours", "photons_per_pattern": "photons per pattern"}
GREY = "#555555"
BARS = Line2D([], [], linestyle="none", marker="|", markersize=8, color=GREY, label="smallest to largest trial")


@styled
def condition_series_figure(
    table: pd.DataFrame,
    costs: pd.DataFrame,
    series: Sequence[ConditionSeries],
    *,
    metric: str = "ssim",
    components: Sequence[str] = ("amplitude", "phase"),
    alignment: str = "aligned",
) -> Figure:
    """Show where the curves of the models cross when the scan thins out or the dose falls.

    A column a series, harder conditions to the right; a line a model, its largest training size; bars span the
    trials. The lowest row shows how much of the area is left to be compared, which is smaller for a sparse scan. The
    untrained control is a curve like the models: its first guess depends on overlap and dose, too.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    costs : DataFrame
        `results.costs.collect_costs`.
    series : sequence of ConditionSeries
        `results.condition_series.find_series`, at least one.
    metric, components, alignment : str
        Which values.
    """
    if not series:
        raise ValueError("there is no series: at least three conditions must differ in overlap or dose alone")
    looks = model_looks(table["model"])
    compared = (
        costs.groupby("condition")["compared_px"].mean() / costs[costs["condition"] == NOMINAL]["compared_px"].mean()
    )
    figure = new_figure(1.75 * len(components) + 1.5, width=min(FULL_WIDTH, 3.6 * len(series)), used=0.985)
    panels = figure.subplots(
        len(components) + 1,
        len(series),
        squeeze=False,
        sharex="col",
        sharey="row",
        height_ratios=[*[1.0] * len(components), 0.35],
    )
    for column, one in zip(panels.T, series, strict=True):
        for ax, component in zip(column, components, strict=False):
            rows = series_values(select(table, metric=metric, component=component, alignment=alignment), costs, one)
            for model, look in looks.items():
                _draw(ax, rows[rows["model"] == model], look)
            least_span(ax, metric)
        column[-1].plot(one.values, [100 * compared[name] for name in one.conditions], ".-", color=GREY)
        column[0].set_title(f"at {one.fixed}" if one.fixed else "all else unchanged")
        _axis(column[-1], one)
    for row, component in zip(panels, components, strict=False):
        row[0].set_ylabel(f"{component} {metric_title(metric, component)}")
    panels[-1, 0].set_ylabel("compared\narea (%)")
    panels[-1, 0].set_ylim(0, 109)
    for ax in panels.flat:
        ax.grid(axis="y", **GRID)
    letter(panels[:-1].flat)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 4))
    reading_key(figure, BARS, DIRECTION)
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, look: ModelLook) -> None:
    groups = rows.groupby("x")["value"]
    mean = groups.mean()
    bars = np.abs(np.stack([groups.min() - mean, groups.max() - mean]))
    ax.errorbar(
        mean.index, mean, yerr=bars, fmt=look.marker, linestyle=look.line, color=look.colour,
        markersize=4, elinewidth=0.9, label=look.label,
    )  # fmt: skip


def _axis(ax: Axes, one: ConditionSeries) -> None:
    """Make the axis of a series, harder to the right, with the conditions as ticks."""
    ax.set_xlabel(AXES[one.axis])
    if one.axis == "photons_per_pattern":
        ax.set_xscale("log")
    ax.invert_xaxis()
