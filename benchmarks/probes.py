"""Probe modes on the real star, and networks under probes that they were not trained with.

``python benchmarks/probes.py star`` puts the three modes of the Velociprobe on both halves of the Siemens star,
trains both networks on 256 patterns and compares them, and the untrained first guess, on the other half, with
one mode and with all. ``unseen`` trains both networks on simulated lines under the Velociprobe and tests them
under a defocused probe, a disc and a zone plate, beside networks that were trained under the probe of the test.
``speed`` times predictions with one to three modes.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd
import yaml
from networks import study_config

from ptycho_lib.config import NetworkConfig, StudyConfig
from ptycho_lib.data.dataset import PtychoDataset, load_dataset, materialise
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.simulation.config import SimulationConfig
from ptycho_lib.data.simulation.study import simulate_part
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.networks.batches import probe_in_use
from ptycho_lib.networks.models import ReconstructionNetwork, build_pinn, build_untrained
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import train_model

STUDIES = Path(__file__).parents[1] / "studies"
STAR = STUDIES / "siemens_star" / "siemens_star_velociprobe_n64_raw.npz"
PROBES = STUDIES / "siemens_star" / "velociprobe_probes.npz"
LINES = STUDIES / "transfer" / "simulation.yaml"
UNSEEN = ("defocused", "disc", "zone_plate")
METRICS = [("amplitude", "mae"), ("amplitude", "ssim"), ("phase", "mae"), ("phase", "ssim"), ("phase", "frc50")]


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--n-train", default=256, show_default=True)
@click.option("--steps", default=800, show_default=True)
@click.option("--trials", default=1, show_default=True)
@click.option("--modes", default="1 3", show_default=True, help="Numbers of probe modes.")
@click.option("--models", default="untrained pinn baseline", show_default=True)
@click.option("--set", "settings", multiple=True, help="A setting: training.merged_patches=4.")
def star(n_train: int, steps: int, trials: int, modes: str, models: str, settings: tuple[str, ...]) -> None:
    """Both halves of the measured star with one mode of its probe and with all."""
    with tempfile.TemporaryDirectory() as folder, np.load(PROBES) as stored:
        halves = [load_dataset(path) for path in prepare(STAR, folder)]
        light = {1: stored["probe_n64"], 3: stored["modes_n64"]}
        rows = []
        for count in map(int, modes.split()):
            train, test = (replace(materialise(half), probe=light.get(count, light[3][:count])) for half in halves)
            config = study_config({"steps": steps}, settings)
            for model in models.split():
                for trial in range(1, 1 + (1 if model == "untrained" else trials)):
                    network = trained(model, first(train, n_train, config, trial), test, config, trial)
                    rows.append({"modes": count, "model": model, "trial": trial} | scores(network, test, config))
                    show(rows)
    print("\nMean of the trials\n" + table(pd.DataFrame(rows).drop(columns="trial").groupby(["modes", "model"]).mean()))


@main.command()
@click.option("--n-train", default=512, show_default=True)
@click.option("--steps", default=800, show_default=True)
@click.option("--models", default="pinn baseline", show_default=True)
@click.option("--set", "settings", multiple=True)
def unseen(n_train: int, steps: int, models: str, settings: tuple[str, ...]) -> None:
    """Trained under the Velociprobe, tested under other probes, beside training under the probe of the test."""
    config = study_config({"steps": steps}, settings)
    train, tests = scan("train", n_train), {name: scan(name, 300) for name in ("test", *UNSEEN)}
    rows = []

    def add(model: str, trained_under: str, name: str, network: ReconstructionNetwork) -> None:
        rows.append({"model": model, "trained": trained_under, "tested": name} | scores(network, tests[name], config))
        show(rows)

    for name, test in tests.items():
        add("untrained", "-", name, build_untrained(config.network, test))
    for model in models.split():
        network = trained(model, train, tests["test"], config, 1)
        for name in tests:
            add(model, "velociprobe", name, network)
        for name in UNSEEN:
            matched = trained(model, scan(name, n_train, train=True), tests[name], config, 1)
            add(model, name, name, matched)
    print("\n" + table(pd.DataFrame(rows).set_index(["tested", "model", "trained"]).sort_index()))


@main.command()
@click.option("--repeats", default=3, show_default=True)
def speed(repeats: int) -> None:
    """Prediction with one to three modes of the Velociprobe, patterns a second; the best of some repeats."""
    data, config = scan("test", 300), NetworkConfig()
    long = data.select(np.resize(np.arange(len(data)), 1500))
    with np.load(PROBES) as stored:
        modes = stored["modes_n64"]
    for count in (1, 2, 3):
        light = replace(long, probe=modes[:count])
        network = build_pinn(config.model_copy(update={"probe_modes": count}), probe_in_use(light, config))
        rates = [len(light) / predict_patches(network, light).usage.seconds for _ in range(repeats)]
        print(f"{count} modes: {max(rates):.0f} patterns/s", flush=True)


def scan(part: str, n: int, *, train: bool = False) -> PtychoDataset:
    """Return a simulated scan of `studies/transfer`; with `train`, of its training object under the part's probe."""
    settings = yaml.safe_load(LINES.read_text(encoding="utf-8"))
    chosen = settings["parts"][part] | {"n": n}
    settings["parts"] = {"train" if train else part: chosen}
    return materialise(
        simulate_part(SimulationConfig.model_validate(settings), next(iter(settings["parts"])), LINES.parent)
    )


def first(train: PtychoDataset, n: int, config: StudyConfig, trial: int) -> PtychoDataset:
    """Return the training subset of a study."""
    return train.select(subset_order(train.positions_px, config.sampling.method, config.seeds(trial)["subset"])[:n])


def trained(
    model: str, train: PtychoDataset, test: PtychoDataset, config: StudyConfig, trial: int
) -> ReconstructionNetwork:
    """Return the trained network, or the control."""
    if model == "untrained":
        return build_untrained(config.network, test)
    with tempfile.TemporaryDirectory() as folder:
        return train_model(model, train, config, trial, folder).network


def scores(network: ReconstructionNetwork, test: PtychoDataset, config: StudyConfig) -> dict[str, float]:
    """Return the aligned metrics of the test reconstruction."""
    seen, options = predict_patches(network, test), config.evaluation
    result = reconstruct(
        seen.patches,
        seen.positions_px,
        test,
        min_illumination=options.min_illumination,
        synchronise=options.synchronise_phases,
        correct_drift=options.correct_phase_drift,
    )
    found = result.compare(max_shift_px=options.max_shift_px).query("alignment == 'aligned'")
    value = found.set_index(["component", "metric"])["value"]
    return {f"{component} {metric}": float(value[component, metric]) for component, metric in METRICS}


def show(rows: list[dict[str, object]]) -> None:
    print(*(f"{value:.4f}" if isinstance(value, float) else value for value in rows[-1].values()), flush=True)


def table(frame: pd.DataFrame) -> str:
    return frame.to_string(float_format="%.3f")


if __name__ == "__main__":
    main()
