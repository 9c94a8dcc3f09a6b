"""Looking at the numbers of a dataset: sizes, measured values, the scan. Physics is in `check`.

Each function adds measured quantities to `numbers`, under a name with its unit, and returns findings.
"""

from __future__ import annotations

import numpy as np
import psutil

from ptycho_lib.data.check.findings import Finding, finding
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.prepare.detector import find_bad_pixels
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.data.value_checks import faulty_patterns, fingerprint, inside
from ptycho_lib.io.lazy_stack import Array, blocks, read_patterns
from ptycho_lib.physics.diffraction import exit_wave, extract_patches
from ptycho_lib.physics.scan import area_overlap, linear_overlap, neighbour_step, probe_diameter

Numbers = dict[str, float | int | str]

SATURATED = (255, 4095, 16383, 65535, 4294967295)
"""Largest counts of detectors with 8, 12, 14, 16 and 32 bits."""
EQUAL = 1e-5
"""Relative spread of the brightest pixels below which patterns were normalised one by one, ..."""
SEVERAL = 8
"""... if there are at least so many."""
UNLIKE = 0.5
"""Share of a patch's structure that may be missing from `Y`; more is another object, or another place."""
LOW_OVERLAP = 0.5
"""Linear overlap below which ptychography becomes fragile (Bunk et al., Ultramicroscopy 108, 481 (2008))."""


def rounded(value: float, digits: int = 3) -> float:
    """Return a number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def inspect_size(dataset: PtychoDataset, numbers: Numbers) -> None:
    """Note counts, sizes, memory and geometry."""
    numbers["patterns"] = len(dataset)
    numbers["pattern size (px)"] = " × ".join(map(str, dataset.diffraction.shape[1:]))
    numbers["object size (px)"] = " × ".join(map(str, dataset.obj.shape))
    numbers["patterns in memory (GB)"] = round(4e-9 * np.prod(dataset.diffraction.shape, dtype=float), 3)
    numbers["free memory (GB)"] = round(psutil.virtual_memory().available / 1e9, 1)
    for name, metres in (("object pixel", dataset.pixel_size_m), ("wavelength", dataset.wavelength_m)):
        if metres is not None:
            numbers[f"{name} (nm)"] = rounded(metres * 1e9, 4)


def inspect_patterns(dataset: PtychoDataset, numbers: Numbers) -> list[Finding]:
    """Look at the measured values: bad patterns, photons, saturation, copies, bad pixels."""
    for what, indices in faulty_patterns(dataset.diffraction).items():
        numbers[f"patterns with {what}"] = len(indices)
    totals, peaks, saturated, copies = _pass_through(dataset)
    mean = float(totals.mean())
    findings = []
    if dataset.photons_per_pattern is None:
        findings.append(finding("photons-unknown", "photons per pattern unknown: no Poisson loss on counts"))
    else:
        numbers["photons per pattern"] = rounded(dataset.photons_per_pattern, 4)
    numbers["intensity spread between patterns"] = rounded(float(totals.std()) / mean if mean else np.nan)
    if saturated:
        findings.append(finding("saturated", f"{saturated} values at the largest count of a detector"))
    elif len(peaks) >= SEVERAL and peaks.max() > 0 and np.ptp(peaks) < EQUAL * peaks.max():
        message = f"the brightest pixel is {np.sqrt(peaks.max()):.4g} in every pattern"
        findings.append(finding("normalised", message))
    if copies:
        findings.append(finding("duplicate-patterns", f"{copies} patterns are bitwise copies of others"))
    dead, hot = (int(pixels.sum()) for pixels in find_bad_pixels(dataset))
    numbers["dead pixels"], numbers["hot pixels"] = dead, hot
    if dead or hot:
        findings.append(finding("bad-pixels", f"{dead} dead and {hot} hot detector pixels"))
    return findings


def inspect_scan(dataset: PtychoDataset, numbers: Numbers) -> list[Finding]:
    """Look at the positions: extent, repetition, step, overlap; and at the coverage."""
    positions, probe = dataset.positions_px, dataset.probe
    if not np.isfinite(positions).all() or not np.isfinite(probe).all() or not np.any(probe):
        return []
    for name, coordinate in zip(("rows", "columns"), positions.T, strict=True):
        numbers[f"{name} (px)"] = f"{coordinate.min():.4g} to {coordinate.max():.4g}"
    findings = []
    places = np.unique(positions, axis=0)
    if len(places) < len(positions):
        message = f"{len(positions) - len(places)} positions are the same as others"
        findings.append(finding("duplicate-positions", message))
    if len(positions) < 2:
        return [*findings, finding("one-pattern", "a single pattern: no overlap, nothing to stitch")]
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
    return findings


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
    lit = exit_wave(cut, dataset.probe)
    if _unexplained(given, lit) < UNLIKE * _unexplained(given, cut):
        return [finding("patches-illuminated", "Y holds object × probe in the place of the object")]
    message = "Y does not show what objectGuess shows at the positions"
    return [finding("patches-differ", message)]


def _unexplained(patches: Array, by: Array) -> float:
    """Return Σ|patch - c·by|², c the best complex factor of each patch."""
    axes = (1, 2)
    power = np.maximum(np.square(np.abs(by)).sum(axis=axes), 1e-300)
    covered = np.square(np.abs(np.sum(patches * by.conj(), axis=axes))) / power
    return float((np.square(np.abs(patches)).sum(axis=axes) - covered).sum())


def _pass_through(dataset: PtychoDataset) -> tuple[Array, Array, int, int]:
    """Return total and largest intensity of each pattern (n,), the saturated values, the copied patterns."""
    totals, peaks, saturated = [], [], 0
    digests: set[bytes] = set()
    for _, block in blocks(dataset.diffraction):
        counts = np.nan_to_num(np.square(block, dtype=np.float64), posinf=0)
        totals.append(counts.sum(axis=(1, 2)))
        peaks.append(counts.max(axis=(1, 2)))
        peak = float(peaks[-1].max())
        if any(abs(peak - limit) < 0.5 for limit in SATURATED):
            saturated += int(np.count_nonzero(np.abs(counts - peak) < 0.5))
        digests |= {fingerprint(pattern) for pattern in block}
    return np.concatenate(totals), np.concatenate(peaks), saturated, len(dataset) - len(digests)
