"""npz layouts: ours and PtychoPINN's, tike's, ptychodus's; and arrays named by options."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from ptycho_lib.data.options import ReadOptions
from ptycho_lib.data.readers.quantities import ELECTRON_VOLT_J, length_factor, unit_of, wavelength
from ptycho_lib.data.readers.raw import RawScan
from ptycho_lib.data.readers.store import MatStore, NpzStore, Store, as_number, positive, scalar
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array


def is_ptychopinn(store: Store) -> bool:
    """Recognise our contract and the published PtychoPINN variants by their keys."""
    return "probeGuess" in store or ("xcoords" in store and ("diffraction" in store or "diff3d" in store))


def read_ptychopinn(store: NpzStore | MatStore) -> RawScan:
    """Read our contract and PtychoPINN's variants of it: ``diffraction`` or ``diff3d``, and so on.

    Integers under either key are photon counts; floats under ``diff3d`` are amplitude, as PtychoPINN's
    data contract has it. ``xcoords_start`` serves where ``xcoords`` is missing. Object arrays are ignored.
    """
    history: tuple[str, ...] = ()
    key = "diffraction" if "diffraction" in store else "diff3d"
    patterns = store.stack(key) if key in store else None
    counts = patterns is not None and patterns.dtype.kind in "iu"
    suffix = "" if "xcoords" in store or "xcoords_start" not in store else "_start"
    notes = [f"ignored: {name} ({why})" for name, why in store.ignored.items()]
    if suffix:
        notes.append("positions: from xcoords_start and ycoords_start")
    if "history" in store:
        history = _history(store.array("history"))
    return RawScan(
        source=str(store.path),
        program="npz of the contract" if "diffraction" in store else "PtychoPINN npz",
        patterns=_without_channel(patterns, key, notes),
        quantity="intensity" if counts else "amplitude",
        positions=pair(store, f"ycoords{suffix}", f"xcoords{suffix}"),
        probe=optional(store, "probeGuess"),
        obj=optional(store, "objectGuess"),
        patches=store.stack("Y") if "Y" in store else None,
        coverage=optional(store, "coverage"),
        bad_pixels=_unmeasured(store),
        scan_index=optional(store, "scan_index"),
        history=(*history, *notes),
        photons_per_pattern=positive(scalar(store, "photons_per_pattern")),
        pixel_size_m=positive(scalar(store, "pixel_size_m")),
        wavelength_m=positive(scalar(store, "wavelength_m")),
        detector_distance_m=positive(scalar(store, "detector_distance_m")),
    )


def _unmeasured(store: Store) -> Array | None:
    """Return the opposite of the contract's `mask`."""
    mask = detector_mask(store, "mask")
    return None if mask is None else mask == 0


def is_tike(store: Store) -> bool:
    """Recognise tike by its keys."""
    return "scan" in store and "data" in store


def read_tike(store: Store) -> RawScan:
    """Read tike: ``data`` (intensity, DC at the corner), ``scan`` (corners of patches), ``probe``, ``psi``.

    A leading axis of length 1 counts the views; positions are (row, column).
    """
    return RawScan(
        source=str(store.path),
        program="tike npz",
        patterns=_single_view(store, "data"),
        dc="corner",
        positions=_single_view(store, "scan", in_memory=True),
        reference="corner",
        probe=optional(store, "probe"),
        obj=next((optional(store, key) for key in ("psi", "object", "obj") if key in store), None),
    )


def is_ptychodus_product(store: Store) -> bool:
    """Recognise a ptychodus product by its keys."""
    return "probe_position_x_m" in store


def read_ptychodus_product(store: Store) -> RawScan:
    """Read a ptychodus product (npz or HDF5): positions, probe and object, in metres; it holds no patterns.

    Metadata are keys in npz and attributes in HDF5. A position x lies at column (x - centre)/pixel + W/2.
    """

    def number(name: str, *places: tuple[str, str]) -> float | None:
        attributes = (store.attribute(key, attribute) for key, attribute in (("/", name), *places))
        known = (scalar(store, name), *(as_number(value) for value in attributes))
        return next((value for value in known if value is not None), None)

    obj = optional(store, "object")
    pixel = positive(number("object_pixel_width_m", ("object", "pixel_width_m")))
    energy_ev = positive(number("probe_energy_eV"))
    centre = [number(f"object_center_{axis}_m", ("object", f"center_{axis}_m")) or 0.0 for axis in ("y", "x")]
    origin = None
    if obj is not None and pixel is not None:
        origin = np.asarray(centre) - np.asarray(obj.shape[-2:]) / 2 * pixel
    return RawScan(
        source=str(store.path),
        program="ptychodus product",
        positions=pair(store, "probe_position_y_m", "probe_position_x_m"),
        position_index=optional(store, "probe_position_indexes"),
        unit="m",
        origin_m=origin,
        probe=optional(store, "probe"),
        obj=obj,
        pixel_size_m=pixel,
        wavelength_m=None if energy_ev is None else wavelength(energy_ev * ELECTRON_VOLT_J),
        detector_distance_m=positive(number("detector_object_distance_m")),
    )


