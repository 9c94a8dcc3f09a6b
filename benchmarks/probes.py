"""Probe modes on the real star, and networks under probes that they were not trained with.

``python benchmarks/probes.py star`` puts the three modes of the Velociprobe on both halves of the Siemens star,
trains both networks on 256 patterns and compares them, and the untrained first guess, on the other half, with
one mode and with all. ``unseen`` trains both networks on simulated lines, under the Velociprobe alone and under
four probes of different kinds with as many patterns in all, and tests them under a defocused probe, a disc, a zone
plate and an aberrated probe that none of them saw, beside networks that were trained under the probe of the test.
``speed`` times predictions with one to three modes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
ABERRATED = {"kind": "aberrated"}
VELOCIPROBE = {"kind": "file", "path": "../siemens_star/velociprobe_probes.npz", "key": "probe_n64"}
UNSEEN: dict[str, dict[str, Any]] = {
    "defocused": {"probe": VELOCIPROBE | {"defocus_rad": 3.0}},
    "disc": {"probe": {"kind": "disc", "diameter_px": 34, "smoothing_px": 2}},
    "zone_plate": {"probe": {"kind": "zone_plate", "aperture_px": 30, "stop_fraction": 0.4, "pupil_defocus_rad": 12}},
    "aberrated": {"probe": ABERRATED},
}
"""Probes that no training has, but those beside which it is judged."""
FOUR: dict[str, dict[str, Any]] = {
    "velociprobe": {"probe": VELOCIPROBE},
    "far_defocus": {"probe": VELOCIPROBE | {"defocus_rad": -6.0}, "detector": {"photons_per_pattern": 1e5}},
    "small_disc": {"probe": {"kind": "disc", "diameter_px": 26, "smoothing_px": 3}},
    "other_plate": {
        "probe": {"kind": "zone_plate", "aperture_px": 24, "stop_fraction": 0.25, "pupil_defocus_rad": -9},
        "detector": {"photons_per_pattern": 2e6},
    },
}
"""Training scans of four kinds of probes, each with an object and some with a dose of their own."""
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
                    if model == "untrained":
                        network = build_untrained(config.network, test)
                    else:
                        network = trained(model, [first(train, n_train, config, trial)], config, trial)
                    rows.append({"modes": count, "model": model, "trial": trial} | scores(network, test, config))
                    show(rows)
    print("\nMean of the trials\n" + table(pd.DataFrame(rows).drop(columns="trial").groupby(["modes", "model"]).mean()))


@main.command()
@click.option("--n-train", default=512, show_default=True, help="Training patterns; of four scans all together.")
@click.option("--steps", default=400, show_default=True)
@click.option("--trials", default="1 2 3", show_default=True, help="Numbers of the trials.")
@click.option("--models", default="pinn baseline", show_default=True)
@click.option("--set", "settings", multiple=True)
def unseen(n_train: int, steps: int, trials: str, models: str, settings: tuple[str, ...]) -> None:
    """Trained under the Velociprobe or under four probes, tested under others, beside training under those."""
    config = study_config({"steps": steps}, settings)
    under = {"velociprobe": [scan("train", n_train)]}
    under["four probes"] = [scan(name, n_train // 4, change=change) for name, change in FOUR.items()]
    tests = {name: scan(name, 300, change=UNSEEN[name]) for name in UNSEEN}
    rows = []

    def add(model: str, trained_under: str, name: str, trial: int, network: ReconstructionNetwork) -> None:
        row = {"model": model, "trained": trained_under, "tested": name, "trial": trial}
        rows.append(row | scores(network, tests[name], config))
        show(rows)

    for name, test in tests.items():
        add("untrained", "-", name, 1, build_untrained(config.network, test))
    for trial in map(int, trials.split()):
        for model in models.split():
            for place, scans in under.items():
                network = trained(model, [first(one, len(one), config, trial) for one in scans], config, trial)
                for name in tests:
                    add(model, place, name, trial, network)
            for name, change in UNSEEN.items():
                matched = first(scan("train", n_train, change=change), n_train, config, trial)
                add(model, "the same probe", name, trial, trained(model, [matched], config, trial))
    columns = ["tested", "model", "trained"]
    print("\nMean of the trials\n" + table(pd.DataFrame(rows).drop(columns="trial").groupby(columns).mean()))


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


def scan(part: str, n: int, *, change: dict[str, Any] | None = None) -> PtychoDataset:
    """Return a simulated scan of `studies/transfer` with changes; a part that it does not name has its own object."""
    settings = yaml.safe_load(LINES.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings["parts"].get(part, {}) | {"n": n} | (change or {})
        if chosen.get("probe") == ABERRATED:
            chosen["probe"] = {"kind": "file", "path": str(aberrated(Path(folder)))}
        settings["parts"] = {part: chosen}
        return materialise(simulate_part(SimulationConfig.model_validate(settings), part, LINES.parent))


def aberrated(folder: Path) -> Path:
    """Write the Velociprobe with astigmatism and coma in its pupil to a file; return its path."""
    with np.load(PROBES) as stored:
        pupil = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(stored["probe_n64"])))
    y, x = np.meshgrid(*[(np.arange(64) - 32) / 16] * 2, indexing="ij")
    phase = 2.0 * (x**2 - y**2) + 1.0 * x * (x**2 + y**2)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * phase))))
    np.savez(folder / "aberrated.npz", probeGuess=probe.astype(np.complex64))
    return folder / "aberrated.npz"


def first(train: PtychoDataset, n: int, config: StudyConfig, trial: int) -> PtychoDataset:
    """Return the training subset of a study."""
    return train.select(subset_order(train.positions_px, config.sampling.method, config.seeds(trial)["subset"])[:n])


def trained(model: str, scans: Sequence[PtychoDataset], config: StudyConfig, trial: int) -> ReconstructionNetwork:
    """Return a network trained on one scan or several."""
    with tempfile.TemporaryDirectory() as folder:
        return train_model(model, scans, config, trial, folder).network


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
        position_steps=options.position_correction_steps,
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
