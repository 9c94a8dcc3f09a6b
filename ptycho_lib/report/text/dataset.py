"""What notebooks say about a dataset: problems found, values measured, how the file was prepared."""

from __future__ import annotations

from ptycho_lib.data.check.file import CheckReport
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.report.text.html_elements import bullets, definitions, escape, finding, paragraph, strong

MARKS = {"error": "✗ error", "warning": "! warning", "note": "note"}


def findings(report: CheckReport) -> str:
    """Return what `check` found, errors first, each with its fix, and the numbers that it measured."""
    items = [finding(MARKS[one.severity], one.code, one.message, one.fix) for one in report.findings]
    wrong = any(one.severity != "note" for one in report.findings)
    result = "" if wrong else paragraph(strong("✓ nothing wrong found"))
    return result + bullets(items) + definitions(report.numbers)


def steps(dataset: PtychoDataset) -> str:
    """Return the steps that made a dataset, as its file records them."""
    return bullets(map(escape, dataset.history)) or paragraph("The file records no preparation.")
