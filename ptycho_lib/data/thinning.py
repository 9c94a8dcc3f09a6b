"""Thin a scan: which patterns remain if neighbours are to overlap less."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array
from ptycho_lib.physics.scan import neighbour_step, probe_diameter, step_for_overlap


def thinned(dataset: PtychoDataset, overlap: float, seed: int) -> Array:
    """Return the patterns, rising indices, of a scan thinned until neighbours overlap by `overlap` at most.

    The patterns are the beginning of the farthest-point order (`sampling.subset_order`), so they lie evenly,
    and those of a sparser scan are among those of a denser one. As many remain as the overlap allows; it is
    that of the median neighbour (`physics.scan.scan_overlap`).

    Parameters
    ----------
    dataset : PtychoDataset
        Positions and probe.
    overlap : float
        Linear, in [0, 1).
    seed : int
        Of the pattern that is chosen first.

    Raises
    ------
    InputError
        If the scan overlaps less than that already, or is too small for two patterns so far apart.
    """
    positions = dataset.positions_px
    step = step_for_overlap(overlap, probe_diameter(dataset.probe))
    if neighbour_step(positions) > step:
        fix = "Leave patterns out of a denser scan, or ask for less overlap."
        found = f"a scan with an overlap of {dataset.overlap():.2f}"
        raise InputError(Problem(dataset.source, "scan_overlap", found, f"more than {overlap:g}", fix))
    order = subset_order(positions, "representative", seed)
    fewest, most = 2, len(order)
    if not neighbour_step(positions[order[:fewest]]) >= step:
        found, expected = "a scan too small for two such patterns", f"neighbours {step:.1f} px apart"
        fix = "Ask for more overlap, or take a larger scan."
        raise InputError(Problem(dataset.source, "scan_overlap", found, expected, fix))
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if neighbour_step(positions[order[:middle]]) >= step:
            fewest = middle
        else:
            most = middle
    return np.sort(order[:fewest])
