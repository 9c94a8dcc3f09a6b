"""A run as its notebook sees it: open the run folder, train and evaluate, finish.

`open_run` checks and prepares, `finish_run` writes `comparison_metrics.csv` and, last of all,
`run.json`. Whatever happens in between, a folder without a valid `run.json` is not a complete run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock

from ptycho_lib.config import TRAIN, RunKind, StudyConfig, load_config
from ptycho_lib.data.conditions import refuse_conditions, under_conditions
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.leakage import refuse_leakage
from ptycho_lib.io.array_cache import ArrayCache
from ptycho_lib.io.files import require_inside, require_writable, write_atomically
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.folder.code_fingerprint import code_fingerprints
from ptycho_lib.study.folder.manifest import fingerprint_of_all, identify
from ptycho_lib.study.folder.progress import PROGRESS
from ptycho_lib.study.folder.record import (
    METRICS,
    RunIdentity,
    RunRecord,
    reconstruction_name,
    write_record,
)
from ptycho_lib.study.folder.run_key import RunKey
from ptycho_lib.study.run_folder import relative_folder, study_folder, take_possession
from ptycho_lib.study.run_record import TrainedOutcome, record_of
from ptycho_lib.study.selection import (
    Files,
    check_counts,
    default_n_test,
    listed_files,
    load_scans,
    refuse_empty,
    test_subset,
    training_scan,
    training_subsets,
    training_warning,
)

if TYPE_CHECKING:
    from ptycho_lib.study.reconstruct import RunReconstructions

CACHE = "cache"
"""Folder of a study for what its runs share; it may be removed at any time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenRun:
    """A run whose notebook is being executed; of a model that is computed once, as it stands here."""

    identity: RunIdentity
    config: StudyConfig
    test: PtychoDataset
    """The test patterns, the same for every run of a study."""
    scan: PtychoDataset | None = None
    """The first training scan, for the condition `train`: as many patterns as the test set, spread evenly."""
    train_data: tuple[Path, ...] = ()
    """The training files; none where no network is trained and no training scan is evaluated."""
    test_data: Path
    output_dir: Path
    started: float
    """Seconds since the epoch."""
    lock: FileLock
    """Keeps the folder as long as the run is held by somebody."""
    kept: RunRecord | None = None
    """Of an earlier run with fewer models or conditions, whose results stay."""
    leakage: str = ""
    """What the test patterns share with the training patterns; empty if nothing."""

    @property
    def key(self) -> RunKey:
        """Which run of its study it is."""
        return self.identity.key

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
    def models(self) -> tuple[str, ...]:
        """The models that the run computes."""
        return self.config.models_of(self.key.kind)

    @property
    def seeds(self) -> dict[str, int]:
        """Seeds of this trial, keyed `subset`, `weights`, `order`."""
        return self.config.seeds(self.trial)

    @property
    def cached(self) -> ArrayCache | None:
        """Where the study keeps first guesses; None outside a study, or if it does not want to."""
        study = study_folder(self.output_dir)
        wanted = study is not None and self.config.share_first_guesses
        return ArrayCache(require_inside(study / CACHE, study)) if study is not None and wanted else None

    @property
    def progress_file(self) -> Path:
        """JSON lines that trainings and iterations append to; see `study.folder.progress`."""
        return self.output_dir / PROGRESS

    def conditions(self) -> Iterator[tuple[str, PtychoDataset]]:
        """Yield name and patterns of each condition: the unchanged test set first, the training scan last."""
        yield from under_conditions(self.test, self.config)
        if self.scan is not None:
            yield TRAIN, self.scan

    def model_dir(self, model: str) -> Path:
        """Return the folder of one model's weights, history and reconstructions."""
        return self.output_dir / f"{model}_run"

    def history_file(self, model: str, condition: str) -> Path:
        """Return the file of an iterative reconstruction's losses under a condition."""
        name = reconstruction_name(condition).replace("reconstruction", "epochs").replace(".npz", ".csv")
        return self.model_dir(model) / name

    def reconstruction_file(self, model: str, condition: str) -> Path:
        """Return the file of a model's reconstruction under a condition."""
        return self.model_dir(model) / reconstruction_name(condition)


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(OpenRun):
    """One training size, one trial: everything its notebook works on."""

    training: tuple[PtychoDataset, ...]
    """The training subset, n_train patterns: of each training scan its share, in nested order."""
    selection_warning: str = ""
    """How much of the scan the training subset leaves out, if it is much."""

    @property
    def train(self) -> PtychoDataset:
        """The training subset where there is one training scan.

        Raises
        ------
        ValueError
            If there are several: a notebook that knows one only must not leave out the others.
        """
        if len(self.training) > 1:
            raise ValueError(f"the run trains on {len(self.training)} scans; take `run.training`, which holds all")
        return self.training[0]


