"""Figures of reconstructed objects: beside the truth, by training size, along a line, and their uncertainty.

Nothing is aligned here. Pass what `evaluation.alignment.align` returns; the truth comes first, and
panels that are to be compared share their colour limits.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_lib.report.figures.panels import robust_limits
from ptycho_lib.report.style import (
    AMPLITUDE_MAP,
    ERROR_MAP,
    FULL_WIDTH,
    PATTERN_MAP,
    bare,
    colour_bar,
    letter,
    model_looks,
    new_figure,
    phase_view,
    scale_bar,
    styled,
)

Complex2D = NDArray[np.complexfloating]
Mask = NDArray[np.bool_]
MARGIN = 6
OUTSIDE = 0.3
"""A model with a larger share of its pixels beyond the truth's amplitude limits is drawn on its own scale."""
Cell = tuple[str, str] | None
Place = tuple[str, int] | None
ROWS = ("amplitude", "amplitude error", "phase", "phase error")


@dataclass(frozen=True)
class View:
    """How one quantity of the object is drawn: colours, limits and unit."""

    colours: Colormap | str
    lower: float
    upper: float
    unit: str


class Comparison:
    """A truth and a mask, and what they imply for drawing any estimate of the same object.

    Parameters
    ----------
    truth : ndarray, (H, W) complex
    mask : ndarray, (H, W) bool
        The pixels that are compared. Pictures are cropped to their box, `MARGIN` pixels wider.
    seen : ndarray, (H, W) bool, optional
        The pixels that were reconstructed: pictures then show all of them, and nothing else.
    zoom, centre : float, (float, float)
        Show a smaller part of the box; limits and the zero of the phase stay those of the whole mask.
    """

    def __init__(
        self,
        truth: Complex2D,
        mask: Mask,
        *,
        seen: Mask | None = None,
        zoom: float = 1.0,
        centre: tuple[float, float] = (0.5, 0.5),
    ) -> None:
        if truth.shape != mask.shape:
            raise ValueError(f"truth has shape {truth.shape}, mask has shape {mask.shape}; they must be equal")
        if not mask.any():
            raise ValueError("the mask holds no pixel; there is nothing to compare")
        shown = mask if seen is None else mask | seen
        rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
        self.box = (
            _part(rows[0] - MARGIN, rows[-1] + MARGIN + 1, mask.shape[0], zoom, centre[0]),
            _part(columns[0] - MARGIN, columns[-1] + MARGIN + 1, mask.shape[1], zoom, centre[1]),
        )
        self.mask = mask[self.box]
        self.seen = np.ones_like(self.mask) if seen is None else shown[self.box]
        self.truth = truth[self.box]
        self._compared = truth[mask]
        self._zero = np.exp(-1j * np.angle(np.sum(self._compared)))

    @property
    def aspect(self) -> float:
        """Height of a panel divided by its width."""
        return self.mask.shape[0] / self.mask.shape[1]

    def values(self, row: str, estimate: Complex2D) -> NDArray[np.floating]:
        """Return one quantity of `estimate` (H, W) in the box; phases are about the truth's circular mean."""
        cropped = estimate[self.box]
        match row:
            case "amplitude":
                return np.abs(cropped)
            case "phase":
                return np.angle(cropped * self._zero)
            case "amplitude error":
                return np.abs(cropped) - np.abs(self.truth)
            case "phase error":
                return np.angle(cropped * np.conj(self.truth))
        raise ValueError(f"row '{row}' is unknown; choose one of {', '.join(ROWS)}")

    def view(self, row: str, estimates: Sequence[Complex2D]) -> View:
        """Return the colours of one row: limits of the truth, or of the largest error, in the mask."""
        if row == "amplitude":
            return View(AMPLITUDE_MAP, *robust_limits(np.abs(self._compared)), "arb. unit")
        if row == "phase":
            phase = np.abs(np.angle(self._compared * self._zero))
            colours, limit = phase_view(float(np.quantile(phase, 0.995)))
            return View(colours, -limit, limit, "rad")
        errors = [np.abs(self.values(row, estimate)[self.mask]) for estimate in estimates]
        limit = max([1e-6, *(robust_limits(error)[1] for error in errors if error.size)])
        return View(ERROR_MAP, -limit, limit, "rad" if row == "phase error" else "arb. unit")

    def draw(self, ax: Axes, row: str, estimate: Complex2D, view: View) -> None:
        """Draw one panel with the compared region outlined and everything outside it paled.

        An amplitude that lies mostly beyond the limits of `view` is drawn on its own scale, which is written on it.
        """
        values = self.values(row, estimate)
        own = self._own_scale(values, view) if row == "amplitude" else view
        ax.imshow(values, cmap=own.colours, vmin=own.lower, vmax=own.upper)
        if own is not view:
            label = f"own scale\n{own.lower:.2g} to {own.upper:.2g}"
            box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5}
            ax.text(0.03, 0.97, label, transform=ax.transAxes, ha="left", va="top", fontsize=7, bbox=box)
        veil = np.where(self.mask, 0.0, np.where(self.seen, 0.55, 1.0))
        ax.imshow(np.ones_like(veil), cmap="Greys_r", vmin=0, vmax=1, alpha=veil)
        if self.mask.any() and not self.mask.all():
            ax.contour(self.mask, levels=[0.5], colors="black", linewidths=0.6)
        bare(ax)

    def _own_scale(self, values: NDArray[np.floating], view: View) -> View:
        """Return `view`, or the limits of the values themselves where too many of them lie beyond it."""
        compared = values[self.mask]
        margin = 0.25 * (view.upper - view.lower)
        beyond = (compared < view.lower - margin) | (compared > view.upper + margin)
        if not compared.size or np.mean(beyond) <= OUTSIDE:
            return view
        lower, upper = robust_limits(compared)
        return replace(view, lower=lower, upper=upper)