def is_ptychodus_patterns(store: Store) -> bool:
    """Recognise a ptychodus diffraction file by its keys."""
    return "patterns" in store


def read_ptychodus_patterns(store: Store) -> RawScan:
    """Read a ptychodus diffraction file: ``patterns`` (intensity, DC in the centre)."""
    mask = detector_mask(store, "bad_pixels")
    return RawScan(
        source=str(store.path),
        program="ptychodus diffraction file",
        patterns=store.stack("patterns"),
        pattern_index=optional(store, "indexes"),
        bad_pixels=None if mask is None else mask.astype(bool),
    )


def with_named(raw: RawScan, store: Store, options: ReadOptions) -> RawScan:
    """Replace arrays by those that the options name: intensity; positions in pixels, or as `units` says."""
    changes: dict[str, Any] = {}
    notes = []
    if options.diffraction_key is not None:
        changes |= {"patterns": store.stack(options.diffraction_key), "quantity": "intensity", "dc": "centre"}
        changes |= {"pattern_index": None, "bad_pixels": None}
    positions = _named_positions(store, options)
    if positions is not None:
        key = options.positions_key or options.x_key or ""
        factor = length_factor(store, key) if options.position_unit == "auto" else None
        changes |= {"positions": positions, "unit": "px", "reference": "centre"}
        changes |= {"position_index": None, "origin_m": None}
        if factor is not None:
            changes |= {"positions": positions * factor, "unit": "m"}
            notes.append(f"positions: in {unit_of(store, key)}, as the file says")
    if options.probe_key is not None:
        changes["probe"] = store.array(options.probe_key)
    if options.object_key is not None:
        changes |= {"obj": store.array(options.object_key), "coverage": None, "patches": None}
    return replace(raw, **changes, history=(*raw.history, *notes))


def _named_positions(store: Store, options: ReadOptions) -> Array | None:
    if options.x_key is None or options.y_key is None:
        return None if options.positions_key is None else _rows_and_columns(store.array(options.positions_key))
    columns, rows = store.array(options.x_key), store.array(options.y_key)
    if rows.size != columns.size:
        found = f"{columns.size} numbers, and {rows.size} in {options.y_key}"
        fix = "Give one row and one column for each pattern."
        raise InputError(Problem(str(store.path), options.x_key, found, "as many of both", fix))
    return np.stack([rows.reshape(-1), columns.reshape(-1)], axis=1)


def _rows_and_columns(array: Array) -> Array:
    """Return positions as (n, 2): also those of a grid (lines, line, 2), and (2, n)."""
    if array.ndim == 3 and array.shape[-1] == 2:
        return array.reshape(-1, 2)
    return array.T if array.ndim == 2 and array.shape[0] == 2 < array.shape[1] else array


def optional(store: Store, key: str) -> Array | None:
    """Return an array in memory, or None."""
    return store.array(key) if key in store else None


def detector_mask(store: Store, key: str) -> Array | None:
    """Return a detector image of numbers or truth values, (rows, columns); None if there is none."""
    mask = optional(store, key)
    return mask if mask is not None and mask.ndim == 2 and mask.dtype.kind in "biuf" else None


def pair(store: Store, rows: str, columns: str) -> Array | None:
    """Return (n, 2) of two arrays of length n; None if one is missing.

    Raises
    ------
    InputError
        If they are not two lists of as many real numbers.
    """
    if rows not in store or columns not in store:
        return None
    first, second = store.array(rows), store.array(columns)
    for key, array, other in ((rows, first, second), (columns, second, first)):
        if array.ndim != 1 or array.dtype.kind not in "fiu" or array.shape != other.shape:
            found = f"shape {array.shape} of {array.dtype}"
            fix = "Give one row and one column for each pattern."
            raise InputError(Problem(str(store.path), key, found, f"real numbers, as many as in {rows}", fix))
    return np.stack([first, second], axis=1).astype(np.float64)


def _without_channel(patterns: Any, key: str, notes: list[str]) -> Any:
    """Drop a trailing axis of length 1, as image networks add it."""
    if patterns is None or len(patterns.shape) != 4 or patterns.shape[-1] != 1:
        return patterns
    notes.append(f"{key}: channel axis dropped")
    return patterns[..., 0]


def _single_view(store: Store, key: str, *, in_memory: bool = False) -> Any:
    """Return the array without a leading axis of length 1."""
    wanted = 2 if in_memory else 3
    value = store.array(key) if in_memory else store.stack(key)
    if len(value.shape) == wanted + 1 and value.shape[0] == 1:
        return value[0]
    return value


def _history(array: Array) -> tuple[str, ...]:
    try:
        lines = json.loads(str(array))
    except (ValueError, RecursionError):
        return ()
    return tuple(str(line) for line in lines) if isinstance(lines, list) else ()
