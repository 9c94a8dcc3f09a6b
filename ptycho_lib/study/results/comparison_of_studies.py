"""Two or more studies side by side: what differs in settings, data and code, and what that did to the metrics.

Values are paired only if they were measured on the same pixels, and get an interval only where trials match: the same
trial of both studies chose its patterns and weights in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptycho_lib.config import NOMINAL, StudyConfig
from ptycho_lib.errors import InputError, Problem
from ptycho_lib.io.files import write_atomically
from ptycho_lib.metrics_table import METRICS
from ptycho_lib.model_names import model_label
from ptycho_lib.study.folder.manifest import StudyManifest, read_manifest
from ptycho_lib.study.folder.record import reconstruction_name, setting_text
from ptycho_lib.study.folder.status import State
from ptycho_lib.study.results.aggregate import LoadedRun, join_runs, load_runs
from ptycho_lib.study.results.statistics import UNDECIDED, paired_differences, summarize
from ptycho_lib.study.results.words import interval_words, signed

DIFFERENCES, VALUES, PAIRS = "what_differs.csv", "values.csv", "paired_differences.csv"
SHOWN = 12
"""Characters of a fingerprint that are shown."""


@dataclass(frozen=True, eq=False)
class ComparedStudy:
    """One study of a comparison.

    Parameters
    ----------
    label : str
        Its name; with the folder's where two have the same.
    folder : Path
    manifest : StudyManifest
    runs : tuple of LoadedRun
        The complete ones.
    table : DataFrame
        Tidy, every value.
    """

    label: str
    folder: Path
    manifest: StudyManifest
    runs: tuple[LoadedRun, ...]
    table: pd.DataFrame

    @property
    def config(self) -> StudyConfig:
        """Its settings."""
        return self.manifest.config


@dataclass(frozen=True, eq=False)
class StudyComparison:
    """What several studies have in common and what not.

    Parameters
    ----------
    studies : tuple of ComparedStudy
        The first is the reference.
    differences : DataFrame
        Columns kind, item and one a study; only what is not the same in all.
    values : DataFrame
        `statistics.summarize` of each study, with a column `study`.
    pairs : DataFrame
        `statistics.paired_differences` of each other study against the first, with columns model, study and
        reference; empty where nothing may be paired.
    unpaired : dict of str to str
        By study, why its trials are not paired with those of the first; empty if they are.
    """

    studies: tuple[ComparedStudy, ...]
    differences: pd.DataFrame
    values: pd.DataFrame
    pairs: pd.DataFrame
    unpaired: dict[str, str]

    def sentences(self, *, metric: str = "ssim", component: str = "phase") -> list[str]:
        """Return what the comparison says, a sentence for each study, model and training size.

        Parameters
        ----------
        metric, component : str
            Which values, on the unchanged test set, aligned.
        """
        said = [f"{label} is not paired with {self.studies[0].label}: {why}." for label, why in self.unpaired.items()]
        chosen = {"metric": metric, "component": component, "condition": NOMINAL, "alignment": "aligned"}
        rows = self.pairs
        for column, value in chosen.items():
            rows = rows[rows[column] == value]
        label = METRICS[metric].label
        for row in rows.itertuples():
            size = f"{model_label(row.model)} with {row.n_train} patterns" if row.n_train else model_label(row.model)
            start = f"{size}: {component} {label} {row.study} − {row.reference} = {signed(row.mean, 2)}"
            if np.isnan(row.low):
                said.append(f"{start} ({row.n} trial{'s' if row.n > 1 else ''}, no interval).")
                continue
            verdict = "cannot be told apart" if row.better == UNDECIDED else f"{row.better} is better"
            said.append(f"{start} ({interval_words(row.low, row.high, 2)}, {row.n} trials): {verdict}.")
        return said

    def write(self, folder: Path) -> list[Path]:
        """Write the three tables as CSV; return their paths."""
        tables = {DIFFERENCES: self.differences, VALUES: self.values, PAIRS: self.pairs}
        for name, table in tables.items():
            write_atomically(folder / name, table.to_csv(index=False))
        return [folder / name for name in tables]


def compare_studies(folders: Sequence[str | Path], *, unpaired: bool = False) -> StudyComparison:
    """Compare studies with the first of them.

    Parameters
    ----------
    folders : sequence of path
        At least two study folders.
    unpaired : bool
        Also show studies that were tested on other pixels; they are never paired.

    Returns
    -------
    StudyComparison

    Raises
    ------
    InputError
        If a folder is no study with a complete run, one is named twice, or, unless `unpaired`, a study was not
        tested on the pixels of the first.
    """
    places = [Path(folder).resolve() for folder in folders]
    if len(set(places)) < len(places) or len(places) < 2:
        found = "one folder" if len(places) == 1 else f"{len(places)} folders, {len(set(places))} of them different"
        raise InputError(Problem("compare", "", found, "two or more different studies", "Give each study once."))
    studies = tuple(_read(places))
    reasons = {study.label: other_pixels(studies[0], study) for study in studies[1:]}
    problems = [
        Problem(str(study.folder), "test data", reasons[study.label], f"those of {studies[0].folder}", _FIX)
        for study in studies[1:]
        if reasons[study.label]
    ]
    if problems and not unpaired:
        raise InputError(problems)
    why = {label: reason or other_trials(studies[0], _named(studies, label)) for label, reason in reasons.items()}
    pairs = [_pairs(studies[0], study) for study in studies[1:] if not why[study.label]]
    values = [summarize(study.table).assign(study=study.label) for study in studies]
    return StudyComparison(
        studies,
        what_differs(studies),
        pd.concat(values, ignore_index=True),
        pd.concat(pairs, ignore_index=True) if pairs else _pairs(studies[0], studies[0]).iloc[:0],
        {label: reason for label, reason in why.items() if reason},
    )


_FIX = "Compare studies of one test set, or add --unpaired for tables side by side without differences."


def other_pixels(first: ComparedStudy, second: ComparedStudy) -> str:
    """Return in which way the pixels that two studies compared differ; empty if they are the same."""
    one, other = first.manifest, second.manifest
    if one.test.fingerprint != other.test.fingerprint:
        return f"another test file ({other.test.fingerprint[:SHOWN]} instead of {one.test.fingerprint[:SHOWN]})"
    if one.n_test != other.n_test:
        return f"{other.n_test} test patterns instead of {one.n_test}"
    mine, its = _mask(first), _mask(second)
    if mine is None or its is None:
        return "no reconstruction that says which pixels were compared"
    if not np.array_equal(mine, its):
        return f"{int(its.sum())} compared pixels that are not the {int(mine.sum())}"
    return ""


def other_trials(first: ComparedStudy, second: ComparedStudy) -> str:
    """Return why equal trial numbers of two studies mean different trials; empty if they mean the same."""
    known = [[file.fingerprint for file in study.manifest.training_files] for study in (first, second)]
    if known[0] != known[1]:
        return "trained on other data, so trials have nothing in common"
    settings = [study.config.model_dump(include={"seed", "vary", "sampling"}) for study in (first, second)]
    return "" if settings[0] == settings[1] else "other seeds or another choice of patterns"


def what_differs(studies: Sequence[ComparedStudy]) -> pd.DataFrame:
    """Return settings, data, code and software that are not the same in all studies.

    Parameters
    ----------
    studies : sequence of ComparedStudy

    Returns
    -------
    DataFrame
        Columns kind, item, and the label of each study; texts.
    """
    known = {study.label: dict(_facts(study)) for study in studies}
    items = dict.fromkeys(item for facts in known.values() for item in facts)
    rows = [
        (*item, *values)
        for item in items
        if len(set(values := [known[study.label].get(item, "–") for study in studies])) > 1
    ]
    return pd.DataFrame(rows, columns=["kind", "item", *known])


def _facts(study: ComparedStudy) -> Iterator[tuple[tuple[str, str], str]]:
    manifest = study.manifest
    for name, value in _flat(study.config.model_dump(mode="json", exclude={"name", "train_data"})):
        yield ("settings", name), value
    training = [(f"training file {number}", file) for number, file in enumerate(manifest.training_files, 1)]
    for name, data in (*training, ("test file", manifest.test)):
        yield ("data", name), f"{Path(data.path).name}, {data.n_patterns} patterns ({data.fingerprint[:SHOWN]})"
    yield ("data", "test patterns"), str(manifest.n_test)
    yield ("data", "complete runs"), str(len(study.runs))
    for kind, digest in manifest.code.items():
        yield ("code", f"of {kind} runs"), digest[:SHOWN]
    yield ("code", "commit"), manifest.commit[:SHOWN] or "none"
    for name, version in manifest.versions.items():
        yield ("software", name), version
    devices = sorted({run.record.device for run in study.runs if run.record})
    yield ("machine", "device"), ", ".join(devices)
    processors = sorted({run.record.machine.get("processor", "") for run in study.runs if run.record})
    yield ("machine", "processor"), ", ".join(processors)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", setting_text(value) or "none"


def _read(places: Sequence[Path]) -> Iterator[ComparedStudy]:
    manifests = [read_manifest(place) for place in places]
    names = [manifest.config.name for manifest in manifests]
    labels = [
        name if names.count(name) == 1 else f"{name} ({'/'.join(place.parts[-2:])})"
        for name, place in zip(names, places, strict=True)
    ]
    for label, place, manifest in zip(labels, places, manifests, strict=True):
        runs = load_runs(place)
        complete = tuple(run for run in runs if run.state is State.COMPLETE)
        yield ComparedStudy(label, place, manifest, complete, join_runs(runs, place))


def _named(studies: Sequence[ComparedStudy], label: str) -> ComparedStudy:
    return next(study for study in studies if study.label == label)


def _mask(study: ComparedStudy) -> np.ndarray[Any, Any] | None:
    """Return the pixels that were compared on the unchanged test set, (H, W) bool; the same in all runs of a study."""
    for run in study.runs:
        for model in run.models:
            path = run.folder / f"{model}_run" / reconstruction_name(NOMINAL)
            try:
                with np.load(path, allow_pickle=False) as stored:
                    return np.asarray(stored["mask"], bool)
            except (OSError, ValueError, KeyError):
                continue
    return None


def _pairs(first: ComparedStudy, second: ComparedStudy) -> pd.DataFrame:
    """Return the differences second - first, by model, paired by trial."""
    found = []
    for model in first.table["model"].unique():
        parts = [
            study.table[study.table["model"] == model].assign(model=side)
            for study, side in ((first, "reference"), (second, "study"))
        ]
        rows = paired_differences(pd.concat(parts, ignore_index=True), model="study", reference="reference")
        words = {"study": second.label, "reference": first.label}
        better = rows["better"].replace(words)
        found.append(rows.assign(better=better, model=model, study=second.label, reference=first.label))
    return pd.concat(found, ignore_index=True)
