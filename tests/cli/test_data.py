import numpy as np
import pytest
from click.testing import CliRunner

from ptycho_lib.cli.main import main
from ptycho_lib.data.dataset import load_dataset, save_dataset
from ptycho_lib.data.options import PrepareOptions, ReadOptions


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_prepare_prints_every_step_and_writes_both_files(star_raw, tmp_path):
    result = run("prepare", star_raw, tmp_path, "--subset", 60, "--axis", "column")
    assert result.exit_code == 0, result.output
    assert "photon counts -> amplitude" in result.output
    assert "30 patterns to train, 30 to test" in result.output
    assert len(load_dataset(tmp_path / "siemens_star_velociprobe_n64_train.npz")) == 30
    again = run("prepare", star_raw, tmp_path, "--subset", 60)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert run("prepare", star_raw, tmp_path, "--subset", 60, "--overwrite").exit_code == 0


def test_a_dry_run_writes_nothing(star_raw, tmp_path):
    result = run("prepare", star_raw, tmp_path / "out", "--dry-run", "--crop", 48)
    assert result.exit_code == 0
    assert "nothing was written" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("command", "model"), [("prepare", PrepareOptions), ("check", ReadOptions)])
def test_every_option_of_the_library_is_on_the_command_line(command, model):
    output = run(command, "--help").output
    for name in model.model_fields:
        assert f"--{name.replace('_', '-')}" in output
    assert "--rotate-scan FLOAT" in output
    assert "--frame-lag INTEGER" in output


def test_bad_options_are_reported_in_a_paragraph(star_raw, tmp_path):
    result = run("prepare", star_raw, tmp_path, "--crop", 7)
    assert result.exit_code == 2
    assert "crop: found '7'" in result.output
    assert "Traceback" not in result.output
    assert run("prepare", star_raw, tmp_path, "--axis", "diagonal").exit_code == 2
    missing = run("prepare", tmp_path / "nowhere.npz", tmp_path)
    assert (missing.exit_code, "No such file" in missing.output) == (2, True)


def test_check_names_the_problem_and_its_exit_code(star_raw, tmp_path):
    good = run("check", star_raw, "--plot", tmp_path / "pictures" / "check.png")
    assert good.exit_code == 0, good.output
    assert "nothing wrong found" in good.output
    assert (tmp_path / "pictures" / "check.png").stat().st_size > 20_000
    with np.load(star_raw) as raw:
        arrays = dict(raw)
    arrays["xcoords"], arrays["ycoords"] = arrays["ycoords"], arrays["xcoords"]
    np.savez(tmp_path / "swapped.npz", **arrays)
    bad = run("check", tmp_path / "swapped.npz")
    assert bad.exit_code == 1
    assert "[xy-swapped]" in bad.output
    assert "--swap-xy" in bad.output
    assert run("check", tmp_path / "swapped.npz", "--swap-xy").exit_code == 0


def test_check_of_two_files_looks_for_leaks(small_dataset, tmp_path):
    paths = [
        save_dataset(small_dataset.select(part), tmp_path / name)
        for part, name in ((np.arange(40), "a.npz"), (np.arange(20, 60), "b.npz"))
    ]
    result = run("check", *paths)
    assert result.exit_code == 1
    assert "[pair-leak-patterns] 20 " in result.output


def test_check_of_nothing_readable(tmp_path):
    (tmp_path / "x.npz").write_text("text")
    result = run("check", tmp_path / "x.npz", "--plot", tmp_path / "x.png")
    assert result.exit_code == 1
    assert "a file of unknown type" in result.output
    assert not (tmp_path / "x.png").exists()


def test_simulate(tmp_path):
    (tmp_path / "simulation.yaml").write_text(
        "name: tiny\nsize: 16\nprobe: {diameter_px: 8}\nparts: {train: {n: 5}, test: {n: 3}}\n"
    )
    result = run("simulate", tmp_path / "simulation.yaml", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert len(load_dataset(tmp_path / "data" / "tiny_test.npz")) == 3
    assert run("simulate", tmp_path / "simulation.yaml", tmp_path / "data").exit_code == 2
