"""What is wrong with a file, and how to mend it: the contract, then physics, then plausible numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

from ptycho_lib.data.contract import validate
from ptycho_lib.data.dataset import PtychoDataset, check_dataset
from ptycho_lib.data.detector import find_bad_pixels
from ptycho_lib.data.npz import NpzArchive
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.plausibility import faulty_patterns
from ptycho_lib.data.projection import spread_indices
from ptycho_lib.data.readers import read_file
from ptycho_lib.data.stack import blocks, read_patterns
from ptycho_lib.data.suspects import Sample, Verdict, find_suspects
from ptycho_lib.errors import InputError
from ptycho_lib.physics.scan import area_overlap, linear_overlap, neighbour_step, probe_diameter

Severity = Literal["error", "warning", "note"]
SATURATED = (255, 4095, 16383, 65535, 4294967295)
"""Largest counts of detectors with 8, 12, 14, 16 and 32 bits."""
HIGH_RESIDUAL = 0.3
"""Above this, beyond photon noise, object and probe explain the patterns badly."""
LOW_OVERLAP = 0.5
"""Linear overlap below which ptychography becomes fragile (Bunk et al., Ultramicroscopy 108, 481 (2008))."""


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing; docs/data_contracts.md explains each code.

    Parameters
    ----------
    code : str
        Stable name, such as ``x-y-swapped``.
    severity : {'error', 'warning', 'note'}
        An error makes results wrong; a warning may.
    message : str
    mend : str
        What to do; may be empty for a note.
    """

    code: str
    severity: Severity
    message: str
    mend: str = ""


@dataclass(frozen=True)
class CheckReport:
    """The result of checking one file.

    Parameters
    ----------
    source : str
    findings : tuple of Finding
        Errors first.
    numbers : dict
        Measured quantities with their units in the name, in reading order.
    dataset : PtychoDataset or None
        As read; None if the file could not be read.
    """

    source: str
    findings: tuple[Finding, ...]
    numbers: dict[str, float | int | str]
    dataset: PtychoDataset | None = None

    @property
    def ok(self) -> bool:
        """True without errors; warnings are allowed."""
        return all(finding.severity != "error" for finding in self.findings)


def check_file(path: str | Path, **options: Any) -> CheckReport:
    """Check a file of any known layout; nothing is written, nothing is raised for what the file holds.

    Parameters
    ----------
    path : str or Path
    **options
        Fields of `ReadOptions`, to check what `prepare` would see with them.

    Raises
    ------
    InputError
        For bad options only.
    """
    settings = parse_options(ReadOptions, "options", options)
    try:
        dataset, _ = read_file(path, settings)
    except InputError as error:
        return CheckReport(str(path), tuple(_from_faults(error)), {})
    report = check(dataset)
    if report.ok and _needs_prepare(path):
        message = "studies do not read this file as it is"
        note = Finding("needs-prepare", "note", message, "Run `ptycho-study prepare`, with the same options.")
        return replace(report, findings=(*report.findings, note))
    return report


def check(dataset: PtychoDataset) -> CheckReport:
    """Check a dataset that may break the contract."""
    findings = _contract(dataset)
    numbers: dict[str, float | int | str] = {}
    if dataset.diffraction.ndim == 3 and len(dataset):
        numbers |= _size(dataset)
        findings += _patterns(dataset, numbers)
        findings += _geometry(dataset, numbers)
        if dataset.probe.shape == dataset.diffraction.shape[1:] and dataset.obj.ndim == 2:
            findings = _without_echoes(findings, _physics(dataset, numbers))
    order = {"error": 0, "warning": 1, "note": 2}
    unique = {(finding.code, finding.message): finding for finding in findings}.values()
    ordered = tuple(sorted(unique, key=lambda finding: order[finding.severity]))
    return CheckReport(dataset.source or "dataset", ordered, numbers, dataset)


def _without_echoes(findings: list[Finding], physics: list[Finding]) -> list[Finding]:
    """Join findings; a suspect that explains the data silences what follows from the same cause."""
    explained = any(finding.severity == "error" for finding in physics)
    echoes = ("probably intensity", "patches outside the object", "hot detector pixels")
    return physics + [
        finding for finding in findings if not (explained and any(echo in finding.message for echo in echoes))
    ]


