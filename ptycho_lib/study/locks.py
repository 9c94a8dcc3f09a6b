"""Locks on run folders: one process computes a run, the others see that it does.

The operating system releases a lock when its holder dies, however it dies. A run folder has two:
the *runner* lock is held by the program that started papermill, the *kernel* lock by the notebook's
kernel from `open_run` to `finish_run`. A kernel that outlives its killed runner thus still shows as
running, and a notebook executed by hand cannot meet a study run in the same folder.
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

from ptycho_lib.study.files import write_atomically

EXECUTION = "execution"
"""Subfolder of a run for what belongs to its execution: log, progress, parameters, locks."""

Holder = Literal["runner", "kernel"]
HOLDERS: tuple[Holder, ...] = ("runner", "kernel")


def lock_path(folder: Path, holder: Holder) -> Path:
    """Return the lock file of a run folder."""
    return folder / EXECUTION / f"{holder}.lock"


def take_lock(folder: Path, holder: Holder, *, timeout_s: float = 1.0) -> FileLock | None:
    """Take a run folder's lock, or return None if another process keeps it for `timeout_s`.

    Taking a lock again that this process holds succeeds: a cell may be executed twice.
    """
    path = lock_path(folder, holder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True, thread_local=False)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=0.1)
    except Timeout:
        return None
    write_atomically(path.with_suffix(".json"), json.dumps(_this_process()))
    return lock


def is_locked(folder: Path) -> bool:
    """Return whether some process, this one included, is computing the run in `folder`."""
    return any(_is_held(lock_path(folder, holder)) for holder in HOLDERS)


def lock_holder(folder: Path) -> dict[str, Any]:
    """Return host, pid and start of the process that last took a lock of this folder."""
    for holder in HOLDERS:
        path = lock_path(folder, holder)
        if _is_held(path):
            try:
                return dict(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
            except (OSError, ValueError):
                return {}
    return {}


def is_alive(process: dict[str, Any]) -> bool | None:
    """Return whether a noted process still runs; None if it belongs to another host."""
    if process.get("host") != socket.gethostname():
        return None
    try:
        return abs(psutil.Process(int(process["pid"])).create_time() - float(process["created"])) < 1.0
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _is_held(path: Path) -> bool:
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


def _this_process() -> dict[str, Any]:
    process = psutil.Process(os.getpid())
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "created": process.create_time(),
        "taken": time.time(),
    }
