"""A metric under changed test conditions: curves, a heat map of the change, and quality along ordered conditions."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import TRAIN, UNTRAINED
from ptycho_lib.report.figures.axes import (
    DIRECTION,
    GRID,
    draw_control,
    least_span,
    reading_key,
    size_axis,
    training_sizes,
)
from ptycho_lib.report.style import (
    FULL_WIDTH,
    ModelLook,
    bare,
    colour_bar,
    letter,
    metric_title,
    model_looks,
    new_figure,
    styled,
)
from ptycho_lib.study.results.condition_series import ConditionSeries, series_values

DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 2)))
WIDE_PT, NARROW_PT = 28.0, 18.0
"""Widths of a heat map's cell that holds two digits, and at least one."""


@styled
def condition_figure(
    table: pd.DataFrame, *, metric: str = "ssim", component: str = "phase", alignment: str = "aligned"
) -> Figure:
    """Show how a metric changes when the test data change: curves for each model above a heat map.

    Curves that could not be told apart, at one training size or under many conditions, are left out; the
    heat map then begins with the values themselves.

    The dotted grey line is the untrained control on the unchanged test set. The training scan is no test
    condition and is left out (`generalization_figure`).

    Parameters
    ----------
    table : DataFrame
        Tidy table with the condition ``nominal`` and at least one other.
    metric, component, alignment : str
        Which value.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no other condition, or no such value.
    """
    rows = select(table, metric=metric, component=component, alignment=alignment)
    means = rows.groupby(["model", "condition", "n_train"], sort=True)["value"].mean()
    conditions = [name for name in rows["condition"].unique() if name not in {NOMINAL, TRAIN}]
    if not conditions:
        raise ValueError("the table holds no condition besides 'nominal'")
    looks, sizes = model_looks(rows["model"]), training_sizes(rows)
    with_curves = len(sizes) > 1 and len(conditions) < len(DASHES)
    lines = conditions if with_curves else [NOMINAL, *conditions]
    heights = [1.7] * with_curves + [0.4 + 0.28 * len(lines)]
    width = min(FULL_WIDTH, 3.6 * len(looks))
    figure = new_figure(sum(heights) + 0.3, width=width)
    panels = figure.subplots(len(heights), len(looks), squeeze=False, sharey="row", height_ratios=heights)

    def over_sizes(model: str, name: str) -> NDArray[np.float64]:
        without = means.get((model, name, 0), np.nan)  # the same whatever the size
        return np.array([means.get((model, name, size), without) for size in sizes])

    values = {model: np.array([over_sizes(model, name) for name in lines]) for model in looks}
    change = {model: values[model] - over_sizes(model, NOMINAL) for model in looks}
    limit = max(np.nanmax(np.abs(differences), initial=0) for differences in change.values()) or 1.0
    good_is_up = metric not in METRICS or METRICS[metric].better == "higher"
    letters_a_line = int(72 * width / len(looks) / 6)
    room_pt = 72 * width * 0.72 / len(looks) / len(sizes)
    for column, (model, look) in zip(panels.T, looks.items(), strict=True):
        if with_curves:
            for name, dash in zip([NOMINAL, *conditions], DASHES, strict=False):
                line = {"color": look.colour, "marker": look.marker, "markersize": 3, "linestyle": dash}
                column[0].plot(sizes, over_sizes(model, name), **line, label=name)
            draw_control(column[0], means.get((UNTRAINED, NOMINAL, 0)))
        column[0].set_title(fill(look.label, letters_a_line))
        heat = column[-1]
        colours = "RdBu" if good_is_up else "RdBu_r"
        image = heat.imshow(change[model], cmap=colours, vmin=-limit, vmax=limit, aspect="auto")
        for (i, j), difference in np.ndenumerate(change[model]):
            shade = "white" if abs(difference) > 0.6 * limit else "black"
            text = f"{values[model][i, j]:.2g}" if lines[i] == NOMINAL else _change(difference, room_pt)
            upright = 90 if room_pt < NARROW_PT else 0
            heat.text(j, i, text, ha="center", va="center", color=shade, fontsize=7, rotation=upright)
        bare(heat)
        heat.set_xticks(range(len(sizes)), sizes)
        heat.set_yticks(range(len(lines)), lines)
        heat.set_xlabel("training patterns")
    name = f"{component} {metric_title(metric, component)}"
    if with_curves:
        least_span(panels[0, 0], metric)
        panels[0, 0].set_ylabel(name.replace(" ", "\n", 1))
        size_axis(panels[0], sizes)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        reading_key(figure, DIRECTION)
    colour_bar(figure, image, list(panels[-1]), "change" if with_curves else f"change of {name}")
    letter(panels.ravel())
    return figure


def _change(difference: float, room_pt: float) -> str:
    """Write a change with the digits that a cell has room for."""
    if not np.isfinite(difference):
        return "–"
    return f"{difference:+.2g}" if room_pt > WIDE_PT else f"{difference:+.1g}"


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
