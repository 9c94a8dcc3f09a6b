"""Progress of a study: a live table in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ptycho_lib.study.execution.notebook_process import Ending
from ptycho_lib.study.folder.manifest import PlannedRun
from ptycho_lib.study.folder.notebook_errors import step_of
from ptycho_lib.study.folder.progress import Epoch, last_epoch
from ptycho_lib.study.folder.templates import execution_name

TABLE_EVERY_S = 1.0
LINE_EVERY_S = 30.0
EVALUATION_S = 12.0
"""From the last epoch of a run to its end, until a run of the study has shown it."""


@dataclass
class RunProgress:
    """The progress of one run in execution."""

    run: PlannedRun
    started: float
    """Seconds since the epoch."""
    begun: dict[str, float] = field(default_factory=dict)
    """When each model began to train, in the order of training."""
    first: Epoch | None = None
    """The first epoch seen of the model in training."""
    epoch: Epoch | None = None
    heading: str = "starting"
    """The heading of the notebook above the cell in execution."""

    def look(self) -> None:
        """Read the run's progress files."""
        folder = self.run.folder
        self.heading = step_of(folder, folder / execution_name(self.run.key.template, "partial"))
        epoch = last_epoch(folder)
        if epoch is not None and epoch.time >= self.started:
            before = self.epoch.time if self.epoch is not None else self.started
            if epoch.model not in self.begun:
                self.begun[epoch.model], self.first = before, epoch
            self.epoch = epoch

    @property
    def step(self) -> str:
        """What it does: model and epoch of a training in progress, else the heading of the notebook."""
        if self.epoch is not None and self.epoch.epoch < self.epoch.epochs:
            return f"{self.epoch.model} epoch {self.epoch.epoch}/{self.epoch.epochs}"
        return self.heading

    @property
    def loss(self) -> str:
        """The last loss."""
        return f"{self.epoch.loss:.4g}" if self.epoch is not None else ""

    def remaining_s(self, now: float, after_s: float = EVALUATION_S) -> float | None:
        """Return the estimated remaining time, or None before the first epoch.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        after_s : float
            Time between the last epoch of a run and its end, s.
        """
        if self.epoch is None:
            return None
        seen = self.epoch.epoch - self.first.epoch if self.first is not None else 0
        if self.first is not None and seen > 0:
            an_epoch = (self.epoch.time - self.first.time) / seen
        else:  # with the start of the kernel
            an_epoch = (self.epoch.time - self.begun[self.epoch.model]) / max(1, self.epoch.epoch)
        ahead = max(0, len(self.run.models) - len(self.begun))
        epochs = self.epoch.epochs - self.epoch.epoch + ahead * self.epoch.epochs
        return max(0.0, epochs * an_epoch + after_s - (now - self.epoch.time))


@dataclass
class Tally:
    """The study as a whole: how many runs there are, how many ended, how long one takes."""

    total: int = 0
    started: float = field(default_factory=time.time)
    done: int = 0
    failed: int = 0
    interrupted: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of the complete runs that train networks; the others are few and differ."""
    after_s: list[float] = field(default_factory=list)
    """Of the same runs, from the last epoch to the end."""
    active: dict[str, RunProgress] = field(default_factory=dict)
    jobs: int = 1

    def line(self, now: float) -> str:
        """Return the study's state in one line."""
        text = f"{self.done}/{self.total} runs complete"
        if self.failed:
            text += f", {self.failed} failed"
        if self.interrupted:
            text += f", {self.interrupted} interrupted"
        text += f", {duration(now - self.started)} elapsed"
        remaining = self.remaining_s(now)
        return text if remaining is None else f"{text}, about {duration(remaining)} remaining"

    def end(self, run: PlannedRun, ending: Ending) -> None:
        """Count a run that ended."""
        progress = self.active.pop(run.name, None)
        self.done += ending.succeeded
        self.interrupted += ending.interrupted
        self.failed += not (ending.succeeded or ending.interrupted)
        if ending.succeeded and run.key.is_trained:
            self.seconds.append(ending.seconds)
            if progress is not None:
                progress.look()
                last = progress.epoch.time if progress.epoch is not None else progress.started
                self.after_s.append(max(0.0, time.time() - last))

    def remaining_of(self, progress: RunProgress, now: float) -> float | None:
        """Return the estimated remaining time of one run in progress, s."""
        after = sum(self.after_s) / len(self.after_s) if self.after_s else EVALUATION_S
        return progress.remaining_s(now, after)

    def remaining_s(self, now: float) -> float | None:
        """Return the estimated remaining time, s, or None before anything is known."""
        trained = [progress for progress in self.active.values() if progress.run.key.is_trained]
        ahead = [self.remaining_of(progress, now) for progress in trained]
        whole = self.seconds + [
            now - progress.started + seconds
            for progress, seconds in zip(trained, ahead, strict=True)
            if seconds is not None
        ]
        if not whole:
            return None
        typical = sum(whole) / len(whole)
        known = [seconds for seconds in ahead if seconds is not None]
        in_progress = max(known, default=typical) if ahead else 0.0
        waiting = self.total - self.done - self.failed - self.interrupted - len(self.active)
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
        self.tally.end(run, ending)
        if ending.succeeded:
            self._print(f"{run.name}: complete in {duration(ending.seconds)}; {self.tally.line(time.time())}")
        else:
            how = "interrupted" if ending.interrupted else "failed"
            self._print(f"{run.name}: {how} after {duration(ending.seconds)}: {ending.reason}")

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
            remaining = self.tally.remaining_of(progress, now)
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


class LiveTable(Lines):
    """A watcher for terminals and notebooks: a live table, one line a run, and the total below."""

    def __init__(self, console: Console, *, every_s: float = TABLE_EVERY_S) -> None:
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

    def __enter__(self) -> LiveTable:
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
            remaining = self.tally.remaining_of(progress, now)
            table.add_row(
                progress.run.name,
                progress.step,
                progress.loss,
                duration(now - progress.started),
                "" if remaining is None else duration(remaining),
            )
        return Group(table, Text(total))


def watcher_for(console: Console) -> Lines:
    """Return a live table for a terminal or a notebook, plain lines for a pipe."""
    live = console.is_terminal or console.is_jupyter
    return (LiveTable if live else Lines)(console)


def duration(seconds: float) -> str:
    """Return a time span with its units: 48 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
