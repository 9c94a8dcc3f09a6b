"""Findings: what `check` can say of a file; docs/reference/check.md explains each code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}

CATALOGUE: dict[str, tuple[Severity, str]] = {
    "bad-pixels": ("warning", "Run `ptycho-study prepare --bad-pixels mask`."),
    "dead-area": ("warning", "Run `ptycho-study prepare --bad-pixels mask`: nothing was measured there."),
    "beam-stop": ("warning", "Run `ptycho-study prepare --bad-pixels mask`: the direct beam was not measured."),
    "masked-pixels": ("note", "They enter no loss; `ptycho-study prepare --bad-pixels repair` fills them instead."),
    "saturated": ("warning", "Attenuate the beam, or mask those pixels."),
    "overflow": ("error", "Export the counts again in an integer type that holds them, uint32 for instance."),
    "background": (
        "warning",
        "Run `ptycho-study prepare --subtract-dark COUNTS`.",
    ),
    "spread-counts": ("warning", "Run `ptycho-study prepare --counts-per-photon COUNTS`."),
    "outlier-pixels": ("warning", "Run `ptycho-study prepare --bad-pixels repair`."),
    "outlier-frames": ("warning", "Run `ptycho-study prepare --drop-bad-patterns`."),
    "beam-drift": ("warning", "Divide the counts by the beam monitor, or leave the late frames out."),
    "duplicate-patterns": ("warning", "Run `ptycho-study prepare --drop-bad-patterns`: copies leak between splits."),
    "duplicate-positions": ("warning", "Repeated exposures are fine; a stuck stage is not."),
    "position-errors": (
        "warning",
        "Refine the positions with the reconstruction program, and bring the refined ones.",
    ),
    "line-offsets": (
        "warning",
        "Backlash, or lost triggers of a fly scan: bring the encoder's positions, or refined ones.",
    ),
    "normalised": (
        "warning",
        "Export them without normalising: the model needs bright and dark patterns on one scale.",
    ),
    "patches-illuminated": ("error", "Run `ptycho-study prepare --patches`: it cuts them from the object anew."),
    "patches-differ": (
        "warning",
        "Run `ptycho-study prepare --patches`, which cuts them from the object, or fix the object.",
    ),
    "one-pattern": ("warning", "Give a scan."),
    "low-overlap": ("warning", "Stitching needs overlap; scan more densely."),
    "high-residual": (
        "warning",
        "No orientation, shift, rotation, scale or frame order does better: are object, probe and positions of one "
        "reconstruction? Background, or further probe modes, raise the residual, too.",
    ),
    "excess-residual": ("note", "Further probe modes, background or errors of the positions leave as much."),
    "object-unrelated": (
        "warning",
        "Give the object of this scan, and the probe of the same reconstruction; nothing else can be decided without.",
    ),
    "undecided": ("note", "Object or probe is too even, or the dose too low: make sure by other means."),
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
    options : dict
        Options of `prepare` that correct it, if there are any and it is certain.
    """

    code: str
    severity: Severity
    message: str
    fix: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def finding(code: str, message: str, options: dict[str, Any] | None = None, *, fix: str = "") -> Finding:
    """Return a finding of the catalogue.

    Parameters
    ----------
    code : str
    message : str
    options : dict, optional
        As in Finding.
    fix : str
        In place of the catalogue's.

    Returns
    -------
    Finding
    """
    severity, usual = CATALOGUE[code]
    return Finding(code, severity, message, fix or usual, options or {})
