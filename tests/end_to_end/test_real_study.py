"""The shipped templates on the measured Siemens star: one command, every file, the same numbers again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from ptycho_lib.data.prepare.pipeline import prepare
from ptycho_lib.study.execution.jobs import default_threads
from ptycho_lib.study.execution.kernel_environment import Resources, environment
from ptycho_lib.study.folder.run_key import TRAIN_AND_COMPARE
from ptycho_lib.study.folder.status import State, study_status
from ptycho_lib.study.folder.templates import template_path
from tests.support.miniature import wait_for

TINY = "name: tiny\nnetwork: {width: 4}\ntraining: {steps: 32, validations: 2}\nn_test_images: 40\n"
RUN_FILES = (
    "run.json",
    "train_and_compare.ipynb",
    "comparison_plot.png",
    "comparison_metrics.csv",
    *(
        f"{model}_run/{name}"
        for model in ("pinn", "baseline")
        for name in ("model.keras", "history.csv", "reconstruction.npz")
    ),
)
STUDY_FILES = (
    "study.yaml",
    "aggregated_metrics.csv",
    "generalization_study_results.png",
    "generalization_study_results.pdf",
    "summary.ipynb",
    "report.html",
)


@pytest.fixture(scope="module")
def data(star_raw, tmp_path_factory):
    return prepare(star_raw, tmp_path_factory.mktemp("data"))


def start(data, out, config, *options):
    path = Path(f"{out}.yaml")
    path.write_text(config)
    command = [sys.executable, "-m", "ptycho_lib.cli.main", "run", *data, out, "--config", path]
    return subprocess.Popen(
        [*map(str, command), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(data, out, config, *options):
    process = start(data, out, config, *options)
    output, _ = process.communicate(timeout=800)
    return process.returncode, output


def metrics(out, size):
    return (out / f"n_train_{size}" / "comparison_metrics.csv").read_bytes()


@pytest.mark.slow
def test_one_command_gives_every_file_and_nothing_runs_twice(data, tmp_path):
    out = tmp_path / "study"
    code, output = run(data, out, TINY, "--n-train-sizes", "16")
    assert code == 0, output
    assert "test patterns 40 of 258 (as asked for)" in output
    folder = out / "n_train_16"
    assert [name for name in RUN_FILES if not (folder / name).is_file()] == []
    assert [name for name in STUDY_FILES if not (out / name).is_file()] == []
    assert not list(out.rglob("*.partial.ipynb"))
    table = pd.read_csv(out / "aggregated_metrics.csv")
    assert set(table["model"]) == {"pinn", "baseline"}
    assert set(table["n_train"]) == {16}
    record = json.loads((folder / "run.json").read_text())
    assert set(record["outputs"]) >= set(RUN_FILES) - {"run.json", "train_and_compare.ipynb"}
    notebook = (folder / "train_and_compare.ipynb").read_text()
    assert not re.search("port.cc|cuda_platform", notebook)  # TensorFlow's own messages are in the log

    before = (folder / "run.json").stat().st_mtime_ns
    code, output = run(data, out, TINY, "--n-train-sizes", "16")
    assert code == 0, output
    assert "not computed again, because complete: 1 of 1 runs" in output
    assert (folder / "run.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_plain_papermill_gives_the_numbers_of_the_study(data, tmp_path):
    assert run(data, tmp_path / "study", TINY, "--n-train-sizes", "16", "--no-report")[0] == 0
    by_hand = tmp_path / "by_hand"
    parameters = {
        "train_data": data[0],
        "test_data": data[1],
        "output_dir": by_hand,
        "config": f"{tmp_path}/study.yaml",
    }
    template = template_path(TRAIN_AND_COMPARE)
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(template),
        str(tmp_path / "executed.ipynb"),
        "-p",
        "n_train",
        "16",
    ]
    for name, value in parameters.items():
        command += ["-r", name, str(value)]
    variables = os.environ | environment(Resources(default_threads()), template)
    subprocess.run(command, check=True, capture_output=True, env=variables)
    ours, theirs = metrics(tmp_path / "study", 16), (by_hand / "comparison_metrics.csv").read_bytes()
    assert ours.replace(b",n_train_16,", b",by_hand,") == theirs


@pytest.mark.slow
def test_parallel_runs_give_the_numbers_of_runs_one_by_one(data, tmp_path):
    for name, jobs in (("one", "1"), ("two", "2")):
        code, output = run(data, tmp_path / name, TINY, "--n-train-sizes", "16 24", "--jobs", jobs, "--no-report")
        assert code == 0, output
    one, two = ((tmp_path / name / "aggregated_metrics.csv").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_a_training_that_diverges_is_recorded_and_the_study_goes_on(data, tmp_path):
    config = TINY.replace("steps: 32", "steps: 64, learning_rate: 1.0e+30, warmup_fraction: 0")
    code, output = run(data, tmp_path / "study", config, "--n-train-sizes", "16 24")
    assert code == 0, output
    for status in study_status(tmp_path / "study"):
        assert status.state is State.COMPLETE
        assert "collapsed" in status.detail
    assert (tmp_path / "study" / "report.html").is_file()
    table = (tmp_path / "study" / "aggregated_metrics.csv").read_bytes()
    code, output = run(data, tmp_path / "study", config, "--n-train-sizes", "16 24", "--no-report")
    assert code == 0
    assert "started" not in output
    assert (tmp_path / "study" / "aggregated_metrics.csv").read_bytes() == table


LONG = TINY.replace("steps: 32, validations: 2", "steps: 9600, validations: 600").replace("width: 4", "width: 8")
"""Training states are saved every 20 s, so each training must last longer."""


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "study"
    code, output = run(data, out, LONG, "--n-train-sizes", "64", "--no-report")
    assert code == 0, output
    return (out / "aggregated_metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pinn", "baseline"])
def test_a_killed_training_continues_to_the_numbers_of_an_uninterrupted_one(data, tmp_path, uninterrupted, model):
    """Kill -9 of the kernel in the middle of the first and of the second training."""
    out = tmp_path / "study"
    process = start(data, out, LONG, "--n-train-sizes", "64", "--no-report")
    wait_for((out / "n_train_64" / f"{model}_run" / "training_state.npz").exists, seconds=400)
    for relative in psutil.Process(process.pid).children(recursive=True):
        if "ipykernel_launcher" in " ".join(relative.cmdline()):
            relative.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the kernel died at In [" in output
    code, output = run(data, out, LONG, "--n-train-sizes", "64", "--no-report")
    assert code == 0, output
    lines = (out / "n_train_64" / "execution" / "progress.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["model"] == model  # a training that was finished is not repeated
    assert first["epoch"] > 1
    assert (out / "aggregated_metrics.csv").read_bytes() == uninterrupted
