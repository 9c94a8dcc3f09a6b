"""What each part of the method adds: first guess, merged patches, phase synchronisation, drift correction.

``python benchmarks/ablation.py`` trains PtychoPINN and the baseline with and without each part on three data
sets and judges them and the untrained control on held-out patterns. It writes ``benchmarks/results/ablation.csv``,
a row for each reconstruction, and ``ablation.md``, means over the trials. A network is trained once; variants that
concern the stitching alone reuse its predictions. Trials run one after the other, so that an interrupted benchmark
keeps whole ones.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd
from networks import random_scan, texture_scan

from ptycho_lib.config import StudyConfig, parse_config
from ptycho_lib.data.dataset import PtychoDataset, load_dataset
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.networks.models import build_untrained
from ptycho_lib.networks.prediction import PredictedPatches, predict_patches
from ptycho_lib.networks.training import train_model
from ptycho_lib.physics import objects

ROOT = Path(__file__).parents[1]
STAR = ROOT / "studies" / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"
RESULTS = ROOT / "benchmarks" / "results"

# Model, iterations of the first guess, merged patches.
VARIANTS = (
    ("untrained", 20, 1),
    ("untrained", 0, 1),
    ("pinn", 20, 8),
    ("pinn", 20, 1),
    ("pinn", 0, 8),
    ("baseline", 20, 8),
    ("baseline", 0, 8),
)
SHOWN = (("amplitude", "ssim"), ("phase", "ssim"), ("phase", "mae"), ("phase", "frc50"))


def texture(folder: Path, n_test: int) -> tuple[PtychoDataset, PtychoDataset]:
    """Return the simulated texture under the curved probe, a training and a test object."""
    del folder
    return texture_scan(512, 1), texture_scan(n_test, 2)


def lines(folder: Path, n_test: int) -> tuple[PtychoDataset, PtychoDataset]:
    """Return simulated lines of one material under the Velociprobe."""
    del folder
    scans = []
    for n, seed in ((512, 1), (n_test, 2)):
        rng = np.random.default_rng(seed)
        obj = objects.transmission(objects.lines((224, 224), rng), amplitude=(0.6, 1.0), phase_rad=(0.0, 1.2))
        scans.append(random_scan(obj, n, seed, rng, probe="velociprobe", size=64))
    return scans[0], scans[1]


def star(folder: Path, n_test: int) -> tuple[PtychoDataset, PtychoDataset]:
    """Return the halves of the measured Siemens star; the test half as a whole."""
    del n_test
    train, test = prepare(STAR, folder / "star")
    return load_dataset(train), load_dataset(test)


DATA = {"texture": texture, "lines": lines, "star": star}


def config_of(first_guess: int, merged: int, steps: int) -> StudyConfig:
    """Return the default configuration with these parts."""
    network = {"first_guess_iterations": first_guess}
    training = {"steps": steps, "validations": 5, "merged_patches": merged}
    return parse_config({"network": network, "training": training}, "ablation")


def predictions(
    train: PtychoDataset, test: PtychoDataset, models: list[str], n_train: int, steps: int, trial: int
) -> Iterator[tuple[dict[str, object], PredictedPatches]]:
    """Yield what each variant sees in the test patterns. The control needs no trial but the first."""
    for model, first_guess, merged in (variant for variant in VARIANTS if variant[0] in models):
        config = config_of(first_guess, merged, steps)
        row: dict[str, object] = {"model": model, "first_guess": first_guess, "merged_patches": merged, "trial": trial}
        if model == "untrained":
            if trial == 1:
                yield row | {"steps": 0}, predict_patches(build_untrained(config.network, test), test)
            continue
        order = subset_order(train.positions_px, "representative", config.seeds(trial)["subset"])
        with tempfile.TemporaryDirectory() as folder:
            trained = train_model(model, train.select(order[:n_train]), config, trial, folder)
        yield row | {"steps": trained.outcome.steps}, predict_patches(trained.network, test)


def scores(seen: PredictedPatches, test: PtychoDataset) -> Iterator[dict[str, object]]:
    """Yield the aligned metrics with and without synchronisation and drift correction."""
    for synchronise, drift in itertools.product((True, False), repeat=2):
        parts = (seen.patches, seen.positions_px, test)
        result = reconstruct(*parts, min_illumination=0.1, synchronise=synchronise, correct_drift=drift)
        table = result.compare(max_shift_px=2.0).query("alignment == 'aligned'")
        value = table.set_index(["component", "metric"])["value"]
        yield {
            "synchronised": synchronise,
            "drift_corrected": drift,
            **{f"{component}_{metric}": value[component, metric] for component, metric in SHOWN},
        }


def markdown(rows: pd.DataFrame, heading: str) -> str:
    """Return the means over the trials as a table, a data set after the other."""
    parts = ["model", "first_guess", "merged_patches", "synchronised", "drift_corrected"]
    columns = [f"{component}_{metric}" for component, metric in SHOWN]
    lines = [heading, ""]
    for data, chosen in rows.groupby("data", sort=False):
        lines += [f"## {data}", "", "| model | first guess | merged | synchronised | drift corrected | trials |"]
        lines[-1] += " amplitude SSIM | phase SSIM | phase MAE (rad) | phase FRC50 |"
        lines.append("|" + "---|" * (len(parts) + 1 + len(columns)))
        for key, group in chosen.groupby(parts, sort=False):
            model, first_guess, merged, *switches = key
            words = ["yes" if switch else "no" for switch in switches]
            texts = [f"{group[name].mean():.4f} ± {group[name].std():.4f}" for name in columns]
            if len(group) == 1:
                texts = [f"{group[name].mean():.4f}" for name in columns]
            shown = merged if model == "pinn" else "-"
            cells = [model, str(first_guess), str(shown), *words, str(len(group)), *texts]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--data", "names", default=" ".join(DATA), show_default=True)
@click.option("--models", default="untrained pinn baseline", show_default=True)
@click.option("--n-train", default=128, show_default=True)
@click.option("--n-test", default=256, show_default=True, help="Test patterns of the simulated data.")
@click.option("--steps", default=400, show_default=True, help="Gradient steps of each training.")
@click.option("--trials", default=3, show_default=True)
@click.option("--out", default=str(RESULTS / "ablation"), show_default=True, help="Path without extension.")
def main(names: str, models: str, n_train: int, n_test: int, steps: int, trials: int, out: str) -> None:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    call = f"--models '{models}' --n-train {n_train} --n-test {n_test} --steps {steps} --trials {trials}"
    heading = (
        f"# Ablation\n\n`python benchmarks/ablation.py {call}`, commit {commit}.\n"
        "Aligned metrics on held-out patterns, mean ± standard deviation over the trials; the control has none.\n"
        "`first guess` 0 is the PtychoNN-like setting (control: a flat object)."
    )
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        sets = {name: DATA[name](Path(folder), n_test) for name in names.split()}
        for trial, (name, (train, test)) in itertools.product(range(1, trials + 1), sets.items()):
            for row, seen in predictions(train, test, models.split(), n_train, steps, trial):
                rows += [{"data": name, **row, **score} for score in scores(seen, test)]
                table = pd.DataFrame(rows).assign(commit=commit)
                table.round(5).to_csv(f"{out}.csv", index=False)
                Path(f"{out}.md").write_text(markdown(table, heading), encoding="utf-8")
                print(name, row, rows[-4], flush=True)


if __name__ == "__main__":
    main()
