"""The summary notebook, executed by papermill on a study with a collapsed and a missing run; its report."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from ptycho_lib.report.output.html_report import write_report
from ptycho_lib.study.execution.summary import execute_summary
from ptycho_lib.study.results.aggregate import read_metrics
from tests.support import report_examples as examples

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conditions = [{"name": "low_dose", "photons_factor": 0.1}]
    study = examples.FinishedStudy(tmp_path_factory.mktemp("summary"), trials=2, conditions=conditions)
    folder = study.finish(collapse=(4, 2), skip=(16, 2))
    ending = execute_summary(folder)
    assert ending.succeeded, ending.reason
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> BeautifulSoup:
    return BeautifulSoup((folder / "report.html").read_text(encoding="utf-8"), "html.parser")


def test_notebook_and_report_are_small(folder: Path) -> None:
    assert (folder / "summary.ipynb").stat().st_size < 3 * MEGABYTE
    assert (folder / "report.html").stat().st_size < 10 * MEGABYTE


def test_every_picture_is_shown_once_and_described(folder: Path) -> None:
    notebook = nbformat.read(folder / "summary.ipynb", as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if "image/png" in o.get("data", {})]
    images = [
        image
        for o in outputs
        for image in BeautifulSoup(o.get("data", {}).get("text/html", ""), "html.parser").find_all("img")
    ]
    assert len(images) == 5
    assert all(len(image["alt"]) > 40 for image in images)
    assert len({image["src"] for image in images}) == 5


def test_report_begins_with_what_was_compared_and_what_became_of_the_runs(page: BeautifulSoup) -> None:
    headings = [heading.get_text() for heading in page.find_all(["h1", "h2"])]
    assert headings[:2] == ["Generalization study", "Are all runs there?"]
    text = page.get_text(" ", strip=True)
    assert text.index("5 of 6 runs are complete.") < text.index("Metrics against training-set size")
    assert "1 training collapsed" in text


def test_report_ends_with_provenance_and_code(page: BeautifulSoup) -> None:
    assert page.find_all("table", class_="facts")[-1].th.get_text() == "Study fingerprint"
    assert "read_results(study_dir)" in page.find("details").get_text()


def test_links_lead_somewhere_inside_the_folder(folder: Path, page: BeautifulSoup) -> None:
    links = [a["href"] for a in page.find_all("a")]
    assert len(links) == 5 + 10  # executed notebooks, files for a paper
    assert all((folder / link).is_file() for link in links)


def test_tables_are_written_too(folder: Path) -> None:
    assert len(read_metrics(folder / "aggregated_metrics.csv")) > 1000
    assert (folder / "study_summary.csv").is_file()


def test_files_for_a_paper_are_there(folder: Path) -> None:
    for ending in (".png", ".pdf", "_caption.txt", "_table.tex"):
        assert (folder / f"generalization_study_results{ending}").is_file()
