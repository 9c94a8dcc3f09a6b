"""Studies side by side: their metrics against the training size, and the paired differences below."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptycho_lib.metrics_table import METRICS
from ptycho_lib.model_names import NOMINAL
from ptycho_lib.report.figures.axes import BAND, DIRECTION, GRID, QUIET, least_span, reading_key, size_axis
from ptycho_lib.report.style import FULL_WIDTH, letter, metric_title, model_looks, new_figure, styled

LINES = ("-", "--", ":", "-.")


@styled
def study_comparison_figure(
    values: pd.DataFrame,
    pairs: pd.DataFrame,
    studies: Sequence[str],
    *,
    metrics: Sequence[str] = ("ssim", "mae", "frc50"),
    component: str = "phase",
    width: float = FULL_WIDTH,
) -> Figure:
    """Show the means of several studies, and by how much each differs from the first where trials are paired.

    Parameters
    ----------
    values, pairs : DataFrame
        Of a `StudyComparison`.
    studies : sequence of str
        Their labels; the first is the reference of the differences.
    metrics : sequence of str
        Columns of panels.
    component : str
    width : float
        Greatest width, inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If none of the metrics is there.
    """
    kept = {"condition": NOMINAL, "alignment": "aligned", "component": component}
    rows, differences = (_chosen(table, kept) for table in (values, pairs))
    shown = [metric for metric in metrics if metric in set(rows["metric"])]
    if not shown:
        raise ValueError(f"none of the metrics {', '.join(metrics)} is in the table")
    trained = rows[rows["n_train"] > 0]
    looks = model_looks(trained["model"])
    lines = 1 if differences.empty else 2
    figure = new_figure(1.9 * lines + 0.8, width=min(width, 3.2 * len(shown)), used=0.985)
    panels = figure.subplots(lines, len(shown), squeeze=False, sharex=True)
    for column, metric in zip(panels.T, shown, strict=True):
        for model, look in looks.items():
            for study, line in zip(studies, LINES, strict=False):
                own = trained[(trained["metric"] == metric) & (trained["model"] == model) & (trained["study"] == study)]
                _draw(column[0], own.sort_values("n_train"), look.colour, look.marker, line)
                other = differences[
                    (differences["metric"] == metric)
                    & (differences["model"] == model)
                    & (differences["study"] == study)
                    & (differences["n_train"] > 0)
                ]
                if lines == 2 and not other.empty:
                    _draw(column[1], other.sort_values("n_train"), look.colour, look.marker, line)
        column[0].set_title(f"{component} {metric_title(metric, component)}")
        least_span(column[0], metric)
        if lines == 2:
            unit = METRICS[metric].unit_of(component)
            column[1].axhline(0, color=QUIET, linewidth=0.8)
            column[1].set_title(f"minus the first study{f' ({unit})' if unit else ''}")
        column[-1].set_xlabel("training patterns")
        for ax in column:
            ax.grid(axis="y", **GRID)
            ax.margins(x=0.08)
    sizes = sorted(int(size) for size in trained["n_train"].unique())
    size_axis(panels[-1], sizes)
    letter(panels.ravel(), left_pt=14)
    handles = [Line2D([], [], color=look.colour, marker=look.marker, label=look.label) for look in looks.values()]
    handles += [
        Line2D([], [], color=QUIET, linestyle=line, label=study) for study, line in zip(studies, LINES, strict=False)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, int(figure.get_figwidth() / 1.9)))
    reading_key(figure, BAND, DIRECTION)
    return figure


def _chosen(table: pd.DataFrame, kept: dict[str, str]) -> pd.DataFrame:
    for column, value in kept.items():
        table = table[table[column] == value]
    return table


def _draw(ax: Axes, rows: pd.DataFrame, colour: str, marker: str, line: str) -> None:
    """Draw the means of one model, with the band of their interval."""
    ax.plot(rows["n_train"], rows["mean"], line, marker=marker, markersize=4, color=colour)
    ax.fill_between(rows["n_train"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
