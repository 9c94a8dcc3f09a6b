"""How many patterns of a new scan does fine-tuning save against training anew? Simulation to the measured star.

``python benchmarks/fine_tuning.py run OUT.csv``: in each trial PtychoPINN is trained on 512 simulated line patterns
under the star's probe. It is fine-tuned on n patterns of one half of the measured Siemens star, and new networks are
trained on the same n patterns, with as many steps and with a full schedule; all reconstruct the other half.
``summary OUT.csv`` prints means with Student's intervals, and how many patterns a new network needs to match a
fine-tuned one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd

from ptycho_lib.application.fine_tuning import tuned_config
from ptycho_lib.config import StudyConfig
from ptycho_lib.data.dataset import PtychoDataset, load_dataset, materialise
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.networks.models import ReconstructionNetwork
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import train_model
from ptycho_lib.physics import objects, scan
from ptycho_lib.study.results.matched_size import matched_size
from ptycho_lib.study.results.statistics import summarize
from ptycho_lib.study.selection import training_subset

STAR = Path(__file__).parents[1] / "studies" / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"
SIZES, TRIALS = (16, 64, 256), 3
SIMULATED, STEPS, TUNING_STEPS = 512, 600, 100
SHOWN = (("phase", "ssim"), ("phase", "mae"), ("phase", "frc50"), ("amplitude", "ssim"))


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--first", default=1, show_default=True, help="First trial.")
@click.option("--last", default=TRIALS, show_default=True, help="Last trial.")
def run(out: Path, first: int, last: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        star, test = (materialise(load_dataset(path)) for path in prepare(STAR, folder))
        for trial in range(first, last + 1):
            config = study_config(STEPS)
            start = train_model("pinn", simulated(star, trial), config, trial, Path(folder) / f"start_{trial}").network
            record(out, test, start, "applied", 0, trial)
            for size in SIZES:
                part = star.select(training_subset(star, config, size, trial))
                tuned = tuned_config(config, TUNING_STEPS)
                plans = {"fine-tuned": (tuned, start), "anew": (tuned_config(config, TUNING_STEPS, 2e-3), None)}
                for name, (settings, begin) in (plans | {"anew, full schedule": (config, None)}).items():
                    where = Path(folder) / f"{name}_{size}_{trial}"
                    record(
                        out,
                        test,
                        train_model("pinn", part, settings, trial, where, start=begin).network,
                        name,
                        size,
                        trial,
                    )


@main.command()
@click.argument("out", type=click.Path(path_type=Path, exists=True))
def summary(out: Path) -> None:
    table = pd.read_csv(out)
    wanted = table[table["alignment"] == "aligned"]
    means = summarize(wanted)
    for component, metric in SHOWN:
        rows = means[(means["component"] == component) & (means["metric"] == metric)]
        print(f"\n{component} {metric}: mean and 95 % interval of {rows['n'].max()} trials")
        for row in rows.sort_values(["model", "n_train"]).itertuples():
            print(f"  {row.model:22s} {row.n_train:4d} patterns  {row.mean:.3f}  ({row.low:.3f} to {row.high:.3f})")
    for size in SIZES:
        for reference in ("anew", "anew, full schedule"):
            found = matched_size(table, size, model=reference, reference="fine-tuned")
            print(found.sentence())


def study_config(steps: int) -> StudyConfig:
    return StudyConfig.model_validate({"training": {"steps": steps, "validations": 10}})


def simulated(star: PtychoDataset, trial: int) -> PtychoDataset:
    """Return a scan of random lines under the probe and at the dose of the star."""
    positions, shape = scan.frame(scan.fermat_spiral(SIMULATED, 4.5), star.patch_size)
    lines = objects.lines(shape, np.random.default_rng(trial))
    obj = objects.transmission(lines, amplitude=(0.6, 1.0), phase_rad=(0.0, 1.2))
    return materialise(simulate_dataset(obj, star.probe, positions, detector=Detector(4.4e5), seed=trial))


def record(out: Path, test: PtychoDataset, network: ReconstructionNetwork, name: str, size: int, trial: int) -> None:
    """Append what a network reaches on the other half of the star."""
    seen = predict_patches(network, test)
    scores = reconstruct(seen.patches, seen.positions_px, test).compare()
    rows = scores.assign(model=name, n_train=size, trial=trial, condition="nominal")
    kept = ["model", "n_train", "trial", "condition", "component", "alignment", "metric", "value", "censored"]
    rows[kept].to_csv(out, mode="a", header=not out.exists(), index=False)
    value = rows.query("component == 'phase' and metric == 'ssim' and alignment == 'aligned'")["value"].iloc[0]
    print(f"trial {trial} {name} {size}: phase SSIM {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
