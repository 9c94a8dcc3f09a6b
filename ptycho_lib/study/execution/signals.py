"""Stop signals are collected, so that a study stops between two steps and not in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; a batch system at its time limit; a terminal that was closed."""


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of the stop signals that arrive; earlier handlers return at the end.

    Only the main thread receives signals. Elsewhere the list stays empty.
    """
    caught: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(signal.Signals(number).name)

    names = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    previous = {number: signal.signal(number, note) for number in names}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
