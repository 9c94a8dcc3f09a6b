"""The picture of a reconstruction without a truth: object, spread of the patches, misfit of the patterns."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho_lib.report.figures.objects import Comparison
from ptycho_lib.report.figures.panels import robust_limits
from ptycho_lib.report.style import FULL_WIDTH, PATTERN_MAP, bare, colour_bar, letter, new_figure, scale_bar, styled


@styled
def new_scan_figure(
    obj: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    spread: NDArray[np.floating],
    residual: NDArray[np.floating],
    *,
    pixel_size_m: float | None = None,
) -> Figure:
    """Show the amplitude and phase of an object, and two maps that say how far it can be trusted.

    Parameters
    ----------
    obj : (H, W) complex
        Phases are drawn about their circular mean in the mask.
    mask : (H, W) bool
        Enough illuminated; outlined, the rest paled.
    spread, residual : (H, W) float
        As in `application.ScanReconstruction`.
    pixel_size_m : float, optional
        Object pixel, for the scale bar.

    Returns
    -------
    Figure
    """
    comparison = Comparison(obj, mask, seen=obj != 0)
    rows, columns = (1, 4) if comparison.aspect > 1.4 else (2, 2)
    panel = min((FULL_WIDTH - 0.75 * columns) / columns, 2.4)
    height = rows * (panel * comparison.aspect + 0.3) + 0.15
    figure = new_figure(height, width=columns * (panel + 0.75), images=True)
    axes = figure.subplots(rows, columns).ravel()
    for ax, row in zip(axes[:2], ("amplitude", "phase"), strict=True):
        view = comparison.view(row, [])
        comparison.draw(ax, row, obj, view)
        ax.set_title(row.capitalize())
        colour_bar(figure, ax.get_images()[0], [ax], view.unit)
    maps = (("Spread of patches", spread, "arb. unit"), ("Misfit of patterns", residual, "share"))
    for ax, (title, values, unit) in zip(axes[2:], maps, strict=True):
        shown = np.where(comparison.mask, values[comparison.box], np.nan)
        image = ax.imshow(shown, cmap=PATTERN_MAP, vmin=0, vmax=max(robust_limits(shown)[1], 1e-9))
        ax.set_title(title)
        bare(ax)
        colour_bar(figure, image, [ax], unit)
    scale_bar(axes[0], pixel_size_m, comparison.mask.shape[1])
    letter(list(axes))
    return figure
