"""Sections of executed notebooks that show nothing."""

from __future__ import annotations

import nbformat

from ptycho_lib.report.output.notebook_sections import without_empty_sections

markdown = nbformat.v4.new_markdown_cell


def code(source: str, *, shows: bool) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", {"text/html": "<p>x</p>"})] if shows else []
    return nbformat.v4.new_code_cell(source, outputs=outputs)


def test_only_sections_whose_code_shows_nothing_lose_their_prose() -> None:
    cells = [
        markdown("# Title"),
        code("import x", shows=False),
        markdown("## Empty"),
        markdown("More prose."),
        code("compute()", shows=False),
        markdown("## Full"),
        code("show()", shows=True),
        markdown("### Empty below it"),
        code("nothing()", shows=False),
        markdown("## Parent without output"),
        code("prepare()", shows=False),
        markdown("### Child"),
        code("show(child)", shows=True),
        markdown("## Prose alone"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    kept = without_empty_sections(notebook).cells
    headings = [cell.source for cell in kept if cell.cell_type == "markdown"]
    assert headings == ["# Title", "## Full", "## Parent without output", "### Child", "## Prose alone"]
    assert [cell.source for cell in kept if cell.cell_type == "code"] == [
        cell.source for cell in cells if cell.cell_type == "code"
    ]
    assert len(notebook.cells) == len(cells)
