"""A study that trains over several scans: shares, guards, and every file in manifest, fingerprint and record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.config import load_config
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder.manifest import read_manifest, write_manifest
from ptycho_lib.study.folder.record import ModelOutcome, read_record
from ptycho_lib.study.folder.status import State, content_status
from ptycho_lib.study.run_session import finish_run, open_run
from ptycho_lib.study.selection import patterns_of_each, training_subset, training_subsets
from tests.support.miniature import Miniature, dataset


@pytest.fixture
def study(tmp_path):
    study = Miniature(tmp_path)
    study.second = tmp_path / "second.npz"
    save_dataset(replace(dataset(6, seed=7), pixel_size_m=2e-8), study.second)
    return study


def plan(study, *files, **changes):
    files = files or (study.train, study.second)
    return plan_study(files, study.test, study.out, study.config(**changes), template=study.template)


@pytest.mark.parametrize(
    ("n_train", "expected"), [(1, [1, 0, 0]), (6, [2, 2, 2]), (8, [3, 2, 3]), (14, [6, 2, 6]), (22, [10, 2, 10])]
)
def test_patterns_are_drawn_evenly_while_each_scan_has_some(n_train, expected):
    scans = [dataset(n, seed=n) for n in (10, 2, 10)]
    assert patterns_of_each(scans, n_train) == expected


def test_subsets_nest_and_one_scan_is_sampled_as_ever(study):
    scans, config = [dataset(20, seed=1), dataset(20, seed=1)], study.config()
    small, large = (training_subsets(scans, config, size, 2) for size in (6, 17))
    for few, many in zip(small, large, strict=True):
        np.testing.assert_array_equal(few.positions_px, many.positions_px[:3])
    assert [len(part) for part in large] == [9, 8]
    assert not np.array_equal(large[0].positions_px[:8], large[1].positions_px)  # not at the same places
    (alone,) = training_subsets(scans[:1], config, 6, 2)
    chosen = training_subset(scans[0], config, 6, 2)
    np.testing.assert_array_equal(alone.positions_px, scans[0].positions_px[chosen])


def test_all_files_stand_in_manifest_fingerprint_parameters_and_record(study):
    planned = plan(study)
    assert planned.manifest.n_training_patterns == 26
    write_manifest(study.out, planned.manifest)
    assert read_manifest(study.out) == planned.manifest
    run = planned.runs[0]
    assert run.parameters("")["train_data"] == [str(study.train), str(study.second)]
    prints = [load_dataset(path).fingerprint() for path in (study.train, study.second)]
    assert run.identity.fingerprints.train_data == " ".join(prints)


def test_a_run_trains_on_each_scans_share_and_is_complete_until_a_file_changes(study):
    planned = plan_study((study.train, study.second), study.test, study.out, study.config(n_train_sizes=(8,)))
    settings = study.folder / "config.yaml"
    settings.write_text(planned.manifest.config.to_yaml())
    run = planned.runs[0]
    opened = open_run(run.train_data, run.test_data, run.folder, 8, run.identity.n_test, 1, settings)
    assert [len(part) for part in opened.training] == [4, 4]
    with pytest.raises(ValueError, match=r"2 scans; take `run\.training`"):
        _ = opened.train
    row = dict.fromkeys(COLUMNS, "") | {"model": "pinn", "value": 1.0}
    finish_run(opened, pd.DataFrame([row]), {"pinn": ModelOutcome(seconds=0.1)})
    record = read_record(run.folder)
    assert (record.train_data, record.further_train_data) == (str(study.train), (str(study.second),))
    write_manifest(study.out, planned.manifest)
    (same,) = read_manifest(study.out).runs(study.out)
    assert content_status(same).state is State.COMPLETE
    save_dataset(dataset(6, seed=8), study.second, overwrite=True)
    (changed,) = read_manifest(study.out).runs(study.out)
    status = content_status(changed)
    assert (status.state, status.detail) == (State.STALE, "changed: training data")


def test_a_list_of_one_file_is_that_file(study):
    one, listed = (
        plan_study(files, study.test, study.out, study.config(), template=study.template)
        for files in (study.train, [study.train])
    )
    assert one.manifest.further_train == listed.manifest.further_train == ()
    assert [run.identity for run in one.runs] == [run.identity for run in listed.runs]
    assert one.runs[0].parameters("")["train_data"] == str(study.train)


def test_test_data_are_compared_with_every_training_file(study):
    save_dataset(load_dataset(study.test).select(np.arange(4)), study.folder / "leak.npz")
    with pytest.raises(InputError) as error:
        plan(study, study.train, study.folder / "leak.npz")
    assert "4 patterns of the training file" in str(error.value)
    assert "data that " + str(study.folder / "leak.npz") in str(error.value)
    allowed = plan(study, study.train, study.folder / "leak.npz", allow_leakage=True).manifest.leakage
    assert allowed.startswith("leak.npz: leakage: 4 test patterns")


def other_size(study):
    save_dataset(dataset(6, seed=7, size=32, canvas=128), study.second, overwrite=True)
    return {}, ["patterns of 32×32 pixels", "patterns of 16×16 pixels, as in", "--crop"]


def other_pixel(study):
    save_dataset(replace(load_dataset(study.train), pixel_size_m=3e-8), study.train, overwrite=True)
    return {}, ["pixel_size_m", "2e-08 m", "3e-08 m, as in"]


def same_file(study):
    study.second = study.train
    return {}, ["the same data as", "once"]


def refined_probe(study):
    return {"network": {"trainable_probe": True}}, ["network.trainable_probe", "false with several training files"]


def too_few(study):
    return {"n_train_sizes": (4,), "network": {"gridsize": 2}}, ["4 patterns of 2 scans", "at least 8: 4 of each"]


def too_many(study):
    return {"n_train_sizes": (4, 27)}, ["27 training patterns", "between 1 and 26, which is what the files hold"]


def broken(study):
    study.second.write_bytes(b"no npz")
    return {}, [str(study.second)]


@pytest.mark.parametrize(
    "fault",
    [other_size, other_pixel, same_file, refined_probe, too_few, too_many, broken],
    ids=lambda one: one.__name__,
)
def test_files_that_do_not_belong_together_are_refused(study, fault):
    changes, expected = fault(study)
    with pytest.raises(InputError) as error:
        plan(study, study.train, study.second, **changes)
    for words in expected:
        assert words in str(error.value)
    assert len(set(error.value.problems)) == len(error.value.problems)
    assert not study.out.exists()


@pytest.mark.parametrize("divider", [[], ["--"]])
def test_the_command_takes_several_files(study, divider):
    files = [study.train, study.second, *divider, study.test, study.out]
    options = ["--n-train-sizes", "8", "--models", "pinn", "--template", study.template]
    result = CliRunner().invoke(main, [str(word) for word in ("plan", *files, *options)])
    assert result.exit_code == 0, result.output
    assert "training sizes 8 of 26 patterns" in result.output
    assert f'["{study.train}", "{study.second}"]' in result.output


def test_the_configuration_may_name_the_training_files(study):
    settings = study.folder / "study.yaml"
    settings.write_text(yaml.safe_dump({"train_data": ["train.npz", "second.npz"], "n_train_sizes": [8]}))
    config = load_config(settings, models=["pinn"], trials=1)
    named = plan_study((), study.test, study.out, config, template=study.template)
    given = plan(study, n_train_sizes=(8,))
    assert [run.identity for run in named.runs] == [run.identity for run in given.runs]
    run = open_run("", study.test, study.out / "run", 8, config=settings)
    assert run.train_data == (study.train, study.second)
    with pytest.raises(InputError, match="in one place"):
        plan_study(study.train, study.test, study.out, config, template=study.template)
    with pytest.raises(InputError, match="no training file"):
        plan_study((), study.test, study.out, study.config(), template=study.template)
