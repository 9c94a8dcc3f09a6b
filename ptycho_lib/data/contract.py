"""The dataset contract, checked: keys, shapes and dtypes. `value_checks` checks the values.

Each problem says how to fix it. What is harmless is converted: byte order, memory order, a wider float.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ptycho_lib.data.value_checks import check_values
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, StackView
from ptycho_lib.io.npz import NpzArchive

PREPARE = "Run `ptycho-study prepare` on the raw file; it converts and says what it did."
LEAVE_OUT = "Fix it, or leave it out: it is optional."
REQUIRED = ("diffraction", "xcoords", "ycoords", "probeGuess", "objectGuess")
SCALARS = ("photons_per_pattern", "pixel_size_m", "wavelength_m", "detector_distance_m")
OPTIONAL = ("Y", "coverage", "mask", "scan_index", *SCALARS, "history")
FOREIGN = {
    "diffraction": ("diff3d", "data", "intensity", "diffraction_patterns"),
    "xcoords": ("xcoords_start", "scan", "positions", "probe_position_x_m"),
    "ycoords": ("ycoords_start", "scan", "positions", "probe_position_y_m"),
    "probeGuess": ("probe", "probes"),
    "objectGuess": ("object", "obj", "psi"),
}
"""Names under which other programs keep the same thing."""

COMPLEX = ("c", "complex64", "Give amplitude and phase as one complex array, A·exp(iφ).")
POSITION = ("fiu", "float64, object pixels", "Give positions as real numbers.")
KINDS: dict[str, tuple[str, str, str]] = {
    "diffraction": ("f", "float32 amplitude", PREPARE),
    "xcoords": POSITION,
    "ycoords": POSITION,
    "probeGuess": COMPLEX,
    "objectGuess": COMPLEX,
    "Y": COMPLEX,
    "coverage": ("b", "bool", "Save it with `.astype(bool)`, or leave it out."),
    "mask": ("b", "bool", "Save it with `.astype(bool)`, True where a pixel was measured, or leave it out."),
    "scan_index": ("iu", "integers", "Save it as int, or leave it out."),
    "history": ("U", "the text that this library writes", LEAVE_OUT),
} | dict.fromkeys(SCALARS, ("fiu", "a real number", LEAVE_OUT))
"""Kinds of dtype that a key may have, in words, and how to fix another."""

STACKS = ("diffraction", "Y")
"""What stays on disk."""

DTYPES: dict[str, Any] = {
    "diffraction": np.float32,
    "xcoords": np.float64,
    "ycoords": np.float64,
    "probeGuess": np.complex64,
    "objectGuess": np.complex64,
    "Y": np.complex64,
}

Report = Callable[[str, str, str, str], None]


def validate(archive: NpzArchive) -> tuple[dict[str, Any], list[Problem]]:
    """Return the arrays of a file in the dtypes of the contract, and all problems."""
    problems: list[Problem] = []
    _check_keys(archive, _reporter(str(archive.path), problems))
    arrays = _read(archive, problems)
    return ({}, problems) if problems else validate_arrays(arrays, str(archive.path))


def validate_arrays(arrays: dict[str, Any], source: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return arrays, keyed as in the contract, in its dtypes, and all problems.

    Later checks need what earlier ones establish: values are looked at only if shapes and dtypes are right.
    """
    problems: list[Problem] = []
    report = _reporter(source, problems)
    _check_shapes(arrays, report)
    _check_kinds(arrays, report)
    if problems:
        return {}, problems
    arrays = dict(_convert(arrays))
    check_values(arrays, report)
    return arrays, problems


def _reporter(source: str, problems: list[Problem]) -> Report:
    def report(key: str, found: str, expected: str, fix: str) -> None:
        problems.append(Problem(source, key, found, expected, fix))

    return report


def _check_keys(archive: NpzArchive, report: Report) -> None:
    for key in (key for key in REQUIRED if key not in archive.members):
        foreign = next((name for name in FOREIGN[key] if name in archive.members), None)
        if foreign:
            report(key, f"no such key, but '{foreign}'", f"the key '{key}'", PREPARE)
        elif key in archive.ignored:
            fix = "Save it with a numeric dtype."
            report(key, f"{archive.ignored[key]}, which are never read", "an array of numbers", fix)
        else:
            keys = ", ".join(sorted(archive.members)) or "nothing"
            fix = "The page 'Data contract' lists the keys."
            report(key, f"no such key (the file holds {keys})", f"the key '{key}'", fix)