def open_run(
    train_data: Files,
    test_data: str | Path,
    output_dir: str | Path,
    n_train: int,
    n_test: int = 0,
    trial: int = 1,
    config: str | Path = "",
) -> Run:
    """Check the input of a run, choose its patterns and lock its folder.

    Parameters
    ----------
    train_data : path, or several
        Training files of the dataset contract; empty takes those of the configuration.
    test_data : path
        Test file.
    output_dir : path
        The run folder; created if need be. Results of the same run stay, for an interrupted training to
        continue, and so do those of a run with fewer models or conditions. Unfinished results of another
        run are removed.
    n_train : int
        Number of training patterns.
    n_test : int
        Number of test patterns; 0 takes that of the configuration (500, or all there are).
    trial : int
        Number of the trial, from 1; selects the seeds.
    config : path or str
        YAML configuration, a file or `{key: value, ...}`; empty for the defaults.

    Raises
    ------
    InputError
        With every problem of the input, if the test patterns are known from training, if another process
        computes this run, or if the folder holds a complete run of other data, settings or code.
    """
    started = time.time()
    settings = load_config(config or None)
    files = listed_files(train_data or settings.train_data)
    refuse_empty(train_data=files, test_data=test_data, output_dir=output_dir)
    scans, test = load_scans(files, settings), load_dataset(test_data)
    n_test = n_test or default_n_test(settings, len(test))
    check_counts(files, sum(map(len, scans)), (n_train,), test_data, len(test), n_test)
    key, codes = RunKey("trained", n_train, trial), code_fingerprints()
    data = {"train_data": fingerprint_of_all(scans), "test_data": test.fingerprint()}
    identity = identify(settings, key, n_test, data, code=codes)
    chosen = training_subsets(scans, settings, n_train, trial)
    seen = test.select(test_subset(test, settings, n_test))
    refuse_conditions(seen, settings)
    leakage = refuse_leakage(chosen, seen, allow=settings.allow_leakage)
    folder = require_writable(Path(output_dir).resolve())
    lock, kept = take_possession(folder, identity, settings, codes)
    return Run(
        identity=identity,
        config=settings,
        training=chosen,
        test=seen,
        scan=training_scan(scans[0], settings, n_test),
        train_data=files,
        test_data=Path(test_data).resolve(),
        output_dir=folder,
        started=started,
        lock=lock,
        kept=kept,
        leakage=leakage,
        selection_warning=training_warning(scans, settings, n_train, trial),
    )


def open_untrained_run(
    train_data: Files,
    test_data: str | Path,
    output_dir: str | Path,
    n_test: int = 0,
    config: str | Path = "",
) -> OpenRun:
    """Check the input of the control, the first guess without training, and lock its folder.

    Parameters
    ----------
    train_data, test_data, output_dir, n_test, config
        See `open_run`; the first training file serves the condition `train` alone.

    Raises
    ------
    InputError
        As `open_run`.
    """
    files = listed_files(train_data or load_config(config or None).train_data)
    refuse_empty(train_data=files, test_data=test_data, output_dir=output_dir)
    return _open_once("untrained", files, test_data, output_dir, n_test, config)


def open_iterative_run(
    test_data: str | Path, output_dir: str | Path, n_test: int = 0, config: str | Path = ""
) -> OpenRun:
    """Check the input of the iterative reconstruction, and lock its folder.

    Parameters
    ----------
    test_data, output_dir, n_test, config
        See `open_run`.

    Raises
    ------
    InputError
        As `open_run`.
    """
    refuse_empty(test_data=test_data, output_dir=output_dir)
    return _open_once("iterative", (), test_data, output_dir, n_test, config)


def _open_once(
    kind: RunKind,
    files: tuple[Path, ...],
    test_data: str | Path,
    output_dir: str | Path,
    n_test: int,
    config: str | Path,
) -> OpenRun:
    """Open a run of a kind that is computed once a study."""
    started = time.time()
    settings = load_config(config or None)
    scans, test = load_scans(files, settings), load_dataset(test_data)
    n_test = n_test or default_n_test(settings, len(test))
    check_counts("", 0, (), test_data, len(test), n_test)
    codes = code_fingerprints()
    data = {"train_data": fingerprint_of_all(scans), "test_data": test.fingerprint()}
    identity = identify(settings, RunKey(kind), n_test, data, code=codes)
    seen = test.select(test_subset(test, settings, n_test))
    refuse_conditions(seen, settings)
    folder = require_writable(Path(output_dir).resolve())
    lock, kept = take_possession(folder, identity, settings, codes)
    return OpenRun(
        identity=identity,
        config=settings,
        test=seen,
        scan=training_scan(scans[0], settings, n_test) if scans else None,
        train_data=files,
        test_data=Path(test_data).resolve(),
        output_dir=folder,
        started=started,
        lock=lock,
        kept=kept,
    )


def finish_run(
    run: OpenRun,
    metrics: pd.DataFrame,
    trained: Mapping[str, TrainedOutcome],
    reconstructions: RunReconstructions | None = None,
    *,
    n_groups: int | None = None,
    device: str = "CPU",
) -> RunRecord:
    """Write `comparison_metrics.csv` and, last and atomically, `run.json`.

    Parameters
    ----------
    run : OpenRun
    metrics : DataFrame
        Tidy scores with the columns of `metrics_table.COLUMNS`; those that say which run it is are filled in.
    trained : mapping
        The outcome of each trained model, keyed by its name.
    reconstructions : RunReconstructions, optional
        Their times go into `run.json`, not into the table, which is the same whenever the run is repeated.
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
    record = record_of(run, trained, reconstructions, n_groups or run.n_train, device)
    write_record(run.output_dir, record)
    run.lock.release(force=True)
    return record
