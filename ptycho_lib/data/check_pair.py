"""Whether a training and a test file belong together, and the test is really unseen."""

from __future__ import annotations

import hashlib

import numpy as np

from ptycho_lib.data.check import Finding
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.stack import blocks
from ptycho_lib.physics.scan import window_union

SIMILAR_PROBE = 0.9
"""Below this correlation of the probes the test is out of distribution."""


def check_pair(train: PtychoDataset, test: PtychoDataset) -> tuple[Finding, ...]:
    """Return what speaks against comparing models trained on one file by the other."""
    findings: list[Finding] = []
    if train.patch_size != test.patch_size:
        message = f"patterns of {train.patch_size} and {test.patch_size} pixels"
        findings.append(
            Finding("pair-size", "error", message, "Prepare both with the same `--crop` and `--bin`.")
        )
        return tuple(findings)
    similarity = probe_similarity(train.probe, test.probe)
    if similarity < SIMILAR_PROBE:
        message = f"the probes differ (correlation {similarity:.2f})"
        mend = "Fine for a transfer study; otherwise prepare both from one reconstruction."
        findings.append(Finding("pair-probe", "warning", message, mend))
    if train.photons_per_pattern and test.photons_per_pattern:
        ratio = train.photons_per_pattern / test.photons_per_pattern
        if not 0.5 < ratio < 2:
            message = f"photons per pattern differ by a factor of {max(ratio, 1 / ratio):.3g}"
            findings.append(Finding("pair-photons", "warning", message, "Fine for a dose study."))
    findings += _leakage(train, test)
    return tuple(findings)


def probe_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return |⟨P, Q⟩| / (|P|·|Q|) in [0, 1]: 1 if equal up to a complex factor."""
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.abs(np.vdot(first, second)) / norm) if norm else 0.0


def _leakage(train: PtychoDataset, test: PtychoDataset) -> list[Finding]:
    findings = []
    shared = len(_digests(train) & _digests(test))
    if shared:
        message = f"{shared} patterns are in both files"
        findings.append(
            Finding("pair-leak-patterns", "error", message, "Split the scan with `ptycho-study prepare`.")
        )
    if train.obj.shape == test.obj.shape and np.allclose(train.obj, test.obj, atol=1e-6):
        allowed = np.ones(test.obj.shape, bool) if test.coverage is None else test.coverage
        seen = window_union(train.positions_px, train.patch_size, test.obj.shape)
        share = float((allowed & seen).sum() / max(1, allowed.sum()))
        if share > 0:
            message = f"{share:.0%} of the test's comparison area was seen in training"
            mend = (
                "Split with `ptycho-study prepare`: it takes the training windows out of the test's coverage."
            )
            findings.append(Finding("pair-leak-area", "error", message, mend))
    return findings


def _digests(dataset: PtychoDataset) -> set[bytes]:
    return {
        hashlib.blake2b(np.ascontiguousarray(pattern).tobytes(), digest_size=16).digest()
        for _, block in blocks(dataset.diffraction)
        for pattern in block
    }
