"""docs/metrics.md is complete: every metric, every column of the statistics, links that lead somewhere."""

import re
from pathlib import Path

import pytest

from ptycho_lib.metrics_table import COLUMNS, METRICS
from ptycho_lib.study.results import tables as evidence
from ptycho_lib.study.results.costs import COST_COLUMNS
from ptycho_lib.study.results.statistics import KEYS, summarize
from tests.study.results.test_statistics import tidy

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined(name):
    assert f"`{name}`" in TEXT


def test_every_column_of_the_summary_is_explained():
    columns = set(summarize(tidy([1.0, 2.0, 3.0])).columns) - set(KEYS)
    assert [column for column in sorted(columns) if f"`{column}`" not in TEXT] == []


def test_every_audit_column_is_mentioned():
    audit = set(COLUMNS) & {
        "data_range",
        "phase_rad",
        "amplitude_scale",
        "shift_capped",
        "censored",
        "reason",
        "leakage",
        "reference",
    }
    assert [column for column in sorted(audit) if f"`{column}`" not in TEXT] == []


def test_every_column_of_the_costs_is_explained():
    assert [column for column in COST_COLUMNS if f"`{column}`" not in TEXT] == []


def test_every_table_of_a_study_is_named():
    files = (
        evidence.AGGREGATED,
        evidence.SUMMARY,
        evidence.DIFFERENCES,
        evidence.CROSSINGS,
        evidence.OUTCOMES,
        evidence.COSTS,
    )
    assert [name for name in files if name not in TEXT] == []


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert targets
    for target in targets:
        assert target[1:] in headings if target.startswith("#") else (PAGE.parent / target).exists(), target
