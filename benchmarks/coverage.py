"""How often intervals cover the truth, and how often identical models are told apart: simulated, by number of trials.

    python benchmarks/coverage.py                 # prints the table and writes benchmarks/results/coverage.csv

Normal data; curves at five sizes, in which each trial has luck at all sizes (half of the variance) and at each. The
row `percentile bootstrap` is what this library used before: its level is expanded to Student's width.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special, stats

from ptycho_lib.study.results.headline import lead_by_trial
from ptycho_lib.study.results.learning_curve import PowerLaw, Shape, learning_curve
from ptycho_lib.study.results.reach import first_reach
from ptycho_lib.study.results.statistics import mean_interval

OUTPUT = Path(__file__).parent / "results" / "coverage.csv"
TRIALS = (3, 4, 5, 10)
SIZES = np.array([32, 64, 128, 256, 512])
LAW = PowerLaw(32, 0.05, 0.3, 0.8)
NOISE = 0.01


def curves(rng: np.random.Generator, n_trials: int) -> pd.DataFrame:
    """Return SSIM-like values, trials × sizes, about a known law."""
    luck = rng.normal(0, NOISE / np.sqrt(2), (n_trials, 1)) + rng.normal(0, NOISE / np.sqrt(2), (n_trials, len(SIZES)))
    return pd.DataFrame(1 - LAW.at(SIZES) + luck, index=range(1, n_trials + 1), columns=SIZES)


def covers(low: float, high: float, truth: float, low_open: bool, high_open: bool) -> bool:
    """Return whether an interval with open ends holds a size."""
    return (low_open or low <= truth) and (high_open or high >= truth)


def percentile_bootstrap(samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return percentile intervals of means at the level expanded to Student's width (Hesterberg 2015)."""
    n = samples.shape[1]
    tail = special.ndtr(-np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, 0.975))
    means = samples @ rng.multinomial(n, np.full(n, 1 / n), 1999).T / n
    low, high = np.quantile(means, [tail, 1 - tail], axis=1)
    return low, high


def measure(n_trials: int, cases: int, fits: int, seed: int = 0) -> dict[str, float]:
    """Return the shares (%) of one number of trials."""
    rng = np.random.default_rng([seed, n_trials])
    samples = rng.normal(size=(cases, n_trials))
    low, high = mean_interval(samples)
    old_low, old_high = percentile_bootstrap(samples, rng)
    first, second = rng.normal(size=(2, cases, n_trials))
    below, above = mean_interval(first - second)
    winners = reached = limits = targets = fitted = 0
    target = 1 - float(LAW.at(np.array([180]))[0])
    for _ in range(fits):
        pair = {name: curves(rng, n_trials) for name in ("pinn", "baseline")}
        rows = pd.concat(
            values.rename_axis("trial").reset_index().melt("trial", var_name="n_train").assign(model=name)
            for name, values in pair.items()
        )
        (lead_low,), (lead_high,) = mean_interval(lead_by_trial(rows, ("pinn", "baseline"), "ssim").to_numpy()[None])
        winners += not lead_low <= 0 <= lead_high
        # The value of the other model at the third size, where both laws agree: 128 patterns.
        match = first_reach(pair["pinn"].sub(pair["baseline"][128], axis=0))
        reached += covers(match.low, match.high, 128, match.low_open, match.high_open)
        curve = learning_curve(pair["pinn"], "pinn", "phase", "ssim", target=target)
        if curve.shape is Shape.FITTED:
            fitted += 1
            limits += curve.plateau_low <= 1 - LAW.limit <= curve.plateau_high
            ends = curve.target_low, curve.target_high
            targets += covers(*ends, 180, curve.target_low_open, curve.target_high_open)
    return {
        "trials": n_trials,
        "mean, Student": 100 * np.mean((low < 0) & (high > 0)),
        "mean, percentile bootstrap": 100 * np.mean((old_low < 0) & (old_high > 0)),
        "paired difference, Student": 100 * np.mean((below < 0) & (above > 0)),
        "matched size, inverted t-test": 100 * reached / fits,
        "plateau of the fit, bootstrap": 100 * limits / fitted,
        "target size of the fit, bootstrap": 100 * targets / fitted,
        "headline names one of two identical models": 100 * winners / fits,
    }


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20000, help="samples for means and differences")
    parser.add_argument("--fits", type=int, default=1000, help="studies for matched sizes, fits and headlines")
    options = parser.parse_args()
    table = pd.DataFrame([measure(n, options.cases, options.fits) for n in TRIALS]).round(1)
    table.to_csv(OUTPUT, index=False)
    print(table.set_index("trials").T.to_string())
    error = 100 * stats.binom(options.fits, 0.95).std() / options.fits
    print(f"standard error of a share of 95 % from {options.fits} studies: {error:.1f} %")


if __name__ == "__main__":
    main()
