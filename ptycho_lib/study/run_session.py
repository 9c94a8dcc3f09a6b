"""A run as its notebook sees it: open the run folder, train and evaluate, finish.

`open_run` checks and prepares, `finish_run` writes `comparison_metrics.csv` and, last of all,
`run.json`. Whatever happens in between, a folder without a valid `run.json` is not a complete run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pandas as pd
from filelock import FileLock

from ptycho_lib.config import MODELS, StudyConfig, load_config
from ptycho_lib.data.conditions import refuse_conditions
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.leakage import refuse_leakage
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256, require_inside, require_writable, write_atomically
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.folder import locks, provenance
from ptycho_lib.study.folder.costs import Reconstructions, condition_facts, reconstruction_costs
from ptycho_lib.study.folder.manifest import identify
from ptycho_lib.study.folder.progress import PROGRESS
from ptycho_lib.study.folder.record import (
    IDENTITY,
    METRICS,
    PLOT,
    RECORD,
    ModelOutcome,
    RunIdentity,
    RunRecord,
    reconstruction_name,
    write_record,
)
from ptycho_lib.study.selection import (
    check_counts,
    default_n_test,
    test_subset,
    training_subset,
    training_warning,
)

OUTPUTS = (METRICS, PLOT, *(f"{model}_run" for model in MODELS))
"""What a run leaves in its folder besides its notebook and its record."""

KERNEL_LOCK_TIMEOUT_S = 20.0
"""Long enough for the kernel of a killed papermill to notice that it is an orphan."""


class TrainedOutcome(Protocol):
    """What `finish_run` wants to know of a model: `TrainedModel`, or the `outcome` of an iteration."""

    @property
    def seconds(self) -> float:
        """Wall time of the training; 0 without one."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Largest memory of the process meanwhile."""

    @property
    def collapsed(self) -> bool:
        """Whether it diverged or ended in a constant object."""

    @property
    def reason(self) -> str:
        """Why it counts as collapsed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class IterativeRun:
    """The reconstruction of the test patterns without a network: everything its notebook works on."""

    identity: RunIdentity
    config: StudyConfig
    test: PtychoDataset
    """The test patterns, the same for every run of a study."""
    train_data: Path | None = None
    test_data: Path
    output_dir: Path
    started: float
    """Seconds since the epoch."""
    lock: FileLock
    """Keeps the folder as long as the run is held by somebody."""
    leakage: str = ""
    """What the test patterns share with the training patterns; empty if nothing."""

    @property
    def n_train(self) -> int:
        """Number of training patterns; 0 without a network."""
        return self.identity.n_train

    @property
    def n_test(self) -> int:
        """Number of test patterns."""
        return self.identity.n_test

    @property
    def trial(self) -> int:
        """Number of the trial, from 1."""
        return self.identity.trial

    @property
    def seeds(self) -> dict[str, int]:
        """Seeds of this trial, keyed `subset`, `weights`, `order`."""
        return self.config.seeds(self.trial)

    @property
    def progress_file(self) -> Path:
        """JSON lines that the training appends to: time, model, epoch, epochs, loss, val_loss."""
        return self.output_dir / PROGRESS

    def model_dir(self, model: str) -> Path:
        """Return the folder of one model's model, history and reconstruction."""
        return self.output_dir / f"{model}_run"

    def notes(self, model: str, condition: str) -> dict[str, str | Path]:
        """Return what `iterate` is told besides its data: its name, and where to note the epochs."""
        name = reconstruction_name(condition).replace("reconstruction", "epochs").replace(".npz", ".csv")
        history = self.model_dir(model) / name
        return {"model": model, "progress_file": self.progress_file, "history_file": history}

    def reconstruction_file(self, model: str, condition: str) -> Path:
        """Return the file of a model's reconstruction under a test condition."""
        return self.model_dir(model) / reconstruction_name(condition)


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(IterativeRun):
    """One training size, one trial: everything its notebook works on."""

    train: PtychoDataset
    """The training subset, n_train patterns in nested order."""
    train_data: Path
    selection_warning: str = ""
    """How much of the scan the training subset leaves out, if it is much."""


