"""The folder of a run: who computes in it, what it holds, what is removed before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from ptycho_lib.config import StudyConfig
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256, require_inside, write_atomically
from ptycho_lib.model_names import MODELS
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.growth import missing_parts
from ptycho_lib.study.folder.manifest import MANIFEST
from ptycho_lib.study.folder.progress import PROGRESS
from ptycho_lib.study.folder.record import (
    IDENTITY,
    METRICS,
    PLOT,
    RECORD,
    CorruptRecordError,
    RunIdentity,
    RunRecord,
    differences,
    read_record,
)

OUTPUTS = (METRICS, PLOT, *(f"{model}_run" for model in MODELS))
"""What a run leaves in its folder besides its notebook and its record."""

KERNEL_LOCK_TIMEOUT_S = 20.0
"""Long enough for the kernel of a killed papermill to notice that it is an orphan."""


def take_possession(
    folder: Path, identity: RunIdentity, config: StudyConfig, codes: Mapping[str, str]
) -> tuple[FileLock, RunRecord | None]:
    """Lock the folder for this kernel and clear what another run left unfinished there.

    Parameters
    ----------
    folder : Path
    identity : RunIdentity
        Of the run that begins.
    config : StudyConfig
    codes : mapping of str to str
        `code_fingerprints`.

    Returns
    -------
    lock : FileLock
    kept : RunRecord or None
        Of a smaller run, whose results stay.

    Raises
    ------
    InputError
        If another process computes in the folder, a link leads out of it, or it holds a complete run of other
        data, settings or code.
    """
    for name in (locks.EXECUTION, *OUTPUTS):
        for path in (folder / name, *(folder / name).rglob("*")):
            require_inside(path, folder)
    lock = locks.take_lock(folder, "kernel", timeout_s=KERNEL_LOCK_TIMEOUT_S)
    if lock is None:
        holder = locks.process_at_work(folder)
        found = f"a run in progress (process {holder.get('pid', '?')} on {holder.get('host', '?')})"
        fix = "Wait for it, stop it, or give another output folder."
        raise InputError(Problem(str(folder), "", found, "a folder that no other process computes in", fix))
    try:
        record = read_record(folder)
    except CorruptRecordError:
        record = None
    kept = None
    if record is not None and record.identity != identity:
        if not missing_parts(config, identity, codes, record):
            lock.release(force=True)
            found = f"a complete run with another {', '.join(differences(identity, record.identity))}"
            fix = f"Give another output folder, or remove {RECORD} to replace it."
            raise InputError(Problem(str(folder), "", found, "a new folder, or the same run", fix))
        kept = record
    (folder / RECORD).unlink(missing_ok=True)
    note = identity.model_dump_json(indent=2) + "\n"
    same = (folder / IDENTITY).is_file() and (folder / IDENTITY).read_text(encoding="utf-8") == note
    if not same and kept is None:
        remove_outputs(folder)
    write_atomically(folder / IDENTITY, note)
    (folder / PROGRESS).unlink(missing_ok=True)
    return lock, kept


def study_folder(folder: Path) -> Path | None:
    """Return the study of a run folder, the nearest folder above it with a study.yaml; None if there is none."""
    return next((parent for parent in folder.parents if (parent / MANIFEST).is_file()), None)


def relative_folder(folder: Path) -> str:
    """Return a run folder relative to its study."""
    study = study_folder(folder)
    return folder.name if study is None else folder.relative_to(study).as_posix()


def remove_outputs(folder: Path) -> None:
    """Remove a run's record and results, and nothing else; the record goes first."""
    for name in (RECORD, *OUTPUTS):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def output_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of every result file, by its path relative to the run folder."""
    roots = [folder / name for name in OUTPUTS]
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(files) if path.is_file()}
