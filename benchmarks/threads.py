"""What the number of threads and of jobs changes: the last digits, and the time.

Run ``python benchmarks/threads.py`` on an idle machine of at least two cores. The same short study of the
Siemens star is executed again and again: twice alike, with two jobs, and with one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from ptycho_lib.config import load_config
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.study.execution.display import Lines
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.execution.runner import run_study
from ptycho_lib.study.results.aggregate import aggregate

STAR = Path(__file__).parents[1] / "studies/siemens_star/siemens_star_velociprobe_n64_raw.npz"
SETTINGS = {"training": {"steps": 120}, "n_test_images": 64, "n_train_sizes": (32, 48)}
WAYS = {
    "jobs 1, threads 2": {"jobs": 1, "threads": 2},
    "the same again": {"jobs": 1, "threads": 2},
    "jobs 2, threads 2": {"jobs": 2, "threads": 2},
    "jobs 2, threads 1": {"jobs": 2, "threads": 1},
    "jobs 1, threads 1": {"jobs": 1, "threads": 1},
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ptycho-threads-") as name:
        folder = Path(name)
        train, test = prepare(STAR, folder / "data")
        first: pd.DataFrame | None = None
        for number, (way, options) in enumerate(WAYS.items()):
            plan = plan_study(train, test, folder / f"study_{number}", load_config(None, **SETTINGS))
            started = time.perf_counter()
            outcome = run_study(plan, Lines(Console(file=sys.stderr)), **options)
            took = time.perf_counter() - started
            if outcome.failures:
                raise SystemExit(outcome.failures[0].reason)
            table = aggregate(plan.out_dir)
            first = table if first is None else first
            print(f"{way:<20}{took:7.1f} s   {differences(first, table)}", flush=True)


def differences(first: pd.DataFrame, other: pd.DataFrame) -> str:
    """Return how far the metrics of each model moved."""
    if first.equals(other):
        return "identical numbers"
    scale = np.maximum(first["value"].abs(), 1e-12)
    moved = ((other["value"] - first["value"]).abs() / scale).where(first["metric"].isin(SHOWN)).dropna()
    by_model = moved.groupby(first["model"]).agg(["median", "max"])
    return "; ".join(f"{row.Index}: median {row.median:.3%}, at most {row.max:.1%}" for row in by_model.itertuples())


SHOWN = ("mae", "mse", "psnr", "ssim", "ms_ssim", "frc50")
"""Metrics of the study figure; relative changes of fitted terms that are nearly zero mean nothing."""

if __name__ == "__main__":
    main()
