"""What a run's numbers depend on, taken together."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.config import StudyConfig
from ptycho_lib.errors import Fault, InputError
from ptycho_lib.study import provenance
from ptycho_lib.study.files import file_sha256
from ptycho_lib.study.record import Fingerprints, RunIdentity
from ptycho_lib.study.templates import run_template


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
        code=provenance.code_fingerprint(template, provenance.result_wings(config.arms_of(n_train))),
    )
    return RunIdentity(n_train=n_train, n_test=n_test, trial=trial, fingerprints=fingerprints)


def condition_files(config: StudyConfig) -> str:
    """Return the SHA-256 of each file that a condition refers to, separated by blanks.

    Raises
    ------
    InputError
        With one fault for each file that cannot be read.
    """
    names = [name for condition in config.conditions for name in (condition.probe_file, condition.test_data)]
    digests, faults = [], []
    for name in filter(None, names):
        try:
            digests.append(file_sha256(Path(name)))
        except OSError as error:
            found = error.strerror or str(error)
            faults.append(Fault(name, "", found, "a file that a condition refers to", "Mend `conditions`."))
    if faults:
        raise InputError(faults)
    return " ".join(digests)
