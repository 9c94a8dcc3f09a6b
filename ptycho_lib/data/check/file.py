"""What is wrong with a file, and how to fix it: the contract, then the numbers, then physics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_lib.data.bad_pixels import bad_pixels
from ptycho_lib.data.check.conventions import command
from ptycho_lib.data.check.count_noise import diagnose_counts
from ptycho_lib.data.check.diagnosis import EXPLAINED, NEARLY, Diagnosis
from ptycho_lib.data.check.findings import ORDER, Finding, finding
from ptycho_lib.data.check.measurements import (
    Numbers,
    count_patterns,
    inspect_patches,
    inspect_patterns,
    inspect_scan,
    rounded,
    size_numbers,
)
from ptycho_lib.data.check.sample import DOUBT, FEW, Sample, fit, lead
from ptycho_lib.data.check.values import background, equalised, outlying_values, wrapped, wrapped_unsigned
from ptycho_lib.data.contract import validate
from ptycho_lib.data.dataset import OWN_REFERENCE, PtychoDataset, check_dataset
from ptycho_lib.data.frames import FrameLight, frame_light
from ptycho_lib.data.options import ReadOptions, parse_options
from ptycho_lib.data.readers import read_file, read_parts
from ptycho_lib.data.readers.convert import complete
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.lazy_stack import Array, read_patterns
from ptycho_lib.io.npz import NpzArchive

__all__ = ["CheckReport", "Finding", "check", "check_file", "quick_check"]

SAMPLED_PIXELS = 2**19
"""Pixels of the patterns that are re-projected: 128 patterns of 64 × 64, but never fewer than 24."""
AXIS_UNKNOWN = 512
"""Up to this edge a stack (N, N, N) is read whole, to try its last axis as that of the patterns."""
ECHOES = ("probably intensity", "patches outside the object", "hot detector pixels")
"""Findings that follow from a wrong convention: silent once the convention is named."""
LAST_ECHOES = ("zeros only", "bitwise copies")
"""Further ones where another axis was taken for that of the patterns."""
CORNER_READ = "patterns: DC moved from the corner"
ROOT_READ = "-> amplitude (square root)"
"""Lines of the history that say what is in force already."""


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
        dataset = read_file(path, settings)
    except InputError as error:
        numbers, findings = _measurement_alone(path, settings)
        problems = [_problem_finding("unreadable", problem) for problem in error.problems]
        return CheckReport(str(path), (*problems, *findings), numbers)
    report = check(dataset, in_force=settings)
    if report.ok and (reason := _why_prepare(path)):
        note = finding("needs-prepare", f"studies do not read this file as it is ({reason})")
        return replace(report, findings=(*report.findings, note))
    return report


def check(dataset: PtychoDataset, *, in_force: ReadOptions | None = None) -> CheckReport:
    """Check a dataset that may break the contract.

    Parameters
    ----------
    dataset : PtychoDataset
    in_force : ReadOptions, optional
        With which it was read: what they do is not proposed again.

    Returns
    -------
    CheckReport
    """
    findings = [_problem_finding("contract", problem) for problem in check_dataset(dataset)]
    numbers: Numbers = {}
    if dataset.diffraction.ndim == 3 and len(dataset):
        counted = count_patterns(dataset)
        numbers |= size_numbers(dataset)
        for more, found in (inspect_patterns(dataset, counted), inspect_scan(dataset)):
            numbers |= more
            findings += found
        if dataset.probe.shape[-2:] == dataset.diffraction.shape[1:] and dataset.obj.ndim == 2:
            light = frame_light(dataset, counted.totals)
            bad = np.logical_or(*bad_pixels(dataset, counted.image, len(dataset)))
            sample = _sample(dataset, bad, np.setdiff1d(np.arange(len(dataset)), light.outliers))
            named = {one.code for one in findings}
            more, physics = _physics(dataset, sample, counted.totals, in_force or ReadOptions(), named)
            numbers |= more
            findings = _without_echoes(findings, physics) + inspect_patches(dataset)
    if dataset.mask is not None and not dataset.mask.all():
        share = float((~dataset.mask).mean())
        findings.append(
            finding("masked-pixels", f"{int((~dataset.mask).sum())} detector pixels are masked ({share:.1%})")
        )
    if dataset.reference:
        findings.append(finding("own-reference", f"the object is an {OWN_REFERENCE}"))
    return CheckReport(dataset.source or "dataset", _ordered(findings), numbers, dataset)


def quick_check(dataset: PtychoDataset) -> tuple[Finding, ...]:
    """Return what a sample of the patterns shows of conventions, background and positions, errors first.

    For a study that is about to start: one look at about a hundred patterns, a few seconds. The dataset
    fulfils the contract.

    Parameters
    ----------
    dataset : PtychoDataset

    Returns
    -------
    tuple of Finding
    """
    chosen = spread_indices(len(dataset), max(24, SAMPLED_PIXELS // dataset.patch_size**2))
    some = dataset.select(chosen)
    counts = np.square(np.asarray(read_patterns(some.diffraction, np.arange(len(some)))), dtype=np.float64)
    totals = counts.sum(axis=(1, 2))
    bad = np.logical_or(*bad_pixels(some, counts.sum(axis=0), len(some)))
    good = np.setdiff1d(np.arange(len(some)), frame_light(some, totals).outliers)
    sample = _sample(dataset, bad, chosen[good])
    _, findings = _physics(some, sample, totals, ReadOptions(), set())
    return _ordered(findings)


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda found: ORDER[found.severity]))


def _measurement_alone(path: str | Path, settings: ReadOptions) -> tuple[Numbers, list[Finding]]:
    """Inspect what a file without object, or without probe, holds: patterns, and positions if it has a probe.

    Nothing if it does not hold both patterns and positions, or if these cannot be read.
    """
    try:
        raw = read_parts(path, settings)
        if raw.positions is None or np.ndim(raw.positions) == 0 or len(np.shape(raw.patterns)) != 3:
            return {}, []
        size = raw.patterns.shape[-1]
        probe = np.ones((size, size), np.complex64) if raw.probe is None else raw.probe
        dataset = complete(replace(raw, obj=np.ones((size, size), np.complex64), probe=probe), settings)
        numbers = size_numbers(dataset)
        del numbers["object size (px)"]
        more, findings = inspect_patterns(dataset, count_patterns(dataset))
        numbers |= more
        if raw.probe is not None:
            more, found = inspect_scan(dataset)
            return numbers | more, findings + found
        return numbers, findings
    except InputError:
        return {}, []


def _problem_finding(code: str, problem: Problem) -> Finding:
    message = f"{problem.key or 'file'}: found {problem.found}; expected {problem.expected}"
    return Finding(code, "error", message, problem.fix)


def _without_echoes(findings: list[Finding], physics: list[Finding]) -> list[Finding]:
    explained = any(found.severity == "error" for found in physics)
    echoes = (*ECHOES, *LAST_ECHOES) if any("patterns-last" in found.code for found in physics) else ECHOES
    if any(found.code == "overflow" for found in physics):
        echoes = (*echoes, "negative values", "largest count of a detector")
    kept = [found for found in findings if not any(echo in found.message for echo in echoes)]
    return physics + (kept if explained else findings)


def _why_prepare(path: str | Path) -> str:
    """Return why studies cannot read the file as it is, whatever `prepare` makes of it; empty if they can."""
    try:
        _, problems = validate(NpzArchive(path))
    except InputError as error:
        problems = list(error.problems)
    return "; ".join(": ".join(filter(None, (problem.key, problem.found))) for problem in problems)


def _physics(
    dataset: PtychoDataset, sample: Sample | None, totals: Array, in_force: ReadOptions, named: set[str]
) -> tuple[Numbers, list[Finding]]:
    """Re-project the object through the probe; search for the conventions that explain the patterns."""
    if sample is None:
        return {}, []
    if found := wrapped(sample):
        return {}, found
    result, found = diagnose_counts(sample, in_force.counts_per_photon)
    numbers: Numbers = {
        "re-projection residual": rounded(result.as_is.residual),
        "residual from photon noise": rounded(result.noise, 2),
        "residual of a uniform object": rounded(result.uniform, 2),
    }
    findings = [*_named(result, sample, in_force, dataset), *found]
    findings += [*equalised(sample), *outlying_values(result.sample)]
    if np.isfinite(result.best.residual):
        placed = dataset
        if result.hypothesis is not None and len(result.sample.scan_px) == len(dataset):
            placed = replace(dataset, positions_px=result.sample.scan_px)
        findings += _frame_findings(frame_light(placed, totals)) + background(result)
        if result.unexplained > EXPLAINED:
            findings += wrapped_unsigned(sample)
    findings += _remaining(result, named | {one.code for one in findings})
    return numbers, findings


def _sample(dataset: PtychoDataset, bad: Array, able: Array) -> Sample | None:
    """Return patterns spread over the scan, without bad ones; None if nothing can be predicted.

    Parameters
    ----------
    dataset : PtychoDataset
    bad : (N, N) bool array
        Dead and hot pixels, which do not count.
    able : (k,) int array
        Patterns that may be taken.
    """
    size = dataset.patch_size
    if not len(able) or dataset.diffraction.shape[-2] != size or size % 2:
        return None
    chosen = able[spread_indices(len(able), max(24, SAMPLED_PIXELS // size**2))]
    measured = np.asarray(read_patterns(dataset.diffraction, chosen), dtype=np.float64)
    good = np.isfinite(measured).all(axis=(1, 2)) & measured.any(axis=(1, 2))
    finite = np.isfinite(dataset.obj).all() and dataset.obj.any() and np.isfinite(dataset.positions_px).all()
    if not good.any() or not finite or not np.isfinite(dataset.probe).all() or not dataset.probe.any():
        return None
    mask = ~bad if dataset.mask is None else dataset.mask & ~bad
    axis_last = None
    if len(dataset) == size <= AXIS_UNKNOWN and mask.all():
        axis_last = np.moveaxis(np.asarray(dataset.diffraction, dtype=np.float64), -1, 0)[chosen[good]]
    counted = measured[good] if dataset.mask is None else measured[good] * dataset.mask
    kept = np.square(counted * mask).sum() / max(np.square(counted).sum(), 1e-300)
    photons = dataset.photons_per_pattern
    return Sample(
        measured=measured[good] * mask,
        index=chosen[good],
        scan_px=dataset.positions_px,
        probe=dataset.probe_modes,
        obj=dataset.obj,
        mask=None if mask.all() else mask,
        pixel_size_m=dataset.pixel_size_m,
        photons_per_pattern=None if photons is None else photons * float(kept),
        axis_last=axis_last,
        converted=any(line.endswith(ROOT_READ) for line in dataset.history),
    )


def _frame_findings(light: FrameLight) -> list[Finding]:
    """Name frames with another amount of light than predicted, and a drift of the beam."""
    findings = []
    if len(light.outliers):
        ratios = light.ratio[light.outliers]
        expected = "object and probe predict" if light.predicted else "the median"
        message = (
            f"{len(light.outliers)} of {len(light.ratio)} patterns hold {ratios.min():.2g} to {ratios.max():.2g} times "
            f"the light that {expected} (index {', '.join(map(str, light.outliers[:3]))}, …)"
        )
        findings.append(finding("outlier-frames", message, {"drop_bad_patterns": True}))
    if light.drift:
        change = "falls" if light.drift < 0 else "grows"
        findings.append(finding("beam-drift", f"the light {change} by {abs(light.drift):.0%} during the scan"))
    return findings


def _named(result: Diagnosis, sample: Sample, in_force: ReadOptions, dataset: PtychoDataset) -> list[Finding]:
    """Put into words what explains the data."""
    one = result.hypothesis
    if one is None:
        return []
    before = f"residual {result.as_is.residual:.3g}" if result.as_is.residual < np.inf else "now outside the object"
    change = f"{before}, then {result.best.residual:.3g}; photon noise leaves {result.noise:.2g}, "
    change += f"a uniform object {result.uniform:.2g}"
    corner = any(line.startswith(CORNER_READ) for line in dataset.history)
    options = one.options(in_force, sample, dc_corner=corner)
    code = "+".join(one.codes)
    without = [f"`--{name.replace('_', '-')}`" for name, value in options.items() if value is False]
    how = command(options) + (f"` without {' and '.join(without)}" if without else "`")
    if result.certainty == "certain":
        message = f"{one.named()}: explains the data ({change})"
        return [Finding(code, "error", message, f"Run `ptycho-study prepare {how}.", options)]
    better = float(np.mean(result.best.misfit < result.as_is.misfit))
    message = f"perhaps {one.named()}: {better:.0%} of the patterns fit better, none well ({change})"
    return [Finding(code, "warning", message, f"Compare with `ptycho-study check {how}; something else is wrong, too.")]


def _remaining(result: Diagnosis, named: set[str]) -> list[Finding]:
    """Say what is left unexplained, and what these data cannot decide."""
    state = (
        f"(residual {result.best.residual:.3g}; photon noise leaves {result.noise:.2g}, "
        f"a uniform object {result.uniform:.2g})"
    )
    if result.position_error_px:
        message = f"the positions are off by {result.position_error_px:.2g} px, root mean square {state}"
        if result.line_offsets_px:
            message = message.replace("the positions are", "the lines of the scan, each as a whole, are")
            return [finding("line-offsets", message)]
        return [finding("position-errors", message)]
    if result.hypothesis is not None and result.certainty == "likely":
        return []
    if not _object_helps(result):
        return [finding("object-unrelated", f"a uniform object explains the patterns as well {state}")]
    cause = named & {"background", "overflow", "outlier-pixels", "normalised"}
    if EXPLAINED < result.unexplained < np.inf:
        message = f"object and probe explain the patterns in part only {state}"
        return [] if cause else [finding("high-residual", message)]
    findings = []
    if NEARLY < result.unexplained <= EXPLAINED and not cause:
        message = f"{result.unexplained:.0%} of what the object explains is left beyond photon noise {state}"
        findings.append(finding("excess-residual", message))
    if result.rivals:
        subject = "the corrected file" if result.hypothesis is not None else "the file as it stands"
        names = ", ".join(
            f"{one.named()} (`{command(one.options(ReadOptions(), result.sample))}`)" for one in result.rivals
        )
        findings.append(finding("undecided", f"these data do not distinguish {subject} from: {names}"))
    return findings


def _object_helps(result: Diagnosis) -> bool:
    """Return False if a uniform object explains the patterns as well, though noise leaves something to explain."""
    if not np.isfinite(result.best.residual) or result.unexplained == 0.0 or len(result.best.misfit) < FEW:
        return True
    return lead(fit(result.sample.uniform()), result.best) > DOUBT
