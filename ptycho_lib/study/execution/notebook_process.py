"""One notebook executed by papermill in its own process: start, watch, stop, judge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ptycho_lib.io.files import require_inside, write_atomically
from ptycho_lib.study.folder.layout import FAILURE, USAGE
from ptycho_lib.study.folder.locks import note_papermill
from ptycho_lib.study.folder.notebook_errors import (
    cell_error,
    read_notebook,
    where_it_stopped,
    write_failed_notebook,
)
from ptycho_lib.study.folder.progress import LOG
from ptycho_lib.study.folder.provenance import THREAD_VARIABLES
from ptycho_lib.study.folder.templates import TEMPLATE_VARIABLE

KERNEL_CONFIG = """\
c = get_config()
c.HistoryManager.enabled = False
c.IPKernelApp.capture_fd_output = False
"""
"""Start-up files in `~/.ipython` would run in every kernel, and kernels that share one history database block
each other on network file systems. TensorFlow's C++ messages go to the log instead of into the cells."""

NOT_STARTED = "not started"
"""The reason of a run that was not begun when the study was stopped."""

GRACE_S = 8.0
"""Between asking a process to stop and killing it: papermill shuts its kernel down and saves."""

SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True)
class Resources:
    """What one job may use."""

    threads: int
    """Size of the thread pools. It decides in which order sums are taken, so it is part of a result."""
    gpu: str = ""
    """A device for CUDA_VISIBLE_DEVICES; empty leaves the variable as it is."""


@dataclass(frozen=True)
class Ending:
    """How an execution ended."""

    succeeded: bool
    reason: str
    """Why it failed: cell and error line; empty for success."""
    seconds: float
    peak_memory_bytes: int


