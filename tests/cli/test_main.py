"""The command line: quick help, plain paragraphs for bad input, exit codes."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from tests.support.miniature import Miniature
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
        (("--n-train-sizes", "8 4"), "must rise strictly"),
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


def test_the_plan_names_sizes_counts_and_commands(study):
    options = ("--n-train-sizes", "4 8", "--models", "pinn", "--template", study.template, "--no-calibration")
    result = call("plan", study.train, study.test, study.out, *options)
    assert result.exit_code == 0, result.output
    assert "test patterns 12 of 12 (the default: 500, or all there are)" in result.output
    assert result.output.count(" -m papermill ") == 2
    assert "n_train 4: missing" in result.output
    result = call("plan", study.train, study.test, study.out, *options, "--n-test-images", 5)
    assert "test patterns 5 of 12 (as asked for)" in result.output


def test_options_replace_the_file(study):
    path = study.folder / "config.yaml"
    path.write_text("n_train_sizes: [2, 3]\ntrials: 2\nname: ours\n")
    options = ("--config", path, "--template", study.template, "--no-calibration")
    result = call("plan", study.train, study.test, study.out, *options, "--n-train-sizes", "5")
    assert "Study 'ours'" in result.output
    assert "training sizes 5 of 20 patterns; trials 2" in result.output
