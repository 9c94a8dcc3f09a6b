"""The processes of one execution: papermill, its kernel, and what that started."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

GRACE_S = 8.0
"""Between asking a process to stop and killing it: papermill shuts its kernel down and saves."""

SAMPLE_EVERY_S = 1.0


@dataclass
class ProcessTree:
    """A process with all that it started, and the largest memory that they were seen to hold together.

    Parameters
    ----------
    process : subprocess.Popen
        In a session of its own.
    """

    process: subprocess.Popen[bytes]
    peak_memory_bytes: int = 0
    _members: list[psutil.Process] = field(default_factory=list)
    _next_sample: float = 0.0

    def sample(self) -> None:
        """Look at the members and their memory, once a second at most."""
        if time.time() < self._next_sample:
            return
        self._next_sample = time.time() + SAMPLE_EVERY_S
        self._members = self._present()
        total = 0
        for member in self._members:
            try:
                total += member.memory_info().rss
            except psutil.Error:
                continue  # it ended between the two looks
        self.peak_memory_bytes = max(self.peak_memory_bytes, total)

    def ask_to_stop(self) -> None:
        """Ask the process to end; what it started is remembered, should it outlive it."""
        self._members = list({*self._members, *self._present()})
        self.process.terminate()

    def terminate(self) -> None:
        """End the process, by force after `GRACE_S`, and all that it started."""
        self.ask_to_stop()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.kill_members()

    def kill_members(self) -> None:
        """End what outlived the process: kernels have sessions of their own."""
        for member in self._members:
            try:
                member.kill()
            except psutil.Error:
                continue  # already gone

    def _present(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.Error:
            return []


def ended_for_memory() -> int:
    """Return how many processes Linux has ended for want of memory since it started; 0 elsewhere."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
