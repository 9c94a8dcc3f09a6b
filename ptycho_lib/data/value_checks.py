"""Values of a dataset whose shapes and dtypes are right: finite, positive, inside the frame, amplitudes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ptycho_lib.data.reprojection import residual, spread_indices
from ptycho_lib.io.lazy_stack import Array, blocks, read_patterns
from ptycho_lib.physics.diffraction import as_modes, diffract

INTENSITY_RATIO = 0.7
"""Intensity is suspected if the square root of `diffraction` fits this much better than itself."""
METRES_BELOW = 0.1
"""Positions that spread less than this cannot be pixels; a scan of 10 cm could not be metres either."""

FEW = 16
"""A scan of more positions that is narrower than a quarter of a patch is hardly given in pixels."""

Report = Callable[[str, str, str, str], None]

SAME_MODE = 0.99
"""Modes whose normalised scalar product exceeds this are one mode twice."""

LEAST_LIGHT = 0.5
"""Share of the expected light, or else of the pixels, that the measured pixels of a detector must hold."""

PATTERN_FAULTS = {
    "NaN or infinite values": "Run `ptycho-study prepare --bad-pixels repair` on the raw file.",
    "negative values": "Subtract less background, or run `ptycho-study prepare --bad-pixels repair`.",
    "zeros only": "Run `ptycho-study prepare --drop-bad-patterns`: a blank frame holds no information.",
}


def check_values(arrays: dict[str, Any], report: Report) -> None:
    """Report every implausible value; the arrays have the keys and dtypes of the contract."""
    reported: list[str] = []

    def note(key: str, found: str, expected: str, fix: str) -> None:
        reported.append(key)
        report(key, found, expected, fix)

    _check_arrays(arrays, note)
    _check_scalars(arrays, note)
    _check_patterns(arrays["diffraction"], note)
    if not {"xcoords", "ycoords"} & set(reported):
        _check_frame(_positions(arrays), arrays["diffraction"].shape[-1], arrays["objectGuess"].shape, note)
    if not reported:
        _check_amplitude(arrays, note)


def faulty_patterns(stack: Any) -> dict[str, Array]:
    """Return the indices of bad patterns, keyed by what is wrong with them; one pass, block by block."""
    bad: dict[str, list[Array]] = {what: [np.empty(0, np.int64)] for what in PATTERN_FAULTS}
    for part, block in blocks(stack):
        low, high = block.min(axis=(1, 2)), block.max(axis=(1, 2))  # NaN passes through both
        finite = np.isfinite(low) & np.isfinite(high)
        tests = (~finite, finite & (low < 0), finite & (low == 0) & (high == 0))
        for found, test in zip(bad.values(), tests, strict=True):
            found.append(np.flatnonzero(test) + part.start)
    return {what: np.concatenate(found) for what, found in bad.items()}


def fingerprint(pattern: Array) -> bytes:
    """Return a digest of a pattern's values: the same for bitwise copies only."""
    return hashlib.blake2b(pattern.tobytes(), digest_size=16).digest()


def copied_patterns(stack: Any) -> Array:
    """Return the indices of patterns that are bitwise copies of earlier ones; one pass, block by block."""
    seen: set[bytes] = set()
    copies = []
    for part, block in blocks(stack):
        for index, pattern in enumerate(block, part.start):
            mark = fingerprint(pattern)
            if mark in seen:
                copies.append(index)
            seen.add(mark)
    return np.array(copies, np.int64)


def inside(positions_px: Array, size: int, shape: tuple[int, ...]) -> Array:
    """Return for each position whether its size × size patch lies inside the object, (n,) bool."""
    return np.all((positions_px >= size / 2) & (positions_px <= np.asarray(shape) - size / 2), axis=1)


def _check_arrays(arrays: dict[str, Any], report: Report) -> None:
    for key in ("xcoords", "ycoords", "probeGuess", "objectGuess"):
        bad = np.count_nonzero(~np.isfinite(arrays[key]))
        if bad:
            report(key, f"{bad} NaN or infinite values", "finite numbers", "Repair the export of this array.")
    if not np.any(arrays["probeGuess"]):
        fix = "Give the probe of the reconstruction, or a model of it."
        report("probeGuess", "zeros only", "an illumination", fix)
    _check_modes(arrays["probeGuess"], report)
    if not np.any(arrays["objectGuess"]):
        fix = "Give the ground truth, or a reference reconstruction."
        report("objectGuess", "zeros only", "an object", fix)
    if "coverage" in arrays and not arrays["coverage"].any():
        report(
            "coverage",
            "no pixel",
            "at least one pixel to compare",
            "Leave it out, or mark the reliable part.",
        )


