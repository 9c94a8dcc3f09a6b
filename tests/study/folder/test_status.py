"""States of runs, judged by what their folders hold."""

import cProfile
import hashlib
import io
import json
import os
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from ptycho_lib.cli.status_display import print_status, watch_status
from ptycho_lib.errors import InputError
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import read_manifest, write_manifest
from ptycho_lib.study.folder.notebook_errors import step_of
from ptycho_lib.study.folder.record import METRICS, ModelOutcome, RunRecord, write_record
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.folder.status import State, run_status, study_status
from ptycho_lib.study.results.aggregate import load_runs
from tests.support.miniature import Miniature

TABLE = b"model,value\npinn,0.5\n"


def record_of(run, **changes):
    """Return a record as `finish_run` would write it, without a run."""
    identity = changes.pop("identity", run.identity)
    fields = {
        "fingerprint": identity.fingerprint(),
        "identity": identity,
        "n_groups": run.n_train,
        "seed": 0,
        "seeds": run.config.seeds(run.trial),
        "config": run.config.result_settings(run.key.kind),
        "train_data": str(run.train_data[0]),
        "test_data": str(run.test_data),
        "models": {"pinn": ModelOutcome(seconds=1.0)},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "seconds": 60.0,
        "device": "CPU",
        "machine": {},
        "versions": {},
        "commit": "",
        "determinism": "",
        "outputs": {METRICS: hashlib.sha256(TABLE).hexdigest()},
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / METRICS).write_bytes(TABLE)
    return RunRecord(**(fields | changes))


@pytest.fixture
def study(tmp_path):
    study = Miniature(tmp_path)
    study.out.mkdir()
    study.plan = plan_study(study.train, study.test, study.out, study.config(), template=study.template)
    write_manifest(study.out, study.plan.manifest)
    for run in study.plan.runs:
        (run.folder / "execution").mkdir(parents=True)
    return study


def complete(study):
    for run in study.plan.runs:
        write_record(run.folder, record_of(run))


def states(study):
    return {status.n_train: (status.state, status.detail) for status in study_status(study.out)}


def test_nothing_there_is_missing(study):
    assert states(study) == {4: (State.MISSING, ""), 8: (State.MISSING, "")}


def test_a_valid_record_is_complete_and_states_a_collapse(study):
    complete(study)
    run = study.plan.runs[1]
    collapsed = ModelOutcome(seconds=1.0, collapsed=True, reason="the loss became nan")
    write_record(run.folder, record_of(run, models={"pinn": collapsed}))
    assert states(study) == {
        4: (State.COMPLETE, ""),
        8: (State.COMPLETE, "pinn collapsed: the loss became nan"),
    }


def test_another_configuration_makes_stale_and_names_the_setting(study):
    complete(study)
    config = study.config(training={"steps": 60})
    plan = plan_study(study.train, study.test, study.out, config, template=study.template)
    write_manifest(study.out, plan.manifest)
    state, detail = states(study)[4]
    assert state is State.STALE
    assert detail == "changed: configuration (training.steps 800 -> 60)"


def test_changed_data_make_stale_but_a_touched_file_does_not(study):
    complete(study)
    os.utime(study.train, (time.time() + 5, time.time() + 5))
    assert states(study)[4][0] is State.COMPLETE
    study.train.write_bytes(study.test.read_bytes())
    assert states(study)[4] == (State.STALE, "changed: training data")
    study.train.unlink()
    assert states(study)[4][0] is State.COMPLETE  # nothing speaks against the results


def test_changed_code_makes_stale(study):
    complete(study)
    text = study.template.read_text()
    study.template.write_text(text.replace("fault = Path", "other = 1; fault = Path"))
    assert states(study)[4] == (State.STALE, "changed: code")


def test_a_size_that_is_no_longer_asked_for_is_reported(study):
    complete(study)
    plan = plan_study(study.train, study.test, study.out, study.config(n_train_sizes=(4,)), template=study.template)
    write_manifest(study.out, plan.manifest)
    assert states(study)[8] == (State.STALE, "not part of the present study.yaml")