def open_run(
    train_data: str | Path,
    test_data: str | Path,
    output_dir: str | Path,
    n_train: int,
    n_test: int = 0,
    trial: int = 1,
    config: str | Path = "",
) -> Run:
    """Check the input of a run, choose its patterns and take possession of its folder.

    Parameters
    ----------
    train_data, test_data : path
        Files of the dataset contract.
    output_dir : path
        The run folder; created if need be. Results of another configuration, size or data that it
        holds are removed; results of the same run stay, for an interrupted training to continue.
    n_train : int
        Number of training patterns.
    n_test : int
        Number of test patterns; 0 takes that of the configuration (500, or all there are).
    trial : int
        Number of the trial, from 1; selects the seeds.
    config : path
        YAML configuration; empty for the defaults.

    Raises
    ------
    InputError
        With every problem of the input, if the test patterns are known from training, or if another process
        computes this run.
    """
    started = time.time()
    settings = load_config(config or None)
    train, test = load_dataset(train_data), load_dataset(test_data)
    n_test = n_test or default_n_test(settings, len(test))
    check_counts(train_data, len(train), (n_train,), test_data, len(test), n_test)
    identity = identify(settings, train.fingerprint(), test.fingerprint(), n_train, n_test, trial)
    chosen = train.select(training_subset(train, settings, n_train, trial))
    seen = test.select(test_subset(test, settings, n_test))
    refuse_conditions(seen, settings)
    leakage = refuse_leakage(chosen, seen, allow=settings.allow_leakage)
    folder = require_writable(Path(output_dir).resolve())
    lock = _possess(folder, identity)
    return Run(
        identity=identity,
        config=settings,
        train=chosen,
        test=seen,
        train_data=Path(train_data).resolve(),
        test_data=Path(test_data).resolve(),
        output_dir=folder,
        started=started,
        lock=lock,
        leakage=str(leakage) if leakage else "",
        selection_warning=training_warning(train, settings, n_train, trial),
    )


def open_iterative_run(
    test_data: str | Path, output_dir: str | Path, n_test: int = 0, config: str | Path = ""
) -> IterativeRun:
    """Check the input of the iterative reconstruction, and take possession of its folder; see `open_run`.

    Raises
    ------
    InputError
        With every problem of the input, or if another process computes this run.
    """
    started = time.time()
    settings = load_config(config or None)
    test = load_dataset(test_data)
    n_test = n_test or default_n_test(settings, len(test))
    check_counts("", 0, (), test_data, len(test), n_test)
    identity = identify(settings, "", test.fingerprint(), 0, n_test, 1)
    seen = test.select(test_subset(test, settings, n_test))
    refuse_conditions(seen, settings)
    folder = require_writable(Path(output_dir).resolve())
    return IterativeRun(
        identity=identity,
        config=settings,
        test=seen,
        test_data=Path(test_data).resolve(),
        output_dir=folder,
        started=started,
        lock=_possess(folder, identity),
    )


