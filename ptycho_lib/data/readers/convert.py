"""From a RawScan to the conventions of the contract: each conversion lazy, and listed in the history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.options import PrepareOptions, ReadOptions
from ptycho_lib.data.readers.patterns import (
    amplitude_view,
    dark_image,
    mean_photons,
    moved,
    patterns_first,
    rearrangements,
    unmeasured_pixels,
)
from ptycho_lib.data.readers.positions import positions_px
from ptycho_lib.data.readers.probe import fitted, incoherent_modes, single_slice
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, select
from ptycho_lib.physics.scan import frame


def complete(raw: RawScan, options: ReadOptions, *, need_object: bool = True) -> PtychoDataset:
    """Convert to the conventions of the contract, lazily; the result may still break the contract.

    Parameters
    ----------
    raw : RawScan
    options : ReadOptions
    need_object : bool
        Refuse a file without an object; else it gets a flat one on the smallest grid round the scan.

    Returns
    -------
    PtychoDataset
        Its history lists each conversion.

    Raises
    ------
    InputError
        If patterns, positions, probe or object are missing, or do not belong together.
    """
    raw = _raster(_apply(raw, options), options)
    to_reconstruct = isinstance(options, PrepareOptions) and (options.reference != "file" or options.apart)
    _refuse_incomplete(raw, unless="obj" if to_reconstruct or not need_object else "")
    patterns, first = patterns_first(raw, options)
    raw, patterns, paired = _paired(raw, patterns)
    count, size = patterns.shape[0], patterns.shape[-1]
    pixel, scaled = _pixel_size(raw, size)
    notes = [*raw.history, f"read: {raw.program}", *first, *paired, *scaled]
    if raw.obj is None:
        positions, lines = positions_px(raw, (size, size), size, pixel, options)
        positions, shape = frame(positions, size)
        obj = np.ones(shape, np.complex64)
        notes += [*lines, f"object: none in the file; a flat one of {shape[0]}×{shape[1]} pixels round the scan"]
    else:
        obj, sliced = single_slice(raw)
        positions, lines = positions_px(raw, obj.shape, size, pixel, options)
        notes += sliced + lines
    if options.frame_lag:
        patterns, positions, raw, note = _lagged(patterns, positions, raw, options.frame_lag)
        notes.append(note)
        count = patterns.shape[0]
    if len(positions) != count:
        found = f"{len(positions)} positions for {count} patterns"
        fix = "Give the positions and the patterns of one scan; mind `--pattern-axis`."
        raise InputError(Problem(raw.source, "positions", found, "one for each", fix))
    probe, lines = incoherent_modes(raw, count)
    notes += lines
    square = patterns.shape[-2] == size and size % 2 == 0 and probe.shape[-2] == probe.shape[-1]
    if square and probe.shape[-1] != size and getattr(options, "crop", None) != probe.shape[-1]:
        probe, lines = fitted(probe, size)
        notes += lines
    if options.conjugate_probe:
        probe = probe.conj()
        notes.append("probe: complex conjugate")
    rearrange, moves = rearrangements(raw, options)
    bad, masked = unmeasured_pixels(raw, patterns, options)
    dark, darkened = dark_image(raw, patterns.shape[1:], options)
    amplitude, rooted = amplitude_view(patterns, raw, rearrange, options, bad=bad, dark=dark)
    patches, ignored = _fitting_patches(raw, patterns.shape)
    counts, counted = mean_photons(raw, patterns, bad=bad, dark=dark)
    photons, divided = _photons(counts, options)
    return PtychoDataset(
        diffraction=amplitude,
        positions_px=positions,
        probe=probe.astype(np.complex64),
        obj=obj.astype(np.complex64),
        patches=patches,
        coverage=raw.coverage,
        mask=None if bad is None else ~moved(bad[None], rearrange)[0],
        scan_index=raw.scan_index,
        photons_per_pattern=photons,
        pixel_size_m=pixel,
        wavelength_m=raw.wavelength_m,
        detector_distance_m=raw.detector_distance_m,
        source=raw.source,
        history=(*notes, *moves, *masked, *darkened, *rooted, *ignored, *counted, *divided),
    )


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


def _raster(raw: RawScan, options: ReadOptions) -> RawScan:
    """Give a scan without positions those of a raster: of the grid of a 4-D stack, or of lines of `line_length`."""
    if options.scan_step is None or raw.patterns is None:
        return raw
    shape = raw.patterns.shape
    lines, line = shape[:2] if len(shape) == 4 else divmod(shape[0], max(options.line_length, 1))
    if len(shape) == 3:
        lines, line = (lines, options.line_length) if line == 0 and options.line_length else (0, 0)
    if not lines * line:
        found = f"{shape[0]} patterns in lines of {options.line_length}"
        fix = "Give the number of positions in a line with `--line-length`."
        raise InputError(Problem(raw.source, "patterns", found, "lines that the patterns fill", fix))
    grid = np.stack(np.meshgrid(np.arange(lines), np.arange(line), indexing="ij"), axis=-1).reshape(-1, 2)
    unit = "px" if options.position_unit == "auto" else options.position_unit
    note = f"positions: a raster of {lines} × {line} with a step of {options.scan_step:g} {unit}"
    positions = grid * options.scan_step
    changed = replace(raw, positions=positions, unit=unit, reference="centre", position_index=None, origin_m=None)
    return replace(changed, history=(*raw.history, note))


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


def _paired(raw: RawScan, patterns: Any) -> tuple[RawScan, Any, tuple[str, ...]]:
    """Bring patterns and positions of the same exposures together, where the file numbers them; add history lines.

    Raises
    ------
    InputError
        If no exposure has both.
    """
    numbers = raw.position_index
    if numbers is None or raw.positions is None or np.shape(numbers) != np.shape(raw.positions)[:1]:
        return raw, patterns, ()
    taken = np.arange(patterns.shape[0]) if raw.pattern_index is None else raw.pattern_index
    if np.shape(taken) != (patterns.shape[0],) or np.array_equal(numbers, taken):
        return raw, patterns, ()
    common, at_pattern, at_position = np.intersect1d(taken, numbers, return_indices=True)
    if not len(common):
        found = "no exposure that has both a pattern and a position"
        fix = "Give the patterns that belong to this reconstruction with `--patterns-file`."
        raise InputError(Problem(raw.source, "positions", found, "the same exposures", fix))
    note = (
        f"patterns and positions: brought together by their numbers; {len(common)} exposures have both, "
        f"of {len(taken)} patterns and {len(numbers)} positions"
    )
    return replace(raw, positions=raw.positions[at_position]), select(patterns, at_pattern), (note,)


def _pixel_size(raw: RawScan, size: int) -> tuple[float | None, tuple[str, ...]]:
    """Return the object pixel, as the file says or λz/(N·detector pixel); and lines for the history."""
    if raw.pixel_size_m is not None:
        return raw.pixel_size_m, ()
    geometry = (raw.wavelength_m, raw.detector_distance_m, raw.detector_pixel_m)
    if any(value is None or not value > 0 for value in geometry):
        return None, ()
    wavelength, distance, detector_pixel = (float(value) for value in geometry if value is not None)
    pixel = wavelength * distance / (size * detector_pixel)
    return pixel, (f"pixel_size_m: {pixel:.4g}, from wavelength, distance and {size} detector pixels",)


def _photons(counts: float | None, options: ReadOptions) -> tuple[float | None, tuple[str, ...]]:
    """Return the photons of so many counts, and lines for the history."""
    if counts is None or options.counts_per_photon == 1.0:
        return counts, ()
    photons = counts / options.counts_per_photon
    return photons, (f"photons per pattern: {photons:.4g}, with {options.counts_per_photon:g} counts for each",)


def _lagged(patterns: Any, positions: Array, raw: RawScan, lag: int) -> tuple[Any, Array, RawScan, str]:
    """Pair pattern i with position i + lag; leave out what has no partner; add a line for the history."""
    count = min(patterns.shape[0], len(positions))
    index = np.arange(max(0, -lag), min(count, len(positions) - lag))
    if not len(index):
        fix = "Give a smaller `--frame-lag`."
        raise InputError(Problem(raw.source, "frame_lag", f"{lag} for {count} patterns", "fewer than patterns", fix))
    note = f"patterns: pattern i has position i + {lag}; {count - len(index)} without a partner left out"
    scan = raw.scan_index
    raw = replace(raw, scan_index=None if scan is None else scan[index], patches=None)
    return select(patterns, index), positions[index + lag], raw, note


def _fitting_patches(raw: RawScan, shape: tuple[int, ...]) -> tuple[Any, tuple[str, ...]]:
    """Return the file's object patches if they belong to the patterns, else they are cut anew; and history lines."""
    if raw.patches is None or (raw.patches.shape == shape and raw.patches.dtype.kind == "c"):
        return raw.patches, ()
    return None, (f"Y: ignored, {raw.patches.shape} of {raw.patches.dtype}; patches are cut from the object",)
