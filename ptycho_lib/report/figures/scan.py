"""Figures of a scan: which patterns were chosen, and how evenly they illuminate the object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ptycho_lib.physics.scan import area_overlap, illumination, linear_overlap, neighbour_step, probe_diameter
from ptycho_lib.report.figures.panels import draw_backdrop, draw_positions
from ptycho_lib.report.style import (
    AVAILABLE,
    CHOSEN,
    FULL_WIDTH,
    PATTERN_MAP,
    TEST,
    bare,
    colour_bar,
    letter,
    new_figure,
    scale_bar,
    styled,
)

if TYPE_CHECKING:
    from ptycho_lib.data.dataset import PtychoDataset


@styled
def coverage_figure(
    train_positions_px: ArrayLike,
    all_positions_px: ArrayLike,
    test_positions_px: ArrayLike | None = None,
    obj: NDArray[np.complexfloating] | None = None,
    *,
    illumination: NDArray[np.floating] | None = None,
    test_obj: NDArray[np.complexfloating] | None = None,
    pixel_size_m: float | None = None,
) -> Figure:
    """Show which patterns were chosen for training, where they lie, and where the test patterns are.

    Parameters
    ----------
    train_positions_px, all_positions_px : array_like, (n, 2)
        Chosen and available training positions, (row, column) in object pixels.
    test_positions_px : array_like, (n, 2), optional
        Positions of the test set; drawn over `test_obj`, or over `obj` if that is where they lie.
    obj, test_obj : ndarray, (H, W) complex, optional
        Objects behind the positions.
    illumination : ndarray, (H, W), optional
        Summed probe intensity of the chosen patterns (`physics.scan.illumination`).
    pixel_size_m : float, optional
        Object pixel, for the scale bar.
    """
    chosen, available = np.asarray(train_positions_px), np.asarray(all_positions_px)
    test = None if test_positions_px is None else np.asarray(test_positions_px)
    separate = test is not None and test_obj is not None
    n_panels = 1 + (illumination is not None) + separate
    panel = min(2.6, (FULL_WIDTH - 0.4) / n_panels)
    figure = new_figure(panel + 0.3, width=panel * n_panels + 0.4)
    panels = list(figure.subplots(1, n_panels, squeeze=False)[0])

    ax = panels[0]
    draw_backdrop(ax, obj, pixel_size_m)
    draw_positions(ax, available, AVAILABLE, f"{len(available)} available")
    if test is not None and not separate:
        draw_positions(ax, test, TEST, f"{len(test)} test")
    draw_positions(ax, chosen, CHOSEN, f"{len(chosen)} chosen", larger=True)
    ax.set_title(f"{len(chosen)} of {len(available)} training patterns")
    if illumination is not None:
        ax = panels[1]
        share = illumination / (illumination.max() or 1.0)
        image = ax.imshow(share, cmap=PATTERN_MAP, vmin=0, vmax=1)
        bare(ax)
        ax.set_title("illumination by the chosen patterns")
        colour_bar(figure, image, ax, "share of the maximum")
    if separate and test is not None:
        ax = panels[-1]
        draw_backdrop(ax, test_obj, pixel_size_m)
        draw_positions(ax, test, TEST, f"{len(test)} test")
        ax.set_title("test object")
    for ax in (panels[0], panels[-1]):
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, handletextpad=0.1, columnspacing=0.8)
    if n_panels > 1:
        letter(panels)
    return figure


@styled
def overlap_figure(dataset: PtychoDataset) -> Figure:
    """Show how evenly a scan illuminates the object, and how far neighbouring positions are apart."""
    positions = np.asarray(dataset.positions_px)
    diameter, step = probe_diameter(dataset.probe), neighbour_step(positions)
    figure = new_figure(2.6)
    image_ax, steps_ax = figure.subplots(1, 2, width_ratios=(1, 1.6))
    total = illumination(dataset.probe, positions, dataset.obj.shape)
    image = image_ax.imshow(total / total.max(), cmap=PATTERN_MAP, vmin=0, vmax=1)
    image_ax.set_title("summed illumination")
    scale_bar(image_ax, dataset.pixel_size_m, dataset.obj.shape[1])
    bare(image_ax)
    colour_bar(figure, image, image_ax, "share of the maximum")

    distances = cKDTree(positions).query(positions, k=2)[0][:, 1] if len(positions) > 1 else np.zeros(0)
    steps_ax.hist(distances, bins=40, color=CHOSEN)
    steps_ax.axvline(step, color=TEST, label=f"median {step:.1f} px")
    steps_ax.axvline(diameter, color="black", linestyle=":", label=f"probe diameter {diameter:.1f} px")
    overlaps = f"overlap {linear_overlap(step, diameter):.2f} linear, {area_overlap(step, diameter):.2f} by area"
    steps_ax.set(xlabel="distance to the nearest position (px)", ylabel="positions", title=overlaps)
    steps_ax.set_xlim(0, None)
    steps_ax.legend(loc="center")
    letter([image_ax, steps_ax])
    return figure
