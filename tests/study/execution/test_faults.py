"""Faults with real processes: after each, a rerun completes with the table of an undisturbed study.

`rerun` compares `aggregated_metrics.csv` byte for byte. A diverging training needs real networks: see
`test_real_study.py` and `test_train_and_compare.py`, as for trainings that are killed in the middle.
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ptycho_lib.study.execution.notebook_process import QUICK_PAPERMILL
from ptycho_lib.study.folder.status import State, study_status
from ptycho_lib.study.results.aggregate import AGGREGATED, aggregate
from tests.support.miniature import Miniature, wait_for


def aggregated(study):
    """Return the bytes of the study's table."""
    aggregate(study.out)
    return (study.out / AGGREGATED).read_bytes()


@pytest.fixture(scope="module")
def both_sizes(tmp_path_factory):
    """Return a study of two sizes that nothing disturbed."""
    study = Miniature(tmp_path_factory.mktemp("undisturbed"))
    outcome, output = study.run_here()
    assert not outcome.failures, output
    return study


@pytest.fixture(scope="module")
def undisturbed(both_sizes):
    """Return aggregated_metrics.csv, by training sizes, of studies that nothing disturbed."""
    header, *rows = aggregated(both_sizes).splitlines(keepends=True)
    first = [row for row in rows if b"n_train_4" in row]
    assert 0 < len(first) < len(rows)
    return {(4, 8): b"".join([header, *rows]), (4,): b"".join([header, *first])}


@pytest.fixture
def finished(study, both_sizes):
    """Return a copy of the undisturbed study."""
    shutil.copytree(both_sizes.folder, study.folder, dirs_exist_ok=True)
    study.sizes = (4, 8)
    assert [(one.state, one.detail) for one in study_status(study.out)] == [(State.COMPLETE, "")] * 2
    return study


@pytest.fixture
def study(tmp_path):
    return Miniature(tmp_path, n_train_sizes=(4,))


def states(study):
    return {status.n_train: status for status in study_status(study.out)}


def rerun(study, undisturbed, **options):
    """Take the fault away, run again: everything complete, the table as undisturbed, no remains."""
    study.fault("")
    outcome, output = study.run_here(**options)
    assert not outcome.failures, output
    assert {status.state for status in states(study).values()} == {State.COMPLETE}
    assert aggregated(study) == undisturbed[study.sizes]
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
        if QUICK_PAPERMILL in (process.info["cmdline"] or []) and str(study.template) in process.info["cmdline"]
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


def test_a_failing_cell_is_named_and_the_other_runs_go_on(study, undisturbed):
    study.sizes = (4, 8)
    study.fault("if n_train == 4: raise ValueError('no <b>luck</b>')")
    code, output = study.run("--jobs", "2")
    assert code == 1
    assert "n_train 4: failed: In [5] fault = Path(" in output
    assert "ValueError: no <b>luck</b>" in output
    found = states(study)
    assert found[4].state is State.FAILED
    assert "ValueError" in found[4].detail
    assert found[8].state is State.COMPLETE
    notebook = (study.out / "n_train_4" / "train_and_compare.failed.ipynb").read_text()
    assert "&lt;b&gt;" in notebook
    assert "n_train 8" not in rerun(study, undisturbed)


def test_a_killed_kernel_is_a_failure_not_a_complete_run(study, undisturbed):
    process = start_hanging(study)
    for kernel in kernels_of(study):
        kernel.kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "n_train 4: failed: the kernel died at In [5]" in output
    assert states(study)[4].state is State.FAILED
    assert not (study.out / "n_train_4" / "run.json").exists()
    assert (study.out / "n_train_4" / "train_and_compare.failed.ipynb").exists()
    rerun(study, undisturbed)


def test_a_killed_papermill_takes_its_kernel_along(study, undisturbed):
    process = start_hanging(study)
    for papermill in papermills_of(study):
        papermill.kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "papermill was killed by SIGKILL at In [5]" in output
    wait_for(lambda: not kernels_of(study))
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


def test_a_stop_signal_stops_cleanly(study, undisturbed):
    for number in (signal.SIGINT, signal.SIGTERM):
        (study.folder / "hanging_4").unlink(missing_ok=True)
        process = start_hanging(study)
        process.send_signal(number)
        output, _ = process.communicate(timeout=300)  # the run itself would take 600 s
        assert process.returncode == 130
        assert f"interrupted by {number.name} at In [5]" in output
        assert "0 of 1 runs complete" in output
        assert not kernels_of(study)
        assert (study.out / "n_train_4" / "train_and_compare.failed.ipynb").exists()
    rerun(study, undisturbed)


def test_a_hung_kernel_meets_the_timeout(study, undisturbed):
    study.fault("import time; time.sleep(600)")
    outcome, _ = study.run_here(timeout_s=12)
    assert "exceeded the timeout of 12 s" in outcome.failures[0].reason
    assert not kernels_of(study)
    rerun(study, undisturbed)


# Room for the traceback, none for the array of 8 GB; and too little for anything at all.
SOME_ROOM = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))\n"
NO_ROOM = SOME_ROOM.replace("6 * 2**30", "2**30")


def test_memory_that_runs_out_is_named(study, undisturbed):
    for limit in (SOME_ROOM, NO_ROOM):
        study.fault(limit + "np.ones(2**30)")
        outcome, _ = study.run_here()
        reason = outcome.failures[0].reason
        assert "In [5]" in reason
        assert "memory" in reason.lower()
    rerun(study, undisturbed)


