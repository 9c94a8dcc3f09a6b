"""Names of the files that an execution leaves in a run folder."""

from __future__ import annotations

from ptycho_lib.study.folder.locks import EXECUTION

FAILURE = f"{EXECUTION}/failure.json"
USAGE = f"{EXECUTION}/usage.json"
"""Seconds, peak memory and disk of a complete run; `plan` predicts from it."""
