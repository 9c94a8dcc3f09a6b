"""Execute the summary notebook of a study."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import require_writable, write_atomically
from ptycho_lib.study.execution.jobs import TICK_S, default_threads
from ptycho_lib.study.execution.kernel_environment import Resources
from ptycho_lib.study.execution.notebook_process import Ending, NotebookProcess
from ptycho_lib.study.execution.plan import KERNEL, START_TIMEOUT_S, papermill_command
from ptycho_lib.study.execution.signals import stop_signals
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.templates import SUMMARIZE_STUDY, template_path

NAME = "summary"
SUMMARY = f"{NAME}.ipynb"
LOCK_TIMEOUT_S = 600.0


def execute_summary(
    out_dir: str | Path, *, template: Path | None = None, kernel: str = KERNEL, timeout_s: float | None = None
) -> Ending:
    """Execute the summary template to `summary.ipynb` in the study folder.

    Raises
    ------
    InputError
        If another process has been summarising this study for ten minutes.
    """
    out_dir = require_writable(Path(out_dir).resolve())
    template = (template or template_path(SUMMARIZE_STUDY)).resolve()
    lock = locks.take_lock(out_dir, "runner", timeout_s=LOCK_TIMEOUT_S)
    if lock is None:
        fix = "Wait for it, then run `ptycho-study report`."
        raise InputError(Problem(str(out_dir), "", "another process at its summary", "a free folder", fix))
    try:
        parameters = out_dir / locks.EXECUTION / "parameters.yaml"
        write_atomically(parameters, yaml.safe_dump({"study_dir": str(out_dir)}))
        process = NotebookProcess(
            command=papermill_command(template, out_dir / f"{NAME}.partial.ipynb", parameters, kernel, START_TIMEOUT_S),
            folder=out_dir,
            name=NAME,
            template=template,
            resources=Resources(default_threads()),
            timeout_s=timeout_s,
            verify=lambda: "",
        )
        return _finish(process)
    finally:
        lock.release()


def _finish(process: NotebookProcess) -> Ending:
    with stop_signals() as stop_signal:
        process.start()
        while (ending := process.poll()) is None:
            if stop_signal:
                return process.stop(f"interrupted by {stop_signal[0]}")
            time.sleep(TICK_S)
    return ending
