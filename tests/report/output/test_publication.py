"""Files for a paper: traceable, vectorial, with their numbers filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ptycho_lib.errors import InputError
from ptycho_lib.report.output.publication import publish, write_study_figure
from ptycho_lib.report.results import read_results
from tests.support import report_examples as examples

NAMES = [
    "generalization_study_results.pdf",
    "generalization_study_results.png",
    "generalization_study_results_caption.txt",
    "generalization_study_results_table.tex",
    "quality_versus_time.pdf",
    "quality_versus_time.png",
    "quality_versus_time_caption.txt",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return examples.FinishedStudy(tmp_path_factory.mktemp("paper"), sizes=(4, 8)).finish()


def test_all_files_are_written_and_traceable(folder: Path) -> None:
    results = read_results(folder)
    assert sorted(path.name for path in publish(results)) == NAMES
    png = Image.open(folder / NAMES[1])
    assert png.text["Study fingerprint"] == results.fingerprint()
    assert png.width == pytest.approx(183 / 25.4 * 300, abs=2)
    assert results.fingerprint().encode() in (folder / NAMES[0]).read_bytes()
    assert results.fingerprint()[:12] in (folder / NAMES[2]).read_text(encoding="utf-8")
    assert r"\toprule" in (folder / NAMES[3]).read_text(encoding="utf-8")


def test_the_same_study_gives_the_same_bytes(folder: Path) -> None:
    publish(read_results(folder))
    first = [(folder / name).read_bytes() for name in NAMES]
    publish(read_results(folder))
    assert [(folder / name).read_bytes() for name in NAMES] == first


def test_the_figure_goes_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "figure.svg"
    assert target in write_study_figure(folder, target)
    assert read_results(folder).fingerprint() in target.read_text(encoding="utf-8")


def test_an_unknown_format_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg"):
        write_study_figure(folder, tmp_path / "figure.xyz")
