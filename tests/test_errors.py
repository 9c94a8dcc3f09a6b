"""Problems of the input in a notebook: text, not forty lines of traceback."""

import io
from contextlib import redirect_stdout

from IPython.core.interactiveshell import InteractiveShell

from ptycho_lib.errors import InputError, Problem


def test_a_notebook_shows_the_problems_alone():
    shell = InteractiveShell.instance()
    out = io.StringIO()
    with redirect_stdout(out):
        result = shell.run_cell("import ptycho_lib as pl\npl.load_dataset('missing.npz')")
    assert isinstance(result.error_in_exec, InputError)
    shown = out.getvalue()
    assert shown.startswith("InputError: 1 problem of the input")
    assert "missing.npz: found" in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) <= 4


def test_every_problem_has_a_paragraph():
    problems = [Problem("a.npz", key, "nothing", "something", "Add it.") for key in ("x", "y")]
    head, *rest = InputError(problems)._render_traceback_()
    assert head == "InputError: 2 problems of the input"
    assert [line.strip() for line in rest] == [str(problem) for problem in problems]
