"""What a step of the work takes, wall time and peak memory, and the cores that it may use."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def available_cores() -> int:
    """Return the number of cores that this process may use; TensorFlow divides its work by them, too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Usage:
    """What one step took.

    Parameters
    ----------
    seconds : float
        Wall time.
    peak_memory_bytes : int
        Largest resident memory of the process: the step's own and everything else that the process holds
        meanwhile, such as libraries, data and the networks of other models. Memory of a GPU does not count.
    memory_of_step : bool
        Whether the peak was reached during this step. Where the system cannot forget an earlier peak (not
        Linux), it is that of the process since its start: an upper bound.
    """

    seconds: float
    peak_memory_bytes: int
    memory_of_step: bool

    def __add__(self, other: Usage) -> Usage:
        """Return what both steps took, one after the other."""
        return Usage(
            self.seconds + other.seconds,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            self.memory_of_step and other.memory_of_step,
        )


class Meter:
    """Measures from its making until it is read. Meters do not nest: making one forgets the peak so far."""

    def __init__(self) -> None:
        self._memory_of_step = _forget_peak()
        self._started = time.perf_counter()

    def read(self, *, seconds: float | None = None) -> Usage:
        """Return what the step took so far; `seconds` replaces the wall time, where part does not count."""
        elapsed = time.perf_counter() - self._started
        return Usage(elapsed if seconds is None else seconds, _peak_bytes(), self._memory_of_step)


def _forget_peak() -> bool:
    """Set the process' high-water mark to its present memory (proc(5), clear_refs); False if impossible."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    """Return the high-water mark of the resident memory; getrusage(2) knows no reset."""
    try:
        mark = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text(encoding="ascii"))
    except OSError:
        mark = None
    if mark:
        return 1024 * int(mark[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
