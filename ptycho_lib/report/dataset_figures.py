"""Figures of what goes into training: patterns, scan, probe, chosen subsets, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from numpy.typing import ArrayLike, NDArray

from ptycho_lib.report.style import (
    AMPLITUDE_MAP,
    AVAILABLE,
    CHOSEN,
    FULL_WIDTH,
    PATTERN_MAP,
    TEST,
    bare,
    colour_bar,
    letter,
    model_looks,
    new_figure,
    phase_view,
    scale_bar,
    styled,
)

if TYPE_CHECKING:
    from ptycho_lib.data.dataset import PtychoDataset


def log_counts(amplitude: ArrayLike) -> NDArray[np.float64]:
    """Return log10(1 + amplitude²): measured counts on a scale that shows both beam and scatter."""
    return np.log10(1.0 + np.square(np.asarray(amplitude, dtype=np.float64)))


def centred_phase(
    obj: NDArray[np.complexfloating], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return arg(`obj`) about its circular mean in `mask`, in (−π, π]."""
    mean = np.sum(obj if mask is None else obj[mask])
    return np.angle(obj * np.exp(-1j * np.angle(mean)))


def robust_limits(values: ArrayLike, share: float = 0.005) -> tuple[float, float]:
    """Return limits that leave out the `share` lowest and highest finite values."""
    finite = np.asarray(values)[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    lower, upper = np.quantile(finite, [share, 1 - share])
    return (float(lower), float(upper)) if upper > lower else (float(lower) - 0.5, float(lower) + 0.5)


@styled
def dataset_figure(dataset: PtychoDataset, indices: Sequence[int] | None = None) -> Figure:
    """Show diffraction patterns, the scan over the object, and the probe.

    Parameters
    ----------
    dataset : PtychoDataset
        Diffraction amplitudes (n, N, N), positions (n, 2) in (row, column) pixels, probe and object.
    indices : sequence of int, optional
        Patterns to show, at most four; by default four spread evenly over the scan.
    """
    positions = np.asarray(dataset.positions_px)
    chosen = _spread(positions) if indices is None else [int(k) for k in indices][:4]
    figure = new_figure(3.55)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.12, 1))[:, 0]
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

    _backdrop(panels[1], dataset.obj, None)
    _dots(panels[1], positions, CHOSEN, "scan")
    panels[1].plot(
        positions[chosen, 1], positions[chosen, 0], "o", markersize=6, markerfacecolor="none", color=TEST
    )
    panels[1].set_title(f"{len(positions)} scan positions")

    _probe_panels(below, panels[2:], np.asarray(dataset.probe), dataset.pixel_size_m)
    letter([*patterns, *panels])
    return figure


def _probe_panels(
    figure: FigureBase, axes: Sequence[Axes], probe: NDArray[np.complex64], pixel_size_m: float | None
) -> None:
    """Draw amplitude and phase of a probe; where there is no amplitude the phase means nothing and fades."""
    strength = np.abs(probe)
    image = axes[0].imshow(strength, cmap=AMPLITUDE_MAP, vmin=0)
    axes[0].set_title("probe amplitude")
    scale_bar(axes[0], pixel_size_m, probe.shape[-1])
    colour_bar(figure, image, axes[0], "√counts" if strength.max() > 10 else "arb. unit")
    colours, limit = phase_view(np.pi)
    opacity = np.clip(strength / (0.1 * strength.max() or 1.0), 0, 1)
    axes[1].set_facecolor("#dddddd")
    axes[1].imshow(np.angle(probe), cmap=colours, vmin=-limit, vmax=limit, alpha=opacity)
    phase_scale = ScalarMappable(Normalize(-limit, limit), colours)
    axes[1].set_title("probe phase")
    colour_bar(figure, phase_scale, axes[1], "rad")
    for ax in axes:
        bare(ax)


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
    _backdrop(ax, obj, pixel_size_m)
    _dots(ax, available, AVAILABLE, f"{len(available)} available")
    if test is not None and not separate:
        _dots(ax, test, TEST, f"{len(test)} test")
    _dots(ax, chosen, CHOSEN, f"{len(chosen)} chosen", larger=True)
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
        _backdrop(ax, test_obj, pixel_size_m)
        _dots(ax, test, TEST, f"{len(test)} test")
        ax.set_title("test object")
    for ax in (panels[0], panels[-1]):
        if ax.get_legend_handles_labels()[0]:
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, handletextpad=0.1, columnspacing=0.8
            )
    if n_panels > 1:
        letter(panels)
    return figure


@styled
def history_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Show loss, validation loss and learning rate of each arm against the epoch.

    Each arm has its own axes: the losses are different quantities and rank nothing.

    Parameters
    ----------
    histories : mapping of str to DataFrame
        One row an epoch; columns ``loss`` and, where known, ``val_loss``, ``learning_rate``, ``epoch``.
    """
    figure = new_figure(2.7, width=3.6 * max(len(histories), 1))
    panels = figure.subplots(2, len(histories), squeeze=False, sharex="col", height_ratios=(3, 1))
    for column, (model, look) in enumerate(model_looks(histories).items()):
        history, loss_ax, rate_ax = histories[model], panels[0, column], panels[1, column]
        epochs = history["epoch"].to_numpy() if "epoch" in history else np.arange(1, len(history) + 1)
        loss_ax.plot(epochs, history["loss"], color=look.colour, label="training")
        if "val_loss" in history and history["val_loss"].notna().any():
            validation = history["val_loss"].to_numpy(dtype=float)
            loss_ax.plot(epochs, validation, color="black", linestyle=":", label="validation")
            best = int(np.nanargmin(validation))
            loss_ax.plot(
                epochs[best], validation[best], marker="o", color="black", markersize=4, linestyle="none"
            )
            loss_ax.annotate(
                "best",
                (epochs[best], validation[best]),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        if _spans_a_decade(loss_ax):
            loss_ax.set_yscale("log")
        loss_ax.set(title=look.label, ylabel="loss (own scale)")
        loss_ax.legend(loc="upper right")
        if "learning_rate" in history:
            rate_ax.plot(epochs, history["learning_rate"], color="#555555", linewidth=1)
        rate_ax.set(xlabel="epoch", ylabel="learning\nrate", ylim=(0, None))
        rate_ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
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


def _dot(n: int) -> float:
    """Return a marker size (points) at which `n` evenly spread markers stay apart."""
    return float(np.clip(45 / np.sqrt(max(n, 1)), 1.2, 4.5))


def _backdrop(ax: Axes, obj: NDArray[np.complexfloating] | None, pixel_size_m: float | None) -> None:
    if obj is not None:
        ax.imshow(centred_phase(obj), cmap="Greys", alpha=0.35)
        scale_bar(ax, pixel_size_m, obj.shape[1])
    else:
        ax.set_aspect("equal")
        ax.invert_yaxis()
    bare(ax)


def _dots(
    ax: Axes, positions_px: NDArray[np.floating], colour: str, label: str, *, larger: bool = False
) -> None:
    size = _dot(len(positions_px)) * (1.0 if larger else 0.7)
    ax.plot(
        positions_px[:, 1],
        positions_px[:, 0],
        "o",
        markersize=size,
        markeredgewidth=0,
        color=colour,
        label=label,
    )


def _spans_a_decade(ax: Axes) -> bool:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 10 * values.min())
