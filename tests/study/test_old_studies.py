"""Studies of an earlier version stay readable: the fixture is what commit 2de56af wrote, without its models."""

import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.config import load_config
from ptycho_lib.errors import InputError
from ptycho_lib.study.folder.manifest import read_manifest
from ptycho_lib.study.folder.record import read_record
from ptycho_lib.study.folder.status import State, study_status
from ptycho_lib.study.results.aggregate import load_runs

ARCHIVE = Path(__file__).parents[1] / "support" / "old_study.tar.xz"
MODELS = ("pinn", "baseline")


@pytest.fixture
def old(tmp_path):
    """The study folder, unpacked elsewhere than it was made, beside its data."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "old_study"
    manifest = yaml.safe_load((folder / "study.yaml").read_text())
    for name in ("train", "test"):
        manifest[name]["path"] = str(tmp_path / f"{name}.npz")
    (folder / "study.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_records_and_manifest_are_understood_under_the_names_of_today(old):
    record = read_record(old / "n_train_8" / "trial_1")
    assert tuple(record.models) == MODELS
    assert record.key == ("trained", 8, 1)
    assert record.config["models"] == list(MODELS)
    assert record.config["network"]["first_guess_iterations"] == 4
    assert record.config["training"]["merged_patches"] == 8
    config = read_manifest(old).config
    assert (config.models, config.trials, config.training.steps) == (MODELS, 2, 800)


def test_every_run_is_found_in_its_old_place(old):
    runs = load_runs(old)
    assert [(run.n_train, run.trial, run.state) for run in runs] == [
        (size, trial, State.COMPLETE) for size in (8, 16) for trial in (1, 2)
    ]
    assert runs[0].folder == old / "n_train_8" / "trial_1"
    states = study_status(old)
    assert {status.state for status in states} == {State.STALE}
    assert all("code" in status.detail for status in states)


def test_status_aggregate_and_verify_work_on_it(old):
    result = call("status", old)
    assert result.exit_code == 0, result.output
    assert "4 stale" in result.output
    before = pd.read_csv(old / "aggregated_metrics.csv", keep_default_na=False)
    result = call("aggregate", old, "--no-figures")
    assert result.exit_code == 0, result.output
    after = pd.read_csv(old / "aggregated_metrics.csv", keep_default_na=False)
    assert len(after) == len(before)
    assert after["value"].tolist() == before["value"].tolist()
    result = call("verify", old)
    assert result.exit_code in (0, 1), result.output
    assert "values compared" in result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("place", ["where the data are", "without the data"])
def test_the_report_is_written_anew(old, place):
    if place == "without the data":
        for name in ("train", "test"):
            (old.parent / f"{name}.npz").unlink()
        result = call("verify", old)
        assert "not verified" in result.output
        return
    result = call("report", old)
    assert result.exit_code == 0, result.output
    assert "<img" in (old / "report.html").read_text(encoding="utf-8")


def test_an_old_configuration_is_refused_by_naming_the_new_setting(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("arms: [pinn]\nnetwork: {first_guess: 4}\ntraining: {overlap: 2}\n")
    with pytest.raises(InputError) as caught:
        load_config(path)
    found = {problem.key: problem.fix for problem in caught.value.problems}
    assert "models" in found["arms"]
    assert "network.first_guess_iterations" in found["network.first_guess"]
    assert "training.merged_patches" in found["training.overlap"]


def test_its_first_trial_keeps_its_place_when_the_study_goes_on(old):
    shutil.rmtree(old / "n_train_8" / "trial_1" / "pinn_run")
    folders = {run.key: run.folder for run in read_manifest(old).runs(old)}
    assert folders[("trained", 8, 1)] == old / "n_train_8" / "trial_1"
    assert folders[("trained", 8, 2)] == old / "n_train_8" / "trial_2"
