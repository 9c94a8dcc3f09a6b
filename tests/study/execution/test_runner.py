"""Execution: parallel, cooperative, confined; the same numbers in every way of running."""

import json
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from ptycho_lib.cli.study import _sharing
from ptycho_lib.errors import InputError
from ptycho_lib.study.execution import jobs as jobs_module
from ptycho_lib.study.execution.jobs import visible_gpus
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.status import State, study_status
from tests.support.miniature import Miniature, documented, wait_for


@pytest.fixture
def study(tmp_path):
    return Miniature(tmp_path)


def test_jobs_share_gpus_and_give_the_same_numbers(study, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    study.fault(
        "import os, json\n"
        "names = ['CUDA_VISIBLE_DEVICES', 'TF_NUM_INTRAOP_THREADS', 'TF_FORCE_GPU_ALLOW_GROWTH']\n"
        "found = [os.environ[name] for name in names]\n"
        "(run.output_dir / 'found.json').write_text(json.dumps(found))"
    )
    outcome, _ = study.run_here(jobs=2, threads=3)
    assert not outcome.failures
    found = sorted(json.loads(path.read_text()) for path in study.out.rglob("found.json"))
    assert found == [["5", "3", "true"], ["7", "3", "true"]]
    parallel = study.tables()
    study.out = study.folder / "one_by_one"
    study.run_here(jobs=1, threads=3)
    assert study.tables() == parallel


def test_the_thread_pools_do_not_depend_on_the_number_of_jobs(monkeypatch):
    monkeypatch.setattr(jobs_module, "available_cores", lambda: 5)
    assert {jobs_module.share(slot).threads for slot in range(3)} == {5}
    assert jobs_module.share(0, threads=2).threads == 2
    monkeypatch.setattr(jobs_module, "available_cores", lambda: 64)
    assert jobs_module.default_threads() == 8


def test_how_jobs_share_the_cores_is_said(monkeypatch):
    monkeypatch.setattr(jobs_module, "available_cores", lambda: 4)
    monkeypatch.setattr("ptycho_lib.resource_usage.available_cores", lambda: 4)
    assert _sharing(1, None) == "  runs at a time 1, threads of each 4, cores 4"
    assert _sharing(2, 2) == "  runs at a time 2, threads of each 2, cores 4"
    assert _sharing(2, None).endswith("cores 4; --threads 2 would divide the cores, with other last digits")


def test_a_folder_that_cannot_be_made_is_one_failure_among_runs(study):
    study.out.mkdir()
    (study.out / "n_train_8").write_text("a file where a folder should be")
    outcome, _ = study.run_here()
    assert [result.run.n_train for result in outcome.failures] == [8]
    assert outcome.failures[0].reason.startswith("could not be started: ")


def test_gpus_that_are_hidden_are_not_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-abc")
    assert visible_gpus() == ["0", "GPU-abc"]


def test_nothing_runs_twice_and_stale_runs_can_be_kept(study):
    study.sizes = (4,)
    study.fault("(Path(train_data).parent / 'executed').open('a').write('x')")
    study.run_here()
    first = study.tables()
    _, output = study.run_here()
    assert "not computed again, because complete: 1 of 1 runs" in output
    changed = study.config(n_train_sizes=(4,), seed=1)
    study.config = lambda **_: changed
    with pytest.raises(InputError, match="--replace-stale"):
        study.run_here()
    outcome, _ = study.run_here(stale="keep")
    assert outcome.outcomes[0].reason.startswith("kept, though stale (changed: configuration (seed 0 -> 1))")
    assert study.tables() == first
    assert (study.folder / "executed").read_text() == "x"
    _, output = study.run_here(stale="replace")
    assert "stale, computed again (changed: configuration (seed 0 -> 1))" in output
    assert study.tables() != first
    assert (study.folder / "executed").read_text() == "xx"


def test_two_commands_on_one_folder_share_the_work(study):
    study.fault("(Path(train_data).parent / f'executed_{n_train}').open('a').write('x')")
    first, second = study.start(), study.start()
    for process in (first, second):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    assert [(study.folder / f"executed_{size}").read_text() for size in study.sizes] == ["x", "x"]
    assert {status.state for status in study_status(study.out)} == {State.COMPLETE}


def test_a_different_study_is_refused_while_one_is_in_progress(study):
    study.sizes = (4,)
    study.fault("import time\n(Path(train_data).parent / 'hanging').touch()\ntime.sleep(600)")
    process = study.start()
    wait_for((study.folder / "hanging").exists)
    other = study.config(seed=1)
    study.config = lambda **_: other
    with pytest.raises(InputError, match="another study in progress"):
        study.run_here()
    process.terminate()
    process.communicate(timeout=300)
    assert process.returncode == 130


def test_a_notebook_shows_the_live_table(study):
    code = (
        "from pathlib import Path\nfrom ptycho_lib.config import load_config\nfrom ptycho_lib import study\n"
        "config = load_config(None, n_train_sizes=(4,), trials=1, models=('pinn',))\n"
        f"outcome = study.run({str(study.train)!r}, {str(study.test)!r}, {str(study.out)!r}, config,\n"
        f"                    template=Path({str(study.template)!r}))\nlen(outcome.failures)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert outputs[-1]["data"]["text/plain"] == "0"
    shown = " ".join(str(output) for output in outputs)
    assert "n_train 4: complete in" in shown


def test_the_line_of_the_docs_for_xargs_does_the_same_and_is_known_to_status(study):
    def by_xargs():
        (study.folder / "runs.txt").write_text(study.planned_lines())
        line = documented("bash", "xargs").replace("-P 4", "-P 2")
        done = subprocess.run(["bash", "-c", line], cwd=study.folder, capture_output=True)
        return done.returncode, {status.n_train: status for status in study_status(study.out)}

    study.fault("if n_train == 8: raise ValueError('by hand')")
    code, found = by_xargs()
    assert code == 123  # of xargs: a command failed
    assert found[4].state is State.COMPLETE
    assert found[8].state is State.FAILED
    assert "ValueError: by hand" in found[8].detail
    study.fault("")
    code, found = by_xargs()
    lines = (study.folder / "runs.txt").read_text()
    assert "n_train_8" in lines
    assert "n_train_4/" not in lines
    assert code == 0
    assert {status.state for status in found.values()} == {State.COMPLETE}
    tables = study.tables()
    study.out = study.folder / "here"
    study.run_here()
    assert study.tables() == tables


def test_commands_leave_runs_in_progress_alone(study):
    plan = plan_study(study.train, study.test, study.out, study.config(), template=study.template)
    lock = locks.take_lock(plan.runs[0].folder, "kernel")
    lines = study.planned_lines()
    lock.release(force=True)
    assert "n_train_8" in lines
    assert "n_train_4/" not in lines


def test_a_collapsed_training_is_a_result(study):
    study.sizes = (4,)
    cells = study.template.read_text().replace(
        "ModelOutcome(seconds=0.1)", "ModelOutcome(seconds=0.1, collapsed=True, reason='the loss became nan')"
    )
    study.template.write_text(cells)
    outcome, _ = study.run_here()
    assert not outcome.failures
    status = study_status(study.out)[0]
    assert status.state is State.COMPLETE
    assert "pinn collapsed: the loss became nan" in status.detail


def test_a_notebook_that_forgets_its_record_is_a_failure(study):
    study.sizes = (4,)
    study.template.write_text(study.template.read_text().replace("finish_run(run, metrics", "print(run, metrics"))
    outcome, _ = study.run_here()
    assert "ended without a valid run.json" in outcome.failures[0].reason


def test_interpreter_and_profile_are_ours_and_strange_folder_names_literal(tmp_path, monkeypatch):
    study = Miniature(tmp_path / "a {b} 'c' $d", n_train_sizes=(4,))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit('the start-up file of the user')")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    study.fault(
        "import os, sys\n"
        "(Path(train_data).parent / 'who').write_text(sys.executable)\n"
        "os.write(2, b'a message of TensorFlow')"
    )
    outcome, output = study.run_here()
    assert not outcome.failures, output
    assert (study.folder / "who").read_text() == sys.executable
    notebook = (study.out / "n_train_4" / "train_and_compare.ipynb").read_text()
    assert "message of TensorFlow" not in notebook
    assert "a message of TensorFlow" in (study.out / "n_train_4" / "execution" / "papermill.log").read_text()


def test_links_and_modules_in_a_foreign_folder_do_nothing(study):
    """A folder from somebody else must neither write elsewhere nor smuggle code in."""
    study.sizes = (4,)
    precious = study.folder / "precious.txt"
    precious.write_text("keep me")
    folder = study.out / "n_train_4"
    (folder / "execution").mkdir(parents=True)
    for name in ("train_and_compare.partial.ipynb", "run.json", "execution/papermill.log"):
        (folder / name).symlink_to(precious)
    for place in (study.out, folder):
        (place / "pandas.py").write_text("raise SystemExit('smuggled')")
    outcome, output = study.run_here()
    assert not outcome.failures, output
    assert precious.read_text() == "keep me"
