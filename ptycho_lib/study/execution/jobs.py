"""Jobs: runs in execution. Here they are processes of this machine, which share its GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Protocol

from ptycho_lib.resource_usage import available_cores
from ptycho_lib.study.execution.kernel_environment import Resources
from ptycho_lib.study.execution.notebook_process import Ending, NotebookProcess
from ptycho_lib.study.execution.plan import StudyPlan, prepare_run
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import PlannedRun
from ptycho_lib.study.folder.record import RECORD
from ptycho_lib.study.folder.status import State, content_status
from ptycho_lib.study.folder.templates import execution_name

MOST_THREADS = 8
TICK_S = 0.2
"""Time between two checks of the jobs."""


class Job(Protocol):
    """A run in execution, here or elsewhere."""

    @property
    def begun(self) -> bool:
        """Whether it is being executed; otherwise it waits for a place."""

    def poll(self) -> Ending | None:
        """Return how it ended, or None while it lasts."""

    def ask_to_stop(self, why: str) -> None:
        """Ask it to stop, and return at once."""

    def stop(self, why: str) -> Ending:
        """Stop it, and return when it has."""


Launch = Callable[[PlannedRun, int], Job]
"""Starts a run in one of the slots 0 … jobs-1."""


def local_launch(plan: StudyPlan, timeout_s: float | None, threads: int | None) -> Launch:
    """Return what starts runs as processes of this machine.

    GPUs are divided among the jobs. Threads are not: with a thread pool of another size, and even confined
    to fewer cores, TensorFlow adds in another order, and `--jobs 2` would give other digits than
    `--jobs 1`. The operating system shares the cores.
    """

    def launch(run: PlannedRun, slot: int) -> NotebookProcess:
        prepare_run(plan, run)
        process = notebook_process(plan, run, share(slot, threads), timeout_s)
        process.start()
        return process

    return launch


def share(slot: int, threads: int | None = None) -> Resources:
    """Return what the job in a slot may use: the threads of every job, and a GPU in turn."""
    gpus = visible_gpus()
    return Resources(threads or default_threads(), gpus[slot % len(gpus)] if gpus else "")


def default_threads() -> int:
    """Return the threads of a run: all cores, at most 8, beyond which these networks gain nothing."""
    return min(available_cores(), MOST_THREADS)


def notebook_process(
    plan: StudyPlan, run: PlannedRun, resources: Resources, timeout_s: float | None
) -> NotebookProcess:
    """Return the process, not yet started, that executes a prepared run."""
    return NotebookProcess(
        command=plan.command(run),
        folder=run.folder,
        name=run.key.template.removesuffix(".ipynb"),
        template=plan.template_of(run),
        resources=resources,
        timeout_s=timeout_s,
        verify=lambda: _unverified(run),
    )


def adopt_notebook(run: PlannedRun) -> None:
    """Give a complete run its notebook's name if its runner was killed between record and renaming."""
    notebook = run.key.template
    partial = run.folder / execution_name(notebook, "partial")
    if partial.exists() and not locks.is_computed_elsewhere(run.folder):
        partial.replace(run.folder / notebook)


def visible_gpus() -> list[str]:
    """Return the GPUs that jobs may be given: CUDA_VISIBLE_DEVICES if set, else what the driver lists."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device.strip() for device in chosen.split(",") if device.strip() not in ("", "-1")]
    try:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def _unverified(run: PlannedRun) -> str:
    """Return why a run that papermill executed does not count, or an empty text."""
    status = content_status(run)
    if status.state is State.COMPLETE:
        return ""
    if status.state is State.STALE:
        return f"{status.detail} between plan and execution; run it again"
    return f"the notebook ended without a valid {RECORD}: {status.detail}"
