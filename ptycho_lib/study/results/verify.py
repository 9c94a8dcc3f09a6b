"""Check that what a study published is what its runs produced, number by number.

Four links are checked: a run's files are those that it recorded; the compared pixels follow from the test file;
the metrics follow from the saved reconstructions and the ground truth; the tables follow from the runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from ptycho_lib.config import NETWORKS, TRAIN, StudyConfig
from ptycho_lib.data.conditions import conditions_of
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.evaluation.comparison import compare_objects
from ptycho_lib.evaluation.reconstruction import compared_pixels
from ptycho_lib.io.files import file_sha256
from ptycho_lib.study.folder.manifest import MANIFEST, read_manifest
from ptycho_lib.study.folder.record import (
    METRICS,
    RECORD,
    CorruptRecordError,
    RunRecord,
    read_record,
    reconstruction_name,
)
from ptycho_lib.study.folder.status import State
from ptycho_lib.study.folder.truth import Truth, read_truth
from ptycho_lib.study.results.aggregate import load_runs, read_metrics
from ptycho_lib.study.results.tables import AGGREGATED, by_file_name, compute_tables
from ptycho_lib.study.selection import test_subset, training_scan

RELATIVE_TOLERANCE = 1e-5
"""Other processors and library versions round otherwise; a changed number differs by more."""

_KEYS = ["model", "condition", "component", "alignment", "metric"]


@dataclass(frozen=True)
class Mismatch:
    """Something published that does not follow from its origin.

    Parameters
    ----------
    file : str
        Relative to the study.
    what : str
        The row, field or property.
    published, recomputed : str
    """

    file: str
    what: str
    published: str
    recomputed: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}: published {self.published}, recomputed {self.recomputed}"


@dataclass(frozen=True)
class Verification:
    """The result of verifying a study.

    Parameters
    ----------
    n_files, n_values : int
        Recorded files and published values that were compared.
    mismatches : tuple of Mismatch
    unverified : tuple of str
        What could not be recomputed, and why: nothing speaks against it, nothing for it.
    """

    n_files: int
    n_values: int
    mismatches: tuple[Mismatch, ...]
    unverified: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing that was compared differs."""
        return not self.mismatches

    def __str__(self) -> str:
        result = "no mismatch" if self.ok else f"{len(self.mismatches)} mismatches"
        return f"{self.n_files} files and {self.n_values} values compared: {result}"


def verify_study(out_dir: str | Path) -> Verification:
    """Recompute the compared pixels and metrics of every complete run, and the tables of the study.

    Parameters
    ----------
    out_dir : path
        Study folder.

    Raises
    ------
    InputError
        If the folder holds no study, or no run of it is complete.
    """
    out_dir = Path(out_dir).resolve()
    book, tests = _Book(out_dir), _TestSets(out_dir)
    runs = load_runs(out_dir)
    tables = compute_tables(out_dir)
    for run in runs:
        if run.state not in (State.COMPLETE, State.FAILED):
            continue
        try:
            record = read_record(run.folder)
        except CorruptRecordError as error:
            book.mismatches.append(Mismatch(book.name(run.folder / RECORD), "run", "complete", str(error)))
            continue
        if record is not None:
            _verify_files(run.folder, record, book)
            _verify_metrics(run.folder, record, tests, book)
    for name, table in by_file_name(tables).items():
        if (out_dir / name).is_file():
            _verify_table(out_dir / name, table, book)
        else:
            book.unverified.append(f"{name} is not there")
    return Verification(book.n_files, book.n_values, tuple(book.mismatches), tuple(book.unverified))


class _TestSets:
    """Test sets under the conditions of runs, and their compared pixels, each computed once."""

    def __init__(self, out_dir: Path) -> None:
        self._out_dir = out_dir
        self._manifest = read_manifest(out_dir) if (out_dir / MANIFEST).is_file() else None
        self._sets: dict[str, dict[str, PtychoDataset]] = {}
        self._pixels: dict[tuple[str, str], np.ndarray] = {}

    def find(self, record: RunRecord, condition: str) -> tuple[PtychoDataset | Truth, NDArray[np.bool_] | None, str]:
        """Return truth and compared pixels of a condition; without the data the truth that the study keeps.

        Returns
        -------
        truth : PtychoDataset or Truth
        pixels : (H, W) bool, or None
            None where they cannot be recomputed.
        reason : str
            Why they cannot.

        Raises
        ------
        ValueError
            If neither the data nor the study give the truth.
        """
        try:
            return (*self.get(record, condition), "")
        except (OSError, KeyError, ValueError) as error:
            if self._manifest is None:
                raise
            reason = str(error).splitlines()[0]
            return read_truth(self._out_dir, self._manifest, condition), None, reason

    def get(self, record: RunRecord, condition: str) -> tuple[PtychoDataset, np.ndarray]:
        """Return the test set of a run under a condition, and its compared pixels, (H, W) bool.

        Raises
        ------
        ValueError
            If the test file cannot be read, or the run's settings are not known to this version.
        """
        key = f"{record.test_data} {record.n_test} {json.dumps(record.config, sort_keys=True)}"
        if key not in self._sets:
            try:
                # What is computed once names no network, which a study must.
                config = StudyConfig.model_validate(record.config | {"models": list(NETWORKS)})
            except ValidationError:
                raise ValueError("the run has settings that this version does not know") from None
            test = load_dataset(self._place(record.test_data, "test"))
            self._sets[key] = dict(conditions_of(test.select(test_subset(test, config, record.n_test)), config))
            train = self._place(record.train_data, "train")
            scan = training_scan(load_dataset(train), config, record.n_test) if train.is_file() else None
            if scan is not None:
                self._sets[key][TRAIN] = scan
        if condition not in self._sets[key]:
            raise ValueError("the condition is not among the settings of the run")
        data = self._sets[key][condition]
        if (key, condition) not in self._pixels:
            least = float(record.config["evaluation"]["min_illumination"])
            self._pixels[key, condition] = compared_pixels(data, least)
        return data, self._pixels[key, condition]

    def _place(self, path: str, which: Literal["train", "test"]) -> Path:
        """Return where a data file is: at its path, or where the study finds it."""
        if self._manifest is None or Path(path).is_file():
            return Path(path)
        return getattr(self._manifest, which).locate(self._out_dir)


