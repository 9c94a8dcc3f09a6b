"""What papermill, kernels and record-keeping cost, and how quick the commands are.

Run ``python benchmarks/overhead.py [REPETITIONS]`` on an idle machine. A run of a few gradient steps on the
Siemens star is executed by the study, and as the same calls in one plain Python process; the difference is
the overhead. The limits are those of the project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console

from ptycho_lib.config import load_config
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.io.files import file_sha256
from ptycho_lib.study.execution.display import Lines
from ptycho_lib.study.execution.jobs import default_threads
from ptycho_lib.study.execution.kernel_environment import Resources, environment
from ptycho_lib.study.execution.plan import StudyPlan, plan_study
from ptycho_lib.study.execution.runner import run_study
from ptycho_lib.study.folder.manifest import write_manifest
from ptycho_lib.study.folder.record import METRICS, read_record, write_record
from ptycho_lib.study.folder.templates import computing_cells
from ptycho_lib.study.results.aggregate import read_metrics

STAR = Path(__file__).parents[1] / "studies/siemens_star/siemens_star_velociprobe_n64_raw.npz"
LIMITS_S = {"overhead of a run": 8.0, "help": 0.5, "status of 1000 runs": 2.0, "aggregate of 1000 runs": 5.0}
AGGREGATE = {"aggregate of 1000 runs": ["--no-figures"], "the same with the figures": []}


def main(repetitions: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="ptycho-overhead-") as name:
        folder = Path(name)
        train, test = prepare(STAR, folder / "data")
        settings = {"training": {"steps": 4, "validations": 2}, "network": {"width": 8}}
        config = load_config(None, n_train_sizes=(32,), n_test_images=64, **settings)
        plans = [plan_study(train, test, folder / f"study_{k}", config) for k in range(repetitions)]
        through_study = [seconds(partial(execute, plan)) for plan in plans]
        direct = [seconds(partial(call_directly, plan, folder)) for plan in plans]
        line("run through the study", median(through_study))
        line("the same calls in one process", median(direct))
        line("overhead of a run", median(through_study) - median(direct))
        line("help", median(seconds(lambda: command("--help")) for _ in range(5)))
        many = thousand_runs(plans[0], folder)
        line("status of 1000 runs", median(seconds(lambda: command("status", str(many))) for _ in range(3)))
        for what, options in AGGREGATE.items():
            times = [seconds(partial(command, "aggregate", str(many), *options)) for _ in range(3)]
            line(what, median(times))


def execute(plan: StudyPlan) -> None:
    """Execute the only run of a plan as the study does."""
    outcome = run_study(plan, Lines(Console(quiet=True)))
    if outcome.failures:
        raise SystemExit(outcome.failures[0].reason)


def call_directly(plan: StudyPlan, folder: Path) -> None:
    """Execute the template's calls in a plain Python process: no papermill, no kernel."""
    run = next(run for run in plan.runs if run.key.is_trained)
    parameters = run.parameters(str(run.folder / "execution" / "config.yaml"))
    parameters["output_dir"] = str(folder / "direct")
    shutil.rmtree(folder / "direct", ignore_errors=True)
    declared, *cells = computing_cells(plan.template)
    calls = "\n\n".join(cells)
    assignments = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    script = folder / "direct.py"
    script.write_text("\n".join((declared, assignments, calls)), encoding="utf-8")
    variables = os.environ | environment(Resources(default_threads()), plan.template)
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True, env=variables)


def thousand_runs(plan: StudyPlan, folder: Path) -> Path:
    """Return a study of 1000 complete runs: the numbers of one, each a little different."""
    out_dir, source = folder / "thousand", next(run for run in plan.runs if run.key.is_trained).folder
    sizes = tuple(range(10, 210, 10))
    config = plan.manifest.config.model_copy(update={"n_train_sizes": sizes, "trials": 50})
    many = plan_study(plan.manifest.train.path, plan.manifest.test.path, out_dir, config)
    record, metrics = read_record(source), read_metrics(source / METRICS)
    assert record is not None
    out_dir.mkdir()
    write_manifest(out_dir, many.manifest)
    rng = np.random.default_rng(0)
    for run in many.runs:
        shutil.copytree(source / "execution", run.folder / "execution")
        values = metrics["value"] * rng.normal(1.0, 0.02, len(metrics))
        table = metrics.assign(n_train=run.n_train, trial=run.trial, value=values)
        table.to_csv(run.folder / METRICS, index=False)
        outputs = record.outputs | {METRICS: file_sha256(run.folder / METRICS)}
        identity = {"identity": run.identity, "fingerprint": run.identity.fingerprint(), "outputs": outputs}
        write_record(run.folder, record.model_copy(update=identity))
    return out_dir


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "ptycho_lib.cli.main", *arguments], check=True, capture_output=True)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def line(what: str, value: float) -> None:
    limit = LIMITS_S.get(what)
    verdict = f"   limit {limit:.1f} s: {'met' if value < limit else 'missed'}" if limit else ""
    print(f"{what:<32}{value:7.2f} s{verdict}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
