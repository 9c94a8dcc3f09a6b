"""A study step on 100 000 patterns within 3 GB: simulate, check, train both models, predict, stitch, compare.

Run ``python benchmarks/large_scan.py [FOLDER [PATTERNS [STEPS]]]``; it needs 4.2 GB of disk and prints
the peak of resident memory after each step. Training and test file hold PATTERNS each, of two objects:
the patterns alone are 3.3 GB. The trainings are short (about STEPS gradient steps a model, small
networks); all else is what a study does: all training patterns in nested order, every test pattern
predicted, stitched and compared. Started again in the same folder, it goes on where it was.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ptycho_lib.config import StudyConfig
from ptycho_lib.data.check.file import check_file
from ptycho_lib.data.dataset import PtychoDataset, load_dataset, save_dataset
from ptycho_lib.data.leakage import find_leakage
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.evaluation.reconstruction import reconstruct
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import train_model
from ptycho_lib.physics import objects, probes, scan

PATTERNS, SIZE, STEPS = 100_000, 64, 400


def main(folder: Path, patterns: int = PATTERNS, steps: int = STEPS) -> None:
    report = reporter()
    report("start")
    paths = [simulated(folder / f"large_{seed}.npz", patterns, seed) for seed in (0, 1)]
    report(f"simulated ({2 * paths[0].stat().st_size / 1e9:.2f} GB)")
    assert check_file(paths[0]).ok
    report("checked with physics")
    train, test = (load_dataset(path) for path in paths)
    for dataset in (train, test):
        dataset.fingerprint()
    report("both loaded, every value checked; fingerprints")
    assert not find_leakage(train, test)
    train = train.select(subset_order(train.positions_px, "representative", 0))
    report("no leakage; all training patterns in nested order")
    config = settings(patterns, steps)
    for model in config.models:
        trained = train_model(model, train, config, 1, folder / f"{model}_run")
        report(f"{model}: {trained.outcome.steps} steps of {config.training.batch_size} patterns")
        seen = predict_patches(trained.network, test)
        report(f"{model}: {len(seen.patches)} patterns predicted")
        result = reconstruct(
            seen.patches, seen.positions_px, test, min_illumination=0.1, synchronise=True, correct_drift=True
        )
        report(f"{model}: stitched, {result.mask.sum()} pixels to compare")
        table = result.compare(max_shift_px=3.0)
        report(f"{model}: {len(table)} values")


def simulated(path: Path, patterns: int, seed: int) -> Path:
    """Write a scan of an object of its own, unless it is there."""
    if not path.exists():
        positions, shape = scan.frame(scan.fermat_spiral(patterns, 4.0), SIZE)
        obj = objects.transmission(objects.gaussian_random_field(shape, np.random.default_rng(seed)))
        probe = probes.defocus(probes.disc(SIZE, 30, smoothing_px=2), 6.0)
        simulation: PtychoDataset = simulate_dataset(obj, probe, positions, detector=Detector(1e5), seed=seed)
        save_dataset(simulation, path)
    return path


def settings(patterns: int, steps: int) -> StudyConfig:
    """Return small networks, and batches of such a size that one epoch has about as many steps."""
    batch = max(16, math.ceil(patterns / steps / 16) * 16)
    training = {"steps": -(-patterns // batch), "validations": 1, "batch_size": batch}
    return StudyConfig.model_validate({"network": {"width": 4}, "training": training})


def reporter() -> Callable[[str], None]:
    begin = time.monotonic()

    def report(step: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{step:50s} {time.monotonic() - begin:7.1f} s   peak {peak:5.2f} GB", flush=True)

    return report


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