def _part(start: int, stop: int, length: int, zoom: float, centre: float) -> slice:
    """Return 1/`zoom` of the pixels from `start` to `stop`, cut at an image of `length`, about `centre`."""
    start, stop = max(start, 0), min(stop, length)
    width = max(round((stop - start) / max(zoom, 1.0)), min(8, stop - start))
    first = round(start + centre * (stop - start) - width / 2)
    first = min(max(first, start), stop - width)
    return slice(first, first + width)


@styled
def comparison_figure(
    truth: Complex2D,
    estimates: Mapping[str, Complex2D],
    mask: Mask,
    *,
    seen: Mask | None = None,
    pixel_size_m: float | None = None,
    truth_label: str = "Ground truth",
    rows: Sequence[str] = ROWS,
    captions: Mapping[str, str] | None = None,
    zoom: float = 1.0,
    centre: tuple[float, float] = (0.5, 0.5),
) -> Figure:
    """Show the truth and the estimates side by side: amplitude, phase, and the error of each.

    Parameters
    ----------
    truth : ndarray, (H, W) complex
    estimates : mapping of str to ndarray, (H, W) complex
        By model name; aligned to the truth.
    mask : ndarray, (H, W) bool
        The pixels that are compared: outlined, and the rest paled.
    seen : ndarray, (H, W) bool, optional
        The pixels that were reconstructed, to show all of them.
    pixel_size_m : float, optional
        Object pixel, for the scale bar.
    truth_label : str
        "Ground truth", or "Reference" where the truth is itself a reconstruction.
    rows : sequence of str
        Any of ``amplitude``, ``amplitude error``, ``phase``, ``phase error``.
    captions : mapping of str to str, optional
        By model name: a line below its name, e.g. its phase SSIM.
    zoom, centre : float, (float, float)
        Magnification of all panels alike, about a point given as shares of the box (row, column).
    """
    comparison = Comparison(truth, mask, seen=seen, zoom=zoom, centre=centre)
    looks = model_looks(estimates)
    grid = _comparison_grid(rows, list(looks), beside=comparison.aspect > 1.4)
    bars = 0.85 * len({cell[0] for cell in grid[0] if cell}) + 0.3
    panel = min((FULL_WIDTH - bars) / len(grid[0]), 2.3)
    height = len(grid) * (panel * comparison.aspect + 0.2) + 0.15
    figure = new_figure(height, width=panel * len(grid[0]) + bars, images=True)
    panels = figure.subplots(len(grid), len(grid[0]), squeeze=False)
    drawn = []
    for axes, line in zip(panels, grid, strict=True):
        for row in dict.fromkeys(row for row, _ in filter(None, line)):
            view = comparison.view(row, list(estimates.values()))
            group = [ax for ax, cell in zip(axes, line, strict=True) if cell and cell[0] == row]
            names = [cell[1] for cell in line if cell and cell[0] == row]
            for ax, name in zip(group, names, strict=True):
                comparison.draw(ax, row, estimates[name] if name else truth, view)
                title = _panel_title(looks[name].label, (captions or {}).get(name)) if name else truth_label
                ax.set_title(title if line is grid[0] and (name or not row.endswith("error")) else "")
            group[0].set_ylabel(row.replace(" ", "\n") if comparison.aspect < 0.7 else row)
            drawn += group
            colour_bar(figure, group[0].get_images()[0], group, view.unit)
        for ax, cell in zip(axes, line, strict=True):
            ax.set_visible(cell is not None)
    scale_bar(drawn[0], pixel_size_m, comparison.mask.shape[1])
    letter(drawn)
    return figure