def test_a_lock_is_running_and_its_heartbeat_is_shown(study):
    run = study.plan.runs[0]
    lock = locks.take_lock(run.folder, "kernel")
    note = locks.lock_path(run.folder, "kernel").with_suffix(".json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"taken": time.time() - 10}))
    line = {"time": time.time() - 3, "model": "pinn", "epoch": 7, "epochs": 50, "loss": 0.25, "val_loss": 0.5}
    progress = run.folder / "execution" / "progress.jsonl"
    progress.write_text(json.dumps(line) + "\n" + '{"time": 1, "ar')
    state, detail = states(study)[4]
    assert state is State.RUNNING
    assert detail.startswith("pinn epoch 7/50, loss 0.25, ")
    lock.release()
    assert states(study)[4][0] is State.MISSING


def test_failures_are_read_from_the_note_or_from_the_notebook(study):
    first, second = study.plan.runs
    (first.folder / "execution" / "failure.json").write_text('{"reason": "the kernel died"}')
    error = {"output_type": "error", "ename": "ValueError", "evalue": "bad [red]\nmore", "traceback": []}
    cell = {"cell_type": "code", "source": "# why\ntrain()", "outputs": [error], "metadata": {}}
    (second.folder / "train_and_compare.ipynb").write_text(json.dumps({"cells": [cell]}))
    assert states(study) == {
        4: (State.FAILED, "the kernel died"),
        8: (State.FAILED, "In [1] train(): ValueError: bad [red]"),
    }


def test_a_run_that_was_stopped_is_interrupted_not_failed(study):
    first, second = study.plan.runs
    note = {"reason": "interrupted by SIGINT at In [3] train()", "interrupted": True}
    (first.folder / "execution" / "failure.json").write_text(json.dumps(note))
    cell = {"cell_type": "code", "source": "train()", "outputs": [], "metadata": {}}
    (second.folder / "train_and_compare.partial.ipynb").write_text(json.dumps({"cells": [cell]}))
    found = states(study)
    assert found[4] == (State.INTERRUPTED, note["reason"])
    assert found[8][0] is State.INTERRUPTED
    assert "its process was killed" in found[8][1]


@pytest.mark.parametrize("damage", [b"model,value\npinn,0.9\n", b"\xff\xfe\x00", b"", None])
def test_a_table_that_is_not_what_the_run_wrote_is_a_failure_for_every_reader(study, damage):
    complete(study)
    path = study.plan.runs[0].folder / METRICS
    path.unlink() if damage is None else path.write_bytes(damage)
    assert states(study)[4][0] is State.FAILED
    found = {run.n_train: (run.state, run.record) for run in load_runs(study.out)}
    assert found[4] == (State.FAILED, None)
    assert found[8][0] is State.COMPLETE
    (study.out / "study.yaml").unlink()  # runs executed by hand go through the same door
    assert {run.n_train: run.state for run in load_runs(study.out)}[4] is State.FAILED


def test_added_conditions_and_models_are_named_as_what_is_missing(study):
    complete(study)
    grown = {"models": ("pinn", "baseline"), "conditions": [{"name": "late", "position_jitter_px": 0.5}]}
    plan = plan_study(study.train, study.test, study.out, study.config(**grown), template=study.template)
    write_manifest(study.out, plan.manifest)
    state, detail = states(study)[4]
    assert state is State.PARTIAL
    assert detail == "without model baseline, condition late; the rest is kept"
    plan = plan_study(study.train, study.test, study.out, study.config(**grown, seed=3), template=study.template)
    write_manifest(study.out, plan.manifest)
    assert states(study)[4][0] is State.STALE


def test_a_step_is_called_by_the_heading_of_the_notebook(study):
    folder = study.plan.runs[0].folder
    partial = folder / "train_and_compare.partial.ipynb"
    cells = [("markdown", "# Title"), ("code", "1"), ("markdown", "Prose.\n\n## Reconstructions\n"), ("code", "2")]
    partial.write_text(json.dumps({"cells": [{"cell_type": kind, "source": text} for kind, text in cells]}))
    log = folder / "execution" / "papermill.log"
    assert step_of(folder, partial) == "starting"
    log.write_text("Executing Cell 2----\n")
    assert step_of(folder, partial) == "Title"
    log.write_text("Executing Cell 4----\n")
    assert step_of(folder, partial) == "Reconstructions"
    partial.unlink()
    assert step_of(folder, partial) == "cell 4"


def test_folder_names_are_never_parsed(study):
    complete(study)
    run = study.plan.runs[0]
    wrong = run.identity.model_copy(update={"n_train": 5})
    write_record(run.folder, record_of(run, identity=wrong))
    assert states(study)[4] == (State.STALE, "changed: n_train (5 instead of 4)")


def test_a_study_that_grows_keeps_its_first_trial(study):
    complete(study)
    plan = plan_study(study.train, study.test, study.out, study.config(trials=2), template=study.template)
    write_manifest(study.out, plan.manifest)
    found = [(status.n_train, status.trial, status.state) for status in study_status(study.out)]
    assert found == [
        (4, 1, State.COMPLETE),
        (8, 1, State.COMPLETE),
        (4, 2, State.MISSING),
        (8, 2, State.MISSING),
    ]
    assert [run.folder for run in plan.runs[2:]] == [study.out / f"n_train_{size}" / "trial_2" for size in (4, 8)]


def test_a_first_trial_that_an_earlier_version_put_below_stays_there(study):
    below = study.out / "n_train_4" / "trial_1"
    below.mkdir()
    assert RunKey("trained", 4, 1).folder(study.out, "run.json") == below
    complete(study)
    assert RunKey("trained", 4, 1).folder(study.out, "run.json") == study.out / "n_train_4"


def test_the_manifest_survives_the_round_trip(study):
    assert read_manifest(study.out) == study.plan.manifest


@pytest.mark.parametrize("text", ["", "a: [", "format: 1\n", "!!python/object/apply:os.system ['touch pwned']"])
def test_a_damaged_or_hostile_manifest_is_refused(study, text):
    (study.out / "study.yaml").write_text(text)
    with pytest.raises(InputError):
        study_status(study.out)
    assert not Path("pwned").exists()


def test_a_foreign_study_with_strange_paths_is_read(study):
    content = yaml.safe_load((study.out / "study.yaml").read_text())
    content["train"]["path"] = "/dev/zero"
    content["template"] = "/etc/passwd"
    (study.out / "study.yaml").write_text(yaml.safe_dump(content))
    assert states(study)[4][0] is State.MISSING


def test_the_table_prints_each_run_on_a_line(study, capsys):
    complete(study)
    run = study.plan.runs[1]
    (run.folder / "run.json").unlink()
    (run.folder / "execution" / "failure.json").write_text('{"reason": "bad [bold]markup[/bold]"}')
    print_status(study.out, Console(width=40))
    output = capsys.readouterr().out
    assert "8        1      failed    bad [bold]markup[/bold]" in output
    assert output.endswith("1 complete, 1 failed\n")


def test_watching_ends_when_nothing_runs(study, capsys):
    complete(study)
    watch_status(study.out, Console(), every_s=0.01)
    assert "n_train 4, trial 1: complete" in capsys.readouterr().out


def test_watching_goes_on_between_two_runs(study, capsys, monkeypatch):
    first, second = study.plan.runs
    write_record(first.folder, record_of(first))
    held = []

    def between_looks(seconds):
        del seconds
        if not held:  # the first look met the moment when one run is done and the next is not begun
            held.append(locks.take_lock(second.folder, "runner"))
        else:
            held.pop().release(force=True)
            write_record(second.folder, record_of(second))

    monkeypatch.setattr("ptycho_lib.cli.status_display.time.sleep", between_looks)
    watch_status(study.out, Console())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in lines] == ["complete", "missing", "running", "complete"]


