"""The picture page of `ptycho-study check`: patterns, their re-projection, and where it fails."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from ptycho_lib.data.check.findings import Finding
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.reprojection import residual, spread_indices
from ptycho_lib.data.value_checks import inside
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import read_patterns
from ptycho_lib.physics.diffraction import diffract
from ptycho_lib.physics.probes import total_intensity
from ptycho_lib.report.figures.panels import centred_phase, log_counts
from ptycho_lib.report.style import (
    AMPLITUDE_MAP,
    ERROR_MAP,
    PATTERN_MAP,
    bare,
    colour_bar,
    letter,
    new_figure,
    scale_bar,
    styled,
)

SHOWN = 4
SHOWN_FINDINGS = 6
SAMPLED = 400
"""Patterns whose residual is computed: enough to see where in the scan it is high."""


@styled
def check_figure(
    dataset: PtychoDataset, corrected: PtychoDataset | None = None, findings: Sequence[Finding] = ()
) -> Figure:
    """Show measured patterns above their re-projection, the residual over the scan and over the detector.

    Parameters
    ----------
    dataset : PtychoDataset
        As read. May break the contract; where patterns cannot be predicted their place stays empty.
    corrected : PtychoDataset, optional
        With the corrections that were found: shown below in the same way; the residuals are then its own.
    findings : sequence of Finding
        Written below, errors and warnings first.
    """
    lines = [f"{found.severity}: {textwrap.shorten(found.message, 170)}" for found in findings[:SHOWN_FINDINGS]]
    states = [("", dataset)] if corrected is None else [("", dataset), ("after: ", corrected)]
    written = [0.14 * len(lines) + 0.1] if lines else []
    figure = new_figure(5.6 + 2.6 * (len(states) - 1) + sum(written))
    heights = [2.6 * len(states) + 1.07, 1.93, *written]
    above, below, *words = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    panels = above.subplots(2 * len(states), SHOWN, squeeze=False)
    top, image = 0.0, ScalarMappable()
    for number, (name, data) in enumerate(states):
        image, top = _pattern_rows(panels[2 * number : 2 * number + 2], data, name, top)
    panels = panels[:, : min(len(dataset), SHOWN)]
    colour_bar(above, image, list(panels.flat), "log₁₀(1 + amplitude²)")
    lower = list(below.subplots(1, 3))
    shown = states[-1][1]
    _scan_panel(below, lower[0], shown)
    _detector_panel(below, lower[1], shown)
    image = lower[2].imshow(np.sqrt(total_intensity(shown.probe_modes)), cmap=AMPLITUDE_MAP, vmin=0)
    lower[2].set_title("probe amplitude")
    colour_bar(below, image, lower[2], "arb. unit")
    for ax in (*panels.flat, *lower):
        bare(ax)
    letter([*panels.flat, *lower])
    for place in words:
        place.text(0.01, 0.95, "\n".join(lines), va="top", fontsize="x-small")
    return figure


def write_check_figure(
    dataset: PtychoDataset,
    path: str | Path,
    corrected: PtychoDataset | None = None,
    findings: Sequence[Finding] = (),
) -> Path:
    """Draw `check_figure` into a file (png, pdf, svg).

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_figure(dataset, corrected, findings).savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        problem = Problem(str(path), "", str(error), "a picture file", "Choose a name ending in .png, .pdf or .svg.")
        raise InputError(problem) from None
    return path


def _pattern_rows(panels: Any, dataset: PtychoDataset, name: str, top: float) -> tuple[Any, float]:
    """Fill two rows with measured and predicted patterns; return an image of them and the end of its scale."""
    shown = spread_indices(len(dataset), SHOWN)
    measured = np.nan_to_num(read_patterns(dataset.diffraction, shown))
    predicted = _predict(dataset, shown)
    for ax in panels[:, len(shown) :].flat:  # a file of fewer patterns
        ax.remove()
    top = top or max(float(log_counts(measured).max()), 1e-6)
    for column, index in enumerate(shown):
        image = panels[0, column].imshow(log_counts(measured[column]), cmap=PATTERN_MAP, vmin=0, vmax=top)
        panels[0, column].set_title(f"{name}measured {index}")
        panels[1, column].set_title(f"{name}object × probe")
        if predicted is None:
            _empty(panels[1, column])
        else:
            panels[1, column].imshow(log_counts(predicted[column]), cmap=PATTERN_MAP, vmin=0, vmax=top)
    return image, top


def _scan_panel(figure: FigureBase, ax: Axes, dataset: PtychoDataset) -> None:
    ax.imshow(centred_phase(np.nan_to_num(dataset.obj)), cmap="Greys", alpha=0.4)
    scale_bar(ax, dataset.pixel_size_m, dataset.obj.shape[1])
    chosen = spread_indices(len(dataset), SAMPLED)
    predicted = _predict(dataset, chosen)
    positions = dataset.positions_px[chosen]
    ax.set_title("residual over the scan" if predicted is not None else "positions on the object")
    if predicted is None:
        ax.plot(positions[:, 1], positions[:, 0], ".", markersize=2, color="black")
        return
    measured = np.nan_to_num(read_patterns(dataset.diffraction, chosen))
    error = np.abs(predicted - measured).sum(axis=(1, 2)) / np.maximum(measured.sum(axis=(1, 2)), 1e-12)
    size = float(np.clip(1500 / len(chosen), 2, 20))
    dots = ax.scatter(positions[:, 1], positions[:, 0], size, error, cmap="viridis", vmin=0)
    colour_bar(figure, dots, ax, "residual")


def _detector_panel(figure: FigureBase, ax: Axes, dataset: PtychoDataset) -> None:
    ax.set_title("mean residual, detector")
    chosen = spread_indices(len(dataset), SAMPLED // 4)
    predicted = _predict(dataset, chosen)
    if predicted is None:
        _empty(ax)
        return
    difference = np.mean(predicted - np.nan_to_num(read_patterns(dataset.diffraction, chosen)), axis=0)
    limit = max(float(np.abs(difference).max()), 1e-12)
    image = ax.imshow(difference, cmap=ERROR_MAP, vmin=-limit, vmax=limit)
    colour_bar(figure, image, ax, "amplitude")


def _empty(ax: Axes) -> None:
    """Say in an empty panel why there is nothing to compare."""
    ax.set_box_aspect(1)
    ax.text(0.5, 0.5, "cannot be\npredicted", transform=ax.transAxes, ha="center", va="center")


def _predict(dataset: PtychoDataset, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return predicted amplitudes on the measured scale; None if a patch lies outside the object."""
    positions, size = dataset.positions_px[indices], dataset.patch_size
    if dataset.probe.shape[-2:] != (size, size) or not inside(positions, size, dataset.obj.shape).all():
        return None
    measured = np.nan_to_num(read_patterns(dataset.diffraction, indices))
    predicted = diffract(dataset.obj, dataset.probe, positions)
    return predicted * np.float32(np.nan_to_num(residual(measured, predicted, dataset.mask).scale, nan=1.0))
