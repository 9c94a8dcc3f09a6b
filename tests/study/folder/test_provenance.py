"""The code fingerprint changes with what computes numbers, and with nothing else."""

import nbformat
import pytest

from ptycho_lib.study.folder.provenance import _statements, code_fingerprint, library_versions, machine
from tests.support.miniature import CELLS, write_template


def test_comments_docstrings_and_layout_do_not_count():
    plain = "def f(x):\n    return x + 1\n"
    told = '"""Module."""\n\n# why\ndef f( x ):\n    """Add."""\n\n    return (x + 1)  # one\n'
    assert _statements(plain) == _statements(told)
    assert _statements(plain) != _statements(plain.replace("1", "2"))


def test_a_body_of_nothing_but_a_docstring_is_read():
    assert _statements('class A(Exception):\n    """Only text."""\n').startswith("class A")


def test_the_template_counts_by_its_code(tmp_path):
    first = write_template(tmp_path / "first.ipynb")
    retold = nbformat.read(first, 4)
    retold.cells.insert(0, nbformat.v4.new_markdown_cell("More prose."))
    retold.metadata["note"] = "edited"
    nbformat.write(retold, tmp_path / "retold.ipynb")
    changed = write_template(tmp_path / "changed.ipynb", [*CELLS[:-1], CELLS[-1] + "\nx = 1"])
    assert code_fingerprint(first) == code_fingerprint(tmp_path / "retold.ipynb")
    assert code_fingerprint(first) != code_fingerprint(changed)


def test_an_edited_template_is_noticed_in_the_same_process(tmp_path):
    path = write_template(tmp_path / "template.ipynb")
    before = code_fingerprint(path)
    write_template(path, CELLS[:-1])
    assert code_fingerprint(path) != before


@pytest.mark.parametrize("name", ["python", "ptycho_lib", "tensorflow", "numpy"])
def test_versions_are_known_without_importing(name):
    assert library_versions()[name][0].isdigit()


def test_the_machine_tells_its_threads(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert machine()["TF_NUM_INTRAOP_THREADS"] == "3"
    assert int(machine()["cores"]) >= 1
