"""Whether this version is faster than an earlier one, on this machine in this hour.

Run ``python benchmarks/before_after.py [COMMIT] [ROUNDS]`` (2de56af and 3 by default) on a machine that does nothing
else. It checks the earlier commit out beside this one, lets both measure themselves in turn (training, prediction
and stitching by ``benchmarks/networks.py throughput``, and one run of the quick start's smallest size through the
command), and prints the median of each and their ratio: 2.0 is twice as fast.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]
RAW = HERE / "studies/siemens_star/siemens_star_velociprobe_n64_raw.npz"
THROUGHPUT = ["throughput", "--sizes", "64", "--gridsizes", "1", "--batches", "16"]
COLUMNS = {"training, patterns/s": 5, "prediction, patterns/s": 7}
"""What the table of `throughput` holds, by its column; the first is the model."""

Figures = dict[str, float]


def main(commit: str = "2de56af", rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="ptycho-before-") as name:
        before = Path(name) / "before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(before), commit], cwd=HERE, check=True)
        try:
            found: dict[Path, list[Figures]] = {before: [], HERE: []}
            for number in range(rounds):
                for tree, figures in found.items():
                    print(f"round {number + 1} of {rounds}: {tree.name}", file=sys.stderr, flush=True)
                    figures.append(measured(tree, Path(name) / f"{tree.name}_{number}"))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=HERE, check=True)
    print(f"{'median of ' + str(rounds):<44}{commit:>10}{'now':>10}{'ratio':>8}")
    for what in found[HERE][0]:
        old, new = (median(figures[what] for figures in found[tree]) for tree in (before, HERE))
        print(f"{what:<44}{old:>10.1f}{new:>10.1f}{(new / old if '/s' in what else old / new):>8.2f}")


def measured(tree: Path, folder: Path) -> Figures:
    """Return what one version measures of itself."""
    figures: Figures = {}
    printed, _, _ = run(tree, "benchmarks/networks.py", *THROUGHPUT)
    for line in printed.splitlines():
        cells = line.split()
        if cells and cells[0] in ("pinn", "baseline"):
            figures |= {f"{cells[0]}: {what}": float(cells[column]) for what, column in COLUMNS.items()}
        elif line.startswith("matrix products"):
            figures["matrix products, GFLOP/s"] = float(line.split(":")[1].split()[0])
    command = "ptycho_lib/cli/main.py" if (tree / "ptycho_lib/cli").is_dir() else "ptycho_lib/cli.py"
    module = ["-m", command.removesuffix(".py").replace("/", ".")]
    run(tree, *module, "prepare", str(RAW), str(folder / "data"))
    train, test = sorted((folder / "data").glob("*_train.npz")) + sorted((folder / "data").glob("*_test.npz"))
    config = folder / "study.yaml"
    settings = "n_train_sizes: [64]\ntrials: 1\nname: timing\n"
    if (tree / "ptycho_lib/model_names.py").is_file():  # as much work as before there were controls
        settings += "models: [pinn, baseline]\ntraining_scan: false\n"
    config.write_text(settings, encoding="utf-8")
    options = ["--config", str(config), "--no-report"]
    _, wall, cpu = run(tree, *module, "run", str(train), str(test), str(folder / "study"), *options)
    return figures | {"study of 64 patterns, both networks: s": wall, "the same: processor s": cpu}


def run(tree: Path, *arguments: str) -> tuple[str, float, float]:
    """Return what a program of one version prints, its wall seconds, and the processor seconds of all it starts."""
    variables = os.environ | {"PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=variables, check=False, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        sys.exit(f"{tree}: {' '.join(arguments)}\n{ended.stdout[-1000:]}\n{ended.stderr[-2000:]}")
    return ended.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
