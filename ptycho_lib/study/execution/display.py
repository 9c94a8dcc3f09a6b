"""Progress that people can read: a live board in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ptycho_lib.study.execution.notebook_process import Ending
from ptycho_lib.study.folder.manifest import PlannedRun
from ptycho_lib.study.folder.progress import Epoch, current_cell, last_epoch

BOARD_EVERY_S = 1.0
LINE_EVERY_S = 30.0


@dataclass
class RunProgress:
    """How far one run in execution has come."""

    run: PlannedRun
    started: float
    """Seconds since the epoch."""
    models: dict[str, float] = field(default_factory=dict)
    """When each model was first seen training, in the order of training."""
    epoch: Epoch | None = None
    cell: int | None = None

    def look(self) -> None:
        """Read the run's progress files."""
        self.cell = current_cell(self.run.folder)
        epoch = last_epoch(self.run.folder)
        if epoch is not None and epoch.time >= self.started:
            self.epoch = epoch
            self.models.setdefault(epoch.model, epoch.time)

    @property
    def step(self) -> str:
        """What it does: model and epoch, or the cell."""
        if self.epoch is not None:
            return f"{self.epoch.model} epoch {self.epoch.epoch}/{self.epoch.epochs}"
        return f"cell {self.cell}" if self.cell else "starting"

    @property
    def loss(self) -> str:
        """The last loss."""
        return f"{self.epoch.loss:.4g}" if self.epoch is not None else ""

    def remaining_s(self, now: float) -> float | None:
        """Return the estimated remaining seconds from the epochs done, or None before the first."""
        if self.epoch is None:
            return None
        models = max(len(self.run.config.models_of(self.run.n_train)), len(self.models))
        share = (len(self.models) - 1 + self.epoch.epoch / max(1, self.epoch.epochs)) / models
        spent = self.epoch.time - self.started
        return max(0.0, spent / share - (now - self.started))


@dataclass
class Tally:
    """The study as a whole: how many runs there are, how many ended, how long one takes."""

    total: int = 0
    started: float = field(default_factory=time.time)
    done: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)
    active: dict[str, RunProgress] = field(default_factory=dict)
    jobs: int = 1

    def line(self, now: float) -> str:
        """Return the study's state in one line."""
        text = f"{self.done}/{self.total} runs complete"
        if self.failed:
            text += f", {self.failed} failed"
        text += f", {duration(now - self.started)} elapsed"
        remaining = self.remaining_s(now)
        return text if remaining is None else f"{text}, about {duration(remaining)} remaining"

    def remaining_s(self, now: float) -> float | None:
        """Return the estimated remaining seconds, or None before anything is known."""
        ahead = [progress.remaining_s(now) for progress in self.active.values()]
        known = [seconds for seconds in ahead if seconds is not None]
        waiting = self.total - self.done - self.failed - len(self.active)
        whole = self.seconds + [
            now - progress.started + seconds
            for progress, seconds in zip(self.active.values(), ahead, strict=True)
            if seconds is not None
        ]
        if not known and not whole:
            return None
        typical = sum(whole) / len(whole) if whole else 0.0
        in_progress = max(known, default=typical) if ahead else 0.0
        return in_progress + waiting * typical / min(self.jobs, max(1, len(self.active)))


class Lines:
    """A watcher for pipes and log files: one plain line for each event, and one now and then.

    Parameters
    ----------
    console : Console
        Where to print.
    every_s : float
        Seconds between two lines on the same run.
    """

    def __init__(self, console: Console, *, every_s: float = LINE_EVERY_S) -> None:
        self.console = console
        self.tally = Tally()
        self.every_s = every_s
        self._next = time.time() + every_s

    def begin(self, total: int, complete: int, jobs: int) -> None:
        """Start counting."""
        self.tally = Tally(total, done=complete, jobs=jobs)

    def message(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def started(self, run: PlannedRun) -> None:
        """Say that a run starts."""
        self.tally.active[run.name] = RunProgress(run, time.time())
        self._print(f"{run.name}: started")

    def finished(self, run: PlannedRun, ending: Ending) -> None:
        """Say how a run ended."""
        self.tally.active.pop(run.name, None)
        if ending.succeeded:
            self.tally.done += 1
            self.tally.seconds.append(ending.seconds)
            self._print(f"{run.name}: complete in {duration(ending.seconds)}; {self.tally.line(time.time())}")
        else:
            self.tally.failed += 1
            self._print(f"{run.name}: failed after {duration(ending.seconds)}: {ending.reason}")

    def tick(self) -> None:
        """Print where the runs are, every now and then."""
        now = time.time()
        if now < self._next:
            return
        self._next = now + self.every_s
        if not self.tally.active:
            self._print(f"{self.tally.line(now)}; nothing in progress here")
        for progress in self.tally.active.values():
            progress.look()
            remaining = progress.remaining_s(now)
            ahead = "" if remaining is None else f", about {duration(remaining)} remaining"
            loss = f", loss {progress.loss}" if progress.loss else ""
            elapsed = duration(now - progress.started)
            self._print(f"{progress.run.name}: {progress.step}{loss}, {elapsed} elapsed{ahead}")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Board(Lines):
    """A watcher for terminals and notebooks: a live table, one line a run, and the total below."""

    def __init__(self, console: Console, *, every_s: float = BOARD_EVERY_S) -> None:
        super().__init__(console, every_s=every_s)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def tick(self) -> None:
        """Redraw the table."""
        now = time.time()
        if now < self._next:
            return
        self._next = now + self.every_s
        for progress in self.tally.active.values():
            progress.look()
        self._live.update(self._view(now), refresh=True)

    def __enter__(self) -> Board:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def _view(self, now: float) -> Group:
        room = max(1, self.console.height - 4)
        active = list(self.tally.active.values())
        total = self.tally.line(now) + (f"; {len(active) - room} more in progress" if active[room:] else "")
        table = Table(box=None, pad_edge=False)
        for heading in ("run", "step", "loss", "elapsed", "remaining"):
            table.add_column(heading, justify="left" if heading in ("run", "step") else "right")
        for progress in active[:room]:
            remaining = progress.remaining_s(now)
            table.add_row(
                progress.run.name,
                progress.step,
                progress.loss,
                duration(now - progress.started),
                "" if remaining is None else duration(remaining),
            )
        return Group(table, Text(total))


def watcher_for(console: Console) -> Lines:
    """Return a live board for a terminal or a notebook, plain lines for a pipe."""
    live = console.is_terminal or console.is_jupyter
    return (Board if live else Lines)(console)


def duration(seconds: float) -> str:
    """Return a time span as people write it: 48 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
