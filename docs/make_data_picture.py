"""Draw the picture of docs/reference/data_contracts.md from the measured Siemens star.

Run ``python docs/make_data_picture.py`` after a change of conventions or style.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import PrepareOptions
from ptycho_lib.data.prepare.pipeline import prepare_dataset
from ptycho_lib.data.prepare.split import split
from ptycho_lib.report.figures.dataset import centred_phase, log_counts
from ptycho_lib.report.style import CHOSEN, PATTERN_MAP, TEST, letter, new_figure, styled

ROOT = Path(__file__).parents[1]
RAW = ROOT / "studies" / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"
PICTURE = ROOT / "docs" / "images" / "data_conventions.png"
SHOWN_NEAR = (90, 165)
"""Row and column near which the pattern shown was measured; not the same, so that x and y differ."""


@styled
def conventions_figure(dataset: PtychoDataset) -> Figure:
    figure = new_figure(5.4, images=True)
    panels = figure.subplots(2, 2)
    shown = int(np.argmin(np.linalg.norm(dataset.positions_px - SHOWN_NEAR, axis=1)))
    row, column = dataset.positions_px[shown]
    _object_panel(panels[0, 0], dataset, row, column)
    _patch_panel(panels[0, 1], dataset)
    _pattern_panel(panels[1, 0], dataset, shown)
    _split_panel(panels[1, 1], dataset)
    letter(panels.flat)
    return figure


def _object_panel(ax: Axes, dataset: PtychoDataset, row: float, column: float) -> None:
    size = dataset.patch_size
    ax.imshow(centred_phase(dataset.obj, dataset.coverage), cmap="Greys", alpha=0.6)
    ax.plot(dataset.positions_px[:, 1], dataset.positions_px[:, 0], ".", color=CHOSEN, markersize=1.5)
    corner = (column - size / 2 - 0.5, row - size / 2 - 0.5)
    ax.add_patch(Rectangle(corner, size, size, fill=False, color=TEST, linewidth=1.4))
    ax.plot(column, row, "+", color=TEST, markersize=9, markeredgewidth=1.6)
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
    ax.annotate(f"y = {row:.1f}, x = {column:.1f}", (column, row + size / 2 + 14), color=TEST, ha="center", bbox=box)
    ax.set(xlabel="column: xcoords →", ylabel="← row: ycoords", title="objectGuess (H, W), one patch")
    ax.plot(0, 0, "s", color="black", markersize=4, clip_on=False)
    ax.annotate("pixel (0, 0)", (0, 0), (8, 16), bbox=box)


def _patch_panel(ax: Axes, dataset: PtychoDataset) -> None:
    size = 8
    rng = np.random.default_rng(1)
    ax.imshow(rng.uniform(0.05, 0.3, (size, size)), cmap="Greys", vmin=0, vmax=1)
    ax.set_xticks(np.arange(-0.5, size), minor=True)
    ax.set_yticks(np.arange(-0.5, size), minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="minor", length=0)
    ax.add_patch(Rectangle((size / 2 - 0.5, size / 2 - 0.5), 1, 1, fill=False, color=TEST, linewidth=2))
    ax.annotate("position (y, x) =\npixel (N/2, N/2)", (4, 5.4), color=TEST, ha="center", va="center")
    ax.set(title="a patch, here N = 8", xlabel="starts at column x − N/2", ylabel="starts at row y − N/2")


def _pattern_panel(ax: Axes, dataset: PtychoDataset, shown: int) -> None:
    size = dataset.patch_size
    ax.imshow(log_counts(dataset.diffraction[shown]), cmap=PATTERN_MAP)
    ax.add_patch(Rectangle((size / 2 - 1, size / 2 - 1), 2, 2, fill=False, color="white", linewidth=1.2))
    ax.annotate(
        "DC = pixel (N/2, N/2)",
        (size / 2, size / 2),
        (3, 59),
        color="white",
        arrowprops={"arrowstyle": "-", "color": "white"},
    )
    ax.set(title="diffraction: amplitude, N = 64", xlabel="column", ylabel="row")


def _split_panel(ax: Axes, dataset: PtychoDataset) -> None:
    train, test = split(dataset, PrepareOptions())
    ax.imshow(centred_phase(dataset.obj, dataset.coverage), cmap="Greys", alpha=0.3)
    assert test.coverage is not None
    ax.contourf(test.coverage.astype(float), levels=[0.5, 1.5], colors=[TEST], alpha=0.3)
    for part, colour, name in ((train, CHOSEN, "train"), (test, TEST, "test")):
        ax.plot(part.positions_px[:, 1], part.positions_px[:, 0], ".", color=colour, markersize=2, label=name)
    ax.legend(loc="upper right", markerscale=4)
    ax.annotate("compared", (120, 196), ha="center", fontweight="bold")
    ax.set(title="split: nothing compared was trained on", xlabel="column", ylabel="row")


def main() -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    conventions_figure(prepare_dataset(RAW, PrepareOptions())).savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
