"""A study as one archive for Zenodo: an RO-Crate with licence, authors, software, and the fingerprints of its data.

RO-Crate 1.1 (Soiland-Reyes et al., "Packaging research artefacts with RO-Crate", Data Science 5, 97, 2022).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rocrate.model import ContextEntity, Person, SoftwareApplication
from rocrate.rocrate import ROCrate

import ptycho_lib
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import file_sha256
from ptycho_lib.report.results import StudyResults, read_results
from ptycho_lib.study.folder import locks
from ptycho_lib.study.folder.manifest import DataFile
from ptycho_lib.study.run_session import CACHE

LICENCES = {
    "CC0-1.0": "Creative Commons Zero v1.0 Universal",
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "CC-BY-SA-4.0": "Creative Commons Attribution Share Alike 4.0 International",
    "CC-BY-NC-4.0": "Creative Commons Attribution Non Commercial 4.0 International",
    "BSD-3-Clause": 'BSD 3-Clause "New" or "Revised" License',
    "MIT": "MIT License",
    "Apache-2.0": "Apache License 2.0",
    "GPL-3.0-or-later": "GNU General Public License v3.0 or later",
}
"""SPDX identifiers and names."""
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".keras": "application/zip",
    ".npz": "application/zip",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
}
_AUTHOR = re.compile(
    r"^(?P<name>[^<>]*[^<>\s])\s*(?:<(?P<orcid>(?:https://orcid\.org/)?\d{4}-\d{4}-\d{4}-\d{3}[\dX])>)?$"
)


@dataclass(frozen=True)
class Publication:
    """Who publishes a study, and under which licence.

    Parameters
    ----------
    licence : str
        SPDX identifier, a key of `LICENCES`.
    authors : tuple of str
        ``Jane Doe`` or ``Jane Doe <0000-0002-1825-0097>`` with an ORCID.
    description : str
        One sentence; what the study answers by default.
    """

    licence: str
    authors: tuple[str, ...]
    description: str = ""

    def problems(self) -> list[Problem]:
        """Return what is missing or malformed."""
        found = []
        known = ", ".join(LICENCES)
        if self.licence not in LICENCES:
            what = f"'{self.licence}'" if self.licence else "no licence"
            fix = "Without one nobody may use what you publish: give it, such as --license CC-BY-4.0."
            found.append(Problem("--license", "", what, f"one of {known}", fix))
        if not self.authors:
            fix = "Give each with --author 'Jane Doe <0000-0002-1825-0097>'; the ORCID may be left out."
            found.append(Problem("--author", "", "no author", "at least one", fix))
        for author in self.authors:
            if not _AUTHOR.match(author.strip()):
                fix = "Write 'Jane Doe' or 'Jane Doe <0000-0002-1825-0097>'."
                found.append(Problem("--author", "", f"'{author}'", "a name, and an ORCID in angle brackets", fix))
        return found


def pack_study(
    study_dir: str | Path,
    archive: str | Path,
    publication: Publication,
    *,
    with_data: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a study as an RO-Crate, one zip file.

    Parameters
    ----------
    study_dir : path
    archive : path
        The zip file.
    publication : Publication
    with_data : bool
        Put training and test file into the archive. Otherwise they are described by name, size and SHA-256.
    overwrite : bool
        Replace an earlier archive.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        With every problem: no licence or author, a run in progress, no complete run, the archive exists, data missing.
    """
    folder, archive = Path(study_dir).resolve(), Path(archive)
    problems = publication.problems()
    if archive.suffix != ".zip":
        problems.append(Problem(str(archive), "", "another ending", "a file name that ends with .zip", "Change it."))
    elif archive.exists() and not overwrite:
        fix = "Give another name, or --overwrite."
        problems.append(Problem(str(archive), "", "an earlier archive", "a new file", fix))
    results = read_results(folder)
    running = [run.folder for run in results.runs if locks.is_locked(run.folder)]
    fix = "Wait for it; `ptycho-study status` shows it."
    problems += [Problem(str(place), "", "a run in progress", "a study at rest", fix) for place in running]
    data = _data_files(results)
    if with_data:
        fix = "Point to it with --train or --test, or leave --with-data out."
        problems += [
            Problem(file.path, "", "no such file", f"the {name} data", fix)
            for name, file in data.items()
            if not file.locate(folder).is_file()
        ]
    if problems:
        raise InputError(problems)
    crate = _described(results, publication)
    for path in packed_files(folder):
        crate.add_file(path, path.relative_to(folder).as_posix(), properties=_file_facts(path))
    made = [_data_entity(crate, name, file, folder, with_data=with_data) for name, file in data.items()]
    _add_action(crate, results, made)
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".{archive.stem}.partial.zip")
    crate.write_zip(partial)
    partial.replace(archive)
    return archive


