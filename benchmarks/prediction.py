"""Whether `ptycho-study plan` predicts what a study then takes: time, memory, disk.

Run ``python benchmarks/prediction.py [CONFIG]`` on an idle machine; without a configuration it is the
quick-start study, and takes as long as `make quickstart`. The limit: the total time within 30 %.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from ptycho_lib.config import load_config
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.study.execution.display import Lines
from ptycho_lib.study.execution.forecast import calibrate, predict
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.execution.runner import run_study
from ptycho_lib.study.folder.progress import USAGE

STAR = Path(__file__).parents[1] / "studies/siemens_star"
TOLERANCE = 0.3


def main(config: str = str(STAR / "study.yaml")) -> int:
    with tempfile.TemporaryDirectory(prefix="ptycho-prediction-") as name:
        folder = Path(name)
        train, test = prepare(STAR / "siemens_star_velociprobe_n64_raw.npz", folder / "data")
        plan = plan_study(train, test, folder / "study", load_config(config))
        quiet = Lines(Console(quiet=True))
        started = time.perf_counter()
        costs = predict(plan, calibrate(plan, quiet))
        print(f"{config}\ncalibration {time.perf_counter() - started:.0f} s")
        outcome = run_study(plan, Lines(Console(file=sys.stderr)))
        if outcome.failures:
            raise SystemExit(outcome.failures[0].reason)
        print(f"{'run':<24}{'time, s':>24}{'memory, GB':>24}{'disk, MB':>24}")
        print(f"{'':<24}" + f"{'predicted':>10}{'took':>7}{'ratio':>7}" * 3)
        total = [0.0, 0.0]
        for run in plan.runs:
            cost, used = costs[run.folder], json.loads((run.folder / USAGE).read_text(encoding="utf-8"))
            pairs = (
                (cost.seconds, used["seconds"]),
                (cost.memory_bytes / 1e9, used["peak_memory_bytes"] / 1e9),
                (cost.disk_bytes / 1e6, used["disk_bytes"] / 1e6),
            )
            print(f"{run.name:<24}" + "".join(f"{a:>10.1f}{b:>7.1f}{a / b:>7.2f}" for a, b in pairs), flush=True)
            total = [total[0] + pairs[0][0], total[1] + pairs[0][1]]
    ratio = total[0] / total[1]
    met = abs(ratio - 1) <= TOLERANCE
    print(f"total: predicted {total[0]:.0f} s, took {total[1]:.0f} s, ratio {ratio:.2f}; ", end="")
    print(f"limit {1 - TOLERANCE:.1f} to {1 + TOLERANCE:.1f}: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
