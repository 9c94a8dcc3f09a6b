"""The identity of a run, and the record `run.json` that proves it complete."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ptycho_lib.config import NOMINAL, RunKind
from ptycho_lib.io.files import write_atomically
from ptycho_lib.settings_problems import with_names_of_today
from ptycho_lib.study.folder.run_key import RunKey

RECORD = "run.json"
METRICS = "comparison_metrics.csv"
IDENTITY = "execution/identity.json"
"""Written when a run begins: the identity of what its folder is about to hold."""
PLOT = "comparison_plot.png"
RECORD_FORMAT = 2
"""1: without kinds of runs, `arms` instead of `models`, settings under earlier names."""


class Part(BaseModel):
    """A part of a record: immutable, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Fingerprints(Part):
    """SHA-256 (hex) of everything besides the sizes that determines a run's numbers."""

    train_data: str
    """Of several training files one each, separated by blanks."""
    test_data: str
    config: str
    """`StudyConfig.fingerprint`: settings that change numbers; not sizes, trials or names."""
    conditions: str
    """Files that conditions refer to; empty if there are none."""
    code: str
    """`code_fingerprint.code_fingerprints`."""


class RunIdentity(Part):
    """What makes two runs the same: equal identities give equal `comparison_metrics.csv`."""

    kind: RunKind
    n_train: int
    n_test: int
    trial: int
    fingerprints: Fingerprints

    @model_validator(mode="before")
    @classmethod
    def _kind_of_format_1(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "kind" not in fields:
            return {**fields, "kind": "trained" if fields.get("n_train") else "iterative"}
        return fields

    @property
    def key(self) -> RunKey:
        """Which run of its study it is."""
        return RunKey(self.kind, self.n_train, self.trial)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the identity in canonical JSON (hex).

        The kind counts where the number of training patterns does not say it, as in records of format 1.
        """
        implied = self.kind == ("trained" if self.n_train else "iterative")
        fields = self.model_dump(mode="json", exclude={"kind"} if implied else None)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class ModelOutcome(Part):
    """How one model's training, or iterative reconstruction, ended."""

    seconds: float
    """Wall time; 0 for a model that is not trained."""
    peak_memory_bytes: int | None = None
    """Largest resident memory of the process meanwhile (`usage.Usage`); null where it was not measured."""
    collapsed: bool = False
    """The training diverged or ended in a constant object. The run counts all the same."""
    reason: str = ""


class ReconstructionCost(Part):
    """What one reconstruction of the test patterns took (`usage.Usage`)."""

    seconds: float
    """Wall time of prediction and stitching, or of the iterations."""
    peak_memory_bytes: int
    memory_of_step: bool
    """Whether the peak is that of this step; otherwise of the process since its start."""


class ConditionFacts(Part):
    """What the models reconstructed under one test condition."""

    n_patterns: int
    overlap: float
    """Linear overlap of the scan (`physics.scan.scan_overlap`)."""
    photons_per_pattern: float | None
    compared_px: int
    """Pixels that are compared."""


class RunRecord(Part):
    """The content of `run.json`."""

    format: int = RECORD_FORMAT
    fingerprint: str
    identity: RunIdentity
    n_groups: int
    """Training samples; with gridsize 1, the number of patterns; 0 without a network."""
    seed: int
    seeds: dict[str, int]
    config: dict[str, Any]
    """`StudyConfig.result_settings`."""
    train_data: str
    further_train_data: tuple[str, ...] = ()
    """The other training files, where there are several."""
    test_data: str
    leakage: str = ""
    """What the test patterns share with the training patterns; empty if nothing."""
    reference: str = ""
    """How the object of the test data was reconstructed, where `prepare` did it; else empty."""
    models: dict[str, ModelOutcome]
    reconstructions: dict[str, dict[str, ReconstructionCost]] = {}
    """By model and test condition."""
    conditions: dict[str, ConditionFacts] = {}
    """By name."""
    started: str
    finished: str
    seconds: float
    device: str
    """What was computed on, as TensorFlow (without a network: PyTorch) names it."""
    machine: dict[str, str]
    versions: dict[str, str]
    commit: str
    determinism: str
    """What must be equal for the same numbers to come out again."""
    outputs: dict[str, str]
    """SHA-256 (hex) of the run's result files, keyed by path relative to the run folder."""

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        if "arms" in fields:
            fields.setdefault("models", fields.pop("arms"))
        if isinstance(fields.get("config"), dict):
            fields["config"] = with_names_of_today(fields["config"])
        return fields

    def __repr__(self) -> str:
        """Return one line: a notebook that ends with a record shows no more."""
        return f"RunRecord({self.key}, fingerprint={self.fingerprint[:12]})"

    @property
    def key(self) -> RunKey:
        """Which run of its study it is."""
        return self.identity.key

    @property
    def n_train(self) -> int:
        """Number of training patterns."""
        return self.identity.n_train

    @property
    def n_test(self) -> int:
        """Number of test patterns."""
        return self.identity.n_test

    @property
    def trial(self) -> int:
        """Number of the trial, from 1."""
        return self.identity.trial


class CorruptRecordError(ValueError):
    """A `run.json` that is there but says nothing valid."""


def reconstruction_name(condition: str) -> str:
    """Return the name of the file that holds a model's reconstruction under a test condition."""
    return "reconstruction.npz" if condition == NOMINAL else f"reconstruction_{condition}.npz"


def read_record(folder: Path) -> RunRecord | None:
    """Return a run folder's record, or None if it has none.

    Raises
    ------
    CorruptRecordError
        If the file is there but cannot be read, is not JSON, lacks fields, or contradicts itself.
    """
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
        record = RunRecord.model_validate_json(text)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptRecordError(f"{RECORD} cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CorruptRecordError(f"{RECORD} is not valid: {place + ': ' if place else ''}{first['msg']}") from None
    if record.fingerprint != record.identity.fingerprint():
        raise CorruptRecordError(f"{RECORD} is not valid: its fingerprint does not fit its content")
    return record


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` atomically; from then on the run is complete."""
    write_atomically(folder / RECORD, record.model_dump_json(indent=2) + "\n")


def differences(expected: RunIdentity, found: RunIdentity) -> list[str]:
    """Return, in words, what distinguishes the run that was found from the one expected."""
    names = {
        "train_data": "training data",
        "test_data": "test data",
        "config": "configuration",
        "conditions": "files of the conditions",
        "code": "code",
    }
    wanted, there = expected.fingerprints, found.fingerprints
    changed = [words for key, words in names.items() if getattr(wanted, key) != getattr(there, key)]
    for field in ("kind", "n_train", "n_test", "trial"):
        if getattr(expected, field) != getattr(found, field):
            changed.append(f"{field} ({getattr(found, field)} instead of {getattr(expected, field)})")
    return changed


def changed_settings(expected: dict[str, Any], found: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the settings that differ, such as `training.steps 800 -> 1600` (found -> expected)."""
    changes: list[str] = []
    for key in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(key), found.get(key)
        if isinstance(wanted, dict) and isinstance(there, dict):
            changes += changed_settings(wanted, there, f"{prefix}{key}.")
        elif wanted != there:
            changes.append(f"{prefix}{key} {setting_text(there)} -> {setting_text(wanted)}")
    return changes


def setting_text(value: Any) -> str:
    """Return a setting of any type as plain text: lists with commas, a named section as `name (key value)`."""
    if isinstance(value, dict):
        words = ", ".join(
            f"{key} {setting_text(item)}" for key, item in value.items() if key != "name" and item is not None
        )
        return f"{value['name']} ({words})" if "name" in value else words
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_text, value)) or "none"
    return str(value)
