"""Where a run spends its time, step by step: processor and wall seconds of one training size.

Run ``python benchmarks/profile_run.py [STEPS] [MODES]`` (400 gradient steps and three probe modes by default): 64
patterns of the Siemens star, both networks. The cells of the notebook template are executed in one plain Python
process whose functions are timed; what a function calls that has a line of its own does not count for it. What
papermill and the kernel add is in `overhead.py`. Processor seconds are those of all threads: on a machine that
does other work, too, they are what to compare.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from ptycho_lib.config import load_config
from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.study.execution.jobs import default_threads
from ptycho_lib.study.execution.kernel_environment import Resources, environment
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder.manifest import write_manifest

STAR = Path(__file__).parents[1] / "studies/siemens_star"
MODES = STAR / "siemens_star_velociprobe_n64_probe_modes.npz"

TIMED = {
    "study.run_session:open_run": "open the run: data, subset, leakage",
    "networks.training:_build": "build a network",
    "networks.training:with_first_guesses": "first guesses of the training",
    "networks.training:_constant": "collapse test",
    "networks.network:ReconstructionNetwork.save": "save a network",
    "networks.prediction:predict_patches": "prediction of the test patterns",
    "evaluation.reconstruction:stitch": "stitching",
    "evaluation.reconstruction:phase_drift_correction": "phase drift correction",
    "evaluation.reconstruction:Reconstruction.save": "save a reconstruction",
    "study.reconstruct:reconstruct": "misfit of the patterns, mask",
    "study.reconstruct:RunReconstructions.metrics": "metrics",
    "study.run_session:finish_run": "record of the run",
    "report.output.notebook_display:show": "figures into the notebook",
}
"""Functions, and what their time is called."""


class Ledger:
    """Processor and wall seconds by name, without those of what is called meanwhile."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
        self.open: list[list[float]] = []

    @contextmanager
    def line(self, name: str) -> Any:
        """Book what happens inside under a name."""
        inner = [0.0, 0.0]
        self.open.append(inner)
        before = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            taken = time.process_time() - before[0], time.perf_counter() - before[1]
            self.open.pop()
            for k in (0, 1):
                self.spent[name][k] += taken[k] - inner[k]
                if self.open:
                    self.open[-1][k] += taken[k]
            self.spent[name][2] += 1

    def timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the function with its time booked."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.line(name):
                return call(*args, **kwargs)

        return timed


def profile(parameters: dict[str, Any]) -> None:
    """Execute the template's cells in this process and print the ledger as JSON."""
    ledger = Ledger()
    with ledger.line("imports"):
        notebook = json.loads((Path(__file__).parents[1] / "templates/train_and_compare.ipynb").read_text())
        declared, *cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for place in TIMED:
            import_module(f"ptycho_lib.{place.split(':')[0]}")
    instrument(ledger)
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(declared, scope)
    scope.update(parameters)
    for cell in cells:
        with ledger.line("imports" if "import " in cell else "drawing figures, and what else cells do"):
            exec(cell, scope)
    with Path(parameters["output_dir"], "profile.json").open("w") as stream:
        json.dump(dict(ledger.spent), stream)


def instrument(ledger: Ledger) -> None:
    """Book the time of `TIMED`, and of the parts of Keras' fit."""
    for place, name in TIMED.items():
        module, attribute = place.split(":")
        owner: Any = import_module(f"ptycho_lib.{module}")
        *parents, last = attribute.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, ledger.timed(getattr(owner, last), name))
    model = import_module("keras").Model
    model.evaluate = ledger.timed(model.evaluate, "validations")
    make, fit = model.make_train_function, model.fit

    def make_timed(self: Any, force: bool = False) -> None:
        make(self, force)
        names = chain(["trace and first gradient step"], repeat("gradient steps"))
        step = self.train_function

        def timed(batches: Any) -> Any:
            with ledger.line(next(names)):
                return step(batches)

        self.train_function = timed

    model.make_train_function = make_timed
    model.fit = ledger.timed(fit, "training around the steps")


def main(steps: int = 400, modes: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="ptycho-profile-") as name:
        folder = Path(name)
        probe = {"probe_file": str(MODES)} if modes > 1 else {}
        train, test = prepare(STAR / "siemens_star_velociprobe_n64_raw.npz", folder / "data", **probe)
        settings = {"training": {"steps": steps}, "network": {"probe_modes": modes}}
        plan = plan_study(train, test, folder / "study", load_config(None, n_train_sizes=(64,), **settings))
        run = next(run for run in plan.runs if run.key.is_trained)
        variables = os.environ | {"MPLBACKEND": "agg"} | environment(Resources(default_threads()), plan.template)
        plan.out_dir.mkdir()
        write_manifest(plan.out_dir, plan.manifest)  # a study, so that first guesses are kept
        parameters = run.parameters(str(folder / "config.yaml"))
        (folder / "config.yaml").write_text(run.config.to_yaml(), encoding="utf-8")
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, __file__, "--inside", json.dumps(parameters)]
        subprocess.run(command, check=True, capture_output=True, env=variables)
        wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = json.loads((run.folder / "profile.json").read_text())
        total = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        title = f"64 patterns, {steps} steps, probe modes: {modes}"
        print(f"{title:<44}{'calls':>7}{'CPU s':>8}{'share':>7}{'wall s':>8}")
        for what, (cpu, seconds, calls) in sorted(spent.items(), key=lambda item: -item[1][0]):
            print(f"{what:<44}{calls:>7}{cpu:>8.2f}{cpu / total:>7.0%}{seconds:>8.2f}")
        rest = total - sum(cpu for cpu, _, _ in spent.values())
        print(f"{'start and end of the interpreter':<44}{'':>7}{rest:>8.2f}{rest / total:>7.0%}")
        print(f"{'all':<44}{'':>7}{total:>8.2f}{1:>7.0%}{wall:>8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        profile(json.loads(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