def _read(archive: NpzArchive, problems: list[Problem]) -> dict[str, Any]:
    arrays = {}
    for key in (key for key in (*REQUIRED, *OPTIONAL) if key in archive.members):
        try:
            arrays[key] = archive.read(key) if key in STACKS else archive.load(key)
        except InputError as error:
            problems.extend(error.problems)
    return arrays


def _check_shapes(arrays: dict[str, Any], report: Report) -> None:
    shape = arrays["diffraction"].shape
    if not _check_pattern_shape(shape, report):
        return
    n, size, _ = shape
    obj = arrays["objectGuess"].shape
    if len(obj) != 2 or min(obj) < size:
        fix = "Give the whole object, larger than one patch."
        report("objectGuess", f"shape {obj}", f"(H, W), both at least {size}", fix)
    probe = arrays["probeGuess"].shape
    if len(probe) not in (2, 3) or probe[-2:] != (size, size) or probe[0] == 0:
        fix = "Run `ptycho-study prepare`: it converts other layouts, and crops or pads the probe."
        expected = f"({size}, {size}), the size of a pattern, or (m, {size}, {size}) for m modes"
        report("probeGuess", f"shape {probe}", expected, fix)
    for key in ("xcoords", "ycoords"):
        if arrays[key].shape != (n,):
            fix = "Give one position for each pattern."
            report(key, f"shape {arrays[key].shape}", f"({n},), one for each pattern", fix)
    others = {"Y": shape, "coverage": obj, "mask": (size, size), "scan_index": (n,)}
    others |= dict.fromkeys((*SCALARS, "history"), ())
    for key, right in others.items():
        if key in arrays and arrays[key].shape != right:
            report(key, f"shape {arrays[key].shape}", f"{right}", LEAVE_OUT)


def _check_pattern_shape(shape: tuple[int, ...], report: Report) -> bool:
    """Report what is wrong with the stack's shape; return whether it can be compared with the others."""
    if len(shape) != 3:
        fix = "Give a stack of square patterns, one for each position."
        report("diffraction", f"shape {shape}", "(n, N, N)", fix)
        return False
    n, rows, columns = shape
    if rows != columns and n == rows:
        fix = "Run `ptycho-study prepare --pattern-axis last`."
        report("diffraction", f"shape {shape}, patterns last", "(n, N, N)", fix)
        return False
    if rows != columns or rows % 2 or rows < 4:
        fix = "Run `ptycho-study prepare --crop N` with an even N."
        report("diffraction", f"patterns of {rows}×{columns} pixels", "squares with an even edge N ≥ 4", fix)
        return False
    if n == 0:
        report("diffraction", "no pattern", "at least one", "Export the file again; this one is empty.")
    return n > 0


def _check_kinds(arrays: dict[str, Any], report: Report) -> None:
    for key, array in arrays.items():
        allowed, expected, fix = KINDS[key]
        if array.dtype.kind not in allowed:
            found = f"dtype {array.dtype}"
            if key == "diffraction" and array.dtype.kind in "iu":
                found = f"integers ({array.dtype}), probably photon counts"
            elif key == "diffraction" and array.dtype.kind == "c":
                found, fix = (
                    f"complex numbers ({array.dtype})",
                    "Give the modulus of the field, not the field.",
                )
            elif allowed == "c":
                found = f"real numbers ({array.dtype})"
            report(key, found, expected, fix)
        elif key == "diffraction" and array.dtype.itemsize < 4:
            fix = "Export it again as float32: float16 has three digits and ends at 65504."
            report(key, f"dtype {array.dtype}", expected, fix)
    if "history" in arrays and not _is_history(arrays["history"]):
        report("history", "text that is not a JSON list of lines", KINDS["history"][1], LEAVE_OUT)


def _is_history(array: Array) -> bool:
    try:
        lines = json.loads(str(array))
    except (ValueError, RecursionError):
        return False
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines)


def _convert(arrays: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the arrays in the dtypes of the contract; stacks on disk are converted as they are read."""
    for key, array in arrays.items():
        dtype = np.dtype(DTYPES.get(key, array.dtype)).newbyteorder("=")
        if key in STACKS:
            yield key, array if array.dtype == dtype else StackView(array, dtype=dtype)
        else:
            yield key, np.array(array, dtype=dtype, order="C")
