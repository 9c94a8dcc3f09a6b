"""The leakage guard: a test on what was trained on measures memory, not generalization.

Test data can be known in three ways: the same patterns, the same positions on the same object, and parts of the
compared area that training patterns saw. Objects count as the same up to what a reconstruction leaves open:
scale, phase, phase ramp, and the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.object_registration import register
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, blocks, read_patterns
from ptycho_lib.physics.scan import window_union

SAME_OBJECT = 0.99
"""Correlation above which two objects on one pixel grid are one."""

SAME_PLACE = 0.7
"""Correlation (`object_registration`) above which two reconstructions show one place. Measured on six kinds of
objects with 5 % noise, a ramp and a shift: 0.81 to 0.97 with contrast in amplitude and phase, 0.39 to 0.93 in phase
alone, at most 0.60 for different objects. Noisy objects without fine structure are missed."""

GAUGE_PX = 2.0
"""Positions of one scan may differ by a constant of up to this: a shift is traded between probe and object."""

SAME_POSITION_PX = 0.5
"""Positions nearer than this are one."""

_SUMMARY_SIDE = 4
"""A pattern is first compared by the sums of 4 x 4 blocks."""

_TOLERANCE = 1e-4
"""Relative to a pattern's norm: float32 rounding passes, photon noise does not."""


@dataclass(frozen=True)
class Leakage:
    """What a test set shares with a training set.

    Parameters
    ----------
    shared_patterns : int
        Test patterns that are also training patterns, up to a scale.
    shared_positions : int
        Test positions on the training object within half a pixel of a training position; 0 if the objects
        are different ones.
    seen_fraction : float
        Share of the comparison area that lies inside the window of a training pattern; likewise.
    same_object : bool
    """

    shared_patterns: int
    shared_positions: int
    seen_fraction: float
    same_object: bool

    def __bool__(self) -> bool:
        return bool(self.shared_patterns or self.shared_positions or self.seen_fraction)

    def __str__(self) -> str:
        if not self:
            return "no leakage between training and test data"
        parts = []
        if self.shared_patterns:
            parts.append(f"{_plural(self.shared_patterns, 'test pattern')} also in the training data")
        if self.shared_positions:
            parts.append(f"{_plural(self.shared_positions, 'test position')} also measured in training")
        if self.seen_fraction:
            parts.append(f"{_percent(self.seen_fraction)} of the comparison area seen in training")
        return "leakage: " + ", ".join(parts)


def find_leakage(train: PtychoDataset, test: PtychoDataset) -> Leakage:
    """Compare test data with training data pattern by pattern, by position, and by area.

    Positions and areas are compared only if both sets belong to one object: on one grid by `object_similarity`,
    else, as where a scan was measured twice and reconstructed separately, by `object_registration.register`. The
    comparison area is the test's `coverage`, or all that its patterns' windows cover.

    Parameters
    ----------
    train, test : PtychoDataset

    Returns
    -------
    Leakage
    """
    shared = _shared_patterns(train, test)
    offset = _frame_offset(train, test)
    if offset is None:
        return Leakage(shared, 0, 0.0, same_object=False)
    moved = train.positions_px - offset  # into the frame of the test
    return Leakage(
        shared_patterns=shared,
        shared_positions=_shared_positions(moved, test),
        seen_fraction=_seen_fraction(moved, train.patch_size, test),
        same_object=True,
    )


def refuse_leakage(scans: Sequence[PtychoDataset], test: PtychoDataset, *, allow: bool = False) -> str:
    """Return what test and training data share, in words; refuse it unless it is allowed.

    Parameters
    ----------
    scans : sequence of PtychoDataset
        The training scans; each is compared with the test data.
    test : PtychoDataset
    allow : bool

    Returns
    -------
    str
        Empty if they share nothing; of several scans with the names of their files.

    Raises
    ------
    InputError
        With one problem for each kind of leakage from each scan.
    """
    found = [(scan, leakage) for scan in scans if (leakage := find_leakage(scan, test))]
    if not allow and found:
        raise InputError([problem for scan, leakage in found for problem in _problems(scan, test, leakage)])
    return "; ".join(
        str(leakage) if len(scans) == 1 else f"{Path(scan.source).name}: {leakage}" for scan, leakage in found
    )


def _problems(train: PtychoDataset, test: PtychoDataset, leakage: Leakage) -> list[Problem]:
    """Return one problem for each kind of leakage."""
    fix = "Split the scan with `ptycho-study prepare`, or run with --allow-leakage: every output will say so."
    found = {
        "diffraction": (leakage.shared_patterns, f"{leakage.shared_patterns} patterns of the training file"),
        "positions": (leakage.shared_positions, f"{leakage.shared_positions} positions of the training scan"),
        "coverage": (
            leakage.seen_fraction,
            f"a comparison area of which training patterns cover {_percent(leakage.seen_fraction)}",
        ),
    }
    expected = f"data that {train.source or 'the training data'} does not hold"
    source = test.source or "test data"
    return [Problem(source, key, what, expected, fix) for key, (much, what) in found.items() if much]


