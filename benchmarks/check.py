"""Time of `check` on 10 000 patterns: of right data, and of data whose scan is turned, which takes the whole search.

Run ``python benchmarks/check.py [PATTERNS]``; it needs 330 MB of disk and prints seconds of a clock and of the
processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptycho_lib.data.check.file import check_file, quick_check
from ptycho_lib.data.check.findings import Finding
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.data.simulation.scan import Detector, simulate_dataset
from ptycho_lib.physics import objects, probes, scan

SIZE, PHOTONS = 64, 4.4e5
PROBES = Path(__file__).parents[1] / "studies" / "siemens_star" / "velociprobe_probes.npz"


def main(count: int = 10_000) -> None:
    positions, shape = scan.frame(scan.fermat_spiral(count, 4.5), SIZE, margin_px=80)
    obj = objects.transmission(objects.lines(shape, np.random.default_rng(0)))
    with np.load(PROBES) as measured, tempfile.TemporaryDirectory() as folder:
        probe = probes.normalise(measured["probe_n64"])
        right = simulate_dataset(obj, probe, positions, detector=Detector(PHOTONS))
        path = save_dataset(right, Path(folder) / "right.npz")
        middle = positions.mean(axis=0)
        turned = (positions - middle) @ scan_matrix(2.0).T + middle
        wrong = save_dataset(replace(right, positions_px=turned), Path(folder) / "turned.npz")
        print(f"{count} patterns of {SIZE} x {SIZE}, {len(positions)} positions in {shape[0]} x {shape[1]} pixels")
        timed("right data", lambda: check_file(path).findings)
        timed("scan turned by 2 degrees", lambda: check_file(wrong).findings)
        timed("quick check of a study", lambda: quick_check(load_dataset(path)))


def scan_matrix(degrees: float) -> np.ndarray:
    """Return the rotation (2, 2)."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def timed(name: str, run: Callable[[], Sequence[Finding]]) -> None:
    """Print what a check takes and finds."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    codes = [found.code for found in run()]
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    print(f"{name:28s} {seconds:6.1f} s, {cpu:6.1f} s of processor; {', '.join(codes) or 'nothing found'}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
