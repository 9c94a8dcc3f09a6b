"""Speed of the simulation: patterns a second with the probe, object and dose of studies/lines.

Run ``python benchmarks/simulation.py [PATTERNS]``; it prints a line for each size of pattern, file included.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ptycho_lib.data.dataset import save_dataset
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan

PROBES = Path(__file__).parents[1] / "studies" / "siemens_star" / "velociprobe_probes.npz"


def main(count: int = 20_000) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, {count} patterns")
    with np.load(PROBES) as measured, tempfile.TemporaryDirectory() as folder:
        for size, photons in ((64, 4.4e5), (64, None), (128, 4.4e5)):
            positions, shape = scan.frame(scan.fermat_spiral(count, 4.5), size)
            field = objects.blobs(shape, np.random.default_rng(0))
            obj, probe = objects.transmission(field), probes.normalise(measured[f"probe_n{size}"])
            begin, begin_cpu = time.perf_counter(), time.process_time()
            dataset = simulate_dataset(obj, probe, positions, detector=Detector(photons))
            save_dataset(dataset, Path(folder) / "scan.npz", overwrite=True)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            noise = "noise-free" if photons is None else f"{photons:.1e} photons, Poisson noise"
            print(
                f"N = {size}, {noise}: {count / seconds:.0f} patterns/s, {count / cpu:.0f} per CPU second",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
