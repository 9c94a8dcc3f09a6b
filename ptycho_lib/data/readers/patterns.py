"""The patterns of a RawScan: axis order, missing pixels, place of DC; from counts to amplitude."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.views import Grid, LastAxis
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import CHUNK_BYTES, Array, StackView, blocks, read_patterns

FLAGGED = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))
"""Types of count whose largest value marks a pixel that was not measured (module gap, overflow)."""
MOST_PIXELS = 2**26
"""Of a pattern; a larger one could not be held in memory a few times."""
MARKERS = (2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
"""Values that detectors and converters put where a pixel was not measured; the first only in integers."""
MARKED_IN = 16
"""Patterns that are looked at for markers."""
SAMPLE = 64
"""Patterns that are looked at to distinguish counts from other intensities."""


FLIPPED = {"rows": (1,), "columns": (2,), "both": (1, 2)}
"""Axes of a stack that an option reverses."""


def patterns_first(raw: RawScan, options: ReadOptions) -> tuple[Any, tuple[str, ...]]:
    """Return the stack as (n, rows, columns), and lines for the history.

    Raises
    ------
    InputError
        If it has not three axes, or does not hold real numbers.
    """
    shape, dtype = raw.patterns.shape, np.dtype(raw.patterns.dtype)
    if len(shape) == 4 and options.pattern_axis != "last":
        return Grid(raw.patterns), (f"patterns: {shape} -> {shape[0] * shape[1]} patterns, line after line",)
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
        return raw.patterns, ()
    return LastAxis(raw.patterns), (f"patterns: {shape} -> patterns first",)


def rearrangements(raw: RawScan, options: ReadOptions) -> tuple[tuple[Callable[[Array], Array], ...], tuple[str, ...]]:
    """Return what brings pixels of patterns (n, rows, columns) to their places, DC to the centre; and history lines."""
    steps: list[Callable[[Array], Array]] = []
    notes = []
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
    return tuple(steps), tuple(notes)


def moved(block: Array, steps: tuple[Callable[[Array], Array], ...]) -> Array:
    """Return patterns, or a mask, (n, rows, columns) after each step of `rearrangements`."""
    for step in steps:
        block = step(block)
    return block


def unmeasured_pixels(raw: RawScan, patterns: Any, options: ReadOptions) -> tuple[Array | None, tuple[str, ...]]:
    """Return the pixels (rows, columns) that were not measured, as the file has them; None if all were.

    Those are the file's mask, and pixels that hold a marker in every pattern: NaN, a negative value, or the
    largest value of an integer type, whatever the type in which it is stored.

    Parameters
    ----------
    raw : RawScan
    patterns : stack (n, rows, columns)
    options : ReadOptions

    Returns
    -------
    bad : (rows, columns) bool array or None
    notes : tuple of str
    """
    some = np.asarray(read_patterns(patterns, spread_indices(patterns.shape[0], MARKED_IN)))
    marked = np.asarray(marker_values(some).all(axis=0))
    notes: tuple[str, ...] = ()
    if marked.any() and not marked.all():
        notes = (f"mask: {int(marked.sum())} pixels that hold a marker, not a measurement, in every pattern",)
    else:
        marked = np.zeros(patterns.shape[1:], bool)
    bad, lines = (None, ()) if options.mask == "ignore" else _named_bad(raw, some, options)
    bad = marked if bad is None else bad | marked
    return (bad if bad.any() else None), notes + lines


def _named_bad(raw: RawScan, some: Array, options: ReadOptions) -> tuple[Array | None, tuple[str, ...]]:
    """Return the bad pixels that the file's mask names; turned round where it must mean the opposite."""
    bad, shape = raw.bad_pixels, some.shape[1:]
    if bad is None:
        return None, ()
    if bad.shape != shape:
        return None, (f"mask: ignored, {bad.shape} for patterns of {shape}",)
    if options.mask == "invert":
        return ~bad, ("mask: inverted (option)",)
    notes = []
    light = np.where(marker_values(some), 0, some).astype(np.float64).sum(axis=0)
    share = float(light[bad].sum() / (light.sum() or 1.0))
    if share > 0.5 and bad.mean() > 0.5 and not bad.all():  # a single hot pixel may outshine the others
        notes.append(f"mask: inverted; the pixels that it calls bad hold {share:.0%} of the light")
        bad = ~bad
    if bad.any():
        notes.append(f"mask: {int(bad.sum())} pixels were not measured, as the file says")
    return bad, tuple(notes)


def marker_values(block: Array) -> Array:
    """Return where a block holds no measurement: NaN, negative values, largest values of integer types."""
    if block.dtype.kind == "b":
        return np.zeros(block.shape, bool)
    if block.dtype.kind == "u" and block.dtype.itemsize == 1:
        return np.zeros(block.shape, bool)  # 255 is a saturated 8-bit pixel
    found = np.zeros(block.shape, bool)
    if block.dtype.kind in "if":
        found |= block < 0
    if block.dtype.kind == "f":
        found |= ~np.isfinite(block)
        values: tuple[float, ...] = tuple(float(value) for value in MARKERS[1:3])
    else:
        values = tuple(value for value in MARKERS if value <= np.iinfo(block.dtype).max)
    for value in values:
        found |= block == value
    return found


