"""`study.yaml`: the resolved study, every value in force, and the runs that it consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256, write_atomically
from ptycho_lib.io.yaml_file import read_settings
from ptycho_lib.settings_problems import validation_problems, with_names_of_today
from ptycho_lib.study.folder.code_fingerprint import code_fingerprints, code_key
from ptycho_lib.study.folder.record import RECORD, Fingerprints, Part, RunIdentity
from ptycho_lib.study.folder.run_key import RunKey

MANIFEST = "study.yaml"
MANIFEST_FORMAT = 2
"""1: one code fingerprint, settings under earlier names."""


class DataFile(Part):
    """A training or test file, and how to notice that it changed. Its place is a hint, its content decides."""

    path: str
    """Absolute."""
    relative: str = ""
    """From the study folder: found again when both are moved together."""
    fingerprint: str
    """`PtychoDataset.fingerprint`: SHA-256 of the content (hex)."""
    n_patterns: int
    sha256: str
    """Of the file's bytes."""
    size_bytes: int
    modified_ns: int

    @classmethod
    def describe(cls, path: Path, fingerprint: str, n_patterns: int, out_dir: Path) -> DataFile:
        """Describe the file as it is now.

        Parameters
        ----------
        path : Path
        fingerprint : str
            Of the dataset that it holds.
        n_patterns : int
        out_dir : Path
            Study folder.
        """
        stat = path.stat()
        return cls(
            path=str(path.resolve()),
            relative=os.path.relpath(path.resolve(), out_dir),
            fingerprint=fingerprint,
            n_patterns=n_patterns,
            sha256=file_sha256(path),
            size_bytes=stat.st_size,
            modified_ns=stat.st_mtime_ns,
        )

    def locate(self, out_dir: Path) -> Path:
        """Return where the file is: at its path, or as seen from the study folder."""
        nearby = out_dir / self.relative
        return nearby if self.relative and not Path(self.path).is_file() and nearby.is_file() else Path(self.path)

    def current_fingerprint(self, out_dir: Path) -> str:
        """Return the fingerprint, or another text if the file has changed; a file that is gone has not."""
        path = self.locate(out_dir)
        if not path.is_file():
            return self.fingerprint
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (self.size_bytes, self.modified_ns):
            return self.fingerprint
        sha256 = file_sha256(path)
        return self.fingerprint if sha256 == self.sha256 else f"changed file {sha256}"


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study consists of, done or not."""

    identity: RunIdentity
    folder: Path
    """Absolute."""
    train_data: tuple[Path, ...]
    test_data: Path
    config: StudyConfig
    code: Mapping[str, str]
    """`code_fingerprints` that the study was planned with."""

    @property
    def key(self) -> RunKey:
        """Which run of the study it is."""
        return self.identity.key

    @property
    def n_train(self) -> int:
        """Number of training patterns."""
        return self.identity.n_train

    @property
    def trial(self) -> int:
        """Number of the trial, from 1."""
        return self.identity.trial

    @property
    def name(self) -> str:
        """Its name in messages, such as `n_train 128, trial 2`; without the trial where there is but one."""
        return str(self.key) if self.config.trials > 1 or not self.key.is_trained else f"n_train {self.n_train}"

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it computes."""
        return self.config.models_of(self.key.kind)

    def parameters(self, config: str) -> dict[str, str | int | list[str]]:
        """Return the template's parameters: plain values, absolute paths; `config` is a file or settings.

        Several training files are a list.
        """
        files = [str(path) for path in self.train_data]
        parameters: dict[str, str | int | list[str]] = {
            "train_data": files[0] if len(files) == 1 else files,
            "test_data": str(self.test_data),
            "output_dir": str(self.folder),
            "n_train": self.n_train,
            "n_test": self.identity.n_test,
            "trial": self.trial,
            "config": config,
        }
        idle = {"trained": (), "untrained": ("n_train", "trial"), "iterative": ("train_data", "n_train", "trial")}
        return {name: value for name, value in parameters.items() if name not in idle[self.key.kind]}


