"""A trial of a real study that collapses: it stays in every table and is counted."""

from __future__ import annotations

import nbformat
import pandas as pd
import pytest

from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.study.results.verify import verify_study
from tests.conftest import ROOT, simulate_small
from tests.end_to_end.test_train_and_compare import CONFIG, run

SABOTAGE = """\
import dataclasses
absurd = run.config.training.model_copy(update={"learning_rate": 1e9})
absurd = run.config.model_copy(update={"training": absurd})
run = dataclasses.replace(run, config=absurd) if trial == 2 else run"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two trials of one size; the template's copy gives the second an absurd learning rate."""
    folder = tmp_path_factory.mktemp("collapse")
    template = nbformat.read(ROOT / "templates" / "train_and_compare.ipynb", as_version=4)
    opened = next(k for k, cell in enumerate(template.cells) if cell.id == "open-run")
    template.cells.insert(opened + 1, nbformat.v4.new_code_cell(SABOTAGE))
    nbformat.write(template, folder / "sabotaged.ipynb")
    train = save_dataset(simulate_small(24, seed=3), folder / "train.npz")
    test = save_dataset(simulate_small(14, seed=8), folder / "test.npz")
    save_dataset(simulate_small(14, seed=9), folder / "tiny_other.npz")
    (folder / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    options = ("--config", folder / "tiny.yaml", "--n-train-sizes", "16", "--trials", 2, "--threads", 1)
    command = ("run", train, test, folder / "study", *options, "--template", folder / "sabotaged.ipynb")
    code, output = run("-m", "ptycho_lib.cli.main", *command, cwd=folder)
    assert code == 0, output
    return folder / "study", output


def test_the_collapsed_trial_stays_in_every_table(study):
    folder, _ = study
    table = pd.read_csv(folder / "aggregated_metrics.csv")
    assert set(table["trial"]) == {1, 2}
    assert set(table["model"]) == {"pinn", "baseline", "untrained"}
    networks = table[table["model"] != "untrained"]  # the control has one trial
    assert networks.groupby(["model", "trial"]).size().nunique() == 1
    summary = pd.read_csv(folder / "study_summary.csv").query("condition == 'nominal'")
    assert (summary["n_collapsed"] > 0).any()
    outcomes = pd.read_csv(folder / "run_outcomes.csv").set_index(["trial", "model"])
    for model in ("pinn", "baseline"):
        assert outcomes.loc[(2, model), "collapsed"]
        assert not outcomes.loc[(1, model), "collapsed"]


def test_the_report_names_it(study):
    folder, _ = study
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "collapsed" in report
    assert (folder / "n_train_16" / "trial_2" / "run.json").exists()


def test_the_study_verifies(study):
    folder, _ = study
    assert not verify_study(folder).mismatches