def _data_files(results: StudyResults) -> dict[str, DataFile]:
    """Return the training files and the test file, by what they are."""
    training = results.manifest.training_files
    several = len(training) > 1
    named = {f"train{f'-{number}' if several else ''}": file for number, file in enumerate(training, 1)}
    return named | {"test": results.manifest.test}


def packed_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a study that are results: no locks, logs, caches, hidden or unfinished files, no links."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = parts[0] == CACHE or any(part.startswith(".") or part == locks.EXECUTION for part in parts)
        if path.is_file() and not path.is_symlink() and not hidden and ".partial." not in path.name:
            yield path


def _described(results: StudyResults, publication: Publication) -> ROCrate:
    """Return a crate that says what the study is, whose it is and what may be done with it."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "http://schema.org/sha256"  # of schema.org, not of RO-Crate 1.1
    crate.name = f"Generalization study '{results.config.name}'"
    crate.description = publication.description or " ".join(results.answer())
    crate.keywords = "ptychography, phase retrieval, generalization, PtychoPINN"
    licence = ContextEntity(
        crate,
        f"https://spdx.org/licenses/{publication.licence}",
        properties={
            "@type": "CreativeWork",
            "name": LICENCES[publication.licence],
            "identifier": publication.licence,
            "url": f"https://spdx.org/licenses/{publication.licence}.html",
        },
    )
    crate.license = crate.add(licence)
    people = [crate.add(person) for person in _people(crate, publication.authors)]
    crate.root_dataset["author"] = people if len(people) > 1 else people[0]
    crate.root_dataset["identifier"] = f"sha256:{results.fingerprint()}"
    return crate


def _people(crate: ROCrate, authors: Sequence[str]) -> Iterator[Person]:
    for number, author in enumerate(authors, 1):
        found = _AUTHOR.match(author.strip())
        assert found is not None, "checked before"
        orcid = (found["orcid"] or "").removeprefix("https://orcid.org/")
        identifier = f"https://orcid.org/{orcid}" if orcid else f"#author-{number}"
        yield Person(crate, identifier, properties={"name": found["name"]})


def _file_facts(path: Path) -> dict[str, str]:
    facts = {"name": path.name, "contentSize": str(path.stat().st_size), "sha256": file_sha256(path)}
    encoding = FORMATS.get(path.suffix.lower())
    return facts | ({"encodingFormat": encoding} if encoding else {})


def _data_entity(crate: ROCrate, name: str, file: DataFile, folder: Path, *, with_data: bool) -> ContextEntity:
    """Add training or test data: as a file, or as what would be found under its fingerprint."""
    facts = {
        "name": f"{name} data, {file.n_patterns} patterns",
        "contentSize": str(file.size_bytes),
        "sha256": file.sha256,
        "identifier": f"ptycho_lib dataset fingerprint sha256:{file.fingerprint}",
        "encodingFormat": FORMATS[".npz"],
    }
    if with_data:
        return crate.add_file(file.locate(folder), f"data/{name}_{Path(file.path).name}", properties=facts)
    entity = ContextEntity(crate, f"#{name}-data", properties={"@type": "CreativeWork", **facts})
    return crate.add(entity)


def _add_action(crate: ROCrate, results: StudyResults, data: Sequence[ContextEntity]) -> None:
    """Say with which software the study was made of its data."""
    used = []
    for name, version in results.manifest.versions.items():
        facts = {"name": name, "version": version}
        if name == "ptycho_lib":
            facts |= {"softwareVersion": version, "description": ptycho_lib.__doc__ or ""}
        used.append(crate.add(SoftwareApplication(crate, f"#software-{name}", properties=facts)))
    runs = [run.record for run in results.complete if run.record]
    action = ContextEntity(
        crate,
        "#study",
        properties={
            "@type": "CreateAction",
            "name": f"{len(runs)} runs of the study",
            "startTime": min(run.started for run in runs),
            "endTime": max(run.finished for run in runs),
            "description": f"commit {results.manifest.commit or 'unknown'}; settings in study.yaml",
        },
    )
    crate.add(action)
    action["instrument"] = used
    action["object"] = list(data)
    action["result"] = crate.root_dataset
    crate.root_dataset["mentions"] = action
