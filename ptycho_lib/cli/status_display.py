"""The states of a study's runs as a table, once or again and again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ptycho_lib.study.folder.status import RunStatus, State, study_status

WATCH_EVERY_S = 2.0
STYLES = {
    State.COMPLETE: "green",
    State.RUNNING: "cyan",
    State.FAILED: "red",
    State.INTERRUPTED: "yellow",
    State.PARTIAL: "yellow",
    State.STALE: "yellow",
    State.MISSING: "dim",
}
SHOWN_FIRST = (
    *(State.RUNNING, State.FAILED, State.INTERRUPTED, State.STALE, State.PARTIAL),
    *(State.MISSING, State.COMPLETE),
)
"""Which runs to show first where not all find room."""


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
    looks = _looks(out_dir, every_s)
    try:
        if not console.is_terminal:
            _print_changes(looks, console)
            return
        with Live(console=console, auto_refresh=False) as live:
            for statuses in looks:
                live.update(_view(statuses, console.height), refresh=True)
    except KeyboardInterrupt:
        return


def _looks(out_dir: str | Path, every_s: float) -> Iterator[list[RunStatus]]:
    """Yield the states until none is in progress twice in a row: one run ends before the next begins."""
    quiet = 0
    while True:
        statuses = study_status(out_dir)
        yield statuses
        running = any(status.state is State.RUNNING for status in statuses)
        quiet = 0 if running else quiet + 1
        if quiet == 2 or all(status.state is State.COMPLETE for status in statuses):
            return
        time.sleep(every_s)


def counts(statuses: list[RunStatus]) -> str:
    """Return how many runs are in each state, such as `3 complete, 1 failed`."""
    found = Counter(status.state for status in statuses)
    return ", ".join(f"{found[state]} {state}" for state in State if found[state])


def _print_changes(looks: Iterator[list[RunStatus]], console: Console) -> None:
    """Print a line for each run whose state changed."""
    shown: dict[Path, State] = {}
    for statuses in looks:
        for status in statuses:
            if shown.get(status.folder) is not status.state:
                line = f"{status.key}: {status.state} {status.detail}"
                console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
            shown[status.folder] = status.state


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


def _view(statuses: list[RunStatus], lines: int | None = None) -> Group:
    """Return the table with the totals below, in at most `lines` lines."""
    table = Table("n_train", "trial", "state", "detail", box=None, pad_edge=False)
    shown = statuses if lines is None else _most_urgent(statuses, max(1, lines - 3))
    for status in shown:
        state = Text(status.state.value, style=STYLES[status.state])
        table.add_row(*_place(status), state, Text(status.detail, no_wrap=lines is not None))
    hidden = f"; {len(statuses) - len(shown)} not shown" if len(shown) < len(statuses) else ""
    return Group(table, Text(counts(statuses) + hidden))


def _most_urgent(statuses: list[RunStatus], number: int) -> list[RunStatus]:
    """Return the runs that somebody watches for, such as those in progress, in the study's order."""
    ranked = sorted(range(len(statuses)), key=lambda index: SHOWN_FIRST.index(statuses[index].state))
    return [statuses[index] for index in sorted(ranked[:number])]


def _place(status: RunStatus) -> tuple[str, str]:
    """Return size and trial as the table shows them; what is computed once a study has neither."""
    return (str(status.n_train), str(status.trial)) if status.key.is_trained else (status.key.kind, "")