def finish_run(
    run: IterativeRun,
    metrics: pd.DataFrame,
    trained: Mapping[str, TrainedOutcome],
    reconstructions: Reconstructions | None = None,
    *,
    n_groups: int | None = None,
    device: str = "CPU",
) -> RunRecord:
    """Write `comparison_metrics.csv` and, last and atomically, `run.json`.

    Parameters
    ----------
    run : Run or IterativeRun
        From `open_run` or `open_iterative_run`.
    metrics : DataFrame
        Tidy scores with the columns of `tidy.COLUMNS`; those that say which run it is are filled in.
    trained : mapping
        The outcome of each model, keyed by its name.
    reconstructions : mapping, optional
        Keyed by model and test condition; what they took goes into `run.json`, never into the table, which is
        the same whenever the run is repeated.
    n_groups : int, optional
        Training samples; n_train if a sample is one pattern.
    device : str
        What the networks were trained on.

    Raises
    ------
    ValueError
        If `metrics` is empty or lacks a column.
    """
    if metrics.empty:
        raise ValueError("no metric was computed; a run without numbers is not complete")
    table = metrics.assign(
        n_train=run.n_train,
        n_groups=n_groups or run.n_train,
        trial=run.trial,
        seed=run.config.seed,
        run=relative_folder(run.output_dir),
        leakage=run.leakage,
        reference=run.test.standard,
    )
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(f"the metrics lack the columns {missing}")
    write_atomically(run.output_dir / METRICS, table.loc[:, list(COLUMNS)].to_csv(index=False))
    record = _record(run, trained, reconstructions or {}, n_groups or run.n_train, device)
    write_record(run.output_dir, record)
    run.lock.release(force=True)
    return record


def relative_folder(folder: Path) -> str:
    """Return a run folder relative to its study (the nearest folder with a study.yaml)."""
    for parent in folder.parents:
        if (parent / "study.yaml").is_file():
            return folder.relative_to(parent).as_posix()
    return folder.name


def remove_outputs(folder: Path) -> None:
    """Remove a run's record and results, and nothing else; the record goes first."""
    for name in (RECORD, *OUTPUTS):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _possess(folder: Path, identity: RunIdentity) -> FileLock:
    """Lock the folder for this kernel and clear what another run left there; return the lock."""
    for name in (locks.EXECUTION, *OUTPUTS):
        for path in (folder / name, *(folder / name).rglob("*")):
            require_inside(path, folder)
    lock = locks.take_lock(folder, "kernel", timeout_s=KERNEL_LOCK_TIMEOUT_S)
    if lock is None:
        holder = locks.process_at_work(folder)
        found = f"a run in progress (process {holder.get('pid', '?')} on {holder.get('host', '?')})"
        fix = "Wait for it, stop it, or give another output folder."
        raise InputError(Problem(str(folder), "", found, "a folder that no other process computes in", fix))
    (folder / RECORD).unlink(missing_ok=True)
    note = identity.model_dump_json(indent=2) + "\n"
    if not (folder / IDENTITY).is_file() or (folder / IDENTITY).read_text(encoding="utf-8") != note:
        remove_outputs(folder)
    write_atomically(folder / IDENTITY, note)
    (folder / PROGRESS).unlink(missing_ok=True)
    return lock


def _record(
    run: IterativeRun,
    trained: Mapping[str, TrainedOutcome],
    reconstructions: Reconstructions,
    n_groups: int,
    device: str,
) -> RunRecord:
    finished = time.time()
    return RunRecord(
        fingerprint=run.identity.fingerprint(),
        identity=run.identity,
        n_groups=n_groups,
        seed=run.config.seed,
        seeds=run.seeds,
        config=run.config.result_settings(run.n_train),
        train_data=str(run.train_data or ""),
        test_data=str(run.test_data),
        leakage=run.leakage,
        reference=run.test.reference,
        models={
            model: ModelOutcome(
                seconds=round(outcome.seconds, 3),
                peak_memory_bytes=outcome.peak_memory_bytes,
                collapsed=outcome.collapsed,
                reason=outcome.reason,
            )
            for model, outcome in trained.items()
        },
        reconstructions=reconstruction_costs(reconstructions),
        conditions=condition_facts(run.test, run.config, reconstructions),
        started=_utc(run.started),
        finished=_utc(finished),
        seconds=round(finished - run.started, 3),
        device=device,
        machine=provenance.machine(),
        versions=provenance.library_versions(),
        commit=provenance.git_commit(),
        determinism=provenance.DETERMINISM,
        outputs=_output_digests(run.output_dir),
    )


def _output_digests(folder: Path) -> dict[str, str]:
    roots = [folder / name for name in OUTPUTS]
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(files) if path.is_file()}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
