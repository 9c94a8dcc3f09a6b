"""A whole study with every model, by the command: the iterative run is made once and shared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.report.results import read_results
from ptycho_lib.report.text import study as narrative
from ptycho_lib.study.folder.status import State, study_status
from ptycho_lib.study.results.verify import verify_study
from tests.conftest import simulate_small
from tests.end_to_end.test_train_and_compare import run

pytestmark = pytest.mark.iterative
CONFIG = """\
name: tiny
trials: 1
models: [pinn, baseline, iterative, pinn+iterative]
network: {width: 8, first_guess_iterations: 2, trainable_probe: true}
training: {steps: 8, validations: 2, batch_size: 8, merged_patches: 2, learning_rate: 2.0e-3}
iterative: {updates: 25, batch_size: 8}
conditions:
  - {name: low_dose, photons_factor: 0.2}
"""


def simulated(n, seed):
    """Simulate a scan that says so, as those of the command do."""
    return replace(simulate_small(n, seed), history=(f"simulated: for a test, seed {seed}",))


class Study:
    """Two sizes on simulated data, run by the command."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "study"
        self.train = save_dataset(simulated(24, seed=3), folder / "tiny_train.npz")
        self.test = save_dataset(simulated(40, seed=8), folder / "tiny_test.npz")
        self.config = folder / "tiny.yaml"
        self.config.write_text(CONFIG, encoding="utf-8")

    def command(self, *more):
        options = ("--config", self.config, "--n-train-sizes", "8 16", "--threads", "1")
        arguments = ("run", self.train, self.test, self.out, *options, *more)
        return run("-m", "ptycho_lib.cli.main", *arguments, cwd=self.folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    tiny = Study(tmp_path_factory.mktemp("iterative"))
    code, output = tiny.command()
    assert code == 0, output
    return tiny


def test_the_iterative_run_is_one_for_all_sizes(study):
    states = study_status(study.out)
    assert [(status.n_train, status.state) for status in states] == [(size, State.COMPLETE) for size in (0, 8, 16)]
    assert {path.parent.name for path in study.out.rglob("run.json")} == {
        "iterative",
        "n_train_8",
        "n_train_16",
    }
    table = pd.read_csv(study.out / "aggregated_metrics.csv", dtype={"reason": str, "leakage": str})
    alone = table[table["model"] == "iterative"]
    assert set(alone["n_train"]) == {0}
    assert set(alone["condition"]) == {"nominal", "low_dose"}
    assert set(table.loc[table["n_train"] > 0, "model"]) == {"pinn", "baseline", "pinn+iterative"}


def test_every_number_follows_from_what_the_runs_left(study):
    result = verify_study(study.out)
    assert result.ok, result.mismatches[:3]
    assert result.unverified == ()


def test_the_hybrid_starts_where_the_network_ended(study):
    record = json.loads((study.out / "n_train_8" / "run.json").read_text())
    assert set(record["models"]) == {"pinn", "baseline", "pinn+iterative"}
    assert record["models"]["pinn+iterative"]["seconds"] == 0
    epochs = pd.read_csv(study.out / "n_train_8" / "pinn+iterative_run" / "epochs.csv")
    assert list(epochs["epoch"]) == [1, 2, 3, 4, 5]
    flat = pd.read_csv(study.out / "iterative" / "iterative_run" / "epochs.csv")
    assert epochs["loss"].iloc[0] != flat["loss"].iloc[0]
    with np.load(study.out / "n_train_8" / "pinn+iterative_run" / "reconstruction.npz") as stored:
        assert np.isfinite(stored["object"]).all()


def test_times_tell_what_each_model_rests_on(study):
    costs = pd.read_csv(study.out / "aggregated_costs.csv").set_index(["n_train", "model", "condition"])
    assert costs.loc[(0, "iterative", "nominal"), "training_s"] == 0
    assert costs.loc[(0, "iterative", "nominal"), "reconstruction_s"] > 0
    network, hybrid = (costs.loc[(8, model, "nominal")] for model in ("pinn", "pinn+iterative"))
    assert hybrid["training_s"] == network["training_s"] > 0
    assert hybrid["reconstruction_s"] > network["reconstruction_s"]


def test_the_report_names_the_models_and_no_circle_where_the_truth_was_simulated(study):
    report = (study.out / "report.html").read_text(encoding="utf-8")
    assert "reconstructed iteratively (Pty-chi, LSQML, to convergence or 25 updates" in report
    assert "part of their lead is circular" not in report
    assert "PtychoPINN followed by iterations with 16 training patterns" in report
    runs = BeautifulSoup(narrative.run_list(read_results(study.out)), "html.parser")
    first = [cell.get_text() for cell in runs.find_all("tr")[1].find_all(["th", "td"])]
    assert first[0] == "none"
    assert not runs.find(string="0")


def test_other_iterations_leave_trained_networks_and_other_trainings_leave_iterations(study):
    """Only the models that a setting concerns become stale; the last test, because it changes the study."""
    plain = CONFIG.replace(", pinn+iterative]", "]")
    study.config.write_text(plain)
    code, output = study.command("--no-report", "--replace-stale")
    assert code == 0, output
    assert "iterative: started" not in output
    study.config.write_text(plain.replace("updates: 25", "updates: 30"))
    code, output = study.command("--no-report", "--replace-stale")
    assert code == 0, output
    assert "n_train 8: started" not in output
    assert "iterative: stale, computed again (changed: configuration (iterative.updates 25 -> 30))" in output
