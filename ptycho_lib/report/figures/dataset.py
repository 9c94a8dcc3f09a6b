"""Figures of a dataset: patterns, scan, probe and object, one pattern, which patterns were chosen, the coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ptycho_lib.physics.scan import area_overlap, illumination, linear_overlap, neighbour_step, probe_diameter
from ptycho_lib.report.figures.panels import (
    centred_phase,
    draw_backdrop,
    draw_modes,
    draw_positions,
    draw_probe,
    log_counts,
)
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
    phase_view,
    scale_bar,
    styled,
)

if TYPE_CHECKING:
    from ptycho_lib.data.dataset import PtychoDataset

MOST_MODES = 6
"""Modes that are shown one by one."""


@styled
def dataset_figure(dataset: PtychoDataset, indices: Sequence[int] | None = None) -> Figure:
    """Show diffraction patterns, the scan over the object, and the probe; of a partly coherent probe all modes.

    Parameters
    ----------
    dataset : PtychoDataset
        Diffraction amplitudes (n, N, N), positions (n, 2) in (row, column) pixels, probe and object.
    indices : sequence of int, optional
        Patterns to show, at most four; by default four spread evenly over the scan.

    Returns
    -------
    Figure
        A row of patterns; object, scan and strongest mode of the probe; with several modes a third row, a panel a
        mode (at most `MOST_MODES`), with their shares of the light.
    """
    positions, modes = np.asarray(dataset.positions_px), dataset.probe_modes
    chosen = _spread(positions) if indices is None else [int(k) for k in indices][:4]
    heights = (1.12, 1, 0.9) if len(modes) > 1 else (1.12, 1)
    figure = new_figure(1.67 * sum(heights))
    above, below, *lowest = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    patterns = list(above.subplots(1, len(chosen), squeeze=False)[0])
    panels = list(below.subplots(1, 4))
    logs = [log_counts(dataset.diffraction[k]) for k in chosen]
    for ax, k, values in zip(patterns, chosen, logs, strict=True):
        image = ax.imshow(values, cmap=PATTERN_MAP, vmin=0, vmax=max(float(log.max()) for log in logs))
        ax.set_title(f"pattern {k}")
        bare(ax)
    unit = "counts" if counts_photons(dataset) else "amplitude²"
    colour_bar(above, image, patterns, f"log₁₀(1 + {unit})")

    phase = centred_phase(dataset.obj, dataset.coverage)
    where = slice(None) if dataset.coverage is None else dataset.coverage
    colours, limit = phase_view(float(np.quantile(np.abs(phase[where]), 0.995)))
    image = panels[0].imshow(phase, cmap=colours, vmin=-limit, vmax=limit)
    panels[0].set_title("object phase")
    scale_bar(panels[0], dataset.pixel_size_m, phase.shape[1])
    bare(panels[0])
    colour_bar(below, image, panels[0], "rad")

    draw_backdrop(panels[1], dataset.obj, None)
    draw_positions(panels[1], positions, CHOSEN, "scan")
    panels[1].plot(positions[chosen, 1], positions[chosen, 0], "o", markersize=6, markerfacecolor="none", color=TEST)
    panels[1].set_title(f"{len(positions)} scan positions")

    draw_probe(below, panels[2:], modes, dataset.pixel_size_m)
    if lowest:
        strip = list(lowest[0].subplots(1, max(4, min(len(modes), MOST_MODES)), squeeze=False)[0])
        shown, spare = strip[: len(modes)], strip[len(modes) :]
        draw_modes(lowest[0], shown, modes)
        panels += shown
        for ax in spare:
            ax.set_axis_off()
    letter([*patterns, *panels])
    return figure


@styled
def pattern_figure(dataset: PtychoDataset, index: int, *, logarithmic: bool = True, upper_share: float = 1.0) -> Figure:
    """Show one diffraction pattern, where on the object it was taken, and with which probe.

    Parameters
    ----------
    dataset : PtychoDataset
    index : int
        Number of the pattern.
    logarithmic : bool
        log10(1 + amplitude²), or amplitude².
    upper_share : float
        Upper colour limit as a share of the pattern's maximum.
    """
    amplitude = np.asarray(dataset.diffraction[index], dtype=np.float64)
    row, column = np.asarray(dataset.positions_px)[index]
    size = dataset.probe.shape[-1]
    figure = new_figure(1.75)
    scan, *probe, pattern = figure.subplots(1, 4)
    draw_backdrop(scan, dataset.obj, None)
    draw_positions(scan, np.asarray(dataset.positions_px), CHOSEN, "scan")
    corner = (column - size / 2, row - size / 2)
    scan.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=TEST, linewidth=1.2))
    scan.plot(column, row, "o", markersize=4, color=TEST, markeredgewidth=0)
    scan.set_title(f"{len(dataset.positions_px)} positions")
    draw_probe(figure, probe, dataset.probe_modes, dataset.pixel_size_m)

    shown = log_counts(amplitude) if logarithmic else np.square(amplitude)
    image = pattern.imshow(shown, cmap=PATTERN_MAP, vmin=0, vmax=max(upper_share * shown.max(), 1e-12))
    pattern.set_title(f"pattern {index}: total {np.square(amplitude).sum():.3g}")
    colour_bar(figure, image, pattern, "log₁₀(1 + amplitude²)" if logarithmic else "amplitude²")
    bare(pattern)
    return figure


def counts_photons(dataset: PtychoDataset) -> bool:
    """Whether amplitude² is a photon count: its mean sum over a pattern is then the number of photons."""
    if not dataset.photons_per_pattern:
        return False
    some = np.asarray(dataset.diffraction[: min(len(dataset.positions_px), 32)], dtype=np.float64)
    return bool(np.isclose(np.mean(np.sum(some**2, axis=(1, 2))), dataset.photons_per_pattern, rtol=0.5))


def _spread(positions_px: NDArray[np.floating]) -> list[int]:
    """Return the patterns nearest to the centres of the scan's four quadrants."""
    low, high = np.quantile(positions_px, [0.2, 0.8], axis=0)
    corners = [(low[0], low[1]), (low[0], high[1]), (high[0], low[1]), (high[0], high[1])]
    nearest = [int(np.argmin(np.sum((positions_px - corner) ** 2, axis=1))) for corner in corners]
    return list(dict.fromkeys(nearest))


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
