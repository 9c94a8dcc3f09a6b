"""How much of the scan a training subset sees: a subset from one corner teaches that corner only."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.stack import Array
from ptycho_lib.physics.scan import frame, window_union

BIASED_SHARE = 0.7
"""A subset that covers less than this share of what an even one of its size covers is biased."""


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
