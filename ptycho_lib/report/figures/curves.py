"""Figures of curves: training, iterations, Fourier ring correlation, profiles, reliability of an uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import map_coordinates

from ptycho_lib.evaluation.frc import FrcCurve, half_bit_threshold, one_bit_threshold
from ptycho_lib.report.figures.axes import GRID, QUIET, seconds_axis
from ptycho_lib.report.figures.objects import Comparison, Complex2D, Mask
from ptycho_lib.report.style import FULL_WIDTH, ModelLook, letter, model_looks, new_figure, styled

GREY = "#555555"
THRESHOLDS = (("half-bit", half_bit_threshold, ":"), ("1-bit", one_bit_threshold, "-."))


@styled
def history_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Show loss, validation loss and learning rate of each model against the epoch.

    Each model has its own axes: the losses are different quantities and rank nothing.

    Parameters
    ----------
    histories : mapping of str to DataFrame
        One row an epoch; columns ``loss`` and, where known, ``val_loss``, ``learning_rate``, ``epoch``.
    """
    rates = any("learning_rate" in history for history in histories.values())
    figure = new_figure(2.7 if rates else 2.1, width=3.6 * max(len(histories), 1))
    heights = (3, 1) if rates else (1,)
    panels = figure.subplots(len(heights), len(histories), squeeze=False, sharex="col", height_ratios=heights)
    for column, (model, look) in enumerate(model_looks(histories).items()):
        history, loss_ax, rate_ax = histories[model], panels[0, column], panels[-1, column]
        epochs = history["epoch"].to_numpy() if "epoch" in history else np.arange(1, len(history) + 1)
        loss_ax.plot(epochs, history["loss"], color=look.colour, label="training")
        if "val_loss" in history and history["val_loss"].notna().any():
            validation = history["val_loss"].to_numpy(dtype=float)
            loss_ax.plot(epochs, validation, color="black", linestyle=":", label="validation")
            best = int(np.nanargmin(validation))
            lowest = (epochs[best], validation[best])
            loss_ax.plot(*lowest, marker="o", color="black", markersize=4, linestyle="none")
            beside = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
            loss_ax.annotate("best", lowest, **beside, fontsize=7)
        if _spans_a_decade(loss_ax):
            loss_ax.set_yscale("log")
        loss_ax.set(title=look.label, ylabel="loss (own scale)")
        loss_ax.legend(loc="best")
        rate_ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if "learning_rate" in history:
            rate_ax.plot(epochs, history["learning_rate"], color="#555555", linewidth=1)
        rate_ax.set_xlabel("epoch")
        if rates:
            rate_ax.set(ylabel="learning\nrate", ylim=(0, None))
            rate_ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    return figure


@styled
def frc_figure(curves: Mapping[str, Mapping[str, FrcCurve]], *, pixel_size_m: float | None = None) -> Figure:
    """Show the Fourier ring correlation with the truth, one panel a component, with the usual thresholds.

    Parameters
    ----------
    curves : mapping of str to mapping of str to FrcCurve
        ``curves[component][model]``. An empty curve is named in the legend with its reason.
    pixel_size_m : float, optional
        Adds the full period in nanometres as a second axis.
    """
    figure = new_figure(2.8, width=min(FULL_WIDTH, 3.6 * len(curves)))
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for ax, (component, by_model) in zip(panels, curves.items(), strict=True):
        for name, look in model_looks(by_model).items():
            curve = by_model[name]
            label = f"{look.label}: {curve.reason}" if curve.reason else look.label
            ax.plot(curve.frequency, curve.correlation, look.line, color=look.colour, label=label)
        ax.axhline(0.5, color=GREY, linewidth=0.8, label="0.5")
        rings = next((curve for curve in by_model.values() if not curve.reason), None)
        for label, threshold, dash in THRESHOLDS:
            if rings is not None:
                ax.plot(rings.frequency, threshold(rings.samples), dash, color=GREY, label=label)
        ax.axhline(0, color="black", linewidth=0.4)
        ax.set(title=component, xlabel="spatial frequency (cycles/px)", xlim=(0, 0.5), ylim=(-0.2, 1.02))
        if pixel_size_m:
            _period_axis(ax, pixel_size_m)
    panels[0].set_ylabel("Fourier ring correlation")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    if len(curves) > 1:
        letter(panels)
    return figure


def _period_axis(ax: Axes, pixel_size_m: float) -> None:
    """Label the top with full periods in nm at round fractions of the frequency axis."""
    ticks = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    top = ax.twiny()
    top.set(xlim=ax.get_xlim(), xlabel="full period (nm)")
    top.set_xticks(ticks, [f"{pixel_size_m * 1e9 / tick:.3g}" for tick in ticks])
    top.spines["top"].set_visible(True)


