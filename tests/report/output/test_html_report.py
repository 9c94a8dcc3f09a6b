"""`report.html`, from notebooks written by hand here: what it shows, hides, escapes and refuses."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure

from ptycho_lib.errors import InputError
from ptycho_lib.report.output.html_report import make_report, write_report
from ptycho_lib.report.output.notebook_display import image_html
from tests.support import report_examples as examples


def figure() -> Figure:
    made = Figure(figsize=(2, 1))
    made.subplots().plot([0, 1])
    return made


class TestReport:
    """`report.html`, from a notebook executed by hand here."""

    @staticmethod
    def folder(tmp_path: Path, *cells: nbformat.NotebookNode) -> Path:
        study = examples.FinishedStudy(tmp_path, sizes=(4,), name="a < b")
        nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), study.folder / "summary.ipynb")
        return study.folder

    @staticmethod
    def code_cell(source: str, **data: str) -> nbformat.NotebookNode:
        bundle = {name.replace("_", "/"): content for name, content in data.items()}
        output = nbformat.v4.new_output("display_data", bundle)
        return nbformat.v4.new_code_cell(source, outputs=[output])

    def read(self, tmp_path: Path, *cells: nbformat.NotebookNode) -> BeautifulSoup:
        path = write_report(self.folder(tmp_path, *cells))
        return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")

    def test_shows_prose_and_outputs_but_keeps_code_behind_one_click(self, tmp_path: Path) -> None:
        picture = image_html(figure(), "a rising line")
        code = self.code_cell("show(figure)", text_html=picture, text_plain="<HTML object>")
        page = self.read(tmp_path, nbformat.v4.new_markdown_cell("# Title\n\nSome *prose*."), code)
        assert page.h1.get_text() == "Title"
        assert page.em.get_text() == "prose"
        assert page.img["alt"] == "a rising line"
        assert "HTML object" not in page.get_text()
        listings = [pre for pre in page.find_all("pre") if "show(figure)" in pre.get_text()]
        assert len(listings) == 1
        details = listings[0].find_parent("details")
        assert details is not None
        assert not details.has_attr("open")

    def test_needs_nothing_from_outside_and_runs_no_script(self, tmp_path: Path) -> None:
        page = self.read(tmp_path, nbformat.v4.new_markdown_cell("# Title"))
        assert not page.find_all(["script", "link", "iframe"])
        assert "default-src 'none'" in page.find("meta", attrs={"http-equiv": True})["content"]
        assert "http" not in str(page).replace("http-equiv", "")

    def test_title_is_the_study_escaped(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path, nbformat.v4.new_markdown_cell("# x"))
        source = write_report(folder).read_text(encoding="utf-8")
        assert "<title>Generalization study a &lt; b</title>" in source

    def test_printed_text_is_escaped(self, tmp_path: Path) -> None:
        output = nbformat.v4.new_output("stream", name="stdout", text="<b>loud</b>")
        page = self.read(tmp_path, nbformat.v4.new_code_cell("print(x)", outputs=[output]))
        assert page.find("b") is None
        assert "<b>loud</b>" in page.get_text()

    def test_no_summary_no_report(self, tmp_path: Path) -> None:
        study = examples.FinishedStudy(tmp_path, sizes=(4,))
        with pytest.raises(InputError, match="ptycho-study report"):
            write_report(study.folder)

    def test_a_failed_summary_is_not_reported_as_a_result(self, tmp_path: Path) -> None:
        output = nbformat.v4.new_output("error", ename="ValueError", evalue="no size", traceback=[])
        folder = self.folder(tmp_path, nbformat.v4.new_code_cell("x", outputs=[output]))
        with pytest.raises(InputError, match="ValueError: no size"):
            write_report(folder)
        assert not (folder / "report.html").exists()

    def test_a_study_without_a_complete_run_has_no_report(self, tmp_path: Path) -> None:
        study = examples.FinishedStudy(tmp_path, sizes=(4,))
        with pytest.raises(InputError, match="ptycho-study status"):
            make_report(study.folder)
        assert not (study.folder / "report.html").exists()

    def test_a_damaged_summary_is_refused(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        (folder / "summary.ipynb").write_text("{", encoding="utf-8")
        with pytest.raises(InputError, match="damaged notebook"):
            write_report(folder)
