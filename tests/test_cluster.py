"""A real Dask scheduler and two worker processes on loopback."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from miniature import Miniature, wait_for

pytest.importorskip("dask.distributed")
pytestmark = pytest.mark.cluster


def start(*command):
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def cluster():
    """Yield the address of a scheduler with two workers, and the workers."""
    address = "tcp://127.0.0.1:18786"
    scheduler = start(
        "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "18786", "--no-dashboard"
    )
    options = ("--nthreads", "1", "--no-dashboard", "--no-nanny")
    workers = [start("distributed.cli.dask_worker", address, *options) for _ in range(2)]
    yield address, workers
    for process in (*workers, scheduler):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        process.wait()


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
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2, 120)
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
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2, 120)
    started = time.time()
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert time.time() - started < 40
    assert "interrupted by SIGTERM at In [5]" in output


def test_a_scheduler_that_does_not_answer_is_told(tmp_path):
    study = Miniature(tmp_path)
    code, output = study.run("--scheduler", "tcp://127.0.0.1:18799", timeout=120)
    assert code == 2
    assert "a running Dask scheduler" in output
    assert "Traceback" not in output
