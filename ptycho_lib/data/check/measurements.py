"""The measured numbers of a dataset: sizes, counts, the scan. Each function returns numbers and findings.

Physics is in `diagnosis`; names of numbers carry their unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psutil

from ptycho_lib.data.bad_pixels import bad_pixels
from ptycho_lib.data.check.findings import Finding, finding
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.data.value_checks import faulty_patterns, fingerprint, inside
from ptycho_lib.io.lazy_stack import Array, blocks, read_patterns
from ptycho_lib.physics.diffraction import extract_patches
from ptycho_lib.physics.probes import strongest_first
from ptycho_lib.physics.scan import area_overlap, linear_overlap, neighbour_step, probe_diameter

Numbers = dict[str, float | int | str]

SATURATED = (255, 4095, 16383, 65535, 4294967295)
"""Largest counts of detectors with 8, 12, 14, 16 and 32 bits."""
PILED_UP = 10
"""Values at the largest one of all above which they may have been cut there, ..."""
PILE_SHARE = 0.25
"""... if they are so many for each value of the highest tenth, ..."""
LEAST_CUT = 50
"""... and the largest value is no small count."""
EQUAL = 1e-5
"""Relative spread of the brightest pixels below which patterns were normalised one by one, ..."""
SEVERAL = 8
"""... if there are at least so many."""
DEAD_AREA = 40
"""So many dead pixels are an area."""
UNLIKE = 0.5
"""Share of a patch's structure that may be missing from `Y`; more is another object, or another place."""
LOW_OVERLAP = 0.5
"""Linear overlap below which ptychography becomes fragile (Bunk et al., Ultramicroscopy 108, 481 (2008))."""


@dataclass(frozen=True, eq=False)
class Counted:
    """What one pass through the patterns gives.

    Parameters
    ----------
    totals, peaks : (n,) array
        Σ diffraction² and the largest diffraction² of each pattern.
    image : (N, N) array
        Σ diffraction² over the patterns.
    largest, at_largest, near_largest : float, int, int
        Largest diffraction², how many values equal it, and how many lie between 0.9 of it and it.
    copies : int
        Patterns that are bitwise copies of others.
    """

    totals: Array
    peaks: Array
    image: Array
    largest: float
    at_largest: int
    near_largest: int
    copies: int


