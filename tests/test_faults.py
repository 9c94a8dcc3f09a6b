"""Faults with real processes: after each, a rerun completes with the numbers of an undisturbed study."""

import os
import signal
import time

import psutil
import pytest
from miniature import Miniature, wait_for

from ptycho_lib.study.status import State, study_status


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the comparison_metrics.csv of each run of a study that nothing disturbed."""
    study = Miniature(tmp_path_factory.mktemp("undisturbed"))
    outcome, output = study.run_here()
    assert not outcome.failures, output
    return study.tables()


@pytest.fixture
def study(tmp_path):
    return Miniature(tmp_path, n_train_sizes=(4,))


def states(study):
    return {status.n_train: status for status in study_status(study.out)}


def rerun(study, undisturbed, **options):
    """Take the fault away, run again: everything complete, numbers as undisturbed, no remains."""
    study.fault("")
    outcome, output = study.run_here(**options)
    assert not outcome.failures, output
    assert {status.state for status in states(study).values()} == {State.COMPLETE}
    assert study.tables() == {f"n_train_{size}": undisturbed[f"n_train_{size}"] for size in study.sizes}
    assert not list(study.out.rglob("*.partial.ipynb"))
    assert not list(study.out.rglob("*.failed.ipynb"))
    return output


def kernels_of(study):
    """Return the kernel processes that execute the study's template."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        mine = environ.get("PTYCHO_STUDY_TEMPLATE") == str(study.template)
        if mine and "ipykernel_launcher" in " ".join(process.info["cmdline"] or []):
            found.append(process)
    return found


def papermills_of(study):
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "papermill" in (process.info["cmdline"] or []) and str(study.template) in process.info["cmdline"]
    ]


HANG = """
import time
(Path(train_data).parent / f"hanging_{n_train}").touch()
time.sleep(600)
"""


def start_hanging(study, code=HANG):
    """Start the command and wait until its kernel has opened the run and hangs."""
    study.fault(code)
    process = study.start()
    wait_for(lambda: list(study.folder.glob("hanging_*")))
    return process


def test_a_failing_cell_is_told_and_the_other_runs_go_on(study, undisturbed):
    study.sizes = (4, 8)
    study.fault("if n_train == 4: raise ValueError('no <b>luck</b>')")
    code, output = study.run("--jobs", "2")
    assert code == 1
    assert "n_train 4: In [5] fault = Path(" in output
    assert "ValueError: no <b>luck</b>" in output
    found = states(study)
    assert found[4].state is State.FAILED
    assert "ValueError" in found[4].detail
    assert found[8].state is State.COMPLETE
    notebook = (study.out / "n_train_4" / "train_and_compare.failed.ipynb").read_text()
    assert "&lt;b&gt;" in notebook
    assert "n_train 8" not in rerun(study, undisturbed)


def test_a_killed_kernel_is_a_failure_not_a_complete_run(study, undisturbed):
    study.fault("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    outcome, _ = study.run_here()
    assert "the kernel died at In [5]" in outcome.failures[0].reason
    assert states(study)[4].state is State.FAILED
    assert not (study.out / "n_train_4" / "run.json").exists()
    assert (study.out / "n_train_4" / "train_and_compare.failed.ipynb").exists()
    rerun(study, undisturbed)


def test_a_killed_papermill_takes_its_kernel_along(study, undisturbed):
    process = start_hanging(study)
    for papermill in papermills_of(study):
        papermill.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "papermill was killed by SIGKILL at In [5]" in output
    wait_for(lambda: not kernels_of(study), seconds=10)
    rerun(study, undisturbed)


def test_the_runs_of_a_killed_command_go_on_and_are_adopted(study, undisturbed):
    process = start_hanging(study, HANG.replace("600", "8"))
    process.kill()
    process.communicate()
    assert states(study)[4].state is State.RUNNING
    output = rerun(study, undisturbed)
    assert "another process computes it" in output
    assert "started" not in output


@pytest.mark.slow
def test_an_orphan_that_hangs_is_ended_by_the_timeout(study, undisturbed):
    process = start_hanging(study)
    process.kill()
    process.communicate()
    output = rerun(study, undisturbed, timeout_s=10)
    assert "left over from a killed study" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_stops_cleanly(study, undisturbed, number):
    process = start_hanging(study)
    started = time.time()
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert time.time() - started < 15
    assert process.returncode == 130
    assert f"interrupted by {number.name} at In [5]" in output
    assert "0 of 1 runs complete" in output
    assert not kernels_of(study)
    assert (study.out / "n_train_4" / "train_and_compare.failed.ipynb").exists()
    if number is signal.SIGTERM:
        rerun(study, undisturbed)


def test_a_hung_kernel_meets_the_timeout(study, undisturbed):
    study.fault("import time; time.sleep(600)")
    outcome, _ = study.run_here(timeout_s=12)
    assert "exceeded the timeout of 12 s at In [5]" in outcome.failures[0].reason
    assert not kernels_of(study)
    rerun(study, undisturbed)


def test_memory_that_runs_out_is_told(study, undisturbed):
    # Room for the traceback, none for the array of 8 GB.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))\n"
    study.fault(limit + "np.ones(2**30)")
    outcome, _ = study.run_here()
    reason = outcome.failures[0].reason
    assert "MemoryError" in reason or "out of memory" in reason
    rerun(study, undisturbed)


def test_a_corrupt_record_and_a_corrupt_notebook_run_again(study, undisturbed):
    study.sizes = (4, 8)
    study.run_here()
    (study.out / "n_train_4" / "run.json").write_text('{"format": 1, "finger')
    (study.out / "n_train_8" / "run.json").unlink()
    (study.out / "n_train_8" / "train_and_compare.ipynb").unlink()
    (study.out / "n_train_8" / "train_and_compare.partial.ipynb").write_text('{"cells": [')
    found = states(study)
    assert found[4].state is State.FAILED
    assert "run.json is not valid" in found[4].detail
    assert found[8].state is State.FAILED
    assert "killed" in found[8].detail
    rerun(study, undisturbed)


def test_a_kernel_that_never_starts(study, tmp_path, monkeypatch):
    mute = tmp_path / "share" / "kernels" / "mute"
    mute.mkdir(parents=True)
    (mute / "kernel.json").write_text(
        '{"argv": ["sleep", "60"], "display_name": "mute", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    outcome, _ = study.run_here(kernel="mute", start_timeout_s=3)
    assert "before the first cell" in outcome.failures[0].reason
    assert "Kernel didn't respond in 3 seconds" in outcome.failures[0].reason
    assert states(study)[4].state is State.FAILED


def test_a_full_disk(study, undisturbed):
    """Needs the right to mount a small tmpfs."""
    study.out.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m tmpfs {study.out} 2>/dev/null") != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        study.fault("(Path(output_dir) / 'ballast').write_bytes(b'x' * 2**20)")
        outcome, _ = study.run_here()
        assert "No space left on device" in outcome.failures[0].reason
        assert states(study)[4].state is State.FAILED
        for ballast in study.out.rglob("ballast"):
            ballast.unlink()
        rerun(study, undisturbed)
    finally:
        os.system(f"umount {study.out}")


def test_unwritable_output_is_refused_before_anything_starts(study):
    study.out = study.train / "inside_a_file"
    code, output = study.run()
    assert code == 2
    assert "writable output folder" in output
    assert "Traceback" not in output
