"""The settings of both models, searched on data that no study and no other benchmark reports.

``python benchmarks/search.py`` varies one setting at a time around a base, the same settings, data and number
of samples for both models, and prints for each model how the error changes. An error is the
geometric mean of amplitude MAE and phase MAE of an unseen object; it is averaged, as the ratio to the
base's own, over two scenes: the curved probe and the measured Velociprobe probe. Results go to a CSV
file line by line, and what is in the file is not trained again.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd
from networks import held_out, study_config, texture_scan

from ptycho_lib.config import NETWORKS
from ptycho_lib.data.dataset import PtychoDataset

RESULTS = Path(__file__).parent / "results" / "search.csv"
BASE = (
    "training.learning_rate=0.002",
    "training.warmup_fraction=0.05",
    "training.batch_size=16",
    "network.width=16",
    "network.first_guess_iterations=10",
    "training.merged_patches=8",
)
"""Where the search starts: the defaults of their time, written out, so that it can be repeated."""
SETTINGS = {
    "training.learning_rate": ("0.0005", "0.001", "0.004", "0.008"),
    "training.warmup_fraction": ("0", "0.2"),
    "training.batch_size": ("8", "32"),
    "network.width": ("8", "32"),
    "network.first_guess_iterations": ("0", "5", "20"),
    "training.merged_patches": ("1", "4", "12"),
}
"""What is tried instead. The overlap constraint belongs to PtychoPINN alone."""
TOGETHER = ("network.width=8 network.first_guess_iterations=20",)
"""What the search ended with: the defaults of today."""
SCENES = ("curved", "velociprobe")
SEEDS = {"training": 11, "validation": 12}  # docs/methods/networks.md reports on seeds 1 and 2


def trials(model: str) -> list[str]:
    """Return the settings to try for a model, the base first."""
    axes = {name: values for name, values in SETTINGS.items() if model == "pinn" or name != "training.merged_patches"}
    return ["base", *(f"{name}={value}" for name, values in axes.items() for value in values), *TOGETHER]


def scores(model: str, setting: str, train: PtychoDataset, unseen: PtychoDataset, samples: int) -> dict[str, float]:
    """Train once and return the errors on the unseen object, and the seconds it took.

    Every training sees the same number of patterns in its gradient steps: half the batch, twice the steps.
    """
    chosen = BASE if setting == "base" else (*BASE, *setting.split())
    batch = study_config({}, chosen).training.batch_size
    config = study_config({"steps": samples // batch, "validations": 10}, chosen)
    trained, _, value = held_out(model, train, unseen, config, 1)
    return {
        "amplitude_mae": float(value["amplitude", "mae"]),
        "phase_mae_rad": float(value["phase", "mae"]),
        "seconds": trained.seconds,
        "collapsed": float(trained.collapsed),
    }


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return the error of each setting over that of the base, a row a setting, a column a model."""
    error = np.sqrt(results["amplitude_mae"] * results["phase_mae_rad"])
    table = results.assign(error=error).set_index(["model", "setting", "scene"])["error"].unstack("setting")
    ratio = np.exp(np.log(table.div(table["base"], axis=0)).groupby("model").mean()).T
    order = [name for name in trials("pinn") if name in ratio.index]
    return ratio.loc[order, [model for model in NETWORKS if model in ratio]]


@click.command(help=__doc__)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--patterns", default=256, show_default=True, help="Training patterns.")
@click.option("--samples", default=4800, show_default=True, help="Patterns in all gradient steps together.")
def main(results: Path, patterns: int, samples: int) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    done = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=["model", "setting", "scene"])
    finished = set(done[["model", "setting", "scene"]].itertuples(index=False, name=None))
    for scene in SCENES:
        train = texture_scan(patterns, SEEDS["training"], probe=scene)
        unseen = texture_scan(patterns, SEEDS["validation"], probe=scene)
        for model in NETWORKS:
            for setting in trials(model):
                if (model, setting, scene) in finished:
                    continue
                row = {"model": model, "setting": setting, "scene": scene}
                row |= {"patterns": patterns, "samples": samples}
                row |= {name: float(f"{x:.5g}") for name, x in scores(model, setting, train, unseen, samples).items()}
                pd.DataFrame([row]).to_csv(results, mode="a", header=not results.exists(), index=False)
                print(*row.values(), flush=True)
    print("\nError relative to the base (below 1 is better):")
    print(summary(pd.read_csv(results)).to_string(float_format="%.2f", na_rep=""))


if __name__ == "__main__":
    main()
