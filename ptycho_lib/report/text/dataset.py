"""What notebooks say about a dataset: what is wrong with it, what was measured, how it was prepared."""

from __future__ import annotations

from ptycho_lib.data.check.file import CheckReport
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.report.text.html_elements import bullets, definitions, escape, paragraph

MARKS = {"error": "✗ error", "warning": "! warning", "note": "note"}


def findings(report: CheckReport) -> str:
    """Return what `check` found, errors first, each with what to do, and the numbers it measured."""
    items = [
        f"<strong>{MARKS[finding.severity]}</strong> ({escape(finding.code)}): {escape(finding.message)}. "
        f"{escape(finding.fix)}"
        for finding in report.findings
    ]
    wrong = any(finding.severity != "note" for finding in report.findings)
    verdict = "" if wrong else paragraph("<strong>✓ nothing wrong found</strong>")
    return verdict + bullets(items) + definitions(report.numbers)


def steps(dataset: PtychoDataset) -> str:
    """Return the steps that made a dataset, as its file records them."""
    return bullets(map(escape, dataset.history)) or paragraph("The file records no preparation.")