def rounded(value: float, digits: int = 3) -> float:
    """Return a number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def size_numbers(dataset: PtychoDataset) -> Numbers:
    """Return counts, sizes, memory and geometry."""
    numbers: Numbers = {
        "patterns": len(dataset),
        "pattern size (px)": " × ".join(map(str, dataset.diffraction.shape[1:])),
        "object size (px)": " × ".join(map(str, dataset.obj.shape)),
        "patterns in memory (GB)": round(4e-9 * np.prod(dataset.diffraction.shape, dtype=float), 3),
        "free memory (GB)": round(psutil.virtual_memory().available / 1e9, 1),
    }
    for name, metres in (("object pixel", dataset.pixel_size_m), ("wavelength", dataset.wavelength_m)):
        if metres is not None:
            numbers[f"{name} (nm)"] = rounded(metres * 1e9, 4)
    if dataset.mask is not None:
        numbers["masked pixels"] = int((~dataset.mask).sum())
    return numbers


def count_patterns(dataset: PtychoDataset) -> Counted:
    """Pass once through the patterns, block by block."""
    totals, peaks = [], []
    image = np.zeros(dataset.diffraction.shape[1:])
    largest, at_largest, near_largest = 0.0, 0, 0
    digests: set[bytes] = set()
    for _, block in blocks(dataset.diffraction):
        counts = np.square(block, dtype=np.float64)
        counts[~(np.isfinite(block) & (block > 0))] = 0
        totals.append(counts.sum(axis=(1, 2)))
        peaks.append(counts.max(axis=(1, 2)))
        image += counts.sum(axis=0)
        peak = float(peaks[-1].max())
        if peak > largest * (1 + 1e-6):
            near_largest = (near_largest + at_largest) if largest > 0.9 * peak else 0
            largest, at_largest = peak, 0
        tolerance = max(1e-6 * largest, 1e-9)
        at_largest += int(np.count_nonzero(counts >= largest - tolerance))
        near_largest += int(np.count_nonzero((counts > 0.9 * largest) & (counts < largest - tolerance)))
        digests |= {fingerprint(pattern) for pattern in block}
    copies = len(dataset) - len(digests)
    return Counted(np.concatenate(totals), np.concatenate(peaks), image, largest, at_largest, near_largest, copies)


def inspect_patterns(dataset: PtychoDataset, counted: Counted) -> tuple[Numbers, list[Finding]]:
    """Return what the measured values show: bad patterns, photons, saturation, copies, bad pixels.

    Parameters
    ----------
    dataset : PtychoDataset
    counted : Counted
        Of the dataset.

    Returns
    -------
    numbers : dict
    findings : list of Finding
    """
    numbers: Numbers = {
        f"patterns with {what}": len(indices) for what, indices in faulty_patterns(dataset.diffraction).items()
    }
    findings = []
    if dataset.photons_per_pattern is None:
        findings.append(finding("photons-unknown", "photons per pattern unknown: no Poisson loss on counts"))
    else:
        numbers["photons per pattern"] = rounded(dataset.photons_per_pattern, 4)
    mean = float(counted.totals.mean())
    numbers["intensity spread between patterns"] = rounded(float(counted.totals.std()) / mean if mean else np.nan)
    findings += _saturation(counted)
    if counted.copies:
        findings.append(finding("duplicate-patterns", f"{counted.copies} patterns are bitwise copies of others"))
    dead, hot = bad_pixels(dataset, counted.image, len(dataset))
    numbers["dead pixels"], numbers["hot pixels"] = int(dead.sum()), int(hot.sum())
    return numbers, findings + _bad_pixel_findings(dead, hot)


def _saturation(counted: Counted) -> list[Finding]:
    """Find values that were cut at a largest one, or patterns normalised to one."""
    peaks, largest = counted.peaks, counted.largest
    known = any(abs(largest - limit) < 0.5 for limit in SATURATED)
    level = len(peaks) >= SEVERAL and largest > 0 and float(np.ptp(peaks)) < EQUAL * largest
    piled = counted.at_largest > PILED_UP and counted.at_largest > PILE_SHARE * counted.near_largest
    piled &= largest >= LEAST_CUT and counted.at_largest > 1.5 * len(peaks) * level
    if known:
        message = f"{counted.at_largest} values at {largest:.0f}, the largest count of a detector"
        return [finding("saturated", message)]
    if piled:
        return [finding("saturated", f"{counted.at_largest} values at {largest:.6g}, as if cut there")]
    if level:
        return [finding("normalised", f"the brightest pixel is {np.sqrt(peaks.max()):.4g} in every pattern")]
    return []


def _bad_pixel_findings(dead: Array, hot: Array) -> list[Finding]:
    """Name dead and hot pixels, a beam stop, a dead area."""
    found, fix = [], {"bad_pixels": "mask"}
    rows, columns = dead.shape
    stop = dead[rows // 2 - 1 : rows // 2 + 2, columns // 2 - 1 : columns // 2 + 2].all()
    if stop:
        found.append(finding("beam-stop", f"{int(dead.sum())} pixels never count, DC among them", fix))
    elif dead.sum() >= DEAD_AREA:
        message = f"{int(dead.sum())} pixels never count where object and probe, or their neighbours, do"
        found.append(finding("dead-area", message, fix))
    few = 0 if found else int(dead.sum())
    if few or hot.any():
        found.append(finding("bad-pixels", f"{few} dead and {int(hot.sum())} hot detector pixels", fix))
    return found


def inspect_scan(dataset: PtychoDataset) -> tuple[Numbers, list[Finding]]:
    """Return what the positions show: extent, repetition, step, overlap; and the coverage."""
    positions, probe = dataset.positions_px, dataset.probe
    numbers: Numbers = {}
    if not np.isfinite(positions).all() or not np.isfinite(probe).all() or not np.any(probe):
        return numbers, []
    for name, coordinate in zip(("rows", "columns"), positions.T, strict=True):
        numbers[f"{name} (px)"] = f"{coordinate.min():.4g} to {coordinate.max():.4g}"
    findings = []
    places = np.unique(positions, axis=0)
    if len(places) == 1 < len(positions):
        message = f"all {len(positions)} positions are the same"
        return numbers, [finding("duplicate-positions", message)]
    if len(places) < len(positions):
        message = f"{len(positions) - len(places)} positions are the same as others"
        findings.append(finding("duplicate-positions", message))
    if len(positions) < 2:
        return numbers, [*findings, finding("one-pattern", "a single pattern: no overlap, nothing to stitch")]
    step, diameter = neighbour_step(places), probe_diameter(probe)
    overlap = linear_overlap(step, diameter)
    numbers["step (px, median)"] = rounded(step, 4)
    numbers["probe diameter (px, effective)"] = rounded(diameter, 4)
    numbers["overlap, linear"] = rounded(overlap)
    numbers["overlap, area"] = rounded(area_overlap(step, diameter))
    if overlap < LOW_OVERLAP:
        findings.append(finding("low-overlap", f"neighbours overlap by {overlap:.0%} only"))
    if dataset.coverage is not None:
        numbers["coverage of the object"] = rounded(float(dataset.coverage.mean()))
    return numbers, findings


def inspect_patches(dataset: PtychoDataset) -> list[Finding]:
    """Compare the file's object patches `Y` with those cut from the object, up to a factor for each."""
    size, chosen = dataset.patch_size, spread_indices(len(dataset), 32)
    positions = dataset.positions_px[chosen]
    if dataset.patches is None or not inside(positions, size, dataset.obj.shape).all():
        return []
    given = np.asarray(read_patterns(dataset.patches, chosen), dtype=np.complex128)
    cut = extract_patches(dataset.obj, positions, size).astype(np.complex128)
    structure = np.square(np.abs(cut - cut.mean(axis=(1, 2), keepdims=True))).sum()
    missing = _unexplained(cut, given)
    if not missing > UNLIKE * structure:
        return []
    lit = cut * strongest_first(dataset.probe)[0]
    options = {"patches": True}
    if _unexplained(given, lit) < UNLIKE * _unexplained(given, cut):
        return [finding("patches-illuminated", "Y holds object × probe in the place of the object", options)]
    message = "Y does not show what objectGuess shows at the positions"
    return [finding("patches-differ", message, options)]


def _unexplained(patches: Array, by: Array) -> float:
    """Return Σ|patch - c·by|², c the best complex factor of each patch."""
    axes = (1, 2)
    power = np.maximum(np.square(np.abs(by)).sum(axis=axes), 1e-300)
    covered = np.square(np.abs(np.sum(patches * by.conj(), axis=axes))) / power
    return float((np.square(np.abs(patches)).sum(axis=axes) - covered).sum())
