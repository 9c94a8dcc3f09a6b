"""A real Dask scheduler and two worker processes on loopback."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from tests.support.miniature import Miniature, wait_for

pytest.importorskip("dask.distributed")
pytestmark = pytest.mark.cluster


@pytest.fixture
def free_scheduler():
    """Yield the address of a scheduler without workers, and what adds one."""
    processes = []

    def start(*command, before=()):
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        processes.append(subprocess.Popen([*before, sys.executable, "-m", *command], **how))
        return processes[-1]

    address = "tcp://127.0.0.1:18786"
    scheduler = start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "18786", "--no-dashboard")

    def add_worker(*before):
        options = ("--nthreads", "1", "--no-dashboard", "--no-nanny")
        return start("distributed.cli.dask_worker", address, *options, before=before)

    yield address, add_worker, scheduler.kill
    for process in reversed(processes):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def cluster(free_scheduler):
    """Return the address of a scheduler with two workers, and the workers."""
    address, add_worker, _ = free_scheduler
    return address, [add_worker() for _ in range(2)]


def test_the_cluster_gives_the_numbers_of_this_machine(cluster, tmp_path):
    address, _ = cluster
    here, there = Miniature(tmp_path / "here"), Miniature(tmp_path / "there")
    here.run_here()
    code, output = there.run("--scheduler", address, timeout=180)
    assert code == 0, output
    assert here.tables() == there.tables()
    assert re.search(r"2 of 2 runs complete", output)


def test_a_lost_worker_loses_no_run(cluster, tmp_path):
    address, workers = cluster
    study, undisturbed = Miniature(tmp_path / "study"), Miniature(tmp_path / "undisturbed")
    undisturbed.run_here()
    study.fault(
        "import time\n"
        "mark = Path(train_data).parent / f'hanging_{n_train}'\n"
        "first = not mark.exists()\nmark.touch()\n"
        "if first: time.sleep(25)"
    )
    process = study.start("--scheduler", address)
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2)
    victim = psutil.Process(workers[0].pid)
    for relative in [*victim.children(recursive=True), victim]:
        relative.kill()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert study.tables() == undisturbed.tables()


def test_stopping_the_command_stops_the_runs_on_the_workers(cluster, tmp_path):
    address, _ = cluster
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'hanging_{n_train}').touch()\ntime.sleep(600)")
    process = study.start("--scheduler", address)
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2)
    process.terminate()
    output, _ = process.communicate(timeout=300)  # the runs themselves would take 600 s
    assert process.returncode == 130, output
    assert "interrupted by SIGTERM at In [5]" in output


def test_a_scheduler_that_does_not_answer_is_reported(tmp_path):
    study = Miniature(tmp_path)
    code, output = study.run("--scheduler", "tcp://127.0.0.1:18799", timeout=120)
    assert code == 2
    assert "a running Dask scheduler" in output
    assert "Traceback" not in output


def test_a_lost_scheduler_is_reported_and_its_runs_are_taken_by_the_next_command(tmp_path, cluster, free_scheduler):
    address, _ = cluster
    *_, kill_scheduler = free_scheduler
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'seen_{n_train}').touch()\ntime.sleep(5)")
    process = study.start("--scheduler", address)
    wait_for(lambda: len(list(study.folder.glob("seen_*"))) == 2)
    kill_scheduler()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "the Dask scheduler was lost; start it again, then the same command" in output
    assert "Traceback" not in output
    outcome, output = study.run_here()
    assert not outcome.failures
    assert "another process computes it" in output


def test_a_worker_that_comes_late_takes_a_waiting_run(tmp_path, free_scheduler):
    """As on a batch system, whose jobs start when they can."""
    address, add_worker, _ = free_scheduler
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'hanging_{n_train}').touch()\ntime.sleep(60)")
    add_worker()
    process = study.start("--scheduler", address)
    wait_for(lambda: list(study.folder.glob("hanging_*")))
    add_worker()
    assert wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2)
    process.terminate()
    process.communicate(timeout=300)


def test_the_dashboard_shows_the_runs_by_name(tmp_path, free_scheduler):
    from dask.distributed import Client

    address, add_worker, _ = free_scheduler
    add_worker()
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'hanging_{n_train}').touch()\ntime.sleep(600)")
    process = study.start("--scheduler", address)
    wait_for(lambda: list(study.folder.glob("hanging_*")))
    with Client(address) as client:
        # The names that the dashboard's progress page has: prefixes of keys.
        def names() -> set[str]:
            return set(client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.task_prefixes)))

        assert wait_for(lambda: {"n_train_4", "n_train_8"} <= names())
    process.terminate()
    process.communicate(timeout=300)


def test_a_worker_that_does_not_see_the_files_refuses_and_names_itself(tmp_path, free_scheduler):
    """Its folder of the data lies under an empty file system, as on a host that does not share it."""
    address, add_worker, _ = free_scheduler
    hidden = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path} && exec "$@"', "sh")
    if subprocess.run([*hidden, "true"], capture_output=True).returncode != 0:
        pytest.skip("a mount of its own needs root")
    add_worker(*hidden)
    code, output = Miniature(tmp_path).run("--scheduler", address, timeout=120)
    assert code == 1
    assert re.search(r'worker "tcp://127.0.0.1:\d+" does not see .*train.npz', output)
    assert "on a file system that all workers share" in output
