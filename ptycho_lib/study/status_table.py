"""The states of a study's runs as a table, once or again and again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ptycho_lib.config import ITERATIVE
from ptycho_lib.study.status import RunStatus, State, study_status

WATCH_EVERY_S = 2.0
STYLES = {
    State.COMPLETE: "green",
    State.RUNNING: "cyan",
    State.FAILED: "red",
    State.STALE: "yellow",
    State.MISSING: "dim",
}


def print_status(out_dir: str | Path, console: Console) -> None:
    """Print the state of every run.

    Raises
    ------
    InputError
        If the folder is not a study.
    """
    _print(study_status(out_dir), console)


def watch_status(out_dir: str | Path, console: Console, *, every_s: float = WATCH_EVERY_S) -> None:
    """Show the states until no run is in progress or the user interrupts.

    A terminal shows one table that changes; a pipe gets a line for each change of a state.
    """
    statuses = study_status(out_dir)
    if not console.is_terminal:
        _watch_lines(out_dir, console, every_s)
        return
    try:
        with Live(_view(statuses), console=console, auto_refresh=False) as live:
            while any(status.state is State.RUNNING for status in statuses):
                time.sleep(every_s)
                statuses = study_status(out_dir)
                live.update(_view(statuses), refresh=True)
    except KeyboardInterrupt:
        return


def counts(statuses: list[RunStatus]) -> str:
    """Return how many runs are in each state, such as `3 complete, 1 failed`."""
    found = Counter(status.state for status in statuses)
    return ", ".join(f"{found[state]} {state}" for state in State if found[state])


def _watch_lines(out_dir: str | Path, console: Console, every_s: float) -> None:
    shown: dict[Path, RunStatus] = {}
    while True:
        statuses = study_status(out_dir)
        for status in statuses:
            before = shown.get(status.folder)
            if before is None or before.state is not status.state:
                run = ITERATIVE if status.n_train == 0 else f"n_train {status.n_train}, trial {status.trial}"
                line = f"{run}: {status.state} {status.detail}"
                console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
            shown[status.folder] = status
        if not any(status.state is State.RUNNING for status in statuses):
            return
        time.sleep(every_s)


def _print(statuses: list[RunStatus], console: Console) -> None:
    if console.is_terminal:
        console.print(_view(statuses))
        return
    rows = [("n_train", "trial", "state", "detail")]
    rows += [(*_place(status), str(status.state), status.detail) for status in statuses]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        console.print("  ".join([*cells, row[3]]).rstrip(), markup=False, highlight=False, soft_wrap=True)
    console.print(counts(statuses), markup=False, highlight=False)


def _view(statuses: list[RunStatus]) -> Group:
    table = Table("n_train", "trial", "state", "detail", box=None, pad_edge=False)
    for status in statuses:
        state = Text(status.state.value, style=STYLES[status.state])
        table.add_row(*_place(status), state, Text(status.detail))
    return Group(table, Text(counts(statuses)))


def _place(status: RunStatus) -> tuple[str, str]:
    """Return size and trial as the table shows them; the iterative reconstruction has neither."""
    return (str(status.n_train), str(status.trial)) if status.n_train else (ITERATIVE, "")
