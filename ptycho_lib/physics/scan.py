"""Scan positions: generating them, and measuring how well they cover and overlap.

Positions are (n, 2) float64 arrays in (row, column) order, in object pixels. The generators return
positions centred about (0, 0); `frame` moves them into an object that holds every patch.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ptycho_lib.physics.diffraction import Array, add_patches
from ptycho_lib.physics.probes import total_intensity

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def raster(n: int, step_px: float, *, jitter_px: float = 0.0, rng: np.random.Generator | None = None) -> Array:
    """Return n positions on a square grid, row by row, as near to a square field as n allows.

    Parameters
    ----------
    n : int
    step_px : float
        Distance of neighbours.
    jitter_px : float
        Half-width of a uniform random offset on both axes; it breaks the periodicity that causes
        raster-grid artefacts (Thibault et al., Ultramicroscopy 109, 338 (2009)).
    rng : numpy.random.Generator, optional
        Needed with jitter.

    Examples
    --------
    >>> raster(4, 2.0).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    columns = int(np.ceil(np.sqrt(n)))
    index = np.arange(n)
    positions = np.stack([index // columns, index % columns], axis=1) * float(step_px)
    positions -= (positions.min(axis=0) + positions.max(axis=0)) / 2
    if jitter_px:
        if rng is None:
            raise ValueError("a jittered raster needs rng, a numpy.random.Generator")
        positions += rng.uniform(-jitter_px, jitter_px, positions.shape)
    return positions


def fermat_spiral(n: int, step_px: float) -> Array:
    """Return n positions on a Fermat spiral, r = c·√k at multiples of the golden angle.

    Uniform density without a period (Huang et al., Opt. Express 22, 12634 (2014)); c is chosen such that
    each position has the area step_px².
    """
    index = np.arange(n)
    radius = step_px / np.sqrt(np.pi) * np.sqrt(index)
    return np.stack([radius * np.sin(index * GOLDEN_ANGLE), radius * np.cos(index * GOLDEN_ANGLE)], axis=1)


def random(n: int, step_px: float, rng: np.random.Generator) -> Array:
    """Return n independent uniform positions in a square of the area n·step_px²."""
    half = step_px * np.sqrt(n) / 2
    return rng.uniform(-half, half, (n, 2))


def frame(positions_px: Array, size: int, *, margin_px: int = 2) -> tuple[Array, tuple[int, int]]:
    """Move positions into the smallest object that holds all their patches and a margin.

    Returns
    -------
    positions_px : (n, 2) array
        Moved by one common vector.
    shape : (int, int)
        (H, W) of the object.
    """
    low = positions_px.min(axis=0)
    moved = positions_px - low + size / 2 + margin_px
    height, width = (int(np.ceil(extent)) + margin_px for extent in moved.max(axis=0) + size / 2)
    return moved, (height, width)


def illumination(probe: Array, positions_px: Array, shape: tuple[int, int]) -> Array:
    """Return the light that a scan brings to each object pixel, Σ_k Σ_m |P_m|² centred at each position.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    positions_px : (n, 2) array
    shape : (int, int)

    Returns
    -------
    (H, W) float64 array

    Raises
    ------
    ValueError
        If a patch reaches outside `shape`.
    """
    intensity = total_intensity(probe)
    return add_patches(np.broadcast_to(intensity, (len(positions_px), *intensity.shape)), positions_px, shape)


def window_union(positions_px: Array, size: int, shape: tuple[int, int]) -> Array:
    """Return the pixels that lie, even in part, inside the size × size window of any position.

    Parameters
    ----------
    positions_px : (n, 2) array
    size : int
        Edge of the window; it may reach over the border of `shape`.
    shape : (int, int)

    Returns
    -------
    (H, W) bool array
    """
    corner = np.asarray(positions_px, dtype=np.float64) - size / 2
    limit = np.asarray(shape)
    first = np.clip(np.floor(corner).astype(np.int64), 0, limit)
    last = np.clip(np.ceil(corner + size).astype(np.int64), 0, limit)
    # Summed-area table in reverse: +1 and -1 at the corners, integrated along both axes.
    steps = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    for rows, columns, sign in ((first, first, 1), (first, last, -1), (last, first, -1), (last, last, 1)):
        np.add.at(steps, (rows[:, 0], columns[:, 1]), sign)
    return np.asarray(steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0)


def resolved_area(probe: Array, positions_px: Array, shape: tuple[int, int], *, min_illumination: float) -> Array:
    """Return the pixels that a scan resolves, (H, W) bool: lit enough, and central in at least one pattern.

    Parameters
    ----------
    probe : (N, N) or (m, N, N) complex array
    positions_px : (n, 2) array
    shape : (int, int)
    min_illumination : float
        Least `illumination`, relative to the largest.

    Returns
    -------
    (H, W) bool array
    """
    total = illumination(probe, positions_px, shape)
    central = window_union(positions_px, probe.shape[-1] // 2, shape)
    return np.asarray(central & (total >= min_illumination * total.max()))


def probe_diameter(probe: Array) -> float:
    """Return the diameter (px) of the uniform disc whose area is the probe's effective area.

    Effective area (ΣI)² / ΣI², the inverse participation ratio of the intensity I, summed over the modes of
    an (m, N, N) probe: weak, wide tails hardly count.
    """
    intensity = total_intensity(probe)
    area = intensity.sum() ** 2 / np.square(intensity).sum()
    return float(np.sqrt(4 * area / np.pi))


def neighbour_step(positions_px: Array) -> float:
    """Return the median distance (px) to the nearest other position; NaN for a single one."""
    if len(positions_px) < 2:
        return float("nan")
    distance, _ = cKDTree(positions_px).query(positions_px, k=2)
    return float(np.median(distance[:, 1]))


def linear_overlap(step_px: float, diameter_px: float) -> float:
    """Return 1 - step/diameter, at least 0 (Bunk et al., Ultramicroscopy 108, 481 (2008)).

    >>> linear_overlap(4.0, 16.0), linear_overlap(20.0, 16.0)
    (0.75, 0.0)
    """
    return max(0.0, 1 - step_px / diameter_px)


def scan_overlap(positions_px: Array, probe: Array) -> float:
    """Return the linear overlap of a scan: median distance of neighbours, effective diameter of the probe.

    0 for a single position.
    """
    return linear_overlap(neighbour_step(positions_px), probe_diameter(probe))


def area_overlap(step_px: float, diameter_px: float) -> float:
    """Return the share of a disc's area that an equal disc one step away covers (Bunk et al. 2008)."""
    ratio = min(step_px / diameter_px, 1.0)
    return float(2 / np.pi * (np.arccos(ratio) - ratio * np.sqrt(1 - ratio**2)))


def step_for_overlap(overlap: float, diameter_px: float) -> float:
    """Return the step (px) that gives the linear overlap: the inverse of `linear_overlap`.

    >>> step_for_overlap(0.75, 16.0)
    4.0
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap} must lie in [0, 1)")
    return (1 - overlap) * diameter_px