def test_a_watched_study_larger_than_the_terminal_shows_what_is_in_progress_and_the_totals(study):
    sizes = tuple(range(1, 21))
    plan = plan_study(
        study.train,
        study.test,
        study.out,
        study.config(n_train_sizes=sizes, trials=5),
        template=study.template,
    )
    write_manifest(study.out, plan.manifest)
    for run in plan.runs[:-1]:
        write_record(run.folder, record_of(run))
    lock = locks.take_lock(plan.runs[-1].folder, "runner")
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=80, height=24)

    def end(seconds):
        del seconds
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptycho_lib.cli.status_display.time.sleep", end)
        watch_status(study.out, terminal)
    lock.release(force=True)
    shown = stream.getvalue()
    assert "running" in shown
    assert "99 complete, 1 running; 79 not shown" in shown
    assert max(len(look.splitlines()) for look in shown.split("n_train")) <= 24


def test_a_run_that_waits_for_a_worker_and_one_that_begins_again_show_no_old_heartbeat(study):
    run = study.plan.runs[0]
    line = {"time": time.time() - 3600, "model": "pinn", "epoch": 5, "epochs": 9, "loss": 1, "val_loss": 1}
    (run.folder / "execution" / "progress.jsonl").write_text(json.dumps(line) + "\n")
    lock = locks.take_lock(run.folder, "runner")
    assert run_status(run).detail == "waiting for a worker"
    (run.folder / "execution" / "papermill.log").touch()
    assert run_status(run).detail == "starting"
    lock.release(force=True)


def calls_to_judge(folder, trials):
    """Return how many function calls the states of 20 sizes with so many complete trials take."""
    study = Miniature(folder, n_train_sizes=tuple(range(1, 21)), trials=trials)
    plan = plan_study(study.train, study.test, study.out, study.config(), template=study.template)
    write_manifest(study.out, plan.manifest)
    for run in plan.runs:
        write_record(run.folder, record_of(run))
        for holder in locks.HOLDERS:
            path = locks.lock_path(run.folder, holder)
            path.parent.mkdir(exist_ok=True)
            path.touch()
    with cProfile.Profile() as profile:
        statuses = study_status(study.out)
    assert [status.state for status in statuses] == [State.COMPLETE] * 20 * trials
    return sum(entry.callcount for entry in profile.getstats())


def test_the_work_of_judging_a_thousand_runs_grows_no_faster_than_their_number(tmp_path):
    few, more, many = (calls_to_judge(tmp_path / str(trials), trials) for trials in (5, 10, 50))
    assert many - more <= 1.1 * 8 * (more - few)  # 40 further trials against 5; what is done once cancels


def test_run_status_of_one(study):
    assert run_status(study.plan.runs[0]).state is State.MISSING
