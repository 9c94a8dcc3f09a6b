"""Notebooks in the repository are thin and hold no outputs; the work is done by the library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").glob("*.ipynb"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_LINES = {"templates": 8, "notebooks": 12}


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_lines(source: str) -> list[str]:
    """Return the lines that hold code: no blanks, no comments."""
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def problems_of_cell(source: str, most_lines: int) -> list[str]:
    """Return what makes a code cell too heavy for a notebook."""
    tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))
    heavy = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    problems = [f"line {node.lineno}: {type(node).__name__}" for node in ast.walk(tree) if isinstance(node, heavy)]
    if len(code_lines(source)) > most_lines:
        problems.append(f"{len(code_lines(source))} lines of code, {most_lines} at most")
    return problems


def test_all_templates_are_there() -> None:
    names = {path.name for path in TEMPLATES}
    studies = {"evaluate_untrained.ipynb", "iterate.ipynb", "summarize_study.ipynb", "train_and_compare.ipynb"}
    assert names == studies | {"compare_studies.ipynb", "fine_tune.ipynb", "reconstruct_scan.ipynb"}


@pytest.mark.parametrize("path", TEMPLATES + NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_valid_and_stripped(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert "papermill" not in notebook.metadata
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("path", TEMPLATES + NOTEBOOKS, ids=lambda path: path.name)
def test_cells_are_thin(path: Path) -> None:
    most_lines = MOST_LINES[path.parent.name]
    for number, cell in enumerate(read(path).cells):
        if cell.cell_type == "code":
            parameters = "parameters" in cell.metadata.get("tags", [])
            problems = problems_of_cell(cell.source, 2 * most_lines if parameters else most_lines)
            assert not problems, f"cell {number}: {problems}"


@pytest.mark.parametrize("path", TEMPLATES + NOTEBOOKS, ids=lambda path: path.name)
def test_prose_leads_and_accompanies(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    code = sum(cell.cell_type == "code" for cell in cells)
    assert sum(cell.cell_type == "markdown" for cell in cells) >= code / 3


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_takes_parameters_and_has_no_widgets(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), "parameters are plain assignments"
        assert isinstance(node.value, ast.Constant), "parameters are plain scalars"
    for line in code_lines(tagged[0].source):
        assert line.count("=") == 1, f"papermill does not see a parameter with a second '=' on its line: {line}"
    assert not [cell for cell in cells if "widget" in cell.source or "report.explore" in cell.source]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f():\n    return 1", "FunctionDef"),
        ("class A:\n    pass", "ClassDef"),
        ("f = lambda x: x", "Lambda"),
        ("\n".join(f"x{i} = {i}" for i in range(9)), "9 lines of code, 8 at most"),
    ],
)
def test_a_heavy_cell_is_found(source: str, problem: str) -> None:
    assert any(problem in found for found in problems_of_cell(source, 8))
    assert not problems_of_cell("# one comment\n\n%matplotlib inline\nx = f(1)", 8)
