"""Join the runs of a study into one tidy table; nothing is computed here, nothing is left out.

The table is the concatenation of the complete runs' `comparison_metrics.csv`. How every planned run ended is
kept beside it, so that a statistic can report how many values are missing, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptycho_lib.config import NOMINAL
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.metrics_table import COLLAPSE_CONTRAST, COLUMNS
from ptycho_lib.study.folder.manifest import MANIFEST, read_manifest
from ptycho_lib.study.folder.record import METRICS, RECORD, CorruptRecordError, RunRecord, read_record
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.folder.status import State, content_status, record_damage

AGGREGATED = "aggregated_metrics.csv"
TEXT_COLUMNS = (
    "model",
    "condition",
    "component",
    "alignment",
    "metric",
    "reason",
    "run",
    "leakage",
    "reference",
)
FLAGS = ("shift_capped", "censored")


@dataclass(frozen=True)
class LoadedRun:
    """One run of a study, complete or not.

    Parameters
    ----------
    folder : Path
        Absolute.
    key : RunKey
    state : State
    detail : str
        Why it is not complete; empty if it is.
    record : RunRecord or None
        Of a complete run.
    models : tuple of str
        What it compares.
    """

    folder: Path
    key: RunKey
    state: State
    detail: str = ""
    record: RunRecord | None = None
    models: tuple[str, ...] = ()

    @property
    def n_train(self) -> int:
        """Number of training patterns; 0 where nothing is trained."""
        return self.key.n_train

    @property
    def trial(self) -> int:
        """Number of the trial, from 1."""
        return self.key.trial


def load_runs(out_dir: str | Path) -> list[LoadedRun]:
    """Return the runs of a study in the order of size and trial.

    With a `study.yaml` these are the planned runs, judged against the plan that made them: code that has
    changed since does not empty the table. Without one, every folder with a valid `run.json` counts.

    Raises
    ------
    InputError
        If `study.yaml` is damaged, or there is no run at all.
    """
    out_dir = Path(out_dir).resolve()
    runs = list(_planned(out_dir) if (out_dir / MANIFEST).is_file() else _found(out_dir))
    if not runs:
        fix = "Give the OUT_DIR of `ptycho-study run`."
        raise InputError(Problem(str(out_dir), "", "no run", "a folder with runs of a study", fix))
    seen: dict[RunKey, LoadedRun] = {}
    for run in runs:
        other = seen.setdefault(run.key, run)
        if other is not run:
            found = f"a second run of {run.key} (the first is {other.folder})"
            fix = "Move one of the two out of the study."
            raise InputError(Problem(str(run.folder), "", found, "each size and trial once", fix))
    return sorted(runs, key=lambda run: run.key.order)


def aggregate(out_dir: str | Path) -> pd.DataFrame:
    """Join the complete runs into one tidy table and write `aggregated_metrics.csv`, atomically.

    Returns
    -------
    DataFrame
        Columns `metrics_table.COLUMNS`; every value of every complete run.

    Raises
    ------
    InputError
        If no run is complete (with one problem for each, saying why), or a table is damaged.
    """
    out_dir = Path(out_dir).resolve()
    table = join_runs(load_runs(out_dir), out_dir)
    write_atomically(out_dir / AGGREGATED, table.to_csv(index=False))
    return table


def join_runs(runs: list[LoadedRun], out_dir: Path) -> pd.DataFrame:
    """Return the tidy table of the complete ones among `runs`; raises as `aggregate` does."""
    complete = [run for run in runs if run.state is State.COMPLETE]
    if not complete:
        fix = "Start or continue the study with `ptycho-study run`."
        raise InputError(
            Problem(
                str(run.folder),
                "",
                f"a {run.state} run ({run.detail or 'not started'})",
                "a complete run",
                fix,
            )
            for run in runs
        )
    tables = [
        read_metrics(run.folder / METRICS).assign(run=run.folder.relative_to(out_dir).as_posix()) for run in complete
    ]
    return pd.concat(tables, ignore_index=True)


def read_metrics(path: Path) -> pd.DataFrame:
    """Read a tidy table, `comparison_metrics.csv` or `aggregated_metrics.csv`, without losing a digit.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a column.
    """
    fix = "Run the study again; it repeats only what is not complete."
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str) | dict.fromkeys(FLAGS, "boolean"))
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or f"text that is not a table ({error})"
        raise InputError(Problem(str(path), "", found, "a tidy table", fix)) from None
    if "reference" not in table:  # a run of an older version
        table["reference"] = ""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        found = f"a table without {', '.join(missing)}"
        raise InputError(Problem(str(path), "", found, f"the columns {', '.join(COLUMNS)}", fix))
    table[list(TEXT_COLUMNS)] = table[list(TEXT_COLUMNS)].fillna("")
    table[list(FLAGS)] = table[list(FLAGS)].fillna(False).astype(bool)
    return table[list(COLUMNS)]


def run_outcomes(runs: list[LoadedRun], table: pd.DataFrame) -> pd.DataFrame:
    """Return how each model of each planned run ended, one row each.

    A model has collapsed if its training said so, if its nominal reconstruction is not finite, or if it
    has less than 5 % of the truth's contrast (`metrics_table.COLLAPSE_CONTRAST`). It stays in every table.

    Parameters
    ----------
    runs : list of LoadedRun
    table : DataFrame
        The tidy table of the runs.

    Returns
    -------
    DataFrame
        Columns n_train, trial, model, state, collapsed (bool), reason.
    """
    flat = _collapsed_reconstructions(table)
    rows = []
    for run in runs:
        for model in run.record.models if run.record else run.models:
            reason = run.detail
            if run.record and run.record.models[model].collapsed:
                reason = run.record.models[model].reason or "the training collapsed"
            elif run.record:
                reason = flat.get((run.n_train, run.trial, model), "")
            collapsed = run.record is not None and bool(reason)
            rows.append((run.n_train, run.trial, model, str(run.state), collapsed, reason))
    return pd.DataFrame(rows, columns=["n_train", "trial", "model", "state", "collapsed", "reason"])


def _collapsed_reconstructions(table: pd.DataFrame) -> dict[tuple[int, int, str], str]:
    """Return, by n_train, trial and model, why the nominal reconstruction counts as collapsed."""
    nominal = table[table["condition"] == NOMINAL]
    found = {}
    # Raw or aligned: alignment fits the truth's ramp to a constant, too, and a ramp has contrast.
    for row in nominal[nominal["metric"].isin(["contrast", "e0"])].itertuples():
        key = (row.n_train, row.trial, row.model)
        if row.metric == "contrast" and row.value < COLLAPSE_CONTRAST:
            found[key] = f"the reconstruction has {row.value:.1%} of the truth's contrast"
        elif row.metric == "e0" and pd.isna(row.value):
            found[key] = row.reason or "the reconstruction cannot be compared"
    return found


def _planned(out_dir: Path) -> Iterator[LoadedRun]:
    for planned in read_manifest(out_dir).runs(out_dir):
        status = content_status(planned, by_record=True)
        record = read_record(planned.folder) if status.state is State.COMPLETE else None
        detail = "" if record else status.detail
        yield LoadedRun(planned.folder, planned.key, status.state, detail, record, planned.models)


def _found(out_dir: Path) -> Iterator[LoadedRun]:
    for path in (*out_dir.glob(f"*/{RECORD}"), *out_dir.glob(f"*/*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except CorruptRecordError as error:
            # Without record and plan nobody knows which size this was to be.
            raise InputError(
                Problem(str(path), "", str(error), "the record of a run", "Repeat the run, or remove its folder.")
            ) from None
        if record is not None:
            damage = record_damage(path.parent, record)
            state = State.FAILED if damage else State.COMPLETE
            yield LoadedRun(path.parent, record.key, state, damage, None if damage else record, tuple(record.models))
