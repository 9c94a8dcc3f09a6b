"""What is wrong with a file, and how to mend it: the contract, then the numbers, then physics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_lib.data.contract import validate
from ptycho_lib.data.dataset import PtychoDataset, check_dataset
from ptycho_lib.data.findings import ORDER, Finding, finding
from ptycho_lib.data.inspection import Numbers, inspect_patterns, inspect_scan, inspect_size, rounded
from ptycho_lib.data.npz import NpzArchive
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.projection import spread_indices
from ptycho_lib.data.readers import read_file
from ptycho_lib.data.stack import Array, read_patterns
from ptycho_lib.data.suspects import Sample, Verdict, find_suspects
from ptycho_lib.errors import Fault, InputError

__all__ = ["CheckReport", "Finding", "check", "check_file", "expected_residual"]

HIGH_RESIDUAL = 0.3
"""Above this, beyond photon noise, object and probe explain the patterns badly."""
SAMPLED = 24
"""Patterns that are re-projected; half as many if they are larger than 128 pixels."""
ECHOES = ("probably intensity", "patches outside the object", "hot detector pixels")
"""Findings that follow from a convention misunderstood: silent once the suspect is named."""


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
    numbers: Numbers
    dataset: PtychoDataset | None = None

    @property
    def ok(self) -> bool:
        """True without errors; warnings are allowed."""
        return all(found.severity != "error" for found in self.findings)


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
        return CheckReport(str(path), tuple(_told("unreadable", fault) for fault in error.faults), {})
    report = check(dataset)
    if report.ok and _needs_prepare(path):
        note = finding("needs-prepare", "studies do not read this file as it is")
        return replace(report, findings=(*report.findings, note))
    return report


def check(dataset: PtychoDataset) -> CheckReport:
    """Check a dataset that may break the contract."""
    findings = [_told("contract", fault) for fault in check_dataset(dataset)]
    numbers: Numbers = {}
    if dataset.diffraction.ndim == 3 and len(dataset):
        inspect_size(dataset, numbers)
        findings += inspect_patterns(dataset, numbers)
        findings += inspect_scan(dataset, numbers)
        if dataset.probe.shape == dataset.diffraction.shape[1:] and dataset.obj.ndim == 2:
            findings = _without_echoes(findings, _physics(dataset, numbers))
    ordered = sorted(findings, key=lambda found: ORDER[found.severity])
    return CheckReport(dataset.source or "dataset", tuple(ordered), numbers, dataset)


def expected_residual(photons_per_pattern: float | None, measured: Array) -> float:
    """Return about the residual that photon noise alone gives; 0 if the photons are unknown.

    The root of a Poisson count deviates by 1/√(2π) in the mean, whatever the count; dark pixels, with a mean
    count λ well below 1, by 2·√λ at most.

    Parameters
    ----------
    photons_per_pattern : float or None
    measured : (k, N, N) array
        Amplitudes.
    """
    if photons_per_pattern is None:
        return 0.0
    measured = np.asarray(measured, dtype=np.float64)
    counts = np.square(measured) * (photons_per_pattern * len(measured) / np.sum(np.square(measured)))
    deviation = np.minimum(1 / np.sqrt(2 * np.pi), 2 * np.sqrt(counts.mean(axis=0)))
    return float(deviation.mean() / np.sqrt(counts).mean())


def _told(code: str, fault: Fault) -> Finding:
    message = f"{fault.key or 'file'}: found {fault.found}; expected {fault.expected}"
    return Finding(code, "error", message, fault.mend)


def _without_echoes(findings: list[Finding], physics: list[Finding]) -> list[Finding]:
    explained = any(found.severity == "error" for found in physics)
    kept = [found for found in findings if not any(echo in found.message for echo in ECHOES)]
    return physics + (kept if explained else findings)


def _needs_prepare(path: str | Path) -> bool:
    """Return whether studies cannot read the file as it is, whatever `prepare` would make of it."""
    try:
        archive = NpzArchive(path)
    except InputError:
        return True
    return bool(validate(archive)[1])


def _physics(dataset: PtychoDataset, numbers: Numbers) -> list[Finding]:
    """Re-project the object through the probe, and find the suspect if that fails."""
    chosen = spread_indices(len(dataset), SAMPLED if dataset.patch_size <= 128 else SAMPLED // 2)
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
    verdict = find_suspects(sample)
    expected = expected_residual(dataset.photons_per_pattern, measured[good])
    numbers["re-projection residual"] = rounded(verdict.residual)
    numbers["residual from photon noise (estimate)"] = rounded(expected, 2)
    return _judge(verdict, expected)


def _judge(verdict: Verdict, expected: float) -> list[Finding]:
    """Put a verdict into words."""
    if verdict.suspects:
        names = " and ".join(suspect.name for suspect in verdict.suspects)
        options = " ".join(suspect.option for suspect in verdict.suspects)
        how_well = f"(residual {verdict.residual:.2f}, so mended {verdict.best:.2f})"
        code = "+".join(suspect.code for suspect in verdict.suspects)
        mend = f"Run `ptycho-study prepare {options}`."
        return [Finding(code, "error", f"{names}: explains the data {how_well}", mend)]
    if verdict.residual > HIGH_RESIDUAL + expected:
        message = f"object and probe do not explain the patterns (residual {verdict.residual:.2f})"
        return [finding("high-residual", message)]
    return []
