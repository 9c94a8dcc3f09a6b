"""Figures of a dataset: patterns, scan, probe and object together, or one pattern and where it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ptycho_lib.report.figures.panels import (
    centred_phase,
    draw_backdrop,
    draw_modes,
    draw_positions,
    draw_probe,
    log_counts,
)
from ptycho_lib.report.style import (
    CHOSEN,
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