def _check_modes(probe: Array, report: Report) -> None:
    """Two modes that are parallel are one mode with the sum of their powers."""
    modes = as_modes(probe).reshape(-1, probe.shape[-1] ** 2).astype(np.complex128)
    norm = np.linalg.norm(modes, axis=1)
    lit = np.flatnonzero(norm > 0)  # NaN is reported by the caller
    likeness = np.abs(modes[lit].conj() @ modes[lit].T) / np.outer(norm[lit], norm[lit])
    pairs = [f"{lit[i]} and {lit[k]}" for i, k in np.argwhere(np.triu(likeness, 1) > SAME_MODE)]
    if pairs:
        fix = "Give each mode once; `ptycho_lib.physics.probes.orthogonal_modes` separates a mixture."
        report("probeGuess", f"parallel modes: {', '.join(pairs[:3])}", "modes that differ in shape", fix)


def _check_scalars(arrays: dict[str, Any], report: Report) -> None:
    for key in ("photons_per_pattern", "pixel_size_m", "wavelength_m", "detector_distance_m"):
        if key in arrays and not (np.isfinite(arrays[key]) and arrays[key] > 0):
            report(key, f"{arrays[key]}", "a positive number", "Fix it, or leave it out: it is optional.")


def _check_patterns(stack: Any, report: Report) -> None:
    for what, indices in faulty_patterns(stack).items():
        if len(indices):
            first = ", ".join(map(str, indices[:3])) + (", …" if len(indices) > 3 else "")
            found = f"{what} in {len(indices)} of {stack.shape[0]} patterns (index {first})"
            report("diffraction", found, "finite amplitudes ≥ 0", PATTERN_FAULTS[what])


def _check_frame(positions: Array, size: int, shape: tuple[int, ...], report: Report) -> None:
    """Report patches outside the object, with the most likely reason."""
    outside = ~inside(positions, size, shape)
    if not outside.any():
        return
    if max(abs(positions.min()), abs(positions.max())) < METRES_BELOW:
        fix = "They look like metres: run `ptycho-study prepare --position-unit m --pixel-size-m …`."
    elif len(positions) > FEW and np.ptp(positions, axis=0).max() < size / 4:
        fix = "So narrow a scan looks like micrometres: run `ptycho-study prepare --position-unit um`."
    elif inside(positions[:, ::-1], size, shape).all():
        fix = "Swapped they fit: run `ptycho-study prepare --swap-xy`."
    elif inside(positions + size / 2, size, shape).all():
        fix = "As upper left corners they fit: run `ptycho-study prepare --position-reference corner`."
    else:
        fix = "Positions are patch centres in object pixels, x = column, y = row; the object holds every patch."
    ranges = " and ".join(
        f"{name} {low:.4g} to {high:.4g}"
        for name, low, high in zip(("rows", "columns"), positions.min(axis=0), positions.max(axis=0), strict=True)
    )
    found = f"{outside.sum()} of {len(positions)} patches outside the object: {ranges}"
    rows, columns = (f"{size / 2:g} to {extent - size / 2:g}" for extent in shape)
    report("xcoords, ycoords", found, f"rows {rows} and columns {columns}", fix)


def _check_amplitude(arrays: dict[str, Any], report: Report) -> None:
    """Re-project some patterns: intensity in the place of amplitude fits worse than its square root."""
    chosen = spread_indices(len(arrays["xcoords"]), 32)
    measured = read_patterns(arrays["diffraction"], chosen)
    predicted = diffract(arrays["objectGuess"], arrays["probeGuess"], _positions(arrays)[chosen])
    mask = arrays.get("mask")
    if mask is not None:
        _check_mask(mask, predicted, report)
    itself = residual(measured, predicted, mask).value
    root = residual(np.sqrt(measured), predicted, mask).value
    if root < INTENSITY_RATIO * itself and not _worse_than_nothing(arrays, chosen, root, mask):
        found = f"probably intensity (re-projection residual {itself:.2f}, of its square root {root:.2f})"
        fix = "Run `ptycho-study prepare --quantity intensity` on the file."
        report("diffraction", found, "amplitude, the square root of intensity", fix)


def _worse_than_nothing(arrays: dict[str, Any], chosen: Array, value: float, mask: Array | None) -> bool:
    """Return whether a uniform object explains the square roots better: then nothing can be said of the values."""
    nothing = diffract(np.ones_like(arrays["objectGuess"]), arrays["probeGuess"], _positions(arrays)[chosen])
    return residual(np.sqrt(read_patterns(arrays["diffraction"], chosen)), nothing, mask).value < value


def _check_mask(mask: Array, predicted: Array, report: Report) -> None:
    """Report a mask that hides most of the light which object and probe predict, and most pixels.

    A beam stop hides much light with few pixels.
    """
    light = np.square(predicted, dtype=np.float64).sum(axis=0)
    share = float(light[mask].sum() / (light.sum() or 1.0))
    if share < LEAST_LIGHT and mask.mean() < LEAST_LIGHT:
        fix = "True marks pixels that were measured: invert the mask if it marks bad pixels, or leave it out."
        report(
            "mask",
            f"{100 * share:.2g} % of the expected light on measured pixels",
            "at least half of it, or of the pixels",
            fix,
        )


def _positions(arrays: dict[str, Any]) -> Array:
    return np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
