"""Whether a training and a test file belong together, and the test is really unseen."""

from __future__ import annotations

import numpy as np

from ptycho_lib.data.check.findings import Finding
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.leakage import find_leakage
from ptycho_lib.data.reprojection import spread_indices
from ptycho_lib.io.lazy_stack import read_patterns

SIMILAR_PROBE = 0.9
"""Below this correlation of the probes the test is out of distribution."""


def check_pair(train: PtychoDataset, test: PtychoDataset) -> tuple[Finding, ...]:
    """Return what speaks against comparing models trained on one file by the other."""
    findings: list[Finding] = []
    if train.patch_size != test.patch_size:
        message = f"patterns of {train.patch_size} and {test.patch_size} pixels"
        findings.append(Finding("pair-size", "error", message, "Prepare both with the same `--crop` and `--bin`."))
        return tuple(findings)
    similarity = probe_similarity(train.probe, test.probe)
    if similarity < SIMILAR_PROBE:
        message = f"the probes differ (correlation {similarity:.2f})"
        fix = "Fine for a transfer study; otherwise prepare both from one reconstruction."
        findings.append(Finding("pair-probe", "warning", message, fix))
    if train.photons_per_pattern and test.photons_per_pattern:
        ratio = train.photons_per_pattern / test.photons_per_pattern
        if not 0.5 < ratio < 2:
            message = f"photons per pattern differ by a factor of {max(ratio, 1 / ratio):.3g}"
            findings.append(Finding("pair-photons", "warning", message, "Fine for a dose study."))
    brightness = _mean_intensity(train) / max(_mean_intensity(test), 1e-300)
    if not 0.5 < brightness < 2:
        message = f"mean Σ diffraction² differs by a factor of {max(brightness, 1 / brightness):.3g}"
        fix = "Fine if the exposure changed; otherwise one file holds another unit or normalisation."
        findings.append(Finding("pair-scale", "warning", message, fix))
    findings += _leakage(train, test)
    return tuple(findings)


def probe_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return |⟨P, Q⟩| / (|P|·|Q|) in [0, 1]: 1 if equal up to a complex factor."""
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.abs(np.vdot(first, second)) / norm) if norm else 0.0


def _leakage(train: PtychoDataset, test: PtychoDataset) -> list[Finding]:
    leakage = find_leakage(train, test)
    split = "Split the scan with `ptycho-study prepare`: it keeps training windows out of the test's coverage."
    findings = []
    if leakage.shared_patterns:
        message = f"{leakage.shared_patterns} test patterns are also in the training file"
        findings.append(Finding("pair-leak-patterns", "error", message, split))
    if leakage.shared_positions:
        message = f"{leakage.shared_positions} test positions were also measured in training"
        findings.append(Finding("pair-leak-positions", "error", message, split))
    if leakage.seen_fraction:
        message = f"{leakage.seen_fraction:.0%} of the test's comparison area was seen in training"
        findings.append(Finding("pair-leak-area", "error", message, split))
    if not leakage.same_object:
        message = "training and test belong to different objects"
        findings.append(Finding("pair-object", "note", message, "Right for a held-out object, else the wrong file."))
    return findings


def _mean_intensity(dataset: PtychoDataset) -> float:
    sample = read_patterns(dataset.diffraction, spread_indices(len(dataset), 64))
    return float(np.square(sample, dtype=np.float64).sum() / len(sample))
