"""One look for every figure: print widths, fonts, colours, colour maps, scale bars and words.

Figures are built without pyplot, so nothing is kept alive behind the caller's back and nothing is
displayed twice. Colours are those of Okabe & Ito, told apart with the common colour-vision
deficiencies; each model also has its own marker and line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox, ScaledTranslation
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from ptycho_lib.metrics_table import METRICS
from ptycho_lib.model_names import model_label

P = ParamSpec("P")

ARROWS = {"higher": "↑", "lower": "↓"}

MM = 1 / 25.4
FULL_WIDTH = 183 * MM
"""Two columns of a journal page, in inches."""
COLUMN_WIDTH = 89 * MM
"""One column of a journal page, in inches."""

MARGIN = 0.04
"""Inches that stay empty above and below a picture."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}

_OWN_SETTINGS: ContextVar[Mapping[str, Any]] = ContextVar("settings of a style sheet", default=MappingProxyType({}))

AMPLITUDE_MAP = "viridis"
PATTERN_MAP = "magma"
ERROR_MAP = "RdBu_r"
MASK_COLOUR = "#ffffff"
CHOSEN, AVAILABLE, TEST = "#0072B2", "#8c8c8c", "#D55E00"


@dataclass(frozen=True)
class ModelLook:
    """How one model appears in every figure, table and sentence."""

    label: str
    colour: str
    marker: str
    line: str


_COLOURS = {
    "pinn": ("#0072B2", "o", "-"),
    "baseline": ("#D55E00", "s", "--"),
    "untrained": ("#5f5f5f", "X", ":"),
    "iterative": ("#009E73", "^", "-."),
    "pinn+iterative": ("#56B4E9", "D", ":"),
    "baseline+iterative": ("#CC79A7", "v", ":"),
}
_LOOKS = {model: ModelLook(model_label(model), *look) for model, look in _COLOURS.items()}
_SPARE = (("#E69F00", "P"), ("#000000", "X"), ("#F0E442", "*"))


def metric_title(metric: str, component: str) -> str:
    """Return a metric as panels name it, e.g. ``MAE (rad) ↓``; the arrow says which way is better."""
    known = METRICS.get(metric)
    if known is None:
        return metric.replace("_", " ")
    unit = known.unit_of(component)
    return f"{known.label} ({unit}) {ARROWS[known.better]}" if unit else f"{known.label} {ARROWS[known.better]}"


def model_looks(models: Iterable[str]) -> dict[str, ModelLook]:
    """Return the look of each model, in the order of the figures; unknown models get spare colours."""
    present = list(dict.fromkeys(models))
    known = [name for name in _LOOKS if name in present]
    others = sorted(name for name in present if name not in _LOOKS)
    looks = {name: _LOOKS[name] for name in known}
    for number, name in enumerate(others):
        colour, marker = _SPARE[number % len(_SPARE)]
        looks[name] = ModelLook(model_label(name), colour, marker, "-")
    return looks


@contextmanager
def style() -> Iterator[None]:
    """Apply the library's matplotlib settings inside a ``with`` block and nowhere else."""
    with mpl.rc_context({**SETTINGS, **_OWN_SETTINGS.get()}):
        yield


