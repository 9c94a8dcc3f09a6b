"""The command line: quick help, plain paragraphs for bad input, exit codes."""

import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import save_dataset
from tests.support.miniature import Miniature, dataset, wait_for
from tests.support.report_examples import FinishedStudy


@pytest.fixture
def study(tmp_path):
    return Miniature(tmp_path)


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom ptycho_lib.cli.main import main\n"
        "heavy = {'numpy', 'pandas', 'tensorflow', 'keras', 'papermill', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["run", "plan"])
def test_bad_input_is_a_paragraph_each_and_exit_code_2(study, command):
    result = call(command, study.train, study.test, study.out, "--n-train-sizes", "4 99", "--n-test-images", 13)
    assert result.exit_code == 2
    paragraphs = result.output.strip().split("\n\n")
    assert len(paragraphs) == 2
    assert "99 training patterns asked for" in paragraphs[0]
    assert "13 test patterns asked for" in paragraphs[1]
    assert not study.out.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--n-train-sizes", "4 many"), "n_train_sizes"),
        (("--n-train-sizes", ""), "n_train_sizes"),
        (("--n-train-sizes", "0"), "n_train_sizes"),
        (("--trials", "0"), "trials"),
        (("--models", "pinn unet"), "models"),
        (("--config", "no_such_file.yaml"), "no_such_file.yaml"),
    ],
)
def test_options_out_of_their_limits(study, options, expected):
    result = call("run", study.train, study.test, study.out, *options)
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert "Traceback" not in result.output


def test_unknown_settings_are_named_with_the_nearest_known(study):
    path = study.folder / "config.yaml"
    path.write_text("training: {epoch: 3}\n")
    result = call("run", study.train, study.test, study.out, "--config", path)
    assert result.exit_code == 2
    assert "Did you mean 'steps'?" in result.output


@pytest.mark.parametrize("command", ["status", "aggregate", "report"])
def test_a_folder_that_is_no_study(tmp_path, command):
    result = call(command, tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert "Traceback" not in result.output


def test_aggregate_writes_tables_alone_on_request(tmp_path):
    out_dir = FinishedStudy(tmp_path, sizes=(4, 8)).finish()
    result = call("aggregate", out_dir, "--no-figures")
    assert result.exit_code == 0, result.output
    assert (out_dir / "aggregated_metrics.csv").is_file()
    assert (out_dir / "matched_sizes.csv").is_file()
    assert not list(out_dir.glob("*.png"))
    result = call("aggregate", out_dir, "--no-figures", "--output-plot", tmp_path / "figure.pdf")
    assert result.exit_code == 2
    assert "give one of them" in result.output


def test_the_plan_names_sizes_and_counts_and_measures_only_when_asked(study):
    options = ("--n-train-sizes", "8 4 8", "--trials", 1, "--models", "pinn", "--template", study.template)
    result = call("plan", study.train, study.test, study.out, *options)
    assert result.exit_code == 0, result.output
    assert "training sizes 4, 8 of 20 patterns; trials 1" in result.output
    assert "test patterns 12 of 12 (the default: 500, or all there are)" in result.output
    assert result.output.count(" -m papermill ") == 2
    assert "n_train 4: missing" in result.output
    assert "No run on this machine shows the cost of trainings; --estimate measures it." in result.output
    assert not study.out.exists()
    result = call("plan", study.train, study.test, study.out, *options, "--n-test-images", 5)
    assert "test patterns 5 of 12 (as asked for)" in result.output


def test_the_lines_of_a_plan_can_be_pasted_and_its_runs_predict_the_rest(study):
    options = ("--n-train-sizes", "4 8", "--trials", 1, "--models", "pinn", "--template", study.template)
    printed = call("plan", study.train, study.test, study.out, *options).output
    line = next(text for text in printed.splitlines() if "papermill" in text and "n_train_4" in text)
    subprocess.run(["sh", "-c", line], check=True, capture_output=True, cwd="/")
    assert (study.out / "n_train_4" / "run.json").is_file()
    assert "n_train 4: complete" in call("plan", study.train, study.test, study.out, *options).output
    outcome, _ = study.run_here(sizes=(4,))  # adopts what the line made, which noted no usage
    assert not outcome.failures
    study.run_here(sizes=(6,))
    printed = call("plan", study.train, study.test, study.out, *options).output
    assert "--estimate measures it" in printed or "in total" in printed


def test_options_replace_the_file(study):
    path = study.folder / "config.yaml"
    path.write_text("n_train_sizes: [2, 3]\ntrials: 2\nname: ours\n")
    options = ("--config", path, "--template", study.template)
    result = call("plan", study.train, study.test, study.out, *options, "--n-train-sizes", "5")
    assert "Study 'ours'" in result.output
    assert "training sizes 5 of 20 patterns; trials 2" in result.output


@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_check_calls_an_error_of_the_pair_is_refused_before_anything_runs(study, command):
    save_dataset(dataset(12, seed=2, size=32), study.folder / "other.npz")
    result = call(command, study.train, study.folder / "other.npz", study.out, "--n-train-sizes", "4")
    assert result.exit_code == 2
    assert "pair-size: found patterns of 16 and 32 pixels" in result.output
    assert not study.out.exists()


def test_stale_runs_are_replaced_only_when_asked(study):
    study.sizes = (4,)
    study.run_here()
    before, manifest = study.tables(), (study.out / "study.yaml").read_bytes()
    (study.folder / "config.yaml").write_text("seed: 1\n")
    changed = ("--config", study.folder / "config.yaml")
    refused, output = study.run(*changed)
    assert refused == 2, output
    assert "--replace-stale" in output
    assert "seed 0 -> 1" in " ".join(output.split())
    assert (study.out / "study.yaml").read_bytes() == manifest
    kept, output = study.run(*changed, "--keep-stale")
    assert kept == 0, output
    assert study.tables() == before
    replaced, output = study.run(*changed, "--replace-stale")
    assert replaced == 0, output
    assert study.tables() != before


@pytest.mark.parametrize("command", ["run", "plan", "status", "aggregate", "report", "verify"])
def test_numeric_options_show_their_type(command):
    shown = call(command, "--help").output
    numeric = [line for line in shown.splitlines() if re.search(r"--(n-|trials|jobs|threads|timeout|workers)", line)]
    assert all(re.search("INTEGER|FLOAT|SECONDS", line) for line in numeric), numeric


def test_interrupted_runs_are_called_so(study):
    study.sizes = (4,)
    study.fault("import time\n(Path(train_data).parent / 'hanging').touch()\ntime.sleep(600)")
    process = study.start()
    wait_for((study.folder / "hanging").exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "n_train 4: interrupted: interrupted by SIGINT" in " ".join(output.split())
    assert "1 interrupted" in call("status", study.out).output


def test_damaged_bytes_end_in_a_message_not_a_traceback(tmp_path):
    out_dir = FinishedStudy(tmp_path, sizes=(4, 8)).finish()
    (out_dir / "n_train_4" / "comparison_metrics.csv").write_bytes(b"\xff\xfe\x00\x81")
    result = call("aggregate", out_dir, "--no-figures")
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(out_dir / "aggregated_metrics.csv")["n_train"]) == {8}
    assert "1 run is not complete and is left out" in result.output
    (out_dir / "n_train_8" / "pinn_run" / "reconstruction.npz").write_bytes(b"PK\x03\x04 damaged")
    result = call("verify", out_dir)
    assert result.exit_code == 1, result.output
    assert "n_train_4/comparison_metrics.csv: content" in result.output
    assert "n_train_8/pinn_run/reconstruction.npz: content" in result.output
