"""Iterating beside the networks: quality and time on a simulated set and on the measured Siemens star.

``python benchmarks/iterative.py`` reconstructs the 512 curved-probe patterns of docs/methods/networks.md and
the unseen half of the star with Pty-chi and with both networks, then iterates on from the networks' objects. It
prints the table of docs/methods/iterative.md as Markdown and writes the curves and their figures. Nothing else
should run meanwhile. Needs the extra `iterative`; the star must be prepared (``make quickstart`` does).
``--sets sparse`` shows, without networks, how many updates a scan of overlap 0.18 needs.
"""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import pandas as pd
from networks import texture_scan

from ptycho_lib.config import HYBRIDS, NETWORKS, ConditionConfig, StudyConfig, parse_config
from ptycho_lib.data.conditions import apply_condition
from ptycho_lib.data.dataset import PtychoDataset, load_dataset, materialise
from ptycho_lib.data.sampling import subset_order
from ptycho_lib.data.simulation.config import load_simulation
from ptycho_lib.data.simulation.study import simulate_part
from ptycho_lib.evaluation.reconstruction import Reconstruction, assess, reconstruct
from ptycho_lib.iterative.reconstruction import iterate
from ptycho_lib.networks.prediction import predict_patches
from ptycho_lib.networks.training import train_model
from ptycho_lib.report.figures.curves import starting_guess_figure
from ptycho_lib.report.results import SAME_KIND

STAR = Path(__file__).parents[1] / "studies" / "siemens_star" / "data" / "siemens_star_velociprobe_n64"
HEAD = "| test set | model | training s | reconstruction s | amplitude SSIM | phase SSIM | updates to the goal |"
SPARSE = Path(__file__).parents[1] / "studies" / "sparse_scan" / "simulation.yaml"
CIRCULAR = f"Siemens star: {SAME_KIND[:1].lower()}{SAME_KIND[1:]}"
Curves = dict[str, pd.DataFrame]


@click.command(help=__doc__)
@click.option("--updates", default=2000, help="Most updates of every iterative reconstruction.")
@click.option("--tolerance", default=5e-4, help="When to stop earlier, as `iterative.tolerance`.")
@click.option("--algorithm", default="lsqml", help="As `iterative.algorithm`.")
@click.option("--steps", default=800, help="Gradient steps of each training.")
@click.option("--n-train", default=256, help="Training patterns.")
@click.option("--sets", default="simulated star", help="Which test sets.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/iterative"))
def main(updates: int, tolerance: float, algorithm: str, steps: int, n_train: int, sets: str, out: Path) -> None:
    iterative = {"updates": updates, "tolerance": tolerance, "algorithm": algorithm}
    training = {"steps": steps, "validations": 10}
    config = parse_config({"training": training, "iterative": iterative}, "options")
    data = {
        "simulated": lambda: (
            "512 curved-probe patterns, simulated",
            texture_scan(n_train, 1),
            texture_scan(512, 2),
        ),
        "star": lambda: (
            "Siemens star, unseen half (against an iterative reference)",
            load_dataset(f"{STAR}_train.npz"),
            load_dataset(f"{STAR}_test.npz"),
        ),
    }
    data["sparse"] = lambda: ("overlap 0.18, 31 patterns, simulated", None, sparse_scan())
    out.mkdir(parents=True, exist_ok=True)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{n_train} training patterns, {steps} steps, at most {updates} updates\n\n{HEAD}\n" + "|---" * 7 + "|"
    )
    curves: dict[str, Curves] = {}
    for name in sets.split():
        label, train, test = data[name]()
        curves[label] = compare(label, train, test, config, n_train)
    for label, by_model in curves.items():
        for model, curve in by_model.items():
            curve.to_csv(out / f"{label.split()[0]}_{model}.csv", index=False)
    for against, file in (("seconds", "starting_guesses.png"), ("updates", "updates.png")):
        starting_guess_figure(curves, against=against).savefig(out / file, dpi=200)
    print(f"\n{CIRCULAR}\n\nCurves and figure are in {out}.")


def sparse_scan() -> PtychoDataset:
    """Return the test scan of studies/sparse_scan, thinned to a linear overlap below 0.2."""
    simulation = load_simulation(SPARSE)
    test = materialise(simulate_part(simulation, "test", SPARSE.parent))
    return materialise(apply_condition(test, ConditionConfig(name="thin", scan_overlap=0.2), 0))


def compare(label: str, train: PtychoDataset | None, test: PtychoDataset, config: StudyConfig, n_train: int) -> Curves:
    """Print a row for each model; return quality against updates and time of the iterative ones.

    Without training data there are no networks.
    """
    curves: Curves = {}
    due = 0.0

    def watch(updates: int, obj: np.ndarray) -> dict[str, float]:
        nonlocal due
        if updates < due:
            return {}
        due = updates * 1.15
        return {"quality": quality(assess(obj, test, min_illumination=0.1))["phase", "ssim"]}

    def refine(model: str, training_s: float, before_s: float, start: np.ndarray | None) -> None:
        nonlocal due
        due = 0.0
        done = iterate(test, config.iterative, seed=config.seed, start=start, watch=watch)
        score = quality(assess(done.obj, test, min_illumination=0.1))
        done.history.loc[done.history.index[-1], "quality"] = score["phase", "ssim"]
        curve = done.history.dropna(subset="quality")
        curves[model] = curve.assign(seconds=curve["seconds"] + before_s)
        goal = curves["iterative"]["quality"].iloc[-1]
        reached = curve.loc[curve["quality"] >= goal, "updates"]
        first = str(int(reached.iloc[0])) if len(reached) else f"not in {int(curve['updates'].iloc[-1])}"
        row(label, model, training_s, before_s + done.usage.seconds, score, first)

    refine("iterative", 0.0, 0.0, None)
    if train is None:
        return curves
    order = subset_order(train.positions_px, "representative", config.seeds(1)["subset"])
    for network, hybrid in zip(NETWORKS, HYBRIDS, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            trained = train_model(network, train.select(order[:n_train]), config, 1, folder)
        seen = predict_patches(trained.network, test)
        parts = (seen.patches, seen.positions_px, test)
        result = reconstruct(*parts, min_illumination=0.1, synchronise=True, correct_drift=True, predicted=seen.usage)
        seconds = result.usage.seconds if result.usage else np.nan
        row(label, network, trained.seconds, seconds, quality(result), "")
        refine(hybrid, trained.seconds, seconds, result.obj)
    return curves


def quality(result: Reconstruction) -> pd.Series:
    """Return the aligned values by component and metric."""
    scores = result.compare(max_shift_px=2.0).query("alignment == 'aligned'")
    return scores.set_index(["component", "metric"])["value"]


def row(label: str, model: str, training_s: float, seconds: float, score: pd.Series, first: str) -> None:
    print(
        f"| {label} | `{model}` | {training_s:.1f} | {seconds:.1f} | {score['amplitude', 'ssim']:.3f} "
        f"| {score['phase', 'ssim']:.3f} | {first} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