@dataclass
class NotebookProcess:
    """A running papermill. `poll` until it returns an `Ending`.

    Parameters
    ----------
    command : list of str
        The papermill command; it writes the partial notebook.
    folder : Path
        Where the notebook and the `execution` folder are.
    name : str
        The notebook's file name without `.ipynb`.
    template : Path
        The notebook that is executed.
    resources : Resources
        Threads and GPU.
    timeout_s : float or None
        Wall-clock limit of the whole execution.
    verify : callable
        Returns why the result does not count although papermill succeeded, or an empty text.
    """

    command: list[str]
    folder: Path
    name: str
    template: Path
    resources: Resources
    timeout_s: float | None
    verify: Callable[[], str]
    started: float = field(default_factory=time.time)
    peak_memory_bytes: int = 0
    _profile: Path | None = None
    _ended_for_memory: int = 0
    _relatives: list[psutil.Process] = field(default_factory=list)
    _next_sample: float = 0.0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def partial(self) -> Path:
        """The notebook while it is executed."""
        return self.folder / f"{self.name}.partial.ipynb"

    @property
    def final(self) -> Path:
        """The notebook once it succeeded."""
        return self.folder / f"{self.name}.ipynb"

    @property
    def failed(self) -> Path:
        """The notebook once it failed."""
        return self.folder / f"{self.name}.failed.ipynb"

    @property
    def begun(self) -> bool:
        """Whether papermill was started."""
        return self._process is not None

    def start(self) -> None:
        """Start papermill in its own process group, its output going to the log."""
        log = self.folder / LOG
        require_inside(log.parent, self.folder)
        log.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.partial, self.final, self.failed, log):
            if path.is_symlink():
                path.unlink()  # papermill would write through it
        self._profile = create_profile()
        self._ended_for_memory = ended_for_memory()
        self.started = time.time()
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.template.parent,
                env=os.environ | environment(self.resources, self.template) | {"IPYTHONDIR": str(self._profile)},
                start_new_session=True,
            )
        note_papermill(self.folder, self._process.pid)

    def poll(self) -> Ending | None:
        """Return how the execution ended, or None while it lasts. Enforces the timeout."""
        process = self._running()
        code = process.poll()
        elapsed = time.time() - self.started
        if code is None and self.timeout_s is not None and elapsed > self.timeout_s:
            self._terminate()
            return self._fail(f"exceeded the timeout of {self.timeout_s:g} s{self._where()}", process.returncode)
        if code is None:
            self._sample()
            return None
        return self._judge(code)

    def ask_to_stop(self, why: str) -> None:
        """Ask papermill to shut its kernel down; `stop` then waits until it has."""
        del why
        # Asked twice, it may have ended in between: its kernel then has another parent, but is known.
        self._relatives = list({*self._relatives, *self._family()})
        self._running().terminate()

    def stop(self, why: str) -> Ending:
        """Stop papermill and its kernel; the partial notebook keeps what was done."""
        process = self._running()
        self._terminate()
        return self._fail(f"{why}{self._where()}", process.returncode)

    def _judge(self, code: int) -> Ending:
        notebook = read_notebook(self.partial)
        error = cell_error(notebook) if notebook else ""
        if error:
            return self._fail(error, code)
        if code != 0:
            return self._fail(self._cause_of_death(code), code)
        unverified = self.verify()
        if unverified:
            return self._fail(unverified, code)
        try:
            self.partial.replace(self.final)
        except OSError as problem:
            return self._fail(f"the executed notebook could not be kept: {problem}", code)
        self.failed.unlink(missing_ok=True)
        ending = self._ending(succeeded=True, reason="")
        self._note_usage(ending)
        return ending

    def _cause_of_death(self, code: int) -> str:
        log = _tail_text(self.folder / LOG)
        where = self._where()
        if "DeadKernelError" in log or "Kernel died" in log or code in (137, 138):
            short = ended_for_memory() > self._ended_for_memory
            why = "memory ran out and the operating system ended it" if short else "killed, or out of memory"
            return f"the kernel died{where}: {why} ({self.peak_memory_bytes / 1e9:.1f} GB seen in use)"
        if code < 0:
            return f"papermill was killed by {signal.Signals(-code).name}{where}"
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        last = lines[-1] if lines else "no output"
        return f"papermill ended with exit code {code}{where}: {last[:300]}"

    def _where(self) -> str:
        return where_it_stopped(self.folder, self.partial)

    def _fail(self, reason: str, code: int | None) -> Ending:
        """Note the failure beside the run; if even that cannot be written, say so."""
        self._kill_descendants()
        note = {"reason": reason, "exit_code": code, "time": time.time(), "host": socket.gethostname()}
        try:
            (self.folder / "run.json").unlink(missing_ok=True)
            write_failed_notebook(self.partial, self.failed, reason)
            write_atomically(self.folder / FAILURE, json.dumps(note, indent=2) + "\n")
        except OSError as problem:
            reason = f"{reason} (and the failure could not be noted: {problem})"
        return self._ending(succeeded=False, reason=reason)

    def _ending(self, *, succeeded: bool, reason: str) -> Ending:
        if self._profile is not None:
            remove_profile(self._profile)
        return Ending(succeeded, reason, time.time() - self.started, self.peak_memory_bytes)

    def _note_usage(self, ending: Ending) -> None:
        usage = {
            "seconds": round(ending.seconds, 2),
            "peak_memory_bytes": ending.peak_memory_bytes,
            "disk_bytes": folder_bytes(self.folder),
            "threads": self.resources.threads,
            "host": socket.gethostname(),
        }
        write_atomically(self.folder / USAGE, json.dumps(usage, indent=2) + "\n")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.folder}: the process was never started")
        return self._process

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._running().pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.Error:
            return []

    def _sample(self) -> None:
        if time.time() < self._next_sample:
            return
        self._next_sample = time.time() + SAMPLE_EVERY_S
        self._relatives = self._family()
        total = 0
        for process in self._relatives:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended between the two looks
        self.peak_memory_bytes = max(self.peak_memory_bytes, total)

    def _terminate(self) -> None:
        process = self._running()
        self.ask_to_stop("")
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._kill_descendants()

    def _kill_descendants(self) -> None:
        """End kernels that outlived their papermill: they have sessions of their own."""
        for process in self._relatives:
            try:
                process.kill()
            except psutil.Error:
                continue  # already gone


def environment(resources: Resources, template: Path) -> dict[str, str]:
    """Return what an execution adds to the environment: this interpreter's kernel, its share of threads."""
    threads = str(resources.threads)
    kernels = str(Path(sys.prefix) / "share" / "jupyter")
    fixed = {
        "JUPYTER_PATH": os.pathsep.join(filter(None, (kernels, os.environ.get("JUPYTER_PATH")))),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **dict.fromkeys(THREAD_VARIABLES, threads),
        TEMPLATE_VARIABLE: str(template),
    }
    return fixed | ({"CUDA_VISIBLE_DEVICES": resources.gpu} if resources.gpu else {})


def create_profile() -> Path:
    """Create a directory for the variable IPYTHONDIR and return it."""
    directory = Path(tempfile.mkdtemp(prefix="ptycho-ipython-"))
    profile = directory / "profile_default"
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(KERNEL_CONFIG, encoding="utf-8")
    return directory


def remove_profile(directory: Path) -> None:
    """Remove what `create_profile` made, and what the kernel added."""
    shutil.rmtree(directory, ignore_errors=True)


def ended_for_memory() -> int:
    """Return how many processes Linux has ended for want of memory since it started; 0 elsewhere."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _tail_text(path: Path, length: int = 8192) -> str:
    try:
        return path.read_bytes()[-length:].decode("utf-8", errors="replace")
    except OSError:
        return ""
