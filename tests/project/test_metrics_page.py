"""The pages on metrics, statistics and tables are complete: every metric, every column, every table."""

from pathlib import Path

import pytest

from ptycho_lib.metrics_table import COLUMNS, METRICS
from ptycho_lib.study.results import tables
from ptycho_lib.study.results.costs import COST_COLUMNS
from ptycho_lib.study.results.statistics import KEYS, summarize
from tests.study.results.test_statistics import tidy

PAGES = ("explanation/metrics.md", "explanation/statistics.md", "reference/tables.md")
TEXT = "\n".join((Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8") for page in PAGES)


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
        tables.AGGREGATED,
        tables.SUMMARY,
        tables.DIFFERENCES,
        tables.MATCHED_SIZES,
        tables.LEARNING_CURVES,
        tables.GAPS,
        tables.OUTCOMES,
        tables.COSTS,
    )
    assert [name for name in files if name not in TEXT] == []
