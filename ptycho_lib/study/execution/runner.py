"""Execute a study: each run as a papermill process, several at a time, past any failure."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock

from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import require_writable
from ptycho_lib.study.execution.jobs import TICK_S, Job, Launch, adopt_notebook, local_launch
from ptycho_lib.study.execution.notebook_process import NOT_STARTED, Ending
from ptycho_lib.study.execution.plan import StudyPlan
from ptycho_lib.study.execution.signals import stop_signals
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import (
    MANIFEST,
    PlannedRun,
    holds_configuration,
    read_manifest,
    write_manifest,
)
from ptycho_lib.study.folder.status import State, content_status, run_status
from ptycho_lib.study.folder.truth import keep_truths

CLAIM_TIMEOUT_S = 60.0
TAKE_TIMEOUT_S = 0.3
"""Longer than somebody's look at a lock, shorter than anybody's patience."""

StalePolicy = Literal["refuse", "replace", "keep"]

LOOK_AGAIN_S = 2.0
"""How often to look whether another process has finished its run."""


class Watcher(Protocol):
    """Shows the progress; `display` has one for terminals and one for pipes."""

    def begin(self, total: int, complete: int, jobs: int) -> None:
        """Take note of how many runs there are, how many are complete, how many run at a time."""

    def message(self, text: str) -> None:
        """Show a line that stays."""

    def started(self, run: PlannedRun) -> None:
        """Show that a run starts."""

    def finished(self, run: PlannedRun, ending: Ending) -> None:
        """Show how a run ended."""

    def tick(self) -> None:
        """Look at the runs in progress; called several times a second."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run of a study."""

    run: PlannedRun
    succeeded: bool
    reason: str
    """Why it failed; `complete before` or `by another process` for a run that was not started here."""
    seconds: float = 0.0
    interrupted: bool = False
    """Whether it was stopped, or not begun, because the study was stopped."""
    stale: bool = False
    """Whether it is of other settings, data or code, and was left as it is."""


@dataclass(frozen=True)
class StudyOutcome:
    """What became of the study."""

    outcomes: tuple[RunOutcome, ...]
    interrupted: str = ""
    """The signal that stopped the study, or an empty text."""

    @property
    def failures(self) -> list[RunOutcome]:
        """Runs that are not complete, interrupted ones included."""
        return [outcome for outcome in self.outcomes if not outcome.succeeded]


@dataclass
class _Study:
    """The state of an execution: what waits, what runs, what is done."""

    waiting: deque[PlannedRun]
    watcher: Watcher
    launch: Launch
    slots: list[int]
    timeout_s: float | None
    active: dict[int, tuple[PlannedRun, Job, FileLock]] = field(default_factory=dict)
    elsewhere: list[PlannedRun] = field(default_factory=list)
    outcomes: dict[Path, RunOutcome] = field(default_factory=dict)
    next_look: float = 0.0
    announced: set[Path] = field(default_factory=set)

    def note(self, run: PlannedRun, ending: Ending) -> None:
        self.outcomes[run.folder] = RunOutcome(run, ending.succeeded, ending.reason, ending.seconds, ending.interrupted)
        self.watcher.finished(run, ending)

    def start_waiting(self) -> None:
        """Fill the free slots."""
        while self.waiting and self.slots:
            run = self.waiting.popleft()
            try:
                lock = _take(run)
            except OSError as error:  # a full disk, a folder that was made read-only
                self.note(run, Ending(False, f"could not be started: {error}", 0.0, 0))
                continue
            if lock is None:
                self.elsewhere.append(run)
                self.watcher.message(f"{run.name}: another process computes it ({_describe(run.folder)})")
            elif content_status(run).state is State.COMPLETE:
                adopt_notebook(run)
                lock.release(force=True)
                self.outcomes[run.folder] = RunOutcome(run, True, "by another process")
            else:
                self._start(run, lock)

    def _start(self, run: PlannedRun, lock: FileLock) -> None:
        slot = self.slots.pop(0)
        try:
            job = self.launch(run, slot)
        except (OSError, InputError) as error:
            lock.release(force=True)
            self.slots.insert(0, slot)
            self.note(run, Ending(False, f"could not be started: {error}", 0.0, 0))
            return
        self.active[slot] = (run, job, lock)
        self._announce(run, job)

    def collect(self) -> None:
        """Take note of the runs that ended."""
        for slot, (run, job, lock) in list(self.active.items()):
            self._announce(run, job)
            ending = job.poll()
            if ending is not None:
                self._free(slot, lock)
                self.note(run, ending)

    def _announce(self, run: PlannedRun, job: Job) -> None:
        """Say once that a run began; on a cluster it may wait for a worker first."""
        if job.begun and run.folder not in self.announced:
            self.announced.add(run.folder)
            self.watcher.started(run)

    def stop_all(self, why: str) -> None:
        """Stop every active run, keeping its partial notebook."""
        for _, job, _ in self.active.values():
            job.ask_to_stop(why)
        for slot, (run, job, lock) in list(self.active.items()):
            ending = job.stop(why)
            self._free(slot, lock)
            self.note(run, ending)

    def look_elsewhere(self) -> None:
        """See whether runs that other processes computed are done, or free for us to take."""
        if not self.elsewhere or time.time() < self.next_look:
            return
        self.next_look = time.time() + LOOK_AGAIN_S
        for run in list(self.elsewhere):
            if locks.is_locked(run.folder):
                _end_orphan(run, self.timeout_s, self.watcher)
                continue
            self.elsewhere.remove(run)
            self.waiting.append(run)

    def _free(self, slot: int, lock: FileLock) -> None:
        del self.active[slot]
        self.slots = sorted([*self.slots, slot])
        lock.release(force=True)


