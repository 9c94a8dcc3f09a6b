"""A study whose data moved: where they are now, proven by their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptycho_lib.data.dataset import load_dataset
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256
from ptycho_lib.study.folder.manifest import DataFile, read_manifest, write_manifest


def relocate(out_dir: str | Path, *, train: Sequence[str | Path] = (), test: str | Path | None = None) -> list[str]:
    """Note in `study.yaml` where the data of a study are now. Their content decides, not their names.

    Parameters
    ----------
    out_dir : path
        Study folder.
    train : sequence of path
        Training files, in any order; those that are not given stay.
    test : path, optional
        The test file.

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
    training, tests = list(manifest.training_files), [manifest.test]
    problems: list[Problem] = []
    for files, given in ((training, train), (tests, [] if test is None else [test])):
        for path in given:
            try:
                number, found = _moved(files, Path(path), folder)
                files[number] = found
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(problems)
    before = (*manifest.training_files, manifest.test)
    changed = [new for new, old in zip((*training, *tests), before, strict=True) if new != old]
    if changed:
        update = {"train": training[0], "further_train": tuple(training[1:]), "test": tests[0]}
        write_manifest(folder, manifest.model_copy(update=update))
    return [f"Data of the study are now in {file.path}." for file in changed]


def _moved(files: Sequence[DataFile], path: Path, folder: Path) -> tuple[int, DataFile]:
    """Return which of the files this is, and its description at the new place."""
    if not path.is_file():
        raise InputError(Problem(str(path), "", "no such file", "data of the study", "Give the path of the file."))
    digest = file_sha256(path)
    number = next((k for k, known in enumerate(files) if known.sha256 == digest), None)
    if number is None:
        dataset = load_dataset(path)
        fingerprint = dataset.fingerprint()
        number = next((k for k, known in enumerate(files) if known.fingerprint == fingerprint), None)
        if number is None:
            found = f"{len(dataset)} patterns with the fingerprint {fingerprint[:12]}"
            named = [f"{one.n_patterns} with {one.fingerprint[:12]} ({Path(one.path).name})" for one in files]
            fix = "Give the file that the study was made of; other data make another study."
            raise InputError(Problem(str(path), "content", found, " or ".join(named), fix))
    known = files[number]
    return number, DataFile.describe(path, known.fingerprint, known.n_patterns, folder)
