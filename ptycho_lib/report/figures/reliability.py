"""Reliability: whether an uncertainty covers the truth as often as it says."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ptycho_lib.report.figures.axes import GRID, QUIET
from ptycho_lib.report.style import model_looks, new_figure, styled

COLUMNS = ("nominal", "observed", "model", "calibrated")


@styled
def reliability_figure(coverage: pd.DataFrame) -> Figure:
    """Show the share of pixels whose error lies within the stated uncertainty against the share that should.

    On the diagonal an uncertainty is calibrated; below it, it is too small. Full points: calibrated on held-in data;
    open points: as predicted.

    Parameters
    ----------
    coverage : DataFrame
        Columns ``nominal`` and ``observed`` (shares, 0 to 1), ``model``, ``calibrated`` (bool).

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column is missing, or there is no row.
    """
    missing = [name for name in COLUMNS if name not in coverage]
    if missing or coverage.empty:
        raise ValueError(f"coverage needs rows and the columns {', '.join(COLUMNS)}; missing: {missing or 'rows'}")
    figure = new_figure(3.1, width=3.6)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, label="calibrated exactly")
    for model, look in model_looks(coverage["model"]).items():
        for calibrated, rows in coverage[coverage["model"] == model].groupby("calibrated"):
            mean = rows.groupby("nominal")["observed"].mean()
            fill = look.colour if calibrated else "white"
            words = "calibrated on held-in data" if calibrated else "as predicted"
            dash = look.line if calibrated else ":"
            ax.plot(
                mean.index, mean, dash, marker=look.marker, markersize=4, color=look.colour, markerfacecolor=fill,
                label=f"{look.label}, {words}",
            )  # fmt: skip
    ax.set(xlabel="stated coverage", ylabel="observed coverage", xlim=(0, 1), ylim=(0, 1))
    ax.set_box_aspect(1)
    ax.grid(**GRID)
    figure.legend(loc="outside lower center", ncols=1)
    return figure
