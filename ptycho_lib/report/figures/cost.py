"""Quality against time: what each model reaches, and what it takes to get there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.report.style import (
    FULL_WIDTH,
    ModelLook,
    letter,
    metric_title,
    model_looks,
    new_figure,
    styled,
)

MOST_LABELS = 8
KEYS = ["n_train", "trial", "model", "condition"]
PANELS = {
    "total_s": "training (numbers: patterns) and reconstruction",
    "reconstruction_s": "reconstruction alone",
}


@styled
def time_figure(
    table: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
) -> Figure:
    """Show quality against the wall time that it took, log scale: training included, and without.

    A model that is trained has a point for each training size, joined in order, the best labelled; one that is
    not trained has a single point, and a dotted line at its quality. Bars span the trials.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `tidy.COLUMNS`.
    costs : DataFrame
        `results.costs.collect_costs`.
    metric, component, alignment, condition : str
        Which value.

    Raises
    ------
    ValueError
        If no reconstruction of the table has a time.
    """
    rows = select(table, metric=metric, component=component, alignment=alignment, condition=condition)
    merged = rows[[*KEYS, "value"]].merge(costs, on=KEYS)
    if merged.empty:
        raise ValueError(f"no time was recorded for condition '{condition}'")
    merged["total_s"] = merged["training_s"] + merged["reconstruction_s"]
    looks, trained = model_looks(merged["model"]), set(merged[merged["training_s"] > 0]["model"])
    figure = new_figure(3.0, width=FULL_WIDTH, used=0.985)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for ax, (column, title) in zip(panels, PANELS.items(), strict=True):
        for model, look in looks.items():
            own = merged[merged["model"] == model]
            own = own if model in trained else own.assign(n_train=0)
            _draw(ax, own, column, look)
        seconds_axis(ax, merged[column])
        ax.margins(y=0.12)
        ax.grid(color="#e6e6e6", linewidth=0.5)
        ax.set_title(title)
        ax.set_xlabel(f"wall time for {_patterns(merged)} test patterns (s)")
    _label_sizes(panels[0], merged[merged["model"].isin(trained)])
    panels[0].set_ylabel(f"{component} {metric_title(metric, component)}")
    letter(panels)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, column: str, look: ModelLook) -> None:
    """Draw one model: means, and bars from the least to the largest trial."""
    groups = rows.groupby("n_train")
    x, y = groups[column].mean(), groups["value"].mean()
    bars = [
        np.abs(np.stack([groups[name].min() - mean, groups[name].max() - mean]))
        for name, mean in ((column, x), ("value", y))
    ]
    ax.errorbar(
        x,
        y,
        xerr=bars[0],
        yerr=bars[1],
        fmt=look.marker,
        linestyle=look.line if len(x) > 1 else "none",
        color=look.colour,
        markersize=5,
        elinewidth=0.9,
        label=look.label,
    )
    if list(x.index) == [0]:
        ax.axhline(y.iloc[0], color=look.colour, linestyle=":", linewidth=0.9, zorder=0)


def seconds_axis(ax: Axes, seconds: pd.Series) -> None:
    """Make a log axis of plain numbers, wide enough to hold a tick at 1, 2 or 5 times a power of ten."""
    ax.set_xscale("log")
    ax.set_xlim(seconds.min() / 1.6, seconds.max() * 1.6)
    narrow = seconds.max() < 100 * seconds.min()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _label_sizes(ax: Axes, rows: pd.DataFrame) -> None:
    """Write training sizes above the best model of each, clear of its bar; of many, some."""
    groups = rows.groupby(["n_train", "model"])
    points = groups.agg(x=("total_s", "mean"), value=("value", "mean"), top=("value", "max")).dropna()
    sizes = points.index.unique("n_train")
    for size, of_size in points.loc[sizes[:: -(-len(sizes) // MOST_LABELS)]].groupby("n_train"):
        best = of_size.loc[of_size["value"].idxmax()]
        where = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate(str(size), (best["x"], best["top"]), (0, 4), **where, fontsize=7)  # type: ignore[arg-type]


def _patterns(rows: pd.DataFrame) -> str:
    low, high = rows["n_patterns"].min(), rows["n_patterns"].max()
    return f"{low}" if low == high else f"{low}–{high}"
