"""A study small enough for tests of its execution: real papermill, real kernels, no training.

The miniature template opens and finishes a run as the real one does; its numbers depend on the data,
the subset and the seeds. A file `fault.py` beside the data is executed in the middle of each run.
"""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
from rich.console import Console

from ptycho_lib.config import load_config
from ptycho_lib.data.dataset import PtychoDataset, save_dataset
from ptycho_lib.study.execution.display import Lines
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.execution.runner import run_study

PARAMETERS = """\
train_data = ""  # training file
test_data = ""  # test file
output_dir = ""  # run folder
n_train = 8  # training patterns
n_test = 0  # test patterns, 0 for the default
trial = 1  # number of the trial
config = ""  # YAML configuration"""

CELLS = [
    """\
import time
from pathlib import Path
import numpy as np
import pandas as pd
from ptycho_lib.study.folder.record import ModelOutcome
from ptycho_lib.study.run_session import finish_run, open_run
from ptycho_lib.metrics_table import COLUMNS""",
    "run = open_run(train_data, test_data, output_dir, n_train, n_test, trial, config)",
    """\
fault = Path(train_data).parent / "fault.py"
if fault.exists():
    exec(fault.read_text())""",
    """\
line = '{"time": %f, "model": "pinn", "epoch": 1, "epochs": 1, "loss": 0.5, "val_loss": 0.6}\\n'
run.progress_file.open("a").write(line % time.time())
run.model_dir("pinn").mkdir(exist_ok=True)
(run.model_dir("pinn") / "history.csv").write_text("epoch,loss\\n1,0.5\\n")
value = float(np.mean(run.train.diffraction) + np.mean(run.test.positions_px) + run.seeds["weights"] % 97)""",
    """\
row = dict.fromkeys(COLUMNS, "") | {"model": "pinn", "condition": "nominal", "component": "phase"}
metrics = pd.DataFrame([row | {"alignment": "raw", "metric": name, "value": value / (1 + i)}
                        for i, name in enumerate(["mae", "ssim"])])
finish_run(run, metrics, {"pinn": ModelOutcome(seconds=0.1)})""",
]


def write_template(path, cells=CELLS, parameters=PARAMETERS):
    """Write a template notebook for kernel python3."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook.cells = [first, *(nbformat.v4.new_code_cell(cell) for cell in cells)]
    nbformat.write(notebook, path)
    return Path(path)


def dataset(n_patterns, seed, size=16, canvas=64):
    """Return a dataset of random numbers that fulfils the contract."""
    rng = np.random.default_rng(seed)
    obj = np.exp(1j * rng.random((canvas, canvas))).astype(np.complex64)
    return PtychoDataset(
        diffraction=rng.random((n_patterns, size, size), dtype=np.float32),
        positions_px=rng.uniform(size, canvas - size, (n_patterns, 2)),
        probe=np.ones((size, size), np.complex64),
        obj=obj,
    )


class Miniature:
    """Files of a small study in a temporary folder, and ways to run it."""

    def __init__(self, folder, n_train_sizes=(4, 8), trials=1):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.train, self.test = self.folder / "train.npz", self.folder / "test.npz"
        save_dataset(dataset(20, seed=1), self.train)
        save_dataset(dataset(12, seed=2), self.test)
        self.template = write_template(self.folder / "template.ipynb")
        self.out = self.folder / "study"
        self.sizes, self.trials = tuple(n_train_sizes), trials
        self.prefix = []

    def config(self, **changes):
        """Return the study's configuration, with changes."""
        settings = {"n_train_sizes": self.sizes, "trials": self.trials, "models": ("pinn",)}
        return load_config(None, **(settings | changes))

    def fault(self, code):
        """Have every kernel execute `code` in the middle of its run; an empty text ends that."""
        (self.folder / "fault.py").write_text(code)

    def command(self, *options):
        """Return the command line that runs the study."""
        sizes = " ".join(map(str, self.sizes))
        return [
            *(sys.executable, "-m", "ptycho_lib.cli.main", "run", self.train, self.test, self.out),
            *("--n-train-sizes", sizes, "--trials", str(self.trials), "--models", "pinn"),
            *("--template", self.template, "--no-report", *options),
        ]

    def planned_lines(self, *options):
        """Return what `plan --commands` prints."""
        command = list(map(str, self.command(*options)))
        command[command.index("run")] = "plan"
        command[command.index("--no-report")] = "--commands"
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def start(self, *options):
        """Start the command in a session of its own."""
        return subprocess.Popen(
            [*self.prefix, *map(str, self.command(*options))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options, timeout=120):
        """Run the command to its end; return (exit code, output)."""
        process = self.start(*options)
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output

    def run_here(self, sizes=None, **options):
        """Run the study from this process; return (outcome, output)."""
        output = io.StringIO()
        plan_options = {key: options.pop(key) for key in ("kernel", "start_timeout_s") if key in options}
        config = self.config(n_train_sizes=sizes or self.sizes)
        plan = plan_study(self.train, self.test, self.out, config, template=self.template, **plan_options)
        outcome = run_study(plan, Lines(Console(file=output)), **({"jobs": 2} | options))
        return outcome, output.getvalue()

    def tables(self):
        """Return the bytes of every run's comparison_metrics.csv."""
        return {path.parent.name: path.read_bytes() for path in self.out.rglob("comparison_metrics.csv")}


def documented(language, words):
    """Return the code block of docs/how-to/clusters.md, in a language, that contains some words."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "clusters.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if words in block]
    return found


def wait_for(condition, seconds=300.0):
    """Wait until `condition()` holds and return what it gave."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not become true within {seconds} s")