def dark_image(raw: RawScan, shape: tuple[int, ...], options: ReadOptions) -> tuple[Array | None, tuple[str, ...]]:
    """Return what is subtracted from the intensity of every pattern, (rows, columns) or (); None if nothing is.

    Parameters
    ----------
    raw : RawScan
        Its `dark` is used for `subtract_dark` = 'file'.
    shape : (int, int)
    options : ReadOptions

    Returns
    -------
    dark : float64 array or None
    notes : tuple of str

    Raises
    ------
    InputError
        If the file holds no dark image, or one of another shape.
    """
    if options.subtract_dark is None:
        return None, ()
    if options.subtract_dark != "file":
        value = float(options.subtract_dark)
        note = f"patterns: {value:g} subtracted from the intensity of every pixel, nothing below zero"
        return np.array(value), (note,)
    dark = None if raw.dark is None else np.asarray(raw.dark, dtype=np.float64)
    dark = dark.mean(axis=0) if dark is not None and dark.ndim == 3 else dark
    if dark is None or dark.shape != shape:
        found = "none in this file" if dark is None else f"shape {dark.shape}"
        fix = "Give a number of counts with `--subtract-dark`, or store the dark image of the detector."
        raise InputError(Problem(raw.source, "dark", found, f"an image {shape}", fix))
    note = f"patterns: the file's dark image subtracted, {dark.mean():.4g} in the mean, nothing below zero"
    return dark, (note,)


def amplitude_view(
    patterns: Any,
    raw: RawScan,
    rearrange: tuple[Callable[[Array], Array], ...],
    options: ReadOptions,
    *,
    bad: Array | None = None,
    dark: Array | None = None,
) -> tuple[StackView, tuple[str, ...]]:
    """Return a view of the patterns as float32 amplitude, DC in the centre, and lines for the history.

    Pixels that are `bad` (rows, columns) are zero; NaN marks other values that are no measurement. `dark` is
    subtracted from the intensity.
    """
    steps: list[Callable[[Array], Array]] = [lambda block: cleaned(block, raw, bad, dark), *rearrange]
    notes: tuple[str, ...] = ()
    if raw.quantity == "intensity":
        steps.append(signed_root)
        kind = "photon counts" if holds_counts(patterns) else "intensity"
        notes = (f"patterns: {kind} -> amplitude (square root)",)

    def convert(block: Array) -> Array:
        for step in steps:
            block = step(block)
        return block

    shape = patterns.shape[1:]
    view = StackView(
        patterns,
        function=convert,
        pattern_shape=shape[::-1] if options.transpose_patterns else shape,
        dtype=np.float32,
    )
    return view, notes


def reverse(block: Array, axes: tuple[int, ...]) -> Array:
    """Reverse axes of patterns (n, rows, columns) about DC, which stays at its pixel, N // 2."""
    return np.roll(np.flip(block, axes), [1 - block.shape[axis] % 2 for axis in axes], axes)


def measured_values(block: Array) -> Array:
    """Return values as float32; the largest value of an unsigned type, which marks no measurement, as NaN."""
    values = block.astype(np.float32)
    if block.dtype.newbyteorder("=") in FLAGGED:
        values[block == np.iinfo(block.dtype).max] = np.nan
    return values


def cleaned(block: Array, raw: RawScan, bad: Array | None, dark: Array | None) -> Array:
    """Return values as float32, zero at bad pixels, the dark subtracted from the intensity.

    Parameters
    ----------
    block : (n, rows, columns) array
    raw : RawScan
        Says whether the values are amplitude.
    bad : (rows, columns) bool array or None
    dark : (rows, columns) or () array or None

    Returns
    -------
    (n, rows, columns) float32 array
    """
    values = measured_values(block)
    if bad is not None:
        values[:, bad] = 0
    if dark is not None:
        intensity = values if raw.quantity == "intensity" else np.square(values)
        intensity = np.clip(intensity - dark, 0, None)
        values = (intensity if raw.quantity == "intensity" else np.sqrt(intensity)).astype(np.float32)
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


def mean_photons(
    raw: RawScan, patterns: Any, *, bad: Array | None = None, dark: Array | None = None
) -> tuple[float | None, tuple[str, ...]]:
    """Return the mean photons of a pattern, as the file says or of its counts; and lines for the history."""
    if raw.photons_per_pattern is not None:
        return raw.photons_per_pattern, ()
    if raw.quantity != "intensity" or not patterns.shape[0] or not holds_counts(patterns):
        return None, ()
    values = (
        np.clip(np.nan_to_num(cleaned(block, raw, bad, dark), posinf=0), 0, None) for _, block in blocks(patterns)
    )
    total = sum(float(block.sum(dtype=np.float64)) for block in values)
    if total <= 0:
        return None, ()
    photons = total / patterns.shape[0]
    return photons, (f"photons per pattern: {photons:.4g}, the mean sum of the counts",)
