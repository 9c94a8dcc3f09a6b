"""Which patterns a run trains and is tested on, and whether the files can give as many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import PtychoDataset
from ptycho_lib.data.sampling import selection_warning, subset_order
from ptycho_lib.errors import InputError, Problem

DEFAULT_N_TEST = 500


def default_n_test(config: StudyConfig, available: int) -> int:
    """Return the test count in force: the configured one, else 500, or all there are if fewer."""
    return config.n_test_images or min(DEFAULT_N_TEST, available)


def check_counts(
    train_data: str | Path,
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
    problems = [
        Problem(
            str(train_data),
            "n_train",
            f"{size} training patterns asked for",
            f"between 1 and {n_train_available}, which is what the file holds",
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


def refuse_empty(**parameters: str | Path) -> None:
    """Refuse template parameters that were left empty.

    Raises
    ------
    InputError
        With one problem for each.
    """
    fix = "Set it with `-p NAME VALUE` of papermill, or in the cell tagged 'parameters'."
    empty = [name for name, value in parameters.items() if str(value) in ("", ".")]
    if empty:
        raise InputError(Problem("parameters", name, "an empty text", "a path", fix) for name in empty)


def training_warning(train: PtychoDataset, config: StudyConfig, n_train: int, trial: int = 1) -> str:
    """Return a warning if the training subset leaves out much of the scan; an empty text if it does not."""
    seed = config.seeds(trial)["subset"]
    return selection_warning(train.positions_px, train.patch_size, config.sampling.method, n_train, seed)


def training_subset(train: PtychoDataset, config: StudyConfig, n_train: int, trial: int) -> NDArray[np.int64]:
    """Return the indices of a training subset: the first n_train of the trial's order, so subsets nest."""
    return subset_order(train.positions_px, config.sampling.method, config.seeds(trial)["subset"])[:n_train]


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
