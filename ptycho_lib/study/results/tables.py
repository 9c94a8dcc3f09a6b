"""Everything that a finished study lets us say, computed once and written beside its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.io.files import write_atomically
from ptycho_lib.study.results.aggregate import AGGREGATED, join_runs, load_runs, run_outcomes
from ptycho_lib.study.results.costs import COSTS, collect_costs
from ptycho_lib.study.results.matched_size import headline, matched_sizes
from ptycho_lib.study.results.statistics import paired_differences, summarize

OUTCOMES = "run_outcomes.csv"
SUMMARY = "study_summary.csv"
DIFFERENCES = "paired_differences.csv"
MATCHED_SIZES = "matched_sizes.csv"


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The tables of a study.

    Parameters
    ----------
    table : DataFrame
        Every value of every complete run (`aggregate.aggregate`).
    outcomes : DataFrame
        How each model of each planned run ended (`aggregate.run_outcomes`).
    summary : DataFrame
        Trials summed up (`statistics.summarize`).
    differences : DataFrame
        PtychoPINN - baseline by trial (`statistics.paired_differences`); empty without both models.
    matched_sizes : DataFrame
        Which size the baseline needs for what PtychoPINN reaches, on the unchanged test set
        (`matched_size.matched_sizes`); likewise.
    costs : DataFrame
        Time and memory of every reconstruction (`results.costs.collect_costs`).
    """

    table: pd.DataFrame
    outcomes: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    matched_sizes: pd.DataFrame
    costs: pd.DataFrame

    def headline(self, *, metric: str = "ssim", component: str = "phase", alignment: str = "aligned") -> str:
        """Return the study's answer in one sentence (`crossing.headline`)."""
        return headline(self.table, metric=metric, component=component, alignment=alignment)


def compute_tables(out_dir: str | Path) -> StudyTables:
    """Compute the tables of a study from its runs; nothing is written.

    Raises
    ------
    InputError
        If no run is complete, or a file of the study is damaged.
    """
    out_dir = Path(out_dir).resolve()
    runs = load_runs(out_dir)
    table = join_runs(runs, out_dir)
    outcomes = run_outcomes(runs, table)
    return StudyTables(
        table=table,
        outcomes=outcomes,
        summary=summarize(table, outcomes),
        differences=paired_differences(table),
        matched_sizes=matched_sizes(table[table["condition"] == NOMINAL]),
        costs=collect_costs((run.folder.relative_to(out_dir).as_posix(), run.record) for run in runs if run.record),
    )


def write_study_tables(out_dir: str | Path, tables: StudyTables | None = None) -> StudyTables:
    """Write the tables of a study as CSV files, each atomically; they are computed if not given."""
    out_dir = Path(out_dir).resolve()
    tables = tables or compute_tables(out_dir)
    for name, table in by_file_name(tables).items():
        write_atomically(out_dir / name, table.to_csv(index=False))
    return tables


def by_file_name(tables: StudyTables) -> dict[str, pd.DataFrame]:
    """Return the tables by file name."""
    return {
        AGGREGATED: tables.table,
        OUTCOMES: tables.outcomes,
        SUMMARY: tables.summary,
        DIFFERENCES: tables.differences,
        MATCHED_SIZES: tables.matched_sizes,
        COSTS: tables.costs,
    }
