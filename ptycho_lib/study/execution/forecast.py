"""What a study will cost: time, memory and disk, from its runs on this machine or a short calibration.

The calibration executes the real template at the smallest and the largest training size, for a few
epochs of full length. A run's time is then a fixed part (start of the kernel, evaluation, figures) and its
epochs, both interpolated in the training size: all sizes take the same gradient steps, validation does not.
Early stopping can only make it shorter.
"""

from __future__ import annotations

import heapq
import json
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ptycho_lib.config import NETWORKS, UNTRAINED, RunKind, StudyConfig
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.study.execution.display import duration
from ptycho_lib.study.execution.plan import StudyPlan, free_disk_bytes, plan_study
from ptycho_lib.study.execution.runner import Watcher, run_study
from ptycho_lib.study.folder.manifest import PlannedRun
from ptycho_lib.study.folder.progress import USAGE, Epoch, all_epochs
from ptycho_lib.study.folder.status import State, content_status

CALIBRATION_EPOCHS = 4
UNCOUNTED_EPOCHS = 1
"""The first epoch of a model traces and compiles; it belongs to the fixed part."""


@dataclass(frozen=True)
class Sample:
    """What one calibration run took."""

    kind: RunKind
    n_train: int
    fixed_s: float
    """Everything but the epochs."""
    epoch_s: dict[str, float]
    """One epoch of each model; of an iterative reconstruction, one pass over the test patterns."""
    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True)
class Cost:
    """What a run will take."""

    seconds: float
    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True)
class Slot:
    """When a run will start and end, and in which of the jobs."""

    run: PlannedRun
    job: int
    start_s: float
    end_s: float


def calibrate(plan: StudyPlan, watcher: Watcher, *, jobs: int = 1, threads: int | None = None) -> list[Sample]:
    """Execute the template for a few epochs at the smallest and the largest size.

    Parameters
    ----------
    plan : StudyPlan
        The study to predict; its folder is not touched.
    watcher : Watcher
        Shows the progress.
    jobs, threads : int
        As for the study: runs that share the cores are slower.

    Raises
    ------
    InputError
        If a calibration run fails, with its reason.
    """
    with tempfile.TemporaryDirectory(prefix="ptycho-calibration-") as folder:
        short = plan_study(
            [file.path for file in plan.manifest.training_files],
            plan.manifest.test.path,
            folder,
            calibration_config(plan.manifest.config, plan.manifest.n_test),
            template=plan.template,
            kernel=plan.kernel,
        )
        outcome = run_study(short, watcher, jobs=jobs, threads=threads)
        if outcome.failures:
            raise InputError(
                Problem(
                    f"calibration at n_train {failure.run.n_train}",
                    "",
                    failure.reason,
                    "a run without error",
                    "Fix its cause, or plan without --estimate.",
                )
                for failure in outcome.failures
            )
        return [_measure(run, _usage(run)) for run in short.runs]


def recorded(plan: StudyPlan) -> list[Sample]:
    """Return what complete runs of a study took on this machine.

    Parameters
    ----------
    plan : StudyPlan
    """
    samples = []
    for run in plan.runs:
        usage = _usage(run)
        if usage.get("host") == socket.gethostname() and content_status(run).state is State.COMPLETE:
            samples.append(_measure(run, usage))
    return sorted(samples, key=lambda sample: sample.n_train)


def unknown(runs: list[PlannedRun], samples: list[Sample]) -> list[str]:
    """Return the kinds of runs of whose cost there is no sample.

    Parameters
    ----------
    runs : list of PlannedRun
    samples : list of Sample
    """
    known = {sample.kind for sample in samples}
    return sorted({"trainings" if run.key.is_trained else run.key.kind for run in runs if run.key.kind not in known})


def calibration_config(config: StudyConfig, n_test: int) -> StudyConfig:
    """Return the study's configuration cut down to a few epochs at two sizes."""
    sizes = sorted({config.n_train_sizes[0], config.n_train_sizes[-1]})
    epochs = min(CALIBRATION_EPOCHS, config.training.epochs)
    changes = {"steps": epochs * config.training.steps_per_epoch, "validations": epochs, "patience": 0}
    training = config.training.model_copy(update=changes)
    updates = CALIBRATION_EPOCHS * config.iterative.updates_per_epoch(n_test)
    iterative = config.iterative.model_copy(update={"updates": updates, "tolerance": 0.0})
    short = {"n_train_sizes": tuple(sizes), "trials": 1, "training": training, "n_test_images": n_test}
    return config.model_copy(update=short | {"iterative": iterative})


def predict(plan: StudyPlan, samples: list[Sample]) -> dict[Path, Cost]:
    """Return the cost of every run of the plan, keyed by its folder."""
    return {run.folder: _predict(run, samples) for run in plan.runs}


def schedule(runs: list[PlannedRun], costs: dict[Path, Cost], jobs: int) -> list[Slot]:
    """Return when each run starts and ends if the first free job takes the next run."""
    free = [(0.0, job) for job in range(jobs)]
    slots = []
    for run in runs:
        start, job = heapq.heappop(free)
        end = start + costs[run.folder].seconds
        heapq.heappush(free, (end, job))
        slots.append(Slot(run, job, start, end))
    return slots