def run_study(
    plan: StudyPlan,
    watcher: Watcher,
    *,
    jobs: int = 1,
    timeout_s: float | None = None,
    threads: int | None = None,
    stale: StalePolicy = "refuse",
    launch: Launch | None = None,
) -> StudyOutcome:
    """Execute every run of a plan that is not complete.

    A failed run does not stop the others. SIGINT, SIGTERM and SIGHUP stop the runs in progress
    cleanly; starting again continues the study. Runs that another process computes are left to it.

    Parameters
    ----------
    plan : StudyPlan
        From `plan_study`.
    watcher : Watcher
        Shows the progress.
    jobs : int
        Runs at a time.
    timeout_s : float, optional
        Wall-clock limit of one run.
    threads : int, optional
        Threads of one run, whatever the number of jobs; by default all cores, at most 8.
    stale : {"refuse", "replace", "keep"}
        What to do with complete runs of other settings, data or code: refuse the study before anything is
        written, compute them anew, or leave them as they are.
    launch : callable, optional
        Starts a run elsewhere than in a local process.

    Raises
    ------
    InputError
        If another process computes a different study in the same folder, or there are stale runs and nothing
        says what to do with them.
    """
    if stale == "refuse":
        refuse_stale(plan)
    claim(plan)
    study = _Study(
        waiting=deque(),
        watcher=watcher,
        launch=launch or local_launch(plan, timeout_s, threads),
        slots=list(range(jobs)),
        timeout_s=timeout_s,
    )
    _sort_out(plan, study, stale)
    with stop_signals() as stop_signal:
        while study.waiting or study.active or study.elsewhere:
            if stop_signal:
                study.stop_all(f"interrupted by {stop_signal[0]}")
                break
            study.collect()
            study.start_waiting()
            study.look_elsewhere()
            watcher.tick()
            time.sleep(TICK_S)
    for run in (*study.waiting, *study.elsewhere):
        study.outcomes[run.folder] = RunOutcome(run, False, NOT_STARTED, interrupted=True)
    outcomes = tuple(study.outcomes[run.folder] for run in plan.runs)
    return StudyOutcome(outcomes, stop_signal[0] if stop_signal else "")


