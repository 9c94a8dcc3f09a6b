"""The patterns of a RawScan: axis order, missing pixels, place of DC; from counts to amplitude."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import CHUNK_BYTES, Array, StackView, blocks

FLAGGED = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))
"""Types of count whose largest value marks a pixel that was not measured (module gap, overflow)."""
MOST_PIXELS = 2**26
"""Of a pattern; a larger one could not be held in memory a few times."""
SAMPLE = 64
"""Patterns that are looked at to tell counts from other intensities."""


FLIPPED = {"rows": (1,), "columns": (2,), "both": (1, 2)}
"""Axes of a stack that an option reverses."""


class LastAxis:
    """A stack (rows, columns, n) seen as (n, rows, columns)."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.dtype = source.dtype
        self.shape = (source.shape[-1], *source.shape[:-1])

    def __getitem__(self, key: Any) -> Array:
        return np.moveaxis(np.asarray(self._source[..., key]), -1, 0)


def patterns_first(raw: RawScan, options: ReadOptions, notes: list[str]) -> Any:
    """Return the stack as (n, rows, columns).

    Raises
    ------
    InputError
        If it has not three axes, or does not hold real numbers.
    """
    shape, dtype = raw.patterns.shape, np.dtype(raw.patterns.dtype)
    if len(shape) != 3:
        fix = "Give one scan, as a stack of patterns."
        raise InputError(Problem(raw.source, "diffraction", f"shape {shape}", "(n, rows, columns)", fix))
    if dtype.kind not in "fiub":
        fix = "Give real numbers: counts, intensity or amplitude."
        raise InputError(Problem(raw.source, "diffraction", f"dtype {dtype}", "real numbers", fix))
    count = None if raw.positions is None else np.shape(raw.positions)[:1]
    last = options.pattern_axis == "last"
    if options.pattern_axis == "auto":
        last = shape[-1:] == count and shape[:1] != count
    if np.prod(shape[:2] if last else shape[1:], dtype=object) > MOST_PIXELS:
        fix = "Cut or bin them to what the study needs, a few hundred pixels."
        raise InputError(Problem(raw.source, "diffraction", f"shape {shape}", "patterns up to 8192×8192", fix))
    if not last:
        return raw.patterns
    notes.append(f"patterns: {shape} -> patterns first")
    return LastAxis(raw.patterns)


def rearrangements(raw: RawScan, options: ReadOptions, notes: list[str]) -> tuple[Callable[[Array], Array], ...]:
    """Return what brings the pixels of patterns (n, rows, columns) to their places, DC to the centre."""
    steps: list[Callable[[Array], Array]] = []
    if options.transpose_patterns:
        steps.append(lambda block: block.swapaxes(1, 2))
        notes.append("patterns: rows and columns exchanged")
    if raw.dc == "corner":
        steps.append(lambda block: np.asarray(scipy.fft.fftshift(block, axes=(1, 2))))
        notes.append("patterns: DC moved from the corner to pixel N/2")
    if options.flip_patterns != "none":
        axes = FLIPPED[options.flip_patterns]
        steps.append(lambda block: reverse(block, axes))
        words = "rows and columns" if len(axes) == 2 else options.flip_patterns
        notes.append(f"patterns: {words} reversed about DC")
    move = (options.shift_pattern_rows, options.shift_pattern_columns)
    if any(move):
        steps.append(lambda block: np.roll(block, move, (1, 2)))
        notes.append(f"patterns: moved by {move} detector pixels (row, column)")
    return tuple(steps)


def rearranged_mask(
    raw: RawScan, shape: tuple[int, ...], steps: tuple[Callable[[Array], Array], ...], notes: list[str]
) -> Array | None:
    """Return the file's mask of bad pixels (rows, columns), its pixels moved as those of the patterns."""
    if raw.bad_pixels is None:
        return None
    if raw.bad_pixels.shape != shape:
        notes.append(f"mask of bad pixels: ignored, {raw.bad_pixels.shape} for patterns of {shape}")
        return None
    block = raw.bad_pixels[None]
    for step in steps:
        block = step(block)
    return block[0]


def amplitude_view(
    patterns: Any,
    raw: RawScan,
    rearrange: tuple[Callable[[Array], Array], ...],
    options: ReadOptions,
    notes: list[str],
) -> StackView:
    """Return a view of the patterns as float32 amplitude, DC in the centre, NaN where not measured."""
    steps: list[Callable[[Array], Array]] = [measured_values, *rearrange]
    if raw.quantity == "intensity":
        steps.append(signed_root)
        kind = "photon counts" if holds_counts(patterns) else "intensity"
        notes.append(f"patterns: {kind} -> amplitude (square root)")

    def convert(block: Array) -> Array:
        for step in steps:
            block = step(block)
        return block

    shape = patterns.shape[1:]
    return StackView(
        patterns,
        function=convert,
        pattern_shape=shape[::-1] if options.transpose_patterns else shape,
        dtype=np.float32,
    )


def reverse(block: Array, axes: tuple[int, ...]) -> Array:
    """Reverse axes of patterns (n, rows, columns) about DC, which stays at its pixel, N // 2."""
    return np.roll(np.flip(block, axes), [1 - block.shape[axis] % 2 for axis in axes], axes)


def measured_values(block: Array) -> Array:
    """Return values as float32; the largest value of an unsigned type, which marks no measurement, as NaN."""
    values = block.astype(np.float32)
    if block.dtype.newbyteorder("=") in FLAGGED:
        values[block == np.iinfo(block.dtype).max] = np.nan
    return values


def signed_root(block: Array) -> Array:
    """Return the square root that keeps the sign, so that negative intensity is found later, not hidden."""
    return np.sign(block) * np.sqrt(np.abs(block))


def holds_counts(patterns: Any) -> bool:
    """Return whether patterns are counts: integers, or floats that are all whole and not just 0 and 1."""
    if np.dtype(patterns.dtype).kind in "iu":
        return True
    number = min(SAMPLE, patterns.shape[0], max(1, CHUNK_BYTES // int(np.prod(patterns.shape[1:]))))
    some = np.asarray(patterns[:number], dtype=np.float64)
    some = some[np.isfinite(some)]
    return bool(some.size and some.max() > 1 and np.all(some == np.rint(some)))


def mean_photons(raw: RawScan, patterns: Any, notes: list[str]) -> float | None:
    """Return the mean photons of a pattern: as the file says, or of its counts."""
    if raw.photons_per_pattern is not None:
        return raw.photons_per_pattern
    if raw.quantity != "intensity" or not patterns.shape[0] or not holds_counts(patterns):
        return None
    values = (np.clip(np.nan_to_num(measured_values(block), posinf=0), 0, None) for _, block in blocks(patterns))
    total = sum(float(block.sum(dtype=np.float64)) for block in values)
    if total <= 0:
        return None
    photons = total / patterns.shape[0]
    notes.append(f"photons per pattern: {photons:.4g}, the mean sum of the counts")
    return photons