@contextmanager
def style_sheet(path: str | Path | None) -> Iterator[None]:
    """Let a matplotlib style sheet override the library's settings inside a ``with`` block; None changes nothing.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    own = dict(mpl.rc_params_from_file(path, use_default_template=False)) if path else {}
    token = _OWN_SETTINGS.set(own)
    try:
        yield
    finally:
        _OWN_SETTINGS.reset(token)


def scale_fonts(figure: Figure, factor: float) -> None:
    """Multiply the size of every text of a figure, those of the ticks included, by a factor."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            sizes = [float(label.get_fontsize()) for label in axis.get_ticklabels()]
            axis.set_tick_params(labelsize=factor * (sizes[0] if sizes else SETTINGS["xtick.labelsize"]))
    ticks = {id(label) for ax in figure.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in ticks:
            text.set_fontsize(factor * float(text.get_fontsize()))


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function that returns a Figure draw it in the library's style."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return inner


class PrintFigure(Figure):
    """A figure that keeps the library's style when it is saved: matplotlib makes some artists only then.

    Parameters
    ----------
    trim : bool
        Cut empty space above and below when saving: panels of fixed shape rarely fill the height. The width stays.
    **kwargs
        As for `matplotlib.figure.Figure`.
    """

    def __init__(self, *, trim: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._trim = trim

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save as `Figure.savefig` does, in the library's style; laid out once, for all files alike."""
        with style():
            if self.get_layout_engine() is not None:
                self.draw_without_rendering()
                self.set_layout_engine("none")
            if self._trim and "bbox_inches" not in kwargs:
                kwargs["bbox_inches"] = self._filled()
            super().savefig(*args, **kwargs)

    def _filled(self) -> Bbox:
        """Return the part of the page (inches) that is filled, in its whole width."""
        width, height = self.get_size_inches()
        box = self.get_tightbbox()
        return Bbox.from_extents(0, max(box.y0 - MARGIN, 0), width, min(box.y1 + MARGIN, height))


def new_figure(height: float, width: float = FULL_WIDTH, *, images: bool = False, used: float = 1.0) -> Figure:
    """Return an empty figure (inches) that lays itself out.

    `images` keeps panels of fixed shape together; the panels use a share `used` of the width, which leaves
    room where a title is wider than the last panel.
    """
    hspace = 0.05 if images else 0.02  # sub-figure letters stand between rows of pictures
    rect = (0, 0, used, 1)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=hspace, rect=rect, compress=images)
    return PrintFigure(trim=images, figsize=(width, height), layout=layout)


def letter(axes: Iterable[Axes], *, left_pt: float = 4) -> None:
    """Write the sub-figure letters a, b, c … in bold, `left_pt` points left of the panels' upper corners."""
    panels = list(axes)
    if len(panels) < 2:
        return
    for number, ax in enumerate(panels):
        name = chr(ord("a") + number) if number < 26 else f"a{chr(ord('a') + number - 26)}"
        offset = ScaledTranslation(-left_pt / 72, 4 / 72, ax.figure.dpi_scale_trans)
        place = ax.transAxes + offset
        ax.text(0, 1, name, transform=place, ha="right", va="baseline", fontsize=9, fontweight="bold")


def phase_view(limit: float) -> tuple[Colormap, float]:
    """Return the colour map and the symmetric limit (rad) that show phases within ±`limit`.

    A phase that uses more than half the circle is shown on the whole cyclic map from −π to π. A weaker
    one is shown on the monotone half of the same map, so that no two phases share a colour.
    """
    if limit > np.pi / 2:
        return mpl.colormaps["twilight"], np.pi
    half = mpl.colormaps["twilight"](np.linspace(0.5, 0.0, 256))
    return ListedColormap(half, name="half_twilight"), max(limit, 1e-3)


def bare(ax: Axes) -> None:
    """Remove ticks and keep a thin frame: an image panel."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)


def scale_bar(ax: Axes, pixel_size_m: float | None, width_px: float) -> None:
    """Draw a bar of a round length, about a fifth of `width_px` pixels; none if the pixel size is unknown."""
    if not pixel_size_m or not np.isfinite(pixel_size_m) or pixel_size_m <= 0:
        return
    target = width_px * pixel_size_m / 5
    power = 10.0 ** np.floor(np.log10(target))
    length = power * max(step for step in (1, 2, 5) if step * power <= target * 1.0001)
    factor, unit = next(
        pair for pair in ((1, "m"), (1e3, "mm"), (1e6, "µm"), (1e9, "nm"), (1e12, "pm")) if length * pair[0] >= 1
    )
    bar = AnchoredSizeBar(
        ax.transData,
        length / pixel_size_m,
        f"{length * factor:.0f} {unit}",
        "lower right",
        pad=0.4,
        borderpad=0.4,
        sep=2,
        color="black",
        frameon=True,
        size_vertical=width_px / 100,
        fontproperties={"size": 7},
    )
    bar.patch.set(facecolor="white", alpha=0.8, linewidth=0)
    ax.add_artist(bar)


def colour_bar(figure: FigureBase, image: ScalarMappable, axes: Axes | list[Axes], label: str) -> None:
    """Add the colour bar that several panels share."""
    bar = figure.colorbar(image, ax=axes, label=label, pad=0.015, fraction=0.046, aspect=22)
    bar.outline.set_linewidth(0.4)
    lower, upper = image.get_clim()
    if np.isclose(upper, np.pi) and np.isclose(lower, -np.pi):
        bar.set_ticks([-np.pi, 0, np.pi], labels=["−π", "0", "π"])
