"""A study whose data moved: where they are now, proven by their content."""

from __future__ import annotations

from pathlib import Path

from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256
from ptycho_lib.study.folder.manifest import DataFile, read_manifest, write_manifest


def relocate(out_dir: str | Path, *, train: str | Path | None = None, test: str | Path | None = None) -> list[str]:
    """Note in `study.yaml` where the data of a study are now. Their content decides, not their names.

    Parameters
    ----------
    out_dir : path
        Study folder.
    train, test : path, optional
        The files; what is not given stays.

    Returns
    -------
    list of str
        What was changed, a sentence each.

    Raises
    ------
    InputError
        If a file cannot be read or holds other data than the study was made of; nothing is changed then.
    """
    folder = Path(out_dir).resolve()
    manifest = read_manifest(folder)
    found: dict[str, DataFile] = {}
    problems: list[Problem] = []
    for name, given in (("train", train), ("test", test)):
        if given is None:
            continue
        known: DataFile = getattr(manifest, name)
        try:
            found[name] = _moved(known, Path(given), folder)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    changed = {name: file for name, file in found.items() if file != getattr(manifest, name)}
    if changed:
        write_manifest(folder, manifest.model_copy(update=changed))
    return [f"The {name}ing file of the study is now {file.path}." for name, file in changed.items()]


def _moved(known: DataFile, path: Path, folder: Path) -> DataFile:
    """Return the description of the file at its new place."""
    if not path.is_file():
        raise InputError(Problem(str(path), "", "no such file", "data of the study", "Give the path of the file."))
    if file_sha256(path) == known.sha256:
        return DataFile.describe(path, known.fingerprint, known.n_patterns, folder)
    dataset = load_dataset(path)
    fingerprint = dataset.fingerprint()
    if fingerprint != known.fingerprint:
        found = f"{len(dataset)} patterns with the fingerprint {fingerprint[:12]}"
        expected = f"{known.n_patterns} with {known.fingerprint[:12]}, as in {Path(known.path).name}"
        fix = "Give the file that the study was made of; other data make another study."
        raise InputError(Problem(str(path), "content", found, expected, fix))
    return DataFile.describe(path, fingerprint, known.n_patterns, folder)
