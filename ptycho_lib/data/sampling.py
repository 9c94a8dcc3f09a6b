"""Which patterns train: nested subsets, and groups of neighbouring patterns.

A subset is the beginning of one fixed order, so the subset of 128 patterns is part of that of 256.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.scan import frame, window_union

METHODS = ("representative", "random", "sequential")
EXACT_LIMIT = 4096
"""Number of patterns that are ordered exactly, one at a time; the rest follows grid cells of halving edge."""
BIASED_SHARE = 0.7
"""A subset that covers less than this share of what an even one of its size covers is biased."""


def subset_order(positions_px: Array, method: str, seed: int) -> Array:
    """Return an order of the patterns; its first k indices are the training subset of size k.

    Parameters
    ----------
    positions_px : (n, 2) array
    method : {'representative', 'random', 'sequential'}
        `representative` starts at a random pattern and always adds the one farthest from all chosen before
        (farthest-point order, Gonzalez, Theor. Comput. Sci. 38, 293 (1985)): each beginning covers the scan
        evenly. `random` draws without replacement. `sequential` is the order of measurement.
    seed : int

    Returns
    -------
    (n,) int64 array
        A permutation.

    Examples
    --------
    Whatever comes first, the farthest end of the line comes second.

    >>> line = np.stack([np.zeros(5), np.arange(5.0)], axis=1)
    >>> first, second = subset_order(line, "representative", seed=0)[:2]
    >>> bool(abs(first - second) >= 2)
    True
    """
    count = len(positions_px)
    rng = np.random.default_rng(seed)
    if method == "sequential":
        return np.arange(count)
    if method == "random":
        return rng.permutation(count)
    if method == "representative":
        return _farthest_point_order(np.asarray(positions_px, dtype=np.float64), rng)
    raise ValueError(f"sampling method '{method}' is unknown; choose one of {', '.join(METHODS)}")


def neighbour_groups(positions_px: Array, gridsize: int, seed: int) -> Array:
    """Return, for each pattern, the group of it and its nearest neighbours.

    Parameters
    ----------
    positions_px : (n, 2) array
    gridsize : int
        A group holds gridsize² patterns.
    seed : int
        Decides between neighbours at equal distance, as on a raster, so that no direction is preferred.

    Returns
    -------
    (n, gridsize²) int64 array
        The first column is the pattern itself; the others rise in distance.

    Raises
    ------
    ValueError
        If there are fewer patterns than a group holds.

    Examples
    --------
    >>> square = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [9, 9]])
    >>> sorted(neighbour_groups(square, gridsize=2, seed=0)[0].tolist())
    [0, 1, 2, 3]
    """
    count, members = len(positions_px), gridsize**2
    if count < members:
        raise ValueError(
            f"gridsize {gridsize} groups {members} patterns, but there are only {count}; lower it or train on more"
        )
    positions = np.asarray(positions_px, dtype=np.float64)
    if members == 1:
        return np.arange(count)[:, None]
    extent = max(float(np.ptp(positions, axis=0).max()), 1.0)
    moved = positions + np.random.default_rng(seed).uniform(-1e-6, 1e-6, positions.shape) * extent / np.sqrt(count)
    _, groups = cKDTree(moved).query(moved, k=members)
    return np.asarray(groups, dtype=np.int64)


def covered_share(positions_px: Array, chosen: Array, size: int) -> float:
    """Return the share of the scanned area that the windows of the chosen patterns cover.

    Parameters
    ----------
    positions_px : (n, 2) array
        All positions of the scan, (row, column).
    chosen : (k,) int array
        Indices of the subset.
    size : int
        Edge of a window, px: the N/2 that a pattern resolves, or its N.
    """
    inside, shape = frame(np.asarray(positions_px, dtype=np.float64), size)
    whole = window_union(inside, size, shape).sum()
    return float(window_union(inside[chosen], size, shape).sum() / whole) if whole else 0.0


def selection_warning(positions_px: Array, size: int, method: str, n_train: int, seed: int) -> str:
    """Return a warning if a subset leaves out much of the scan that an even one of its size would cover.

    `sequential` selection of a raster scan is the known case: its first patterns lie in one corner.

    Returns
    -------
    str
        Empty if there is nothing to warn of.
    """
    if method == "representative" or n_train >= len(positions_px):
        return ""
    own, even = (
        covered_share(positions_px, subset_order(positions_px, name, seed)[:n_train], size // 2)
        for name in (method, "representative")
    )
    if own >= BIASED_SHARE * even:
        return ""
    return (
        f"{method} selection: {n_train} of {len(positions_px)} training patterns cover {own:.0%} of the "
        f"scanned area, an even choice would cover {even:.0%}; the networks learn one part of the object"
    )


def _farthest_point_order(positions: Array, rng: np.random.Generator) -> Array:
    count = len(positions)
    if count == 0:
        return np.arange(0)
    rows, columns = np.ascontiguousarray(positions.T)
    order = np.empty(count, np.int64)
    distance = np.full(count, np.inf)
    current = int(rng.integers(count))
    exact = min(count, EXACT_LIMIT)
    for step in range(exact):
        order[step] = current
        np.minimum(distance, (rows - rows[current]) ** 2 + (columns - columns[current]) ** 2, out=distance)
        distance[current] = -1  # chosen: never again, not even among duplicate positions
        current = int(distance.argmax())
    if exact < count:
        order[exact:] = _by_grid_cells(positions, order[:exact], float(np.sqrt(max(distance[current], 0))), rng)
    return order


def _by_grid_cells(positions: Array, chosen: Array, radius: float, rng: np.random.Generator) -> Array:
    """Return the patterns not yet chosen: one from every empty cell of an ever finer grid."""
    remaining = rng.permutation(np.setdiff1d(np.arange(len(positions)), chosen))
    low, extent = positions.min(axis=0), float(np.ptp(positions, axis=0).max())
    added: list[Array] = []
    edge = radius
    while len(remaining) and edge > 1e-6 * extent:
        cell = np.floor((positions - low) / edge).astype(np.int64)
        key = cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1]
        empty = ~np.isin(key[remaining], key[chosen])
        _, first = np.unique(key[remaining[empty]], return_index=True)
        new = remaining[np.flatnonzero(empty)[np.sort(first)]]
        added.append(new)
        chosen = np.concatenate([chosen, new])
        remaining = remaining[~np.isin(remaining, new)]
        edge /= np.sqrt(2)
    return np.concatenate([*added, remaining])  # what remains lies on positions already chosen
