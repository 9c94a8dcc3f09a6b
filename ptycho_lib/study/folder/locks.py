"""Locks on run folders: one process computes a run, the others can see it.

The operating system releases a lock when its holder dies, however it dies. A run folder has two:
the *runner* lock is held by the program that starts papermill, the *kernel* lock by the notebook's
kernel from `open_run` to `finish_run`. A kernel that outlives its killed runner thus still shows as
running, and a notebook executed by hand cannot meet a study run in the same folder. Between the two,
while the kernel starts, a note of papermill's process id closes the gap.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from ptycho_lib.io.files import write_atomically

EXECUTION = "execution"
"""Subfolder of a run for what belongs to its execution: log, progress, parameters, locks."""

PAPERMILL = f"{EXECUTION}/papermill.json"

Holder = Literal["runner", "kernel"]
HOLDERS: tuple[Holder, ...] = ("runner", "kernel")


def lock_path(folder: Path, holder: Holder) -> Path:
    """Return the lock file of a run folder."""
    return folder / EXECUTION / f"{holder}.lock"


def take_lock(folder: Path, holder: Holder, *, timeout_s: float = 1.0) -> FileLock | None:
    """Take a run folder's lock, or return None if another process keeps it for `timeout_s`.

    Taking a lock again that this process holds succeeds: a cell may be executed twice. The lock is
    held as long as somebody keeps the object.
    """
    path = lock_path(folder, holder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()  # the file that it leads to belongs to somebody else
    lock = FileLock(path, is_singleton=True, thread_local=False)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=0.1)
    except Timeout:
        return None
    write_atomically(path.with_suffix(".json"), json.dumps(_describe(os.getpid())))
    return lock


def note_papermill(folder: Path, pid: int) -> None:
    """Note which process executes the notebook of a run folder."""
    write_atomically(folder / PAPERMILL, json.dumps(_describe(pid)))


def is_locked(folder: Path) -> bool:
    """Return whether some process, this one included, is computing the run in `folder`."""
    return any(is_held(folder, holder) for holder in HOLDERS) or _papermill_alive(folder)


def is_held(folder: Path, holder: Holder) -> bool:
    """Return whether some process, this one included, holds one lock of a run folder."""
    path = lock_path(folder, holder)
    if not path.exists():
        return False
    probe = FileLock(path, is_singleton=False)
    try:
        probe.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:  # a folder that we may only read: nobody on this account computes in it
        return False
    probe.release()
    return False


def is_computed_elsewhere(folder: Path) -> bool:
    """Return whether a kernel or papermill works in `folder`, whoever holds the runner lock."""
    return is_held(folder, "kernel") or _papermill_alive(folder)


def is_orphan(folder: Path) -> bool:
    """Return whether a kernel or papermill works in `folder` though its runner is gone."""
    return is_computed_elsewhere(folder) and not is_held(folder, "runner")


def process_at_work(folder: Path) -> dict[str, Any]:
    """Return host, pid and start (`taken`, s since the epoch) of the process that computes in `folder`."""
    for holder in HOLDERS:
        if is_held(folder, holder):
            return _read(lock_path(folder, holder).with_suffix(".json"))
    return _read(folder / PAPERMILL)


def is_alive(process: dict[str, Any]) -> bool | None:
    """Return whether a noted process still runs; None if it belongs to another host."""
    if process.get("host") != socket.gethostname():
        return None
    try:
        return abs(psutil.Process(int(process["pid"])).create_time() - float(process["created"])) < 1.0
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _papermill_alive(folder: Path) -> bool:
    return bool(is_alive(_read(folder / PAPERMILL)))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _describe(pid: int) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "created": psutil.Process(pid).create_time(),
        "taken": time.time(),
    }