def refuse_stale(plan: StudyPlan) -> None:
    """Refuse a study that would replace complete runs of other settings, data or code.

    Raises
    ------
    InputError
        With one problem that names the runs and what changed.
    """
    found = [(run, status) for run in plan.runs if (status := run_status(run)).state is State.STALE]
    if not found:
        return
    names = ", ".join(run.name for run, _ in found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    changes = sorted({status.detail for _, status in found})
    runs = "1 complete run" if len(found) == 1 else f"{len(found)} complete runs"
    what = f"{runs} that the present study would replace ({names}): {'; '.join(changes[:3])}"
    fix = "Give another OUT_DIR, compute them anew with --replace-stale, or leave them with --keep-stale."
    raise InputError(Problem(str(plan.out_dir), "", what, "runs of this study, or an empty folder", fix))


def claim(plan: StudyPlan) -> None:
    """Write `study.yaml` and the truth, unless a different study is being computed in the folder.

    Raises
    ------
    InputError
        If it is, or if the folder cannot be written.
    """
    require_writable(plan.out_dir)
    lock = locks.take_lock(plan.out_dir, "runner", timeout_s=CLAIM_TIMEOUT_S)
    if lock is None:
        holder = _describe(plan.out_dir)
        found = f"a folder that another study is just starting or summarising in ({holder})"
        raise InputError(Problem(str(plan.out_dir), "", found, "a free folder", "Try again in a minute."))
    try:
        if (plan.out_dir / MANIFEST).is_file():
            _refuse_other_study(plan)
        write_manifest(plan.out_dir, plan.manifest)
        keep_truths(plan.out_dir, plan.manifest)
    finally:
        lock.release()


def _refuse_other_study(plan: StudyPlan) -> None:
    try:
        previous = read_manifest(plan.out_dir)
    except InputError:
        if holds_configuration(plan.out_dir):
            fix = "Choose another folder, such as `results` in it; what you wrote is kept."
            found = f"a configuration, {MANIFEST}, which the study would overwrite"
            raise InputError(Problem(str(plan.out_dir), "", found, "a folder for results alone", fix)) from None
        return  # a damaged study.yaml is written anew
    ours = {run.folder: run.identity for run in plan.runs}
    for run in previous.runs(plan.out_dir):
        if ours.get(run.folder) not in (None, run.identity) and locks.is_locked(run.folder):
            found = f"another study in progress ({run.name}, {_describe(run.folder)})"
            expected = "a folder whose runs in progress have the same data, configuration and code"
            fix = "Wait for it, stop it, or give another OUT_DIR."
            raise InputError(Problem(str(plan.out_dir), "", found, expected, fix))


def _sort_out(plan: StudyPlan, study: _Study, stale: StalePolicy) -> None:
    """Put each run among those to start or those that are settled."""
    for run in plan.runs:
        status = run_status(run)
        if status.state is State.COMPLETE:
            adopt_notebook(run)
            study.outcomes[run.folder] = RunOutcome(run, True, "complete before")
        elif status.state is State.STALE and stale == "keep":
            study.outcomes[run.folder] = RunOutcome(run, True, f"kept, though stale ({status.detail})", stale=True)
        else:
            study.waiting.append(run)
            if status.state is State.STALE:
                study.watcher.message(f"{run.name}: stale, computed again ({status.detail})")
            if status.state is State.PARTIAL:
                study.watcher.message(f"{run.name}: {status.detail}")
    settled = len(study.outcomes)
    if settled:
        study.watcher.message(f"not computed again, because complete: {settled} of {len(plan.runs)} runs")
    study.watcher.begin(len(plan.runs), settled, len(study.slots))


def _take(run: PlannedRun) -> FileLock | None:
    """Lock a run for this process, or return None if another one computes it."""
    lock = locks.take_lock(run.folder, "runner", timeout_s=TAKE_TIMEOUT_S)
    if lock is not None and locks.is_computed_elsewhere(run.folder):
        lock.release(force=True)
        return None
    return lock


def _describe(folder: Path) -> str:
    process = locks.process_at_work(folder)
    return f"process {process.get('pid', '?')} on {process.get('host', '?')}"


def _end_orphan(run: PlannedRun, timeout_s: float | None, watcher: Watcher) -> None:
    """Apply the timeout to a kernel whose runner died: nobody else will."""
    if timeout_s is None or not locks.is_orphan(run.folder):
        return
    process = locks.process_at_work(run.folder)
    if time.time() - float(process.get("taken", time.time())) > timeout_s and locks.is_alive(process):
        os.kill(int(process["pid"]), signal.SIGKILL)
        watcher.message(f"{run.name}: ended process {process['pid']}, left over from a killed study")
