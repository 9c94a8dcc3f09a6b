"""Figures for a paper: as wide, as large, as chosen; problems of the options all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from ptycho_lib.cli.main import main
from tests.support import report_examples as examples


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return examples.FinishedStudy(tmp_path_factory.mktemp("paper"), sizes=(4, 8)).finish()


def run(study: Path, *options: str):
    return CliRunner().invoke(main, ["figures", str(study), *options])


def test_formats_width_font_and_choice_are_followed(study: Path, tmp_path: Path) -> None:
    chosen = ("--metrics", "ssim", "--components", "phase", "--models", "pinn", "--font-size", "10")
    done = run(study, "--format", "svg,png", "--width", "single", *chosen, "--output", str(tmp_path))
    assert done.exit_code == 0, done.output
    png = Image.open(tmp_path / "generalization_study_results.png")
    assert png.width == pytest.approx(89 / 25.4 * 300, abs=2)
    svg = (tmp_path / "generalization_study_results.svg").read_text(encoding="utf-8")
    assert "PtychoPINN" in svg
    assert "Supervised baseline" not in svg
    assert "10px" in svg
    assert "PSNR" not in svg
    assert len(done.output.splitlines()) == len(list(tmp_path.iterdir())) == 4


def test_a_style_sheet_overrides_the_settings(study: Path, tmp_path: Path) -> None:
    (tmp_path / "own.mplstyle").write_text("axes.facecolor: 123456\n", encoding="utf-8")
    done = run(study, "--format", "svg", "--style", str(tmp_path / "own.mplstyle"), "--output", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "#123456" in (tmp_path / "generalization_study_results.svg").read_text(encoding="utf-8")


def test_every_problem_of_the_options_is_named_and_nothing_written(study: Path, tmp_path: Path) -> None:
    wrong = ("--format", "gif", "--width", "wide", "--metrics", "beauty", "--models", "oracle", "--font-size", "99")
    done = run(study, *wrong, "--style", "missing.mplstyle", "--output", str(tmp_path / "new"))
    assert done.exit_code == 2
    (tmp_path / "notes.txt").write_text("hello\n", encoding="utf-8")
    empty = run(study, "--style", str(tmp_path / "notes.txt"), "--output", str(tmp_path / "new"))
    assert empty.exit_code == 2
    assert "no setting in" in empty.output
    for found in ("'gif'", "'wide'", "'beauty'", "'oracle'", "99", "missing.mplstyle"):
        assert f"found {found}" in done.output or f"found no file {found}" in done.output
    assert not (tmp_path / "new").exists()
