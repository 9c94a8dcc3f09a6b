"""The run folder: opening, finishing, records, identities."""

import gc
import json

import numpy as np
import pandas as pd
import pytest

from ptycho_lib.config import load_config
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.record import (
    CorruptRecordError,
    ModelOutcome,
    changed_settings,
    differences,
    read_record,
)
from ptycho_lib.study.run_session import finish_run, open_run
from ptycho_lib.study.selection import default_n_test
from tests.support.miniature import Miniature, dataset


@pytest.fixture
def study(tmp_path, monkeypatch):
    study = Miniature(tmp_path)
    monkeypatch.setenv("PTYCHO_STUDY_TEMPLATE", str(study.template))
    return study


def metrics():
    row = dict.fromkeys(COLUMNS, "") | {"model": "pinn", "metric": "mae", "value": 0.1}
    return pd.DataFrame([row])


def release(run):
    run.lock.release(force=True)


def test_the_folder_is_locked_as_long_as_the_run_is_held(study):
    run = open_run(study.train, study.test, study.out / "run", 8)
    gc.collect()
    assert locks.is_held(run.output_dir, "kernel")
    again = open_run(study.train, study.test, study.out / "run", 8)
    assert again.identity == run.identity
    release(again)
    assert not locks.is_locked(study.out / "run")


def test_open_and_finish(study):
    run = open_run(study.train, study.test, study.out / "n_train_8", 8)
    assert len(run.train) == 8
    assert run.n_test == len(run.test) == 12
    assert run.progress_file.parent.is_dir()
    assert read_record(run.output_dir) is None
    assert locks.is_locked(run.output_dir)
    record = finish_run(run, metrics(), {"pinn": ModelOutcome(seconds=1.0, collapsed=True, reason="flat")})
    assert not locks.is_locked(run.output_dir)
    assert read_record(run.output_dir) == record
    assert record.models["pinn"].collapsed
    assert record.seeds == run.config.seeds(1)
    table = pd.read_csv(run.output_dir / "comparison_metrics.csv")
    assert list(table.columns) == list(COLUMNS)
    assert table.loc[0, ["n_train", "n_groups", "trial"]].tolist() == [8, 8, 1]


def test_subsets_are_nested_and_the_test_set_is_fixed(study):
    small = open_run(study.train, study.test, study.out / "a", 4, 5, 1)
    large = open_run(study.train, study.test, study.out / "b", 9, 5, 1)
    other = open_run(study.train, study.test, study.out / "c", 9, 5, 2)
    np.testing.assert_array_equal(small.train.positions_px, large.train.positions_px[:4])
    np.testing.assert_array_equal(small.test.positions_px, large.test.positions_px)
    np.testing.assert_array_equal(other.test.positions_px, large.test.positions_px)
    assert not np.array_equal(other.train.positions_px, large.train.positions_px)
    for run in (small, large, other):
        release(run)


def test_counts_that_the_files_cannot_give_are_refused_at_once(study):
    with pytest.raises(InputError) as caught:
        open_run(study.train, study.test, study.out / "a", 21, 13)
    found = {problem.key: problem.found for problem in caught.value.problems}
    assert "21 training patterns" in found["n_train"]
    assert "13 test patterns" in found["n_test"]
    assert not study.out.exists()


def test_default_test_count():
    assert default_n_test(load_config(), 300) == 300
    assert default_n_test(load_config(), 3000) == 500
    assert default_n_test(load_config(n_test_images=200), 3000) == 200


def test_a_run_without_numbers_is_not_complete(study):
    run = open_run(study.train, study.test, study.out / "n_train_8", 8)
    with pytest.raises(ValueError, match="no metric"):
        finish_run(run, metrics().iloc[:0], {})
    with pytest.raises(ValueError, match="lack the columns"):
        finish_run(run, metrics().drop(columns="value"), {})
    assert read_record(run.output_dir) is None
    release(run)


def test_results_of_another_identity_are_removed_and_those_of_the_same_stay(study):
    folder = study.out / "run"
    keep = folder / "pinn_run" / "training_state.npz"
    for n_train, survives in ((8, False), (8, True), (4, False)):
        run = open_run(study.train, study.test, folder, n_train)
        assert keep.exists() is survives
        keep.parent.mkdir(exist_ok=True)
        keep.write_text("half a training")
        (folder / "notes.txt").write_text("somebody's own file")
        release(run)
    assert (folder / "notes.txt").exists()


def test_opening_takes_the_record_away(study):
    run = open_run(study.train, study.test, study.out / "run", 8)
    finish_run(run, metrics(), {})
    release(open_run(study.train, study.test, study.out / "run", 8))
    assert read_record(study.out / "run") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not valid"),
        ('{"format": 1}', "fingerprint: Field required"),
        ("\xff\xfe", "not valid"),
    ],
)
def test_corrupt_records_are_reported(tmp_path, text, expected):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CorruptRecordError, match=expected):
        read_record(tmp_path)


def test_a_record_that_was_edited_is_corrupt(study):
    run = open_run(study.train, study.test, study.out / "run", 8)
    finish_run(run, metrics(), {})
    path = study.out / "run" / "run.json"
    content = json.loads(path.read_text())
    content["identity"]["n_train"] = 9
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptRecordError, match="does not fit its content"):
        read_record(path.parent)


def test_differences_name_what_changed(study):
    first = open_run(study.train, study.test, study.out / "a", 8)
    changed = dataset(20, seed=9)
    save_dataset(changed, study.folder / "other.npz")
    (study.folder / "other.yaml").write_text("training: {steps: 7}\n")
    second = open_run(study.folder / "other.npz", study.test, study.out / "b", 4, config=study.folder / "other.yaml")
    assert differences(first.identity, first.identity) == []
    assert differences(first.identity, second.identity) == [
        "training data",
        "configuration",
        "n_train (4 instead of 8)",
    ]
    settings = [run.config.result_settings() for run in (first, second)]
    assert changed_settings(*settings) == ["training.steps 7 -> 800"]
    release(first)
    release(second)


def test_the_identity_does_not_depend_on_names_and_places(study):
    copied = study.folder / "elsewhere.npz"
    save_dataset(load_dataset(study.train), copied)
    first = open_run(study.train, study.test, study.out / "a", 8)
    second = open_run(copied, study.test, study.out / "b", 8)
    assert first.identity == second.identity
    release(first)
    release(second)


def test_a_link_out_of_the_folder_is_refused(study, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep me")
    folder = study.out / "run"
    folder.mkdir(parents=True)
    (folder / "pinn_run").symlink_to(outside)
    with pytest.raises(InputError, match="Remove the symbolic link"):
        open_run(study.train, study.test, folder, 8)
    assert (outside / "precious.txt").read_text() == "keep me"
