"""Dividing one scan into training and test patterns that share no comparison area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import PrepareOptions
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, blocks
from ptycho_lib.physics.scan import window_union

AXES = {"row": 0, "column": 1}


def half(positions_px: Array, *, axis: str = "row", test_side: str = "high") -> tuple[Array, Array]:
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


def stripes(
    positions_px: Array, *, axis: str = "row", blocks: int = 4, test_fraction: float = 0.25
) -> tuple[Array, Array]:
    """Return (train, test) indices: stripes of equal numbers of patterns, some of them for the test.

    The test stripes are spread as evenly as they can be, beginning with the last.
    """
    order = np.argsort(positions_px[:, AXES[axis]], kind="stable")
    number = round(blocks * test_fraction)
    chosen = set((blocks - 1 - np.floor(np.arange(number) * blocks / number)).astype(int).tolist())
    parts = np.array_split(order, blocks)
    train = [part for index, part in enumerate(parts) if index not in chosen]
    test = [part for index, part in enumerate(parts) if index in chosen]
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def interleaved(positions_px: Array, *, test_fraction: float = 0.25, seed: int = 0) -> tuple[Array, Array]:
    """Return (train, test) indices: a share of the patterns, spread evenly over the scan, for the test.

    Training windows then cover nearly all of the test's object: it tests interpolation, not generalization,
    and needs a guard band to leave anything to compare.
    """
    order = subset_order(positions_px, "representative", seed)
    number = max(1, round(len(order) * test_fraction))
    return np.sort(order[number:]), np.sort(order[:number])


def guard(positions_px: Array, train: Array, test: Array, distance_px: float) -> Array:
    """Return the training indices that keep at least this distance from every test position."""
    if distance_px <= 0 or not len(test):
        return train
    nearest, _ = cKDTree(positions_px[test]).query(positions_px[train])
    return train[nearest >= distance_px]


def comparison_area(dataset: PtychoDataset, train_positions_px: Array) -> Array:
    """Return the coverage (H, W) without every pixel that any training pattern's N × N window touches."""
    coverage = np.ones(dataset.obj.shape, bool) if dataset.coverage is None else dataset.coverage
    return coverage & ~window_union(train_positions_px, dataset.patch_size, dataset.obj.shape)


def split(dataset: PtychoDataset, options: PrepareOptions) -> tuple[PtychoDataset, PtychoDataset]:
    """Return the training and the test dataset; the test's coverage excludes all that was trained on.

    Raises
    ------
    InputError
        If a part is empty, or no test pattern keeps an area to compare.
    """
    positions = dataset.positions_px
    if options.split == "half":
        train, test = half(positions, axis=options.axis, test_side=options.test_side)
        how = f"half of the scan, cut at the median {options.axis}, test side {options.test_side}"
    elif options.split == "blocks":
        train, test = stripes(positions, axis=options.axis, blocks=options.blocks, test_fraction=options.test_fraction)
        how = f"{options.blocks} stripes of {options.axis}s, {options.test_fraction:.0%} of them for the test"
    else:
        train, test = interleaved(positions, test_fraction=options.test_fraction, seed=options.seed)
        how = f"interleaved, every {1 / options.test_fraction:.3g}th pattern for the test"
    kept = guard(positions, train, test, options.guard_px)
    if len(kept) < len(train):
        how += f", {len(train) - len(kept)} patterns within {options.guard_px:g} pixels of the test left out"
    return divide(dataset, kept, test, how)


def divide(dataset: PtychoDataset, train: Array, test: Array, how: str) -> tuple[PtychoDataset, PtychoDataset]:
    """Return the two parts; `how` goes into their histories."""
    source = dataset.source or "dataset"
    if not len(train) or not len(test):
        fix = "Choose another split, a smaller `--guard-px`, or give more patterns."
        found = f"{len(train)} training and {len(test)} test patterns"
        raise InputError(Problem(source, "split", found, "at least one of each", fix))
    area = comparison_area(dataset, dataset.positions_px[train])
    size = dataset.patch_size
    seen = area & window_union(dataset.positions_px[test], size // 2, dataset.obj.shape)
    if not seen.any():
        fix = "Cut along the longer axis, use fewer blocks or `--guard-px`, or test on another scan."
        found = "training windows cover all that the test sees"
        raise InputError(Problem(source, "split", found, "an area that only the test sees", fix))
    words = f"split: {how}; {len(train)} patterns to train, {len(test)} to test"
    removed = (
        f"test coverage: without the {size}×{size} windows of all training patterns, "
        f"{int(seen.sum())} pixels to compare"
    )
    totals = _totals(dataset)
    return (
        _part(dataset, train, totals, (words, "this file: training part")),
        _part(dataset, test, totals, (words, "this file: test part", removed), coverage=area),
    )


def _totals(dataset: PtychoDataset) -> Array | None:
    """Return Σ diffraction² of each pattern, (n,); needed only where photons are known."""
    if dataset.photons_per_pattern is None:
        return None
    return np.concatenate(
        [np.square(block, dtype=np.float64).sum(axis=(1, 2)) for _, block in blocks(dataset.diffraction)]
    )


def _part(
    dataset: PtychoDataset,
    chosen: Array,
    totals: Array | None,
    notes: tuple[str, ...],
    coverage: Array | None = None,
) -> PtychoDataset:
    """Select patterns; the mean of the photons follows the selection, so that counts keep their scale."""
    part = dataset.select(chosen)
    photons = dataset.photons_per_pattern
    if photons is not None and totals is not None:
        photons = float(photons * totals[chosen].mean() / totals.mean())
    return replace(
        part,
        photons_per_pattern=photons,
        coverage=dataset.coverage if coverage is None else coverage,
        history=(*part.history, *notes),
    )
