"""What is wrong with a file, and how to fix it: the contract, then the numbers, then physics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_lib.data.check.conventions import Sample
from ptycho_lib.data.check.diagnosis import Verdict, judge
from ptycho_lib.data.check.findings import ORDER, Finding, finding
from ptycho_lib.data.check.measurements import (
    EQUAL,
    SEVERAL,
    Numbers,
    inspect_patches,
    inspect_patterns,
    inspect_scan,
    inspect_size,
    rounded,
)
from ptycho_lib.data.contract import validate
from ptycho_lib.data.dataset import OWN_REFERENCE, PtychoDataset, check_dataset
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.readers import read_file, read_parts
from ptycho_lib.data.readers.convert import complete
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import read_patterns
from ptycho_lib.io.npz import NpzArchive

__all__ = ["CheckReport", "Finding", "check", "check_file"]

HIGH_RESIDUAL = 0.3
"""Above this, beyond photon noise, object and probe explain the patterns badly."""
SAMPLED_PIXELS = 2**19
"""Pixels of the patterns that are re-projected: 128 patterns of 64 × 64, but never fewer than 24."""
AXIS_UNKNOWN = 512
"""Up to this edge a stack (N, N, N) is read whole, to try its last axis as that of the patterns."""
UNEVEN = 0.005
"""Relative spread of predicted total intensities that no measurement would level to nothing."""
ECHOES = ("probably intensity", "patches outside the object", "hot detector pixels")
"""Findings that follow from a convention misunderstood: silent once the suspect is named."""
LAST_ECHOES = ("zeros only", "bitwise copies")
"""Further ones where another axis was taken for that of the patterns."""


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

    def readable(self) -> PtychoDataset:
        """Return the dataset.

        Raises
        ------
        InputError
            If the file could not be read.
        """
        if self.dataset is None:
            why = self.findings[0]
            raise InputError(Problem(self.source, "", why.message, "a file that can be read", why.fix))
        return self.dataset


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
        dataset, mask = read_file(path, settings)
    except InputError as error:
        numbers, findings = _measurement_alone(path, settings)
        told = [_told("unreadable", problem) for problem in error.problems]
        return CheckReport(str(path), (*told, *findings), numbers)
    report = check(dataset)
    if mask is not None and mask.any():
        masked = finding("masked-pixels", f"the file names {int(mask.sum())} bad detector pixels")
        report = replace(report, findings=_ordered([*report.findings, masked]))
    if report.ok and (reason := _why_prepare(path)):
        note = finding("needs-prepare", f"studies do not read this file as it is ({reason})")
        return replace(report, findings=(*report.findings, note))
    return report


def check(dataset: PtychoDataset) -> CheckReport:
    """Check a dataset that may break the contract."""
    findings = [_told("contract", problem) for problem in check_dataset(dataset)]
    numbers: Numbers = {}
    if dataset.diffraction.ndim == 3 and len(dataset):
        inspect_size(dataset, numbers)
        findings += inspect_patterns(dataset, numbers)
        findings += inspect_scan(dataset, numbers)
        if dataset.probe.shape == dataset.diffraction.shape[1:] and dataset.obj.ndim == 2:
            findings = _without_echoes(findings, _physics(dataset, numbers)) + inspect_patches(dataset)
    if dataset.reference:
        findings.append(finding("own-reference", f"the object is an {OWN_REFERENCE}"))
    return CheckReport(dataset.source or "dataset", _ordered(findings), numbers, dataset)


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda found: ORDER[found.severity]))


def _measurement_alone(path: str | Path, settings: ReadOptions) -> tuple[Numbers, list[Finding]]:
    """Inspect what a file without object, or without probe, holds: patterns, and positions if it has a probe.

    Nothing if it does not hold both patterns and positions, or if these cannot be read.
    """
    numbers: Numbers = {}
    try:
        raw = read_parts(path, settings)
        if raw.positions is None or np.ndim(raw.positions) == 0 or len(np.shape(raw.patterns)) != 3:
            return {}, []
        size = raw.patterns.shape[-1]
        probe = np.ones((size, size), np.complex64) if raw.probe is None else raw.probe
        dataset, _ = complete(replace(raw, obj=np.ones((size, size), np.complex64), probe=probe), settings)
        inspect_size(dataset, numbers)
        del numbers["object size (px)"]
        findings = inspect_patterns(dataset, numbers)
        return numbers, findings if raw.probe is None else [*findings, *inspect_scan(dataset, numbers)]
    except InputError:
        return {}, []


def _told(code: str, problem: Problem) -> Finding:
    message = f"{problem.key or 'file'}: found {problem.found}; expected {problem.expected}"
    return Finding(code, "error", message, problem.fix)


def _without_echoes(findings: list[Finding], physics: list[Finding]) -> list[Finding]:
    explained = any(found.severity == "error" for found in physics)
    echoes = (*ECHOES, *LAST_ECHOES) if any("patterns-last" in found.code for found in physics) else ECHOES
    kept = [found for found in findings if not any(echo in found.message for echo in echoes)]
    return physics + (kept if explained else findings)


def _why_prepare(path: str | Path) -> str:
    """Return why studies cannot read the file as it is, whatever `prepare` makes of it; empty if they can."""
    try:
        _, problems = validate(NpzArchive(path))
    except InputError as error:
        problems = list(error.problems)
    return "; ".join(": ".join(filter(None, (problem.key, problem.found))) for problem in problems)


def _physics(dataset: PtychoDataset, numbers: Numbers) -> list[Finding]:
    """Re-project the object through the probe, and find the suspect if that fails."""
    sample = _sample(dataset)
    if sample is None:
        return []
    verdict = judge(sample)
    numbers["re-projection residual"] = rounded(verdict.residual)
    numbers["residual from photon noise"] = rounded(verdict.noise, 2)
    told = [*_named(verdict), *_normalised(sample)]
    lost = {"high-residual", "object-unrelated"} & {one.code for one in told}
    return told if lost else [*told, *_undecided(verdict)]


def _sample(dataset: PtychoDataset) -> Sample | None:
    """Return patterns spread over the scan, without bad ones; None if nothing can be predicted."""
    size = dataset.patch_size
    chosen = spread_indices(len(dataset), max(24, SAMPLED_PIXELS // size**2))
    measured = np.asarray(read_patterns(dataset.diffraction, chosen), dtype=np.float64)
    good = np.isfinite(measured).all(axis=(1, 2)) & measured.any(axis=(1, 2))
    if not good.any() or not np.isfinite(dataset.obj).all() or not np.isfinite(dataset.positions_px).all():
        return None
    axis_last = None
    if len(dataset) == size <= AXIS_UNKNOWN:
        axis_last = np.moveaxis(np.asarray(dataset.diffraction, dtype=np.float64), -1, 0)[chosen[good]]
    return Sample(
        measured[good],
        dataset.positions_px[chosen[good]],
        dataset.positions_px,
        dataset.probe,
        dataset.obj,
        dataset.pixel_size_m,
        dataset.photons_per_pattern,
        axis_last,
    )


def _normalised(sample: Sample) -> list[Finding]:
    """Find patterns of equal total intensity where object and probe predict unequal ones."""
    predicted = sample.predicted()
    if predicted is None or len(predicted) < SEVERAL:
        return []
    measured, expected = (
        totals.std() / totals.mean()
        for totals in (np.square(stack).sum(axis=(1, 2)) for stack in (sample.measured, predicted))
    )
    if not measured < EQUAL < UNEVEN < expected:
        return []
    return [finding("normalised", f"all patterns have one total intensity; it should vary by {expected:.1%}")]


def _named(verdict: Verdict) -> list[Finding]:
    """Put into words what explains the data."""
    before = f"residual {verdict.residual:.3g}" if verdict.residual < np.inf else "now outside the object"
    change = f"{before}, so fixed {verdict.best:.3g}"
    names = " and ".join(suspect.name for suspect in verdict.suspects)
    options = " ".join(suspect.option for suspect in verdict.suspects)
    code = "+".join(suspect.code for suspect in verdict.suspects)
    if verdict.suspects and verdict.certainty == "certain":
        fix = f"Run `ptycho-study prepare {options}`."
        return [Finding(code, "error", f"{names}: explains the data ({change})", fix)]
    if verdict.suspects:
        message = f"perhaps {names}: {verdict.better:.0%} of the patterns fit better, none well ({change})"
        fix = f"Compare with `ptycho-study check {options}`; something else is wrong, too."
        return [Finding(code, "warning", message, fix)]
    if not verdict.object_helps:
        message = f"a uniform object explains the patterns as well (residual {verdict.residual:.2f})"
        return [finding("object-unrelated", message)]
    if HIGH_RESIDUAL + verdict.noise < verdict.residual < np.inf:
        message = f"object and probe do not explain the patterns (residual {verdict.residual:.2f})"
        return [finding("high-residual", message)]
    return []


def _undecided(verdict: Verdict) -> list[Finding]:
    """Say what these data cannot tell."""
    if not verdict.rivals:
        return []
    names = ", ".join(f"{rival.name} (`{rival.option}`)" for rival in verdict.rivals)
    subject = "the fixed file" if verdict.suspects else "the file as it stands"
    return [finding("undecided", f"these data cannot tell {subject} from: {names}")]
