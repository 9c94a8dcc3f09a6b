"""Single panels that several figures share: objects, scans and probes, and how their values are scaled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import FigureBase
from numpy.typing import ArrayLike, NDArray

from ptycho_lib.physics.probes import mode_shares
from ptycho_lib.report.style import AMPLITUDE_MAP, bare, colour_bar, phase_view, scale_bar

FloatImage = NDArray[np.float64]


def log_counts(amplitude: ArrayLike) -> NDArray[np.float64]:
    """Return log10(1 + amplitude²): measured counts on a scale that shows both beam and scatter."""
    return np.log10(1.0 + np.square(np.asarray(amplitude, dtype=np.float64)))


def centred_phase(obj: NDArray[np.complexfloating], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
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


def draw_backdrop(ax: Axes, obj: NDArray[np.complexfloating] | None, pixel_size_m: float | None) -> None:
    """Draw a pale object for scan positions to lie on; without one, an empty frame of the same direction."""
    if obj is not None:
        ax.imshow(centred_phase(obj), cmap="Greys", alpha=0.35)
        scale_bar(ax, pixel_size_m, obj.shape[1])
    else:
        ax.set_aspect("equal")
        ax.invert_yaxis()
    bare(ax)


def draw_positions(
    ax: Axes, positions_px: NDArray[np.floating], colour: str, label: str, *, larger: bool = False
) -> None:
    """Draw positions (n, 2), (row, column), as dots that stay apart."""
    size = dot_size(len(positions_px)) * (1.0 if larger else 0.7)
    rows, columns = positions_px.T
    ax.plot(columns, rows, "o", markersize=size, markeredgewidth=0, color=colour, label=label)


def dot_size(n: int) -> float:
    """Return a marker size (points) at which `n` evenly spread markers stay apart."""
    return float(np.clip(45 / np.sqrt(max(n, 1)), 1.2, 4.5))


def draw_probe(
    figure: FigureBase, axes: Sequence[Axes], modes: NDArray[np.complex64], pixel_size_m: float | None
) -> None:
    """Draw amplitude and phase of a probe's strongest mode in two panels; the phase fades where there is no amplitude.

    Parameters
    ----------
    figure : FigureBase
        Receives the colour bars.
    axes : sequence of Axes
        Two panels.
    modes : ndarray, (m, N, N) complex64
        `PtychoDataset.probe_modes`: strongest first.
    pixel_size_m : float, optional
        For the scale bar.
    """
    probe, several = modes[0], len(modes) > 1
    strength = np.abs(probe)
    image = axes[0].imshow(strength, cmap=AMPLITUDE_MAP, vmin=0)
    axes[0].set_title("amplitude, mode 1" if several else "probe amplitude")
    scale_bar(axes[0], pixel_size_m, probe.shape[-1])
    colour_bar(figure, image, axes[0], "√counts" if strength.max() > 10 else "arb. unit")
    colours, limit = phase_view(np.pi)
    axes[1].set_facecolor("#dddddd")
    axes[1].imshow(np.angle(probe), cmap=colours, vmin=-limit, vmax=limit, alpha=_opacity(strength))
    phase_scale = ScalarMappable(Normalize(-limit, limit), colours)
    axes[1].set_title("phase, mode 1" if several else "probe phase")
    colour_bar(figure, phase_scale, axes[1], "rad")
    for ax in axes:
        bare(ax)


def draw_modes(figure: FigureBase, axes: Sequence[Axes], modes: NDArray[np.complex64]) -> None:
    """Draw the amplitude of each probe mode, all on one scale, titled with its share of the light.

    Parameters
    ----------
    figure : FigureBase
        Receives the colour bar.
    axes : sequence of Axes
        A panel for each mode shown; further modes have none.
    modes : ndarray, (m, N, N) complex64
    """
    strengths, shares = np.abs(modes), mode_shares(modes)
    for number, ax in enumerate(axes):
        image = ax.imshow(strengths[number], cmap=AMPLITUDE_MAP, vmin=0, vmax=float(strengths.max()))
        ax.set_title(f"mode {number + 1}: {shares[number]:.1%}")
        bare(ax)
    colour_bar(figure, image, list(axes), "amplitude")


def _opacity(strength: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.clip(strength / (0.1 * strength.max() or 1.0), 0, 1)
