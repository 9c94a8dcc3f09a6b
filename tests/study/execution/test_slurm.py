"""Workers on a batch system: the job script, and, where Slurm is installed, the real thing on loopback.

`make slurm` installs it on Debian; the daemons get a configuration, a key and folders of their own, and
need root.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from ptycho_lib.study.folder.status import study_status
from tests.support.miniature import Miniature, documented, wait_for

pytest.importorskip("dask_jobqueue")
pytestmark = pytest.mark.cluster

OPTIONS = {"queue": "gpu", "cores": 8, "processes": 1, "memory": "32GB", "walltime": "04:00:00"}
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""
WORKERS = "cores: 2\nprocesses: 1\nmemory: 2GB\nwalltime: '00:10:00'\ninterface: lo\nlog_directory: {}\n"


def test_the_job_script_asks_for_what_the_file_says_and_gives_each_worker_one_run():
    from ptycho_lib.study.execution.dask_cluster import _start_cluster

    with _start_cluster("slurm", OPTIONS | {"interface": "lo"}) as cluster:
        script = cluster.job_script()
    for wanted in ("-p gpu", "-n 1", "--cpus-per-task=8", "--mem=30G", "-t 04:00:00"):
        assert f"#SBATCH {wanted}\n" in script
    worker = next(line for line in script.splitlines() if "dask_worker" in line)
    assert worker.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:")
    assert re.findall(r"--nthreads (\d+)", worker)[-1] == "1"  # the last one counts


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A controller and a node of 4 cores on loopback; the variable SLURM_CONF leads to them."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))):
        pytest.skip("needs root and slurmctld, slurmd, slurm-client, munge")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = ["munged", "--force", "--foreground", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    configuration = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, ports=[free_port(), free_port()]))
    variables = pytest.MonkeyPatch()
    variables.setenv("SLURM_CONF", str(configuration))
    variables.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "1s")  # instead of 15 s
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            log = (folder / f"{command[0]}.log").open("w")
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
            wait_for((folder / "munge.socket").exists)
        wait_for(lambda: "idle" in output_of("sinfo", "-h", "-o", "%T"))
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        variables.undo()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def start(study, workers, **options):
    path = study.folder / "slurm.yaml"
    extra = "".join(f"{key}: {value}\n" for key, value in options.items())
    path.write_text(WORKERS.format(study.folder / "logs") + extra)
    return study.start("--cluster", "slurm", "--cluster-config", path, "--workers", str(workers))


def hang_at_first(study):
    """Have each run hang until there is a file `go`, unless it was begun before."""
    study.fault(
        "import time\nfolder = Path(train_data).parent\nmark = folder / f'seen_{n_train}'\n"
        "again = mark.exists()\nmark.touch()\n"
        "while not (again or (folder / 'go').exists()): time.sleep(0.1)"
    )


@pytest.mark.usefixtures("slurm")
def test_slurm_gives_the_numbers_of_this_machine_though_a_job_is_cancelled(tmp_path):
    here, there = Miniature(tmp_path / "here"), Miniature(tmp_path / "there")
    here.run_here()
    hang_at_first(there)
    process = start(there, workers=2)
    wait_for(lambda: len(list(there.folder.glob("seen_*"))) == 2)
    jobs = output_of("squeue", "-h", "-o", "%i").split()
    assert len(jobs) == 2
    subprocess.run(["scancel", jobs[0]], check=True)
    (there.folder / "go").touch()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert here.tables() == there.tables()
    wait_for(lambda: not output_of("squeue", "-h"))


@pytest.mark.usefixtures("slurm")
def test_when_every_job_has_ended_others_take_their_place(tmp_path):
    """As at the walltime of all, which end together because they began together."""
    study = Miniature(tmp_path)
    hang_at_first(study)
    process = start(study, workers=1)
    wait_for(lambda: list(study.folder.glob("seen_*")))
    statuses = {status.detail for status in study_status(study.out)}
    assert "waiting for a worker" in statuses
    (job,) = output_of("squeue", "-h", "-o", "%i").split()
    subprocess.run(["scancel", job], check=True)
    (study.folder / "go").touch()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert len(study.tables()) == 2
    wait_for(lambda: not output_of("squeue", "-h"))


@pytest.mark.usefixtures("slurm")
def test_what_slurm_refuses_is_reported(tmp_path):
    process = start(Miniature(tmp_path), workers=1, queue="nonesuch")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "sbatch: error: invalid partition specified: nonesuch" in output
    assert "Traceback" not in output


@pytest.mark.usefixtures("slurm")
def test_a_worker_with_several_cores_executes_one_run_at_a_time(tmp_path):
    study = Miniature(tmp_path)
    study.fault(
        "import time\nstarted = time.time()\ntime.sleep(3)\n"
        "(Path(train_data).parent / f'span_{n_train}').write_text(f'{started} {time.time()}')"
    )
    process = start(study, workers=1)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    spans = sorted(tuple(map(float, path.read_text().split())) for path in tmp_path.glob("span_*"))
    assert spans[0][1] <= spans[1][0]


@pytest.mark.usefixtures("slurm")
def test_stopping_the_command_takes_its_jobs_out_of_the_queue(tmp_path):
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'hanging_{n_train}').touch()\ntime.sleep(600)")
    process = start(study, workers=2)
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    wait_for(lambda: not output_of("squeue", "-h"))


@pytest.mark.usefixtures("slurm")
def test_a_job_array_of_the_plan_gives_the_numbers_of_this_machine(tmp_path):
    here, there = Miniature(tmp_path / "here"), Miniature(tmp_path / "there")
    here.run_here()
    (tmp_path / "run.sbatch").write_text(documented("bash", "#SBATCH"))
    (tmp_path / "runs.txt").write_text(there.planned_lines("--threads", "4"))
    array = re.search(r"^sbatch (.*)$", documented("bash", "sbatch --array"), re.MULTILINE)[1]
    subprocess.run(f"sbatch --wait {array}", shell=True, cwd=tmp_path, check=True, capture_output=True)
    assert len(there.tables()) == 2
    assert here.tables() == there.tables()
    assert sorted(path.name for path in tmp_path.glob("run_*.log")) == ["run_1.log", "run_2.log"]
