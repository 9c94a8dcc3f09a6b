"""Quality against time: what each model reaches, and how long it takes."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ptycho_lib.config import NOMINAL
from ptycho_lib.metrics_table import select
from ptycho_lib.report.figures.axes import DIRECTION, GRID, least_span, reading_key, seconds_axis
from ptycho_lib.report.style import FULL_WIDTH, ModelLook, letter, metric_title, model_looks, new_figure, styled

KEYS = ["n_train", "trial", "model", "condition"]
PANELS = {
    "total_s": "training (numbers: patterns) and reconstruction",
    "reconstruction_s": "reconstruction alone",
}
BESIDE = (
    (0, 6, "center", "bottom"),
    (6, 0, "left", "center"),
    (0, -6, "center", "top"),
    (-6, 0, "right", "center"),
    (6, 6, "left", "bottom"),
    (-6, 6, "right", "bottom"),
    (6, -6, "left", "top"),
    (-6, -6, "right", "top"),
)
"""Places of a label about its point (points) and its alignment, the best first."""


@styled
def time_figure(
    table: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    metric: str = "ssim",
    component: str = "phase",
    alignment: str = "aligned",
    condition: str = NOMINAL,
    width: float = FULL_WIDTH,
) -> Figure:
    """Show quality against the wall time that it took, log scale: training included, and without.

    A model that is trained has a point for each training size, labelled with it; one that is not trained has a
    single point, and a dotted line at its quality. Bars span the trials. Points are not joined: time need not rise
    with the size. A label for which there is no free place is left out.

    Parameters
    ----------
    table : DataFrame
        Tidy table, columns `metrics_table.COLUMNS`.
    costs : DataFrame
        `results.costs.collect_costs`.
    metric, component, alignment, condition : str
        Which value.
    width : float
        Of the figure, inches; narrow ones have their panels one above the other.

    Returns
    -------
    Figure

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
    stacked = width < 5
    figure = new_figure(5.0 if stacked else 3.2, width=width, used=0.985)
    panels = figure.subplots(*((len(PANELS), 1) if stacked else (1, len(PANELS))), sharey=True)
    for ax, (column, title) in zip(panels, PANELS.items(), strict=True):
        for model, look in looks.items():
            own = merged[merged["model"] == model]
            own = own if model in trained else own.assign(n_train=0)
            _draw(ax, own, column, look)
        seconds_axis(ax, merged[column])
        ax.margins(y=0.14)
        ax.grid(**GRID)
        ax.set_title(fill(title, 40) if stacked else title)
        ax.set_xlabel(f"wall time for {_patterns(merged)} test patterns (s)")
    least_span(panels[0], metric)
    panels[0].set_ylabel(f"{component} {metric_title(metric, component)}")
    letter(panels)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), max(1, int(width / 1.7))))
    reading_key(figure, DIRECTION)
    means = merged.groupby(["model", "n_train"])[["total_s", "value"]].mean()
    figure.draw_without_rendering()  # the places of the points are known once the figure is laid out
    _label_sizes(figure, panels[0], means.loc[[model for model in looks if model in trained]], means, looks)
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
        x, y, xerr=bars[0], yerr=bars[1], fmt=look.marker, linestyle="none", color=look.colour, markersize=5,
        elinewidth=0.9, label=look.label,
    )  # fmt: skip
    if list(x.index) == [0]:
        ax.axhline(y.iloc[0], color=look.colour, linestyle=":", linewidth=0.9, zorder=0)


def _label_sizes(
    figure: Figure, ax: Axes, points: pd.DataFrame, every: pd.DataFrame, looks: dict[str, ModelLook]
) -> None:
    """Write training sizes beside points, index (model, n_train), where neither point nor label is in the way."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    centres = ax.transData.transform(every[["total_s", "value"]].dropna().to_numpy())
    size = 3.5 * figure.dpi / 72
    taken = [Bbox.from_extents(x - size, y - size, x + size, y + size) for x, y in centres]
    frame = ax.get_window_extent(renderer)
    for (model, n_train), point in points.dropna().iterrows():
        for right, up, horizontal, vertical in BESIDE:
            label = ax.annotate(
                str(n_train), (point["total_s"], point["value"]), (right, up), textcoords="offset points",
                ha=horizontal, va=vertical, fontsize=7, color=looks[model].colour, annotation_clip=False,
            )  # fmt: skip
            box = label.get_window_extent(renderer)
            if _inside(box, frame) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                label.set_in_layout(False)
                break
            label.remove()


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)


def _patterns(rows: pd.DataFrame) -> str:
    low, high = rows["n_patterns"].min(), rows["n_patterns"].max()
    return f"{low}" if low == high else f"{low}–{high}"
