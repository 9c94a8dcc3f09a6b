"""Workers on a batch system: the job script, and, where Slurm is installed, the real thing on loopback.

Debian: `apt-get install slurmctld slurmd slurm-client munge`; the daemons get a configuration, a key and
folders of their own, and need root.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from miniature import Miniature, wait_for

pytest.importorskip("dask_jobqueue")

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
    from ptycho_lib.study.cluster import _start_cluster

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
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            log = (folder / f"{command[0]}.log").open("w")
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
            wait_for((folder / "munge.socket").exists)
        wait_for(lambda: "idle" in told("sinfo", "-h", "-o", "%T"))
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


def told(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def start(study, workers):
    options = study.folder / "slurm.yaml"
    options.write_text(WORKERS.format(study.folder / "logs"))
    return study.start("--cluster", "slurm", "--cluster-config", options, "--workers", str(workers))


@pytest.mark.cluster
@pytest.mark.usefixtures("slurm")
def test_slurm_gives_the_numbers_of_this_machine_though_a_job_is_cancelled(tmp_path):
    here, there = Miniature(tmp_path / "here"), Miniature(tmp_path / "there")
    here.run_here()
    mark = "Path(train_data).parent / f'seen_{n_train}'"
    there.fault(f"import time\nseen = ({mark}).exists()\n({mark}).touch()\ntime.sleep(0 if seen else 30)")
    process = start(there, workers=2)
    wait_for(lambda: len(list(there.folder.glob("seen_*"))) == 2, 120)
    jobs = told("squeue", "-h", "-o", "%i").split()
    assert len(jobs) == 2
    subprocess.run(["scancel", jobs[0]], check=True)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert here.tables() == there.tables()
    wait_for(lambda: not told("squeue", "-h"))


@pytest.mark.cluster
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


@pytest.mark.cluster
@pytest.mark.usefixtures("slurm")
def test_stopping_the_command_takes_its_jobs_out_of_the_queue(tmp_path):
    study = Miniature(tmp_path)
    study.fault("import time\n(Path(train_data).parent / f'hanging_{n_train}').touch()\ntime.sleep(600)")
    process = start(study, workers=2)
    wait_for(lambda: len(list(study.folder.glob("hanging_*"))) == 2, 120)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    wait_for(lambda: not told("squeue", "-h"))


@pytest.mark.cluster
@pytest.mark.usefixtures("slurm")
def test_a_job_array_of_the_plan_gives_the_numbers_of_this_machine(tmp_path):
    here, there = Miniature(tmp_path / "here"), Miniature(tmp_path / "there")
    here.run_here()
    command = list(map(str, there.command()))
    command[command.index("run")] = "plan"
    command[command.index("--no-report")] = "--commands"
    (tmp_path / "runs.txt").write_text(told(*command))
    # As in docs/running_studies.md, but for --wait.
    line = (
        "sbatch --wait --array=1-$(wc -l < runs.txt) "
        "--wrap 'sh -c \"$(sed -n ${SLURM_ARRAY_TASK_ID}p runs.txt)\"'"
    )
    subprocess.run(line, shell=True, cwd=tmp_path, check=True, capture_output=True)
    assert len(there.tables()) == 2
    assert here.tables() == there.tables()