class _Book:
    """What was compared so far, and what came of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_files = self.n_values = 0
        self.mismatches: list[Mismatch] = []
        self.unverified: list[str] = []

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def compare(self, path: Path, what: str, published: object, recomputed: object) -> None:
        self.n_values += 1
        if not _same(published, recomputed):
            self.mismatches.append(Mismatch(self.name(path), what, _text(published), _text(recomputed)))


def _verify_files(folder: Path, record: RunRecord, book: _Book) -> None:
    """Compare the run's files with the digests in its record."""
    for name, digest in record.outputs.items():
        book.n_files += 1
        path = folder / name
        if not path.is_file():
            book.mismatches.append(Mismatch(book.name(path), "file", "recorded in run.json", "missing"))
        elif file_sha256(path) != digest:
            book.mismatches.append(Mismatch(book.name(path), "content", "as in run.json", "changed since"))


def _verify_metrics(folder: Path, record: RunRecord, tests: _TestSets, book: _Book) -> None:
    """Recompute a run's compared pixels from its test file, and its metrics from its reconstructions."""
    path = folder / METRICS
    try:
        published = read_metrics(path)
    except InputError as error:
        book.mismatches.append(Mismatch(book.name(path), "table", "complete", str(error)))
        return
    for (model, condition), rows in published.groupby(["model", "condition"], sort=False):
        file = folder / f"{model}_run" / reconstruction_name(condition)
        try:
            truth, pixels, reason = tests.find(record, condition)
            obj, mask = _reconstruction(file)
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            book.unverified.append(f"{book.name(path)}: {model}, {condition}: {reason}")
            continue
        if pixels is None:
            book.unverified.append(f"{book.name(path)}: {model}, {condition}: pixels compared: {reason}")
            pixels = mask
        book.compare(file, "number of pixels compared", int(mask.sum()), int(pixels.sum()))
        if not np.array_equal(mask, pixels):
            book.mismatches.append(Mismatch(book.name(file), "mask", "as saved", "another one from the test file"))
        options = {"max_shift_px": record.config["evaluation"]["max_shift_px"], "pixel_size_m": truth.pixel_size_m}
        recomputed = compare_objects(truth.obj, obj, mask, **options).assign(model=model, condition=condition)
        _compare_rows(path, rows, recomputed, _KEYS, book)


def _reconstruction(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return arrays["object"], arrays["mask"]


def _verify_table(path: Path, expected: pd.DataFrame, book: _Book) -> None:
    """Compare a published table with the one that follows from the runs, cell by cell."""
    try:
        plain = path.name != AGGREGATED
        published = pd.read_csv(path) if plain else read_metrics(path)
    except (InputError, OSError, ValueError) as error:
        book.mismatches.append(Mismatch(book.name(path), "table", "unreadable", str(error)))
        return
    keys = [key for key in ("n_train", "trial", *_KEYS) if key in expected.columns]
    _compare_rows(path, published, expected, keys, book)


def _compare_rows(path: Path, published: pd.DataFrame, recomputed: pd.DataFrame, keys: list[str], book: _Book) -> None:
    """Compare rows of equal keys in all common columns; name rows that only one side has."""
    there, again = (_by_key(table, keys) for table in (published, recomputed))
    for key in there.keys() - again.keys():
        book.mismatches.append(Mismatch(book.name(path), _row_name(keys, key), "a row", "none"))
    for key, row in again.items():
        if key not in there:
            book.mismatches.append(Mismatch(book.name(path), _row_name(keys, key), "no row", "one"))
            continue
        for column in row.keys() & there[key].keys() - set(keys):
            book.compare(path, f"{_row_name(keys, key)}, {column}", there[key][column], row[column])


def _by_key(table: pd.DataFrame, keys: list[str]) -> dict[tuple[object, ...], dict[str, object]]:
    rows: Iterator[dict[str, object]] = iter(table.to_dict("records"))
    return {tuple(str(row[key]) for key in keys): row for row in rows}


def _row_name(keys: list[str], key: tuple[object, ...]) -> str:
    names = {"n_train": "n_train ", "trial": "trial "}
    return ", ".join(f"{names.get(name, '')}{part}" for name, part in zip(keys, key, strict=True))


def _same(first: object, second: object) -> bool:
    if _missing(first) or _missing(second):
        return _missing(first) and _missing(second)
    if isinstance(first, str) or isinstance(second, str):
        return str(first) == str(second)
    one, two = float(first), float(second)  # type: ignore[arg-type]
    return one == two or math.isclose(one, two, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)


def _missing(value: object) -> bool:
    return value == "" or bool(pd.isna(value))


def _text(value: object) -> str:
    if _missing(value):
        return "nothing"
    return f"{value:.8g}" if isinstance(value, float) else str(value)
