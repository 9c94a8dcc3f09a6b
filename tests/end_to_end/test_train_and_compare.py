"""One whole study with real networks: by the command, by papermill alone, again, and with a trial that collapses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.metrics_table import COLUMNS
from ptycho_lib.study.results.verify import verify_study
from tests.conftest import ROOT, simulate_small

MEGABYTE = 1_000_000
TEMPLATE = ROOT / "templates" / "train_and_compare.ipynb"
CONFIG = """\
name: tiny
trials: 1
network: {width: 8, first_guess_iterations: 2}
training: {steps: 8, validations: 2, batch_size: 8, merged_patches: 2, learning_rate: 2.0e-3}
conditions:
  - {name: low_dose, photons_factor: 0.2}
  - {name: other_object, test_data: tiny_other.npz}
"""
SABOTAGE = """\
import dataclasses
absurd = run.config.training.model_copy(update={"learning_rate": 1e9})
absurd = run.config.model_copy(update={"training": absurd})
run = dataclasses.replace(run, config=absurd) if trial == 2 else run"""
MODEL_FILES = {
    "model.keras",
    "history.csv",
    "reconstruction.npz",
    "reconstruction_low_dose.npz",
    "reconstruction_train.npz",
    "reconstruction_other_object.npz",
}
RUN_FILES = {
    "pinn_run",
    "baseline_run",
    "comparison_plot.png",
    "comparison_metrics.csv",
    "train_and_compare.ipynb",
    "run.json",
}
STUDY_FILES = {
    "study.yaml",
    "truth",
    "cache",
    "untrained",
    "n_train_8",
    "n_train_16",
    "aggregated_metrics.csv",
    "generalization_study_results.png",
    "generalization_study_results.pdf",
    "summary.ipynb",
    "report.html",
}


def run(*command, cwd):
    one_thread = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    ending = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return ending.returncode, ending.stdout + ending.stderr


class TinyStudy:
    """A study of two sizes on simulated data, run by the command.

    Its template is a copy of the shipped one that gives a second trial an absurd learning rate.
    """

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "study"
        self.train = save_dataset(simulate_small(24, seed=3), folder / "tiny_train.npz")
        self.test = save_dataset(simulate_small(14, seed=8), folder / "tiny_test.npz")
        save_dataset(simulate_small(14, seed=9), folder / "tiny_other.npz")
        self.config = folder / "tiny.yaml"
        self.config.write_text(CONFIG, encoding="utf-8")
        template = nbformat.read(TEMPLATE, as_version=4)
        opened = next(k for k, cell in enumerate(template.cells) if cell.id == "open-run")
        template.cells.insert(opened + 1, nbformat.v4.new_code_cell(SABOTAGE))
        nbformat.write(template, folder / "sabotaged.ipynb")
        self.code, self.output = self.command()

    def command(self, *more):
        options = ("--config", self.config, "--n-train-sizes", "8 16", "--threads", "1")
        options += ("--template", self.folder / "sabotaged.ipynb")
        arguments = ("run", self.train, self.test, self.out, *options, *more)
        return run("-m", "ptycho_lib.cli.main", *arguments, cwd=self.folder)

    def files(self):
        return {
            path.relative_to(self.out).as_posix(): path.stat().st_mtime_ns
            for path in self.out.rglob("*")
            if path.is_file()
        }

    def metrics(self, size):
        return self.out / f"n_train_{size}" / "comparison_metrics.csv"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    tiny = TinyStudy(tmp_path_factory.mktemp("tiny"))
    assert tiny.code == 0, tiny.output
    return tiny


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_study_holds_the_files_of_its_contract(study):
    assert visible(study.out) >= STUDY_FILES
    for size in (8, 16):
        folder = study.out / f"n_train_{size}"
        assert visible(folder) >= RUN_FILES
        for model in ("pinn", "baseline"):
            assert visible(folder / f"{model}_run") >= MODEL_FILES


def test_reconstructions_lie_on_the_grid_of_the_test_file(study):
    with np.load(study.test) as test:
        truth = test["objectGuess"]
    masks = []
    for model in ("pinn", "baseline"):
        with np.load(study.out / "n_train_16" / f"{model}_run" / "reconstruction.npz") as saved:
            assert saved["object"].shape == saved["mask"].shape == truth.shape
            assert saved["object"].dtype == np.complex64
            assert np.isfinite(saved["object"]).all()
            assert saved["mask"].sum() > 100
            masks.append(saved["mask"])
    np.testing.assert_array_equal(*masks)


def test_the_metrics_are_tidy_and_complete(study):
    table = pd.read_csv(study.metrics(16), keep_default_na=False, na_values=[""])
    assert list(table) == list(COLUMNS)
    assert set(table["model"]) == {"pinn", "baseline"}
    assert set(table["condition"]) == {"nominal", "low_dose", "other_object", "train"}
    assert set(table["alignment"]) == {"raw", "aligned"}
    assert {"mae", "mse", "psnr", "ssim", "frc50"} <= set(table["metric"])
    assert set(table["n_train"]) == {16}
    keys = ["model", "condition", "component", "alignment", "metric"]
    assert not table.duplicated(keys).any()
    counts = table.groupby(["model", "condition"]).size()
    assert counts.nunique() == 1  # the same questions to every model
    errors = table.query("metric in ['mae', 'mse', 'ssim']")["value"]
    assert np.isfinite(errors).all()


def test_all_runs_are_aggregated(study):
    table = pd.read_csv(study.out / "aggregated_metrics.csv")
    parts = [pd.read_csv(study.metrics(size)) for size in (8, 16)]
    parts.append(pd.read_csv(study.out / "untrained" / "comparison_metrics.csv"))
    assert list(table) == list(COLUMNS)
    assert len(table) == sum(map(len, parts))
    assert set(table["run"]) == {"untrained", "n_train_8", "n_train_16"}
    assert set(table.loc[table["n_train"] == 0, "model"]) == {"untrained"}


def test_the_record_names_data_seeds_and_outcome(study):
    record = json.loads((study.out / "n_train_8" / "run.json").read_text())
    assert record["identity"]["n_train"] == 8
    assert record["identity"]["n_test"] == 14
    assert set(record["models"]) == {"pinn", "baseline"}
    assert not any(model["collapsed"] for model in record["models"].values())
    assert {"pinn_run/model.keras", "comparison_metrics.csv"} <= set(record["outputs"])


def test_the_executed_notebook_is_small_and_shows_its_pictures_once(study):
    for size in (8, 16):
        path = study.out / f"n_train_{size}" / "train_and_compare.ipynb"
        assert path.stat().st_size < 3 * MEGABYTE
        notebook = nbformat.read(path, as_version=4)
        outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
        assert not [o for o in outputs if o.output_type in ("error", "stream")]  # no warnings in a report
        html = "".join(o.get("data", {}).get("text/html", "") for o in outputs)
        images = BeautifulSoup(html, "html.parser").find_all("img")
        assert len(images) >= 5
        assert all(len(image["alt"]) > 20 for image in images)
        assert not [o for o in outputs if "image/png" in o.get("data", {})]


def test_the_report_is_one_file_without_code_or_network(study):
    path = study.out / "report.html"
    assert path.stat().st_size < 10 * MEGABYTE
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    assert not page.select(".jp-InputArea, .input, .jp-CodeCell .jp-InputPrompt")
    assert not page.find_all("script", src=True)
    assert not page.find_all("link", href=True)
    assert all(image["src"].startswith("data:") for image in page.find_all("img"))
    assert all(image.get("alt") for image in page.find_all("img"))
    assert len(page.find_all("img")) >= 2
    for link in page.find_all("a", href=True):
        assert "://" not in link["href"]


def test_nothing_is_repeated(study):
    before = study.files()
    tables = {size: study.metrics(size).read_bytes() for size in (8, 16)}
    code, output = study.command("--no-report")
    assert code == 0, output
    assert "not computed again, because complete: 3 of 3 runs" in " ".join(output.split())
    after = study.files()
    for name in before:
        if name.startswith("n_train_") and "execution/" not in name:
            assert after[name] == before[name], name
    assert {size: study.metrics(size).read_bytes() for size in (8, 16)} == tables


def test_plain_papermill_gives_the_same_numbers_byte_for_byte(study, tmp_path):
    """Another process, another folder, no command: the same seed gives the same file."""
    folder = tmp_path / "n_train_8"
    folder.mkdir()
    parameters = {
        "train_data": study.train,
        "test_data": study.test,
        "output_dir": folder,
        "n_train": 8,
        "n_test": 0,
        "trial": 1,
        "config": study.config,
    }
    code, output = run(
        *("-m", "papermill", TEMPLATE),
        folder / "train_and_compare.ipynb",
        *(text for name, value in parameters.items() for text in ("-p", name, value)),
        *("--kernel", "python3", "--cwd", tmp_path, "--no-progress-bar"),
        cwd=tmp_path,
    )
    assert code == 0, output
    assert visible(folder) >= RUN_FILES
    assert Path(folder / "comparison_metrics.csv").read_bytes() == study.metrics(8).read_bytes()


def test_a_network_reconstructs_the_test_file_again_to_the_bit(study, tmp_path):
    """The command, its notebook and its report; without the object of the file nothing changes but the grid."""
    out = tmp_path / "again"
    options = (study.out / "n_train_16", study.test, out, "--model", "baseline", "--threads", "1")
    code, output = run("-m", "ptycho_lib.cli.main", "reconstruct", *options, cwd=tmp_path)
    assert code == 0, output
    files = study.out / "n_train_16" / "baseline_run" / "reconstruction.npz", out / "reconstruction.npz"
    kept, again = (dict(np.load(path)) for path in files)
    for name in kept:
        np.testing.assert_array_equal(again[name], kept[name])
    assert np.isfinite(again["uncertainty"]).any()
    facts = json.loads((out / "reconstruction.json").read_text())
    record = json.loads((study.out / "n_train_16" / "run.json").read_text())
    assert facts["run_fingerprint"] == record["fingerprint"]
    assert "baseline: 14 of 14" in output
    page = BeautifulSoup((out / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert len(page.find_all("img")) == 2
    assert "of the measured amplitude unexplained" in page.get_text()
    code, output = run("-m", "ptycho_lib.cli.main", "reconstruct", *options, cwd=tmp_path)
    assert code == 2
    assert "an earlier result" in output


def test_the_study_moves_without_its_data(study, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(study.out, moved)
    manifest = yaml.safe_load((moved / "study.yaml").read_text())
    for name in ("train", "test"):
        manifest[name] |= {"path": f"/nowhere/{name}.npz", "relative": ""}
    (moved / "study.yaml").write_text(yaml.safe_dump(manifest))
    for command in ("status", "aggregate", "report", "verify"):
        result = CliRunner().invoke(main, [command, str(moved)])
        assert result.exit_code == 0, result.output
    output = result.output
    assert "no mismatch" in output
    remarks = [line for line in output.splitlines() if "not verified" in line]
    assert all("pixels compared" in line for line in remarks)


@pytest.fixture(scope="module")
def grown(study):
    """Add a condition and a trial, which collapses, to the study: for the last tests."""
    models = {path: path.stat().st_mtime_ns for path in study.out.rglob("model.keras")}
    text = study.config.read_text()
    study.config.write_text(text.replace("trials: 1", "trials: 2") + "  - {name: shaky, position_jitter_px: 0.5}\n")
    code, output = study.command("--n-train-sizes", "8")
    assert code == 0, output
    assert {path: path.stat().st_mtime_ns for path in models} == models
    return " ".join(output.split())


def test_a_grown_study_computes_what_is_missing_alone(study, grown):
    assert "n_train 8, trial 1: without condition shaky; the rest is kept" in grown
    assert "untrained: without condition shaky; the rest is kept" in grown
    assert (study.out / "n_train_8" / "trial_2" / "run.json").is_file()
    table = pd.read_csv(study.metrics(8))
    assert set(table["condition"]) == {"nominal", "low_dose", "other_object", "train", "shaky"}


@pytest.mark.usefixtures("grown")
def test_a_collapsed_trial_stays_in_every_table(study):
    table = pd.read_csv(study.out / "aggregated_metrics.csv")
    assert set(table["trial"]) == {1, 2}
    assert set(table["model"]) == {"pinn", "baseline", "untrained"}
    networks = table[table["model"] != "untrained"]  # the control has one trial
    assert networks.groupby(["model", "trial"]).size().nunique() == 1
    summary = pd.read_csv(study.out / "study_summary.csv").query("condition == 'nominal'")
    assert (summary["n_collapsed"] > 0).any()
    outcomes = pd.read_csv(study.out / "run_outcomes.csv").set_index(["trial", "model"])
    for model in ("pinn", "baseline"):
        assert outcomes.loc[(2, model), "collapsed"]
        assert not outcomes.loc[(1, model), "collapsed"]


@pytest.mark.usefixtures("grown")
def test_the_report_names_the_collapsed_trial(study):
    assert "collapsed" in (study.out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("grown")
def test_a_study_with_a_collapsed_trial_verifies(study):
    assert not verify_study(study.out).mismatches
