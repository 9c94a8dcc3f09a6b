"""Figures of a whole study: metrics against training-set size, and under changed test conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
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

ARROW = {"arrowstyle": "->", "linestyle": ":", "linewidth": 0.9, "color": "#333333"}
DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 2)))
WIDE_PT, NARROW_PT = 28.0, 18.0
"""Widths of a heat map's cell that holds two digits, and at least one."""
STUDY_METRICS = ("mae", "mse", "psnr", "ssim", "frc50")
MOST_POINTS = 12
"""Trials of a size that are shown one by one; more would hide the line and its band."""


@styled
def study_figure(
    table: pd.DataFrame,
    summary: pd.DataFrame | None = None,
    crossings: pd.DataFrame | None = None,
    *,
    metrics: Sequence[str] = STUDY_METRICS,
    components: Sequence[str] = ("amplitude", "phase"),
    alignment: str = "aligned",
    condition: str = NOMINAL,
    seconds: Mapping[str, float] | None = None,
) -> Figure:
    """Show every metric against the number of training patterns: the figure that answers the study.

    The line joins the means. With several trials (up to `MOST_POINTS`) each one is a faint point, and the
    band is the 95 % interval of `summary`; with one trial there is no band. Censored values (FRC resolved to
    Nyquist) are open points. A model without training, of size 0, is a horizontal line.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `tidy.COLUMNS`.
    summary : DataFrame, optional
        `study.statistics.summarize` of the table: columns ``mean``, ``low``, ``high`` beside the keys.
    crossings : DataFrame, optional
        `results.matched_size.matched_sizes` of the table: an arrow leads from the size that the reference needs
        to the largest one at which the model needs fewer patterns for the same value.
    metrics, components : sequence of str
        Columns and rows of panels.
    alignment : str
        ``aligned`` or ``raw``.
    condition : str
        Test condition.
    seconds : mapping of str to float, optional
        Times that the legend tells, by model.
    """
    rows = select(table, alignment=alignment, condition=condition)
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    if not metrics:
        raise ValueError("none of the metrics asked for is in the table")
    looks = _timed(model_looks(rows["model"]), seconds or {})
    if len(metrics) == len(components) == 1:
        figure = new_figure(2.9, width=4.4)
    else:
        width = max(FULL_WIDTH * len(metrics) / 5, 2.8)
        figure = new_figure(1.55 * len(components) + 0.35, width=width, used=0.985)
    panels = figure.subplots(len(components), len(metrics), squeeze=False, sharex=True)
    for axes, component in zip(panels, components, strict=True):
        for ax, metric in zip(axes, metrics, strict=True):
            of_panel = rows[(rows["component"] == component) & (rows["metric"] == metric)]
            intervals = _intervals(summary, component, metric, alignment, condition)
            for model, look in looks.items():
                own = of_panel["model"] == model
                _draw_model(ax, of_panel[own], look, intervals[intervals["model"] == model])
            for crossing in _reached(crossings, component, metric, alignment, condition):
                ends = {"xy": (crossing.n_train, crossing.value), "xytext": (crossing.needed, crossing.value)}
                ax.annotate("", **ends, arrowprops=ARROW)
            ax.set_title(metric_title(metric, component), loc="center")
            ax.margins(x=0.08)
            ax.ticklabel_format(axis="y", useOffset=False)
            ax.grid(axis="y", color="#e6e6e6", linewidth=0.5)
        axes[0].set_ylabel(component, fontweight="bold")
    _size_axis(panels[-1], _sizes(rows))
    letter(panels.ravel(), left_pt=14)
    figure.supxlabel("training patterns", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3))
    return figure


