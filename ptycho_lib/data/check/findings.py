"""Findings: what `check` can say of a file; docs/reference/check.md explains each code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}

CATALOGUE: dict[str, tuple[Severity, str]] = {
    "bad-pixels": ("warning", "Run `ptycho-study prepare --bad-pixels repair`."),
    "masked-pixels": (
        "warning",
        "Run `ptycho-study prepare --bad-pixels repair`: the contract holds no mask.",
    ),
    "saturated": ("warning", "Attenuate the beam, or mask those pixels."),
    "duplicate-patterns": (
        "warning",
        "Run `ptycho-study prepare --drop-bad-patterns`: copies leak between splits.",
    ),
    "duplicate-positions": ("warning", "Repeated exposures are fine; a stuck stage is not."),
    "normalised": (
        "warning",
        "Export them without normalising: the model needs bright and dark patterns on one scale.",
    ),
    "patches-illuminated": (
        "error",
        "Run `ptycho-study prepare --patches`: it cuts them from the object anew.",
    ),
    "patches-differ": (
        "warning",
        "Run `ptycho-study prepare --patches`, which cuts them from the object, or fix the object.",
    ),
    "one-pattern": ("warning", "Give a scan."),
    "low-overlap": ("warning", "Stitching needs overlap; scan more densely."),
    "high-residual": (
        "warning",
        "No usual suspect does better: are object, probe and positions of one reconstruction? Background, or "
        "further probe modes, raise it, too.",
    ),
    "object-unrelated": (
        "warning",
        "Is the object of this scan, and the probe of this reconstruction? Nothing else can be told without.",
    ),
    "undecided": (
        "note",
        "Object or probe is too even, or the dose too low: make sure by other means.",
    ),
    "photons-unknown": ("note", "Store `photons_per_pattern`, or train with the amplitude loss."),
    "own-reference": ("note", "Every output that is compared with it says so."),
    "needs-prepare": ("note", "Run `ptycho-study prepare`, with the same options."),
}
"""Severity of a code, and what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing.

    Parameters
    ----------
    code : str
        Stable name, such as ``xy-swapped``.
    severity : {'error', 'warning', 'note'}
        An error makes results wrong; a warning may.
    message : str
    fix : str
        What to do; may be empty for a note.
    """

    code: str
    severity: Severity
    message: str
    fix: str = ""


def finding(code: str, message: str) -> Finding:
    """Return a finding of the catalogue."""
    severity, fix = CATALOGUE[code]
    return Finding(code, severity, message, fix)
