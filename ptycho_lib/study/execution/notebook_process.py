"""One notebook executed by papermill in its own process: start, watch, stop, judge."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ptycho_lib.io.files import require_inside, write_atomically
from ptycho_lib.study.execution.kernel_environment import Resources, create_profile, environment, remove_profile
from ptycho_lib.study.execution.process_tree import ProcessTree, ended_for_memory
from ptycho_lib.study.folder.locks import note_papermill
from ptycho_lib.study.folder.notebook_errors import (
    cell_error,
    read_notebook,
    where_it_stopped,
    write_failed_notebook,
)
from ptycho_lib.study.folder.progress import FAILURE, LOG, USAGE
from ptycho_lib.study.folder.record import RECORD

NOTE_BYTES = 4096
"""Reserved at the start for the note of a failure, so that a full disk or a read-only folder can still hold it."""

QUICK_PAPERMILL = "ptycho_lib.study.execution.quick_papermill"
"""The module that is started in the place of papermill, whose options it takes."""

NOT_STARTED = "not started"
"""The reason of a run that was not begun when the study was stopped."""


@dataclass(frozen=True)
class Ending:
    """How an execution ended."""

    succeeded: bool
    reason: str
    """Why it failed: cell and error line; empty for success."""
    seconds: float
    peak_memory_bytes: int
    interrupted: bool = False
    """Whether it was stopped on request, or not begun before the study was."""


@dataclass
class NotebookProcess:
    """A running papermill. `poll` until it returns an `Ending`.

    Parameters
    ----------
    command : list of str
        The papermill command, ``[python, "-m", "papermill", ...]``; it writes the partial notebook.
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
    _profile: Path | None = None
    _ended_for_memory: int = 0
    _tree: ProcessTree | None = None
    _record_before: int | None = None

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
        return self._tree is not None

    def start(self) -> None:
        """Start papermill in its own process group, its output going to the log."""
        log = self.folder / LOG
        require_inside(log.parent, self.folder)
        log.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.partial, self.final, self.failed, log):
            if path.is_symlink():
                path.unlink()  # papermill would write through it
        reserved = "Reserved for the reason, in case this run fails."
        write_atomically(self.folder / FAILURE, reserved.ljust(NOTE_BYTES))
        self._profile = create_profile()
        self._ended_for_memory = ended_for_memory()
        self._record_before = _modified(self.folder / RECORD)
        self.started = time.time()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*self.command[:2], QUICK_PAPERMILL, *self.command[3:]],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.template.parent,
                env=os.environ | environment(self.resources, self.template) | {"IPYTHONDIR": str(self._profile)},
                start_new_session=True,
            )
        self._tree = ProcessTree(process)
        note_papermill(self.folder, process.pid)

    def poll(self) -> Ending | None:
        """Return how the execution ended, or None while it lasts. Enforces the timeout."""
        tree = self._running()
        code = tree.process.poll()
        elapsed = time.time() - self.started
        if code is None and self.timeout_s is not None and elapsed > self.timeout_s:
            tree.terminate()
            return self._fail(f"exceeded the timeout of {self.timeout_s:g} s{self._where()}")
        if code is None:
            tree.sample()
            return None
        return self._judge(code)

    def ask_to_stop(self, why: str) -> None:
        """Ask papermill to shut its kernel down; `stop` then waits until it has."""
        del why
        self._running().ask_to_stop()

    def stop(self, why: str) -> Ending:
        """Stop papermill and its kernel; the partial notebook keeps what was done."""
        self._running().terminate()
        return self._fail(f"{why}{self._where()}", interrupted=True)

    def _judge(self, code: int) -> Ending:
        notebook = read_notebook(self.partial)
        error = cell_error(notebook) if notebook else ""
        if error:
            return self._fail(error)
        if code != 0:
            return self._fail(self._cause_of_death(code))
        unverified = self.verify()
        if unverified:
            return self._fail(unverified)
        try:
            self.partial.replace(self.final)
        except OSError as problem:
            return self._fail(f"the executed notebook could not be kept: {problem}")
        for path in (self.failed, self.folder / FAILURE):
            path.unlink(missing_ok=True)
        ending = self._ending(succeeded=True, reason="")
        self._note_usage(ending)
        return ending

    def _cause_of_death(self, code: int) -> str:
        log = _tail_text(self.folder / LOG)
        where = self._where()
        if "DeadKernelError" in log or "Kernel died" in log or code in (137, 138):
            short = ended_for_memory() > self._ended_for_memory
            why = "memory ran out and the operating system ended it" if short else "killed, or out of memory"
            return f"the kernel died{where}: {why} ({self._running().peak_memory_bytes / 1e9:.1f} GB seen in use)"
        if code < 0:
            return f"papermill was killed by {signal.Signals(-code).name}{where}"
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        last = lines[-1] if lines else "no output"
        return f"papermill ended with exit code {code}{where}: {last[:300]}"

    def _where(self) -> str:
        return where_it_stopped(self.folder, self.partial)

    def _fail(self, reason: str, *, interrupted: bool = False) -> Ending:
        """Note the failure beside the run; what cannot be written is named in the reason."""
        self._running().kill_members()
        try:
            self._remove_own_record()
            write_failed_notebook(self.partial, self.failed, reason, interrupted=interrupted)
        except OSError as problem:
            reason = f"{reason} (and the failed notebook could not be written: {problem})"
        try:
            self._note_failure(reason, interrupted)
        except OSError as problem:
            reason = f"{reason} (and the failure could not be noted: {problem})"
        return self._ending(succeeded=False, reason=reason, interrupted=interrupted)

    def _note_failure(self, reason: str, interrupted: bool) -> None:
        """Write the note in place, into the space reserved for it: a new file may have no room."""
        note = {
            "reason": reason[: NOTE_BYTES // 8],  # JSON takes at most 6 bytes a character
            "interrupted": interrupted,
            "exit_code": self._running().process.returncode,
            "time": time.time(),
            "host": socket.gethostname(),
        }
        with os.fdopen(os.open(self.folder / FAILURE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644), "wb") as stream:
            stream.write(f"{json.dumps(note, indent=2)}\n".encode().ljust(NOTE_BYTES))

    def _remove_own_record(self) -> None:
        """Remove the record that this execution wrote; that of an earlier, smaller run stays."""
        record = self.folder / RECORD
        if _modified(record) != self._record_before:
            record.unlink(missing_ok=True)

    def _ending(self, *, succeeded: bool, reason: str, interrupted: bool = False) -> Ending:
        if self._profile is not None:
            remove_profile(self._profile)
        seconds = time.time() - self.started
        return Ending(succeeded, reason, seconds, self._running().peak_memory_bytes, interrupted)

    def _note_usage(self, ending: Ending) -> None:
        usage = {
            "seconds": round(ending.seconds, 2),
            "peak_memory_bytes": ending.peak_memory_bytes,
            "disk_bytes": folder_bytes(self.folder),
            "threads": self.resources.threads,
            "host": socket.gethostname(),
        }
        write_atomically(self.folder / USAGE, json.dumps(usage, indent=2) + "\n")

    def _running(self) -> ProcessTree:
        if self._tree is None:
            raise RuntimeError(f"{self.folder}: the process was never started")
        return self._tree


def folder_bytes(folder: Path) -> int:
    """Return the size of a run's files; links are not followed, further trials below it do not count."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return sum(path.lstat().st_size for path in files if not path.relative_to(folder).parts[0].startswith("trial_"))


def _modified(path: Path) -> int | None:
    """Return when a file was changed last, ns; None if it is not there. A link is not followed."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


def _tail_text(path: Path, length: int = 8192) -> str:
    try:
        return path.read_bytes()[-length:].decode("utf-8", errors="replace")
    except OSError:
        return ""
