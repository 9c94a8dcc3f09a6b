"""`study.yaml`: the resolved study, every value in force, and the runs that it consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, field_validator

from ptycho_lib.config import ITERATIVE, StudyConfig
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256, write_atomically
from ptycho_lib.settings_problems import with_names_of_today
from ptycho_lib.study.folder import provenance
from ptycho_lib.study.folder.record import RECORD, Fingerprints, Part, RunIdentity
from ptycho_lib.study.folder.templates import ITERATE, TRAIN_AND_COMPARE, run_template, template_path

MANIFEST = "study.yaml"


class DataFile(Part):
    """A training or test file, and how to notice that it changed."""

    path: str
    fingerprint: str
    """`PtychoDataset.fingerprint`: SHA-256 of the content (hex)."""
    n_patterns: int
    sha256: str
    """Of the file's bytes."""
    size_bytes: int
    modified_ns: int

    @classmethod
    def describe(cls, path: Path, fingerprint: str, n_patterns: int) -> DataFile:
        """Describe the file as it is now."""
        stat = path.stat()
        return cls(
            path=str(path.resolve()),
            fingerprint=fingerprint,
            n_patterns=n_patterns,
            sha256=file_sha256(path),
            size_bytes=stat.st_size,
            modified_ns=stat.st_mtime_ns,
        )

    def current_fingerprint(self) -> str:
        """Return the fingerprint, or another text if the file has changed; a file that is gone has not."""
        if not Path(self.path).is_file():
            return self.fingerprint
        stat = Path(self.path).stat()
        if (stat.st_size, stat.st_mtime_ns) == (self.size_bytes, self.modified_ns):
            return self.fingerprint
        sha256 = file_sha256(Path(self.path))
        return self.fingerprint if sha256 == self.sha256 else f"changed file {sha256}"


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study consists of, done or not.

    The iterative reconstruction depends on the test data alone. It is one run, of size 0 and trial 1, in the
    folder `iterative`, which all sizes and trials share.
    """

    identity: RunIdentity
    folder: Path
    """Absolute."""
    train_data: Path
    test_data: Path
    config: StudyConfig

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
        """What people call it, such as `n_train 128, trial 2`."""
        if self.n_train == 0:
            return ITERATIVE
        trial = f", trial {self.trial}" if self.config.trials > 1 else ""
        return f"n_train {self.n_train}{trial}"

    def parameters(self, config_file: Path) -> dict[str, str | int]:
        """Return the template's parameters: plain scalars, absolute paths."""
        parameters: dict[str, str | int] = {
            "train_data": str(self.train_data),
            "test_data": str(self.test_data),
            "output_dir": str(self.folder),
            "n_train": self.n_train,
            "n_test": self.identity.n_test,
            "trial": self.trial,
            "config": str(config_file),
        }
        if self.n_train == 0:
            for training in ("train_data", "n_train", "trial"):
                del parameters[training]
        return parameters


class StudyManifest(Part):
    """The content of `study.yaml`."""

    format: int = 1
    created: str
    """Time of the first start, UTC."""
    train: DataFile
    test: DataFile
    n_test: int
    leakage: str = ""
    """What the test data share with the training data, allowed by the configuration; empty if nothing."""
    warnings: tuple[str, ...] = ()
    """What a reader of the results must know: training subsets that leave out much of the scan."""
    conditions: str
    """Fingerprint of the files that conditions refer to."""
    code: str
    """`provenance.code_fingerprint` when the study was planned last."""
    iterative_code: str = ""
    """The same of the iterative reconstruction; empty without it."""
    template: str
    versions: dict[str, str]
    commit: str
    config: StudyConfig

    @field_validator("config", mode="before")
    @classmethod
    def _of_an_older_version(cls, settings: Any) -> Any:
        return with_names_of_today(settings) if isinstance(settings, Mapping) else settings

    def runs(self, out_dir: Path) -> list[PlannedRun]:
        """Return the runs in the order in which they start.

        The iterative reconstruction, if there is one, then the first trial of each size, then the next.
        """
        train, test = self.train.current_fingerprint(), self.test.current_fingerprint()
        trials = [(size, trial) for trial in range(1, self.config.trials + 1) for size in self.config.n_train_sizes]
        return [
            PlannedRun(
                identity=RunIdentity(
                    n_train=size,
                    n_test=self.n_test,
                    trial=trial,
                    fingerprints=Fingerprints(
                        train_data=train if size else "",
                        test_data=test,
                        config=self.config.fingerprint(size),
                        conditions=self.conditions,
                        code=self.code if size else self.iterative_code,
                    ),
                ),
                folder=run_folder(out_dir.resolve(), size, trial, self.config.trials),
                train_data=Path(self.train.path),
                test_data=Path(self.test.path),
                config=self.config,
            )
            for size, trial in ([(0, 1)] if ITERATIVE in self.config.models else []) + trials
        ]

    def with_present_code(self) -> StudyManifest:
        """Return the same study with the fingerprints of the code as it is now."""
        try:
            codes = code_of(self.config, Path(self.template))
        except (OSError, ValueError, KeyError):  # a study that was computed elsewhere names no file of ours
            codes = code_of(self.config, template_path(TRAIN_AND_COMPARE))
        return self.model_copy(update=codes)

    def to_yaml(self) -> str:
        """Return the manifest as YAML; `read_manifest` reads it back unchanged."""
        settings = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return f"# Written by ptycho-study. Edit your own configuration, not this file.\n{settings}"


