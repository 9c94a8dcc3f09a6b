"""Every notebook runs from top to bottom without a front end, on shipped or small simulated data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from bs4 import BeautifulSoup

from ptycho_lib.config import NetworkConfig
from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.networks.batches import normalised_probe
from ptycho_lib.networks.models import build_pinn
from tests.conftest import simulate_small
from tests.support import report_examples as examples

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MEGABYTE = 1_000_000


def execute(name: str, folder: Path, **parameters: object) -> nbformat.NotebookNode:
    """Execute a notebook with papermill in a process of its own, where JupyterLab would: in its folder."""
    (folder / "parameters.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / name), str(folder / name)]
    command += ["--parameters_file", str(folder / "parameters.yaml"), "--cwd", str(NOTEBOOKS)]
    done = subprocess.run([*command, "--kernel", "python3"], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / name).stat().st_size < 3 * MEGABYTE
    return nbformat.read(folder / name, as_version=4)


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the alternative texts of all pictures; every one has a text, and none is there twice."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if "image/png" in output.get("data", {})]
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    images = BeautifulSoup(html, "html.parser").find_all("img")
    assert len({image["src"] for image in images}) == len(images)
    assert all(len(image["alt"]) > 30 for image in images)
    return [image["alt"] for image in images]


def text(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pieces = [output.get("data", {}).get("text/html", output.get("text", "")) for output in outputs]
    return BeautifulSoup("".join(pieces), "html.parser").get_text(" ")


def test_explore_a_dataset(tmp_path: Path) -> None:
    notebook = execute("01_explore_a_dataset.ipynb", tmp_path)
    alts = pictures(notebook)
    assert len(alts) == 5
    assert alts[0] == "Patterns, their re-projection, residuals, probe."
    assert alts[2].startswith("Diffraction pattern 257 of 516")
    assert alts[4].startswith("Simulated pattern")
    assert "nothing wrong found" in text(notebook)
    assert "photons per pattern" in text(notebook)


def test_train_one_size(tmp_path: Path) -> None:
    small = {"n_train": 16, "steps": 4}
    notebook = execute("02_train_one_size.ipynb", tmp_path, **small)
    alts = pictures(notebook)
    assert alts[1] == "Losses: PtychoPINN after epoch 4, Supervised baseline after epoch 4."
    assert [alt.split()[0] for alt in alts] == ["16", "Losses:", "Phase", "Phase", "Phase", "Fourier"]
    assert "PSNR" in text(notebook)


def test_inspect_a_study(tmp_path: Path) -> None:
    study = examples.FinishedStudy(tmp_path / "made", sizes=(4, 8), trials=3).finish(collapse=(4, 2), skip=(8, 3))
    notebook = execute("03_inspect_a_study.ipynb", tmp_path, study_dir=str(study))
    assert len(pictures(notebook)) == 3
    said = text(notebook)
    assert "5 of 6 runs are complete" in said
    assert "the supervised baseline collapsed" in said
    assert "the worst first" in said


def test_your_own_study(tmp_path: Path) -> None:
    measured = save_dataset(simulate_small(80, seed=3), tmp_path / "measured.npz")
    small = {"raw_file": str(measured), "n_train_sizes": "16", "steps": 2, "estimate_cost": False}
    folder = tmp_path / "mine"
    notebook = execute("04_your_own_study.ipynb", tmp_path, study_dir=str(folder), **small)
    assert len(pictures(notebook)) == 1
    assert "2 of 2 runs are complete" in text(notebook)  # the control and the one size
    for name in ("my_config.yaml", "results/report.html", "results/aggregated_metrics.csv"):
        assert (folder / name).is_file()
    assert all((folder / "results" / run / "run.json").is_file() for run in ("untrained", "n_train_16"))


def test_compare_two_studies(tmp_path: Path) -> None:
    settings = {"first": {}, "second": {"name": "longer", "training": {"steps": 1600}}}
    made = {
        name: str(examples.FinishedStudy(tmp_path / name, sizes=(4, 8), **changes).finish())
        for name, changes in settings.items()
    }
    notebook = execute("05_compare_two_studies.ipynb", tmp_path, **made)
    assert len(pictures(notebook)) == 1
    said = text(notebook)
    assert "training.steps" in said
    assert "PtychoPINN with 4 patterns: phase SSIM longer" in said


def test_apply_a_network(tmp_path: Path) -> None:
    scan = simulate_small(24, seed=5)
    network = NetworkConfig(width=2, first_guess_iterations=2)
    build_pinn(network, normalised_probe(scan.probe)).save(tmp_path / "model.keras")
    save_dataset(scan, tmp_path / "scan.npz")
    places = {"model_dir": str(tmp_path / "model.keras"), "scan": str(tmp_path / "scan.npz")}
    notebook = execute("06_apply_a_network.ipynb", tmp_path, **places)
    assert len(pictures(notebook)) == 2
    said = text(notebook)
    assert "agrees with that of the training to 1.000" in said
    assert "of the measured amplitude unexplained" in said
