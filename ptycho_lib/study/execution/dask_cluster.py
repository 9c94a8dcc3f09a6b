"""Runs on a Dask cluster: a worker starts papermill just as this machine would.

Only this module imports Dask (extra `cluster`). The workers must see the data files and the study
folder under the same paths, as on a shared file system; a worker that does not is refused with its
name. Results are never sent through Dask: the run folder is the only place they exist.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dask.distributed import Client, Future, LocalCluster, Status, get_worker

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.io.yaml_file import read_settings
from ptycho_lib.study.execution.jobs import (
    TICK_S,
    Launch,
    adopt_notebook,
    default_threads,
    notebook_process,
    visible_gpus,
)
from ptycho_lib.study.execution.kernel_environment import Resources
from ptycho_lib.study.execution.notebook_process import NOT_STARTED, Ending
from ptycho_lib.study.execution.plan import PARAMETERS, StudyPlan, prepare_run
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import PlannedRun
from ptycho_lib.study.folder.progress import LOG
from ptycho_lib.study.folder.status import State, content_status

logger = logging.getLogger(__name__)

STOP = f"{locks.EXECUTION}/stop"
"""Its content asks the worker to stop a run; Dask cannot interrupt a task that has begun."""

CONNECT_TIMEOUT_S = 20
STOP_TIMEOUT_S = 30.0
RETRIES = 3
"""How often a run starts again after its worker was lost."""

REPLACE_EVERY_S = 5.0
"""How often to ask for the workers that were lost; Dask gives one up 15 s after its connection broke."""

ClusterKind = Literal["local", "slurm", "pbs", "sge", "lsf", "oar", "htcondor"]


@dataclass
class ClusterJob:
    """A run on the cluster."""

    run: PlannedRun
    future: Future
    started: float

    @property
    def begun(self) -> bool:
        """Whether a worker took it: `launch` removes an earlier log, the worker's papermill writes one."""
        return (self.run.folder / LOG).exists()

    def poll(self) -> Ending | None:
        """Return how the run ended, or None while it lasts."""
        if not self.future.done():
            return None
        if self.future.status == "finished":
            return Ending(**self.future.result())
        if self.future.status == "error":
            why = f"the cluster abandoned it: {_one_line(self.future.exception())}"
        else:
            why = "the Dask scheduler was lost; start it again, then the same command"
        return Ending(False, why, time.time() - self.started, 0)

    def ask_to_stop(self, why: str) -> None:
        """Leave the worker a note, which it reads several times a second."""
        write_atomically(self.run.folder / STOP, why)

    def stop(self, why: str) -> Ending:
        """Stop papermill on the worker, and wait until it did."""
        self.ask_to_stop(why)
        deadline = time.time() + STOP_TIMEOUT_S
        while not self.future.done() and locks.is_computed_elsewhere(self.run.folder) and time.time() < deadline:
            time.sleep(TICK_S)
        ending = self.poll()
        self.future.cancel()
        seconds = time.time() - self.started
        return ending or Ending(False, why if self.begun else NOT_STARTED, seconds, 0, interrupted=True)


def cluster_launch(
    plan: StudyPlan,
    client: Client,
    *,
    timeout_s: float | None = None,
    threads: int | None = None,
) -> Launch:
    """Return what sends runs to a Dask cluster; the dashboard shows them by name.

    Parameters
    ----------
    plan : StudyPlan
        From `plan_study`.
    client : dask.distributed.Client
        Connected to the scheduler.
    timeout_s : float, optional
        Wall-clock limit of one run.
    threads : int, optional
        Threads of one run; by default those of a run on this machine, so that the numbers are the same.
    """
    threads = threads or default_threads()

    def launch(run: PlannedRun, slot: int) -> ClusterJob:
        del slot  # the scheduler chooses the place
        prepare_run(plan, run)
        for name in (STOP, LOG):
            (run.folder / name).unlink(missing_ok=True)
        name = run.name.replace(", ", "_").replace(" ", "_")
        key = f"{name}-{run.identity.fingerprint()[:8]}-{time.time_ns():x}"
        how = {"key": key, "retries": RETRIES, "pure": False}
        future = client.submit(execute_on_worker, plan, run, timeout_s, threads, **how)
        return ClusterJob(run, future, time.time())

    return launch