CGROUP = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_group():
    """Yield a control group of 400 MB of memory; needs the right to make one."""
    folder = CGROUP / f"ptycho-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(400 * 2**20))
    except OSError as error:
        pytest.skip(f"no control group of our own: {error}")
    yield folder
    wait_for(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_a_kernel_that_the_system_ends_for_want_of_memory(study, undisturbed, small_group):
    join = f"import os\nPath({str(small_group / 'cgroup.procs')!r}).write_text(str(os.getpid()))\n"
    study.fault(join + "np.ones(2**30)")
    outcome, _ = study.run_here()
    reason = outcome.failures[0].reason
    assert "the kernel died at In [5]" in reason
    assert "memory ran out" in reason
    rerun(study, undisturbed)


def test_a_corrupt_record_and_a_corrupt_notebook_run_again(finished, undisturbed):
    study = finished
    (study.out / "n_train_4" / "run.json").write_text('{"format": 1, "finger')
    (study.out / "n_train_8" / "run.json").unlink()
    (study.out / "n_train_8" / "train_and_compare.ipynb").unlink()
    (study.out / "n_train_8" / "train_and_compare.partial.ipynb").write_text('{"cells": [')
    found = states(study)
    assert found[4].state is State.FAILED
    assert "run.json is not valid" in found[4].detail
    assert found[8].state is State.INTERRUPTED
    assert "killed" in found[8].detail
    rerun(study, undisturbed)


@pytest.mark.parametrize("name", ["comparison_metrics.csv", "train_and_compare.ipynb"])
def test_a_complete_run_with_a_damaged_file_runs_again(finished, undisturbed, name):
    study = finished
    path = study.out / "n_train_4" / name
    path.write_bytes(path.read_bytes()[:-40])
    found = states(study)
    assert found[4].state is State.FAILED
    assert found[4].detail.startswith(name)
    output = rerun(study, undisturbed)
    assert "n_train 4: started" in output
    assert "n_train 8: started" not in output


def test_a_damaged_study_yaml_is_written_anew(finished, undisturbed):
    study = finished
    (study.out / "study.yaml").write_text("train: [")
    assert "started" not in rerun(study, undisturbed)


def test_a_kernel_that_never_starts(study, undisturbed, tmp_path, monkeypatch):
    mute = tmp_path / "share" / "kernels" / "mute"
    mute.mkdir(parents=True)
    (mute / "kernel.json").write_text('{"argv": ["sleep", "60"], "display_name": "mute", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    outcome, _ = study.run_here(kernel="mute", start_timeout_s=3)
    assert "before the first cell" in outcome.failures[0].reason
    assert "Kernel didn't respond in 3 seconds" in outcome.failures[0].reason
    assert states(study)[4].state is State.FAILED
    rerun(study, undisturbed)


@pytest.fixture
def small_disk(study):
    """Put the study on a disk of 1 MB; needs the right to mount one."""
    study.out.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", study.out]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield
    subprocess.run(["umount", study.out], check=True)


AT_ONCE = "(Path(output_dir) / 'ballast').write_bytes(b'x' * 2**20)"
UNNOTICED = f"""
try:
    {AT_ONCE}
except OSError:
    pass
"""


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk(study, undisturbed):
    for fault in (AT_ONCE, UNNOTICED):  # in a cell, and before the results
        study.fault(fault)
        outcome, _ = study.run_here()
        assert "No space left on device" in outcome.failures[0].reason
        noted = states(study)[4]
        assert noted.state is State.FAILED
        assert "No space left on device" in noted.detail
        for ballast in study.out.rglob("ballast"):
            ballast.unlink()
    rerun(study, undisturbed)


@pytest.fixture
def obeys_modes(study):
    """Have the command respect file modes, which root does not unless it gives up its privileges."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root heeds no file mode, and there is no setpriv")
        study.prefix = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


def set_mode(folder, mode):
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(mode)


@pytest.mark.usefixtures("obeys_modes")
def test_read_only_output_is_refused_before_anything_starts(study, undisturbed):
    study.out.mkdir()
    set_mode(study.out, 0o555)
    code, output = study.run()
    assert code == 2
    assert "writable output folder" in output
    assert "Traceback" not in output
    assert not list(study.out.iterdir())
    set_mode(study.out, 0o755)
    rerun(study, undisturbed)


@pytest.mark.usefixtures("obeys_modes")
def test_output_that_becomes_read_only_in_the_middle(study, undisturbed):
    process = start_hanging(study, HANG.replace("600", "3"))
    set_mode(study.out / "n_train_4", 0o555)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "n_train 4: failed: In [" in output
    assert "Permission denied" in output
    assert "Traceback" not in output
    set_mode(study.out / "n_train_4", 0o755)
    noted = states(study)[4]
    assert noted.state is State.FAILED
    assert "Permission denied" in noted.detail
    rerun(study, undisturbed)


@pytest.mark.slow
def test_killing_everything_at_any_moment_loses_nothing_but_the_run_in_progress(study, undisturbed):
    """Kill -9 command, papermill and kernel after ever longer times, until a command comes to its end."""
    study.sizes = (4, 8)
    finished = set()
    for tenths in range(2, 150, 3):
        process = study.start("--jobs", "1")
        try:
            process.communicate(timeout=tenths / 10)
            break
        except subprocess.TimeoutExpired:
            for victim in [*psutil.Process(process.pid).children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
            process.communicate()
        if (study.out / "study.yaml").exists():
            complete = {size for size, status in states(study).items() if status.state is State.COMPLETE}
            assert finished <= complete
            finished = complete
    assert process.returncode == 0
    rerun(study, undisturbed)


def test_a_file_in_place_of_the_output_folder_is_refused(study):
    study.out = study.train / "inside_a_file"
    code, output = study.run()
    assert code == 2
    assert "writable output folder" in output
    assert "Traceback" not in output