def _needs_prepare(path: str | Path) -> bool:
    """Return whether studies cannot read the file as it is, whatever `prepare` would make of it."""
    try:
        archive = NpzArchive(path)
    except InputError:
        return True
    return bool(validate(archive)[1])


def _from_faults(error: InputError) -> list[Finding]:
    return [
        Finding(
            "unreadable",
            "error",
            f"{fault.key or 'file'}: found {fault.found}; expected {fault.expected}",
            fault.mend,
        )
        for fault in error.faults
    ]


def _contract(dataset: PtychoDataset) -> list[Finding]:
    return [
        Finding(
            "contract", "error", f"{fault.key}: found {fault.found}; expected {fault.expected}", fault.mend
        )
        for fault in check_dataset(dataset)
    ]


def _size(dataset: PtychoDataset) -> dict[str, float | int | str]:
    nbytes = int(np.prod(dataset.diffraction.shape, dtype=np.int64)) * 4
    numbers: dict[str, float | int | str] = {
        "patterns": len(dataset),
        "pattern size (px)": " × ".join(map(str, dataset.diffraction.shape[1:])),
        "object size (px)": " × ".join(map(str, dataset.obj.shape)),
        "patterns in memory (GB)": round(nbytes / 1e9, 3),
        "free memory (GB)": round(psutil.virtual_memory().available / 1e9, 1),
    }
    for name, value in (
        ("object pixel (nm)", None if dataset.pixel_size_m is None else dataset.pixel_size_m * 1e9),
        ("wavelength (nm)", None if dataset.wavelength_m is None else dataset.wavelength_m * 1e9),
    ):
        if value is not None:
            numbers[name] = float(f"{value:.4g}")
    return numbers


def _patterns(dataset: PtychoDataset, numbers: dict[str, float | int | str]) -> list[Finding]:
    """Look at the measured values: bad patterns, dead and hot pixels, saturation, photons, duplicates."""
    findings = []
    for what, indices in faulty_patterns(dataset.diffraction).items():
        numbers[f"patterns with {what}"] = len(indices)
    totals, saturated, digests = [], 0, set()
    repeated = 0
    for _, block in blocks(dataset.diffraction):
        counts = np.square(block, dtype=np.float64)
        totals.append(np.nansum(counts, axis=(1, 2)))
        peak = float(np.nanmax(counts, initial=0))
        if any(abs(peak - limit) < 0.5 for limit in SATURATED):
            saturated += int(np.count_nonzero(np.abs(counts - peak) < 0.5))
        for pattern in block:
            digest = hash(pattern.tobytes())
            repeated += digest in digests
            digests.add(digest)
    total = np.nan_to_num(np.concatenate(totals), posinf=0)
    if dataset.photons_per_pattern is not None:
        numbers["photons per pattern"] = float(f"{dataset.photons_per_pattern:.4g}")
    else:
        findings.append(
            Finding("photons-unknown", "note", "photons per pattern unknown: no Poisson loss on counts")
        )
    spread = float(total.std() / total.mean()) if total.mean() > 0 else float("nan")
    numbers["intensity spread between patterns"] = float(f"{spread:.3g}")
    if saturated:
        message = f"{saturated} values at the largest count of a detector"
        findings.append(Finding("saturated", "warning", message, "Attenuate the beam, or mask those pixels."))
    if repeated:
        message = f"{repeated} patterns are bitwise copies of others"
        findings.append(
            Finding(
                "duplicate-patterns", "warning", message, "Leave the copies out: they leak between splits."
            )
        )
    dead, hot = find_bad_pixels(dataset)
    numbers["dead pixels"], numbers["hot pixels"] = int(dead.sum()), int(hot.sum())
    if dead.any() or hot.any():
        message = f"{int(dead.sum())} dead and {int(hot.sum())} hot detector pixels"
        findings.append(
            Finding("bad-pixels", "warning", message, "Run `ptycho-study prepare --bad-pixels repair`.")
        )
    return findings