def execute_on_worker(plan: StudyPlan, run: PlannedRun, timeout_s: float | None, threads: int) -> dict[str, Any]:
    """Execute one run inside a worker; return the fields of its `Ending`.

    If an earlier worker was lost in the middle of the run, its papermill may still be at work on this
    host. Then this one waits and takes the result.
    """
    unseen = _unseen(run)
    if unseen:
        return asdict(Ending(False, unseen, 0.0, 0))
    started = time.time()
    while locks.is_computed_elsewhere(run.folder) and not (run.folder / STOP).exists():
        time.sleep(TICK_S)
    if content_status(run).state is State.COMPLETE:
        adopt_notebook(run)
        return asdict(Ending(True, "", time.time() - started, 0))
    gpus = visible_gpus()
    process = notebook_process(plan, run, Resources(threads, gpu=gpus[0] if gpus else ""), timeout_s)
    process.start()
    while (ending := process.poll()) is None:
        if (run.folder / STOP).exists():
            return asdict(process.stop((run.folder / STOP).read_text(encoding="utf-8")))
        time.sleep(TICK_S)
    return asdict(ending)


@contextmanager
def connect(
    scheduler: str | None = None,
    cluster: ClusterKind | None = None,
    cluster_config: Path | None = None,
    *,
    workers: int = 1,
) -> Iterator[Client]:
    """Connect to a running scheduler, or start a cluster through dask-jobqueue for the time of the study.

    Parameters
    ----------
    scheduler : str, optional
        Address such as `tcp://host:8786`.
    cluster : str, optional
        Batch system whose jobs become workers, or `local`.
    cluster_config : Path, optional
        YAML with the keyword arguments of the dask-jobqueue cluster (queue, cores, memory, walltime …).
    workers : int
        Number of workers to ask the batch system for.

    Raises
    ------
    InputError
        If the scheduler does not answer, or the configuration does not suit the batch system.
    """
    # Each run reports that the scheduler was lost (`ClusterJob.poll`); a traceback besides would not help.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    if scheduler is not None:
        with _client(scheduler) as client:
            yield client
        return
    with _start_cluster(cluster or "local", _read_options(cluster_config)) as started:
        _keep_workers(started, workers)
        with Client(started) as client:
            yield client


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        fix = "Start one with `dask scheduler` and `dask worker`, and give the address that it prints."
        found = f"no answer ({error})"
        raise InputError(Problem("--scheduler", address, found, "a running Dask scheduler", fix)) from None


def _start_cluster(kind: ClusterKind, options: dict[str, Any]) -> Any:
    try:
        if kind == "local":
            return LocalCluster(**{"n_workers": 0, "threads_per_worker": 1} | options)
        import dask_jobqueue  # noqa: PLC0415 - needed for batch systems alone

        # Dask would give a worker as many threads, and so runs at a time, as the job has cores.
        extra = [*options.get("worker_extra_args", ()), "--nthreads", "1"]
        options = options | {"worker_extra_args": extra}
        names = {"pbs": "PBSCluster", "oar": "OARCluster", "htcondor": "HTCondorCluster"}
        return getattr(dask_jobqueue, names.get(kind, f"{kind.upper()}Cluster"))(**options)
    except (TypeError, ValueError) as error:
        fix = "See the documentation of dask-jobqueue for the options of this batch system."
        raise InputError(Problem("--cluster-config", kind, str(error), "its options", fix)) from None


def _keep_workers(cluster: Any, workers: int) -> None:
    """Ask for workers, and again for each that is lost: a batch system ends a job at its walltime.

    `cluster.scale` would ask in the background and keep to itself what the batch system answers.
    """

    async def ask() -> None:
        while len(cluster.plan) < workers:
            cluster.worker_spec.update(cluster.new_worker_spec())
        try:
            await cluster
        finally:
            for name, job in list(cluster.workers.items()):
                if job.status is Status.created:  # it was not taken: to be asked for anew
                    job.status = Status.failed
                    del cluster.workers[name]

    async def keep() -> None:
        while cluster.status is Status.running:
            try:
                await ask()
            except (OSError, RuntimeError) as error:
                logger.warning("A lost worker is not replaced yet: %s", _one_line(error))
            await asyncio.sleep(REPLACE_EVERY_S)

    try:
        cluster.sync(ask)
    except (OSError, RuntimeError) as error:
        fix = "Fix the options, or the batch system; `sbatch`, `qsub` … must work on this machine."
        expected = "jobs that the batch system takes"
        raise InputError(Problem("--cluster", "", _one_line(error), expected, fix)) from None
    cluster.loop.add_callback(keep)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _read_options(path: Path | None) -> dict[str, Any]:
    fix = "Give a YAML file with the options of the cluster, such as queue, cores, memory, walltime."
    return {} if path is None else read_settings(path, fix)


def _unseen(run: PlannedRun) -> str:
    """Return which files this worker does not see, or an empty text."""
    needed = [*run.train_data, run.test_data, run.folder / PARAMETERS]
    missing = [str(path) for path in needed if not path.is_file()]
    if not missing:
        return ""
    host = json.dumps(get_worker().address)
    return (
        f"worker {host} does not see {', '.join(missing)}; data and OUT_DIR must be on a file system that "
        "all workers share under the same path"
    )
