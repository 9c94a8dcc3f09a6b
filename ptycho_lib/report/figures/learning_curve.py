"""Learning curves: means of the trials, the fitted power law, its plateau, and the sizes that answer the study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import METRICS, select
from ptycho_lib.model_names import UNTRAINED
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

FITTED = "fitted"
EXTRAPOLATED = 2.0
"""The fitted curve is drawn, dashed, up to this many times the largest size."""

FIT = Line2D([], [], color=QUIET, linewidth=1.2, label="fitted curve; dashed: extrapolated")
PLATEAU = Patch(facecolor=QUIET, alpha=0.2, label="95 % interval of the plateau")
ENOUGH = Line2D([], [], linestyle="none", marker="o", markersize=9, markerfacecolor="none", color=QUIET)
ENOUGH.set_label("smallest size on the plateau")
TARGET = Line2D([], [], color=QUIET, linestyle=(0, (1, 2)), marker="v", markersize=5, label="target and its size")


@styled
def learning_curve_figure(
    table: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    metric: str = "ssim",
    alignment: str = "aligned",
    width: float = FULL_WIDTH,
) -> Figure:
    """Show how quality grows with the training size, with the fitted learning curve of each model.

    Dots are trials. The curve is a power law E(n) = E_inf + a (n / n_1)^-b, dashed beyond the largest size; the band at
    the right is the interval of its plateau. A circle marks the smallest size within that interval. A model whose curve
    was not fitted (flat, not monotonic, few sizes or trials) has its means alone, and the legend says why.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    curves : DataFrame
        Columns of `learning_curves.csv`: model, component, metric, alignment, smallest, largest, shape, best_size,
        plateau, plateau_low, plateau_high, scale, exponent, target, target_size.
    metric, alignment : str
        Which value.
    width : float
        Of the figure, inches.

    Returns
    -------
    Figure
        A panel a component.

    Raises
    ------
    ValueError
        If there is no such curve.
    """
    chosen = select(curves, metric=metric, alignment=alignment)
    components = [name for name in ("amplitude", "phase") if name in set(chosen["component"])]
    figure = new_figure(3.4, width=min(width, 3.6 * len(components)), used=0.985)
    panels = figure.subplots(1, len(components), squeeze=False)[0]
    for ax, component in zip(panels, components, strict=True):
        values = select(table, metric=metric, component=component, alignment=alignment, condition=NOMINAL)
        of_panel = chosen[chosen["component"] == component].set_index("model")
        for model, look in model_looks(of_panel.index).items():
            _draw(ax, values[values["model"] == model], of_panel.loc[model], look, metric)
        control = values.loc[values["model"] == UNTRAINED, "value"]
        draw_control(ax, float(control.mean()) if len(control) else None)
        ax.set(title=f"{component} {metric_title(metric, component)}", xlabel="training patterns")
        ax.grid(axis="y", **GRID)
        least_span(ax, metric)
        ax.legend(loc="best", fontsize=7)
    size_axis(panels, training_sizes(table))
    letter(panels, left_pt=14)
    fitted = (chosen["shape"] == FITTED).any()
    targets = [TARGET] if chosen["target"].notna().any() else []
    reading_key(figure, *([FIT, PLATEAU, ENOUGH] if fitted else []), *targets, DIRECTION)
    return figure


def fitted_values(curve: Any, sizes: np.ndarray, metric: str) -> np.ndarray:
    """Return the fitted curve at sizes (patterns), in the metric's unit.

    Parameters
    ----------
    curve : row of a DataFrame
        Columns plateau, scale, exponent, smallest.
    sizes : ndarray of float
    metric : str
        Qualities rise to the plateau, errors fall to it.

    Returns
    -------
    ndarray of float
    """
    sign = -1.0 if _rises(metric) else 1.0
    return curve["plateau"] + sign * curve["scale"] * (sizes / curve["smallest"]) ** -curve["exponent"]


def _draw(ax: Axes, rows: pd.DataFrame, curve: Any, look: ModelLook, metric: str) -> None:
    """Draw one model in one panel."""
    means = rows.groupby("n_train")["value"].mean()
    fitted = curve["shape"] == FITTED
    label = look.label if fitted else f"{look.label} ({curve['shape']})"
    dash = "none" if fitted else look.line
    ax.plot(rows["n_train"], rows["value"], look.marker, markersize=3, color=look.colour, alpha=0.5, mew=0)
    line: dict[str, Any] = {"linestyle": dash, "marker": look.marker, "markersize": 4, "color": look.colour}
    ax.plot(means.index, means, **line, label=label)
    if fitted:
        end = EXTRAPOLATED * curve["largest"]
        inside = np.geomspace(curve["smallest"], curve["largest"], 60)
        beyond = np.geomspace(curve["largest"], end, 20)
        ax.plot(inside, fitted_values(curve, inside, metric), "-", color=look.colour, linewidth=1.2)
        ax.plot(beyond, fitted_values(curve, beyond, metric), "--", color=look.colour, linewidth=1.2)
        ax.fill_between(
            [curve["largest"], end], curve["plateau_low"], curve["plateau_high"], color=look.colour, alpha=0.2
        )
    if curve["best_size"] in means.index:
        at = curve["best_size"]
        ax.plot(at, means[at], "o", markersize=9, markerfacecolor="none", color=look.colour)
    if np.isfinite(curve["target"]):
        ax.axhline(curve["target"], color=QUIET, linestyle=(0, (1, 2)), linewidth=0.9)
        if np.isfinite(curve["target_size"]):
            ax.plot(curve["target_size"], curve["target"], "v", markersize=5, color=look.colour)


def _rises(metric: str) -> bool:
    return metric not in METRICS or METRICS[metric].better == "higher"
