"""Runs become tables: every value of every complete run, however it ended, and a note of the others."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from ptycho_lib.errors import InputError
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.folder.manifest import MANIFEST
from ptycho_lib.study.folder.record import METRICS, RECORD, RunIdentity
from ptycho_lib.study.folder.status import State
from ptycho_lib.study.results.aggregate import (
    AGGREGATED,
    aggregate,
    load_runs,
    read_metrics,
    run_outcomes,
)
from ptycho_lib.study.results.tables import (
    DIFFERENCES,
    LEARNING_CURVES,
    MATCHED_SIZES,
    OUTCOMES,
    SUMMARY,
    compute_tables,
    write_study_tables,
)
from tests.support.report_examples import FinishedStudy


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory):
    study = FinishedStudy(tmp_path_factory.mktemp("aggregate"), sizes=(4, 8), trials=3)
    return study.finish(collapse=(4, 2), skip=(8, 3))


def test_the_table_is_the_runs_put_together(out_dir):
    table = aggregate(out_dir)
    assert tuple(table.columns) == COLUMNS
    assert len(load_runs(out_dir)) == 6
    tables = [read_metrics(path) for path in sorted(out_dir.rglob(METRICS))]
    assert len(tables) == 5
    assert len(table) == sum(map(len, tables))
    assert table["run"].nunique() == 5
    own = table[table["run"] == "n_train_8"].drop(columns="run").reset_index(drop=True)
    run = read_metrics(out_dir / "n_train_8" / METRICS).drop(columns="run")
    pd.testing.assert_frame_equal(own, run, check_exact=True)


def test_the_written_table_reads_back_without_losing_a_digit(out_dir):
    table = aggregate(out_dir)
    pd.testing.assert_frame_equal(read_metrics(out_dir / AGGREGATED), table, check_exact=True)


def test_a_collapsed_trial_stays_and_is_counted(out_dir):
    tables = compute_tables(out_dir)
    collapsed = tables.outcomes.query("collapsed")
    assert collapsed[["n_train", "trial", "model"]].to_numpy().tolist() == [[4, 2, "baseline"]]
    assert collapsed["reason"].item() == "the loss became NaN"
    there = tables.table.query("n_train == 4 and trial == 2 and model == 'baseline'")
    assert len(there) > 20
    summary = tables.summary.query("n_train == 4 and model == 'baseline' and alignment == 'raw'")
    row = summary.query("component == 'complex' and metric == 'mae'")
    assert row[["n", "n_collapsed", "n_failed"]].to_numpy().tolist() == [[3, 1, 0]]


def test_a_run_that_is_missing_is_counted_not_forgotten(out_dir):
    tables = compute_tables(out_dir)
    missing = tables.outcomes.query("state != 'complete'")
    assert missing[["n_train", "trial", "model"]].to_numpy().tolist() == [[8, 3, "pinn"], [8, 3, "baseline"]]
    assert not missing["collapsed"].any()
    assert (tables.summary.query("n_train == 8")["n_failed"] == 1).all()
    assert (tables.summary.query("n_train == 4")["n_failed"] == 0).all()


def test_a_flat_reconstruction_has_collapsed_even_if_its_training_noticed_nothing(out_dir):
    runs = load_runs(out_dir)
    table = aggregate(out_dir)
    flat = (table["trial"] == 1) & (table["n_train"] == 4) & (table["model"] == "pinn")
    table.loc[flat & (table["metric"] == "contrast"), "value"] = 0.031
    row = run_outcomes(runs, table).query("n_train == 4 and trial == 1 and model == 'pinn'")
    assert row["collapsed"].item()
    assert row["reason"].item() == "the reconstruction has 3.1% of the truth's contrast"
    table.loc[flat & (table["metric"] == "e0"), ["value", "reason"]] = [np.nan, "the estimate is not finite"]
    row = run_outcomes(runs, table).query("n_train == 4 and trial == 1 and model == 'pinn'")
    assert row["collapsed"].item()


def test_every_table_is_written_beside_the_runs(out_dir):
    tables = write_study_tables(out_dir)
    for name in (AGGREGATED, OUTCOMES, SUMMARY, DIFFERENCES, MATCHED_SIZES, LEARNING_CURVES):
        assert len(pd.read_csv(out_dir / name)) > 0, name
    assert set(tables.differences["n"]) <= {0, 1, 2, 3}
    assert tables.headline().endswith(".")
    assert set(tables.matched_sizes["n_train"]) == {4, 8}


def test_a_study_without_a_manifest_is_what_its_folders_hold(out_dir, tmp_path):
    for number, name in enumerate(("n_train_4", "n_train_8")):
        target = tmp_path / f"by_hand_{number}"
        target.mkdir()
        for file in (METRICS, RECORD):
            (target / file).write_bytes((out_dir / name / file).read_bytes())
    table = aggregate(tmp_path)
    assert sorted(table["n_train"].unique()) == [4, 8]
    assert sorted(table["run"].unique()) == ["by_hand_0", "by_hand_1"]


def test_the_same_run_twice_is_refused(out_dir, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in (METRICS, RECORD):
            (tmp_path / name / file).write_bytes((out_dir / "n_train_4" / file).read_bytes())
    with pytest.raises(InputError, match="n_train 4, trial 1"):
        aggregate(tmp_path)


def test_runs_of_changed_code_still_make_the_table_of_their_plan(out_dir, monkeypatch):
    monkeypatch.setattr("ptycho_lib.study.folder.manifest.code_fingerprints", lambda *_: {"trained": "changed"})
    assert sum(run.state is State.COMPLETE for run in load_runs(out_dir)) == 5


def forget(path, key):
    """Take a setting out of a file, as if it had been written before there was one."""
    content = yaml.safe_load(path.read_text())
    content["config"]["evaluation"].pop(key)
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))


def test_a_setting_that_came_later_does_not_empty_the_table_of_an_old_study(tmp_path):
    study = FinishedStudy(tmp_path, sizes=(4, 8))
    out_dir = study.finish()
    for record in out_dir.rglob(RECORD):
        forget(record, "correct_phase_drift")
        content = json.loads(record.read_text())
        content["identity"]["fingerprints"]["config"] = "of an older version"
        content["fingerprint"] = RunIdentity.model_validate(content["identity"]).fingerprint()
        record.write_text(json.dumps(content))
    assert {run.state for run in load_runs(out_dir)} == {State.STALE}  # study.yaml asks for it
    forget(out_dir / MANIFEST, "correct_phase_drift")
    assert {run.state for run in load_runs(out_dir)} == {State.COMPLETE}
    assert len(aggregate(out_dir)) > 0
    forget(out_dir / MANIFEST, "max_shift_px")  # known to the runs, with the default of today
    assert {run.state for run in load_runs(out_dir)} == {State.COMPLETE}


def test_nothing_complete_names_every_run(tmp_path):
    study = FinishedStudy(tmp_path, sizes=(4, 8))
    with pytest.raises(InputError) as error:
        aggregate(study.folder)
    assert len(error.value.problems) == 2
    assert "a complete run" in str(error.value)


def test_an_empty_folder_is_no_study(tmp_path):
    with pytest.raises(InputError, match="no run"):
        aggregate(tmp_path)


def test_damaged_tables_are_named(out_dir, tmp_path):
    path = tmp_path / METRICS
    with pytest.raises(InputError, match="No such file"):
        read_metrics(path)
    path.write_text("")
    with pytest.raises(InputError, match="not a table"):
        read_metrics(path)
    pd.DataFrame({"n_train": [1]}).to_csv(path)
    with pytest.raises(InputError, match="without n_groups, trial"):
        read_metrics(path)


def test_a_damaged_record_without_a_plan_is_not_passed_over(out_dir, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match="not valid"):
        load_runs(tmp_path)
    assert (out_dir / MANIFEST).exists()