class StudyManifest(Part):
    """The content of `study.yaml`."""

    format: int = MANIFEST_FORMAT
    created: str
    """Time of the first start, UTC."""
    train: DataFile
    further_train: tuple[DataFile, ...] = ()
    """The other training files, where there are several."""
    test: DataFile
    n_test: int
    leakage: str = ""
    """What the test data share with the training data, allowed by the configuration; empty if nothing."""
    warnings: tuple[str, ...] = ()
    """What a reader of the results must know: training subsets that leave out much of the scan."""
    conditions: str
    """Fingerprint of the files that conditions refer to."""
    code: dict[str, str]
    """`code_fingerprints` when the study was planned last."""
    template: str
    versions: dict[str, str]
    commit: str
    config: StudyConfig

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        if isinstance(fields.get("code"), str):
            code, iterative = fields["code"], fields.pop("iterative_code", "")
            fields["code"] = {"trained": code, "hybrid": code, "iterative": iterative, "untrained": ""}
        if isinstance(fields.get("config"), dict):
            fields["config"] = with_names_of_today(fields["config"])
        return fields

    @property
    def training_files(self) -> tuple[DataFile, ...]:
        """All training files."""
        return (self.train, *self.further_train)

    @property
    def n_training_patterns(self) -> int:
        """Patterns of all training files together."""
        return sum(file.n_patterns for file in self.training_files)

    def runs(self, out_dir: Path) -> list[PlannedRun]:
        """Return the runs in the order in which they start.

        What is computed once, then the first trial of each size, then the next.
        """
        out_dir = out_dir.resolve()
        data = {
            "train_data": " ".join(file.current_fingerprint(out_dir) for file in self.training_files),
            "test_data": self.test.current_fingerprint(out_dir),
        }
        once = [RunKey(kind) for kind in self.config.kinds if kind != "trained"]
        trials = range(1, self.config.trials + 1)
        trained = [RunKey("trained", size, trial) for trial in trials for size in self.config.n_train_sizes]
        return [
            PlannedRun(
                identity=identify(self.config, key, self.n_test, data, code=self.code, conditions=self.conditions),
                folder=key.folder(out_dir, RECORD),
                train_data=tuple(file.locate(out_dir) for file in self.training_files),
                test_data=self.test.locate(out_dir),
                config=self.config,
                code=self.code,
            )
            for key in (*once, *trained)
        ]

    def with_present_code(self) -> StudyManifest:
        """Return the same study with the fingerprints of the code as it is now."""
        try:
            codes = code_fingerprints(Path(self.template))
        except (OSError, ValueError, KeyError):  # computed elsewhere, by a template that is not here
            codes = code_fingerprints()
        return self.model_copy(update={"code": codes})

    def to_yaml(self) -> str:
        """Return the manifest as YAML; `read_manifest` reads it back unchanged."""
        settings = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return f"# Written by ptycho-study. Edit your own configuration, not this file.\n{settings}"


def fingerprint_of_all(scans: Sequence[PtychoDataset]) -> str:
    """Return the fingerprints of the training scans, separated by blanks."""
    return " ".join(scan.fingerprint() for scan in scans)


def identify(
    config: StudyConfig,
    key: RunKey,
    n_test: int,
    data: Mapping[str, str],
    *,
    code: Mapping[str, str] | None = None,
    conditions: str | None = None,
) -> RunIdentity:
    """Return the identity of a run: all that its numbers depend on.

    Parameters
    ----------
    config : StudyConfig
    key : RunKey
    n_test : int
        Number of test patterns.
    data : mapping of str to str
        Fingerprints of `train_data` and `test_data`. The training data count where networks are trained, or
        the training scan is evaluated.
    code : mapping of str to str, optional
        `code_fingerprints`; of the present code by default.
    conditions : str, optional
        `condition_files`; of the files as they are by default.

    Raises
    ------
    InputError
        If a file that a condition refers to cannot be read.
    """
    code = code_fingerprints() if code is None else code
    trained_on = key.is_trained or (key.kind == "untrained" and config.training_scan)
    fingerprints = Fingerprints(
        train_data=data["train_data"] if trained_on else "",
        test_data=data["test_data"],
        config=config.fingerprint(key.kind),
        conditions=condition_files(config) if conditions is None else conditions,
        code=code.get(code_key(key.kind, config.models_of(key.kind)), ""),
    )
    return RunIdentity(kind=key.kind, n_train=key.n_train, n_test=n_test, trial=key.trial, fingerprints=fingerprints)


def condition_files(config: StudyConfig) -> str:
    """Return the SHA-256 of each file that a condition refers to, separated by blanks.

    Raises
    ------
    InputError
        With one problem for each file that cannot be read.
    """
    names = [name for condition in config.conditions for name in (condition.probe_file, condition.test_data)]
    digests, problems = [], []
    for name in filter(None, names):
        try:
            digests.append(file_sha256(Path(name)))
        except OSError as error:
            found = error.strerror or str(error)
            problems.append(Problem(name, "", found, "a file that a condition refers to", "Fix `conditions`."))
    if problems:
        raise InputError(problems)
    return " ".join(digests)


def read_manifest(out_dir: Path) -> StudyManifest:
    """Read `study.yaml` of a study folder, also one that an earlier version wrote.

    Raises
    ------
    InputError
        If the folder is no study, or the file is damaged.
    """
    path = Path(out_dir) / MANIFEST
    fix = "Give the OUT_DIR of `ptycho-study run`; running it again writes the file anew."
    content = read_settings(path, fix)
    if not _written_by_a_study(content):
        found = "a configuration or another file, not what a study wrote"
        fix = "Give the OUT_DIR of `ptycho-study run`, such as the folder `results` beside a configuration."
        raise InputError(Problem(str(path), "", found, "the folder of a study", fix))
    try:
        return StudyManifest.model_validate(content)
    except ValidationError as error:
        raise InputError(validation_problems(error, str(path), StudyManifest, fix)) from None


def holds_configuration(out_dir: Path) -> bool:
    """Return whether the `study.yaml` of a folder is readable, and settings that a person wrote."""
    try:
        content = read_settings(Path(out_dir) / MANIFEST, "")
    except InputError:
        return False
    return bool(content) and not _written_by_a_study(content)


def _written_by_a_study(content: Mapping[str, object]) -> bool:
    return bool({"format", "created", "train", "test"} & content.keys())


def write_manifest(out_dir: Path, manifest: StudyManifest) -> None:
    """Write `study.yaml` atomically."""
    write_atomically(out_dir / MANIFEST, manifest.to_yaml())


def now_utc() -> str:
    """Return the present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