def _comparison_grid(rows: Sequence[str], names: list[str], *, beside: bool) -> list[list[Cell]]:
    """Return (row, model) of each panel, model "" for the truth; errors `beside` the values or below."""
    values = [[(row, name) for name in ["", *names]] for row in rows if not row.endswith("error")]
    errors = {row: [(row, name) for name in names] for row in rows if row.endswith("error")}
    grid: list[list[Cell]] = []
    for line in values:
        error = errors.pop(f"{line[0][0]} error", [])
        if beside:
            grid.append([*line, *error])
        else:
            grid.append([*line])
            if error:
                grid.append([None, *error])
    grid += [[*line] if beside else [None, *line] for line in errors.values()]
    width = max(len(line) for line in grid)
    return [[*line, *[None] * (width - len(line))] for line in grid]


def _panel_title(label: str, caption: str | None) -> str:
    label = label.replace(", ", ",\n")  # panels are narrow
    return f"{label}\n{caption}" if caption else label


@styled
def montage_figure(
    truth: Complex2D,
    estimates: Mapping[int, Mapping[str, Complex2D]],
    mask: Mask,
    *,
    seen: Mask | None = None,
    shared: Mapping[str, Complex2D] | None = None,
    component: str = "phase",
    pixel_size_m: float | None = None,
    truth_label: str = "Ground truth",
) -> Figure:
    """Show how the reconstructions improve with the training set, beside the truth: a column a size, a row a model.

    The first column holds the truth and, below it, what depends on no training size. Objects much wider than high
    have a row a size and a column a model.

    Parameters
    ----------
    truth : ndarray, (H, W) complex
    estimates : mapping of int to mapping of str to ndarray, (H, W) complex
        ``estimates[n_train][model]``; a missing model leaves its place empty and says so.
    mask, seen : ndarray, (H, W) bool
        As for `comparison_figure`.
    shared : mapping of str to ndarray, (H, W) complex, optional
        Reconstructions that depend on no training size, by model, as the untrained first guess; these models are
        left out of `estimates`.
    component : str
        ``phase`` or ``amplitude``.
    pixel_size_m : float, optional
        Object pixel, for the scale bar.
    truth_label : str
        Title of the truth.

    Returns
    -------
    Figure
    """
    comparison, shared, sizes = Comparison(truth, mask, seen=seen), shared or {}, sorted(estimates)
    looks = model_looks(name for by_model in estimates.values() for name in by_model if name not in shared)
    flat = comparison.aspect < 0.7
    grid = _montage_grid(list(looks), sizes, flat=flat)
    beside = [truth_label, *(look.label for look in model_looks(shared).values())]
    images = [truth, *(shared[name] for name in model_looks(shared))]
    grid += [[None] * len(grid[0]) for _ in range(len(images) - len(grid))]
    n_columns = len(grid[0]) + 1
    panel = min((FULL_WIDTH - 0.95) / n_columns, 2.2)
    height = len(grid) * (panel * comparison.aspect + 0.22) + 0.25
    figure = new_figure(height, width=panel * n_columns + 0.95, images=True)
    panels = figure.subplots(len(grid), n_columns, squeeze=False)
    view = comparison.view(component, [])
    for row, ax in enumerate(panels[:, 0]):
        if row < len(images):
            comparison.draw(ax, component, images[row], view)
            ax.set_title(beside[row].replace(" ", "\n", 1) if len(beside[row]) * 0.07 > panel else beside[row])
        else:
            ax.set_axis_off()
    scale_bar(panels[0, 0], pixel_size_m, comparison.mask.shape[1])
    for ax, place in zip(panels[:, 1:].ravel(), itertools.chain(*grid), strict=True):
        estimate = estimates[place[1]].get(place[0]) if place else None
        if estimate is not None:
            comparison.draw(ax, component, estimate, view)
        elif place:
            _no_run(ax, comparison.aspect)
        else:
            ax.set_axis_off()
    across, down = panels[0, 1:], panels[:, 1]
    for number, look in enumerate(looks.values()):
        name = across[number].set_title if flat else down[number].set_ylabel
        name(look.label if flat else look.label.replace(" ", "\n"), color=look.colour)
    for number, size in enumerate(sizes):
        name = down[number].set_ylabel if flat else across[number].set_title
        name(f"{size} patterns")
    colour_bar(figure, panels[0, 0].get_images()[0], list(panels.ravel()), f"{component} ({view.unit})")
    return figure


