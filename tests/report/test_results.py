"""A study folder is read as it is: what is complete counts, what is not is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.errors import InputError
from ptycho_lib.report.results import load_by_size, load_reconstructions, read_results, truth_label
from tests.support import report_examples as examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = examples.FinishedStudy(tmp_path_factory.mktemp("results"), sizes=(4, 8), trials=2)
    return study.finish(collapse=(4, 2), skip=(8, 2))


def test_every_planned_run_is_there_with_its_state(folder: Path) -> None:
    results = read_results(folder)
    assert [(run.n_train, run.trial, str(run.state)) for run in results.runs] == [
        (4, 1, "complete"),
        (4, 2, "complete"),
        (8, 1, "complete"),
        (8, 2, "missing"),
    ]
    assert len(results.complete) == 3


def test_a_collapsed_training_is_counted_and_stays_in_the_table(folder: Path) -> None:
    results = read_results(folder)
    collapsed = results.collapsed
    assert collapsed[["n_train", "trial", "model"]].to_numpy().tolist() == [[4, 2, "baseline"]]
    of_run = results.table.query("n_train == 4 and trial == 2 and model == 'baseline'")
    assert len(of_run) > 10


def test_reading_writes_nothing(folder: Path) -> None:
    before = sorted(path for path in folder.rglob("*"))
    read_results(folder)
    assert sorted(path for path in folder.rglob("*")) == before


def test_reconstructions_are_aligned_to_the_truth(folder: Path) -> None:
    objects = load_reconstructions(read_results(folder), 8)
    assert list(objects.aligned) == ["pinn", "baseline"]
    error = {model: np.abs(obj - objects.truth)[objects.mask].mean() for model, obj in objects.aligned.items()}
    before = {model: np.abs(obj - objects.truth)[objects.mask].mean() for model, obj in objects.raw.items()}
    assert error["pinn"] < error["baseline"]
    assert error["baseline"] <= before["baseline"]
    assert objects.truth_label == "Reference"


def test_sizes_without_a_complete_run_are_left_out(folder: Path) -> None:
    assert list(load_by_size(read_results(folder), trial=1)) == [4, 8]
    assert list(load_by_size(read_results(folder), trial=2)) == [4]


def test_an_unknown_run_names_the_choices(folder: Path) -> None:
    with pytest.raises(InputError, match="no run with n_train 5, trial 1; expected one of n_train 4, trial 1"):
        read_results(folder).run(5)


def test_an_incomplete_run_has_no_reconstruction(folder: Path) -> None:
    with pytest.raises(InputError, match="a missing run"):
        load_reconstructions(read_results(folder), 8, 2)


def test_the_fingerprint_follows_the_runs(folder: Path, tmp_path: Path) -> None:
    full = examples.FinishedStudy(tmp_path, sizes=(4, 8), trials=2).finish()
    assert read_results(full).fingerprint() != read_results(folder).fingerprint()
    assert read_results(folder).fingerprint() == read_results(folder).fingerprint()


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.yaml"):
        read_results(tmp_path)


def test_only_a_simulated_object_is_called_ground_truth(tmp_path: Path) -> None:
    measured = examples.dataset()
    simulated = measured.__class__(**{**measured.__dict__, "history": ("simulated: lines",)})
    path = save_dataset(simulated, tmp_path / "x.npz")
    assert truth_label(measured) == "Reference"
    assert truth_label(load_dataset(path)) == "Ground truth"
