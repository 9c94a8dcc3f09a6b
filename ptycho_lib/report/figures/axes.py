"""Axes that several figures of curves share: training sizes, seconds, spans that exaggerate nothing, reading keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from ptycho_lib.model_names import UNTRAINED
from ptycho_lib.report.style import FULL_WIDTH, model_looks

GRID: dict[str, Any] = {"color": "#e6e6e6", "linewidth": 0.5}
QUIET = "#444444"
LEAST_SPANS = {"ssim": 0.1, "ms_ssim": 0.1, "psnr": 3.0, "frc50": 0.1}
"""Least range of an axis, in the metric's unit; of an error, a quarter of its largest value."""
KEY_WIDTH = 1.9
"""Inches that the longest entry of a key needs."""
UPPER_BOUNDS = {"ssim": 1.0, "ms_ssim": 1.0}

TRIAL = Line2D([], [], linestyle="none", marker="o", markersize=3, color=QUIET, alpha=0.7, label="one trial")
BAND = Patch(facecolor=QUIET, alpha=0.25, label="95 % interval of the mean")
CENSORED = Line2D([], [], linestyle="none", marker="o", color=QUIET, markerfacecolor="white", label="up to Nyquist")
DIRECTION = Line2D([], [], linestyle="none", label="↑ higher is better, ↓ lower is better")


def training_sizes(rows: pd.DataFrame) -> list[int]:
    """Return the training sizes of a tidy table; 0, which trains nothing, is none."""
    return sorted(int(size) for size in rows["n_train"].unique() if size)


def least_span(ax: Axes, metric: str) -> None:
    """Widen the vertical axis of a metric about its values where they span so little that noise would fill it.

    Parameters
    ----------
    ax : Axes
        With all values drawn.
    metric : str
        Known to `LEAST_SPANS`, or an error, which is at least 0.
    """
    low, high = ax.get_ylim()
    least = LEAST_SPANS.get(metric, 0.25 * max(abs(low), abs(high)))
    missing = least - (high - low)
    if missing <= 0 or not ax.has_data():
        return
    low, high = low - missing / 2, high + missing / 2
    top = UPPER_BOUNDS.get(metric, np.inf)
    if high > top > low:
        low, high = low - (high - top), top
    if low < 0 <= ax.get_ylim()[0]:
        low, high = 0.0, high - low
    ax.set_ylim(low, high)


def draw_control(ax: Axes, value: float | None) -> None:
    """Draw what the untrained first guess reaches as a horizontal line with its name in the legend; none if unknown."""
    if value is not None and np.isfinite(value):
        look = model_looks([UNTRAINED])[UNTRAINED]
        ax.axhline(value, color=look.colour, linestyle=look.line, linewidth=1.1, label=look.label)


def seconds_axis(ax: Axes, seconds: pd.Series) -> None:
    """Make a log axis of plain numbers, wide enough to hold a tick at 1, 2 or 5 times a power of ten."""
    ax.set_xscale("log")
    ax.set_xlim(seconds.min() / 1.6, seconds.max() * 1.6)
    narrow = seconds.max() < 100 * seconds.min()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def size_axis(axes: Sequence[Axes], sizes: Sequence[int]) -> None:
    """Make a log2 axis with the training sizes as ticks, upright where they would touch; of very many, some."""
    room_pt = 72 * FULL_WIDTH / len(axes) * 0.75
    crowded = sum(len(str(size)) * 4.5 + 4 for size in sizes) > room_pt
    shown = _apart(sizes, 9 / room_pt) if crowded else list(sizes)
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator(shown))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([str(size) for size in shown], rotation=90 if crowded else 0)


def reading_key(figure: Figure, *handles: Artist) -> None:
    """Explain below a figure what its dots, bands and arrows mean."""
    columns = max(1, min(len(handles), int(figure.get_figwidth() / KEY_WIDTH)))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, fontsize=7, handletextpad=0.5)


def _apart(sizes: Sequence[int], share: float) -> list[int]:
    """Return the sizes that are at least a share of a log axis apart, from the largest downwards."""
    places = np.log2(sizes) / max(np.log2(max(sizes) / min(sizes)), 1e-9)
    kept = [len(sizes) - 1]
    for k in reversed(range(len(sizes) - 1)):
        if places[kept[-1]] - places[k] >= share:
            kept.append(k)
    return [sizes[k] for k in reversed(kept)]