def _no_run(ax: Axes, aspect: float) -> None:
    """Say in the place of a reconstruction that there is none."""
    bare(ax)
    ax.set_box_aspect(aspect)
    ax.text(0.5, 0.5, "no run", ha="center", va="center", transform=ax.transAxes)


def _montage_grid(names: list[str], sizes: list[int], *, flat: bool) -> list[list[Place]]:
    """Return (model, size) of each panel beside the truth: a row a model, or a row a size for `flat` objects."""
    rows: list[list[Place]] = [[(name, size) for size in sizes] for name in names]
    return [list(column) for column in zip(*rows, strict=True)] if flat else rows


@styled
def uncertainty_figure(
    spread: Mapping[str, NDArray[np.floating]],
    misfit: Mapping[str, NDArray[np.floating]],
    error: Mapping[str, NDArray[np.floating]],
    mask: Mask,
    *,
    pixel_size_m: float | None = None,
) -> Figure:
    """Show where a reconstruction contradicts itself or the measurement, and where it is wrong.

    One row a model, one column a quantity; the first two need no truth.

    Parameters
    ----------
    spread : mapping of str to ndarray, (H, W)
        By model: standard deviation over the overlapping patches (`Reconstruction.spread`), or NaN.
    misfit : mapping of str to ndarray, (H, W)
        By model: share of the measured amplitude that is not explained (`Reconstruction.residual`).
    error : mapping of str to ndarray, (H, W)
        By model: absolute error of the complex object, abs(Ô − O).
    mask : ndarray, (H, W) bool
    """
    looks = model_looks(spread)
    comparison = Comparison(mask.astype(np.complex64), mask)
    quantities = {"spread of patches": spread, "misfit of patterns": misfit, "error": error}
    panel = min((FULL_WIDTH - 2.2) / len(quantities), 2.2)
    height = len(looks) * (panel * comparison.aspect + 0.25) + 0.3
    figure = new_figure(height, width=len(quantities) * panel + 2.2, images=True)
    grid = figure.subplots(len(looks), len(quantities), squeeze=False)
    for column, (quantity, images) in zip(grid.T, quantities.items(), strict=True):
        cropped = {name: np.where(comparison.mask, images[name][comparison.box], np.nan) for name in looks}
        top = max(robust_limits(image)[1] for image in cropped.values())
        for ax, (name, look) in zip(column, looks.items(), strict=True):
            image = ax.imshow(cropped[name], cmap=PATTERN_MAP, vmin=0, vmax=top)
            if np.isnan(cropped[name]).all():
                ax.text(0.5, 0.5, "not of patches", ha="center", va="center", transform=ax.transAxes)
            ax.set_title(_panel_title(quantity, look.label) if ax is column[0] else look.label)
            bare(ax)
        colour_bar(figure, image, list(column), "share" if quantity.startswith("misfit") else "arb. unit")
    scale_bar(grid[0, 0], pixel_size_m, comparison.mask.shape[1])
    letter(list(grid.flat))
    return figure
