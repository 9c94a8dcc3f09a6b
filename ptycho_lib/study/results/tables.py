"""The tables of a study, computed once from its runs and written beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.io.files import write_atomically
from ptycho_lib.model_names import TRAIN
from ptycho_lib.study.results import answer
from ptycho_lib.study.results.aggregate import AGGREGATED, join_runs, load_runs, run_outcomes
from ptycho_lib.study.results.costs import COSTS, collect_costs
from ptycho_lib.study.results.headline import headline
from ptycho_lib.study.results.learning_curve import LearningCurve, learning_curves, to_table
from ptycho_lib.study.results.matched_size import matched_sizes
from ptycho_lib.study.results.statistics import generalization_gaps, paired_differences, summarize
from ptycho_lib.study.results.target import Target, read_target, write_target

OUTCOMES = "run_outcomes.csv"
SUMMARY = "study_summary.csv"
DIFFERENCES = "paired_differences.csv"
MATCHED_SIZES = "matched_sizes.csv"
LEARNING_CURVES = "learning_curves.csv"
GAPS = "generalization_gap.csv"


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
        Means, intervals and gains (`statistics.summarize`).
    differences : DataFrame
        PtychoPINN - baseline by trial (`statistics.paired_differences`); empty without both models.
    matched_sizes : DataFrame
        With how many patterns one of the two matches the other, on the unchanged test set
        (`matched_size.matched_sizes`); likewise.
    curves : tuple of LearningCurve
        How many patterns each network needs (`learning_curve.learning_curves`).
    gaps : DataFrame
        Training scan against test scan (`statistics.generalization_gaps`); empty without the condition `train`.
    costs : DataFrame
        Time and memory of every reconstruction (`costs.collect_costs`).
    """

    table: pd.DataFrame
    outcomes: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    matched_sizes: pd.DataFrame
    curves: tuple[LearningCurve, ...]
    gaps: pd.DataFrame
    costs: pd.DataFrame

    def headline(self, *, metric: str = "ssim", component: str = "phase", alignment: str = "aligned") -> str:
        """Return the comparison of PtychoPINN with the baseline in one sentence (`headline.headline`)."""
        return headline(self.table, metric=metric, component=component, alignment=alignment)

    def answer(self, *, metric: str = "ssim", component: str = "phase") -> list[str]:
        """Return what the study answers, a sentence each.

        Parameters
        ----------
        metric, component : str
            Which values.

        Returns
        -------
        list of str
            How many patterns each network needs; what reaches the target, if one is set; the comparison of the
            two networks; what training adds to the first guess; the generalization gap.
        """
        chosen = {"metric": metric, "component": component}
        return [
            answer.patterns_needed(self.curves, **chosen),
            *filter(None, [answer.target_reached(self.curves)]),
            self.headline(**chosen),
            *answer.training_gains(self.summary, **chosen),
            *answer.gap_sentences(self.gaps, **chosen),
        ]


def compute_tables(out_dir: str | Path, target: Target | None = None) -> StudyTables:
    """Compute the tables of a study from its runs; nothing is written.

    Parameters
    ----------
    out_dir : path
        Study folder.
    target : Target, optional
        A value to be reached; by default the one kept in the study folder, if any.

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
        curves=tuple(learning_curves(table, outcomes, target=target or read_target(out_dir))),
        gaps=generalization_gaps(table, train=TRAIN, test=NOMINAL),
        costs=collect_costs((run.folder.relative_to(out_dir).as_posix(), run.record) for run in runs if run.record),
    )


def write_study_tables(
    out_dir: str | Path, tables: StudyTables | None = None, target: Target | None = None
) -> StudyTables:
    """Write the tables of a study as CSV files, each atomically.

    Parameters
    ----------
    out_dir : path
        Study folder.
    tables : StudyTables, optional
        Computed if not given.
    target : Target, optional
        A value to be reached; it is kept in the study folder.

    Returns
    -------
    StudyTables

    Raises
    ------
    InputError
        As `compute_tables`.
    """
    out_dir = Path(out_dir).resolve()
    tables = tables or compute_tables(out_dir, target)
    if target:
        write_target(out_dir, target)
    for name, table in by_file_name(tables).items():
        write_atomically(out_dir / name, table.to_csv(index=False))
    return tables


def by_file_name(tables: StudyTables) -> dict[str, pd.DataFrame]:
    """Return the tables by file name; the generalization gap only where it was measured."""
    gaps = {} if tables.gaps.empty else {GAPS: tables.gaps}
    return {
        AGGREGATED: tables.table,
        OUTCOMES: tables.outcomes,
        SUMMARY: tables.summary,
        DIFFERENCES: tables.differences,
        MATCHED_SIZES: tables.matched_sizes,
        LEARNING_CURVES: to_table(tables.curves),
        COSTS: tables.costs,
        **gaps,
    }
