"""The code fingerprint changes with what computes numbers, and with nothing else."""

import ast
from pathlib import Path

import nbformat
import pytest

import ptycho_lib
from ptycho_lib.study.folder.code_fingerprint import MODULES, code_fingerprints, code_key, statements
from tests.support.miniature import CELLS, write_template

PACKAGE = Path(ptycho_lib.__file__).parent
STARTS = {
    "trained": ("study/reconstruct.py", "networks/training.py", "networks/prediction.py"),
    "untrained": ("study/reconstruct.py", "networks/prediction.py"),
    "iterative": ("study/reconstruct.py", "iterative/reconstruction.py"),
}
"""What the templates import to compute."""

COMPUTES = ("physics/", "networks/", "evaluation/")


def reached(start):
    """Return the modules of the computing subpackages that a module imports, and those that they import."""
    found, ahead = set(), [PACKAGE / start]
    while ahead:
        path = ahead.pop()
        names = [
            f"{node.module}.{alias.name}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ptycho_lib.")
            for alias in node.names
        ]
        for name in names:
            parts = name.split(".")[1:]
            for module in ("/".join(parts) + ".py", "/".join(parts[:-1]) + ".py"):
                if (PACKAGE / module).is_file() and module.startswith(COMPUTES) and module not in found:
                    found.add(module)
                    ahead.append(PACKAGE / module)
    return found


@pytest.mark.parametrize("key", STARTS)
def test_no_module_that_computes_is_forgotten(key):
    listed = {path.relative_to(PACKAGE).as_posix() for one in MODULES[key] for path in PACKAGE.glob(one)}
    assert set().union(*(reached(start) for start in STARTS[key])) <= listed


@pytest.mark.parametrize("key", MODULES)
def test_every_module_that_is_named_exists(key):
    assert not [one for one in MODULES[key] if not list(PACKAGE.glob(one))]


def test_readers_figures_and_commands_do_not_count():
    named = [one for globs in MODULES.values() for one in globs]
    assert not [one for one in named if one.startswith(("report", "cli", "data/readers", "study/folder", "study/exec"))]


def test_comments_docstrings_and_layout_do_not_count():
    plain = "def f(x):\n    return g(x, 1)\n"
    annotated = '"""Module."""\n\n# why\ndef f( x ):\n    """Add."""\n\n    return g(\n        x, 1\n    )  # one\n'
    assert statements(plain) == statements(annotated)
    assert statements(plain) != statements(plain.replace("1", "2"))


def test_blocks_and_texts_that_are_used_count():
    assert statements("if a:\n    b\nc\n") != statements("if a:\n    b\n    c\n")
    assert statements('x = "text"\n') != statements('x = "other"\n')
    assert statements('f("text")\n') != statements("f()\n")


def test_an_f_string_is_one_text_in_every_version_of_python():
    assert statements('x = f"{a!r:>{width}} {{b}}" + f"c"\n') == 'x = f"{a!r:>{width}} {{b}}" + f"c" \n'


def test_what_is_not_plain_python_counts_as_it_stands():
    assert statements("%matplotlib inline\nx = (1") == "%matplotlib inline\nx = (1"


def test_the_template_counts_by_its_computing_cells(tmp_path):
    first = write_template(tmp_path / "first.ipynb")
    edited = nbformat.read(first, 4)
    edited.cells.insert(0, nbformat.v4.new_markdown_cell("More prose."))
    edited.cells.append(nbformat.v4.new_code_cell("show(figure)", metadata={"tags": ["display"]}))
    edited.metadata["note"] = "edited"
    nbformat.write(edited, tmp_path / "edited.ipynb")
    changed = write_template(tmp_path / "changed.ipynb", [*CELLS[:-1], CELLS[-1] + "\nx = 1"])
    assert code_fingerprints(first) == code_fingerprints(tmp_path / "edited.ipynb")
    differing = {key for key, value in code_fingerprints(changed).items() if value != code_fingerprints(first)[key]}
    assert differing == {"trained", "hybrid"}


def test_an_edited_template_is_noticed_in_the_same_process(tmp_path):
    path = write_template(tmp_path / "template.ipynb")
    before = code_fingerprints(path)
    write_template(path, CELLS[:-1])
    assert code_fingerprints(path) != before


def test_iterative_models_of_a_trained_run_have_code_of_their_own():
    assert code_key("trained", ("pinn", "baseline")) == "trained"
    assert code_key("trained", ("pinn", "pinn+iterative")) == "hybrid"
    assert code_key("iterative", ("iterative",)) == "iterative"
