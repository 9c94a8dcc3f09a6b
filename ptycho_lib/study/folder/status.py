"""Which runs of a study are complete, and why the others are not.

Every reader of a run folder asks `content_status` first: only what it calls complete enters a table.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ptycho_lib.io.files import file_sha256
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.growth import missing_parts
from ptycho_lib.study.folder.manifest import PlannedRun, StudyManifest, read_manifest
from ptycho_lib.study.folder.notebook_errors import cell_error, is_whole, read_notebook, step_of, where_it_stopped
from ptycho_lib.study.folder.progress import FAILURE, LOG, last_epoch
from ptycho_lib.study.folder.record import (
    IDENTITY,
    METRICS,
    RECORD,
    CorruptRecordError,
    RunRecord,
    changed_settings,
    differences,
    read_record,
)
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.folder.templates import execution_name


class State(StrEnum):
    """A run's state.

    `stale`: complete, but for other settings, data or code. `partial`: complete, but without models or
    conditions that the study has now; only these are still to be computed. `interrupted`: stopped before its
    end, by the user or with its process.
    """

    COMPLETE = "complete"
    RUNNING = "running"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PARTIAL = "partial"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True)
class RunStatus:
    """The state of one run."""

    key: RunKey
    state: State
    detail: str
    """Cell and error line, what changed, what is missing, or the step in progress."""
    folder: Path

    @property
    def n_train(self) -> int:
        """Number of training patterns; 0 where nothing is trained."""
        return self.key.n_train

    @property
    def trial(self) -> int:
        """Number of the trial, from 1."""
        return self.key.trial


def study_status(out_dir: str | Path) -> list[RunStatus]:
    """Return the state of every run that `study.yaml` names, in its order.

    Raises
    ------
    InputError
        If the folder holds no readable `study.yaml`.
    """
    out_dir = Path(out_dir).resolve()
    manifest = read_manifest(out_dir)
    planned = manifest.with_present_code().runs(out_dir)
    return [run_status(run) for run in planned] + _unplanned(out_dir, manifest, planned)


def run_status(run: PlannedRun) -> RunStatus:
    """Return the state of one run, judged by what its folder holds."""
    if locks.is_locked(run.folder):
        return RunStatus(run.key, State.RUNNING, _heartbeat(run), run.folder)
    return content_status(run)


def content_status(run: PlannedRun, *, by_record: bool = False) -> RunStatus:
    """Return the state of one run by its files alone, whether or not a process works on it.

    A complete run whose table was changed, or whose notebook was damaged since, counts as failed.

    Parameters
    ----------
    run : PlannedRun
    by_record : bool
        Judge for a reader of results: a damaged notebook does not matter, nor do settings that came with a
        later version and that neither the run nor `study.yaml` knows.

    Returns
    -------
    RunStatus
    """
    state, detail = _judge(run, by_record)
    return RunStatus(run.key, state, detail, run.folder)


def record_damage(folder: Path, record: RunRecord) -> str:
    """Return why the metrics of a complete run must not be read; empty if they are as the run wrote them."""
    digest = record.outputs.get(METRICS)
    try:
        same = digest is not None and file_sha256(folder / METRICS) == digest
    except OSError as error:
        return f"{METRICS} cannot be read: {error.strerror}"
    return "" if same else f"{METRICS} is not what the run wrote"


def _judge(run: PlannedRun, by_record: bool) -> tuple[State, str]:
    folder = run.folder
    try:
        record = read_record(folder)
    except CorruptRecordError as error:
        return State.FAILED, str(error)
    if record is None:
        return _unfinished(folder, run.key.template)
    changed = differences(run.identity, record.identity)
    if by_record and "configuration" in changed and not changed_settings(_as_planned(run, record), record.config):
        changed.remove("configuration")
    if changed:
        lacking = missing_parts(run.config, run.identity, run.code, record)
        if lacking and not record_damage(folder, record):
            return State.PARTIAL, f"without {', '.join(lacking)}; the rest is kept"
        return State.STALE, _what_changed(run, record, changed)
    damage = record_damage(folder, record)
    if not damage and not by_record and not is_whole(folder / run.key.template):
        damage = f"{run.key.template} is damaged"
    if damage:
        return State.FAILED, damage
    collapsed = [
        f"{model} collapsed: {outcome.reason}" for model, outcome in record.models.items() if outcome.collapsed
    ]
    return State.COMPLETE, "; ".join(collapsed)


def _as_planned(run: PlannedRun, record: RunRecord) -> dict[str, Any]:
    """Return a run's settings without those that neither `study.yaml` nor its record knows."""

    def without_news(settings: dict[str, Any], then: dict[str, Any], model: BaseModel) -> dict[str, Any]:
        planned = {}
        for key, value in settings.items():
            if key in then or key in model.model_fields_set:
                planned[key] = value
                part, before = getattr(model, key, None), then.get(key)
                if isinstance(part, BaseModel) and isinstance(before, dict):
                    planned[key] = without_news(value, before, part)
        return planned

    return without_news(run.config.result_settings(run.key.kind), record.config, run.config)


def _heartbeat(run: PlannedRun) -> str:
    folder, epoch = run.folder, last_epoch(run.folder)
    current = epoch is not None and epoch.time >= float(locks.process_at_work(folder).get("taken", 0.0))
    if epoch is None or not current or epoch.epoch == epoch.epochs:
        if not (folder / LOG).exists() and not locks.is_computed_elsewhere(folder):
            return "waiting for a worker"  # its runner holds the lock, but the cluster has no place yet
        return step_of(folder, folder / execution_name(run.key.template, "partial"))
    age = max(0.0, time.time() - epoch.time)
    return f"{epoch.model} epoch {epoch.epoch}/{epoch.epochs}, loss {epoch.loss:.4g}, {age:.0f} s ago"


def _unfinished(folder: Path, notebook_name: str) -> tuple[State, str]:
    partial, failed = (execution_name(notebook_name, stage) for stage in ("partial", "failed"))
    try:
        note = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return (State.INTERRUPTED if note.get("interrupted") else State.FAILED), str(note["reason"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # papermill was started by hand, or its runner was killed: look at the notebook itself
    for name in (failed, partial, notebook_name):
        notebook = read_notebook(folder / name)
        error = cell_error(notebook) if notebook else ""
        if error:
            return State.FAILED, error
    if any((folder / name).exists() for name in (IDENTITY, failed, partial, notebook_name)):
        where = where_it_stopped(folder, folder / partial)
        return State.INTERRUPTED, f"stopped{where} without an error; its process was killed"
    return State.MISSING, ""


def _what_changed(run: PlannedRun, record: RunRecord, changed: list[str]) -> str:
    settings = (
        changed_settings(run.config.result_settings(run.key.kind), record.config) if "configuration" in changed else []
    )
    listed = f" ({', '.join(settings)})" if settings else ""
    return f"changed: {', '.join(changed)}{listed}"


def _unplanned(out_dir: Path, manifest: StudyManifest, planned: list[PlannedRun]) -> list[RunStatus]:
    """Return complete runs of sizes or trials that the study no longer asks for."""
    known = {run.folder for run in planned}
    found = []
    for path in sorted((*out_dir.glob(f"*/{RECORD}"), *out_dir.glob(f"*/*/{RECORD}"))):
        if path.parent in known:
            continue
        try:
            record = read_record(path.parent)
        except CorruptRecordError:
            continue
        if record is not None:
            detail = "not part of the present study.yaml"
            found.append(RunStatus(record.key, State.STALE, detail, path.parent))
    return found
