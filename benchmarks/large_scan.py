"""A scan of 100 000 patterns within little memory: simulate, load, check, choose a subset, read batches.

Run ``python benchmarks/large_scan.py [FOLDER [PATTERNS]]``; it needs 1.7 GB of disk and prints the peak of
resident memory after each step. The patterns alone are 1.6 GB; what counts is that the peak does not follow.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.simulate import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan

PATTERNS, SIZE, TRAIN, BATCH = 100_000, 64, 2048, 16


def main(folder: Path, patterns: int = PATTERNS) -> None:
    begin = time.monotonic()

    def report(step: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{step:42s} {time.monotonic() - begin:7.1f} s   peak {peak:5.2f} GB", flush=True)

    report("start")
    rng = np.random.default_rng(0)
    positions, shape = scan.frame(scan.fermat_spiral(patterns, 4.0), SIZE)
    obj = objects.transmission(objects.gaussian_random_field(shape, rng))
    probe = probes.defocus(probes.disc(SIZE, 30, smoothing_px=2), 6.0)
    simulated = simulate_dataset(obj, probe, positions, detector=Detector(1e5))
    path = save_dataset(simulated, folder / "large.npz", overwrite=True)
    report(f"simulated and saved ({path.stat().st_size / 1e9:.2f} GB)")
    dataset = load_dataset(path)
    report("loaded, every value checked")
    dataset.fingerprint()
    report("fingerprint")
    order = subset_order(dataset.positions_px, "representative", 0)
    train = dataset.select(order[:TRAIN])
    report(f"nested order; subset of {TRAIN}")
    for start in range(0, len(train), BATCH):
        np.asarray(train.diffraction[start : start + BATCH])
    report(f"one epoch of batches of {BATCH}")
    for start in range(0, len(dataset), 256):
        np.asarray(dataset.diffraction[start : start + 256])
    report("all patterns once")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
