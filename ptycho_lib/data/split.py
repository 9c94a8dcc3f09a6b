"""Dividing one scan into training and test patterns that share no comparison area."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.stack import Array
from ptycho_lib.errors import Fault, InputError
from ptycho_lib.physics.scan import window_union

Axis = Literal["row", "column"]
Side = Literal["low", "high"]
AXES = {"row": 0, "column": 1}


def half(positions_px: Array, *, axis: Axis = "row", test_side: Side = "high") -> tuple[Array, Array]:
    """Return (train, test) indices: the scan cut at its median position.

    Parameters
    ----------
    positions_px : (n, 2) array
    axis : {'row', 'column'}
        The coordinate that is cut.
    test_side : {'low', 'high'}
        Which side is the test.
    """
    order = np.argsort(positions_px[:, AXES[axis]], kind="stable")
    middle = len(order) // 2
    low, high = np.sort(order[:middle]), np.sort(order[middle:])
    return (low, high) if test_side == "high" else (high, low)


def comparison_area(dataset: PtychoDataset, train_positions_px: Array) -> Array:
    """Return the coverage (H, W) without every pixel that any training pattern's N × N window touches."""
    coverage = np.ones(dataset.obj.shape, bool) if dataset.coverage is None else dataset.coverage
    return coverage & ~window_union(train_positions_px, dataset.patch_size, dataset.obj.shape)


def split(
    dataset: PtychoDataset, train: Array, test: Array, *, how: str
) -> tuple[PtychoDataset, PtychoDataset]:
    """Return the training and the test dataset; the test's coverage excludes all that was trained on.

    Parameters
    ----------
    dataset : PtychoDataset
    train, test : (k,) int arrays
        Disjoint indices.
    how : str
        Words for the history.

    Raises
    ------
    InputError
        If a part is empty, or no test pattern keeps an area to compare.
    """
    source = dataset.source or "dataset"
    if not len(train) or not len(test):
        mend = "Choose another split, or give more patterns."
        raise InputError(
            Fault(
                source,
                "split",
                f"{len(train)} training and {len(test)} test patterns",
                "both at least 1",
                mend,
            )
        )
    area = comparison_area(dataset, dataset.positions_px[train])
    seen = area & window_union(dataset.positions_px[test], dataset.patch_size // 2, dataset.obj.shape)
    if not seen.any():
        mend = "Split along the longer axis of the scan, use larger blocks, or test on another scan."
        raise InputError(
            Fault(
                source,
                "split",
                "training windows cover all that the test sees",
                "an area seen in the test alone",
                mend,
            )
        )
    size = dataset.patch_size
    words = f"split: {how}; {len(train)} patterns to train, {len(test)} to test"
    removed = (
        f"test coverage: without the {size}×{size} windows of all training patterns, "
        f"{int(seen.sum())} pixels to compare"
    )
    return (
        replace(dataset.select(train), history=(*dataset.history, words, "this file: training part")),
        replace(
            dataset.select(test),
            coverage=area,
            history=(*dataset.history, words, "this file: test part", removed),
        ),
    )