@styled
def condition_figure(
    table: pd.DataFrame, *, metric: str = "ssim", component: str = "phase", alignment: str = "aligned"
) -> Figure:
    """Show how a metric changes when the test data change: curves for each model above a heat map.

    Curves that could not be told apart, at one training size or under many conditions, are left out; the
    heat map then begins with the values themselves.

    Parameters
    ----------
    table : DataFrame
        Tidy table with the condition ``nominal`` and at least one other.
    metric, component, alignment : str
        Which value.
    """
    rows = select(table, metric=metric, component=component, alignment=alignment)
    means = rows.groupby(["model", "condition", "n_train"], sort=True)["value"].mean()
    conditions = [name for name in rows["condition"].unique() if name != NOMINAL]
    if not conditions:
        raise ValueError("the table holds no condition besides 'nominal'")
    looks, sizes = model_looks(rows["model"]), _sizes(rows)
    with_curves = len(sizes) > 1 and len(conditions) < len(DASHES)
    lines = conditions if with_curves else [NOMINAL, *conditions]
    heights = [1.7] * with_curves + [0.4 + 0.28 * len(lines)]
    width = min(FULL_WIDTH, 3.6 * len(looks))
    figure = new_figure(sum(heights) + 0.3, width=width)
    panels = figure.subplots(len(heights), len(looks), squeeze=False, height_ratios=heights)

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
        heat.tick_params(labelleft=heat is panels[-1, 0])
        heat.set_xlabel("training patterns")
    name = f"{component} {metric_title(metric, component)}"
    if with_curves:
        for ax in panels[0, 1:]:
            ax.sharey(panels[0, 0])
        panels[0, 0].set_ylabel(name.replace(" ", "\n", 1))
        _size_axis(panels[0], sizes)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    colour_bar(figure, image, list(panels[-1]), "change" if with_curves else f"change of {name}")
    letter(panels.ravel())
    return figure


def _change(difference: float, room_pt: float) -> str:
    """Write a change with the digits that a cell has room for."""
    if not np.isfinite(difference):
        return "–"
    return f"{difference:+.2g}" if room_pt > WIDE_PT else f"{difference:+.1g}"


def _draw_model(ax: Axes, rows: pd.DataFrame, look: ModelLook, intervals: pd.DataFrame) -> None:
    """Draw one model in one panel: band, line of means, points."""
    if rows.empty:
        return
    if (rows["n_train"] == 0).all():
        ax.axhline(rows["value"].mean(), color=look.colour, ls=look.line, lw=1.0, label=look.label)
        return
    means = rows.groupby("n_train")["value"].mean()
    n_trials = rows.groupby("n_train")["trial"].nunique().max()
    band = intervals.sort_values("n_train")
    if n_trials > 1 and not band.empty:
        ax.fill_between(band["n_train"], band["low"], band["high"], color=look.colour, alpha=0.18, linewidth=0)
    marker = look.marker
    size = 4 if len(means) <= MOST_POINTS else 2.5
    ax.plot(means.index, means, look.line, marker=marker, markersize=size, color=look.colour, label=look.label)
    if 1 < n_trials <= MOST_POINTS:
        ax.plot(rows["n_train"], rows["value"], marker, markersize=2.5, color=look.colour, alpha=0.35, mew=0)
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


def _sizes(rows: pd.DataFrame) -> list[int]:
    """Return the training sizes; 0, which trains nothing, is none."""
    return sorted(size for size in rows["n_train"].unique() if size)


def _intervals(summary: pd.DataFrame | None, *of_panel: str) -> pd.DataFrame:
    columns = ["n_train", "model", "low", "high"]
    if summary is None:
        return pd.DataFrame(columns=columns)
    return _of_panel(summary, *of_panel)[columns].dropna()


def _reached(crossings: pd.DataFrame | None, *of_panel: str) -> Iterable[Any]:
    """Return the crossing of the largest size that lies between the sizes of the study, as a row, if any."""
    if crossings is None or crossings.empty:
        return ()
    rows = _of_panel(crossings, *of_panel)
    within = rows[np.isfinite(rows["needed"]) & (rows["needed"] > rows["n_train"])]
    return within.sort_values("n_train").tail(1).itertuples()


def _of_panel(rows: pd.DataFrame, component: str, metric: str, alignment: str, condition: str) -> pd.DataFrame:
    wanted = {"component": component, "metric": metric, "alignment": alignment, "condition": condition}
    return select(rows, may_be_empty=True, **wanted)


def _size_axis(axes: Sequence[Axes], sizes: Sequence[int]) -> None:
    """Make a log2 axis with the real sizes as ticks, upright where they would touch; of very many, some."""
    room_pt = 72 * FULL_WIDTH / len(axes) * 0.75
    crowded = sum(len(str(size)) * 4.5 + 4 for size in sizes) > room_pt
    shown = _apart(sizes, 9 / room_pt) if crowded else list(sizes)
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator(shown))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([str(size) for size in shown], rotation=90 if crowded else 0)


def _apart(sizes: Sequence[int], share: float) -> list[int]:
    """Return the sizes that are at least a share of a log axis apart, from the largest downwards."""
    places = np.log2(sizes) / max(np.log2(max(sizes) / min(sizes)), 1e-9)
    kept = [len(sizes) - 1]
    for k in reversed(range(len(sizes) - 1)):
        if places[kept[-1]] - places[k] >= share:
            kept.append(k)
    return [sizes[k] for k in reversed(kept)]
