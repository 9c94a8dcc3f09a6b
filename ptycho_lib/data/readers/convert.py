"""From a RawScan to the conventions of the contract: each conversion lazy, and told in the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import PrepareOptions, ReadOptions
from ptycho_lib.data.readers.patterns import (
    amplitude_view,
    mean_photons,
    patterns_first,
    rearranged_mask,
    rearrangements,
)
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, select
from ptycho_lib.physics.scan import frame

METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}
"""Length of each unit of positions, metres."""


def complete(raw: RawScan, options: ReadOptions) -> tuple[PtychoDataset, Array | None]:
    """Convert to the conventions of the contract, lazily; the result may still break the contract.

    Returns
    -------
    dataset : PtychoDataset
        Its history tells each conversion.
    bad_pixels : (rows, columns) bool array or None
        The detector mask of the file, its pixels moved as those of the patterns.

    Raises
    ------
    InputError
        If patterns, positions, probe or object are missing, or do not belong together.
    """
    raw = _apply(raw, options)
    to_reconstruct = isinstance(options, PrepareOptions) and options.reference == "iterative"
    _refuse_incomplete(raw, unless="obj" if to_reconstruct else "")
    notes = [*raw.history, f"read: {raw.program}"]
    patterns = patterns_first(raw, options, notes)
    raw, patterns = _paired(raw, patterns, notes)
    count, size = patterns.shape[0], patterns.shape[-1]
    pixel = _pixel_size(raw, size, notes)
    if raw.obj is None:
        positions = _positions_px(raw, (size, size), size, pixel, options, notes)
        positions, shape = frame(positions, size)
        obj = np.ones(shape, np.complex64)
        notes.append(f"object: none in the file; a flat one of {shape[0]}×{shape[1]} pixels round the scan")
    else:
        obj = _single_slice(raw, notes)
        positions = _positions_px(raw, obj.shape, size, pixel, options, notes)
    if len(positions) != count:
        found = f"{len(positions)} positions for {count} patterns"
        fix = "Give the positions and the patterns of one scan; mind `--pattern-axis`."
        raise InputError(Problem(raw.source, "positions", found, "one for each", fix))
    probe = _strongest_mode(raw, notes)
    if options.conjugate_probe:
        probe = probe.conj()
        notes.append("probe: complex conjugate")
    rearrange = rearrangements(raw, options, notes)
    mask = rearranged_mask(raw, patterns.shape[1:], rearrange, notes)
    dataset = PtychoDataset(
        diffraction=amplitude_view(patterns, raw, rearrange, options, notes),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        obj=obj.astype(np.complex64),
        patches=_fitting_patches(raw, patterns.shape, notes),
        coverage=raw.coverage,
        scan_index=raw.scan_index,
        photons_per_pattern=mean_photons(raw, patterns, notes),
        pixel_size_m=pixel,
        wavelength_m=raw.wavelength_m,
        detector_distance_m=raw.detector_distance_m,
        source=raw.source,
    )
    return replace(dataset, history=tuple(notes)), mask


def _apply(raw: RawScan, options: ReadOptions) -> RawScan:
    """Let options that are not `auto` replace what the file or its format says."""
    chosen = {
        "quantity": options.quantity,
        "dc": options.dc,
        "unit": options.position_unit,
        "reference": options.position_reference,
    }
    values: dict[str, Any] = {name: value for name, value in chosen.items() if value != "auto"}
    changed = [f"{name} = {value} (option)" for name, value in values.items() if getattr(raw, name) != value]
    if options.pixel_size_m is not None:
        values["pixel_size_m"] = options.pixel_size_m
        changed.append(f"pixel_size_m = {options.pixel_size_m:g} (option)")
    return replace(raw, **values, history=(*raw.history, *changed))


def _refuse_incomplete(raw: RawScan, *, unless: str = "") -> None:
    fixes = {
        "patterns": "Name the file that holds them with `--patterns-file`.",
        "positions": "Name them with `--positions-key`, or `--x-key` and `--y-key`.",
        "probe": "Name a file that holds it with `--probe-file`.",
        "obj": "A study needs a reference: `--reference iterative` reconstructs one, or give it with `--object-file`.",
    }
    words = {"patterns": "diffraction patterns", "positions": "positions", "probe": "probe", "obj": "object"}
    problems = [
        Problem(raw.source, words[name], f"none in this {raw.program}", f"the {words[name]}", fix)
        for name, fix in fixes.items()
        if getattr(raw, name) is None and name != unless
    ]
    if problems:
        raise InputError(problems)


def _paired(raw: RawScan, patterns: Any, notes: list[str]) -> tuple[RawScan, Any]:
    """Bring patterns and positions of the same exposures together, where the file numbers them.

    Raises
    ------
    InputError
        If no exposure has both.
    """
    numbers = raw.position_index
    if numbers is None or raw.positions is None or np.shape(numbers) != np.shape(raw.positions)[:1]:
        return raw, patterns
    taken = np.arange(patterns.shape[0]) if raw.pattern_index is None else raw.pattern_index
    if np.shape(taken) != (patterns.shape[0],) or np.array_equal(numbers, taken):
        return raw, patterns
    common, at_pattern, at_position = np.intersect1d(taken, numbers, return_indices=True)
    if not len(common):
        found = "no exposure that has both a pattern and a position"
        fix = "Give the patterns that belong to this reconstruction with `--patterns-file`."
        raise InputError(Problem(raw.source, "positions", found, "the same exposures", fix))
    notes.append(
        f"patterns and positions: brought together by their numbers; {len(common)} exposures have both, "
        f"of {len(taken)} patterns and {len(numbers)} positions"
    )
    return replace(raw, positions=raw.positions[at_position]), select(patterns, at_pattern)


def _single_slice(raw: RawScan, notes: list[str]) -> Array:
    obj = np.asarray(raw.obj)
    if obj.ndim > 2 and np.prod(obj.shape[:-2]) != 1:
        fix = "Give the reconstruction of one thin slice (or the product of the slices)."
        raise InputError(Problem(raw.source, "object", f"shape {obj.shape}", "one slice (H, W)", fix))
    if obj.ndim > 2:
        notes.append(f"object: {obj.shape} -> its only slice")
    if obj.ndim < 2 or obj.dtype.kind != "c":
        fix = "Give amplitude and phase as one complex array (H, W)."
        raise InputError(Problem(raw.source, "object", f"shape {obj.shape} of {obj.dtype}", "complex (H, W)", fix))
    return obj.reshape(obj.shape[-2:])


def _strongest_mode(raw: RawScan, notes: list[str]) -> Array:
    probe = np.asarray(raw.probe)
    if probe.ndim < 2 or probe.dtype.kind != "c" or 0 in probe.shape:
        fix = "Give amplitude and phase as one complex array (N, N)."
        raise InputError(Problem(raw.source, "probe", f"shape {probe.shape} of {probe.dtype}", "complex (N, N)", fix))
    modes = probe.reshape(-1, *probe.shape[-2:])
    power = np.sum(np.abs(modes) ** 2, axis=(1, 2))
    best = int(np.argmax(power))
    if len(modes) > 1:
        share = power[best] / power.sum() if power.sum() else 0.0
        notes.append(f"probe: strongest of {len(modes)} modes, {share:.0%} of the intensity")
    return modes[best]


def _pixel_size(raw: RawScan, size: int, notes: list[str]) -> float | None:
    """Return the object pixel: as the file says, or λz/(N·detector pixel)."""
    if raw.pixel_size_m is not None:
        return raw.pixel_size_m
    geometry = (raw.wavelength_m, raw.detector_distance_m, raw.detector_pixel_m)
    if any(value is None or not value > 0 for value in geometry):
        return None
    wavelength, distance, detector_pixel = (float(value) for value in geometry if value is not None)
    pixel = wavelength * distance / (size * detector_pixel)
    notes.append(f"pixel_size_m: {pixel:.4g}, from wavelength, distance and {size} detector pixels")
    return pixel


def _positions_px(
    raw: RawScan,
    shape: tuple[int, ...],
    size: int,
    pixel: float | None,
    options: ReadOptions,
    notes: list[str],
) -> Array:
    given = np.asarray(raw.positions)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given) or given.dtype.kind not in "fiu":
        found = f"shape {given.shape} of {given.dtype}"
        fix = "Give row and column of each pattern."
        raise InputError(Problem(raw.source, "positions", found, "(n, 2) real numbers", fix))
    positions = given.astype(np.float64)
    steps: tuple[tuple[bool, str, Callable[[Array], Array]], ...] = (
        (options.swap_xy, "x and y exchanged", lambda where: where[:, ::-1]),
        (options.flip_rows, "rows mirrored", lambda where: mirror(where, 0)),
        (options.flip_columns, "columns mirrored", lambda where: mirror(where, 1)),
    )
    for wanted, words, step in steps:
        if wanted:
            positions = step(positions)
            notes.append(f"positions: {words}")
    if raw.unit != "px":
        positions = _metres_to_pixels(positions * METRES[raw.unit], raw, shape, pixel, notes)
    if raw.reference == "corner":
        positions = positions + size / 2
        notes.append(f"positions: upper left corner -> centre, + {size / 2:g} pixels")
    shift = (options.shift_rows_px, options.shift_columns_px)
    if any(shift):
        positions = positions + shift
        notes.append(f"positions: moved by ({shift[0]:g}, {shift[1]:g}) pixels (row, column)")
    return positions


def mirror(positions: Array, axis: int) -> Array:
    """Return positions (n, 2) with one coordinate mirrored within the scan's extent."""
    result = np.array(positions, dtype=np.float64)
    result[:, axis] = result[:, axis].min() + result[:, axis].max() - result[:, axis]
    return result


def _metres_to_pixels(
    positions: Array, raw: RawScan, shape: tuple[int, ...], pixel: float | None, notes: list[str]
) -> Array:
    if pixel is None:
        fix = "Give it with `--pixel-size-m`."
        raise InputError(Problem(raw.source, "pixel_size_m", "nothing", "the object pixel, to convert metres", fix))
    if raw.origin_m is not None:
        notes.append(f"positions: lengths -> pixels of {pixel:.4g} m, from the object's corner")
        return (positions - raw.origin_m) / pixel
    notes.append(f"positions: lengths -> pixels of {pixel:.4g} m, the scan centred in the object")
    centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
    return (positions - centre) / pixel + np.asarray(shape) / 2


def _fitting_patches(raw: RawScan, shape: tuple[int, ...], notes: list[str]) -> Any:
    """Return the object patches of the file if they belong to the patterns; else they are cut anew."""
    if raw.patches is None or (raw.patches.shape == shape and raw.patches.dtype.kind == "c"):
        return raw.patches
    notes.append(f"Y: ignored, {raw.patches.shape} of {raw.patches.dtype}; patches are cut from the object")
    return None
