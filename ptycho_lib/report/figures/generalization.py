"""The generalization gap: the same metrics on the training scan and on the test scan, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.model_names import TRAIN, UNTRAINED
from ptycho_lib.report.figures.axes import (
    DIRECTION,
    GRID,
    QUIET,
    draw_control,
    least_span,
    reading_key,
    size_axis,
    training_sizes,
)
from ptycho_lib.report.style import FULL_WIDTH, ModelLook, letter, metric_title, model_looks, new_figure, styled

ON_TEST = Line2D([], [], color=QUIET, marker="o", markersize=4, label="test scan")
ON_TRAIN = Line2D([], [], color=QUIET, linestyle="--", marker="o", markerfacecolor="white", markersize=4)
ON_TRAIN.set_label("training scan")
GAP = Line2D([], [], color=QUIET, linewidth=3, alpha=0.25, label="generalization gap")


@styled
def generalization_figure(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("ssim", "frc50"),
    components: Sequence[str] = ("amplitude", "phase"),
    alignment: str = "aligned",
    width: float = FULL_WIDTH,
) -> Figure:
    """Show what a network reaches on the scan that it was trained on, and on the test scan, against the training size.

    Full points: test scan; open points on dashed lines: training scan; the bar between them is the gap. All are means
    of the trials. The dotted line is the untrained control on the test scan.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`, with the conditions ``nominal`` and ``train``.
    metrics : sequence of str
        Columns of panels.
    components : sequence of str
        Rows of panels.
    alignment : str
        ``aligned`` or ``raw``.
    width : float
        Greatest width of the figure, inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the table holds no value of the training scan, or none of the metrics.
    """
    rows = select(table, alignment=alignment)
    pairs = {name: select(rows, condition=name) for name in (NOMINAL, TRAIN)}
    shown = [metric for metric in metrics if metric in set(pairs[TRAIN]["metric"])]
    if not shown:
        raise ValueError(f"none of the metrics {', '.join(metrics)} is in the table")
    looks = model_looks(pairs[TRAIN].loc[pairs[TRAIN]["n_train"] > 0, "model"])
    figure = new_figure(1.7 * len(components) + 0.7, width=min(width, 3.6 * len(shown)), used=0.985)
    panels = figure.subplots(len(components), len(shown), squeeze=False, sharex=True)
    for axes, component in zip(panels, components, strict=True):
        for ax, metric in zip(axes, shown, strict=True):
            test, train = (select(pairs[name], metric=metric, component=component) for name in (NOMINAL, TRAIN))
            for model, look in looks.items():
                _draw_pair(ax, test[test["model"] == model], train[train["model"] == model], look)
            control = test.loc[test["model"] == UNTRAINED, "value"]
            draw_control(ax, float(control.mean()) if len(control) else None)
            ax.set_title(f"{component} {metric_title(metric, component)}")
            ax.grid(axis="y", **GRID)
            ax.margins(x=0.08)
            least_span(ax, metric)
    for ax in panels[-1]:
        ax.set_xlabel("training patterns")
    size_axis(panels[-1], training_sizes(pairs[TRAIN]))
    letter(panels.ravel(), left_pt=14)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=max(1, int(figure.get_figwidth() / 1.7)),
    )
    reading_key(figure, ON_TEST, ON_TRAIN, GAP, DIRECTION)
    return figure


def _draw_pair(ax: Axes, test: pd.DataFrame, train: pd.DataFrame, look: ModelLook) -> None:
    """Draw one model in one panel: means on test and training scan, and the gap between them."""
    means = [part.groupby("n_train")["value"].mean() for part in (test, train)]
    on_test, on_train = means
    both = on_test.index.intersection(on_train.index)
    ax.vlines(both, on_test[both], on_train[both], color=look.colour, linewidth=3, alpha=0.25)
    ax.plot(on_test.index, on_test, "-", marker=look.marker, markersize=4, color=look.colour, label=look.label)
    ax.plot(
        on_train.index, on_train, "--", marker=look.marker, markersize=4, color=look.colour, markerfacecolor="white"
    )