@styled
def profile_figure(
    truth: Complex2D,
    estimates: Mapping[str, Complex2D],
    mask: Mask,
    start_px: tuple[float, float],
    end_px: tuple[float, float],
    *,
    component: str = "phase",
    pixel_size_m: float | None = None,
    truth_label: str = "Ground truth",
) -> Figure:
    """Show truth and estimates along a line, beside a picture of where the line runs.

    Parameters
    ----------
    truth : ndarray, (H, W) complex
    estimates : mapping of str to ndarray, (H, W) complex
        By model name; aligned to the truth.
    mask : ndarray, (H, W) bool
        The compared pixels; the profile is drawn faint outside them.
    start_px, end_px : (row, column)
        Ends of the line, in object pixels; values between pixels are interpolated linearly.
    component : str
        ``phase`` or ``amplitude``.
    """
    comparison = Comparison(truth, mask)
    view = comparison.view(component, [])
    figure = new_figure(2.6)
    picture, ax = figure.subplots(1, 2, width_ratios=(1, 2.4))
    comparison.draw(picture, component, truth, view)
    picture.set_title(f"{truth_label}, {component}")

    length = float(np.hypot(end_px[0] - start_px[0], end_px[1] - start_px[1]))
    steps = np.linspace(0, 1, max(int(np.ceil(length)) + 1, 2))
    line = np.stack([a + steps * (b - a) for a, b in zip(start_px, end_px, strict=True)])
    corner = np.array([[side.start] for side in comparison.box])
    line = line - corner
    picture.plot(line[1], line[0], color="#D55E00", linewidth=1.2)
    inside = map_coordinates(comparison.mask.astype(float), line, order=0, mode="constant") > 0.5
    distance = steps * length * (pixel_size_m * 1e6 if pixel_size_m else 1)

    def draw(obj: Complex2D, look: ModelLook) -> None:
        values = map_coordinates(comparison.values(component, obj), line, order=1, mode="nearest")
        ax.plot(distance, values, look.line, color=look.colour, alpha=0.25, linewidth=1)
        ax.plot(distance, np.where(inside, values, np.nan), look.line, color=look.colour, label=look.label)

    draw(truth, ModelLook(truth_label, "black", "", "-"))
    for name, look in model_looks(estimates).items():
        draw(estimates[name], look)
    ax.set(xlabel="distance (µm)" if pixel_size_m else "distance (px)", ylabel=f"{component} ({view.unit})")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=4)
    return figure


def _spans_a_decade(ax: Axes) -> bool:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 10 * values.min())


@styled
def starting_guess_figure(
    curves: Mapping[str, Mapping[str, pd.DataFrame]], *, quality: str = "phase SSIM ↑", against: str = "seconds"
) -> Figure:
    """Show quality against time or updates of the reconstruction, one panel a test set, one line a starting guess.

    Dotted: the quality at the end from a flat object; points: where each line reaches it first.

    Parameters
    ----------
    curves : mapping of str to mapping of str to DataFrame
        ``curves[test set][model]``: columns ``updates``, ``seconds``, ``quality``. Model ``iterative`` starts
        from a flat object. Update 0 is the starting guess itself, after the seconds that a network and the
        set-up took; training does not count.
    quality : str
        Label of the vertical axis.
    against : {'seconds', 'updates'}
        Horizontal axis.

    Returns
    -------
    Figure
    """
    figure = new_figure(2.7, width=3.4 * len(curves))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, (name, by_model) in zip(panels, curves.items(), strict=True):
        goal = float(by_model["iterative"]["quality"].iloc[-1])
        ax.axhline(goal, color="#777777", linestyle=":", linewidth=0.8)
        for model, look in model_looks(by_model).items():
            curve = by_model[model]
            ax.plot(curve[against], curve["quality"], look.line, color=look.colour, label=look.label)
            reached = curve[curve["quality"] >= goal].head(1)
            ax.plot(reached[against], reached["quality"], look.marker, color=look.colour, markersize=5)
        low = min(float(np.nanmin(curve["quality"])) for curve in by_model.values())
        if against == "seconds":
            seconds_axis(ax, pd.concat([curve["seconds"] for curve in by_model.values()]))
        else:
            ax.set_xscale("symlog", linthresh=10)
        label = {"seconds": "seconds of reconstruction", "updates": "updates of the object"}[against]
        ax.set(title=fill(name, 42), xlabel=label, ylim=(min(low, goal) - 0.03, None))
    panels[0].set_ylabel(quality)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), int(figure.get_figwidth() / 1.7)))
    letter(panels, left_pt=14)
    return figure


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