def _geometry(dataset: PtychoDataset, numbers: dict[str, float | int | str]) -> list[Finding]:
    """Look at the scan: extent, step, overlap, duplicates, coverage."""
    findings: list[Finding] = []
    positions = dataset.positions_px
    if not np.isfinite(positions).all() or not np.any(dataset.probe) or not np.isfinite(dataset.probe).all():
        return findings
    low, high = positions.min(axis=0), positions.max(axis=0)
    numbers["rows (px)"] = f"{low[0]:.4g} to {high[0]:.4g}"
    numbers["columns (px)"] = f"{low[1]:.4g} to {high[1]:.4g}"
    copies = len(positions) - len(np.unique(positions, axis=0))
    if copies:
        message = f"{copies} positions are the same as others"
        findings.append(
            Finding(
                "duplicate-positions",
                "warning",
                message,
                "Repeated exposures are fine; a stuck stage is not.",
            )
        )
    if len(positions) < 2:
        findings.append(
            Finding(
                "one-pattern", "warning", "a single pattern: no overlap, nothing to stitch", "Give a scan."
            )
        )
        return findings
    step, diameter = neighbour_step(np.unique(positions, axis=0)), probe_diameter(dataset.probe)
    numbers["step (px, median)"] = float(f"{step:.4g}")
    numbers["probe diameter (px, effective)"] = float(f"{diameter:.4g}")
    numbers["overlap, linear"] = float(f"{linear_overlap(step, diameter):.3g}")
    numbers["overlap, area"] = float(f"{area_overlap(step, diameter):.3g}")
    if linear_overlap(step, diameter) < LOW_OVERLAP:
        message = f"neighbours overlap by {linear_overlap(step, diameter):.0%} only"
        findings.append(
            Finding("low-overlap", "warning", message, "Stitching needs overlap; scan more densely.")
        )
    if dataset.coverage is not None:
        numbers["coverage of the object"] = float(f"{dataset.coverage.mean():.3g}")
    return findings


def _physics(dataset: PtychoDataset, numbers: dict[str, float | int | str]) -> list[Finding]:
    """Re-project the object through the probe, and find the suspect if that fails."""
    chosen = spread_indices(len(dataset), 24 if dataset.patch_size <= 128 else 12)
    measured = np.asarray(read_patterns(dataset.diffraction, chosen), dtype=np.float64)
    good = np.isfinite(measured).all(axis=(1, 2)) & measured.any(axis=(1, 2))
    if not good.any() or not np.isfinite(dataset.obj).all() or not np.isfinite(dataset.positions_px).all():
        return []
    sample = Sample(
        measured[good],
        dataset.positions_px[chosen[good]],
        dataset.positions_px,
        dataset.probe,
        dataset.obj,
        dataset.pixel_size_m,
    )
    return judge(find_suspects(sample), expected_residual(dataset, measured[good]), numbers)


def expected_residual(dataset: PtychoDataset, measured: np.ndarray[Any, np.dtype[Any]]) -> float:
    """Return the residual that photon noise alone gives; 0 if the photons are unknown.

    The root of a Poisson count has a standard deviation of 1/2, a mean absolute deviation of 1/√(2π); where
    the mean count λ is small the deviation is about 2·√λ at most.
    """
    if dataset.photons_per_pattern is None:
        return 0.0
    counts = measured**2 * (dataset.photons_per_pattern * len(measured) / np.sum(measured**2))
    smooth = np.sqrt(np.mean(counts, axis=0))
    return float(np.mean(np.minimum(1 / np.sqrt(2 * np.pi), 2 * smooth)) / np.sqrt(counts).mean())


def judge(verdict: Verdict, expected: float, numbers: dict[str, float | int | str]) -> list[Finding]:
    """Put a verdict into words."""
    numbers["re-projection residual"] = float(f"{verdict.residual:.3g}")
    numbers["residual from photon noise (estimate)"] = float(f"{expected:.2g}")
    if verdict.suspects:
        names = " and ".join(suspect.name for suspect in verdict.suspects)
        options = " ".join(suspect.option for suspect in verdict.suspects)
        message = (
            f"{names}: explains the data (residual {verdict.residual:.2f}, so mended {verdict.best:.2f})"
        )
        code = "+".join(suspect.code for suspect in verdict.suspects)
        return [Finding(code, "error", message, f"Run `ptycho-study prepare {options}`.")]
    if verdict.residual > HIGH_RESIDUAL + expected:
        message = f"object and probe do not explain the patterns (residual {verdict.residual:.2f})"
        mend = "No usual suspect does better: are object, probe and positions of one reconstruction?"
        return [Finding("high-residual", "warning", message, mend)]
    return []