def code_of(config: StudyConfig, template: Path) -> dict[str, str]:
    """Return the manifest's `code`, of the runs that execute `template`, and its `iterative_code`."""
    subpackages = provenance.result_subpackages(config.models_of(config.n_train_sizes[0]))
    alone = config.models_of(0)
    return {
        "code": provenance.code_fingerprint(template, subpackages),
        "iterative_code": provenance.code_fingerprint(template_path(ITERATE), provenance.result_subpackages(alone))
        if alone
        else "",
    }


def identify(
    config: StudyConfig, train_fingerprint: str, test_fingerprint: str, n_train: int, n_test: int, trial: int
) -> RunIdentity:
    """Return the identity of a run: all that its numbers depend on; of size 0, see `PlannedRun`."""
    template = provenance.executing_template(run_template(n_train))
    fingerprints = Fingerprints(
        train_data=train_fingerprint if n_train else "",
        test_data=test_fingerprint,
        config=config.fingerprint(n_train),
        conditions=condition_files(config),
        code=provenance.code_fingerprint(template, provenance.result_subpackages(config.models_of(n_train))),
    )
    return RunIdentity(n_train=n_train, n_test=n_test, trial=trial, fingerprints=fingerprints)


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


def run_folder(out_dir: Path, n_train: int, trial: int, trials: int) -> Path:
    """Return the folder of a run.

    A study that grows from one trial to several, or shrinks, keeps its first trial where it is.
    """
    if n_train == 0:
        return out_dir / ITERATIVE
    alone = out_dir / f"n_train_{n_train}"
    among_others = alone / f"trial_{trial}"
    preferred, other = (among_others, alone) if trials > 1 else (alone, among_others)
    moved = trial == 1 and not (preferred / RECORD).exists() and (other / RECORD).exists()
    return other if moved else preferred


def read_manifest(out_dir: Path) -> StudyManifest:
    """Read `study.yaml` of a study folder.

    Raises
    ------
    InputError
        If the folder is no study, or the file is damaged.
    """
    path = Path(out_dir) / MANIFEST
    fix = "Give the OUT_DIR of `ptycho-study run`; running it again writes the file anew."
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return StudyManifest.model_validate(content)
    except OSError as error:
        found = error.strerror or str(error)
        raise InputError(Problem(str(path), "", found, "the study.yaml of a study folder", fix)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = f"text that is not YAML ({' '.join(str(error).split())})"
        raise InputError(Problem(str(path), "", found, "a resolved study", fix)) from None
    except ValidationError as error:
        problems = [
            Problem(str(path), ".".join(map(str, detail["loc"])), repr(detail["input"])[:200], detail["msg"], fix)
            for detail in error.errors()
        ]
        raise InputError(problems) from None


def write_manifest(out_dir: Path, manifest: StudyManifest) -> None:
    """Write `study.yaml` atomically."""
    write_atomically(out_dir / MANIFEST, manifest.to_yaml())


def now_utc() -> str:
    """Return the present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