def object_similarity(first: Array, second: Array) -> float:
    """Return |⟨O₁ - mean, O₂ - mean⟩| / (|…|·|…|), in [0, 1]; 0 if the shapes differ.

    1 for objects that are equal up to a complex factor. Without their means, because transparent objects are
    all alike.

    Parameters
    ----------
    first, second : (H, W) complex array

    Returns
    -------
    float
    """
    if first.shape != second.shape:
        return 0.0
    if np.array_equal(first, second):
        return 1.0
    one, two = (field.astype(np.complex128) - field.mean() for field in (first, second))
    norm = np.linalg.norm(one) * np.linalg.norm(two)
    return float(np.abs(np.vdot(one, two)) / norm) if norm else 0.0


def _frame_offset(train: PtychoDataset, test: PtychoDataset) -> Array | None:
    """Return what a test position has to be moved by into the training frame; None for another object."""
    if object_similarity(train.obj, test.obj) > SAME_OBJECT:
        return np.zeros(2)
    found = register(train.obj, test.obj, _resolved(train), _resolved(test))
    return found.shift_px if found.similarity > SAME_PLACE else None


def _resolved(dataset: PtychoDataset) -> Array:
    """Return the pixels in the central half of any window, (H, W) bool."""
    shape = (int(dataset.obj.shape[0]), int(dataset.obj.shape[1]))
    return window_union(dataset.positions_px, dataset.patch_size // 2, shape)


def _shared_patterns(train: PtychoDataset, test: PtychoDataset) -> int:
    if train.patch_size != test.patch_size:
        return 0
    known, wanted = _summaries(train.diffraction), _summaries(test.diffraction)
    bright = np.flatnonzero(np.isfinite(wanted).all(axis=1))  # dark patterns are all alike
    tree = cKDTree(known[np.isfinite(known).all(axis=1)])
    origin = np.flatnonzero(np.isfinite(known).all(axis=1))
    if not bright.size or not origin.size:
        return 0
    # The sums are a projection: patterns that agree within the tolerance have sums that do.
    neighbours = tree.query_ball_point(wanted[bright], 1.001 * _TOLERANCE)
    return sum(
        any(_equal(train, int(origin[k]), test, int(index)) for k in near)
        for index, near in zip(bright, neighbours, strict=True)
        if near
    )


def _summaries(stack: object) -> Array:
    """Return the block sums of each pattern of unit norm, (n, 16); NaN for a dark pattern."""
    found = []
    for _, block in blocks(stack):
        norm = np.sqrt(np.square(block, dtype=np.float64).sum(axis=(1, 2)))
        pieces = [
            part
            for rows in np.array_split(np.asarray(block, np.float64), _SUMMARY_SIDE, axis=1)
            for part in np.array_split(rows, _SUMMARY_SIDE, axis=2)
        ]
        sums = np.stack([piece.sum(axis=(1, 2)) / np.sqrt(piece[0].size) for piece in pieces], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(sums / norm[:, None])
    return np.concatenate(found)


def _equal(train: PtychoDataset, k: int, test: PtychoDataset, index: int) -> bool:
    first, second = (
        read_patterns(stack, np.array([number]))[0].astype(np.float64)
        for stack, number in ((train.diffraction, k), (test.diffraction, index))
    )
    return bool(np.linalg.norm(first / np.linalg.norm(first) - second / np.linalg.norm(second)) < _TOLERANCE)


def _shared_positions(train_positions_px: Array, test: PtychoDataset) -> int:
    """Count test positions at a training position, as given or after taking out a small constant difference."""
    distance, index = cKDTree(train_positions_px).query(test.positions_px)
    near = distance <= GAUGE_PX
    difference = train_positions_px[index] - test.positions_px
    common = np.median(difference[near], axis=0) if near.any() else np.zeros(2)
    apart = np.linalg.norm(difference - common, axis=1)
    return int(max(np.sum(distance <= SAME_POSITION_PX), np.sum(apart[near] <= SAME_POSITION_PX / 2)))


def _seen_fraction(train_positions_px: Array, train_size: int, test: PtychoDataset) -> float:
    # Only what the test's patterns resolve is ever compared: the central half of their windows.
    area = _resolved(test)
    if test.coverage is not None:
        area &= test.coverage
    seen = window_union(train_positions_px, train_size, (int(area.shape[0]), int(area.shape[1])))
    return float((area & seen).sum() / max(1, area.sum()))


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all"
