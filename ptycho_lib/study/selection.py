"""Which patterns a run trains and is tested on, and whether the files can give as many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.sampling import selection_warning, subset_order
from ptycho_lib.errors import InputError, Problem

DEFAULT_N_TEST = 500

SAME_PIXEL = 1e-3
"""Relative difference below which two pixel sizes are one."""

Files = str | Path | Sequence[str | Path]
"""One training file, or several."""


def listed_files(files: Files) -> tuple[Path, ...]:
    """Return training files as absolute paths; none for an empty text."""
    several = (files,) if isinstance(files, str | Path) else tuple(files)
    return tuple(Path(file).resolve() for file in several if str(file) not in ("", "."))


def load_scans(files: Sequence[Path], config: StudyConfig) -> tuple[PtychoDataset, ...]:
    """Load the training files of a study.

    Raises
    ------
    InputError
        With every problem of every file, and if no one network can be trained on all of them.
    """
    scans: list[PtychoDataset] = []
    problems: list[Problem] = []
    for file in files:
        try:
            scans.append(load_dataset(file))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    refuse_different(scans, config)
    return tuple(scans)


def refuse_different(scans: Sequence[PtychoDataset], config: StudyConfig) -> None:
    """Refuse training scans that no one network can be trained on.

    Raises
    ------
    InputError
        If patterns or object pixels differ in size, a file is given twice, the probe is to be refined, or a
        training size leaves a scan without a sample.
    """
    if len(scans) < 2:
        return
    problems: list[Problem] = []
    for first, other in pairwise(scans):
        if other.patch_size != first.patch_size:
            found, expected = (f"patterns of {scan.patch_size}×{scan.patch_size} pixels" for scan in (other, first))
            fix = "Prepare all training files with the same `--crop` and `--bin`."
            problems.append(Problem(other.source, "diffraction", found, f"{expected}, as in {first.source}", fix))
        one, two = first.pixel_size_m, other.pixel_size_m
        if one and two and abs(two / one - 1) > SAME_PIXEL:
            fix = "Crop or pad the patterns so that all scans have one object pixel, or train on each by itself."
            found, expected = f"{two:.6g} m", f"{one:.6g} m, as in {first.source}"
            problems.append(Problem(other.source, "pixel_size_m", found, expected, fix))
    known: dict[str, str] = {}
    for scan in scans:
        mark = scan.fingerprint()
        if mark in known:
            fix = "Name each training file once."
            problems.append(Problem(scan.source, "", f"the same data as {known[mark]}", "another scan", fix))
        known.setdefault(mark, scan.source)
    if config.network.trainable_probe:
        fix = "Leave it out, or train on one file; `prepare --probe-modes` refines a probe beforehand."
        problems.append(
            Problem("settings", "network.trainable_probe", "true", "false with several training files", fix)
        )
    fewest, group = len(scans) * config.network.gridsize**2, config.network.gridsize**2
    if config.n_train_sizes[0] < fewest:
        found = f"{config.n_train_sizes[0]} patterns of {len(scans)} scans"
        expected = f"at least {fewest}: {group} of each"
        problems.append(Problem("settings", "n_train_sizes", found, expected, "Begin with a larger size."))
    if problems:
        raise InputError(problems)


def default_n_test(config: StudyConfig, available: int) -> int:
    """Return the test count in force: the configured one, else 500, or all there are if fewer."""
    return config.n_test_images or min(DEFAULT_N_TEST, available)


def check_counts(
    train_data: Files,
    n_train_available: int,
    n_train_sizes: tuple[int, ...],
    test_data: str | Path,
    n_test_available: int,
    n_test: int,
) -> None:
    """Refuse sizes and a test count that the files cannot give.

    Raises
    ------
    InputError
        With one problem for each.
    """
    files = (train_data,) if isinstance(train_data, str | Path) else tuple(train_data)
    holds = "the file holds" if len(files) == 1 else "the files hold"
    problems = [
        Problem(
            ", ".join(map(str, files)),
            "n_train",
            f"{size} training patterns asked for",
            f"between 1 and {n_train_available}, which is what {holds}",
            "Ask for fewer (--n-train-sizes), or prepare a larger training file.",
        )
        for size in n_train_sizes
        if not 1 <= size <= n_train_available
    ]
    if not 1 <= n_test <= n_test_available:
        found = f"{n_test} test patterns asked for"
        expected = f"between 1 and {n_test_available}, which is what the file holds"
        fix = "Ask for fewer (--n-test-images), or leave the option out to use what there is."
        problems.append(Problem(str(test_data), "n_test", found, expected, fix))
    if problems:
        raise InputError(problems)


def refuse_empty(**parameters: Files) -> None:
    """Refuse template parameters that were left empty.

    Raises
    ------
    InputError
        With one problem for each.
    """
    fix = "Set it with `-p NAME VALUE` of papermill, or in the cell tagged 'parameters'."
    empty = [name for name, value in parameters.items() if not listed_files(value)]
    if empty:
        raise InputError(Problem("parameters", name, "an empty text", "a path", fix) for name in empty)


def training_warning(scans: Sequence[PtychoDataset], config: StudyConfig, n_train: int, trial: int = 1) -> str:
    """Return a warning if the training subset leaves out much of a scan; an empty text if it does not."""
    warnings = []
    for number, (scan, count) in enumerate(zip(scans, patterns_of_each(scans, n_train), strict=True)):
        seed = config.seeds(trial)["subset"] + number
        warning = selection_warning(scan.positions_px, scan.patch_size, config.sampling.method, count, seed)
        warnings.append(warning if len(scans) == 1 or not warning else f"{Path(scan.source).name}: {warning}")
    return "; ".join(filter(None, warnings))


def patterns_of_each(scans: Sequence[PtychoDataset], n_train: int) -> list[int]:
    """Return how many of n_train patterns come from each scan: evenly, as long as each has some left."""
    lengths = [len(scan) for scan in scans]
    turn = np.concatenate([np.arange(length) for length in lengths])
    owner = np.repeat(np.arange(len(scans)), lengths)
    order = np.lexsort((owner, turn))[:n_train]
    return np.bincount(owner[order], minlength=len(scans)).tolist()


def training_subset(
    train: PtychoDataset, config: StudyConfig, n_train: int, trial: int, *, scan: int = 0
) -> NDArray[np.int64]:
    """Return the indices of a training subset: the first n_train of the trial's order, so subsets nest.

    Number `scan` of several training scans has a seed of its own: scans on one raster are not sampled at the
    same places.
    """
    seed = config.seeds(trial)["subset"] + scan
    return subset_order(train.positions_px, config.sampling.method, seed)[:n_train]


def training_subsets(
    scans: Sequence[PtychoDataset], config: StudyConfig, n_train: int, trial: int
) -> tuple[PtychoDataset, ...]:
    """Return the training subset of each scan, see `training_subset`.

    Parameters
    ----------
    scans : sequence of PtychoDataset
        Whole training files.
    config : StudyConfig
    n_train : int
        Patterns of all scans together, see `patterns_of_each`.
    trial : int
    """
    shares = patterns_of_each(scans, n_train)
    return tuple(
        scan.select(training_subset(scan, config, share, trial, scan=number))
        for number, (scan, share) in enumerate(zip(scans, shares, strict=True))
    )


def test_subset(test: PtychoDataset, config: StudyConfig, n_test: int) -> NDArray[np.int64]:
    """Return test indices, evenly over the scan, by the root seed: one test set for all sizes and trials."""
    return np.sort(subset_order(test.positions_px, "representative", config.seed)[:n_test])


def training_scan(train: PtychoDataset, config: StudyConfig, n_test: int) -> PtychoDataset | None:
    """Return the patterns of the condition `train`; None if it is off, or there is nothing to compare with.

    Parameters
    ----------
    train : PtychoDataset
        The whole training file.
    config : StudyConfig
    n_test : int
        Number of patterns, if there are as many.
    """
    if not config.training_scan or train.obj is None or not np.any(train.obj):
        return None
    return train.select(test_subset(train, config, min(n_test, len(train))))