def require_room(plan: StudyPlan, runs: list[PlannedRun], costs: dict[Path, Cost], jobs: int) -> None:
    """Refuse a study that the disk or the memory of this machine cannot hold.

    Raises
    ------
    InputError
        With the needed and the available amount of each.
    """
    if not runs:
        return
    problems = []
    disk = sum(costs[run.folder].disk_bytes for run in runs)
    free = free_disk_bytes(plan.out_dir)
    if disk > free:
        found, expected = f"{_size(free)} free", f"{_size(disk)} for {len(runs)} runs"
        problems.append(Problem(str(plan.out_dir), "disk", found, expected, "Free some, or choose another OUT_DIR."))
    heaviest = sorted((costs[run.folder].memory_bytes for run in runs), reverse=True)[:jobs]
    available = psutil.virtual_memory().available
    if sum(heaviest) > available:
        found, expected = f"{_size(available)} available", f"{_size(sum(heaviest))} for {jobs} runs at a time"
        fitting = int(available // max(heaviest))
        fix = f"Use --jobs {fitting}." if fitting else "Use smaller training sizes or a smaller network."
        problems.append(Problem("this machine", "memory", found, expected, fix))
    if problems:
        raise InputError(problems)


def table(slots: list[Slot], costs: dict[Path, Cost]) -> list[str]:
    """Return the schedule as lines of text, the totals last."""
    head = f"{'run':<24}{'job':>4}{'start':>14}{'end':>14}{'time':>14}{'memory':>10}{'disk':>10}"
    lines = [head]
    for slot in slots:
        cost = costs[slot.run.folder]
        lines.append(
            f"{slot.run.name:<24}{slot.job + 1:>4}{duration(slot.start_s):>14}{duration(slot.end_s):>14}"
            f"{duration(cost.seconds):>14}{_size(cost.memory_bytes):>10}{_size(cost.disk_bytes):>10}"
        )
    if slots:
        end = max(slot.end_s for slot in slots)
        disk = sum(costs[slot.run.folder].disk_bytes for slot in slots)
        peak = max(costs[slot.run.folder].memory_bytes for slot in slots)
        lines.append(f"in total {duration(end)}, at most {_size(peak)} of memory a run, {_size(disk)} of disk")
    return lines


def _usage(run: PlannedRun) -> dict[str, Any]:
    """Return what the runner noted of a run, or nothing."""
    try:
        return dict(json.loads((run.folder / USAGE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _measure(run: PlannedRun, usage: Mapping[str, Any]) -> Sample:
    epochs = all_epochs(run.folder)
    epoch_s: dict[str, float] = {
        model: _epoch_seconds([epoch for epoch in epochs if epoch.model == model]) for model in run.models
    }
    counted = sum(sum(epoch.model == model for epoch in epochs) * seconds for model, seconds in epoch_s.items())
    return Sample(
        kind=run.key.kind,
        n_train=run.n_train,
        fixed_s=max(0.0, usage["seconds"] - counted),
        epoch_s=epoch_s,
        memory_bytes=usage["peak_memory_bytes"],
        disk_bytes=usage["disk_bytes"],
    )


def _epoch_seconds(epochs: list[Epoch]) -> float:
    """Return the mean time between the ends of epochs, the first of which is not counted."""
    if len(epochs) <= UNCOUNTED_EPOCHS:
        return 0.0
    counted = epochs[UNCOUNTED_EPOCHS - 1 :]
    return (counted[-1].time - counted[0].time) / (len(counted) - 1)


def _predict(run: PlannedRun, samples: list[Sample]) -> Cost:
    size, config = run.n_train, run.config
    samples = [sample for sample in samples if sample.kind == run.key.kind]
    training = sum(
        _passes(config, model, run.identity.n_test)
        * _interpolate(size, [(sample.n_train, sample.epoch_s[model]) for sample in samples])
        for model in run.models
    )
    fixed = _interpolate(size, [(sample.n_train, sample.fixed_s) for sample in samples])
    return Cost(
        seconds=fixed + training,
        memory_bytes=_interpolate(size, [(sample.n_train, sample.memory_bytes) for sample in samples]),
        disk_bytes=_interpolate(size, [(sample.n_train, sample.disk_bytes) for sample in samples]),
    )


def _passes(config: StudyConfig, model: str, n_test: int) -> int:
    """Return the most epochs of a model in a run: iterative reconstructions have theirs under every condition."""
    if model == UNTRAINED:
        return 0
    if model in NETWORKS:
        return config.training.epochs
    return config.iterative.epochs(n_test) * (1 + len(config.conditions))


def _interpolate(at: int, points: list[tuple[int, float]]) -> float:
    """Return the value on the line through the first and the last point; their mean if they coincide."""
    (low, first), (high, last) = points[0], points[-1]
    if low == high:
        return (first + last) / 2
    return first + (last - first) * (at - low) / (high - low)


def _size(count: float) -> str:
    """Return bytes with their unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
